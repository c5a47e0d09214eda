"""Answers that aren't plain: h11, the parser of the httpx transport, decides whether they are HTTP.

It decides only the bounds, and when a connection isn't used again. If two readers could see two
lengths of an answer, it must never rely on one: the status of the answer counts, and the connection
is closed (RFC 9112, 6.1 and 6.3).
"""

from typing import Final

import h11

from shipper.destination.request import BODY_LIMIT, NotHttpError, is_known, reply
from shipper.policy.outcome import Reply

# For one head, also of an interim answer: the limit of httpcore.
HEAD_LIMIT: Final = 100 * 1024
# For a whole answer. A body in tiny chunks is much longer on the wire, and no other limit bounds
# the trailers and the number of interim answers.
ANSWER_LIMIT: Final = 512 * 1024

_BEGINNING: Final = b"HTTP/"
# h11 checks HEAD_LIMIT only while a head isn't whole: small pieces make it check in time.
_PIECE: Final = 4 * 1024
# h11 reads no answer before a request is sent. The content of this request doesn't matter.
_REQUEST: Final = h11.Request(method="POST", target="/", headers=[("host", "it")])


class OddAnswer:
    """One answer, read by h11."""

    def __init__(self) -> None:
        self.reusable = False
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._parser.send(_REQUEST)
        self._parser.send(h11.EndOfMessage())
        self._response: h11.Response | None = None
        self._received = 0
        self._body = bytearray()

    def feed(self, data: bytes) -> Reply | None:
        """Take the next bytes; return the answer if it is whole. Raises NotHttpError."""
        if not self._received and data[: len(_BEGINNING)] != _BEGINNING[: len(data)]:
            raise NotHttpError  # h11 would wait for the end of a head for ever
        for at in range(0, len(data), _PIECE):
            self._received += len(data[at : at + _PIECE])
            found = self._read(data[at : at + _PIECE])
            if found is not None:
                self.reusable &= at + _PIECE >= len(data)
                return found
        if self._received > ANSWER_LIMIT:
            return self._reply()
        return None

    def end(self) -> Reply | None:
        """Take the end of the connection; return the answer if that ends it."""
        try:
            return self._read(b"")
        except NotHttpError:
            return None  # the answer was cut off

    def _read(self, data: bytes) -> Reply | None:
        try:
            self._parser.receive_data(data)
            while True:
                event = self._parser.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return None
                if isinstance(event, h11.ConnectionClosed):
                    return None
                if self._is_whole(event):
                    return self._reply()
        except h11.ProtocolError:
            raise NotHttpError from None

    def _is_whole(self, event: object) -> bool:
        match event:
            case h11.InformationalResponse(status_code=101):
                raise NotHttpError  # no request asks for another protocol
            case h11.Response():
                if not is_known(event.http_version):
                    raise NotHttpError
                self._response = event
            case h11.Data():
                self._body += event.data
                return len(self._body) >= BODY_LIMIT
            case h11.EndOfMessage() if self._response is not None:
                self.reusable = self._is_reusable(self._response)
                return True
        return False

    def _is_reusable(self, response: h11.Response) -> bool:
        names = {name for name, _ in response.headers}
        return (
            self._parser.their_state is h11.DONE
            and not self._parser.trailing_data[0]
            and not names >= {b"content-length", b"transfer-encoding"}
        )

    def _reply(self) -> Reply:
        if self._response is None:
            raise NotHttpError
        return reply(self._response.status_code, self._response.headers, self._body)
