"""Odd answers, as bytes, and what each is: fine, fine once the connection ends, or none.

What is fine is what h11 makes of it, the parser of the stock client: every one of these answers
gets the same from both clients. Where curl, http.client and browsers see more in one than h11 does
(a blank before a colon, `Transfer-Encoding: identity`, two lengths that differ), RFC 9110 and 9112
are on h11's side, and the event waits.
"""

from typing import Final

STATUS = b"HTTP/1.1 202 Accepted"
LENGTH = b"content-length: 2"
CHUNKED = b"transfer-encoding: chunked"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


def answer(*lines: bytes, body: bytes = b"{}", status: bytes = STATUS) -> bytes:
    """Write an answer of its lines."""
    return b"\r\n".join([status, *lines, b"", body])


def chunked(body: bytes, *lines: bytes) -> bytes:
    """Write an answer whose body is said to be in chunks."""
    return answer(CHUNKED, *lines, body=body)


def _lengths(**values: tuple[bytes, ...]) -> dict[str, bytes]:
    return {
        name: answer(*(b"Content-Length: " + value for value in lines))
        for name, lines in values.items()
    }


def _with(header: bytes) -> bytes:
    return answer(header, LENGTH)


def _saying(status: bytes) -> bytes:
    return answer(LENGTH, status=status)


PLAIN = answer(LENGTH)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: " + b"a" * 1000 + b"\r\n\r\n"
ANOTHER = answer(b"content-length: 0", body=b"", status=b"HTTP/1.1 500 No")
TWICE = answer(LENGTH, LENGTH)

_FINE_LENGTHS = {
    "a length twice": TWICE,
    "a length three times": answer(LENGTH, LENGTH, LENGTH),
    "a length as a list": answer(b"content-length: 2, 2"),
    "a length as a list without blanks": answer(b"content-length: 2,2,2"),
    "a length as a list, and alone": answer(b"content-length: 2, 2", LENGTH),
    "a length alone, and as a list": answer(LENGTH, b"CONTENT-LENGTH:2 ,2"),
    "a length with a zero in front": answer(b"content-length: 02"),
    "a length with 19 zeros in front": answer(b"content-length: " + b"0" * 19 + b"2"),
    "a length between tabs": answer(b"content-length:\t2\t"),
    "a length without a blank": answer(b"Content-Length:2"),
    "a length on a line of its own": answer(b"content-length:\r\n 2"),
    # RFC 9112, 6.3: the coding counts, and the connection is closed.
    "a length and chunks": answer(LENGTH, CHUNKED, body=CHUNKS),
    "chunks and a length": answer(CHUNKED, LENGTH, body=CHUNKS),
    "chunks and two lengths": answer(CHUNKED, LENGTH, LENGTH, body=CHUNKS),
    "a length twice, in capitals once": answer(LENGTH, LENGTH.upper()),
}
_BAD_LENGTHS = _lengths(
    differ=(b"2", b"3"), differ_in_a_list=(b"2, 3",), differ_in_zeros=(b"2", b"02"),
    plus=(b"+2",), minus=(b"-2",), hexadecimal=(b"0x2",), fraction=(b"2.0",), quoted=(b'"2"',),
    nothing=(b"",), comma_behind=(b"2,",), comma_before=(b",2",), semicolon=(b"2;",),
    blank_within=(b"2 2",), nothing_then_two=(b"", b"2"), two_then_nothing=(b"2", b""),
    other_digits=("٢".encode(),), nul=(b"2\0",), vertical_tab=(b"\x0b2",),
    no_break_space=(b"\xa02",), digits_beyond_20=(b"0" * 21 + b"2",),
)  # fmt: skip

_FINE_CHUNKS = {
    "chunks": chunked(CHUNKS),
    "the coding in capitals": answer(b"TRANSFER-ENCODING: CHUNKED  ", body=CHUNKS),
    "chunks by HTTP/1.0": answer(CHUNKED, body=CHUNKS, status=b"HTTP/1.0 202 A"),
    "a chunk's size in capitals": chunked(b"A\r\n0123456789\r\n0\r\n\r\n"),
    "a chunk's size with zeros": chunked(b"0002\r\n{}\r\n000\r\n\r\n"),
    "a chunk with a note": chunked(b"2;a=b\r\n{}\r\n0;c\r\n\r\n"),
    "a chunk with a quoted note": chunked(b'2;a="b;c"\r\n{}\r\n0\r\n\r\n'),
    "a chunk with an empty note": chunked(b"2;\r\n{}\r\n0;\r\n\r\n"),
    "a chunk with a note of any bytes": chunked(b"2;a=\x01\xff\r\n{}\r\n0\r\n\r\n"),
    "a chunk with a long note": chunked(b"2;" + b"a" * 20_000 + b"\r\n{}\r\n0\r\n\r\n"),
    "a chunk with a blank behind its size": chunked(b"2 \r\n{}\r\n0\t\r\n\r\n"),
    "no chunk": chunked(b"0\r\n\r\n"),
    "trailers": chunked(b"2\r\n{}\r\n0\r\nx: y\r\nz: w\r\n\r\n"),
    "a length for a trailer": chunked(b"2\r\n{}\r\n0\r\ncontent-length: 7\r\n\r\n"),
    "many chunks": chunked(b"1\r\n \r\n" * 5000 + CHUNKS),
}
_BAD_CHUNKS = {
    "an unknown coding": answer(b"transfer-encoding: gzip, chunked", body=CHUNKS),
    "the coding identity": answer(b"transfer-encoding: identity"),
    "the coding identity and a length": answer(b"transfer-encoding: identity", LENGTH),
    "chunks, identity": answer(b"transfer-encoding: chunked, identity", body=CHUNKS),
    "identity, chunks": answer(b"transfer-encoding: identity, chunked", body=CHUNKS),
    "chunks within chunks": answer(b"transfer-encoding: chunked, chunked", body=CHUNKS),
    "the coding twice": answer(CHUNKED, CHUNKED, body=CHUNKS),
    "a coding that only ends so": answer(b"transfer-encoding: xchunked", body=CHUNKS),
    "a coding behind a vertical tab": answer(b"transfer-encoding: \x0bchunked", body=CHUNKS),
    "chunks and lengths that differ": chunked(CHUNKS, LENGTH, b"content-length: 3"),
    "a chunk's size below zero": chunked(b"-2\r\n{}\r\n0\r\n\r\n"),
    "a chunk's size with a prefix": chunked(b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk's size behind a blank": chunked(b" 2\r\n{}\r\n0\r\n\r\n"),
    "a chunk without a size": chunked(b"\r\n{}\r\n0\r\n\r\n"),
    "a chunk longer than it says": chunked(b"1\r\n{}\r\n0\r\n\r\n"),
    "a chunk that runs into the next": chunked(b"2\r\n{}0\r\n\r\n"),
    "a trailer without a colon": chunked(b"2\r\n{}\r\n0\r\nnonsense\r\n\r\n"),
}

_FINE_STATUS = {
    "no reason": _saying(b"HTTP/1.1 202"),
    "a blank for a reason": _saying(b"HTTP/1.1 202 "),
    "a reason beyond ASCII": _saying("HTTP/1.1 202 Größe".encode()),
    "a reason in Latin-1": _saying(b"HTTP/1.1 202 Gr\xf6\xdfe"),
    "a reason with a control character": _saying(b"HTTP/1.1 202 \x01"),
    "a reason of 8 kB": _saying(b"HTTP/1.1 202 " + b"A" * 8000),
    "HTTP/1.0": _saying(b"HTTP/1.0 202 A"),
    "HTTP/1.2": _saying(b"HTTP/1.2 202 A"),
    "HTTP/2.0 in the words of 1.1": _saying(b"HTTP/2.0 202 A"),
    "HTTP/1.0 that stays": answer(b"connection: keep-alive", LENGTH, status=b"HTTP/1.0 202 A"),
}
_BAD_STATUS = {
    name: _saying(line)
    for name, line in {
        "two blanks before the status": b"HTTP/1.1  202 A",
        "a tab before the status": b"HTTP/1.1\t202 A",
        "no blank before the status": b"HTTP/1.1202 A",
        "a status of two digits": b"HTTP/1.1 20 A",
        "a status of four digits": b"HTTP/1.1 2020 A",
        "a status with a fraction": b"HTTP/1.1 202.1 A",
        "a status below zero": b"HTTP/1.1 -202 A",
        "a status below 100": b"HTTP/1.1 099 A",
        "a reason without a blank": b"HTTP/1.1 202A",
        "a reason with a NUL": b"HTTP/1.1 202 \0",
        "a reason with a carriage return": b"HTTP/1.1 202 A\rB",
        "small letters": b"http/1.1 202 A",
        "no version": b"HTTP 202 A",
        "half a version": b"HTTP/1 202 A",
        "a version of two digits": b"HTTP/1.10 202 A",
        "HTTP/3.0": b"HTTP/3.0 202 A",
        "HTTP/9.9": b"HTTP/9.9 202 A",
        "ICY": b"ICY 202 OK",
        "RTSP": b"RTSP/1.0 202 OK",
        "a blank in front": b" HTTP/1.1 202 A",
        "a byte order mark in front": b"\xef\xbb\xbfHTTP/1.1 202 A",
        # RFC 9112, 2.2 lets a server skip them; a client would take what lay there for its answer.
        "an empty line in front": b"\r\nHTTP/1.1 202 A",
        "an empty line of one byte in front": b"\nHTTP/1.1 202 A",
        "another line in front": b"Warning: disk full\r\nHTTP/1.1 202 A",
    }.items()
}

_FINE_HEADERS = {
    "any token for a name": _with(b"!#$%&'*+.^_`|~-9: y"),
    "a header without a value": _with(b"x:"),
    "a header of blanks": _with(b"x:    "),
    "a value in Latin-1": _with(b"x: \xe4\xff"),
    "a value in UTF-8": _with("x: Größe".encode()),
    "a value with control characters": _with(b"x: a\x01b\x7f"),
    "a folded header": _with(b"x: a\r\n b"),
    "a header folded by a tab": _with(b"x: a\r\n\tb\r\n c"),
    "a header folded to nothing": _with(b"x: a\r\n "),
    "a header of 70 kB": _with(b"x: " + b"a" * 70_000),
    "4,000 headers": _with(b"\r\n".join([b"a: b"] * 4000)),
    "200 cookies": _with(b"\r\n".join([b"set-cookie: a=b; path=/"] * 200)),
    "a name of 9 kB": _with(b"x" * 9000 + b": y"),
    "a packed body": _with(b"content-encoding: gzip"),
    "an offer to upgrade": _with(b"connection: upgrade\r\nupgrade: h2c"),
    "a close in a list": _with(b"Connection: foo, Close"),
    "a close in capitals": _with(b"CONNECTION: CLOSE"),
    "a connection of junk": _with(b"connection: \xff"),
    "a date that is none": _with(b"date: yesterday"),
    "two dates": answer(b"date: a", b"Date: b", LENGTH),
    "bare line feeds": PLAIN.replace(b"\r\n", b"\n"),
    "some bare line feeds": STATUS + b"\n" + LENGTH + b"\r\n\n{}",
    "a bare line feed at the end": STATUS + b"\r\n" + LENGTH + b"\n\r\n{}",
    "a length twice, bare line feeds": TWICE.replace(b"\r\n", b"\n"),
}
_BAD_HEADERS = {
    name: _with(line)
    for name, line in {
        # RFC 9112, 5.1: where two programs disagree on a name, one of them can be misled.
        "a blank before a colon": b"x : y",
        "a tab before a colon": b"x\t: y",
        "a blank before the first name": b" x: y",
        "no colon": b"nonsense",
        "no name": b": y",
        "nothing but a colon": b":",
        "a name beyond ASCII": "größe: y".encode(),
        "a name in brackets": b"x[1]: z",
        "a name with a blank": b"x y: z",
        "a name with a slash": b"x/y: z",
        "a value with a NUL": b"x: a\0b",
        "a value with a carriage return": b"x: a\rb",
        "a value with a form feed": b"x: a\x0cb",
        "a value with a vertical tab": b"x: a\x0bb",
        "a fold before any header": b"\tfold",
        "a header of 110 kB": b"x: " + b"a" * 110_000,
        "a header of 200 kB": b"x: " + b"a" * 200_000,
        "20,000 headers": b"\r\n".join([b"a: b"] * 20_000),
    }.items()
} | {"a blank before the length's colon": answer(b"content-length : 2")}

_FINE_INTERIM = {
    "one interim answer": INTERIM + PLAIN,
    "every interim answer": b"".join(
        b"HTTP/1.1 %d X\r\n\r\n" % status for status in (100, 102, 103, 199)
    ) + PLAIN,
    "200 interim answers of 1 kB": HINTS * 200 + PLAIN,
    "an interim answer with a length": b"HTTP/1.1 100 C\r\ncontent-length: 2\r\n\r\n" + PLAIN,
    "an interim answer with a length twice": INTERIM[:-2]
    + answer(LENGTH, LENGTH, body=PLAIN).removeprefix(STATUS + b"\r\n"),
    "an interim answer with chunks": INTERIM[:-2] + CHUNKED + b"\r\n\r\n" + PLAIN,
    "an interim answer that closes": INTERIM[:-2] + b"connection: close\r\n\r\n" + PLAIN,
    "an interim answer by HTTP/1.0": b"HTTP/1.0 100 C\r\n\r\n" + PLAIN,
    "an interim answer without a reason": b"HTTP/1.1 100\r\n\r\n" + PLAIN,
    "an interim answer in line feeds": b"HTTP/1.1 100 C\n\n" + PLAIN,
    "an interim answer, a length twice": INTERIM + TWICE,
}  # fmt: skip
_BAD_INTERIM = {
    "another protocol": b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n" + PLAIN,
    "an empty line behind an interim answer": b"HTTP/1.1 100 C\r\n\r\n\r\n" + PLAIN,
}

_FRAMES: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "": ((), b""),
    ", length 0": ((b"content-length: 0",), b""),
    ", length 0 twice": ((b"content-length: 0", b"content-length: 0"), b""),
    ", length 2, no body": ((LENGTH,), b""),
    ", length 2 and a body": ((LENGTH,), b"{}"),
    ", a body": ((), b"{}"),
    ", chunks": ((CHUNKED,), CHUNKS),
    ", chunks that never come": ((CHUNKED,), b""),
}
_FINE_WITHOUT_BODY = {
    f"{status}{name}": answer(*lines, body=body, status=b"HTTP/1.1 %d X" % status)
    for status in (204, 304)
    for name, (lines, body) in _FRAMES.items()
}

_FINE_SURPLUS = {
    "an empty line behind": PLAIN + b"\r\n",
    "rubbish behind": PLAIN + b"xyz",
    "a NUL behind": PLAIN + b"\0",
    "another answer behind": PLAIN + ANOTHER,
    "an accepted one behind": PLAIN + PLAIN,
    "another answer behind a length twice": TWICE + ANOTHER,
    "another answer behind chunks": chunked(CHUNKS) + ANOTHER,
    "another answer behind odd chunks": chunked(b"2;\r\n{}\r\n0\r\n\r\n") + ANOTHER,
    "another answer behind a 204": answer(body=b"", status=b"HTTP/1.1 204 N") + ANOTHER,
    "a body where there is none": answer(b"content-length: 0"),
    "rubbish behind chunks": chunked(CHUNKS) + b"zz",
    # By the length, the next answer would begin within the chunks.
    "an answer between two lengths": answer(LENGTH, CHUNKED, body=b"0\r\n\r\n") + ANOTHER,
}

FINE: Final = (
    {"nothing odd": PLAIN}
    | _FINE_LENGTHS | _FINE_CHUNKS | _FINE_STATUS | _FINE_HEADERS | _FINE_INTERIM
    | _FINE_WITHOUT_BODY | _FINE_SURPLUS
)  # fmt: skip
"""Whole as they are: the connection may stay open."""

AT_THE_END: Final = {
    "no length": answer(),
    "no length and no body": answer(body=b""),
    "no length by HTTP/1.0": answer(status=b"HTTP/1.0 202 A"),
    "no length by HTTP/1.0 that stays": answer(b"connection: keep-alive", status=b"HTTP/1.0 202 A"),
    "no length and bare line feeds": STATUS + b"\n\n{}",
    "no length and an interim answer": INTERIM + answer(),
    "a 205 with a body": answer(status=b"HTTP/1.1 205 R"),
}
"""Whole once the connection has ended."""

_OTHER = {
    "an alert of TLS": b"\x15\x03\x01\x00\x02\x02F",
    "frames of HTTP/2": b"\0\0\6\4\0\0\0\0\0\0\4",
}

GARBAGE: Final = (
    _BAD_LENGTHS | _BAD_CHUNKS | _BAD_STATUS | _BAD_HEADERS | _BAD_INTERIM | _OTHER
)  # fmt: skip
"""No answers."""

CUT_OFF: Final = {
    "nothing at all": b"",
    "half a status line": b"HTTP/1.1 202 Acc",
    "a status line only": STATUS + b"\r\n",
    "a head without its end": STATUS + b"\r\n" + LENGTH + b"\r\n",
    "a body that is too short": answer(b"content-length: 5"),
    "a body that is too short for two lengths": answer(b"content-length: 5", b"content-length: 5"),
    "a body beyond any length": answer(b"content-length: 99999999999999999999"),
    "chunks without the last": chunked(b"2\r\n{}\r\n"),
    "chunks without their end": chunked(b"2\r\n{}\r\n0\r\n"),
    "half a chunk's size": chunked(b"2\r\n{}\r\n0"),
    "odd chunks without the last": chunked(b"2;\r\n{}\r\n"),
    "trailers without their end": chunked(b"2\r\n{}\r\n0\r\nx: y\r\n"),
    "an interim answer only": INTERIM,
    "carriage returns for line ends": PLAIN.replace(b"\r\n", b"\r"),
}
"""Answers that aren't whole when the connection ends."""
