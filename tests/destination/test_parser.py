"""Answers off raw bytes: where they end, however they are cut, and what isn't put up with."""

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.destination import parser
from shipper.destination.parser import ANSWER_LIMIT, HEAD_LIMIT, AnswerParser
from shipper.destination.request import BODY_LIMIT, NotHttpError
from shipper.policy.outcome import Reply
from tests.destination.servers import ACCEPTED, CHUNKED

FULL = (
    b"HTTP/1.1 103 Early Hints\r\nretry-after: 9\r\n\r\n"
    b"HTTP/1.1 503 Busy\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nRetry-After:  7 \r\n"
    b"retry-after: 8\r\ncontent-type: text/pl\xe4in\r\ntransfer-encoding: Chunked\r\n\r\n"
    b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\nretry-after: 10\r\n\r\n"
)
REPLY = Reply(503, "text/pl\xe4in", "7", "Mon, 23 Nov 2026 08:00:00 GMT", b"abc")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def outcome(answers: AnswerParser, *parts: bytes) -> Reply | None:
    """Feed parts, and end the connection where they make no answer."""
    for part in parts:
        reply = answers.feed(part)
        if reply is not None:
            return reply
    return answers.end()


@given(st.lists(st.integers(0, len(FULL)), max_size=12))
def test_where_an_answer_is_cut_makes_no_difference(cuts: list[int]) -> None:
    """Headers of interim answers and trailers aren't the answer's; of two the first counts."""
    places = sorted({0, len(FULL), *cuts})
    parts = [FULL[begin:end] for begin, end in pairwise(places)]
    answers = AnswerParser()
    for _ in range(2):
        assert outcome(answers, *parts) == REPLY
        assert answers.reusable


@given(st.lists(st.binary(min_size=1), max_size=5), st.integers(0, len(FULL)))
def test_anything_at_all_is_an_answer_or_is_not(noise: list[bytes], cut: int) -> None:
    """Whatever follows the beginning of an answer, nothing else is raised."""
    try:
        reply = outcome(AnswerParser(), b"H", FULL[1:cut] or b"T", *noise)
    except NotHttpError:
        return
    assert reply is None or 200 <= reply.status <= 999


@pytest.mark.parametrize(
    "answer",
    [
        b"RTSP/1.0 200 OK\r\n\r\n",
        b"ICE/1.0 200 OK\r\n\r\n",
        b"\r\n" + ACCEPTED,
        b"SSH-2.0-OpenSSH\r\n",
        b"{}",
        b"HTTP/1.1 202 A\r\ntransfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n\r\n",
        CONTINUE + b"HTTP/1.1 101 S\r\n\r\n",
        b"HTTP/1.1 202 A\r\n" + b"a:\r\n" * (HEAD_LIMIT // 2),
        CONTINUE * (ANSWER_LIMIT // len(CONTINUE) + 1),
    ],
)
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    """Another protocol, two codings, an upgrade, and a head or interim answers out of bounds."""
    with pytest.raises(NotHttpError):
        outcome(AnswerParser(), answer)


def test_a_head_without_end_is_refused_in_time() -> None:
    """However small its pieces are."""
    pieces = [b"a" * 1024] * (HEAD_LIMIT // 1024)
    with pytest.raises(NotHttpError):
        outcome(AnswerParser(), b"HTTP/1.1 202 A\r\nx-a: ", *pieces)


def test_a_head_is_looked_at_once() -> None:
    """However many blanks are in it: no receiver can make it a matter of seconds."""
    head = b"HTTP/1.1 202 A\r\n" + (b"a" + b": " * 500 + b"\r\n") * 90
    assert outcome(AnswerParser(), head + b"\r\n") == Reply(202)
    with pytest.raises(NotHttpError):
        outcome(AnswerParser(), head + b"a\x0b: b\r\n\r\n")


@pytest.mark.parametrize("odd", [b"", b"content-length: 2\r\ncontent-length: 2\r\n"])
def test_bytes_of_an_odd_answer_are_read_once(odd: bytes) -> None:
    """Where the other parser begins again, it begins with the first byte and ends with the last."""
    answer = CHUNKED[:-2] + odd + b"\r\n2\r\n{}\r\n1;\r\n!\r\n0\r\n\r\n"
    answers = AnswerParser()
    for _ in range(2):
        cut = len(answer) - 9
        assert outcome(answers, answer[:cut], answer[cut:]) == Reply(200, body=b"{}!")
        assert answers.reusable == (not odd)


@pytest.mark.parametrize("endless", [b"x-a: " + b"a" * 1000, b"x-a: b\r\n"])
def test_trailers_without_end_cut_the_answer_off(endless: bytes) -> None:
    """The status counts, and the connection is of no more use."""
    answers = AnswerParser()
    answers.feed(CHUNKED + b"2\r\n{}\r\n0\r\n")
    fed, reply = 0, None
    while reply is None:
        reply = answers.feed(endless)
        fed += len(endless)
    assert fed <= ANSWER_LIMIT + len(endless)
    assert (reply, answers.reusable) == (Reply(200, body=b"{}"), False)


def test_a_body_beyond_the_limit_is_cut_off() -> None:
    """The parser doesn't wait for the rest."""
    answers = AnswerParser()
    assert answers.feed(b"HTTP/1.1 202 A\r\ncontent-length: 100000\r\n\r\n") is None
    reply = answers.feed(b"x" * (BODY_LIMIT + 1))
    assert (reply, answers.reusable) == (Reply(202, body=b"x" * BODY_LIMIT), False)


@pytest.mark.parametrize(
    "answer",
    [
        ACCEPTED + b"\0",
        ACCEPTED + b"HTT",
        ACCEPTED + ACCEPTED,
        ACCEPTED.replace(b"1.1", b"1.0"),
        ACCEPTED.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n"),
        ACCEPTED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"x",
    ],
)
def test_an_answer_can_be_the_last_on_its_connection(answer: bytes) -> None:
    """It says so (RFC 9112, 9.3), or there is something behind it."""
    answers = AnswerParser()
    assert answers.feed(ACCEPTED) == Reply(202, body=b"{}")
    assert answers.reusable
    assert answers.feed(answer) == Reply(202, body=b"{}")
    assert not answers.reusable


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 202 A\r\n\r\n{", Reply(202, body=b"{")),
        (b"HTTP/1.0 202 A\r\n\r\n", Reply(202)),
        (b"HTTP/1.1 202 A\r\ncontent-length: 2\r\n\r\n{", None),
        (CHUNKED + b"2\r\n{", None),
        (b"HTTP/1.1 202 A\r\n", None),
        (CONTINUE, None),
    ],
)
def test_the_end_of_a_connection_ends_what_has_no_length(
    answer: bytes, expected: Reply | None
) -> None:
    """RFC 9112, 6.3: without a length the body goes on to the end; anything else is cut short."""
    assert outcome(AnswerParser(), answer) == expected


_LINES = st.sampled_from(
    (
        b"content-length: 2", b"Content-Length:2", b"CONTENT-LENGTH:\t2", b"content-length: 2 ",
        b"content-length: 02", b"content-length: +2", b"content-length: 3", b"content-length: 0",
        b"content-length:", b"content-length: 2, 2", b"transfer-encoding: chunked",
        b"Transfer-Encoding: gzip", b"connection: keep-alive", b"Connection: Keep-Alive",
        b"connection: close", b"connection: upgrade", b"connection:", b"Connection: keep-alive, a",
        b"proxy-connection: close", b"upgrade: h2c", b"keep-alive: timeout=5", b"date: now",
        b"Retry-After:  7 ", b"content-type: text/html", b"Content-Type: \xe4", b"location: /a",
        b"x-content-length: 9", b"x: content-length: 9", b"", b" folded", b"no colon", b"te: \x00",
    )
)  # fmt: skip
_STATUS = st.sampled_from(
    (
        b"HTTP/1.1 202 Accepted", b"HTTP/1.1 200", b"HTTP/1.1 204 No", b"HTTP/1.1 304 N",
        b"HTTP/1.1 205 R", b"HTTP/1.0 202 A", b"HTTP/1.1 103 E", b"HTTP/1.1 999 ", b"HTTP/2 200 A",
    )
)  # fmt: skip
_BODY = st.sampled_from((b"{}", b"", b"{", b"{}x", b"2\r\n{}\r\n0\r\n\r\n", ACCEPTED))


@given(_STATUS, st.lists(_LINES, max_size=5), _BODY)
def test_an_answer_read_at_one_go_is_what_the_other_parsers_read(
    status: bytes, lines: list[bytes], body: bytes
) -> None:
    """To the last header, and whether its connection can be used again."""
    answer = b"\r\n".join([status, *lines, b"", body])
    at_one_go = _read(answer)
    with patch.object(parser, "_usual", lambda *_: None):
        assert at_one_go == _read(answer)


def _read(answer: bytes) -> tuple[Reply | None, bool] | None:
    answers = AnswerParser()
    try:
        return answers.feed(answer), answers.reusable
    except NotHttpError:
        return None


@pytest.mark.parametrize("size", [BODY_LIMIT - 1, BODY_LIMIT])
def test_an_answer_at_the_limit_is_read_like_any_other(size: int) -> None:
    """A body of that size counts as one that is too long."""
    answers = AnswerParser()
    answer = b"HTTP/1.1 202 A\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
    assert answers.feed(answer) == Reply(202, body=b"x" * size)
    assert answers.reusable == (size < BODY_LIMIT)
