"""The check of the systemd unit: whether the installed one is that of this version.

Settings that each machine decides for itself must never count as a difference: paths, users,
directories, and all drop-ins.
"""

import grp
import pwd
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from shipper import resources
from shipper.config.loader import SYSTEM_PATH
from shipper.doctor.result import CheckResult, warning, well

UNIT = "shipper.service"
TEMPLATE = "shipper@.service"
"""The unit of several daemons on one machine, one for each configuration."""
INSTANCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
"""A name of such a daemon: systemd has no other meaning for these characters, nor has a path."""
PLACES = tuple(
    Path(directory) / UNIT
    for directory in ("/etc/systemd/system", "/usr/local/lib/systemd/system",
                      "/usr/lib/systemd/system", "/lib/systemd/system")
)  # fmt: skip

_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_RUNS_SHIPPER = re.compile(r"^ExecStart=\S*shipper\b.*\brun\b", re.MULTILINE)
_DROP_INS = PLACES[0].with_name(f"{UNIT}.d")

# Where the program is, which user runs it, and what it works on.
_LOCAL = frozenset({
    "Description", "Documentation", "Environment", "EnvironmentFile", "ExecReload", "ExecStart",
    "ExecStartPre", "Group", "LoadCredential", "LoadCredentialEncrypted", "ProtectHome",
    "ReadWritePaths", "StateDirectory", "StateDirectoryMode", "SupplementaryGroups", "User",
    "WorkingDirectory",
})  # fmt: skip


def installed(places: Sequence[Path] = PLACES) -> Path | None:
    """Return the unit file that systemd uses."""
    return next((place for place in places if place.is_file()), None)


def installed_template(places: Sequence[Path] = PLACES) -> Path | None:
    """Return the template's file that systemd uses."""
    return installed([place.with_name(TEMPLATE) for place in places])


def instance_of(config: Path | None) -> str | None:
    """Return which daemon of the template reads a configuration; None if none of them does."""
    if config is None or config.parent != SYSTEM_PATH.parent or config == SYSTEM_PATH:
        return None
    return config.stem if config.suffix == ".toml" and INSTANCE.fullmatch(config.stem) else None


def instance_unit(instance: str) -> str:
    """Return the name of the unit of one daemon of the template."""
    return TEMPLATE.replace("@", f"@{instance}")


def running_unit(places: Sequence[Path] = PLACES, config: Path | None = None) -> Path | None:
    """Return the unit that runs shipper with a configuration.

    If no unit names the configuration, that is the usual unit, or else one with another name. The
    path of an instance is beside its template; there is no file.
    """
    usual, template = installed(places), installed_template(places)
    if usual is not None and f"SHIPPER_CONFIG={config}" in _given(usual, "Environment"):
        return usual
    if template is not None and (instance := instance_of(config)) is not None:
        return template.with_name(instance_unit(instance))
    others = (path for place in places for path in sorted(place.parent.glob("*.service")))
    return usual or next((path for path in others if _runs_shipper(path)), None)


def _runs_shipper(unit: Path) -> bool:
    if unit.stem.endswith("@"):
        return False  # a template, of which it isn't known what runs
    try:
        return _RUNS_SHIPPER.search(unit.read_text("utf-8", "replace")) is not None
    except OSError:
        return False  # a dangling link, for example


def start_command(config: Path | None) -> str:
    """Return the command that starts the daemon on this machine: with its unit, if there is one.

    `config` is the configuration file for the daemon.
    """
    # Without systemd, no other package's unit files have to be read.
    unit = running_unit(config=config) if is_booted() else None
    if unit is not None:
        return f"systemctl start {unit.stem}"
    known = config in {None, Path("shipper.toml"), SYSTEM_PATH}
    return "shipper run" if known else f"shipper run -c {config}"


def is_booted() -> bool:
    """Return whether systemd runs this machine."""
    return _BOOTED.is_dir()


def user_of(unit: Path) -> int | None:
    """Return the number of the user that the unit or a drop-in names, if one does."""
    for name in _given(unit, "User")[-1:]:
        with suppress(KeyError):
            return pwd.getpwnam(name.strip()).pw_uid
    return None


def groups_of(unit: Path) -> set[int]:
    """Return the numbers of the groups that the unit or a drop-in names."""
    found: set[int] = set()
    for names in (*_given(unit, "Group")[-1:], *_given(unit, "SupplementaryGroups")):
        for name in names.split():
            with suppress(KeyError):
                found.add(grp.getgrnam(name).gr_gid)
    return found


def credentials_of(unit: Path | None) -> set[Path]:
    """Return the files that systemd reads as root and passes to the unit's process."""
    if unit is None:
        return set()
    return {Path(given.rpartition(":")[2].strip()) for given in _given(unit, "LoadCredential")}


def _given(unit: Path, setting: str) -> list[str]:
    """Return the values of a setting in the unit and its drop-ins; an empty value resets them."""
    found: list[str] = []
    instance = unit.stem.partition("@")[2]
    for file in _files(unit):
        for line in file.read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition("=")
            if name == setting:
                found = [*found, value.replace("%i", instance)] if value.strip() else []
    return found


def _files(unit: Path) -> Iterator[Path]:
    """Yield what systemd reads for a unit: its file or its template's, then the drop-ins."""
    head, at, _ = unit.name.partition("@")
    template = f"{head}@{unit.suffix}" if at else unit.name
    yield unit if unit.is_file() else unit.with_name(template)
    for name in dict.fromkeys((template, unit.name)):
        yield from sorted(_DROP_INS.with_name(f"{name}.d").glob("*.conf"))


def check_units(units: Sequence[Path | None]) -> Iterator[CheckResult]:
    """Compare the installed units, of which some can be missing, with the packaged ones."""
    there = [unit for unit in units if unit is not None]
    for unit in there:
        yield from check_unit(unit)
    if not there:
        yield from check_unit(None)


def check_unit(unit: Path | None) -> Iterator[CheckResult]:
    """Compare the installed unit with the packaged one."""
    if unit is None:
        yield well("unit", "no systemd unit is installed")
        return
    expected, found = _settings(packaged(unit.name)), _settings(unit)
    missing, extra = expected - found, found - expected
    if missing or extra:
        changes = [f"-{line}" for line in sorted(missing)] + [f"+{line}" for line in sorted(extra)]
        shown = " ".join(changes[:4]) + (f" and {len(changes) - 4} more" if changes[4:] else "")
        yield warning(
            "unit",
            f"{unit} differs from the one of this version: {shown}",
            f"install this version's unit again ({_install(unit)}), and keep your own settings in a"
            f" drop-in: systemctl edit {unit.name}",
        )
    else:
        yield well("unit", f"{unit} is the one of this version")


def packaged(name: str = UNIT) -> Path:
    """Return a unit file of this version."""
    return resources.packaged(f"systemd/{name}")


def _install(unit: Path) -> str:
    return f"sudo shipper service install{' --instance NAME' * (unit.name == TEMPLATE)}"


def _settings(unit: Path) -> set[str]:
    lines = (line.strip() for line in unit.read_text("utf-8", "replace").splitlines())
    return {
        line
        for line in lines
        if "=" in line and line[0] not in "#;" and line.partition("=")[0] not in _LOCAL
    }
