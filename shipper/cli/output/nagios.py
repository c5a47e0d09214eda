"""`shipper status --nagios`: the state of the outbox in the format of a monitoring plugin.

It is one line with performance data, and the exit status 0, 1, 2, or 3 (unknown) if the outbox or
the configuration can't be read. `observe.troubles` decides how bad each problem is, and which one
comes first.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from shipper.errors import ShipperError
from shipper.observe.situation import Room, Situation
from shipper.observe.troubles import Severity, judge
from shipper.store.report.budget import NEARLY
from shipper.store.report.status import DestinationReport
from shipper.wording.safe_text import printable

# Performance data is for this many destinations; rows can name any number of them.
_MEASURED = 100


class PluginLine(NamedTuple):
    """What the plugin prints, and its level, which is the exit status."""

    level: Severity
    text: str


_NO_LABEL = re.compile(r"[^A-Za-z0-9_.-]")


def line_of(read: Callable[[], PluginLine]) -> PluginLine:
    """Return the line; its level is unknown if `read` raises ShipperError."""
    try:
        return read()
    except ShipperError as error:
        return _line(Severity.UNKNOWN, [error.message], [])


def plugin_line(facts: Situation) -> PluginLine:
    """Return the line for all facts."""
    found = judge(facts)
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
    # "n:" alerts below n (monitoring-plugins.org/doc/guidelines.html, threshold format).
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


def _line(level: Severity, messages: Sequence[str], performance: Iterable[str]) -> PluginLine:
    # A | would begin the performance data.
    text = "; ".join(printable(each.replace("\n", "; ")) for each in messages).replace("|", "/")
    data = " ".join(performance)
    return PluginLine(level, f"SHIPPER {level.name} - {text}" + (f" | {data}" if data else ""))
