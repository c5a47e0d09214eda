"""The types of value that only a destination of kind http has.

No message of this module must ever show a value that can be a secret: a header's, or what was
written in the place of a secret's file.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from shipper.config.secret import MASK, looks_secret
from shipper.config.template import Template
from shipper.config.types import FilePath, ValueType, shown
from shipper.policy.answers import FIRST, LAST, codes

# RFC 9110, 5.6.2.
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")

# More than any receiver takes, and less than what makes a head too long.
_LONGEST_TEXT: Final = 4096
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+ *(?:;[\x20-\x7e]*)?", re.ASCII)
_SENDABLE: Final = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class HeaderValue:
    """What a header is made of: a text with placeholders, or a file. Exactly one is set."""

    text: str | None = None
    file: Path | None = None

    def __repr__(self) -> str:
        """Return no text: it can be a secret."""
        return f"HeaderValue({MASK if self.file is None else self.file})"

    def written_secrets(self, name: str) -> list[str]:
        """Return the secrets that the text holds, judged by the header's name.

        A text with the placeholder of a secret holds none: it only says where the secret is.
        """
        if self.text is None or not looks_secret(name):
            return []
        template = Template.parse(self.text)
        literals = (part.strip() for part in template.parts if isinstance(part, str))
        return [] if template.secrets else [text for text in literals if text]


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that holds a secret."""

    file: Path


@dataclass(frozen=True, slots=True)
class HeaderText(ValueType):
    """The value of a header: a text with placeholders, or `{ file = "…" }`."""

    secret: ClassVar[bool] = True

    def parse(self, raw: object, base: Path) -> HeaderValue:
        """Return the value."""
        if isinstance(raw, dict):
            return HeaderValue(file=_file_of(raw, base))
        if not isinstance(raw, str) or not sendable(raw):
            raise ValueError(
                'must be { file = "/path" }, or a text in quotes: 1 to 4096 characters of'
                " visible ASCII and spaces, without a line break or a space at its ends"
            )
        Template.parse(raw)
        return HeaderValue(text=raw)

    def show(self, value: HeaderValue) -> str:
        """Return the text, or the file."""
        return _as_file(value.file) if value.text is None else value.text


@dataclass(frozen=True, slots=True)
class FileOfSecret(ValueType):
    """A secret that a placeholder names: `{ file = "…" }`."""

    secret: ClassVar[bool] = True

    def parse(self, raw: object, base: Path) -> SecretFile:
        """Return the file."""
        if isinstance(raw, dict):
            return SecretFile(_file_of(raw, base))
        raise ValueError('must be { file = "/path" }: a secret has a file of its own')

    def show(self, value: SecretFile) -> str:
        """Return the file as the configuration has it."""
        return _as_file(value.file)


@dataclass(frozen=True, slots=True)
class Text(ValueType):
    """A text of visible ASCII and spaces on one line, empty for none."""

    secret: ClassVar[bool] = False

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the text."""
        if isinstance(raw, str) and (not raw or sendable(raw)):
            return raw
        raise ValueError(
            f"must be a text of visible ASCII on one line, up to {_LONGEST_TEXT} characters, not"
            f" {shown(raw)}"
        )


@dataclass(frozen=True, slots=True)
class HeaderName(ValueType):
    """The name of a header, empty for none."""

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the name."""
        if isinstance(raw, str) and (not raw or HEADER_NAME.fullmatch(raw)):
            return raw
        raise ValueError(f'must be the name of a header, or "" for none, not {shown(raw)}')


@dataclass(frozen=True, slots=True)
class MediaType(ValueType):
    """A content type, such as "application/json"."""

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the content type."""
        if isinstance(raw, str) and len(raw) <= _LONGEST_TEXT and _MEDIA_TYPE.fullmatch(raw):
            return raw.rstrip()
        raise ValueError(f'must be a content type like "application/json", not {shown(raw)}')


@dataclass(frozen=True, slots=True)
class Statuses(ValueType):
    """Status codes from 200 to 599, such as `[409, "5xx"]`."""

    def parse(self, raw: object, base: Path) -> tuple[int | str, ...]:  # noqa: ARG002
        """Return the codes and classes as they are written."""
        entries = raw if isinstance(raw, list) else [raw]
        for entry in entries:
            try:
                codes(entry)
            except ValueError:
                raise ValueError(
                    f"must be a list of status codes from {FIRST} to {LAST}, or of classes like"
                    f' "5xx", not {shown(entry)}'
                ) from None
        return tuple(entries)

    def from_text(self, text: str) -> object:
        """Return the list that the text means, such as `409, 5xx`."""
        entries = [entry.strip(" \"'") for entry in text.strip(" []").split(",") if entry.strip()]
        return [int(each) if each.isascii() and each.isdigit() else each for each in entries]

    def show(self, value: tuple[int | str, ...]) -> str:
        """Return the list as TOML."""
        written = (f'"{each}"' if isinstance(each, str) else str(each) for each in value)
        return f"[{', '.join(written)}]"


def sendable(text: str) -> bool:
    """Return whether a text can be the value of a header (RFC 9110, 5.5)."""
    is_ascii = _SENDABLE.fullmatch(text) is not None
    return is_ascii and 0 < len(text) <= _LONGEST_TEXT and text == text.strip()


def _file_of(raw: dict[str, Any], base: Path) -> Path:
    if set(raw) != {"file"}:
        raise ValueError('must be { file = "/path" } and nothing else')
    try:
        return FilePath().parse(raw["file"], base)
    except ValueError:  # it would show what was written
        raise ValueError('must be { file = "/path" }, with the path of a file') from None


def _as_file(file: Path | None) -> str:
    return f'{{ file = "{file}" }}'
