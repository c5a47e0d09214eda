"""`shipper status --nagios`: the state of the outbox as a monitoring plugin tells it.

One line with performance data, and the exit status 0, 1, 2 or 3: unknown where the outbox or the
configuration can't be read. What is how bad, and which comes first, is decided in `troubles`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from shipper.errors import ShipperError
from shipper.observe.situation import Room, Situation
from shipper.observe.troubles import Severity
from shipper.observe.troubles import judge as troubles_of
from shipper.store.report.budget import NEARLY, Footprint
from shipper.store.report.status import DestinationReport
from shipper.wording.safe_text import printable

# More destinations than these, and only rows can name so many, have no performance data.
_MEASURED = 100


class Line(NamedTuple):
    """What the plugin prints, and its exit status."""

    level: Severity
    text: str


_NO_LABEL = re.compile(r"[^A-Za-z0-9_.-]")


def line_of(read: Callable[[], Line]) -> Line:
    """Return the line; one that says "unknown" where it can't be told."""
    try:
        return read()
    except ShipperError as error:
        return _line(Severity.UNKNOWN, [error.message], [])


def judge(
    reports: Sequence[DestinationReport],
    configured: Collection[str],
    *,
    is_shipped: bool,
    oldest: float,
    taken: Footprint | None = None,
) -> Line:
    """Return the line for these destinations; `oldest` is the limit in seconds."""
    return told(Situation(reports, configured, is_shipped=is_shipped, oldest=oldest, taken=taken))


def told(facts: Situation) -> Line:
    """Return the line for everything that is known."""
    found = troubles_of(facts)
    level = found[0].level if found else Severity.OK
    pending = sum(report.pending for report in facts.reports)
    words = [trouble.text for trouble in found] or [f"{pending:,} pending"]
    if facts.hours.closed is not None:
        words.append(facts.hours.closed)
    measured = sorted(facts.reports, key=lambda report: report.name not in facts.configured)
    data = [datum for r in measured[:_MEASURED] for datum in _performance(r, facts.oldest)]
    if facts.room is not None:
        data.append(_disk(facts.room))
    if facts.taken is not None and facts.taken.budget is not None:
        bounds = f"{NEARLY * facts.taken.budget:.0f};{facts.taken.budget}"
        data.append(f"outbox={facts.taken.taken}B;{bounds};0")
    return _line(level, words, data)


def _disk(room: Room) -> str:
    # "n:" is an alarm below n (monitoring-plugins.org/doc/guidelines.html, threshold format).
    warning = f"{room.least}:" if room.least else ""
    return f"disk_free={room.free}B;{warning};{room.full_below}:;0"


def _performance(report: DestinationReport, limit: float) -> Iterator[str]:
    name = _NO_LABEL.sub("_", report.name)
    oldest = report.oldest_pending_seconds or 0.0
    yield f"{name}_pending={report.pending};;;0"
    yield f"{name}_oldest={oldest:.3f}s;;{limit:.0f};0"
    yield f"{name}_dead={report.dead};0;;0"
    yield f"{name}_failures={report.failures};0;;0"
    yield f"{name}_delivered={report.delivered}c;;;0"


def _line(level: Severity, told: Sequence[str], performance: Iterable[str]) -> Line:
    # A bar would begin the performance data.
    text = "; ".join(printable(message.replace("\n", "; ")) for message in told).replace("|", "/")
    data = " ".join(performance)
    return Line(level, f"SHIPPER {level.name} - {text}" + (f" | {data}" if data else ""))
