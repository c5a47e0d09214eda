"""Warns of secrets that other users can read: the check of a file's mode.

It decides which modes expose a secret. An exposed secret is a warning and not a mistake, because it
can be intended. No warning must ever show a secret.
"""

from collections.abc import Iterator
from stat import S_ISREG

from shipper.config.layers import Layers, RawValue, SettingPath, dotted
from shipper.config.secret import OTHERS_READ, holds_secret, masked, secrets_in_query
from shipper.config.types import FilePath

_SECRETS = frozenset({"api_id", "heartbeat_url", "webhook_url"})
_SECRET_FILES = frozenset({*(f"{name}_file" for name in _SECRETS), "url_file"})

_IN_A_TABLE = len(("destinations", "NAME", "secrets", "api_id"))


def exposed_in_file(layers: Layers) -> Iterator[str]:
    """Yield a warning for each secret in a configuration file that other users can read."""
    if not layers.source.mode & OTHERS_READ:
        return
    for path, given in layers.given.items():
        # What is in a table below a destination has a name of the operator's, such as api_id.
        is_secret = path[-1] in _SECRETS and len(path) < _IN_A_TABLE
        if is_secret or _has_password(given) or _is_in_request(path, given):
            yield (
                f"{given.origin}: {dotted(path)} can be read by other users; "
                f"chmod o= {layers.source.name}, or keep the secret in a file of its own"
            )


def _is_in_request(path: SettingPath, given: RawValue) -> bool:
    """Return whether a header or a parameter of a destination holds a secret, by its name."""
    if path[0] != "destinations" or not isinstance(given.raw, str):
        return False
    if path[2:-1] == ("headers",):
        return holds_secret(path[-1], given.raw) and "{secret:" not in given.raw
    return path[-1] in {"url", "validate_url"} and bool(secrets_in_query(given.raw))


def exposed_files(layers: Layers) -> Iterator[str]:
    """Yield a warning for each file of a secret that other users can read."""
    for path, given in layers.given.items():
        if path[-1] not in _SECRET_FILES:
            continue
        if path[-1] == "url_file" and not _has_password(layers.given.get((*path[:-1], "url"))):
            continue
        try:
            file = FilePath().parse(given.raw, given.base)
            mode = file.stat().st_mode
        except (ValueError, OSError):
            continue  # the reader of that file reports it
        if S_ISREG(mode) and mode & OTHERS_READ:
            yield f"{given.origin}: {file} can be read by other users; chmod o= {file}"


def _has_password(given: RawValue | None) -> bool:
    return given is not None and isinstance(given.raw, str) and masked(given.raw) != given.raw
