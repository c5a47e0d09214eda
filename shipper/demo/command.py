"""The face of the demo: the live view while it runs, the receipt at its end."""

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shipper.clock import BEGAN, SystemClock
from shipper.demo.play import Scene, Stage, play
from shipper.demo.receipt import Receipt
from shipper.demo.shop import SHOPPERS
from shipper.errors import UsageError
from shipper.logs import open_log
from shipper.system.files import Directory, open_own
from shipper.wording import colours
from shipper.wording.colours import STATES


def demo(seconds: float = 10.0, keep: Path | None = None, *, as_json: bool = False) -> int:
    """Run the demo and print its receipt; return 0 when it balances.

    Raises UsageError when `keep` already holds a demo.
    """
    console = colours.console(sys.stderr)
    with _directory(keep) as name:
        directory = Path(name)
        if (directory / "shop.db").exists():
            raise UsageError(f"{directory} already holds a demo", "choose another directory")
        receipt = asyncio.run(_perform(directory, seconds, console))
        _print(receipt, directory if keep else None, as_json=as_json)
    return 0 if receipt.balanced else 1


def _directory(keep: Path | None) -> "tempfile.TemporaryDirectory[str] | nullcontext[str]":
    if keep is None:
        return tempfile.TemporaryDirectory(prefix="shipper-demo-")
    try:
        keep.mkdir(parents=True, exist_ok=True)
        with Directory(keep):  # nobody else's link is on the way
            return nullcontext(str(keep.resolve()))
    except OSError as error:
        raise UsageError(f"can't keep it in {keep}: {error.strerror}") from None


def _log_in(directory: Path) -> TextIO:
    try:
        file = open_own(directory / "shipper.log", os.O_WRONLY, 0o644)
        os.ftruncate(file, 0)
    except OSError as error:
        raise UsageError(f"can't write {directory}/shipper.log: {error.strerror}") from None
    return os.fdopen(file, "w", encoding="utf-8")


async def _perform(directory: Path, seconds: float, console: Console) -> Receipt:
    clock = SystemClock()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # Its log is part of what --keep keeps; on the screen it would tear the live view.
    with _log_in(directory) as stream:
        log = open_log("info", "json", stream)
        # It stays when all is over, so that what was seen can be compared with the receipt.
        live = Live(console=console, refresh_per_second=10)

        def show(scene: Scene) -> None:
            live.update(_view(scene))

        stage = Stage(clock, log, lambda: clock.monotonic() - BEGAN, show, stop)
        if console.is_terminal:
            with live:
                return await play(directory, seconds, stage)
        console.print("a shop writes, the API fails on purpose, shipper delivers …")
        stage.show = _look_away
        return await play(directory, seconds, stage)


def _look_away(scene: Scene) -> None:
    """Show nothing: nobody is looking."""


def _view(scene: Scene) -> Group:
    route = scene.session.dispatcher.routes["default"]
    seen = scene.receiver
    state = route.link.shown.value
    order = "kept" if not seen.order_violations else f"{seen.order_violations} violations"
    view = Table(show_header=False, box=None, padding=(0, 2))
    view.add_row("written by the shop", f"[bold]{scene.written:,}[/]")
    view.add_row("received by the API", f"[bold green]{seen.distinct:,}[/]")
    view.add_row("on their way", f"{route.in_flight}")
    view.add_row("failed on purpose", f"{seen.requests - seen.accepted:,}")
    view.add_row("received again", f"{seen.repeats:,}")
    view.add_row(f"order of {SHOPPERS} shoppers", order)
    view.add_row("link", Text.assemble((state, STATES[state]), f" {route.link.reason or ''}"))
    return Group(Text(_title(scene), style="bold"), view)


def _title(scene: Scene) -> str:
    if scene.is_over:
        return "the shop is closed, and this is how it ended"
    return "the shop is open" if scene.shop_is_open else "the shop is closed; shipping the rest"


def _print(receipt: Receipt, kept: Path | None, *, as_json: bool) -> None:
    talk = colours.console(sys.stderr if as_json else sys.stdout)
    verdict = (
        "[bold green]it balances[/]" if receipt.balanced else "[bold red]IT DOESN'T BALANCE[/]"
    )
    table = Table(title="receipt", title_justify="left", show_header=False, box=None)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value in receipt.as_json().items():
        if name != "balanced":
            shown = "-" if value is None else f"{value:,}"
            table.add_row(name.replace("_", " "), shown, receipt.explanations().get(name, ""))
    talk.print(table, verdict)
    if kept:
        talk.print(f"kept in {kept}: shop.db, shipper.log, api.jsonl", highlight=False)
    talk.print("next: shipper init", highlight=False)
    if as_json:
        sys.stdout.write(orjson.dumps(receipt.as_json()).decode() + "\n")
        sys.stdout.flush()
