"""The URL of a PostgreSQL server: every URL of libpq, in the form that SQLAlchemy takes.

A URL of libpq can name several hosts, each with a port, a socket's directory as host, and any
option (postgresql.org/docs/current/libpq-connect.html, 32.1.1.2). No message of this module must
ever show a part of the URL that can be a password.

An option of the URL wins over shipper's own value. If a promise depends on shipper's value, the URL
is refused.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

_URL = re.compile(
    r"(?:(?P<login>[^@/?]*)@)?(?P<hosts>[^@/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?P<name>\[[0-9A-Za-z:.%]+\]|[^\[\]:,]*)(?::(?P<port>[0-9]*))?")
_FORM: Final = (
    "must be like postgresql://user:password@host:5432/db, "
    "with %40, %2F and %3A for @, / and : in a user or password"
)
# The options of libpq 18 (postgresql.org/docs/18/libpq-connect.html, 32.1.2).
_OPTIONS: Final = frozenset(
    [
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_issuer",
        "oauth_scope",
        "options",
        "passfile",
        "password",
        "port",
        "replication",
        "require_auth",
        "requirepeer",
        "scram_client_key",
        "scram_server_key",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslkeylogfile",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    ]
)
# Options of libpq with a fixed set of values: a mistake is reported before the first connection.
_CHOICES: Final = {
    "sslmode": {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
    "target_session_attrs": {"any", "read-write", "primary"},
    "load_balance_hosts": {"disable", "random"},
    "channel_binding": {"disable", "prefer", "require"},
    "gssencmode": {"disable", "prefer", "require"},
}
_READS: Final = {"read-only", "standby", "prefer-standby"}
_NUMBERS: Final = frozenset(
    [
        "connect_timeout",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "tcp_user_timeout",
    ]
)

_LONGEST: Final = 60

# The settings that shipper's statements depend on, whatever a role, a database or a server sets;
# each with the first version of PostgreSQL that knows it. None is about speed. The first two
# come first: their old values can be too short for the others.
PINNED: Final = (
    ("statement_timeout", "30s", 13),
    ("transaction_timeout", "0", 17),
    ("lock_timeout", "5s", 13),
    ("idle_session_timeout", "0", 14),
    # A commit returns when it is on the disk.
    ("synchronous_commit", "on", 13),
    # A statement outside of a transaction sees everything that is committed, and can write.
    ("default_transaction_isolation", "read committed", 13),
    ("default_transaction_read_only", "off", 13),
    ("default_transaction_deferrable", "off", 13),
    # How values are read and written: `{NULL}`, backslashes, moments in seconds, bytes.
    ("array_nulls", "on", 13),
    ("standard_conforming_strings", "on", 13),
    ("backslash_quote", "safe_encoding", 13),
    ("extra_float_digits", "1", 13),
    ("bytea_output", "hex", 13),
    ("DateStyle", "ISO, MDY", 13),
    ("IntervalStyle", "postgres", 13),
    ("TimeZone", "UTC", 13),
    ("transform_null_equals", "off", 13),
    # A policy that hides rows must be an error and not look like an empty outbox.
    ("row_security", "off", 13),
    # An error of one statement must not end the session: shipper handles it.
    ("exit_on_error", "off", 13),
    # shipper changes rows, and not every access method can do that.
    ("default_table_access_method", "heap", 13),
)
# These only decide how long shipper waits: a URL is allowed to set them.
_PATIENCE: Final = frozenset(
    ["statement_timeout", "transaction_timeout", "lock_timeout", "idle_session_timeout"]
)
# A URL isn't allowed to set these, nor two more: texts come as UTF-8, and the session of a daemon
# that doesn't answer must end before its lease does.
_OURS: Final = {
    **{name.lower(): value for name, value, _ in PINNED if name not in _PATIENCE},
    "client_encoding": "UTF8",
    "idle_in_transaction_session_timeout": None,
}
# postgresql.org/docs/current/app-postgres.html: -c name=value, --name=value; \ before a space.
_SETTING = re.compile(r"(?:-c\s*|--)(?P<name>[\w.-]+)=(?P<value>(?:\\.|[^\s\\])*)")


class _Host(NamedTuple):
    name: str
    port: str


def canonical(rest: str) -> str:
    """Return the part after `postgresql://`, with several hosts in the form of SQLAlchemy.

    Raises ValueError, with the reason, for a URL that libpq would refuse.
    """
    parts = _URL.fullmatch(rest)
    if not rest or parts is None:
        raise ValueError(_FORM)
    named = [_host(text) for text in parts["hosts"].split(",")]
    options = parse_qsl(parts["query"] or "", keep_blank_values=True)
    asked = [_host(text) for name, value in options if name == "host" for text in value.split(",")]
    ports = [port for name, value in options if name == "port" for port in value.split(",")]
    _check(options)
    hosts = _paired(asked or named, ports)
    is_plain = len(hosts) == 1 and "%" not in parts["hosts"] and hosts[0] in {*named, *asked}
    if is_plain:
        return rest
    kept = [(name, value) for name, value in options if name not in {"host", "port"}]
    given = [("host", ",".join(host.name for host in hosts))]
    if any(host.port for host in hosts):
        given.append(("port", ",".join(host.port for host in hosts)))
    query = "&".join(f"{name}={quote(value, safe='/,:')}" for name, value in [*given, *kept])
    login = "" if parts["login"] is None else f"{parts['login']}@"
    return f"{login}{parts['path'] or '/'}?{query}"


def settings(options: str) -> dict[str, str]:
    """Return the settings in libpq's `options`, by small names; the last value counts."""
    return {
        match["name"].replace("-", "_").lower(): re.sub(r"\\(.)", r"\1", match["value"])
        for match in _SETTING.finditer(options)
    }


def preferred(options: str) -> dict[str, str]:
    """Return the settings in libpq's `options` that are allowed to replace pinned ones."""
    return {name: value for name, value in settings(options).items() if _is_free(name, value)}


def _is_free(name: str, value: str) -> bool:
    return name in _PATIENCE or (name, value) == ("synchronous_commit", "remote_apply")


def _host(text: str) -> _Host:
    # The name of a directory can hold a colon; then there is no port.
    match = _HOST.fullmatch(text) or (re.fullmatch("(?P<name>/.*)(?P<port>)", text))
    if match is None:
        raise ValueError(_FORM)
    port = match["port"] or ""
    if port and int(port) not in range(1, 65536):
        raise ValueError("must have a port from 1 to 65535")
    return _Host(unquote(match["name"]).strip("[]"), port)


def _paired(hosts: Sequence[_Host], ports: Sequence[str]) -> list[_Host]:
    """Return each host with its port. A single port is the port of all hosts."""
    for port in ports:
        if port and not (port.isascii() and port.isdigit() and int(port) in range(1, 65536)):
            raise ValueError("must have a port from 1 to 65535")
    if not ports:
        return list(hosts)
    if len(ports) not in {1, len(hosts)}:
        raise ValueError(
            f"names {len(hosts)} hosts and {len(ports)} ports: name one port per host, or one"
        )
    each = ports if len(ports) == len(hosts) else list(ports) * len(hosts)
    return [_Host(host.name, port) for host, port in zip(hosts, each, strict=True)]


def _check(options: Sequence[tuple[str, str]]) -> None:
    seen = set()
    for name, value in options:
        if name not in _OPTIONS:
            raise ValueError(f"has an option that libpq doesn't know: {name}")
        if name in seen and name not in {"host", "port"}:
            raise ValueError(f"has the option {name} twice")
        seen.add(name)
        if name in _CHOICES or name in _NUMBERS:
            _check_value(name, value)
        else:
            _check_promises(name, value)


def _check_value(name: str, value: str) -> None:
    if name == "target_session_attrs" and value in _READS:
        raise ValueError("asks for a server that refuses writes; use read-write or primary")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(
            f"must have one of these values for {name}: {', '.join(sorted(_CHOICES[name]))}"
        )
    if name in _NUMBERS and not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise ValueError(f"must have a whole number for {name}")
    if name == "connect_timeout" and int(value) not in range(1, _LONGEST + 1):
        raise ValueError(f"must have 1 to {_LONGEST} seconds for {name}: a stop waits that long")


def _check_promises(name: str, value: str) -> None:
    if name == "replication" and _plain(value) not in {"off", "0"}:
        raise ValueError("asks for a replication connection: remove replication")
    if name == "client_encoding":
        _refuse_setting(name, value)
    if name == "options":
        for each, wanted in settings(value).items():
            if not _is_free(each, wanted):
                _refuse_setting(each, wanted)


def _refuse_setting(name: str, value: str) -> None:
    """Raise ValueError if the URL sets a setting that a promise depends on to another value."""
    ours = _OURS.get(name, value)
    if ours is None or _plain(value) != _plain(ours):
        it = "itself" if ours is None else f"to {ours}"
        raise ValueError(f"sets {name}, which shipper has to set {it}: remove it")


def _plain(value: str) -> str:
    """Return a value in one spelling: UTF8 for utf-8, on for true."""
    text = "".join(c for c in value.lower() if c.isalnum())
    return {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(text, text)
