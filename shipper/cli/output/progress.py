"""The progress bar of `drain`: on stderr, and only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shipper.cli.output.context import Context
from shipper.store.report.progress import EndedCounts


class Bar:
    """A bar of how many events are finished (delivered, dead or discarded)."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._task = progress.add_task("shipping", total=total)
        self._before: EndedCounts | None = None

    def update(self, now: EndedCounts) -> None:
        """Show the counters; events that the application has written meanwhile raise the total."""
        if self._before is None:
            self._before = now
        done = max(0, now.total - self._before.total)
        died = now.dead > self._before.dead
        description = "shipping, some became dead letters" if died else "shipping"
        self._progress.update(
            self._task,
            completed=done,
            total=max(self._total, done),
            description=description,
        )


@contextmanager
def progress_bar(context: Context, total: int) -> Iterator[Bar | None]:
    """Show a bar for the length of a `with`; None without a terminal, with --quiet or --verbose."""
    if not sys.stderr.isatty() or context.verbosity != 0:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress, total)
