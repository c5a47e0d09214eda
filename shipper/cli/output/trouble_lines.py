"""The troubles as lines of text: above the table of `status`, and at the head of `top`.

It decides how they are cut and coloured. It must never judge: `observe.troubles` does.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from shipper.cli.output.cells import Word
from shipper.cli.output.context import Context, folded
from shipper.observe.troubles import Severity, Trouble
from shipper.policy.state import State
from shipper.store.report.status import DestinationReport
from shipper.wording.quantities import age
from shipper.wording.safe_text import printable

if TYPE_CHECKING:
    from rich.text import Text

SHOWN = 5
"""How many problems are shown; `doctor` lists all."""

_COLOURS = {Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}


def say(context: Context, troubles: Sequence[Trouble]) -> None:
    """Print the problems, the worst first, each with its fix."""
    for text, colour in _lines(troubles, SHOWN):
        context.say("\n".join(folded(text, hangs=True)), colour)


def drawn(troubles: Sequence[Trouble], most: int = SHOWN) -> "Iterator[Text]":
    """Yield the first problems for a drawing, each in the colour of its level."""
    from rich.text import Text  # noqa: PLC0415 - only a terminal needs rich

    for text, colour in _lines(troubles, most):
        yield Text(text, colour)


def _lines(troubles: Sequence[Trouble], most: int) -> Iterator[tuple[str, str]]:
    for trouble in troubles[:most]:
        words = f"{trouble.level.name.lower()}: {printable(trouble.text)}"
        yield words, _COLOURS[trouble.level]
        if trouble.fix is not None:
            yield f"  fix: {printable(trouble.fix)}", ""
    if len(troubles) > most:
        yield (
            f"and {len(troubles) - most} more: shipper {'doctor' if most == SHOWN else 'status'}",
            "",
        )


def state_of(report: DestinationReport, *, is_shipped: bool) -> Word | str:
    """Return a destination's state; `ready` is green only after a successful try."""
    if report.is_failing:
        return Word.of(report.state, "yellow")
    if report.is_untried or (report.state == State.READY.value and not is_shipped):
        return Word.of(report.state, "")
    return report.state


def next_try(report: DestinationReport, now: float) -> Iterator[str]:
    """Yield when the daemon tries next, if events wait for it."""
    if report.next_try_at is not None and report.pending:
        wait = report.next_try_at - now
        yield f"next try in {age(wait)}" if wait >= 1 else "next try due"
