"""`shipper run`: run the daemon in the foreground."""

import asyncio
from collections.abc import Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from shipper.cli.commands.check import sound
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.config import Settings, load
from shipper.daemon import serve
from shipper.logs import Log, open_log
from shipper.system.stderr import unblock_stderr

T = TypeVar("T")


def run(*, context: Context) -> None:
    """Run the daemon, which ships events until it is stopped.

    SIGTERM and SIGINT stop it cleanly: tries in flight still end. SIGHUP reloads the
    configuration. It logs to stderr.
    """
    unblock_stderr()

    def log_of(settings: Settings) -> Log:
        level = {-1: "warning", 0: settings.log.level}.get(context.verbosity, "debug")
        return open_log(level, settings.log.format)

    run_loop(
        serve(
            sound(context),  # raises with every mistake, not only the first
            clock=SystemClock(),
            log_of=log_of,
            reload=lambda: load(context.config_path, context.environ),
        )
    )


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop if it is installed."""
    factory = import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
