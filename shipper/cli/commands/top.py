"""`shipper top`: deliveries now and in the last hour, minute by minute.

It shows what the database has: links, pending events, counters, statistics, the oldest events, and
the causes of dead letters. It must never scan a large outbox. The width of the terminal decides how
many minutes it shows, the height how many lines below them.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from shipper.cli.output import live, trouble_lines, windows
from shipper.cli.output.bars import BARS, alphabet, first_minute
from shipper.cli.output.chart import LABEL, Ranked, chart
from shipper.cli.output.columns import middle
from shipper.cli.output.context import Context
from shipper.cli.output.daemons import daemon_lines
from shipper.cli.output.trouble_lines import next_try
from shipper.clock import Clock, SystemClock, iso
from shipper.doctor.unit import start_command
from shipper.observe.situation import Situation, SlowFacts, gather
from shipper.observe.troubles import judge, why_of
from shipper.store.report.daemons import shippers, ships
from shipper.store.report.minutes import since
from shipper.store.report.status import DestinationReport
from shipper.store.report.top import NEWEST_DEAD, Glance, glance
from shipper.wording.colours import BAD, STATES, WAITING, ascii_only
from shipper.wording.quantities import age, count, several
from shipper.wording.safe_text import printable

# A rate is over this many drawings, a few seconds: so it is the rate of now, and soon 0 when
# deliveries stop.
_DRAWINGS = 4
_ROWS_USUAL = 24
_ROWS_OF_ONE = 14  # lines of a destination with everything about it
_FIRST = 0
_DAEMONS = 8
# Width of a key, in columns.
_KEY = 13


def top(*, context: Context) -> None:
    """Show deliveries live, with the last hour minute by minute; Ctrl-C ends it.

    With --json it prints the recorded minutes of the last hour once, one per line.
    """
    clock = SystemClock()
    if context.json:
        _emit(context, clock)
        return
    picture = Picture(context, clock, alphabet())
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


class Rates:
    """The rate of deliveries, in events a second, by destination."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque(maxlen=_DRAWINGS)

    def see(self, at: float, reports: Sequence[DestinationReport]) -> None:
        """Record the counters at a time; a delivered event still counts when it is purged."""
        self._seen.append((at, {r.name: r.delivered + r.purged for r in reports}))

    def of(self, name: str) -> float:
        """Return the rate of a destination; 0 until it has been seen twice."""
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        if ended <= began or name not in first or name not in last:
            return 0.0
        return max(0, last[name] - first[name]) / (ended - began)


class Picture:
    """The drawing of `shipper top`, with what it remembers between two drawings."""

    def __init__(self, context: Context, clock: Clock, characters: str = BARS) -> None:
        self._context = context
        self._clock = clock
        self._characters = characters
        self._rates = Rates()
        self._seldom = SlowFacts()

    def draw(self, width: int, height: int = _ROWS_USUAL) -> RenderableType:
        """Return the drawing for a size in columns and lines; raises what the database raises."""
        now = self._clock.wall()
        first, settings = first_minute(now), self._context.settings()
        with self._context.engine() as engine:
            start = start_command(settings.path)
            facts, _ = gather(engine, settings, now, start=start, seldom=self._seldom)
            glances = [glance(engine, report.name) for report in facts.reports]
            minutes = since(engine, first)
        facts = windows.known(facts, settings, now)
        reports = facts.reports
        self._rates.see(self._clock.monotonic(), reports)
        who = ships(shippers(facts.daemons))
        head = Text(f"{iso(now)[11:19]} UTC  {who}; Ctrl-C ends", style="dim")
        parts = [Text.assemble(("shipper top", "bold"), "  ", head)]
        # The worst problem comes first, if there is room for more than the destinations.
        worst = list(trouble_lines.drawn(judge(facts), most=1))
        parts += worst[: max(0, height - _ROWS_OF_ONE)]
        parts += _daemons(facts)[: max(0, height - len(parts) - _ROWS_OF_ONE)]
        room = (height - len(parts)) // max(1, len(reports))
        for report, seen in zip(reports, glances, strict=True):
            of_it = [minute for minute in minutes if minute.destination == report.name]
            lines = [
                (_FIRST, Text()),
                *self._destination(report, facts, now),
                *chart(of_it, first, width, self._characters),
                *_glanced(report, seen, now),
            ]
            parts += _most_wanted(lines, room)
        for part in parts:
            part.truncate(width, overflow="crop" if ascii_only() else "ellipsis")
        return Group(*parts)

    def _destination(
        self,
        report: DestinationReport,
        known: Situation,
        now: float,
    ) -> Iterator[Ranked]:
        oldest = report.oldest_pending_seconds
        waits = "" if oldest is None else f" ({age(oldest)})"
        facts = [f"{count(report.pending)} pending{waits}"]
        facts.append(f"{self._rates.of(report.name):,.1f}/s")
        closed = known.closed_for(report)
        state = trouble_lines.state_of(report, is_shipped=known.is_shipped and closed is None)
        line = Text.assemble(
            (printable(report.name), "bold"),
            "  ",
            (state, getattr(state, "colour", STATES.get(state, WAITING))),
            f"  {', '.join(facts)}",
        )
        if report.held_keys:
            line.append(", ").append(f"{several(report.held_keys, 'key')} held", WAITING)
        if report.dead:
            line.append(", ").append(f"{count(report.dead)} dead", BAD)
        line.append(f", {count(report.delivered)} delivered")
        yield _FIRST, line
        if why := [each for each in (closed, why_of(report)) if each]:
            text = "; ".join([*why, *next_try(report, now)])
            yield _FIRST, Text(f"  {printable(text)}", WAITING)


def _glanced(report: DestinationReport, seen: Glance, now: float) -> Iterator[Ranked]:
    """Yield lines about dead letters, held keys and the oldest events, each with its rank."""
    if seen.causes:
        text = ", ".join(f"{count(number)} {printable(cause)}" for cause, number in seen.causes)
        newest = f"of the newest {count(NEWEST_DEAD)}: " if report.dead > NEWEST_DEAD else ""
        yield 4, _fact("dead letters", newest + text)
    if seen.held:
        names = ", ".join(map(printable, seen.held))
        more = report.held_keys - len(seen.held)
        yield 5, _fact("held keys", names + (f" and {count(more)} more" if more > 0 else ""))
    for place, event in enumerate(seen.oldest):
        key = middle(_KEY)(printable(event.key)) if event.key is not None else "no key"
        error = f"  {printable(event.error)}" if event.error else ""
        text = f"{event.id}  {key:<{_KEY}}  {age(now - event.written)}{error}"
        yield (6 if place == 0 else 11 + place), _fact("" if place else "oldest", text)


def _daemons(facts: Situation) -> list[Text]:
    """Return a line for each of several daemons, at most `_DAEMONS`."""
    lines = daemon_lines(facts.daemons) if len(facts.daemons) > 1 else []
    return [Text(f"  {printable(line)}", style="dim") for line in lines[:_DAEMONS]]


def _fact(label: str, text: str) -> Text:
    return Text(f"  {label:<{LABEL}}{text}")


def _most_wanted(lines: Sequence[Ranked], room: int) -> list[Text]:
    """Return the lines with the lowest ranks, as many as there is room for, in their order."""
    wanted = sorted(range(len(lines)), key=lambda at: lines[at][0])[: max(room, 1)]
    return [lines[at][1] for at in sorted(wanted)]
