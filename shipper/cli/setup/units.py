"""The files that systemd reads, made for one machine: this program, this user, this configuration.

They are the packaged ones with a few words replaced, so that what is tested is what is installed.
The first line of each bears a checksum of the rest: what a person has changed is recognised, and
neither overwritten nor removed. Nothing here writes.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from shipper import resources
from shipper.config.loader import SYSTEM_PATH
from shipper.errors import UsageError

UNIT = "shipper.service"
PLACES = {
    UNIT: Path("/etc/systemd/system/shipper.service"),
    "shipper.sysusers": Path("/etc/sysusers.d/shipper.conf"),
    "shipper.tmpfiles": Path("/etc/tmpfiles.d/shipper.conf"),
}
USER = "shipper"
RELAXED = "in-a-container.conf"
"""A drop-in for where systemd can't do the sandboxing that the unit asks for."""

_PROGRAM = "/opt/shipper/bin/shipper"
_MARK = "# Put here by `shipper service install`, which knows it by this sum: "
# Anything else means something to systemd, and no sane path has it.
_PLAIN_PATH = re.compile(r"/[\w./+@~-]*", re.ASCII)
_HOMES = ("/home/", "/root/", "/run/user/")  # what ProtectHome=yes hides: systemd.exec(5)


@dataclass(frozen=True, slots=True)
class Machine:
    """What is particular to one machine."""

    program: Path
    """The console script."""
    user: str = USER
    group: str = USER
    config: Path = SYSTEM_PATH
    homes: tuple[Path, ...] = ()
    """What the program needs of directories that the unit would hide: its own, Python's."""


def texts(machine: Machine) -> dict[Path, str]:
    """Return what goes where. A user who is there already needs no sysusers.

    Raises UsageError for a path that can't stand in a unit.
    """
    for path in (machine.program, machine.config):
        if not _PLAIN_PATH.fullmatch(str(path)):
            raise UsageError(f"{path} can't stand in a unit", "use a path of plain characters")
    return {
        place: _marked(_fitted(packaged(name), machine))
        for name, place in PLACES.items()
        if machine.user == USER or name != "shipper.sysusers"
    }


def packaged(name: str) -> str:
    """Return a file of systemd/."""
    return place_of(name).read_text("utf-8")


def place_of(name: str) -> Path:
    """Return where a file of systemd/ lies."""
    return resources.packaged(f"systemd/{name}")


def is_in_a_home(path: Path) -> bool:
    """Return whether the unit as it is packaged hides a path from its own service."""
    return str(path).startswith(_HOMES)


def is_untouched(text: str) -> bool:
    """Return whether a file is one that we have put there, and nobody has changed since."""
    first, _, rest = text.partition("\n")
    return first == _MARK + _sum(rest)


def _fitted(text: str, machine: Machine) -> str:
    if machine.homes:
        text = text.replace("\nProtectHome=yes\n", "\nProtectHome=read-only\n")
    text = text.replace(_PROGRAM, str(machine.program))
    text = text.replace(f"SHIPPER_CONFIG={SYSTEM_PATH}", f"SHIPPER_CONFIG={machine.config}")
    text = text.replace(f"User={USER}\nGroup={USER}", f"User={machine.user}\nGroup={machine.group}")
    text = text.replace(f" root {USER} -", f" root {machine.group} -")
    return text.replace(f" {USER} {USER} -", f" {machine.user} {machine.group} -")


def _marked(text: str) -> str:
    return f"{_MARK}{_sum(text)}\n{text}"


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
