"""Where the files are that come with the code: migrations, units, the example configuration.

In a wheel they are inside the package, in a checkout beside it. This module must never look
anywhere else.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def packaged(name: str) -> Path:
    """Return the path of a file or directory of the project, such as `systemd/shipper.service`."""
    inside = _PACKAGE / "_assets" / name
    return inside if inside.exists() else _PACKAGE.parent / name


def sources() -> Path | None:
    """Return the checkout that this code runs from; None if it is installed."""
    return _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None


def assets() -> Path:
    """Return the directory of the files for other programs: the man page, the completions."""
    return _PACKAGE / "assets"
