"""The answers on one connection, read from its bytes. Pure: it uses no socket and no event loop.

It decides where an answer ends, how much of it is kept, and when it is too long. It must never
take the bytes after an answer for another answer, and never keep more than its bounds.

An answer of the usual kind comes whole: a plain head, one length, so many bytes. It is read at one
go. httptools, which is fast and strict, reads any other answer whose head comes whole and plain.
`lenient_parser` reads all others with the parser of the httpx transport. All three agree about
which bytes are an answer.
"""

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shipper.destination.lenient_parser import ANSWER_LIMIT, HEAD_LIMIT, OddAnswer
from shipper.destination.request import BODY_LIMIT, KEPT, reply
from shipper.policy.outcome import Reply

__all__ = ["ANSWER_LIMIT", "HEAD_LIMIT", "AnswerParser"]

# RFC 9112, 4 and 5, without its allowances for old programs: the two parsers read these heads in
# the same way. Possessive, so that no head makes the pattern backtrack.
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
_PLAIN: Final = re.compile(
    rb"HTTP/1\.[01] [2-9][0-9][0-9](?: " + _TEXT + rb")?\r\n"
    rb"(?:[-!#$%&'*+.^_`|~0-9A-Za-z]++:" + _TEXT + rb"\r\n)*+\r\n"
)
_LENGTH, _CODING = b"content-length", b"transfer-encoding"
_FRAMING = {_LENGTH, _CODING}
# Only one of the parsers reads a longer number, with zeros in front.
_LENGTH_DIGITS = 19
# The headers in KEPT, and those that say whether the connection stays open.
_USED: Final = re.compile(
    rb"\r\n(" + b"|".join([*sorted(KEPT), b"connection", b"proxy-connection"]) + rb"):"
    rb"[\t ]*+([^\r]*+)",
    re.IGNORECASE,
)
_OPEN: Final = b"keep-alive"
_VERSION: Final = b"HTTP/1.1 "
_WITHOUT_BODY: Final = {204, 304}


class _StopError(Exception):
    """Stops the parser before the rest of its input."""


class AnswerParser:
    """Reads the answers on one connection, one at a time."""

    __slots__ = (
        "_body",
        "_fields",
        "_odd",
        "_parser",
        "_parts",
        "_received",
        "_status",
        "_whole",
        "reusable",
    )

    def __init__(self) -> None:
        self.reusable = True
        """Whether the connection can be used again after the last answer."""
        self._parser = HttpResponseParser(self)
        self._odd: OddAnswer | None = None
        self._parts: list[bytes] = []
        self._received = 0
        self._status = 0  # until the last header has come
        self._whole = False
        self._fields: dict[bytes, bytes] = {}
        self._body = bytearray()

    def feed(self, data: bytes) -> Reply | None:
        """Take the next bytes, at least one; return the answer if it is whole.

        After BODY_LIMIT bytes of a body the answer counts as whole. Raises NotHttpError.
        """
        if self._odd is None and not self._parts:
            end = _end_of_plain_head(data)
            found = _usual(data, end)
            if found is not None:
                self.reusable = True
                return found
            if not end:
                self._odd = OddAnswer()
        if self._odd is not None:
            return self._feed_odd(self._odd, data)
        self._parts.append(data)
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not self._whole:
                return self._start_again()
            # Bytes after a whole answer belong to no request.
            self.reusable = False
        if self._whole:
            return self._take()
        if self._received > ANSWER_LIMIT:
            self.reusable = False
            return self._take()
        return None

    def end(self) -> Reply | None:
        """Take the end of the connection; return the answer if that ends it."""
        if self._odd is not None:
            return self._odd.end()
        if self._status and not self._fields.keys() & _FRAMING:
            return self._take()
        return None

    def _start_again(self) -> Reply | None:
        self._parser = HttpResponseParser(self)
        self._odd = OddAnswer()
        # The last part made the other parser fail: the answer can't be whole before it.
        return self._feed_odd(self._odd, b"".join(self._parts))

    def _feed_odd(self, odd: OddAnswer, data: bytes) -> Reply | None:
        found = odd.feed(data)
        if found is not None:
            self.reusable = odd.reusable
            self._begin()
        return found

    def _take(self) -> Reply:
        found = reply(self._status, self._fields, self._body)
        self._begin()
        return found

    def _begin(self) -> None:
        self._odd = None
        self._parts = []
        self._received = self._status = 0
        self._whole = False
        self._fields = {}
        self._body = bytearray()

    # httptools calls the methods below. An exception there stops it.

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self._whole:
            raise _StopError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the first of each header in KEPT."""
        if self._status:
            return  # a trailer
        key = name.lower()
        if key in KEPT:
            if _is_odd(key, value) or (key in _FRAMING and self._fields.keys() & _FRAMING):
                raise _StopError
            self._fields.setdefault(key, value)

    def on_headers_complete(self) -> None:
        """Note the status."""
        self._status = self._parser.get_status_code()

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


def _end_of_plain_head(data: bytes) -> int:
    """Return where the body begins; 0 if the head isn't whole and plain."""
    head = _PLAIN.match(data)
    return head.end() if head is not None and head.end() <= HEAD_LIMIT else 0


def _usual(data: bytes, end: int) -> Reply | None:
    """Return the answer if it is of the usual kind, and there is nothing else in `data`.

    Its plain head ends at `end`. It is HTTP/1.1, it has one length and a body of that length, and
    it leaves the connection open. None says only that another parser has to read it.
    """
    length = len(data) - end
    if not end or length >= BODY_LIMIT or not data.startswith(_VERSION):
        return None
    found = _USED.findall(data, 0, end)
    fields = {name.lower(): value for name, value in found}
    status = int(data[9:12])
    is_usual = (
        len(fields) == len(found)
        and fields.get(_LENGTH) == b"%d" % length
        and _CODING not in fields
        and status not in _WITHOUT_BODY
        and _stays_open(fields)
    )
    return reply(status, fields, data[end:]) if is_usual else None


def _stays_open(fields: dict[bytes, bytes]) -> bool:
    said = fields.get(b"connection", _OPEN)
    return b"proxy-connection" not in fields and (said == _OPEN or said.lower() == _OPEN)


def _is_odd(key: bytes, value: bytes) -> bool:
    if key == _CODING:
        return value.strip().lower() != b"chunked"
    return key == _LENGTH and len(value) > _LENGTH_DIGITS
