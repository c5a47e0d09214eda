"""One corpus of odd answers through both clients: what is fine counts, and counts for one event."""

import re
from typing import TypeAlias

import pytest

from shipper.policy.outcome import Fault, Invalid, Reply
from tests.destination.corpus import AT_THE_END, CUT_OFF, FINE, GARBAGE
from tests.destination.servers import Script, Talk, answering, serving
from tests.destination.ways import WAYS, Way, words

PAYLOAD = b'{"type":"order"}'
Answer: TypeAlias = Reply | Fault | Invalid
NEXT = b"HTTP/1.1 418 Mine\r\ncontent-length: 0\r\n\r\n"


def cases(answers: dict[str, bytes]) -> pytest.MarkDecorator:
    """Return a test's cases."""
    return pytest.mark.parametrize("answer", list(answers.values()), ids=list(answers))


def staying(answer: bytes, *, at_once: bool = True) -> Script:
    """Answer so once, and every other request by `NEXT`; close nothing."""

    async def script(talk: Talk) -> None:
        while True:
            await talk.request()
            if len(talk.server.requests) > 1:
                await talk.say(NEXT)
            elif at_once:
                await talk.say(answer)
            else:
                await talk.say(*(bytes([byte]) for byte in answer))

    return script


async def told(way: Way, script: Script, *, times: int = 1) -> list[Answer]:
    """Return what a client makes of the answers to so many events."""
    async with serving(script) as server, way.to(server.url) as destination:
        return [await destination.send(f"e{n}", PAYLOAD, "k") for n in range(times)]


def from_each(script: Script, *, times: int = 1) -> list[list[Answer]]:
    """Return what each client makes of it."""
    found: list[list[Answer]] = []
    for way in WAYS:

        async def body(way: Way = way) -> None:
            found.append(await told(way, script, times=times))

        way.run(body())
    return found


@cases(FINE)
def test_an_odd_answer_counts_for_its_own_event(answer: bytes) -> None:
    """The same from each client, to the last header; no request gets the bytes after it."""
    status = re.findall(rb"HTTP/\d\.\d ([2-5]\d\d)", answer)[0].decode()
    found = from_each(staying(answer), times=2)
    assert [[words(one) for one in both] for both in found] == [[status, "418"]] * len(WAYS)
    assert found == found[:1] * len(WAYS)


@pytest.mark.parametrize(
    "name",
    ["a length twice", "a length and chunks", "one interim answer", "a folded header", "trailers"],
)
def test_where_an_odd_answer_is_cut_makes_no_difference(name: str) -> None:
    """A byte at a time is as good."""
    whole = from_each(staying(FINE[name]))
    assert from_each(staying(FINE[name], at_once=False)) == whole


@cases(AT_THE_END)
def test_an_answer_without_a_length_ends_with_its_connection(answer: bytes) -> None:
    """RFC 9112, 6.3, for each client."""
    found = [one for [one] in from_each(answering(answer))]
    assert isinstance(found[0], Reply)
    assert found == found[:1] * len(WAYS)


@cases(GARBAGE)
def test_what_could_mean_another_is_no_answer(answer: bytes) -> None:
    """For no client: the event may have been received, and is tried again."""
    assert {words(one) for [one] in from_each(answering(answer))} == {"garbage maybe"}


@cases(CUT_OFF)
def test_what_is_cut_off_is_no_answer(answer: bytes) -> None:
    """And each client says so in the same way."""
    assert {words(one) for [one] in from_each(answering(answer))} == {"closed maybe"}
