"""Facts for help, man page and manual: exit statuses, files, environment variables.

Each fact is written here once. README has them too, and a test compares them.
"""

from collections.abc import Mapping
from typing import Final

EXIT_STATUSES: Final[Mapping[str, str]] = {
    "0": "ok",
    "1": "negative finding: an invalid event, nothing found, a broken invariant",
    "2": "usage",
    "69": "database unreachable",
    "70": "a bug in shipper",
    "75": "try again: another daemon holds the outbox, or events are still pending",
    "77": "permission: the operating system or the database denies access",
    "78": "configuration or schema: invalid, or of another version",
    "130": "interrupted",
}
NAGIOS: Final = (
    "`shipper status --nagios` has those of a monitoring plugin: 0 ok, 1 warning, 2 critical,"
    " 3 unknown."
)
FILES: Final[Mapping[str, str]] = {
    "./shipper.toml": "the configuration, if the working directory has one",
    "/etc/shipper/config.toml": "the configuration of the service",
    "/etc/shipper/api_id": "the API ID of the service, if its configuration names this file",
    "/etc/shipper/NAME.toml": "the configuration of the service shipper@NAME",
    "/var/lib/shipper": "the directory that `shipper service install` makes for an outbox",
    "FILE.shipper.lock": "beside an SQLite file: locked by the daemon that ships it",
    "FILE.shipper.reserve": "beside an SQLite file: room to record deliveries on a full disk",
    "FILE.shipper.removed-wal": "a WAL that another program removed, kept by the daemon",
    "FILE.shipper.replaced-wal": "the WAL of an SQLite file that another file has replaced",
}
ENVIRONMENT: Final[Mapping[str, str]] = {
    "SHIPPER_CONFIG": "the configuration file, without --config",
    "SHIPPER_SECTION__KEY": "overrides a setting: SHIPPER_LOG__LEVEL=debug",
    "CREDENTIALS_DIRECTORY": "the directory where systemd puts credentials",
    "NO_COLOR": "if set, there are no colours",
}


def short_statuses() -> str:
    """Return the exit statuses on one line, each up to its colon."""
    return ", ".join(f"{code} {text.partition(':')[0]}" for code, text in EXIT_STATUSES.items())
