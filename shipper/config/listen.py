"""The address of the local HTTP port: a loopback address with a port, or a Unix socket.

It must never accept any other address: the port is for this machine only and asks for no password.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from shipper.config.types import ValueType

_FORMS = '"127.0.0.1:9187", "[::1]:9187" or "unix:/run/shipper/web.sock"'
_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
# The most bytes of a sockaddr_un, without the zero byte at its end (unix(7)).
_PATH_BYTES = 107


@dataclass(frozen=True, slots=True)
class Loopback:
    """A loopback address of this machine, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the address as the configuration has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """The path of a socket in the file system."""

    path: Path

    def __str__(self) -> str:
        """Return the address as the configuration has it."""
        return f"unix:{self.path}"


ListenAddress = Loopback | UnixSocket


@dataclass(frozen=True, slots=True)
class Listen(ValueType):
    """An address to listen at; an empty text means none."""

    def parse(self, raw: object, base: Path) -> ListenAddress | None:
        """Return the address, or None for none."""
        if raw == "":
            return None
        if not isinstance(raw, str) or not raw.isprintable():
            raise ValueError(f"must be an address like {_FORMS}")
        if raw.startswith("unix:"):
            return _unix(raw.removeprefix("unix:"), base)
        return _loopback(raw)


def _unix(name: str, base: Path) -> UnixSocket:
    path = base / name
    if not name or name.endswith("/"):
        raise ValueError(f"must name a socket, like {_FORMS}")
    if len(str(path).encode()) > _PATH_BYTES:
        raise ValueError(f"the path of a socket has at most {_PATH_BYTES} bytes")
    return UnixSocket(path)


def _loopback(text: str) -> Loopback:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(f"must be an address and a port, like {_FORMS}")
    host, port = found["six"] or found["four"], int(found["port"])
    if not 0 < port < 2**16:
        raise ValueError("must have a port from 1 to 65535")
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ValueError(f"must begin with an address and not with a name, like {_FORMS}") from None
    if not address.is_loopback:
        raise ValueError(
            "must stay on this machine: the port has no password. To open it to others, put a proxy"
            f" before it. Write {_FORMS}"
        )
    return Loopback(str(address), port)
