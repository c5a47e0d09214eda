"""The answers on one connection, off the bytes as they come. Pure: knows no socket and no loop.

It decides where an answer ends, what of it is kept, and how much of it is put up with. It must
never take for an answer what follows one, and never hold on to more than its bounds.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shipper.destination.way import BODY_LIMIT, NotHttpError
from shipper.outcome import Reply

# For a head with all interim answers before it. What h11 takes, and so the stock way.
HEAD_LIMIT: Final = 100 * 1024
# Each header counts for so much more than its text, which bounds their number too; RFC 9113, 6.5.2.
_HEADER_COST = 32
# A body in tiny chunks is that much longer on the wire, and trailers have no other bound.
ANSWER_LIMIT: Final = 512 * 1024

_LENGTH, _CODING = b"content-length", b"transfer-encoding"
_KEPT = frozenset({b"content-type", b"retry-after", b"date", _LENGTH, _CODING})


class _StopError(Exception):
    """Ends the parser's work on the rest of its input."""


class Answers:
    """What a receiver says on one connection, an answer at a time."""

    def __init__(self) -> None:
        self.reusable = True
        """Whether the answer that came last leaves the connection fit for another request."""
        self._parser = HttpResponseParser(self)
        # As h11 does, and harmless where one request is answered at a time: a bare line feed, a
        # folded header, a control character, a blank behind the size of a chunk.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._fields: dict[bytes, bytes] = {}
        self._begin()

    def feed(self, data: bytes) -> Reply | None:
        """Take the next bytes, at least one; return an answer when it is whole.

        Of a body beyond BODY_LIMIT the rest isn't waited for. Raises NotHttpError.
        """
        # The parser would take RTSP and ICE as well.
        if not self._received and not data.startswith(b"H"):
            raise NotHttpError
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not self._whole:
                raise NotHttpError from None
            # What follows a whole answer belongs to nobody.
            self.reusable = False
        if self._whole:
            return self._take()
        return self._judge_excess() if self._received > HEAD_LIMIT else None

    def end(self) -> Reply | None:
        """Take the end of the connection; return the answer that ends by it, if one does."""
        if self._status and not self._fields.keys() & {_LENGTH, _CODING}:
            return self._take()
        return None

    def _judge_excess(self) -> Reply | None:
        if not self._status:
            raise NotHttpError
        if self._received <= ANSWER_LIMIT:
            return None
        self.reusable = False
        return self._take()

    def _take(self) -> Reply:
        fields = self._fields
        reply = Reply(
            self._status,
            content_type=_text(fields.get(b"content-type")) or "",
            retry_after=_text(fields.get(b"retry-after")),
            date=_text(fields.get(b"date")),
            body=bytes(self._body[:BODY_LIMIT]),
        )
        self._begin()
        return reply

    def _begin(self) -> None:
        self._status = 0  # until the last header of a final answer has come
        self._whole = False
        self._received = 0
        self._head_size = 0
        self._body = bytearray()

    # The rest is called by the parser. Whatever is raised there ends its work.

    def on_message_begin(self) -> None:
        """Forget an interim answer's headers; refuse a second answer to one request."""
        if self._whole:
            raise _StopError
        self._fields = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the first of each header that somebody asks for."""
        if self._status:
            return  # a trailer
        self._head_size += len(name) + len(value) + _HEADER_COST
        if self._head_size > HEAD_LIMIT:
            raise _StopError
        key = name.lower()
        if key in _KEPT:
            if key == _CODING and value.strip().lower() != b"chunked":
                raise _StopError
            self._fields.setdefault(key, value)

    def on_headers_complete(self) -> None:
        """Tell a final answer from an interim one; nobody asked for another protocol."""
        status = self._parser.get_status_code()
        if status < 100 or status == 101:
            raise _StopError
        if status >= 200:
            self._status = status

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body, up to the limit."""
        self._body += part
        if len(self._body) >= BODY_LIMIT:
            self._whole = True
            raise _StopError

    def on_message_complete(self) -> None:
        """Note that an answer is whole."""
        if self._status:
            self._whole = True
            self.reusable = self._parser.should_keep_alive()


def _text(value: bytes | None) -> str | None:
    # RFC 9110, 5.5: whatever isn't ASCII is opaque.
    return None if value is None else value.strip().decode("latin-1")
