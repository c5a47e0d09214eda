"""Why an event waits: the sentence, made from the facts. Pure.

For `events show`. It decides which obstacle is named: the widest one. First what only a person can
remove, then what stops all events, then what stops this event alone. It must never promise what the
drain wouldn't do; `why` gathers the facts as the drain sees them.
"""

import shlex
from dataclasses import dataclass

from shipper.advice import said
from shipper.clock import iso
from shipper.policy.state import State
from shipper.store.report.events import EventReport
from shipper.store.report.silence import Silence
from shipper.store.report.status import Blocker, unknown


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """The recorded state of an event's destination. Times are seconds since 1970."""

    state: str
    reason: str | None
    since: float | None
    next_try_at: float | None
    held: bool


@dataclass(frozen=True, slots=True)
class KeyHold:
    """Why an event's key is held: by an operator, or by the dead letter that `event_id` names.

    `is_void` says that this event is no dead letter any more, but the key wasn't released.
    """

    cause: str
    event_id: str | None
    since: float | None
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class WaitFacts:
    """Everything that can make an event wait.

    `max_attempts` is None if the configuration doesn't have the destination; `ahead` is the id of
    the event of its key that goes first; `claimed` says that a daemon has claimed the event;
    `window` says when the next delivery window opens; `by_hand` says what was changed in its row by
    SQL, which the drain only sees when it reads the outbox from the beginning; `due_in` is in
    seconds, None if `next_attempt_at` decides.
    """

    max_attempts: int | None
    running: bool
    silence: Silence | None = None
    shard: str | None = None
    """Why the daemon that has the event's shard doesn't send it, while others ship (PostgreSQL)."""
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
    """What to do about a link that is down, or a destination that isn't configured."""


def explain(event: EventReport, facts: WaitFacts, now: float) -> str | None:
    """Return why an event waits; None if it has ended as it should."""
    if event.status != "pending":
        return _ended(event, facts.by_hand)
    return (
        _person_needed(event, facts)
        or _no_daemon_sends(facts)
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
        f"its status is {event.status!r}, which shipper doesn't know: it was written by hand (SQL),"
        " and the event is never sent; to have it sent, set the status to 'pending'"
    )


def _person_needed(event: EventReport, facts: WaitFacts) -> str | None:
    if facts.max_attempts is None:
        todo = f": {facts.advice}" if facts.advice else ""
        return f"{unknown(event.destination)}; the event waits until there is one{todo}"
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


def _no_daemon_sends(facts: WaitFacts) -> str | None:
    if not facts.running:
        return "no daemon is running; it is sent as soon as one runs"
    if facts.silence is not None:
        return f"the daemon {facts.silence.predicate}"
    if facts.shard is not None:
        return facts.shard
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
        until = f"; an operator has to act{f': {advice}' if advice else ''}{until}"
    elif advice:
        until += f"; {advice}"
    return f"destination {event.destination} is {link.state}{_since(link.since)}{reason}{until}"


def _own_turn(event: EventReport, facts: WaitFacts, now: float) -> str:
    if facts.ahead is not None:
        return f"it waits behind event {facts.ahead} of its key"
    if event.next_attempt_at is not None and _waits(event.next_attempt_at, facts, now):
        last = f"; the last one: {said(event.last_error)}" if event.last_error else ""
        return (
            f"it waits for its next try at {iso(event.next_attempt_at)} (charged failures"
            f" {event.attempts} of {facts.max_attempts}{last})"
        )
    if facts.claimed:
        return "it is in flight, or sent next"
    if facts.blocker is not None:
        return (
            "it waits for an open transaction that may still commit an earlier event:"
            f" {facts.blocker}"
        )
    if facts.by_hand is not None:
        return (
            f"{facts.by_hand}; a running daemon finds it when it reads the whole outbox, within 5"
            f" minutes, or at once after: shipper release --destination {event.destination}"
        )
    return "it is sent in its turn: a daemon is running"


def _waits(until: float, facts: WaitFacts, now: float) -> bool:
    return until > now if facts.due_in is None else facts.due_in > 0


def _since(moment: float | None) -> str:
    return f" since {iso(moment)}" if moment else ""
