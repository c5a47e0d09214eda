"""`shipper run`: the daemon, in the foreground."""

import asyncio
from collections.abc import Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from shipper.cli.check import sound
from shipper.cli.context import Context
from shipper.clock import SystemClock
from shipper.config import load
from shipper.daemon import serve
from shipper.logs import open_log
from shipper.unblocked import unblock_stderr

T = TypeVar("T")


def run(*, context: Context) -> None:
    """Ship events until stopped: SIGTERM and SIGINT stop it cleanly, SIGHUP reloads the config."""
    unblock_stderr()
    settings = sound(context)  # every fault at once, and not the first that is stumbled over
    level = {-1: "warning", 0: settings.log.level}.get(context.verbosity, "debug")
    run_loop(
        serve(
            settings,
            clock=SystemClock(),
            log=open_log(level, settings.log.format),
            reload=lambda: load(context.config_path, context.environ),
        )
    )


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where there is one."""
    factory = import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
