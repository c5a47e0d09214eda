"""Find the config file and make `Settings` of it and the environment.

It decides which file is read, and reports every fault of it at once; a file that others can read
and that holds a secret is a warning, because it may be meant so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from shipper.config.builder import Builder
from shipper.config.layers import Layers, dotted
from shipper.config.secret import masked
from shipper.config.settings import Settings
from shipper.config.source import read
from shipper.errors import ConfigError

SYSTEM_PATH = Path("/etc/shipper/config.toml")

# A group is somebody's decision: the service's own, which reads it so.
_OTHERS_READ = 0o004
_SECRETS = frozenset({"api_id", "heartbeat_url", "webhook_url"})


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
    source = read(find(path, environ, cwd))
    layers = Layers(source, cwd)
    layers.add_file()
    warnings = tuple(_exposed(layers))  # an override doesn't take the secret out of the file
    layers.add_environment(environ)
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    builder = Builder(layers, Path(credentials) if credentials else None, sends)
    settings: Settings | None = builder.build(Settings, ())
    if layers.faults or settings is None:
        in_order = sorted(layers.faults, key=lambda fault: fault[0])
        raise ConfigError([f"{place}: {message}" for place, message in in_order])
    return replace(
        settings,
        path=Path(source.name),
        origins=MappingProxyType(builder.origins),
        warnings=warnings,
    )


def _exposed(layers: Layers) -> Iterator[str]:
    """Yield a warning for each secret that stands in a file which others can read."""
    if not layers.source.mode & _OTHERS_READ:
        return
    for path, given in layers.given.items():
        has_password = isinstance(given.raw, str) and masked(given.raw) != given.raw
        if path[-1] in _SECRETS or has_password:
            yield (
                f"{given.place}: {dotted(path)} can be read by other users; "
                f"chmod o= {layers.source.name}, or keep it in a file of its own"
            )
