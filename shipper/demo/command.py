"""Run the demo as a command: its directory, its signals, its output."""

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import orjson
from rich.console import Console
from rich.live import Live

from shipper.clock import BEGAN, SystemClock
from shipper.demo.play import Stage, play
from shipper.demo.screen import Scene, live_view, summary_view
from shipper.demo.summary import DemoSummary
from shipper.errors import UsageError
from shipper.logs import open_log
from shipper.system.files import Directory, open_own
from shipper.wording import colours


def demo(seconds: float = 10.0, keep: Path | None = None, *, as_json: bool = False) -> int:
    """Run the demo and print its summary; return 0 if every event is accounted for.

    Raises UsageError if `keep` already holds a demo.
    """
    console = colours.console(sys.stderr)
    with _directory(keep) as name:
        directory = Path(name)
        if (directory / "shop.db").exists():
            raise UsageError(f"{directory} already holds a demo", "choose another directory")
        summary = asyncio.run(_perform(directory, seconds, console))
        _print(summary, directory if keep else None, as_json=as_json)
    return 0 if summary.balanced else 1


def _directory(keep: Path | None) -> "tempfile.TemporaryDirectory[str] | nullcontext[str]":
    if keep is None:
        return tempfile.TemporaryDirectory(prefix="shipper-demo-")
    try:
        keep.mkdir(parents=True, exist_ok=True)
        with Directory(keep):  # refuses a link of another user on the path
            return nullcontext(str(keep.resolve()))
    except OSError as error:
        raise UsageError(f"can't keep the demo in {keep}: {error.strerror}") from None


def _log_in(directory: Path) -> TextIO:
    try:
        file = open_own(directory / "shipper.log", os.O_WRONLY, 0o644)
        os.ftruncate(file, 0)
    except OSError as error:
        raise UsageError(f"can't write {directory}/shipper.log: {error.strerror}") from None
    return os.fdopen(file, "w", encoding="utf-8")


async def _perform(directory: Path, seconds: float, console: Console) -> DemoSummary:
    clock = SystemClock()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # `--keep` keeps the daemon's log; on the terminal the log would break the live view.
    with _log_in(directory) as stream:
        log = open_log("info", "json", stream)
        # The last view stays on the screen, so that it can be compared with the summary.
        live = Live(console=console, refresh_per_second=10)

        def show(scene: Scene) -> None:
            live.update(live_view(scene))

        stage = Stage(clock, log, lambda: clock.monotonic() - BEGAN, show, stop)
        if console.is_terminal:
            with live:
                return await play(directory, seconds, stage)
        console.print("a shop writes, the API fails on purpose, shipper delivers …")
        stage.show = _show_nothing
        return await play(directory, seconds, stage)


def _show_nothing(scene: Scene) -> None:
    """Show nothing: stderr isn't a terminal."""


def _print(summary: DemoSummary, kept: Path | None, *, as_json: bool) -> None:
    console = colours.console(sys.stderr if as_json else sys.stdout)
    console.print(summary_view(summary))
    if kept:
        console.print(f"kept in {kept}: shop.db, shipper.log, api.jsonl", highlight=False)
    console.print("next: shipper init", highlight=False)
    if as_json:
        sys.stdout.write(orjson.dumps(summary.as_json()).decode() + "\n")
        sys.stdout.flush()
