"""Finds the configuration file and makes `Settings` from it and the environment.

It decides which file is read, and reports all mistakes at once. A delivery window that never opens
is only a warning, because it can be intended. Root must never take another user's file only because
it lies in the working directory: that file could make root send any file's content to any address.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from shipper.config.builder import Builder
from shipper.config.crontab import Crontab
from shipper.config.exposed_secrets import exposed_files, exposed_in_file
from shipper.config.layers import Layers
from shipper.config.settings import Settings
from shipper.config.toml import read
from shipper.config.types import CronList
from shipper.errors import AccessDenied, ConfigError
from shipper.system.files import Untrusted, trusted

SYSTEM_PATH = Path("/etc/shipper/config.toml")


def find(path: Path | None, environ: Mapping[str, str], cwd: Path = Path()) -> Path:
    """Return the config file: the given one, $SHIPPER_CONFIG, ./shipper.toml, the system's.

    The first two are returned even if they don't exist, because the operator named them. Raises
    ConfigError if the operator named none and neither of the others exists.
    """
    asked = path or environ.get("SHIPPER_CONFIG")
    if asked:
        return cwd / asked
    for candidate in (cwd / "shipper.toml", SYSTEM_PATH):
        if _is_there(candidate):
            return candidate
    raise ConfigError(
        [f"no configuration: neither {cwd / 'shipper.toml'} nor {SYSTEM_PATH} exists"],
        hint="shipper init",
    )


def _refuse_strangers(path: Path, environ: Mapping[str, str]) -> None:
    """Raise AccessDenied for root if the file belongs to another user (git has the same rule)."""
    if os.geteuid() != 0:
        return
    owners = {"0", environ.get("SUDO_UID")}
    try:
        real = trusted(path)
        owner = real.stat().st_uid
    except Untrusted as error:
        why = f"{path} {error.strerror}"
    except OSError:
        return  # `read` reports it
    else:
        if str(owner) in owners:
            return
        why = f"{path} belongs to user {owner}"
    raise AccessDenied(
        f"{why}; root doesn't use such a file from the working directory by itself",
        f"if you want to use it: -c {path}",
    )


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # a file that this process can't see must be reported, not skipped
    return True


def load(
    path: Path | None, environ: Mapping[str, str], cwd: Path = Path(), *, sends: bool = True
) -> Settings:
    """Return the settings of the file that `find` finds, overridden by the environment.

    A relative path in the file begins at the file's directory, one in a variable at `cwd`. Without
    `sends`, the API ID can be missing, because it can be a systemd credential that only the daemon
    gets, and the files of [alerts] aren't read.

    Raises ConfigError with every mistake; AccessDenied if this process isn't allowed to read the
    file or a `url_file`.
    """
    found = find(path, environ, cwd)
    if not (path or environ.get("SHIPPER_CONFIG")):
        _refuse_strangers(found, environ)
    source = read(found)
    layers = Layers(source, cwd)
    layers.add_file()
    warnings = [*exposed_in_file(layers)]  # a variable doesn't remove the secret from the file
    layers.add_environment(environ)
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    builder = Builder(layers, Path(credentials) if credentials else None, sends)
    settings: Settings | None = builder.build(Settings, ())
    warnings += exposed_files(layers)
    if layers.mistakes or settings is None:
        _add_windows(layers)
        in_order = sorted(layers.mistakes, key=lambda mistake: mistake[0])
        raise ConfigError([f"{origin}: {message}" for origin, message in in_order])
    return replace(
        settings,
        path=Path(source.name),
        origins=MappingProxyType(builder.origins),
        warnings=(*warnings, *_never(settings, builder.origins)),
    )


def _never(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each delivery window without any minute; cron accepts these, too."""
    name = "schedule.windows"
    for expression in settings.schedule.windows:
        with suppress(ValueError):  # `Windows` reports what is no expression
            if not Crontab.parse(expression).is_possible:
                yield (
                    f"{origins[name]}: {name}: {expression!r} matches no minute:"
                    " none of its months has that many days"
                )


def _add_windows(layers: Layers) -> None:
    """Report the windows that aren't cron expressions. Otherwise only `Windows` reports them."""
    given = layers.given.get(("schedule", "windows"))
    if given is None:
        return
    with suppress(ValueError):  # these are reported already
        for mistake in CronList.mistakes(CronList().parse(given.raw, given.base)):
            layers.report(given.origin, f"schedule.windows: {mistake}")
