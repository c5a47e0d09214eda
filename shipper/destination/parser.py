"""The answers on one connection, off the bytes as they come. Pure: knows no socket and no loop.

It decides where an answer ends, what of it is kept, and how much of it is put up with. It must
never take for an answer what follows one, and never hold on to more than its bounds.

An answer whose head comes whole and plain is read by httptools, which is fast and strict. Whatever
it doesn't take is left to `odd`, and so to the parser of the stock client: what counts as an answer
is the same for both clients, and no more than one of them decides it.
"""

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shipper.destination.lenient_parser import ANSWER_LIMIT, HEAD_LIMIT, OddAnswer
from shipper.destination.request import BODY_LIMIT, KEPT, reply
from shipper.policy.outcome import Reply

__all__ = ["ANSWER_LIMIT", "HEAD_LIMIT", "AnswerParser"]

# RFC 9112, 4 and 5, without anything that is there for the sake of old programs, and with all that
# the two parsers read in the same way. Possessive, so that no head can make it look twice.
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
_PLAIN: Final = re.compile(
    rb"HTTP/1\.[01] [2-9][0-9][0-9](?: " + _TEXT + rb")?\r\n"
    rb"(?:[-!#$%&'*+.^_`|~0-9A-Za-z]++:" + _TEXT + rb"\r\n)*+\r\n"
)
_LENGTH, _CODING = b"content-length", b"transfer-encoding"
_FRAMING = {_LENGTH, _CODING}
# A longer one of nothing but zeros in front is a number to one of the parsers only.
_LENGTH_DIGITS = 19


class _StopError(Exception):
    """Ends the parser's work on the rest of its input."""


class AnswerParser:
    """What a receiver says on one connection, an answer at a time."""

    def __init__(self) -> None:
        self.reusable = True
        """Whether the answer that came last leaves the connection fit for another request."""
        self._parser = HttpResponseParser(self)
        self._odd: OddAnswer | None = None
        self._parts: list[bytes] = []
        self._received = 0
        self._status = 0  # until the last header has come
        self._whole = False
        self._fields: dict[bytes, bytes] = {}
        self._body = bytearray()

    def feed(self, data: bytes) -> Reply | None:
        """Take the next bytes, at least one; return an answer when it is whole.

        Of a body beyond BODY_LIMIT the rest isn't waited for. Raises NotHttpError.
        """
        if self._odd is None and not self._parts and not _is_plain(data):
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
            # What follows a whole answer belongs to nobody.
            self.reusable = False
        if self._whole:
            return self._take()
        if self._received > ANSWER_LIMIT:
            self.reusable = False
            return self._take()
        return None

    def end(self) -> Reply | None:
        """Take the end of the connection; return the answer that ends by it, if one does."""
        if self._odd is not None:
            return self._odd.end()
        if self._status and not self._fields.keys() & _FRAMING:
            return self._take()
        return None

    def _start_again(self) -> Reply | None:
        self._parser = HttpResponseParser(self)
        self._odd = OddAnswer()
        # It can't end before the part that was too much for the other parser, which is the last.
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

    # The rest is called by the parser. Whatever is raised there ends its work.

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self._whole:
            raise _StopError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the first of each header that somebody asks for."""
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


def _is_plain(data: bytes) -> bool:
    head = _PLAIN.match(data)
    return head is not None and head.end() <= HEAD_LIMIT


def _is_odd(key: bytes, value: bytes) -> bool:
    if key == _CODING:
        return value.strip().lower() != b"chunked"
    return key == _LENGTH and len(value) > _LENGTH_DIGITS
