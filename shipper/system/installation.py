"""How this copy of shipper was installed, so that hints name commands that work here.

The distribution is on no package index, so a hint can't say `pip install shipper-outbox`. An
installer notes the origin of a copy (PEP 610): the hint names that directory, wheel or repository.
This module must never read anything but the files of this installation.
"""

import json
import shlex
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from shipper import resources

NAME = "shipper-outbox"
_CONSTRAINTS = ".ci/constraints.txt"


def with_extra(extra: str) -> str:
    """Return the command that adds an extra to this installation."""
    origin = _origin()
    if origin is None or (isinstance(origin, Path) and not origin.exists()):
        # The origin isn't needed: an extra consists only of its requirements.
        return with_packages(*_requirements(extra))
    editable = bool(_direct_url().get("dir_info", {}).get("editable"))
    return " ".join([_installer(), *_arguments(origin, extra, editable=editable)])


def with_packages(*requirements: str) -> str:
    """Return the command that adds other packages to this installation."""
    return " ".join([_installer(), *map(shlex.quote, requirements)])


def for_all_users(place: str = "/opt/shipper") -> str:
    """Return the commands that install shipper again where every user can read it."""
    extra = "postgres" if find_spec("psycopg") else ""
    what = " ".join(_arguments(_origin(), extra))
    return f"python3 -m venv {place} && {place}/bin/pip install {what}"


def _arguments(
    origin: Path | str | None, extra: str = "", *, editable: bool = False
) -> Iterator[str]:
    """Yield the arguments for pip, quoted for a shell."""
    extras = f"[{extra}]" if extra else ""
    if isinstance(origin, Path):
        constraints = origin / _CONSTRAINTS
        if constraints.is_file():
            yield f"-c {shlex.quote(str(constraints))}"
        if editable:
            yield "-e"
        yield shlex.quote(f"{origin}{extras}")
    elif origin is not None:
        yield shlex.quote(f"{NAME}{extras} @ {origin}")
    else:
        with suppress(PackageNotFoundError):
            yield shlex.quote(f"{NAME}{extras}=={version(NAME)}")


def _installer() -> str:
    """Return the command that installs into our own environment."""
    if Path(sys.prefix, "pipx_metadata.json").is_file():
        return f"pipx runpip {NAME} install"
    pip = Path(sysconfig.get_path("scripts"), "pip")
    if pip.is_file():
        return f"{shlex.quote(str(pip))} install"
    python = shlex.quote(sys.executable)
    return f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"


def _origin() -> Path | str | None:
    """Return the origin of this copy, if it is known: a path, or a URL as pip takes it."""
    record = _direct_url()
    url = str(record.get("url", ""))
    if url.startswith("file:"):
        return Path(unquote(urlsplit(url).path))
    if url:
        version_control = record.get("vcs_info", {})
        if not version_control:
            return url
        return f"{version_control.get('vcs')}+{url}@{version_control.get('commit_id')}"
    return resources.sources()


def _direct_url() -> dict[str, Any]:
    with suppress(PackageNotFoundError, ValueError):
        found = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
        return found if isinstance(found, dict) else {}
    return {}


def _requirements(extra: str) -> list[str]:
    """Return the requirements of an extra, as pip takes them."""
    with suppress(PackageNotFoundError):
        marked = (line.partition(";") for line in requires(NAME) or [])
        found = [
            requirement.strip()
            for requirement, _, marker in marked
            if marker.replace("'", '"').replace(" ", "") == f'extra=="{extra}"'
        ]
        if found:
            return found
    return [f"{NAME}[{extra}]"]
