"""`shipper assets …`: files for other programs: dashboard, alert rules, man page, completions."""

import hashlib
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.errors import AccessDenied, NotFound, UsageError
from shipper.system.drafts import replace
from shipper.system.files import Directory, Untrusted

Asset = Literal[
    "grafana-dashboard.json",
    "prometheus-alerts.yml",
    "shipper.1",
    "shipper.bash",
    "_shipper",
    "shipper.fish",
]
"""The names of the files, so that a shell can offer them."""

_ASSETS: Final[dict[Asset, str]] = {
    "grafana-dashboard.json": "a dashboard for Grafana: Dashboards, New, Import",
    "prometheus-alerts.yml": "alert rules for Prometheus: rule_files in prometheus.yml",
    "shipper.1": "the man page: /usr/local/share/man/man1",
    "shipper.bash": "completions for bash: /etc/bash_completion.d",
    "_shipper": "completions for zsh: /usr/local/share/zsh/site-functions",
    "shipper.fish": "completions for fish: /etc/fish/completions",
}


def list_assets(*, context: Context) -> None:
    """List the files, and what each is for."""
    if context.json:
        for name, purpose in _ASSETS.items():
            digest = hashlib.sha256(_read(name)).hexdigest()
            context.emit({"name": name, "purpose": purpose, "sha256": digest})
    else:
        context.table(("name", "purpose"), _ASSETS.items())


def show_asset(
    name: Annotated[
        Asset,
        Parameter(
            help="A name from `shipper assets list`.",
            converter=lambda _hint, tokens: tokens[0].value,  # `_read` refuses other names
            show_choices=False,
        ),
    ],
    /,
    *,
    context: Context,
) -> None:
    """Print a file to stdout."""
    content = _read(name).decode("utf-8")
    if context.json:
        context.emit({"name": name, "content": content})
    else:
        context.say(content.rstrip("\n"))


def write_assets(
    directory: Annotated[Path, Parameter(name="DIR")],
    /,
    *,
    force: bool = False,
    context: Context,
) -> None:
    """Write all files into a directory. If one was changed there, it writes nothing.

    Parameters
    ----------
    directory
        The directory to write to. It is made if it is missing; its parent must exist.
    force
        Overwrite changed files too.
    """
    contents = {directory / name: _read(name) for name in _ASSETS}
    changed = [str(path) for path, content in contents.items() if _is_another(path, content)]
    if changed and not force:
        raise UsageError(f"changed by hand: {', '.join(changed)}", "to overwrite: --force")
    _make(directory)
    for path, content in contents.items():
        _write(path, content)
    if context.json:
        context.emit({"written": [str(path) for path in contents]})
    else:
        for path in contents:
            context.say(str(path))


def _read(name: str) -> bytes:
    if name not in _ASSETS:
        raise NotFound(f"there is no asset {name}", f"there are {', '.join(_ASSETS)}")
    return (files("shipper") / "assets" / name).read_bytes()


def _is_another(path: Path, content: bytes) -> bool:
    try:
        with Directory(path.parent) as directory:
            file = directory.open(path.name, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except Untrusted:
        return True  # a link: it is replaced, and never followed
    except OSError as error:
        raise _cannot(path, error) from None
    with os.fdopen(file, "rb") as there:
        return there.read(len(content) + 1) != content


def _make(directory: Path) -> None:
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise _cannot(directory, error) from None


def _write(path: Path, content: bytes) -> None:
    try:
        replace(path, content)
    except OSError as error:
        raise _cannot(path, error) from None


def _cannot(path: Path, error: OSError) -> AccessDenied | UsageError:
    if isinstance(error, PermissionError):
        why = error.strerror if isinstance(error, Untrusted) else "permission denied"
        return AccessDenied(f"can't write {path}: {why}")
    return UsageError(f"{path}: {error.strerror}")
