"""`shipper status --nagios`: the state of the outbox as a monitoring plugin tells it.

One line with performance data, and the exit status 0, 1, 2 or 3. It decides what is how bad:

critical  a link is paused, the oldest pending event is older than the limit, or nobody ships
          while something is pending, or the outbox's budget on the disk is used up
warning   a link is offline, throttled or held, keys are held, there are dead letters, or the
          budget is nearly used up
unknown   the outbox can't be read, or the configuration not
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from shipper.cli.context import printable
from shipper.cli.wording import several
from shipper.errors import ShipperError
from shipper.state import State
from shipper.store.footprint import NEARLY, Footprint
from shipper.store.reports import DestinationReport


class Level(IntEnum):
    """How bad it is; the value is the exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Problem(NamedTuple):
    """Something to tell, and how bad it is."""

    level: Level
    message: str


class Line(NamedTuple):
    """What the plugin prints, and its exit status."""

    level: Level
    text: str


_LEVELS = {
    State.PAUSED: Level.CRITICAL,
    State.OFFLINE: Level.WARNING,
    State.THROTTLED: Level.WARNING,
    State.HELD: Level.WARNING,
}
_NO_LABEL = re.compile(r"[^A-Za-z0-9_.-]")


def line_of(read: Callable[[], Line]) -> Line:
    """Return the line; one that says "unknown" where it can't be told."""
    try:
        return read()
    except ShipperError as error:
        return _line(Level.UNKNOWN, [error.message], [])


def judge(
    reports: Sequence[DestinationReport],
    configured: Collection[str],
    *,
    is_shipped: bool,
    oldest: float,
    taken: Footprint | None = None,
) -> Line:
    """Return the line for these destinations; `oldest` is the limit in seconds."""
    problems = sorted(
        (
            *_of_nobody(reports, is_shipped=is_shipped),
            *_of_footprint(taken),
            *(p for r in reports for p in _of(r, is_configured=r.name in configured, limit=oldest)),
        ),
        key=lambda problem: -problem.level,
    )
    level = problems[0].level if problems else Level.OK
    pending = sum(report.pending for report in reports)
    told = [problem.message for problem in problems] or [f"{pending} pending"]
    data = [datum for r in reports for datum in _performance(r, oldest)]
    if taken is not None and taken.budget is not None:
        bounds = f"{NEARLY * taken.budget:.0f};{taken.budget}"
        data.append(f"outbox={taken.taken}B;{bounds};0")
    return _line(level, told, data)


def _of_nobody(reports: Sequence[DestinationReport], *, is_shipped: bool) -> Iterator[Problem]:
    pending = sum(report.pending for report in reports)
    if pending and not is_shipped:
        yield Problem(Level.CRITICAL, f"{pending} pending and no shipper is running")


def _of_footprint(taken: Footprint | None) -> Iterator[Problem]:
    if taken is not None and taken.is_over:
        yield Problem(Level.CRITICAL, str(taken))
    elif taken is not None and taken.is_scarce:
        yield Problem(Level.WARNING, str(taken))


def _of(report: DestinationReport, *, is_configured: bool, limit: float) -> Iterator[Problem]:
    level = _LEVELS.get(State(report.state))
    # One that was taken out of the configuration is history, unless something waits for it.
    if level is not None and (is_configured or report.pending):
        reason = f": {report.reason}" if report.reason else ""
        yield Problem(level, f"{report.name} is {report.state}{reason}")
    age = report.oldest_pending_seconds
    if age is not None and age > limit:
        yield Problem(Level.CRITICAL, f"{report.name}: the oldest is pending for {age:.0f} s")
    if report.dead:
        yield Problem(Level.WARNING, f"{report.name}: {several(report.dead, 'dead letter')}")
    if report.held_keys:
        yield Problem(Level.WARNING, f"{report.name}: {several(report.held_keys, 'key')} held")


def _performance(report: DestinationReport, limit: float) -> Iterator[str]:
    name = _NO_LABEL.sub("_", report.name)
    oldest = report.oldest_pending_seconds or 0.0
    yield f"{name}_pending={report.pending};;;0"
    yield f"{name}_oldest={oldest:.3f}s;;{limit:.0f};0"
    yield f"{name}_dead={report.dead};0;;0"
    yield f"{name}_delivered={report.delivered}c;;;0"


def _line(level: Level, told: Sequence[str], performance: Iterable[str]) -> Line:
    # A bar would begin the performance data.
    text = "; ".join(printable(message.replace("\n", "; ")) for message in told).replace("|", "/")
    data = " ".join(performance)
    return Line(level, f"SHIPPER {level.name} - {text}" + (f" | {data}" if data else ""))
