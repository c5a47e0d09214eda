"""Where the files lie that come along with the code: migrations, units, the example.

A wheel has them inside the package, a checkout beside it. It must never look anywhere else.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def packaged(name: str) -> Path:
    """Return where a file or directory of the project lies, such as `systemd/shipper.service`."""
    inside = _PACKAGE / "_assets" / name
    return inside if inside.exists() else _PACKAGE.parent / name


def sources() -> Path | None:
    """Return the checkout that this code runs from; None where it was installed."""
    return _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None


def assets() -> Path:
    """Return the directory of what was made for other programs: the man page, completions."""
    return _PACKAGE / "assets"
