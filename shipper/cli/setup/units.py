"""The files for systemd, adapted to one machine: its program, user and configuration.

They are the packaged files with a few words replaced, so that the tested files are installed. The
first line of each has a checksum of the rest: so a file that was changed by hand is recognised, and
never overwritten or removed. Nothing here writes.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from shipper import resources
from shipper.config.loader import SYSTEM_PATH
from shipper.doctor.unit import TEMPLATE, UNIT, instance_unit
from shipper.errors import UsageError

PLACES = {
    UNIT: Path("/etc/systemd/system/shipper.service"),
    "shipper.sysusers": Path("/etc/sysusers.d/shipper.conf"),
    "shipper.tmpfiles": Path("/etc/tmpfiles.d/shipper.conf"),
}
TEMPLATE_PLACE = PLACES[UNIT].with_name(TEMPLATE)
STATE = Path("/var/lib/shipper")
USER = "shipper"
RELAXED = "in-a-container.conf"
"""A drop-in for containers in which systemd can't do the unit's sandboxing."""

_PROGRAM = "/opt/shipper/bin/shipper"
_MARK = "# Put here by `shipper service install`, which knows it by this sum: "
# Other characters have a meaning for systemd; usual paths don't have them.
_PLAIN_PATH = re.compile(r"/[\w./+@~-]*", re.ASCII)
_HOMES = ("/home/", "/root/", "/run/user/")  # hidden by ProtectHome=yes: systemd.exec(5)


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs from machine to machine."""

    program: Path
    """The console script."""
    user: str = USER
    group: str = USER
    config: Path = SYSTEM_PATH
    homes: tuple[Path, ...] = ()
    """The paths of the program and of Python that ProtectHome=yes would hide."""
    instance: str | None = None
    """Which daemon of several; None for the only one."""

    @property
    def unit(self) -> str:
        """Return the unit that is started and stopped."""
        return UNIT if self.instance is None else instance_unit(self.instance)

    @property
    def places(self) -> dict[str, Path]:
        """Return where each packaged file belongs: all daemons of the template have one file."""
        if self.instance is None:
            return PLACES
        return {TEMPLATE: TEMPLATE_PLACE} | {n: p for n, p in PLACES.items() if n != UNIT}

    @property
    def drop_ins(self) -> Path:
        """Return the directory for changes of the unit's file, whichever daemon it runs."""
        file = next(iter(self.places.values()))
        return file.with_name(f"{file.name}.d")

    @property
    def state(self) -> Path:
        """Return the directory that the service can write to."""
        return STATE if self.instance is None else STATE / self.instance

    @property
    def api_id(self) -> Path:
        """Return the file that systemd passes to the daemon."""
        return SYSTEM_PATH.with_name(
            "api_id" if self.instance is None else f"{self.instance}.api_id"
        )


def texts(machine: Machine) -> dict[Path, str]:
    """Return the text of each file by its path; an existing user needs no sysusers.

    Raises UsageError for a path that a unit can't contain.
    """
    for path in (machine.program, machine.config):
        if not _PLAIN_PATH.fullmatch(str(path)):
            raise UsageError(
                f"a systemd unit can't contain the path {path}",
                "use a path of letters, digits and ./+@~-_",
            )
    return {
        place: _marked(_fitted(packaged(name), machine))
        for name, place in machine.places.items()
        if machine.user == USER or name != "shipper.sysusers"
    }


def packaged(name: str) -> str:
    """Return a file of systemd/."""
    return place_of(name).read_text("utf-8")


def place_of(name: str) -> Path:
    """Return the path of a file of systemd/."""
    return resources.packaged(f"systemd/{name}")


def is_in_a_home(path: Path) -> bool:
    """Return whether the packaged unit would hide a path from its service."""
    return str(path).startswith(_HOMES)


def is_untouched(text: str) -> bool:
    """Return whether `service install` wrote this text, and nothing was changed since."""
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
