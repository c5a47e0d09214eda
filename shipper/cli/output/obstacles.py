"""What still keeps events back after an operator's command, for the command's answer.

It must never claim that an event is sent now: only the daemon knows that.
"""

import shlex
from collections.abc import Collection, Iterator

from shipper.cli.output import windows
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.observe.troubles import NAMED, state_of
from shipper.policy.state import State
from shipper.store.db.opening import Database
from shipper.store.report.daemons import current_daemon
from shipper.store.report.holds import held
from shipper.store.report.silence import find_silence
from shipper.store.report.status import DestinationReport, destination_report
from shipper.wording.safe_text import printable

_LOOKED_AT = 1_000


def obstacles(
    context: Context, engine: Database, names: Collection[str], *, probed: bool
) -> list[str]:
    """Return why events of these destinations can't be sent yet, the most general reason first.

    With `probed` the daemon probes links that are down at once: these are no obstacles.
    """
    settings, now = context.settings(), SystemClock().wall()
    found = []
    if current_daemon(engine) is None:
        found.append("no daemon is running")
    elif (suffers := find_silence(engine)) is not None:
        found.append(f"the daemon {suffers.predicate}")
    reports = destination_report(engine, settings.destinations, now, patient=True)
    for report in reports:
        if report.name in names:
            found += _of_link(report, probed=probed)
    closed = windows.until(settings, now)
    if closed is not None:
        found.append(f"no delivery window is open {closed}")
    return found


def held_keys(engine: Database, lanes: Collection[tuple[str, str | None]]) -> list[str]:
    """Return a sentence for each of these lanes (destination, key) that is held."""
    found, _ = held(engine, _LOOKED_AT)
    keys = [each for each in found if (each.destination, each.ordering_key) in lanes]
    return [
        f"key {quoted(each.ordering_key)} is held; shipper release --key"
        f" {quoted(each.ordering_key)} --destination {each.destination}"
        for each in keys[:NAMED]
        if each.ordering_key is not None
    ]


def quoted(text: str) -> str:
    """Return a printable text as one word of a command line."""
    return shlex.quote(printable(text))


def _of_link(report: DestinationReport, *, probed: bool) -> Iterator[str]:
    is_held = report.state == State.HELD.value
    if report.looks_well or (probed and not is_held):
        return
    does = "" if is_held else " probes it now"
    command = f"shipper release --destination {report.name}{does}"
    yield printable(f"{report.name} is {state_of(report)}; {command}")
