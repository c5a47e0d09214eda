"""`shipper healthcheck`: ask the daemon's local HTTP port, for supervisors that only run commands.

It must be cheap, because it runs every few seconds for years: so it uses the standard library.
"""

import socket
from http.client import HTTPConnection, HTTPException
from typing import Final, Literal

from shipper.cli.output.context import Context
from shipper.config.listen import ListenAddress, Loopback, UnixSocket
from shipper.errors import UsageError
from shipper.wording.safe_text import printable

_PATHS: Final = {"live": "/livez", "ready": "/readyz"}
_STRANGER: Final = "another program than shipper answers there"
_TIMEOUT: Final = 5.0
_ANSWER_BYTES: Final = 4096


def healthcheck(what: Literal["live", "ready"], /, *, context: Context) -> int:
    """Ask the running daemon whether it works; exit status 1 if it doesn't, or doesn't answer.

    It needs the daemon's local port: [web] listen in the configuration. The daemon
    is ready also while the API is down.

    Parameters
    ----------
    what
        live: the delivery loop runs. ready: the daemon owns the outbox, and the database answers.
    """
    address = context.settings().web.listen
    if address is None:
        raise UsageError(
            "the daemon has no local port",
            'set listen = "127.0.0.1:9187" under [web], then reload the daemon',
        )
    is_well, answer = _ask(address, what)
    if context.json:
        context.emit({"ok": is_well, "check": what, "answer": answer})
    elif is_well:
        context.say(printable(answer))
    else:
        context.note(f"{address}: {printable(answer)}")
    return 0 if is_well else 1


def _ask(address: ListenAddress, what: str) -> tuple[bool, str]:
    connection = _Connection(address)
    try:
        connection.request("GET", _PATHS[what])
        response = connection.getresponse()
        answer = response.read(_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except OSError as error:
        return False, f"no answer: {(error.strerror or str(error)).lower()}"
    except HTTPException:
        return False, _STRANGER
    finally:
        connection.close()
    # Another program on this port must not count as the daemon.
    is_well = response.status == 200 and answer == what
    is_ours = is_well or (response.status == 503 and "\n" not in answer)
    return is_well, answer if is_ours else _STRANGER


class _Connection(HTTPConnection):
    """An HTTP connection over TCP or over a Unix socket."""

    def __init__(self, address: ListenAddress) -> None:
        host, port = (
            (address.host, address.port) if isinstance(address, Loopback) else ("localhost", None)
        )
        super().__init__(host, port, timeout=_TIMEOUT)
        self._path = address.path if isinstance(address, UnixSocket) else None

    def connect(self) -> None:
        """Connect to the address."""
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(str(self._path))
