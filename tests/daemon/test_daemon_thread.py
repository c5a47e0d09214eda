"""The database's thread: one piece of work after the other, answers where they are awaited."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from shipper.daemon.database_thread import DatabaseThread
from shipper.errors import DatabaseAbandoned, DiskFull, OutboxHeld, StoreUnavailable


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    """Return one that is closed at the end."""
    thread = DatabaseThread()
    yield thread
    thread.close()


async def test_work_is_done_in_order_by_one_thread(thread: DatabaseThread) -> None:
    """Whoever asks; and it isn't the loop's."""
    done: list[tuple[int, str]] = []

    def work(number: int) -> int:
        done.append((number, threading.current_thread().name))
        return number

    answers = await asyncio.gather(*(thread.run(lambda n=n: work(n)) for n in range(20)))  # type: ignore[misc]
    assert answers == list(range(20))
    assert done == [(number, "database") for number in range(20)]


async def test_what_is_raised_is_raised_where_it_is_awaited(thread: DatabaseThread) -> None:
    """And the thread goes on."""
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    assert await thread.run(lambda: "there") == "there"


async def test_who_no_longer_waits_is_told_nothing(thread: DatabaseThread) -> None:
    """What has begun is done to its end, what hasn't is not."""
    begun, go_on, done = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        go_on.wait()
        done.append("first")

    tasks = [
        asyncio.create_task(thread.run(first)),
        asyncio.create_task(thread.run(lambda: done.append("second"))),
    ]
    await asyncio.to_thread(begun.wait)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    go_on.set()
    await thread.run(lambda: done.append("third"))
    assert done == ["first", "third"]


async def test_closing_waits_for_what_was_asked_for() -> None:
    """What is being written is written whole."""
    thread, begun, go_on, done = (
        DatabaseThread(), threading.Event(), threading.Event(), threading.Event(),
    )  # fmt: skip

    def first() -> None:
        begun.set()
        go_on.wait()

    tasks = [asyncio.create_task(thread.run(work)) for work in (first, done.set)]
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(asyncio.to_thread(thread.close))
    go_on.set()
    await closing
    assert done.is_set()
    await asyncio.gather(*tasks)
    with pytest.raises(RuntimeError, match="has ended"):
        await thread.run(done.clear)


async def test_who_waits_for_one_that_is_given_up_is_told_at_once() -> None:
    """What has begun may end, what waits is never begun; later askers are told the same."""
    thread, begun, go_on, done = (
        DatabaseThread(), threading.Event(), threading.Event(), list[str](),
    )  # fmt: skip

    def first() -> None:
        begun.set()
        go_on.wait()
        done.append("first")

    tasks = [
        asyncio.create_task(thread.run(first)),
        asyncio.create_task(thread.run(lambda: done.append("second"))),
    ]
    await asyncio.to_thread(begun.wait)
    thread.abandon(DatabaseAbandoned("a stop"))
    for task in tasks:
        with pytest.raises(DatabaseAbandoned, match="a stop"):
            await task
    last = threading.Event()
    with pytest.raises(DatabaseAbandoned):
        await thread.run(last.set)
    thread.close()  # waits for nobody
    assert done == []
    go_on.set()
    assert await asyncio.to_thread(last.wait, 10)
    assert done == ["first"]


async def test_a_full_disk_has_the_patience_of_an_unreachable_database(
    thread: DatabaseThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Because it is one; each is told, and at the end it is raised."""
    monkeypatch.setattr("shipper.daemon.database_thread._TRY_EVERY", 0.0)
    tries = iter([DiskFull("full"), StoreUnavailable("away"), None])
    told: list[tuple[str, float]] = []

    def work() -> str:
        if (failure := next(tries)) is not None:
            raise failure
        return "done"

    patience = {OutboxHeld: 0.0, StoreUnavailable: 60.0}
    stop = asyncio.Event()
    answer = await thread.insist(
        work, patience, stop, lambda error, seconds: told.append((error.message, seconds))
    )
    assert (answer, told) == ("done", [("full", 60.0), ("away", 60.0)])

    def held() -> None:
        raise OutboxHeld("held")

    with pytest.raises(OutboxHeld):
        await thread.insist(held, patience, stop)
