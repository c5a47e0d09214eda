"""`shipper sandbox`: run a local stand-in for the vendor's API until it is stopped."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.commands.run import run_loop
from shipper.cli.output.context import Context
from shipper.contract.validation import Mode
from shipper.sandbox import Chaos, Sandbox, Summary, run_sandbox
from shipper.wording.quantities import count, several

_EXAMPLE = (
    '{"type":"view","view":{"type":"customSet","customSet":{"id":"set-1"}},'
    '"context":[{"type":"user","user":{"id":"user-1"}}]}'
)


def sandbox(
    *,
    host: str = "127.0.0.1",
    port: int = 8808,
    api_id: str | None = None,
    chaos: Annotated[str, Parameter(show_default=False)] = "",
    validation: Mode = "schema",
    log: Path | None = None,
    context: Context,
) -> None:
    """Run a local stand-in for the vendor's API, with its validation, and with faults on purpose.

    It runs until SIGINT or SIGTERM, then prints a summary of the requests. With
    --json the first line on stdout says where it listens, the last one is the
    summary.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port to listen on; 0 takes any free port.
    api_id
        The API ID that requests must have. Default: it accepts any.
    chaos
        Faults, like 503:0.1,drop:0.05,outage:10s@30s/60s (status:probability, length@start/every).
    validation
        How events are checked, as with [validation] mode; schema is the vendor's whole schema.
    log
        Write every request to this file, as JSON lines. Default: no log.
    """
    faults = Chaos.parse(chaos)

    def ready(server: Sandbox) -> None:
        if context.json:
            context.emit({"url": server.url, "events_url": server.events_url})
        context.note(_greeting(server, api_id))

    summary = run_loop(_serve((host, port, api_id, faults, log), ready, validation))
    if context.json:
        context.emit({**asdict(summary), "flawless": summary.flawless})
    else:
        _report(context, summary)


async def _serve(
    arguments: tuple[str, int, str | None, Chaos, Path | None],
    ready: Callable[[Sandbox], None],
    validation: Mode,
) -> Summary:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run_sandbox(*arguments, stop, ready=ready, validation=validation)


def _greeting(server: Sandbox, api_id: str | None) -> str:
    any_id = "" if api_id else " (it accepts any API ID)"
    # An API ID from the command line is the caller's secret, so it isn't printed.
    shown = '"$API_ID"' if api_id else "sandbox"
    return f"""\
the sandbox listens on {server.url}{any_id}; Ctrl-C stops it

Send it an event:

  curl -i {server.events_url} \\
    -H 'content-type: application/json' -H x-api-id:{shown} \\
    -d '{_EXAMPLE}'

Make a configuration for it:

  shipper init --url {server.events_url} --api-id {shown}

or change [destinations.default] of an existing configuration:

  url = "{server.events_url}"
"""


def _report(context: Context, summary: Summary) -> None:
    context.say(
        f"{several(summary.requests, 'request')}, {count(summary.accepted)} accepted,"
        f" {several(summary.distinct, 'different event')} of {several(summary.users, 'user')}"
    )
    answers = ", ".join(
        f"{name}: {count(number)}" for name, number in sorted(summary.answers.items())
    )
    if answers:
        context.say(f"answers: {answers}")
    broken = summary.order_violations
    order = f"broken {several(broken, 'time')}" if broken else "kept"
    context.say(f"repeats: {count(summary.repeats)}; the order of each user was {order}")
