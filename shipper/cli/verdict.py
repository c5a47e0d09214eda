"""What is wrong, as a person sees it first: above the table of `status`, in `top`, live or not."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from shipper.cli.context import Context, Word
from shipper.plain import printable
from shipper.state import State
from shipper.store.reports import DestinationReport
from shipper.troubles import Level, Trouble

if TYPE_CHECKING:
    from rich.text import Text

SHOWN = 5
"""No more than so many; `doctor` has them all."""

_COLOURS = {Level.WARNING: "yellow", Level.CRITICAL: "bold red"}


def say(context: Context, troubles: Sequence[Trouble]) -> None:
    """Print what is wrong, the worst first, each with what to do; nothing where all is well."""
    if sys.stdout.isatty():
        from shipper.style import console  # noqa: PLC0415 - only a terminal needs rich

        for line in drawn(troubles):
            console().print(line)
    else:
        for text, _ in _lines(troubles, SHOWN):
            context.say(text)


def drawn(troubles: Sequence[Trouble], most: int = SHOWN) -> "Iterator[Text]":
    """Yield the first of the same for a picture, in the colour of how bad each is."""
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
    """Return a destination's state; `ready` is green only where it has shown that it is."""
    if report.is_failing:
        return Word.of(report.state, "yellow")
    if report.is_untried or (report.state == State.READY.value and not is_shipped):
        return Word.of(report.state, "")
    return report.state
