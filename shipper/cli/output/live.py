"""A live display in the terminal, drawn again about every second until the operator ends it.

It must never keep the database open between two drawings. It always restores the terminal, also
after SIGTERM. While the database doesn't answer, it says so and goes on.
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
# The pause between two drawings is at least this many times the length of a drawing: so a display
# never keeps a slow database busy.
_PAUSE = 4.0

Draw = Callable[[int, int], RenderableType]


def show(context: Context, draw: Draw, *, instead: str) -> None:
    """Show what `draw` returns for a width and a height, until SIGINT or SIGTERM.

    Raises UsageError without a terminal; its hint is `instead`, a command that doesn't need one.
    """
    if context.json or not sys.stdout.isatty():
        raise UsageError("this command needs a terminal", instead)
    screen = terminal()
    if screen.is_dumb_terminal:  # rich would draw nothing, without an error
        raise UsageError("this command can't draw on this terminal ($TERM)", instead)
    clock = SystemClock()
    before = {number: signal.signal(number, _end) for number in _ENDS}
    try:
        # Streams aren't redirected: nothing else prints, and rich's substitute has no encoding.
        with Live(
            console=screen, screen=True, auto_refresh=False, redirect_stdout=False,
            redirect_stderr=False,
        ) as live:  # fmt: skip
            while True:
                began = clock.monotonic()
                # Read again for each drawing, because the terminal's size can change.
                live.console.size = ConsoleDimensions(*terminal_size())
                live.update(_drawn(draw, live.console.size), refresh=True)
                took = clock.monotonic() - began
                threading.Event().wait(max(_EVERY, _PAUSE * took))
    except _Enough:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Enough(BaseException):
    """Raised by a signal: the operator ends the display."""


_ENDS = (signal.SIGINT, signal.SIGTERM)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Only once: a second signal must not stop the terminal from being restored.
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise _Enough


def _drawn(draw: Draw, size: ConsoleDimensions) -> RenderableType:
    try:
        return draw(size.width, size.height)
    except StoreUnavailable as error:
        return Text(f"{printable(error.message)}; trying again", style="bold")
