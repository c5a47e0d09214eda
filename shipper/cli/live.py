"""A picture in the terminal that is drawn anew every second, until somebody has seen enough.

It must never keep the database open for a drawing that nobody sees, and always gives the terminal
back as it was, also after SIGTERM. A database that is away for a while ends nothing.
"""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from shipper.cli.context import Context, printable
from shipper.errors import StoreUnavailable, UsageError

EVERY = 1.0

Draw = Callable[[int], RenderableType]


def show(context: Context, draw: Draw, *, instead: str) -> None:
    """Show what `draw` returns for a width, until SIGINT or SIGTERM.

    Raises UsageError where there is no terminal; `instead` is the command that needs none.
    """
    if context.json or not sys.stdout.isatty():
        raise UsageError("this draws on a terminal, and there is none", instead)
    stop = threading.Event()
    before = {number: signal.signal(number, _setting(stop)) for number in _ENDS}
    try:
        console = Console(highlight=False)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while not stop.is_set():
                live.update(_drawn(draw, console.width), refresh=True)
                stop.wait(EVERY)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_ENDS = (signal.SIGINT, signal.SIGTERM)


def _setting(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: stop.set()


def _drawn(draw: Draw, width: int) -> RenderableType:
    try:
        return draw(width)
    except StoreUnavailable as error:
        return Text(f"{printable(error.message)}; trying again", style="bold")
