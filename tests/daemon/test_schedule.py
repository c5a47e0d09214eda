"""When chores are done: by the time that passes, whatever is done to the wall clock."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from shipper.daemon import chores
from shipper.daemon.schedule import MINUTE, Chore, every, next_minute, repeat_chore
from shipper.errors import StoreUnavailable
from shipper.logs import open_log
from shipper.system.confirmed_time import Confirmed
from tests.observe.clocks import Hand
from tests.simulation.virtual import EPOCH, MachineTime, VirtualClock, VirtualLoop

HOUR, DAY = 3600.0, 86400.0
YEAR = 365.25 * DAY
STEPS = [
    1.0, -1.0, HOUR, -HOUR, 30 * DAY, -30 * DAY, YEAR, -YEAR, 10 * YEAR, -10 * YEAR, 70 * YEAR,
]  # fmt: skip


async def passed(seconds: float) -> None:
    """Wait for a moment of the loop's own, virtual time, which comes at once."""
    reached = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, reached.set)
    await reached.wait()


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """Give a loop that never waits."""
    loop = VirtualLoop()
    yield loop
    loop.close()


@asynccontextmanager
async def rung(
    name: str, chore: Callable[[], None], wait: Callable[[], float]
) -> AsyncIterator[io.StringIO]:
    """Have a chore rung; gives what is logged."""
    told = io.StringIO()
    task = asyncio.create_task(
        repeat_chore(Chore(name, chore, wait), open_log("info", "json", told), {})
    )
    yield told
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seconds", [0.01, 0.1, 1.0, 60.0, 600.0])
def test_a_step_neither_adds_a_ring_nor_takes_one_away(
    loop: VirtualLoop, seconds: float, step: float
) -> None:
    """Ten periods before it and ten after it make twenty rings, each at its time."""
    machine = MachineTime(loop)
    at: list[float] = []

    async def live() -> None:
        async with rung("look", lambda: at.append(loop.time()), every(seconds)):
            await passed(10.5 * seconds)
            machine.jump(machine.wall() + step)
            await passed(10 * seconds)

    loop.run_until_complete(live())
    assert at == pytest.approx([n * seconds for n in range(1, 21)])


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("within", [1.0, MINUTE])
def test_what_is_of_a_minute_comes_at_its_beginning_and_never_late(
    loop: VirtualLoop, within: float, step: float
) -> None:
    """By the wall clock as it is; after a step within the bound, at most once too much."""
    machine = MachineTime(loop)
    clock = VirtualClock(machine, "minute")
    at: list[tuple[float, float]] = []

    async def live() -> None:
        def note() -> None:
            at.append((loop.time(), clock.wall()))

        async with rung("statistics", note, next_minute(clock, within)):
            await passed(290.0)
            machine.jump(machine.wall() + step)
            await passed(310.0)

    loop.run_until_complete(live())
    between = [late[0] - early[0] for early, late in pairwise(at)]
    assert max(between) <= within + 0.001
    on_time = [wall for _, wall in at if wall % MINUTE < 0.001 or wall % MINUTE > MINUTE - 0.001]
    assert 9 <= len(on_time) <= 11
    if within == MINUTE:
        assert len(at) <= len(on_time) + 1


def test_a_chore_is_done_once_at_a_time_and_never_owed(loop: VirtualLoop) -> None:
    """One that takes longer than its period comes as often as it can."""
    begun: list[float] = []

    async def slow() -> None:
        begun.append(loop.time())
        await passed(35.0)

    async def live() -> None:
        task = asyncio.create_task(
            repeat_chore(Chore("slow", slow, every(10.0)), open_log("info", "json"), {})
        )
        await passed(100.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    loop.run_until_complete(live())
    assert begun == [10.0, 55.0, 100.0][: len(begun)]
    assert len(begun) >= 2


def test_a_chore_may_be_done_at_once(loop: VirtualLoop) -> None:
    """What has to be known at the start; from then on as the others."""
    at: list[float] = []

    async def live() -> None:
        each = Chore("credentials", lambda: at.append(loop.time()), every(2.0), at_once=True)
        task = asyncio.create_task(repeat_chore(each, open_log("info", "json"), {}))
        await passed(4.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    loop.run_until_complete(live())
    assert at == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("often", [0.3, 7.0, 9.9, 10.0, 25.0])
def test_a_chore_that_is_begun_anew_goes_on_waiting(loop: VirtualLoop, often: float) -> None:
    """However often that happens, and from its first wait on, it is done at its times."""
    at, last = list[float](), dict[str, float]()

    async def live() -> None:
        each = Chore("retention", lambda: at.append(loop.time()), every(10.0))
        while loop.time() < 100.0:
            task = asyncio.create_task(repeat_chore(each, open_log("info", "json"), last))
            await passed(often)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    loop.run_until_complete(live())
    assert at[:9] == pytest.approx([10.0 * n for n in range(1, 10)])


def test_a_chore_of_the_wall_clock_is_not_done_early_because_it_is_begun_anew(
    loop: VirtualLoop,
) -> None:
    """It has nothing to catch up with: its wait ends when the minute does."""
    clock, at = VirtualClock(MachineTime(loop), "minute"), list[float]()
    last = {"statistics": 0.0}

    async def live() -> None:
        def note() -> None:
            at.append(clock.wall() % MINUTE)

        await passed(MINUTE - clock.wall() % MINUTE + 30.0)
        each = Chore("statistics", note, next_minute(clock, MINUTE), by_the_clock=True)
        task = asyncio.create_task(repeat_chore(each, open_log("info", "json"), last))
        await passed(31.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    loop.run_until_complete(live())
    assert at == pytest.approx([0.0], abs=0.001)


def test_a_chore_that_fails_is_told_once_and_done_again(loop: VirtualLoop) -> None:
    """It ends nothing, and fills no disk with lines."""
    told: list[str] = []
    done: list[None] = []

    def fails() -> None:
        done.append(None)
        raise RuntimeError("the disk is on fire")

    async def live() -> None:
        async with rung("retention", fails, every(1.0)) as lines:
            await passed(2.5)
            told.extend(lines.getvalue().splitlines())

    loop.run_until_complete(live())
    assert len(done) == 2
    assert [json.loads(line)["chore"] for line in told] == ["retention"]


async def test_a_set_clock_is_told_but_not_all_the_time() -> None:
    """Set every second, it doesn't fill the journal; one that is slewed isn't told."""
    clock, told = Hand(), io.StringIO()
    noted: list[float] = []

    async def note() -> None:
        noted.append(clock.offset)
        if len(noted) % 2:
            raise StoreUnavailable("the database is away")

    log = open_log("info", "json", told)
    watch = chores.ClockWatch(Confirmed(clock), note, clock.monotonic, log)
    clock.offset += 0.5
    await watch.look()
    assert told.getvalue() == ""
    for _ in range(100):
        clock.now += 1.0
        clock.offset += 30 * DAY
        await watch.look()
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["clock.set"] * 2
    assert len(noted) == 100
    assert lines[0]["seconds"] == pytest.approx(30 * DAY, abs=1.0)


def test_the_epoch_of_the_simulation_is_a_full_minute() -> None:
    """What the tests above count on."""
    assert EPOCH % MINUTE == 0.0
