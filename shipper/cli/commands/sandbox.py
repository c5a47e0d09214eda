"""`shipper sandbox`: a local stand-in for the vendor's API, until it is stopped."""

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
    """Stand in for the vendor's API on this machine, with its validation, and with faults.

    Runs until SIGINT or SIGTERM, then prints what it saw. With --json the first line of stdout
    says where it listens, the last one what it saw.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port to listen on; 0 takes any that is free.
    api_id
        The API ID to ask for; left out, any will do.
    chaos
        Faults, like 503:0.1,drop:0.05,outage:10s@30s/60s (status:probability, seconds@start/every).
    validation
        What an event is checked for, as [validation] mode in the configuration: the vendor's whole
        schema, or less, for types of events that it doesn't know yet.
    log
        A file to write every request to, as JSON lines.
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
        _tell(context, summary)


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
    any_will_do = "" if api_id else " (any API ID will do)"
    # What was given on the command line is the caller's secret, not ours to print.
    shown = '"$API_ID"' if api_id else "sandbox"
    # `init` keeps the API ID in a file of its own: what others can read is warned of.
    return f"""\
the API's stand-in listens on {server.url}{any_will_do}; Ctrl-C stops it

Send it an event:

  curl -i {server.events_url} \\
    -H 'content-type: application/json' -H x-api-id:{shown} \\
    -d '{_EXAMPLE}'

Let shipper send to it, with a new configuration:

  shipper init --url {server.events_url} --api-id {shown}

or with this line under [destinations.default] of one that you have:

  url = "{server.events_url}"
"""


def _tell(context: Context, summary: Summary) -> None:
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
    verdict = f"broken {several(broken, 'time')}" if broken else "kept"
    context.say(f"repeats: {count(summary.repeats)}; the order of each user was {verdict}")
