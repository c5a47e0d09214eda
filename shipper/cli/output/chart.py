"""The last hour as lines of bars, with a time axis below them.

The running minute is recorded when it ends: until then it is drawn as unfinished, because an empty
bar would look like a minute without deliveries. Nothing here reads a clock.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from shipper.cli.output.bars import ASCII_BARS, MINUTES, bars, by_minute
from shipper.store.report.minutes import Minute
from shipper.wording.quantities import age, count

# Widths in columns: of a label, of a number, and of the gap before the bars.
LABEL, _NUMBER, _GAP = 14, 9, 2
_INDENT = "  "
_BESIDE = len(_INDENT) + LABEL + _NUMBER + _GAP
_UNFINISHED, _UNFINISHED_ASCII = "…", "~"


@dataclass(frozen=True, slots=True)
class BarRow:
    """A line of bars: its label, how a value is written, and which value of a minute it shows.

    Where there is little room, lines with a low `rank` stay.
    """

    label: str
    rank: int
    write: Callable[[float], str]
    value: Callable[[Minute], float]
    bad: bool = False
    """Whether every value but 0 is bad news."""


def _seconds(value: float) -> str:
    if not value:
        return "-"  # without deliveries there is no latency
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
    """Yield the lines with their ranks: one for each value, and the axis."""
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
    """Return the last minutes as bars, each `each` columns wide; the last one is unfinished."""
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
    """Return the axis below the bars: the age of the first minute, half of that, and now."""
    wide = shown * each
    begin, middle, end = f"-{shown} min", f"-{shown // 2}", "now"
    line = f"{begin:<{max(0, wide // 2 - len(middle) // 2)}}{middle}"
    if wide < len(begin) + len(middle) + len(end) + 4:
        line = begin if wide >= len(begin) + len(end) + 1 else ""
    return Text(f"{'':{_BESIDE}}{line}{end:>{max(len(end), wide - len(line))}}", "dim")
