"""Virtual time: an event loop that never waits, and the clocks that the daemon sees.

The loop runs one callback at a time, in the order in which they became ready, and jumps to the
next timer when none is. Nothing in it depends on the machine: no file descriptor, no signal, no
address of an object, no real clock.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from heapq import heappop
from typing import Any, TypeVar

T = TypeVar("T")
# 2026-11-23T08:15:00Z: when every simulation begins, unless the wall clock is set.
EPOCH = 1795421700.0
# So many callbacks without time passing are more than any scenario needs: the program turns in circles.
MOST_STEPS_AT_ONCE = 20_000


class NumberedTask(asyncio.Task[T]):
    """A task whose place in a set depends on when it was made, not on where it lies in memory."""

    number = 0

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop on virtual seconds. `at_step` has it do something before its n-th callback."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _timer_cancelled_count: int

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self.steps = self._steps_before = 0
        self.tasks = 0
        self.on_task: Callable[[asyncio.Task[Any]], None] = lambda _: None
        self._at_step: dict[int, list[Callable[[], None]]] = {}
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Return the virtual seconds since the beginning."""
        return self._now

    def at_step(self, step: int, work: Callable[[], None]) -> None:
        """Do `work` right before the callback of that number, between any two steps of tasks."""
        self._at_step.setdefault(max(step, self.steps + 1), []).append(work)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        task: NumberedTask[T] = NumberedTask(coroutine, loop=loop, context=context, **options)
        # The registry of all tasks would mix those of all runs up.
        asyncio._unregister_task(task)
        self.tasks += 1
        task.number = self.tasks
        self.on_task(task)
        return task

    def _run_once(self) -> None:
        self._drop_cancelled()
        if not self._ready:
            if not self._scheduled:
                raise AssertionError("everybody waits, and nothing will ever happen")
            self._pass_time(self._scheduled[0].when())
        while self._scheduled and self._scheduled[0].when() <= self._now:
            timer = heappop(self._scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            self._ready.append(timer)
            self._drop_cancelled()
        handle = self._ready.popleft()
        if handle.cancelled() or not self._may_run(handle):
            return
        self.steps += 1
        if self.steps - self._steps_before > MOST_STEPS_AT_ONCE:
            raise AssertionError(f"{MOST_STEPS_AT_ONCE} steps without time passing")
        for work in self._at_step.pop(self.steps, ()):
            work()
        if not handle.cancelled():
            handle._run()

    def _may_run(self, _: asyncio.Handle) -> bool:
        """Return whether a callback is run now; who says no keeps it."""
        return True

    def _pass_time(self, until: float) -> None:
        if until > self._now:
            self._now, self._steps_before = until, self.steps

    def _drop_cancelled(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heappop(self._scheduled)._scheduled = False  # type: ignore[attr-defined]
            self._timer_cancelled_count -= 1

    def _process_events(self, event_list: object) -> None:
        """Take in nothing: there are no files."""

    def _write_to_self(self) -> None:
        """Do nothing: there is one thread, and it never sleeps."""


class MachineTime:
    """The clocks of the machine that the daemon runs on.

    `jump` sets the wall clock, as an administrator or a time server does. `suspend` lets the
    machine sleep: both its clocks go on, the timers of its processes don't.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._slept = 0.0
        self._ahead = EPOCH

    def monotonic(self) -> float:
        """Return virtual seconds, those slept through included."""
        return self._loop.time() + self._slept

    def wall(self) -> float:
        """Return the wall time, in seconds since 1970."""
        return self.monotonic() + self._ahead

    def jump(self, wall: float) -> None:
        """Set the wall clock; Linux knows no time before 1970."""
        self._ahead = max(0.0, wall) - self.monotonic()

    def suspend(self, seconds: float) -> None:
        """Sleep for so long, at once."""
        self._slept += seconds


class VirtualClock:
    """`shipper.clock.Clock` for one process: the machine's time, and chance of its own."""

    def __init__(self, machine: MachineTime, seed: str) -> None:
        self.monotonic = machine.monotonic
        self.wall = machine.wall
        self.random = random.Random(seed).random
