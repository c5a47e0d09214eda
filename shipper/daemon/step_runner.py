"""In which thread each step of the drain's exchange with the database runs.

Handing a step to another thread costs as much as a small turn, and two threads that both run Python
hand one lock to and fro. So what is short runs in the loop's thread, as long as the database
has been quick lately: statements, and COMMIT with its fsync. The answers that come meanwhile are
then recorded together, which costs less than to take each as it comes. What may wait runs in the
database's thread, and the loop reads answers meanwhile: a step that waits for another process, and
everything after a few slow turns or commits.

Only one thread may use the database at a time: the loop's thread does so only while the database's
thread is idle. A transaction that is open must be handed over or ended before the loop does
anything else.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.swiftness import Swiftness
from shipper.errors import StoreUnavailable
from shipper.system.steps import Mark, Steps

T = TypeVar("T")

# Seconds. A stall of the loop delays every answer, so it has to stay far below any timeout.
_STATEMENTS = 0.003
_COMMIT = 0.001


class StepRunner:
    """Runs steps. Without `in_loop`, all of them run in the database's thread."""

    def __init__(
        self, thread: DatabaseThread, monotonic: Callable[[], float], *, in_loop: bool
    ) -> None:
        self._thread = thread
        self._monotonic = monotonic
        self._in_loop = in_loop
        self._statements = Swiftness(_STATEMENTS)
        self._looks = Swiftness(_STATEMENTS)
        self._commits = Swiftness(_COMMIT)

    async def __call__(self, work: Callable[[], Steps[T]]) -> T:
        """Run the steps of `work`; return what they return, or raise what they raise.

        After StoreUnavailable it may call `work` once more.
        """
        thread, progress = self._thread, _Progress(work())
        if not self._may_begin_here():
            await thread.run(partial(self._step_until, progress, None))
        while progress.mark is not None:
            if not self._may_run_here(progress.mark):
                is_open = progress.mark is Mark.COMMIT
                rest = partial(self._step_until, progress, Mark.AT_ONCE)
                await thread.run(rest, has_begun=is_open)
            elif not self._is_done_here(progress):
                progress = _Progress(work())
                await thread.run(partial(self._step_until, progress, None))
        result: T = progress.result
        return result

    def _is_done_here(self, progress: "_Progress") -> bool:
        """Run one step in the loop's thread; return False if the database wasn't ready for it.

        There it has no patience. The database's thread has, so all of the work is given to it.
        """
        try:
            self._step(progress)
        except StoreUnavailable:
            return False
        return True

    def _may_begin_here(self) -> bool:
        is_free = self._in_loop and self._thread.is_idle
        return is_free and self._statements.is_swift(self._monotonic())

    def _may_run_here(self, mark: Mark) -> bool:
        if mark is Mark.COMMIT:
            return self._commits.is_swift(self._monotonic())
        if mark is Mark.AT_ONCE:
            return self._thread.is_idle and self._looks.is_swift(self._monotonic())
        return False

    def _step(self, progress: "_Progress") -> None:
        """Run one step, and measure it; what waits for another process says nothing of the disk."""
        swiftness = self._measures(progress)
        began = self._monotonic()
        try:
            progress.step()
        finally:
            now = self._monotonic()
            if swiftness is not None:
                swiftness.took(now - began, now)

    def _measures(self, progress: "_Progress") -> Swiftness | None:
        match progress.mark:
            case Mark.COMMIT:
                return self._commits
            case Mark.AT_ONCE:
                return self._looks if progress.has_begun else self._statements
        return None

    def _step_until(self, progress: "_Progress", end: Mark | None) -> None:
        """Run the next step, and all that follow until `end`, in the database's thread."""
        self._step(progress)
        while progress.mark not in {None, end}:
            self._step(progress)


class _Progress:
    """How far work has come: the mark before its next step, None when all is done."""

    __slots__ = ("_steps", "has_begun", "mark", "result")

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        self.has_begun = False
        self.mark: Mark | None = Mark.AT_ONCE
        self.result: Any = None

    def step(self) -> None:
        self.has_begun = True
        try:
            self.mark = next(self._steps)
        except StopIteration as end:
            self.mark, self.result = None, end.value
