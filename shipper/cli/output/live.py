"""A picture in the terminal that is drawn anew every second or so, until somebody has seen enough.

It must never keep the database open for a drawing that nobody sees, and always gives the terminal
back as it was, also after SIGTERM. A database that is away for a while ends nothing.
"""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from rich.console import ConsoleDimensions, RenderableType
from rich.live import Live
from rich.text import Text

from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.errors import StoreUnavailable, UsageError
from shipper.wording.colours import console as terminal
from shipper.wording.colours import terminal_size
from shipper.wording.safe_text import printable

_EVERY = 1.0
# Of the time that a drawing took: an outbox where that is long isn't kept busy by onlookers.
_REST = 4.0

Draw = Callable[[int, int], RenderableType]


def show(context: Context, draw: Draw, *, instead: str) -> None:
    """Show what `draw` returns for a width and a height, until SIGINT or SIGTERM.

    Raises UsageError where there is no terminal; `instead` is the command that needs none.
    """
    if context.json or not sys.stdout.isatty():
        raise UsageError("this draws on a terminal, and there is none", instead)
    screen = terminal()
    if screen.is_dumb_terminal:  # rich would draw nothing, without a word
        raise UsageError("this draws on a terminal, and $TERM says that yours can't", instead)
    clock = SystemClock()
    before = {number: signal.signal(number, _end) for number in _ENDS}
    try:
        # Nobody prints meanwhile; and what stands in for stdout then knows no encoding.
        with Live(
            console=screen, screen=True, auto_refresh=False, redirect_stdout=False,
            redirect_stderr=False,
        ) as live:  # fmt: skip
            while True:
                began = clock.monotonic()
                # Asked anew for each picture: a terminal may be made larger or smaller.
                live.console.size = ConsoleDimensions(*terminal_size())
                live.update(_drawn(draw, live.console.size), refresh=True)
                took = clock.monotonic() - began
                threading.Event().wait(max(_EVERY, _REST * took))
    except _Enough:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Enough(BaseException):
    """Somebody has seen enough; wherever we are, that is where it ends."""


_ENDS = (signal.SIGINT, signal.SIGTERM)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Once: a second one must not keep the terminal from being given back.
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise _Enough


def _drawn(draw: Draw, size: ConsoleDimensions) -> RenderableType:
    try:
        return draw(size.width, size.height)
    except StoreUnavailable as error:
        return Text(f"{printable(error.message)}; trying again", style="bold")
