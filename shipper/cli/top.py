"""`shipper top`: what ships now, and what has shipped in the last hour, minute by minute.

It shows what is written down: the links, what is pending, the counters, the statistics. It must
never scan the outbox, and shows as many minutes as the terminal is wide.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from shipper.advice import said
from shipper.cli import live, verdict
from shipper.cli.bars import BARS, MINUTES, alphabet, bars, by_minute, first_minute
from shipper.cli.context import Context, printable
from shipper.cli.status import age
from shipper.cli.table import COLOURS
from shipper.clock import Clock, SystemClock, iso
from shipper.store.minutes import Minute, since
from shipper.store.reports import NEVER_TRIED, DestinationReport
from shipper.troubles import failed, gather, judge

# Columns of a label, of a number, and between the two and the bars.
_LABEL, _NUMBER, _GAP = 14, 9, 2
# A rate is of the last so many drawings: what ships in bursts should still be readable.
_DRAWINGS = 10


def top(*, context: Context) -> None:
    """Show live what ships, with the last hour minute by minute; Ctrl-C ends it.

    With --json it prints the recorded minutes of the last hour once, one a line.
    """
    clock = SystemClock()
    if context.json:
        _emit(context, clock)
        return
    picture = Picture(context, clock, alphabet(Console()))
    live.show(context, picture.draw, instead="shipper top --json")


def _emit(context: Context, clock: Clock) -> None:
    with context.engine() as engine:
        found = since(engine, first_minute(clock.wall()))
    for minute in found:
        mean = minute.latency_sum / minute.delivered if minute.delivered else None
        context.emit(
            {
                "minute": iso(minute.minute),
                "destination": minute.destination,
                "delivered": minute.delivered,
                "retried": minute.retried,
                "dead": minute.dead,
                "latency_mean_seconds": None if mean is None else round(mean, 3),
                "latency_max_seconds": round(minute.latency_max, 3),
            }
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A line of bars: a label, how a value is written, and the value of a minute."""

    label: str
    write: Callable[[float], str]
    value: Callable[[Minute], float]
    bad: bool = False
    """Whether anything but nothing is bad news."""


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _seconds(value: float) -> str:
    if not value:
        return "-"  # nothing was delivered, so nothing took any time
    return f"{value:.2f}s" if value < 10 else age(value)


_ROWS = (
    Row("delivered/min", _count, lambda m: m.delivered),
    Row("retried/min", _count, lambda m: m.retried),
    Row("dead/min", _count, lambda m: m.dead, bad=True),
    Row("latency", _seconds, lambda m: m.latency_sum / m.delivered if m.delivered else 0.0),
    Row("longest", _seconds, lambda m: m.latency_max),
)


class Rates:
    """How many events a second were delivered of late, by destination."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque(maxlen=_DRAWINGS)

    def see(self, at: float, reports: Sequence[DestinationReport]) -> None:
        """Take in the counters; what is deleted meanwhile must not count backwards."""
        self._seen.append((at, {r.name: r.delivered + r.purged for r in reports}))

    def of(self, name: str) -> float:
        """Return the rate; 0 while there is nothing to compare with."""
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        if ended <= began or name not in first or name not in last:
            return 0.0
        return max(0, last[name] - first[name]) / (ended - began)


class Picture:
    """What `shipper top` draws."""

    def __init__(self, context: Context, clock: Clock, characters: str = BARS) -> None:
        self._context = context
        self._clock = clock
        self._characters = characters
        self._rates = Rates()

    def draw(self, width: int) -> RenderableType:
        """Return the picture for a width; raises what the database raises."""
        now = self._clock.wall()
        first = first_minute(now)
        with self._context.engine() as engine:
            facts, shipper = gather(engine, self._context.settings(), now, audited=False)
            minutes = since(engine, first)
        reports = facts.reports
        self._rates.see(self._clock.monotonic(), reports)
        who = f"{shipper} ships" if shipper else "no shipper is running"
        head = Text(f"{iso(now)[:-5]}Z  {who}; Ctrl-C ends", style="dim")
        parts = [Text.assemble(("shipper top", "bold"), "  ", head)]
        parts += verdict.drawn(judge(facts), most=1)
        for report in reports:
            of_it = [minute for minute in minutes if minute.destination == report.name]
            parts += [
                Text(),
                *self._destination(report, now, shipper is not None),
                *self._rows(of_it, first, width),
            ]
        return Group(*parts)

    def _destination(
        self,
        report: DestinationReport,
        now: float,
        is_shipped: bool,  # noqa: FBT001
    ) -> Iterator[Text]:
        oldest = report.oldest_pending_seconds
        facts = [f"{report.pending:,} pending" + ("" if oldest is None else f" ({age(oldest)})")]
        facts += [f"{self._rates.of(report.name):,.1f}/s", f"{report.delivered:,} delivered"]
        if report.held_keys:
            facts.append(f"{report.held_keys:,} keys held")
        dead = f", {report.dead:,} dead" if report.dead else ""
        state = verdict.state_of(report, is_shipped=is_shipped)
        yield Text.assemble(
            (printable(report.name), "bold"),
            "  ",
            (state, getattr(state, "colour", COLOURS.get(state, "yellow"))),
            f"  {', '.join(facts)}",
            (dead, "red"),
        )
        reason = NEVER_TRIED if report.is_untried else said(report.why or "")
        if report.is_failing:
            reason = failed(report)
        if reason:
            wait = None if report.next_try_at is None else report.next_try_at - now
            due = "" if wait is None else f"; next try in {age(max(0.0, wait))}"
            yield Text(f"  {printable(reason)}{due}", style="yellow")

    def _rows(self, minutes: Sequence[Minute], first: float, width: int) -> Iterator[Text]:
        room = max(0, min(MINUTES, width - _LABEL - _NUMBER - _GAP - 2))
        for row in _ROWS:
            yield self._row(row, by_minute(minutes, first, row.value), room)

    def _row(self, row: Row, values: Sequence[float], room: int) -> Text:
        # The running minute isn't written down yet.
        latest = values[-1] or values[-2]
        style = "red" if row.bad else "cyan"
        drawn = Text(bars(values[len(values) - room :], self._characters), style)
        drawn.highlight_words([self._characters[0]], "bright_black")
        return Text.assemble(
            f"  {row.label:<{_LABEL}}{row.write(latest):>{_NUMBER}}{'':{_GAP}}", drawn
        )
