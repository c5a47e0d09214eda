"""Each step of an exchange runs where it holds nothing up, and no step is lost or run twice."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.step_runner import StepRunner
from shipper.daemon.swiftness import Swiftness
from shipper.errors import DatabaseAbandoned, StoreUnavailable
from shipper.system.steps import Mark, Steps
from tests.laps import laps

LOOP = threading.current_thread().name


class Work:
    """Work that notes where each of its steps ran, and how many seconds each takes."""

    def __init__(self, *marks: Mark, seconds: float = 0.0) -> None:
        self.marks = marks
        self.seconds = seconds
        self.now = 0.0
        self.ran: list[str] = []

    def monotonic(self) -> float:
        """Return the time of its clock."""
        return self.now

    def __call__(self) -> Steps[str]:
        """Run all steps."""
        for mark in self.marks:
            self._note()
            yield mark
        self._note()
        return "done"

    def _note(self) -> None:
        self.now += self.seconds
        self.ran.append(threading.current_thread().name.replace(LOOP, "loop"))


TURN = (Mark.COMMIT, Mark.AT_ONCE)


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    """Return one that is closed at the end."""
    thread = DatabaseThread()
    yield thread
    thread.close()


@pytest.mark.parametrize(
    ("marks", "ran"),
    [
        (TURN, ["loop", "loop", "loop"]),
        ((Mark.WAIT, *TURN), ["loop", "database", "database", "loop"]),
        ((Mark.WAIT, Mark.WAIT), ["loop", "database", "database"]),
        ((), ["loop"]),
    ],
)
async def test_only_what_may_wait_is_handed_over(
    thread: DatabaseThread,
    marks: tuple[Mark, ...],
    ran: list[str],
) -> None:
    """A quick COMMIT isn't."""
    work = Work(*marks)
    run = StepRunner(thread, work.monotonic, in_loop=True)
    assert await run(work) == "done"
    assert work.ran == ran


async def test_a_server_is_never_asked_in_the_loop(thread: DatabaseThread) -> None:
    """A round trip isn't short."""
    work = Work(*TURN)
    assert await StepRunner(thread, work.monotonic, in_loop=False)(work) == "done"
    assert work.ran == ["database"] * 3


async def test_while_the_thread_is_at_work_the_loop_keeps_away(thread: DatabaseThread) -> None:
    """Only one of them may use the connection."""
    go_on, work = threading.Event(), Work(*TURN)
    run = StepRunner(thread, work.monotonic, in_loop=True)
    chore = asyncio.create_task(thread.run(go_on.wait))
    await laps(1)
    exchange = asyncio.create_task(run(work))
    await laps(1)
    assert work.ran == []
    go_on.set()
    assert await exchange == "done"
    assert work.ran == ["database"] * 3
    await chore


async def test_a_slow_database_is_asked_in_its_thread(thread: DatabaseThread) -> None:
    """So a cold page or a slow disk delays no answer for long; a quick one comes back."""
    work = Work(*TURN, seconds=0.03)
    run = StepRunner(thread, work.monotonic, in_loop=True)
    await run(work)
    assert work.ran == ["loop"] * 3  # the first of each kind show it
    work.ran.clear()
    await run(work)
    assert work.ran == ["database"] * 3
    work.seconds = 0.0001
    for _ in range(20):
        await run(work)
    work.now += 40.0
    work.ran.clear()
    await run(work)
    assert work.ran == ["loop"] * 3


async def test_a_commit_on_a_slow_disk_is_handed_over(thread: DatabaseThread) -> None:
    """Also for a lane that is alone."""
    work = Work(*TURN)
    run = await _with_slow_commits(thread, work)
    await run(work)
    assert work.ran == ["loop", "database", "loop"]


async def test_a_disk_that_is_always_slow_is_not_tried_again_and_again(
    thread: DatabaseThread,
) -> None:
    """Not by a till that writes an event now and then either."""
    work = Work()
    run, where = await _with_slow_commits(thread, work), list[str]()

    def turn() -> Steps[None]:
        yield Mark.COMMIT
        work.now += 0.02
        where.append(threading.current_thread().name.replace(LOOP, "loop"))

    for _ in range(20):
        work.now += 6.0
        await run(turn)
    assert where == ["database"] * 20


async def _with_slow_commits(thread: DatabaseThread, work: Work) -> StepRunner:
    """Return a runner that has seen a commit of 20 ms, in the loop."""
    run, where = StepRunner(thread, work.monotonic, in_loop=True), []

    def turn() -> Steps[None]:
        yield Mark.COMMIT
        work.now += 0.02
        where.append(threading.current_thread().name)

    await run(turn)
    assert where == [LOOP]
    return run


async def test_an_open_transaction_is_ended_for_a_cancelled_caller(thread: DatabaseThread) -> None:
    """A cancelled caller must not leave the write lock with us."""
    go_on, work = threading.Event(), Work(*TURN)
    run = await _with_slow_commits(thread, work)
    exchange = asyncio.create_task(run(work))
    await laps(1)
    assert work.ran == ["loop"]
    exchange.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    await thread.run(go_on.set)
    assert work.ran == ["loop", "database"]


async def test_what_waits_for_a_lock_is_ended_for_a_cancelled_caller(
    thread: DatabaseThread,
) -> None:
    """When it gets the lock at last, the transaction isn't left open."""
    asked, go_on, ran = threading.Event(), threading.Event(), list[str]()

    def turn() -> Steps[None]:
        yield Mark.WAIT
        asked.set()
        go_on.wait()
        ran.append("begun")
        yield Mark.COMMIT
        ran.append("committed")

    exchange = asyncio.create_task(StepRunner(thread, float, in_loop=True)(turn))
    await asyncio.to_thread(asked.wait)
    exchange.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert not thread.is_idle
    go_on.set()
    await thread.run(lambda: None)
    assert ran == ["begun", "committed"]
    assert thread.is_idle


async def test_a_caller_that_is_abandoned_in_the_middle_gets_the_error(
    thread: DatabaseThread,
) -> None:
    """What is open is ended all the same; nothing else of it is run."""
    begun, go_on, ran = threading.Event(), threading.Event(), list[str]()
    run = await _with_slow_commits(thread, Work())

    def turn() -> Steps[None]:
        yield Mark.COMMIT
        begun.set()
        go_on.wait()
        ran.append("committed")
        yield Mark.AT_ONCE
        ran.append("looked")

    exchange = asyncio.create_task(run(turn))
    await asyncio.to_thread(begun.wait)
    thread.abandon(DatabaseAbandoned("a stop"))
    with pytest.raises(DatabaseAbandoned):
        await exchange
    go_on.set()
    last = threading.Event()
    with pytest.raises(DatabaseAbandoned):
        await thread.run(last.set)
    assert await asyncio.to_thread(last.wait, 10)
    assert ran == ["committed"]


async def test_what_fails_in_the_loop_is_tried_once_more_with_patience(
    thread: DatabaseThread,
) -> None:
    """In the thread, as nothing in the loop waits for a lock; then the failure is the caller's."""
    ran: list[str] = []

    def fail() -> Steps[None]:
        yield Mark.COMMIT
        ran.append(threading.current_thread().name.replace(LOOP, "loop"))
        raise StoreUnavailable("busy")

    run = StepRunner(thread, float, in_loop=True)
    with pytest.raises(StoreUnavailable, match="busy"):
        await run(fail)
    assert ran == ["loop", "database"]


def test_one_slow_step_among_quick_ones_changes_nothing() -> None:
    """But a very slow one does, at once."""
    swift = Swiftness(0.003)
    swift.took(0.02, 1.0)
    assert swift.is_swift(1.0)
    swift.took(0.05, 2.0)
    assert not swift.is_swift(2.0)
    assert not swift.is_swift(100.0)  # time alone isn't enough
    for _ in range(20):
        swift.took(0.001, 3.0)
    assert not swift.is_swift(51.9)
    assert swift.is_swift(52.1)
    swift.took(0.5, 8.0)
    for _ in range(5):
        swift.took(0.5, 9.0)
    assert not swift.is_swift(100.0)  # nothing was quick since


def test_a_disk_that_hangs_now_and_then_takes_little_of_the_loops_time() -> None:
    """A thousandth at most, and an hour is enough."""
    swift = Swiftness(0.001)
    for seconds, until in ((0.3, 300.0), (60.0, 3600.0)):
        swift.took(seconds, 0.0)
        for _ in range(90):
            swift.took(0.0001, 1.0)
        assert not swift.is_swift(until - 1.0)
        assert swift.is_swift(until)


async def test_a_wait_for_a_lock_says_nothing_of_the_disk(thread: DatabaseThread) -> None:
    """The next turn is as quick as the ones before."""
    work = Work(*TURN)
    run = StepRunner(thread, work.monotonic, in_loop=True)

    def turn() -> Steps[None]:
        yield Mark.WAIT
        work.now += 2.0

    await run(turn)
    await run(work)
    assert work.ran == ["loop"] * 3
