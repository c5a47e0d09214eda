"""Secrets: the type that holds one, the reader of its file, the mask of a URL.

No message of this module must ever hold a secret, a part of it, or its length.
"""

import os
import re
from pathlib import Path

from shipper.errors import AccessDenied

MASK = "****"

# A group's right to read is a decision: the service's group reads the file that way.
OTHERS_READ = 0o004

# Far more than any API ID or URL has. The limit also ends the reading of /dev/zero.
_MAX_BYTES = 64 * 1024

# Up to the last @: a password can hold an @, and its end must not be shown.
_USERINFO = re.compile(r"(?<=://)([^:@/?]*):.*@", re.DOTALL)
_QUERY = re.compile(r"([?&][^=&]*password)=[^&]*", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<=[?&])([^=&#]*)=([^&#]*)")
# A header or a parameter with such a word in its name holds a secret.
_SECRET_WORD = re.compile(
    r"auth|key|token|secret|passw|pwd|cookie|credential|signature|session|api-?_?id"
    r"|\A(?:sig|code|pass|pw|k)\Z",
    re.IGNORECASE,
)

SCHEMES = frozenset({"basic", "bearer", "digest", "token", "apikey"})
"""Schemes of authorization, in small letters: what follows one in a header is a secret."""


class Secret:
    """A text that shows itself as `****`. Only `reveal` returns the text."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text, for the code that sends it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def masked(url: str) -> str:
    """Return a URL without the passwords in its authority and its query."""
    return _QUERY.sub(rf"\1={MASK}", _USERINFO.sub(rf"\1:{MASK}@", url))


def looks_secret(name: str) -> bool:
    """Return whether a header or a parameter of this name usually holds a secret."""
    return _SECRET_WORD.search(name) is not None


def holds_secret(header: str, text: str) -> bool:
    """Return whether a header usually holds a secret, by its name or by how its text begins."""
    scheme, space, _ = text.partition(" ")
    return looks_secret(header) or (bool(space) and scheme.lower() in SCHEMES)


def without_secrets(url: str) -> str:
    """Return a URL without the values of the parameters that usually hold secrets.

    The placeholder of a secret, `{secret:NAME}`, stays: it isn't one.
    """
    return _PARAMETER.sub(_shown, masked(url))


def _shown(parameter: "re.Match[str]") -> str:
    name, value = parameter.groups()
    is_placeholder = value.startswith("{") and not value.startswith("{{")
    is_secret = bool(value) and looks_secret(name) and not is_placeholder
    return f"{name}={MASK}" if is_secret else parameter[0]


def secrets_in_query(url: str) -> list[str]:
    """Return the values that `without_secrets` hides."""
    return [
        parameter[2] for parameter in _PARAMETER.finditer(url) if _shown(parameter) != parameter[0]
    ]


def read_secret(path: Path, *, private: bool = False) -> str:
    """Return the one line of a file, without its line end.

    A `private` file must not be readable by other users (a group's right is a decision).

    Raises AccessDenied if this process isn't allowed to read the file. Raises ValueError if the
    file holds no usable secret; its message says why, without the file's name.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("is not a file")
        with path.open("rb") as file:
            if private and os.fstat(file.fileno()).st_mode & OTHERS_READ:
                raise ValueError(f"can be read by other users; chmod o= {path}")
            content = file.read(_MAX_BYTES + 1)
    except PermissionError:
        raise AccessDenied(
            f"can't read {path}: permission denied",
            hint="give the daemon's user the right to read it, or use systemd's LoadCredential=",
        ) from None
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise ValueError("is too long to be a secret")
    line = content.decode("utf-8", "replace").rstrip("\r\n")
    if not line:
        raise ValueError("is empty")
    return line


def api_id(text: str) -> Secret:
    """Return an API ID. Raises ValueError if it doesn't fit into a header.

    RFC 9110, 5.5 allows more characters in a header, but a space or an umlaut in an API ID is a
    mistake of copying.
    """
    if not text:
        raise ValueError("must not be empty")
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("must be visible ASCII on one line, without spaces")
    return Secret(text)
