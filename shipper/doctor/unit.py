"""The systemd unit: whether the one that is installed is the one that this version comes with.

What a machine decides for itself isn't compared: paths, users, directories, and all drop-ins.
"""

import grp
import pwd
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from shipper.doctor.finding import Finding, warning, well

NAME = "shipper.service"
PLACES = tuple(
    Path(directory) / NAME
    for directory in ("/etc/systemd/system", "/usr/local/lib/systemd/system",
                      "/usr/lib/systemd/system", "/lib/systemd/system")
)  # fmt: skip

_DROP_INS = PLACES[0].with_name(f"{NAME}.d")

# Where the program is, and as whom and on what it works.
_LOCAL = frozenset({
    "Description", "Documentation", "Environment", "EnvironmentFile", "ExecReload", "ExecStart",
    "ExecStartPre", "Group", "LoadCredential", "LoadCredentialEncrypted", "ProtectHome",
    "ReadWritePaths", "StateDirectory", "StateDirectoryMode", "SupplementaryGroups", "User",
    "WorkingDirectory",
})  # fmt: skip


def installed(places: Sequence[Path] = PLACES) -> Path | None:
    """Return the unit that systemd would take."""
    return next((place for place in places if place.is_file()), None)


def starting() -> str:
    """Return how a shipper is started on this machine."""
    return "shipper run" if installed() is None else f"systemctl start {NAME.partition('.')[0]}"


def user_of(unit: Path) -> int | None:
    """Return the number of the user that the unit names, if there is one."""
    for line in unit.read_text("utf-8", "replace").splitlines():
        if line.startswith("User="):
            try:
                return pwd.getpwnam(line.partition("=")[2].strip()).pw_uid
            except KeyError:
                return None
    return None


def groups_of(unit: Path) -> set[int]:
    """Return the numbers of the groups that the unit, or a drop-in of it, adds."""
    found: set[int] = set()
    for file in (unit, *sorted(_DROP_INS.glob("*.conf"))):
        for line in file.read_text("utf-8", "replace").splitlines():
            if line.startswith("SupplementaryGroups="):
                for name in line.partition("=")[2].split():
                    with suppress(KeyError):
                        found.add(grp.getgrnam(name).gr_gid)
    return found


def check_unit(unit: Path | None) -> Iterator[Finding]:
    """Compare the installed unit with the packaged one."""
    if unit is None:
        yield well("unit", "no systemd unit is installed")
        return
    ours, theirs = _settings(packaged()), _settings(unit)
    missing, extra = ours - theirs, theirs - ours
    if missing or extra:
        changes = [f"-{line}" for line in sorted(missing)] + [f"+{line}" for line in sorted(extra)]
        shown = " ".join(changes[:4]) + (f" and {len(changes) - 4} more" if changes[4:] else "")
        yield warning(
            "unit",
            f"{unit} differs from the one of this version: {shown}",
            "install this version's unit again (sudo shipper service install), and keep your own"
            f" settings in a drop-in: systemctl edit {NAME}",
        )
    else:
        yield well("unit", f"{unit} is the one of this version")


def packaged() -> Path:
    """Return the unit of this version: in an installed wheel, or beside the sources."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_assets" / "systemd" / NAME
    return inside if inside.is_file() else package.parent / "systemd" / NAME


def _settings(unit: Path) -> set[str]:
    lines = (line.strip() for line in unit.read_text("utf-8", "replace").splitlines())
    return {
        line
        for line in lines
        if "=" in line and line[0] not in "#;" and line.partition("=")[0] not in _LOCAL
    }
