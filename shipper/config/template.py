"""Texts with placeholders: the URL and the headers of a destination of kind http.

It decides how a value of an event is written into them. A value that comes from a row must never
change anything but its own place: not the host, the path's other segments, or another header.
Pure.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes

PLACEHOLDERS: Final = ("event_id", "ordering_key", "type", "destination")
"""What a template can hold of an event. `secret:NAME` is the fifth."""

SECRET: Final = "secret:"  # noqa: S105 - the word, not a secret
NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

# Visible ASCII without '%': quote_from_bytes encodes all other characters, and '%' starts a code.
_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
is_visible: Final = re.compile(f"[{re.escape(_VISIBLE)}]*").fullmatch
"""Whether a text is written into a header as it is."""
_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
# What may stand in a path and a query as it is (RFC 3986, 3.3 and 3.4), and codes that are there.
_IN_A_TARGET: Final = "/?:@!$&'()*+,;=-._~%"
# No receiver has to take more (RFC 9110, 4.1): it would refuse the event again and again.
_LONGEST: Final = 8000
_SLASH: Final = re.compile(r"/|%2f|%5c")
_KNOWN: Final = ", ".join(f"{{{name}}}" for name in (*PLACEHOLDERS, "secret:NAME"))


class Unbuildable(ValueError):
    """No request can be made from this event; the text says why. It is the event's own fault."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder: the name of a value, such as `event_id` or `secret:hook`."""

    name: str

    @property
    def secret(self) -> str | None:
        """The name of the secret, None for a value of the event."""
        return self.name.removeprefix(SECRET) if self.name.startswith(SECRET) else None


@dataclass(frozen=True, slots=True)
class Template:
    """A text, cut into what stays the same and the placeholders. `parts` never has two texts."""

    parts: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Return the template of a text; `{{` and `}}` write a brace. Raises ValueError."""
        parts: list[str | Placeholder] = []
        for part in _parts(text):
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            else:
                parts.append(part)
        return cls(tuple(parts))

    @property
    def names(self) -> frozenset[str]:
        """The names of the placeholders."""
        return frozenset(part.name for part in self.parts if isinstance(part, Placeholder))

    @property
    def secrets(self) -> frozenset[str]:
        """The names of the secrets."""
        return frozenset(name.removeprefix(SECRET) for name in self.names if SECRET in name)

    def in_url(self, values: Mapping[str, str | None]) -> str:
        """Return the path and query of a URL. Raises Unbuildable.

        Of a value everything but the unreserved characters of RFC 3986 is percent-encoded.
        """
        rendered = self._rendered(values, encoded_in_url, _literal)
        path = rendered.partition("?")[0]
        if has_dot_segment(path):
            raise Unbuildable("a value would change the path of the URL: it is . or ..")
        return rendered

    def in_header(self, values: Mapping[str, str | None]) -> str:
        """Return the value of a header. Raises Unbuildable.

        Of an event's value everything but visible ASCII is percent-encoded, and so is `%`. A secret
        is written as it is: it was checked when it was read.
        """
        return self._rendered(values, encoded_in_header, str)

    def _rendered(
        self,
        values: Mapping[str, str | None],
        encoded: Callable[[str], str],
        literal: Callable[[str], str],
    ) -> str:
        texts = []
        for part in self.parts:
            if isinstance(part, str):
                texts.append(literal(part))
                continue
            # A secret that wasn't read is a bug, and never the event's fault.
            value = values.get(part.name) if part.secret is None else values[part.name]
            if not value:
                raise Unbuildable(f"the event has no {part.name}, which {{{part.name}}} asks for")
            is_raw = part.secret is not None and encoded is encoded_in_header
            texts.append(value if is_raw else _checked(part.name, value, encoded))
        rendered = "".join(texts)
        if len(rendered) > _LONGEST:
            raise Unbuildable(f"with its values a URL or a header would be longer than {_LONGEST}")
        return rendered


def split(url: str) -> tuple[str, str]:
    """Return the scheme, host and port of a URL, and its path and query: what can be a template."""
    start = url.find("://") + 3
    ends = [place for mark in "/?" if (place := url.find(mark, start)) >= 0]
    end = min(ends, default=len(url))
    rest = url[end:]
    return url[:end], rest if rest.startswith("/") else f"/{rest}"


def _parts(text: str) -> Iterator[str | Placeholder]:
    for match in _PART.finditer(text):
        part, name = match[0], match[1]
        if part in {"{{", "}}"}:
            yield part[0]
        elif name is not None:
            yield _placeholder(name)
        elif part in {"{", "}"}:
            raise ValueError(f"has a lone {part}: write {part * 2} for the character itself")
        else:
            yield part


def _placeholder(name: str) -> Placeholder:
    if name in PLACEHOLDERS:
        return Placeholder(name)
    if name.startswith(SECRET) and NAME.fullmatch(name.removeprefix(SECRET)):
        return Placeholder(name)
    # The name itself isn't shown: it can be a secret that was written in braces.
    raise ValueError(
        f"holds an unknown placeholder: there are {_KNOWN}; write {{{{ and }}}} for braces"
    )


def _checked(name: str, value: str, encoded: Callable[[str], str]) -> str:
    try:
        return encoded(value)
    except UnicodeEncodeError:
        raise Unbuildable(f"the {name} holds a character that UTF-8 can't write") from None


def _literal(text: str) -> str:
    return quote_from_bytes(text.encode(), safe=_IN_A_TARGET)


def encoded_in_url(value: str) -> str:
    """Return a value for a URL. Raises UnicodeEncodeError, as `encoded_in_header` does."""
    return quote_from_bytes(value.encode("utf-8", "surrogateescape"), safe="")


def encoded_in_header(value: str) -> str:
    """Return a value for a header: visible ASCII, everything else percent-encoded UTF-8.

    Bytes that weren't UTF-8 when the value was read (surrogateescape) are encoded as these bytes.
    Raises UnicodeEncodeError for any other lone surrogate.
    """
    if is_visible(value):
        return value
    return quote_from_bytes(value.encode("utf-8", "surrogateescape"), safe=_VISIBLE)


def has_dot_segment(path: str) -> bool:
    """Return whether a receiver could read a part of a path as `.` or `..` (RFC 3986, 3.3).

    Some receivers decode a slash (nginx) or a backslash (IIS) before they look for such parts.
    """
    parts = _SLASH.split(path.lower().replace("%2e", "."))
    return "." in parts or ".." in parts
