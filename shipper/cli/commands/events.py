"""`shipper events`: find events; show one with its tries, and why it waits."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from shipper.advice import hint, place_of, said, unknown_destination
from shipper.cli.input.arguments import LIMIT, Destination, Ident, Key, Since, StatusName, Until
from shipper.cli.input.choice import no_match
from shipper.cli.output import windows
from shipper.cli.output.columns import Column, Header, middle, without_year
from shipper.cli.output.context import Context
from shipper.cli.output.payload import readable
from shipper.clock import SystemClock, iso
from shipper.config import Settings
from shipper.errors import NotFound
from shipper.policy.delivery import RetryPolicy
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.drain.messages import HistoryRow
from shipper.store.report.events import EventDetail, EventReport, find, get
from shipper.store.report.why import why
from shipper.wording.quantities import several
from shipper.wording.safe_text import printable


def list_events(
    *,
    status: Annotated[StatusName | None, Parameter(help="Only events with this status.")] = None,
    key: Key = None,
    destination: Destination = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, Parameter(help="The most events to list.", validator=LIMIT)] = 50,
    context: Context,
) -> int:
    """List events, the newest first; exit status 1 if there is none."""
    selection = Selection(status=status, key=key, destination=destination, since=since, until=until)
    with context.engine() as engine:
        found = find(engine, selection, limit)
        if not found and selection != Selection():
            raise no_match(engine, context, selection)
    if context.json:
        for event in found:
            context.emit(_fields(event))
    elif found:
        context.table(_list_header(), [_row(event) for event in found])
    if not found:
        context.note("there are no events")
    return 0 if found else 1


def show_event(
    ident: Ident,
    /,
    *,
    context: Context,
) -> None:
    """Show an event with its payload, its tries, and why it waits."""
    show(ident, context, only=None)


def show(ident: str, context: Context, *, only: StatusName | None) -> None:
    """Print an event; raises NotFound if there is none, or its status isn't `only`."""
    now = SystemClock().wall()
    settings = context.settings()
    with context.engine() as engine:
        detail = get(engine, ident)
        if detail is None:
            raise NotFound(f"there is no event {printable(ident)}", _hint(ident))
        event = detail.event
        if only not in {None, event.status}:
            raise NotFound(f"event {event.id} is {event.status}, not {only}")
        reason = _why(engine, settings, event, now)
    if context.json:
        context.emit(_detail(detail, reason))
    else:
        _print(detail, reason, context)


def _why(engine: Database, settings: Settings, event: EventReport, now: float) -> str | None:
    window = windows.until(settings, now)
    destination = settings.destinations.get(event.destination)
    if destination is None:
        config = str(settings.path or "the configuration")
        missing = unknown_destination(event.destination, settings.destinations, config)
        return why(
            engine,
            event,
            max_attempts=None,
            now=now,
            window=window,
            advise=lambda _: missing,
        )
    retry, place = destination.retry, place_of(destination, settings)
    return why(
        engine,
        event,
        max_attempts=retry.max_attempts,
        now=now,
        window=window,
        policy=RetryPolicy(retry.backoff, retry.probe_backoff, retry.max_attempts),
        advise=lambda reason: hint(reason, place),
    )


def _hint(ident: str) -> str | None:
    return f"to find it by its event id: event_id:{ident}" if ident.isdigit() else None


def _fields(event: EventReport) -> dict[str, Any]:
    fields = asdict(event)
    for name in ("created_at", "next_attempt_at", "delivered_at"):
        fields[name] = None if fields[name] is None else iso(fields[name])
    return fields


def _detail(detail: EventDetail, reason: str | None) -> dict[str, Any]:
    history = [
        {**asdict(attempt), "started_at": iso(attempt.started_at)} for attempt in detail.history
    ]
    return {**_fields(detail.event), "why": reason, "payload": detail.payload, "history": history}


def _list_header() -> Header:
    return (
        "id",
        "status",
        Column("written", gives=2, short=without_year),
        Column("destination", gives=5),
        Column("key", gives=3, short=middle(13)),
        Column("event id", gives=1),
        Column("last error", gives=4, if_quiet=True),
    )


def _tries_header() -> Header:
    moment = Column("tried at", gives=1, short=without_year)
    return (moment, "outcome", Column("status", gives=3), "ms", Column("by", gives=2), "answer")


def _row(event: EventReport) -> tuple[object, ...]:
    return (
        str(event.id),
        event.status,
        iso(event.created_at),
        event.destination,
        event.ordering_key,
        event.event_id,
        event.last_error,
    )


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count:,} times")


def _print(detail: EventDetail, reason: str | None, context: Context) -> None:
    event = detail.event
    destination = context.settings().destinations.get(event.destination)
    of = f" of {destination.retry.max_attempts}" if destination else ""
    facts = {
        "event": str(event.id),
        "event id": event.event_id,
        "destination": event.destination,
        "key": event.ordering_key,
        "status": event.status,
        "tried": f"{_times(event.tries)}; {event.attempts}{of} failures charged",
        "written": iso(event.created_at),
        "delivered": None if event.delivered_at is None else iso(event.delivered_at),
        "last error": None if event.last_error is None else said(event.last_error),
        "why": reason,
    }
    context.facts({label: value for label, value in facts.items() if value is not None})
    _print_payload(detail.payload, context)
    if detail.history:
        context.say()
        context.table(_tries_header(), [_attempt_row(attempt) for attempt in detail.history])


def _print_payload(payload: str, context: Context) -> None:
    if not sys.stdout.isatty():
        context.facts({"payload": payload})
        return
    size = several(len(payload.encode("utf-8", "surrogatepass")), "byte")
    context.facts({"payload": f"{size}, sent as written; indented here"})
    for line in readable(payload):
        context.say(f"  {printable(line)}")


def _attempt_row(attempt: HistoryRow) -> tuple[object, ...]:
    return (
        iso(attempt.started_at),
        attempt.outcome,
        None if attempt.status_code is None else str(attempt.status_code),
        attempt.duration_ms,
        "operator" if attempt.manual else "shipper",
        attempt.response_excerpt or attempt.error,
    )
