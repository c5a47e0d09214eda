"""Why a login to a PostgreSQL server failed.

libpq gives no code while it connects. So this module, and no other, decides by words: those of
libpq, and those of the server if they are English. A failure with unknown words counts as a server
that can't be reached, and shipper tries again. A message always quotes the words, because they name
the cause. It never contains a password.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from shipper.errors import (
    AccessDenied,
    LoginRefused,
    SchemaError,
    ShipperError,
    StoreUnavailable,
)

_Meaning = tuple[type[ShipperError], str, str]

_AGAIN = StoreUnavailable
_LOGIN: Final = "the server refuses the login"
_OUT_OF_REACH: Final = "the database server can't be reached"

# The kind decides the exit status: with 69 shipper tries again, with 77 and 78 an operator has to
# change something. Several hosts can fail for different reasons; if one of them can come back, it
# is 69.
_MEANINGS: Final[Sequence[tuple[str, _Meaning]]] = (
    (
        r"password authentication failed|no password supplied|authentication failed for user",
        (LoginRefused, _LOGIN, "is the password in database.url (or url_file) right?"),
    ),
    (
        r"role .* does not exist|is not permitted to log in",
        (LoginRefused, _LOGIN, "CREATE ROLE … LOGIN, or name another user in database.url"),
    ),
    (
        r"pg_hba\.conf rejects|no pg_hba\.conf entry",
        (
            LoginRefused,
            _LOGIN,
            (
                "pg_hba.conf on the server refuses this user from this host; where it says"
                " `no encryption`, add ?sslmode=require to the URL"
            ),
        ),
    ),
    (
        r"permission denied for database",
        (AccessDenied, "the server refuses the database", "GRANT CONNECT ON DATABASE … TO …"),
    ),
    (
        r"database .* does not exist",
        (SchemaError, "the server has no such database", "create it, or name another one"),
    ),
    (
        r"does not support SSL, but SSL was required|server does not support SSL",
        (SchemaError, "the server speaks no TLS", "switch it on there, or take sslmode=prefer"),
    ),
    (
        (
            r"root certificate file .* does not exist|could not (?:read|load) .*certificate"
            r"|could not (?:read|load) (?:root|private key)|private key file .* "
            r"|definition of service|service file"
        ),
        (SchemaError, "a file that database.url names can't be used", "see the words above"),
    ),
    (
        (
            r"invalid \w+ value|invalid connection option|invalid port number|invalid integer value"
            r"|could not match \d+ |is not available because|not supported by (?:libpq|this build)"
            r"|authentication method .* not supported|authentication method requirement"
            r'|invalid "\w+" value|invalid SSL protocol version range|weak sslmode'
            r"|could not parse network address"
            # What the server says about libpq's `options`, or a pooler about any option.
            r"|unrecognized configuration parameter|invalid command-line argument"
            r"|(?:-c |--)\S+ requires a value|invalid value for parameter|valid range for parameter"
            r"|parameter .* cannot be (?:changed|set)|permission denied to set "
            r"|unsupported startup parameter|support command-line options"
        ),
        (
            SchemaError,
            "an option of database.url can't be used",
            "see the words above; options can also come from the environment (PGOPTIONS …)",
        ),
    ),
    (
        r"certificate verify failed|does not match host name|SSL error",
        (_AGAIN, "the server's TLS can't be trusted", "its certificate, or sslrootcert in the URL"),
    ),
    (
        r"session is (?:not )?read-only|server is (?:not )?in hot standby mode|is not a primary",
        (_AGAIN, "none of the servers takes writes", "is the primary among the URL's hosts?"),
    ),
    (
        r"too many (?:clients|connections)|connection slots are reserved|no more connections",
        (_AGAIN, "the server has no connection left", "max_connections, or the role's own limit"),
    ),
    (
        r"is starting up|is shutting down|in recovery mode|not yet accepting connections",
        (_AGAIN, "the server is starting or stopping", "wait"),
    ),
    (
        (
            r"could not translate host name|failed to resolve host|Name or service not known"
            r"|name resolution|nodename nor servname"
        ),
        (_AGAIN, _OUT_OF_REACH, "is the host in database.url right?"),
    ),
    (
        r"timeout expired|timed out|timeout",
        (_AGAIN, _OUT_OF_REACH, "a firewall, or the wrong host or port?"),
    ),
    (
        (
            r"Connection refused|No such file or directory|Connection reset|No route to host"
            r"|Network is unreachable|Host is down"
        ),
        (_AGAIN, _OUT_OF_REACH, "is it running, and are host and port right?"),
    ),
    (
        r"received invalid response",
        (_AGAIN, _OUT_OF_REACH, "is it PostgreSQL that listens there?"),
    ),
    (
        r"server closed the connection unexpectedly",
        (
            _AGAIN,
            _OUT_OF_REACH,
            "did PostgreSQL crash, can a proxy not reach it, or does another program listen there?",
        ),
    ),
)
_UNKNOWN: Final[_Meaning] = (
    _AGAIN,
    _OUT_OF_REACH,
    "is it running, and are host, port, user and password right?",
)
_ANY: Final = re.compile("|".join(f"(?P<m{at}>{words})" for at, (words, _) in enumerate(_MEANINGS)))
# The questions of libpq, and the words that psycopg adds, name no cause.
_NOISE: Final = re.compile(
    r"^\s*(?:Is the server running.*|This probably means.*|before or while processing.*"
    r"|Multiple connection attempts failed.*)$",
    re.MULTILINE,
)
_PREFIX: Final = re.compile(r"\bconnection failed: (?=connection )|- host: .*?: (?=connection )")
_CHARS: Final = 600
MASK: Final = "****"


def refused(
    error: Exception, place: str, user: str | None, secrets: Iterable[str] = ()
) -> ShipperError:
    """Return what a failed login to `place` as `user` means; the text has none of `secrets`.

    The text quotes libpq and the server. It is StoreUnavailable if trying again can help.
    """
    lines = _lines(str(error))
    kind, what, hint = _judged(lines)
    who = f"{place} as {user}" if user else place
    words = "; ".join(lines)
    for secret in secrets:
        if len(secret) > 2:  # a shorter one is part of many words, which would hide the message
            words = words.replace(secret, MASK)
    return kind(f"{what} ({who}): {words[:_CHARS]}", hint)


def _judged(lines: Iterable[str]) -> _Meaning:
    found = [meaning for line in lines if (meaning := _meaning(line)) is not None] or [_UNKNOWN]
    return next((meaning for meaning in found if meaning[0] is _AGAIN), found[0])


def _meaning(line: str) -> _Meaning | None:
    match = _ANY.search(line)
    if match is None or match.lastgroup is None:
        return None
    return _MEANINGS[int(match.lastgroup[1:])][1]


def _lines(words: str) -> list[str]:
    """Return the lines about the hosts, each once, without those that name no cause."""
    words = _PREFIX.sub("", _NOISE.sub("", words))
    return list(
        dict.fromkeys(text for line in words.splitlines() if (text := " ".join(line.split())))
    )
