"""Every secret of a destination, as its files hold it now.

It decides where a destination's secrets are, and what each of them has to look like. No message of
this module must ever hold a secret, a part of it, or its length.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from shipper.config.destination import DestinationSettings
from shipper.config.http_types import sendable
from shipper.config.secret import read_secret, secrets_in_query
from shipper.config.signing import parse_secrets, signing_texts
from shipper.config.template import encoded_in_url
from shipper.errors import AccessDenied, ConfigError

Check: TypeAlias = Callable[[str], object]
"""Raises ValueError, without showing it, if a text can't be the secret."""


@dataclass(frozen=True, repr=False)
class Secrets:
    """The secrets of one destination, as they are sent or as its files hold them."""

    api_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The content of the files of headers, by the headers' names."""
    named: Mapping[str, str] = field(default_factory=dict)
    """What `{secret:NAME}` stands for, by NAME."""
    token: str = ""
    """The bearer token."""
    password: str = ""
    """The password of basic authentication."""
    client_secret: str = ""
    signing: str = ""
    """The content of the file of signing secrets: one or two lines."""
    written: tuple[str, ...] = ()
    """Secrets that the configuration itself holds, and forms in which secrets are sent."""

    def all(self) -> tuple[str, ...]:
        """Return every text that must be masked: the secrets, and their encoded forms."""
        named = self.named.values()
        texts = [self.api_id, *self.headers.values(), *named, self.token, self.password]
        texts += [self.client_secret, *signing_texts(self.signing), *self.written]
        return tuple(dict.fromkeys(text for text in texts if text))


NO_SECRETS: Final = Secrets()


class SecretPlace(NamedTuple):
    """A file with a secret: the setting that names it, below its destination."""

    setting: tuple[str, ...]
    file: Path
    check: Check


def places(settings: DestinationSettings) -> Iterator[SecretPlace]:
    """Yield the files of a destination's secrets, but for its API ID."""
    for name, header in settings.headers.items():
        if header.file is not None:
            yield SecretPlace(("headers", name), header.file, _in_a_header)
    for name, secret in settings.secrets.items():
        yield SecretPlace(("secrets", name), secret.file, _in_a_header)
    auth = settings.auth
    for name, file, check in (
        ("token_file", auth.token_file, _a_token),
        ("password_file", auth.password_file, _a_text),
        ("client_secret_file", auth.client_secret_file, _a_text),
    ):
        if file is not None:
            yield SecretPlace(("auth", name), file, check)
    if settings.sign.secret_file is not None:
        yield SecretPlace(("sign", "secret_file"), settings.sign.secret_file, parse_secrets)


def files(settings: DestinationSettings) -> tuple[Path, ...]:
    """Return the files whose change changes the destination's secrets."""
    own = () if settings.api_id_file is None else (settings.api_id_file,)
    return tuple(dict.fromkeys([*own, *(place.file for place in places(settings))]))


def read_secrets(settings: DestinationSettings) -> Secrets:
    """Return the secrets of a destination. Read its files each time, because they can change.

    Raises ConfigError if a file holds no usable secret or others can read it, AccessDenied if this
    process isn't allowed to read it.
    """
    if settings.kind == "8select":
        return Secrets(api_id=settings.read_api_id().reveal())
    found = {place.setting: _read(settings.name, place) for place in places(settings)}
    headers = {name: text for (table, name), text in found.items() if table == "headers"}
    named = {name: text for (table, name), text in found.items() if table == "secrets"}
    password = found.get(("auth", "password_file"), "")
    return Secrets(
        headers=MappingProxyType(headers),
        named=MappingProxyType(named),
        token=found.get(("auth", "token_file"), ""),
        password=password,
        client_secret=found.get(("auth", "client_secret_file"), ""),
        signing=found.get(("sign", "secret_file"), ""),
        written=(*_written(settings), *_sent(settings, password, named)),
    )


def read_place(place: SecretPlace) -> str:
    """Return the secret in a file.

    Raises ValueError if the file holds no usable secret or others can read it; its message says
    why, without the file's name. Raises AccessDenied if this process isn't allowed to read it.
    """
    text = read_secret(place.file, private=True)
    place.check(text)
    return text


def _read(name: str, place: SecretPlace) -> str:
    try:
        return read_place(place)
    except ValueError as error:
        setting = ".".join(place.setting)
        raise ConfigError(
            [f"destinations.{name}.{setting}: {place.file} {error}"],
            f"put the secret into {place.file}, on one line, mode 0600",
        ) from None
    except AccessDenied as error:
        raise AccessDenied(f"destinations.{name}: {error.message}", error.hint) from None


def _written(settings: DestinationSettings) -> Iterator[str]:
    """Yield what the configuration itself holds and is a secret by its name."""
    for name, header in settings.headers.items():
        yield from header.written_secrets(name)
    for url in (settings.url, settings.validate_url):
        yield from secrets_in_query(url)


def _sent(settings: DestinationSettings, password: str, named: Mapping[str, str]) -> Iterator[str]:
    """Yield secrets in the form in which they are sent, if that isn't how their file has them."""
    yield from map(encoded_in_url, named.values())
    if password:  # RFC 7617, 2
        yield b64encode(f"{settings.auth.user}:{password}".encode()).decode()


def _in_a_header(text: str) -> None:
    if not sendable(text):
        raise ValueError("must be visible ASCII on one line, with no space at its beginning or end")


def _a_token(text: str) -> None:
    if not sendable(text) or " " in text:
        raise ValueError("must be visible ASCII on one line, without spaces")


def _a_text(text: str) -> None:
    # RFC 7617, 2 forbids control characters; the last one stands for a byte that is no UTF-8.
    if re.search("[\x00-\x1f\x7f\ufffd]", text):
        raise ValueError("must be a text in UTF-8, on one line, without control characters")
