"""Find the config file and make `Settings` of it and the environment.

It decides which file is read, and reports every fault of it at once; a file that others can read
and that holds a secret is a warning, because it may be meant so, and so is a delivery window that
never opens. Root must never take a stranger's file that only lies in the working directory: it
would send to where that says, with a secret from any file.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType

from shipper.config.builder import Builder
from shipper.config.crontab import Crontab
from shipper.config.layers import Given, Layers, dotted
from shipper.config.secret import masked
from shipper.config.settings import Settings
from shipper.config.toml import read
from shipper.config.types import CronList, FilePath
from shipper.errors import AccessDenied, ConfigError
from shipper.system.files import Untrusted, trusted

SYSTEM_PATH = Path("/etc/shipper/config.toml")

# A group is somebody's decision: the service's own, which reads it so.
_OTHERS_READ = 0o004
_SECRETS = frozenset({"api_id", "heartbeat_url", "webhook_url"})
_SECRET_FILES = frozenset({*(f"{name}_file" for name in _SECRETS), "url_file"})


def find(path: Path | None, environ: Mapping[str, str], cwd: Path = Path()) -> Path:
    """Return the config file: the given one, $SHIPPER_CONFIG, ./shipper.toml, the system's.

    The first two need not be there, because somebody asked for them by name; raises ConfigError
    where nobody did and neither of the others is there.
    """
    asked = path or environ.get("SHIPPER_CONFIG")
    if asked:
        return cwd / asked
    for candidate in (cwd / "shipper.toml", SYSTEM_PATH):
        if _is_there(candidate):
            return candidate
    raise ConfigError(
        [f"no configuration: neither {cwd / 'shipper.toml'} nor {SYSTEM_PATH} is there"],
        hint="shipper init",
    )


def _refuse_strangers(path: Path, environ: Mapping[str, str]) -> None:
    """Raise AccessDenied for root where somebody else has put the file there (as git does)."""
    if os.geteuid() != 0:
        return
    owners = {"0", environ.get("SUDO_UID")}
    try:
        real = trusted(path)
        owner = real.stat().st_uid
    except Untrusted as error:
        why = f"{path} {error.strerror}"
    except OSError:
        return  # who reads it says what is wrong
    else:
        if str(owner) in owners:
            return
        why = f"{path} belongs to user {owner}"
    raise AccessDenied(
        f"{why}, and root takes no such configuration that only lies there",
        f"if you mean it: -c {path}",
    )


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # what hides a file from us must be reported, not passed over
    return True


def load(
    path: Path | None, environ: Mapping[str, str], cwd: Path = Path(), *, sends: bool = True
) -> Settings:
    """Return the settings of the file that `find` finds, with the environment's on top.

    A relative path in a value begins at the directory of the file that it was written in, or at
    `cwd` for one from the environment. Where nothing `sends`, an API ID may be left out, because
    it may be systemd's credential, for the daemon alone; and the files of [alerts] aren't read.

    Raises ConfigError with every fault there is, AccessDenied where we may not read the file or a
    `url_file`.
    """
    found = find(path, environ, cwd)
    if not (path or environ.get("SHIPPER_CONFIG")):
        _refuse_strangers(found, environ)
    source = read(found)
    layers = Layers(source, cwd)
    layers.add_file()
    warnings = [*_exposed(layers)]  # an override doesn't take the secret out of the file
    layers.add_environment(environ)
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    builder = Builder(layers, Path(credentials) if credentials else None, sends)
    settings: Settings | None = builder.build(Settings, ())
    warnings += _exposed_files(layers)
    if layers.faults or settings is None:
        _add_windows(layers)
        in_order = sorted(layers.faults, key=lambda fault: fault[0])
        raise ConfigError([f"{place}: {message}" for place, message in in_order])
    return replace(
        settings,
        path=Path(source.name),
        origins=MappingProxyType(builder.origins),
        warnings=(*warnings, *_never(settings, builder.origins)),
    )


def _never(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each delivery window that no minute is in; cron takes it, too."""
    name = "schedule.windows"
    for expression in settings.schedule.windows:
        with suppress(ValueError):  # what is none is said by who needs it
            if not Crontab.parse(expression).is_possible:
                yield (
                    f"{origins[name]}: {name}: {expression!r} matches no minute:"
                    " none of its months has so many days"
                )


def _add_windows(layers: Layers) -> None:
    """Take down the windows that mean nothing, which else only who needs them says."""
    given = layers.given.get(("schedule", "windows"))
    if given is None:
        return
    with suppress(ValueError):  # that is taken down already, with these
        for fault in CronList.faults(CronList().parse(given.raw, given.base)):
            layers.fault(given.place, f"schedule.windows: {fault}")


def _exposed(layers: Layers) -> Iterator[str]:
    """Yield a warning for each secret that stands in a file which others can read."""
    if not layers.source.mode & _OTHERS_READ:
        return
    for path, given in layers.given.items():
        if path[-1] in _SECRETS or _has_password(given):
            yield (
                f"{given.place}: {dotted(path)} can be read by other users; "
                f"chmod o= {layers.source.name}, or keep it in a file of its own"
            )


def _has_password(given: Given | None) -> bool:
    return given is not None and isinstance(given.raw, str) and masked(given.raw) != given.raw


def _exposed_files(layers: Layers) -> Iterator[str]:
    """Yield a warning for each file of a secret that others can read."""
    for path, given in layers.given.items():
        if path[-1] not in _SECRET_FILES:
            continue
        if path[-1] == "url_file" and not _has_password(layers.given.get((*path[:-1], "url"))):
            continue
        try:
            file = FilePath().parse(given.raw, given.base)
            mode = file.stat().st_mode
        except (ValueError, OSError):
            continue  # what is wrong with it is reported where it is read
        if S_ISREG(mode) and mode & _OTHERS_READ:
            yield f"{given.place}: {file} can be read by other users; chmod o= {file}"
