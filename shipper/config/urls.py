"""The types of URL that a setting can have.

No message of this module must ever show a part of a URL that can be a password.
"""

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult, unquote, urlsplit

from shipper.config import postgres
from shipper.config.secret import MASK, Secret, masked, without_secrets
from shipper.config.template import NOT_IN_ORIGIN, split
from shipper.config.types import ValueType

_POSTGRES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
# Schemes that operators write for SQLite, with or without slashes.
_MEANS_SQLITE = frozenset({"sqlite", "sqlite2", "sqlite3", "file"})
_OF_THE_ROOT = frozenset({"data", "home", "mnt", "opt", "root", "run", "srv", "tmp", "usr", "var"})
# ${DIR}, $DIR, %(dir)s, {{ dir }}, <dir>, %DIR%: placeholders of shells, templates, manuals.
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\$\w+|%\(\w+\)s|\{\{.*?\}\}|<[^>/]*>|%[A-Z_]{3,}%")
_BESIDE = ("-wal", "-shm", "-journal", ".shipper.lock", ".shipper.reserve")
# libpq's other form: keywords and values.
_KEYWORDS = re.compile(r"\s*(?:host|hostaddr|port|dbname|user|password|service)\s*=")
_READABLE = "must be https, or stay on this machine: what is sent is secret"
_FORMS = "sqlite:////var/lib/shop/shop.db or postgresql://user@host/db"


@dataclass(frozen=True, slots=True)
class DatabaseUrl(ValueType):
    """The URL of the outbox's database, in the form that SQLAlchemy takes."""

    secret: ClassVar[bool] = True

    def parse(self, raw: object, base: Path) -> str:
        """Return the URL with shipper's driver; a relative SQLite path is under `base`."""
        if not isinstance(raw, str) or not raw or not raw.isprintable():
            raise ValueError(f"must be a URL like {_FORMS}")
        if raw != raw.strip():
            raise ValueError("begins or ends with a space")
        scheme, separator, rest = raw.partition("://")
        if not separator:
            raise ValueError(_missing_scheme(raw))
        backend, _, driver = scheme.partition("+")
        if scheme == "sqlite":
            return f"sqlite:///{_sqlite_path(rest, base)}"
        if scheme.lower() in _MEANS_SQLITE:
            path = rest if scheme == "file" else rest.removeprefix("/")
            raise ValueError(f'has an unknown scheme: write "{_spelled(path)}"')
        if scheme in _POSTGRES:
            return f"postgresql+psycopg://{postgres.canonical(rest)}"
        if driver and backend in {"sqlite", *_POSTGRES}:
            raise ValueError(f"names a driver; write {backend}:// and shipper uses its own")
        raise ValueError(f"must be SQLite or PostgreSQL, like {_FORMS}")

    def show(self, value: str) -> str:
        """Return the URL without its passwords."""
        return masked(value)


def _missing_scheme(raw: str) -> str:
    if _KEYWORDS.match(raw):
        return (
            "is a string of keywords, not a URL: write host=h port=5432 dbname=db user=u as"
            " postgresql://u@h:5432/db, and everything else after a question mark"
        )
    scheme, colon, rest = raw.removeprefix("jdbc:").partition(":")
    if colon and scheme.lower() in _MEANS_SQLITE:
        return f'needs three slashes after the name: write "{_spelled(rest)}"'
    if "@" in raw or ("/" not in raw and "." not in raw):
        return f"must be a URL like {_FORMS}"
    # Only `%` and `?` mean something in the path of a SQLAlchemy URL.
    path = raw.replace("%", "%25").replace("?", "%3F")
    return f'is a path, not a URL: write "sqlite:///{path}"'


def _spelled(rest: str) -> str:
    """Return the URL that was meant by a path after `sqlite:` with too few slashes."""
    path = rest.removeprefix("localhost")
    # A path that begins with a directory of / means that one, not one beside the configuration.
    absolute = path.startswith("/") or path.partition("/")[0] in _OF_THE_ROOT
    return f"sqlite:///{'/' if absolute else ''}{path.lstrip('/')}"


def _sqlite_path(rest: str, base: Path) -> str:
    path = rest.removeprefix("/")
    if not rest.startswith("/"):
        raise ValueError(
            "needs three slashes and the path, which begins with a fourth if absolute:"
            f' write "{_spelled(rest)}"'
            if rest
            else f"needs three slashes and the path, like {_FORMS}"
        )
    name = path.rpartition("/")[2]
    if name in {"", ":memory:", ".", ".."}:
        raise ValueError("must name a file: the application and shipper share it")
    if "?" in path or path.startswith("file:"):
        raise ValueError("can't have options: shipper sets its own on each connection")
    _refuse_slips(path, name)
    if path.startswith("/"):
        return f"/{path.lstrip('/')}"  # a shell makes one slash too many from /${DIR}/
    # The daemon and a command start in different directories and must open the same file.
    absolute = os.path.abspath(base / unquote(path))  # noqa: PTH100 - resolve() follows links
    return absolute.replace("%", "%25").replace("?", "%3F")


def _refuse_slips(path: str, name: str) -> None:
    """Raise ValueError for a path that the system accepts but that can't be meant."""
    if found := _PLACEHOLDER.search(path):
        raise ValueError(
            f"holds {found[0]}, and shipper expands nothing: write the path itself, or set"
            " SHIPPER_DATABASE__URL where the path is known (write %24 for a $ in a name)"
        )
    if path.lstrip("/").startswith("~"):
        raise ValueError("holds ~, and shipper expands nothing: write the whole path")
    if "\\" in path:
        raise ValueError(
            "holds a backslash: write a path with / (and %5C for a backslash in a name)"
        )
    plain = unquote(name)
    if not unquote(path).isprintable() or "\ufffd" in unquote(path):
        raise ValueError("holds a control character, written with %")
    if plain.endswith(_BESIDE):
        raise ValueError("names a file beside the database, not the database itself")


@dataclass(frozen=True, slots=True)
class DestinationUrl(ValueType):
    """A URL of a destination: https, or plain http to this machine."""

    secret: ClassVar[bool] = True
    can_be_empty: bool = False

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the URL as it is written. For kind http it is a template."""
        if self.can_be_empty and raw == "":
            return ""
        try:
            url = _address(raw)
        except ValueError:
            origin = split(raw)[0] if isinstance(raw, str) else ""
            if "{" in origin and "@" not in origin:
                raise ValueError(NOT_IN_ORIGIN) from None
            raise
        if not keeps_secrets(url):
            raise ValueError(_READABLE)
        return url

    def show(self, value: str) -> str:
        """Return the URL without the secrets in its query."""
        return without_secrets(value)


@dataclass(frozen=True, slots=True)
class AskedUrl(ValueType):
    """A URL without placeholders, that of a token endpoint; or empty."""

    secret: ClassVar[bool] = True

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the URL as it is written."""
        if isinstance(raw, str) and ("{" in raw or "}" in raw):
            raise ValueError("can't have placeholders; write %7B and %7D for braces")
        url = _address(raw) if raw else ""
        if not keeps_secrets(url):
            raise ValueError(_READABLE)
        return url

    def show(self, value: str) -> str:
        """Return the URL without the secrets in its query."""
        return without_secrets(value)


@dataclass(frozen=True, slots=True)
class ProxyUrl(ValueType):
    """The URL of an HTTP proxy. It can hold a user and a password."""

    secret: ClassVar[bool] = True

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the URL as it is written."""
        url, parts = _web_url(raw)
        if parts.path not in {"", "/"} or "?" in url or "#" in url:
            raise ValueError("must end after the host and the port, like http://proxy:3128")
        return url

    def show(self, value: str) -> str:
        """Return the URL without its password."""
        return masked(value)


@dataclass(frozen=True, slots=True)
class HookUrl(ValueType):
    """The URL that receives alerts. All of it is secret: it is all that a sender needs to know."""

    secret: ClassVar[bool] = True

    def parse(self, raw: object, base: Path) -> Secret:  # noqa: ARG002
        """Return the URL as a `Secret`."""
        url = _address(raw)
        if not keeps_secrets(url):
            raise ValueError("must be https, or stay on this machine: the URL is secret")
        return Secret(url)

    def show(self, value: Secret) -> str:  # noqa: ARG002
        """Return the mask."""
        return MASK


def _web_url(raw: object) -> tuple[str, SplitResult]:
    # Parsers of URLs disagree about the host if a URL holds a backslash.
    if not isinstance(raw, str) or not all("!" <= c <= "~" and c != "\\" for c in raw):
        raise ValueError("must be a URL in visible ASCII, like https://host/path")
    try:
        parts = urlsplit(raw)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.scheme not in {"http", "https"}:
        raise ValueError("must be a URL like https://host/path")
    return raw, parts


def _address(raw: object) -> str:
    """Return a URL that receives requests: without a login and without a fragment."""
    url, parts = _web_url(raw)
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password")
    if "#" in url:
        raise ValueError("must not hold a fragment (#)")
    return url


def keeps_secrets(url: str) -> bool:
    """Return whether only the receiver can read what is sent to a URL: by TLS, or on this machine.

    The names of this machine are never looked up (`destination.resolve`).
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
