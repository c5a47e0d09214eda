"""After the loop has stood still, what came in time counts: it is read before anything expires."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from shipper.destination import patience
from tests.destination.servers import ACCEPTED, CHUNKED, accepting, serving
from tests.destination.ways import DEADLINE, WAYS, Way, each_way_and_kind, words
from tests.laps import laps
from tests.needs import missing

PAYLOAD = b'{"type":"order"}'
LARGE = CHUNKED + b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(50)) + b"0\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + ACCEPTED

each_answer = pytest.mark.parametrize(
    ("answer", "status"),
    [(ACCEPTED, "202"), (LARGE, "200"), (INTERIM, "202")],
    ids=["short", "large", "interim"],
)


def _stand_still(seconds: float) -> None:
    threading.Event().wait(seconds)


class Aside:
    """A receiver in a thread of its own, which no loop of ours can hold up."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10.0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.asked, self.may_answer, self.said = (threading.Event() for _ in range(3))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as peer:
            while PAYLOAD not in peer.recv(2**16):
                pass
            self.asked.set()
            self.may_answer.wait(10.0)
            peer.sendall(self._answer)
            self.said.set()
            self._over.wait(10.0)

    def answer_late(self) -> None:
        """Have it answer at once, and come back when it is too late for that."""
        self.may_answer.set()
        self.said.wait(10.0)
        _stand_still(3 * DEADLINE)

    @contextmanager
    def at_work(self) -> Iterator["Aside"]:
        """Run it for the length of a block."""
        self._thread.start()
        try:
            yield self
        finally:
            self.may_answer.set()
            self._over.set()
            self._thread.join()


async def _in_a_task(work: Callable[[], None]) -> None:
    """Stand still where the loop runs what is ready."""
    work()


async def _in_a_reader(work: Callable[[], None]) -> None:
    """Stand still where the loop reads: libuv calls its timers before it reads again."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    ours, theirs = socket.socketpair()

    def stall() -> None:
        loop.remove_reader(ours)
        work()
        over.set()

    with ours, theirs:
        loop.add_reader(ours, stall)
        theirs.send(b"x")
        await over.wait()


Stall = Callable[[Callable[[], None]], Awaitable[None]]


async def _answer_of(way: Way, answer: bytes, stall: Stall) -> str:
    """Return what becomes of an answer that comes while the loop stands still past the deadline."""
    with Aside(answer).at_work() as receiver:
        async with way.to(receiver.url, timeout=2 * DEADLINE) as destination:
            trying = asyncio.create_task(destination.send("e", PAYLOAD, "k"))
            await asyncio.to_thread(receiver.asked.wait, 10.0)
            await stall(receiver.answer_late)
            return words(await trying)


@each_way_and_kind
@pytest.mark.parametrize("stall", [_in_a_task, _in_a_reader])
@each_answer
def test_an_answer_that_came_while_the_loop_stood_still_counts(
    way: Way, answer: bytes, status: str, stall: Stall
) -> None:
    """aio-libs/aiohttp#3457, libuv/libuv#3927: timers ran before the sockets were read."""

    async def body() -> None:
        assert await _answer_of(way, answer, stall) == status

    way.run(body())


def test_a_deadline_that_does_not_let_the_loop_read_would_repeat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug: what the laps are for."""
    if find_spec("uvloop") is None:
        missing("uvloop is missing: pip install uvloop")
    monkeypatch.setattr(patience, "LAPS", 0)
    found: list[str] = []

    async def body() -> None:
        found.append(await _answer_of(WAYS[-1], ACCEPTED, _in_a_reader))

    WAYS[-1].run(body())
    assert found == ["timeout maybe"]


@each_way_and_kind
@pytest.mark.parametrize("moment", [0, 1, 3, 6])
def test_nothing_is_sent_after_its_deadline(way: Way, moment: int) -> None:
    """A loop that stood still while it connected: the lease may be over, and another daemon sends.

    What was sent before admits that the receiver may have it.
    """

    async def body() -> None:
        async with serving(accepting) as server:
            async with way.to(server.url, timeout=DEADLINE) as destination:
                trying = asyncio.create_task(destination.send("e", PAYLOAD, "k"))
                await laps(moment)
                _stand_still(2 * DEADLINE)
                found = words(await trying)
                await laps(20)
            assert found in ({"202", "timeout maybe"} if server.requests else {"timeout no"})

    way.run(body())
