"""Why an event waits: the sentence, from the facts about it. Pure.

The widest obstacle is told first: what only a person can remove, then what stops everything, then
what stops this event alone. It must never promise what the drain wouldn't do; `waiting` gathers
the facts as the drain sees them.
"""

import shlex
from dataclasses import dataclass

from shipper.advice import said
from shipper.clock import iso
from shipper.policy.state import State
from shipper.store.report.events import EventReport
from shipper.store.report.silence import Plight
from shipper.store.report.status import Blocker, unknown


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What is recorded of an event's destination. Times are seconds since 1970."""

    state: str
    reason: str | None
    since: float | None
    next_try_at: float | None
    held: bool


@dataclass(frozen=True, slots=True)
class KeyHold:
    """Why an event's key is held: by an operator, or by the dead letter that `event_id` names.

    `is_void` says that what held it is no dead letter any more, and nobody let the key go.
    """

    cause: str
    event_id: str | None
    since: float | None
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that can make an event wait.

    `max_attempts` is None where the configuration doesn't know the destination; `ahead` is the
    id of the event that its key ships first; `claimed` says that the daemon has the event;
    `window` says more of a delivery window that isn't open;
    `by_hand` what somebody has done to its row, for which the drain has no other way than to read
    the outbox from its beginning; `due_in` is in seconds, None where `next_attempt_at` says it.
    """

    max_attempts: int | None
    running: bool
    plight: Plight | None = None
    link: LinkFacts | None = None
    hold: KeyHold | None = None
    ahead: int | None = None
    claimed: bool = False
    blocker: Blocker | None = None
    window_open: bool = True
    window: str = "(schedule.windows)"
    by_hand: str | None = None
    due_in: float | None = None
    advice: str | None = None
    """What to do about a link that is down, or a destination that isn't there."""


def explain(event: EventReport, facts: Facts, now: float) -> str | None:
    """Return the sentence for an event and the facts about it. Pure."""
    if event.status != "pending":
        return _ended(event, facts.by_hand)
    return (
        _person_needed(event, facts)
        or _nobody_sends(facts)
        or _link_is_down(event, facts.link, facts.advice)
        or _own_turn(event, facts, now)
    )


def _ended(event: EventReport, by_hand: str | None) -> str | None:
    match event.status:
        case "dead":
            return "it is a dead letter and stays one until an operator retries or discards it"
        case "delivered":
            return None if by_hand is None else f"{by_hand}: shipper has not delivered it"
        case "discarded":
            return None
    return (
        f"its status is {event.status!r}, which shipper doesn't know: somebody wrote it by hand"
        " (SQL), and nothing takes it; set it to 'pending' and it goes out"
    )


def _person_needed(event: EventReport, facts: Facts) -> str | None:
    if facts.max_attempts is None:
        todo = f": {facts.advice}" if facts.advice else ""
        return f"{unknown(event.destination)}; it waits until there is one{todo}"
    if facts.link is not None and facts.link.held:
        return f"an operator holds destination {event.destination}{_since(facts.link.since)}"
    hold = facts.hold
    if hold is None:
        return None
    if hold.cause == "operator":
        return f"an operator holds its key{_since(hold.since)}"
    if hold.is_void:
        return (
            f"its key is held{_since(hold.since)} by event {hold.event_id}, which is no dead letter"
            " any more: its status was changed by hand (SQL); let the key go on with: shipper"
            f" release --key {shlex.quote(event.ordering_key or '')}"
        )
    return (
        f"its key is held{_since(hold.since)} by dead letter {hold.event_id},"
        " until an operator retries or discards that, or releases the key"
    )


def _nobody_sends(facts: Facts) -> str | None:
    if not facts.running:
        return "no daemon is running; it is sent as soon as one runs"
    if facts.plight is not None:
        return f"the shipper {facts.plight.told}"
    if not facts.window_open:
        return f"no delivery window is open now {facts.window}"
    return None


def _link_is_down(
    event: EventReport, link: LinkFacts | None, advice: str | None = None
) -> str | None:
    if link is None or link.state in {State.READY.value, State.RAMPING.value}:
        return None
    reason = f" ({said(link.reason)})" if link.reason else ""
    until = f"; the next probe is at {iso(link.next_try_at)}" if link.next_try_at else ""
    if link.state == State.PAUSED.value:
        until = f"; somebody has to act{f': {advice}' if advice else ''}{until}"
    elif advice:
        until += f"; {advice}"
    return f"destination {event.destination} is {link.state}{_since(link.since)}{reason}{until}"


def _own_turn(event: EventReport, facts: Facts, now: float) -> str:
    if facts.ahead is not None:
        return f"it waits behind event {facts.ahead} of its key"
    if event.next_attempt_at is not None and _waits(event.next_attempt_at, facts, now):
        last = f"; the last one: {said(event.last_error)}" if event.last_error else ""
        return (
            f"it waits for its next try at {iso(event.next_attempt_at)} (charged failures"
            f" {event.attempts} of {facts.max_attempts}{last})"
        )
    if facts.claimed:
        return "it is in flight, or goes out next"
    if facts.blocker is not None:
        return (
            "it waits for an open transaction that may still commit an earlier event:"
            f" {facts.blocker}"
        )
    if facts.by_hand is not None:
        return (
            f"{facts.by_hand}; a running shipper finds it when it reads the outbox anew, within"
            f" 5 minutes, or at once after: shipper release --destination {event.destination}"
        )
    return "it goes out in its turn, now that a shipper is running"


def _waits(until: float, facts: Facts, now: float) -> bool:
    return until > now if facts.due_in is None else facts.due_in > 0


def _since(moment: float | None) -> str:
    return f" since {iso(moment)}" if moment else ""
