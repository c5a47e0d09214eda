"""The last hour as lines of bars, with the time below them.

The minute that runs is written down when it is over: it is drawn as one that isn't finished, so
that nobody reads it as a minute in which nothing happened. Nothing here reads a clock.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from shipper.cli.output.bars import ASCII_BARS, MINUTES, bars, by_minute
from shipper.store.report.minutes import Minute
from shipper.wording.quantities import age, count

# Columns of a label, of a number, and between the two and the bars.
LABEL, _NUMBER, _GAP = 14, 9, 2
_INDENT = "  "
_BESIDE = len(_INDENT) + LABEL + _NUMBER + _GAP
_UNFINISHED, _UNFINISHED_ASCII = "…", "~"


@dataclass(frozen=True, slots=True)
class BarRow:
    """A line of bars: a label, how a value is written, and the value of a minute.

    `rank` tells how soon it is missed where there is little room, the lowest first.
    """

    label: str
    rank: int
    write: Callable[[float], str]
    value: Callable[[Minute], float]
    bad: bool = False
    """Whether anything but nothing is bad news."""


def _seconds(value: float) -> str:
    if not value:
        return "-"  # nothing was delivered, so nothing took any time
    return f"{value:.2f}s" if value < 10 else age(value)


_ROWS = (
    BarRow("delivered/min", 2, count, lambda m: m.delivered),
    BarRow("retried/min", 8, count, lambda m: m.retried),
    BarRow("dead/min", 7, count, lambda m: m.dead, bad=True),
    BarRow("latency", 9, _seconds, lambda m: m.latency_sum / m.delivered if m.delivered else 0.0),
    BarRow("longest", 10, _seconds, lambda m: m.latency_max),
)
AXIS_RANK = 3

Ranked = tuple[int, Text]


def chart(minutes: Sequence[Minute], first: float, width: int, characters: str) -> Iterator[Ranked]:
    """Yield the lines with their ranks: a row for each value, and the axis."""
    room = max(0, width - _BESIDE)
    # On a wide terminal a minute is two columns wide.
    each = max(1, min(2, room // MINUTES))
    shown = min(MINUTES, room // each)
    for row in _ROWS:
        yield row.rank, _row(row, by_minute(minutes, first, row.value), shown, each, characters)
    yield AXIS_RANK, _axis(shown, each)


def _row(row: BarRow, values: Sequence[float], shown: int, each: int, characters: str) -> Text:
    head = f"{_INDENT}{row.label:<{LABEL}}{row.write(latest(values)):>{_NUMBER}}{'':{_GAP}}"
    return Text.assemble(head, drawn(values, shown, characters, each, bad=row.bad))


def latest(values: Sequence[float]) -> float:
    """Return the value of the last minute that is over."""
    return values[-2]


def drawn(
    values: Sequence[float], shown: int, characters: str, each: int = 1, *, bad: bool = False
) -> Text:
    """Return the newest so many minutes as bars, each so many columns wide; the last one runs."""
    if not shown:
        return Text()
    *finished, running = values
    past = finished[MINUTES - shown :]
    marks = bars(past, characters)
    line = Text("".join(mark * each for mark in marks), "red" if bad else "cyan")
    line.highlight_words([characters[0]], "bright_black")
    return line.append(_unfinished(running, past, characters) * each, "bright_black")


def _unfinished(running: float, past: Sequence[float], characters: str) -> str:
    if running:
        return bars([running, *past], characters)[0]
    return _UNFINISHED_ASCII if characters == ASCII_BARS else _UNFINISHED


def _axis(shown: int, each: int) -> Text:
    """Return the time below the bars: how long ago the first minute was, half of it, and now."""
    wide = shown * each
    begin, middle, end = f"-{shown} min", f"-{shown // 2}", "now"
    line = f"{begin:<{max(0, wide // 2 - len(middle) // 2)}}{middle}"
    if wide < len(begin) + len(middle) + len(end) + 4:
        line = begin if wide >= len(begin) + len(end) + 1 else ""
    return Text(f"{'':{_BESIDE}}{line}{end:>{max(len(end), wide - len(line))}}", "dim")
