"""The fifteen invariants, one function each: evidence in, violations out; an empty list is good.

They judge a run by what was written, sent, answered and recorded, and know nothing of how the
daemon decides. Each takes only what it needs, so that a campaign which sees less can use it too.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import TypeVar

from tests.evidence import (
    OPERATOR,
    Lane,
    Move,
    Process,
    Request,
    Row,
    Sample,
    Terms,
    Written,
)

REFUSED = frozenset({400, 409, 413, 415, 422})
UNHEARD = 0.5
"""Seconds before the end of an exchange in which it may have read the commands already."""
REFUSED_LANES = 5
EVERYTHING_REFUSED = "everything is refused"
STOP_GRACE = 5.0
STORE_GRACE = 4.0
"""Seconds in which a process that stops gives a database up that it can't write to."""

T = TypeVar("T")


def nothing_is_lost(written: Iterable[Written], rows: Mapping[int, Row]) -> list[str]:
    """1. What was committed is there, as it was written; what is dead says why."""
    found = []
    for event in written:
        row = rows.get(event.id)
        if row is None:
            found.append(f"event {event.id} was committed and is not there")
        elif (row.event_id, row.body, row.lane) != (event.event_id, event.body, event.lane):
            found.append(f"event {event.id} is not what was written")
        elif row.status == "dead" and not row.last_error:
            found.append(f"event {event.id} is dead without a reason")
    return found


def nothing_is_a_phantom(
    requests: Iterable[Request], written: Iterable[Written], processes: Iterable[Process]
) -> list[str]:
    """2. Nothing is sent that isn't committed, pending and claimed on disk."""
    known = {event.event_id for event in written}
    found = [
        f"process {process.number} went on before its commits were on disk"
        for process in processes
        if not process.durable_commits
    ]
    for request in requests:
        if request.event_id not in known:
            found.append(f"request {request.number} is of an event that was never committed")
        elif not request.durable:
            found.append(f"event {request.id} was sent without a claim on disk")
    return found


def keys_are_in_order(requests: Sequence[Request], retried: Mapping[int, float]) -> list[str]:
    """3. Of a key, nothing is sent before what has a smaller id and is pending.

    Nor is it received before. Excepted is what an operator retried, from then on (`retried`); what
    transactions that overlap wrote may have ids in another order than their commits, but is never
    sent before the smaller id could be seen.
    """
    found = []
    for request in requests:
        ahead = [row for row in request.ahead if retried.get(row, inf) > request.began]
        if ahead:
            found.append(f"event {request.id} was sent before {ahead} of {request.lane}")
    highest: dict[tuple[str, Lane], int] = {}
    seen: set[int] = set()
    received = [(r.received, r.number, r) for r in requests if r.received is not None]
    for _, _, request in sorted(received, key=lambda one: one[:2]):
        if request.id in seen:
            continue
        seen.add(request.id)
        lane = (request.destination, request.lane)
        if request.id < highest.get(lane, 0) and retried.get(request.id, inf) > request.began:
            found.append(f"event {request.id} was received after {highest[lane]} of its key")
        highest[lane] = max(request.id, highest.get(lane, 0))
    return found


def one_of_a_key_at_a_time(requests: Iterable[Request]) -> list[str]:
    """4. Of a key at most one is under way, over all processes."""
    found = []
    for lane in _by_lane(requests).values():
        for before, request in pairwise(lane):
            if before.ended is None or before.ended > request.began:
                found.append(
                    f"events {before.id} and {request.id} of {request.lane} were under way at once"
                )
    return found


def repeats_are_few_and_immediate(
    requests: Sequence[Request],
    moves: Iterable[Move],
    processes: Iterable[Process],
    terms: Mapping[str, Terms],
) -> list[str]:
    """5. Repeats come of a crash or of an answer that never came, at most those in flight.

    And what may have been received goes before everything else of its key.
    """
    found = []
    accepted: dict[int, Request] = {}
    again: Counter[tuple[int, str]] = Counter()
    for request in requests:
        first = accepted.pop(request.id, None)
        if first is not None and first.process == request.process:
            found.append(f"event {request.id} was sent again by the process that had its answer")
        elif first is not None:
            again[first.process, first.destination] += 1
        if request.answer == "accepted":
            accepted[request.id] = request
    clean = {p.number for p in processes if p.end == "stopped" and not p.cut_off}
    for (process, destination), count in again.items():
        bound = 0 if process in clean else terms[destination].max_in_flight
        if count > bound:
            found.append(f"{count} accepted by process {process} were repeated, {bound} may be")
    found += [
        f"event {row} was under way when its process died, and process {process.number} forgot it"
        for process in processes
        for row, counts in (process.recovered or {}).items()
        if not counts
    ]
    statuses = _statuses(moves)
    for lane in _by_lane(requests).values():
        for before, request in pairwise(lane):
            unknown = before.maybe or before.answer is None
            stayed = _stayed_pending(statuses, before.id, before.began, request.began)
            if unknown and before.id != request.id and stayed:
                found.append(
                    f"event {request.id} was sent while {before.id} may have been received"
                )
    return found


def identity_never_changes(requests: Iterable[Request], rows: Mapping[int, Row]) -> list[str]:
    """6. Every try of an event has its key and its bytes."""
    return [
        f"request {request.number} of event {request.id} has another key or other bytes"
        for request in requests
        if (row := rows.get(request.id)) is None
        or (request.event_id, request.body) != (row.event_id, row.body)
    ]


def delivered_means_received(
    requests: Iterable[Request], moves: Iterable[Move], processes: Iterable[Process]
) -> list[str]:
    """7. An event is marked only after its answer, and by a process that isn't taken over."""
    answered = defaultdict(list)
    for request in requests:
        if request.answer == "accepted" and request.received is not None:
            answered[request.process, request.id].append(request.ended or 0.0)
    found = [
        f"event {move.id} is delivered without an answer"
        for move in moves
        if move.after == "delivered" != move.before
        and not any(at <= move.at for at in answered[move.process, move.id])
    ]
    return found + [
        f"process {process.number} wrote {process.writes_after} times after it was taken over"
        for process in processes
        if process.writes_after
    ]


def states_only_go_forward(moves: Iterable[Move]) -> list[str]:
    """8. Pending → delivered or dead; a dead one is revived or discarded by an operator alone."""
    return [
        f"event {move.id} went from {move.before} ({move.attempts_before}) to {move.after}"
        f" ({move.attempts_after}) by {move.process or 'an operator'}"
        for move in moves
        if not _is_legal(move)
    ]


def _is_legal(move: Move) -> bool:
    if move.process == OPERATOR:
        revived = move.after == "pending" and move.attempts_after == 0
        return move.before == "dead" and (revived or move.after == "discarded")
    charged = move.attempts_after - move.attempts_before
    ends = {"pending", "delivered", "dead"}
    return move.before == "pending" and move.after in ends and charged in {0, 1}


def outages_cost_nothing(
    requests: Sequence[Request],
    moves: Iterable[Move],
    processes: Iterable[Process],
    written: Iterable[Written],
    terms: Mapping[str, Terms],
) -> list[str]:
    """9. An event pays only where another one, begun after its first failure, was accepted.

    It dies of its own: by an answer about it (unless everything is refused), or with its budget
    spent.
    """
    tries: dict[tuple[int, int], list[Request]] = defaultdict(list)
    for request in requests:
        tries[request.process, request.id].append(request)
    unfit = {event.id for event in written if not event.fit}
    excused = _refused_with_everything(requests, processes)
    found = []
    for move in moves:
        if move.process == OPERATOR:
            continue
        own = [
            r for r in tries[move.process, move.id] if r.ended is not None and r.ended <= move.at
        ]
        last = own[-1] if own else None
        if move.attempts_after > move.attempts_before and not _has_witness(own, requests, terms):
            found.append(f"event {move.id} was charged with a failure that wasn't its own")
        if move.after != "dead" or move.id in unfit:
            continue
        spent = last and move.attempts_after >= terms[last.destination].max_attempts
        if last is None or not (last.status in REFUSED or spent):
            found.append(f"event {move.id} died of no fault of its own")
        elif last.number in excused:
            found.append(f"event {move.id} died while everything was refused")
    return found


def _has_witness(
    own: Sequence[Request], requests: Sequence[Request], terms: Mapping[str, Terms]
) -> bool:
    first = next((r for r in own if r.answer != "accepted"), None)
    if first is None or first.ended is None:
        return False
    last = own[-1]
    for other in requests:
        if (
            other.answer == "accepted"
            and (other.process, other.destination) == (last.process, last.destination)
            and other.id != last.id
            and other.began >= first.ended
            and (other.settled or 0) < (last.settled or 0)
            and (last.ended or 0) - (other.ended or 0) <= terms[last.destination].witness_seconds
        ):
            return True
    return False


def _refused_with_everything(requests: Iterable[Request], processes: Iterable[Process]) -> set[int]:
    """Return the refusals that say nothing about their event: five lanes, and none accepted."""
    excused: set[int] = set()
    lanes: dict[tuple[int, str], set[Lane]] = defaultdict(set)
    for process in processes:
        for name, (state, reason) in process.links.items():
            if state == "paused" and reason == EVERYTHING_REFUSED:
                lanes[process.number, name].update(range(-REFUSED_LANES, 0))
    ended = [r for r in requests if r.settled is not None]
    for request in sorted(ended, key=lambda r: r.settled or 0):
        refused = lanes[request.process, request.destination]
        if request.answer == "accepted":
            refused.clear()
        elif request.answer == "refused":
            refused.add(request.lane)
            if len(refused) >= REFUSED_LANES:
                excused.add(request.number)
    return excused


def partial_outages_cost_nothing(
    requests: Sequence[Request], rows: Mapping[int, Row], sick: Collection[Lane]
) -> list[str]:
    """9. Nor what fails for some while others are accepted: no event of `sick` lanes dies of it.

    And the others aren't slowed down: the destination is hardly ever taken for one that is down.
    """
    found = [
        f"event {row.id} died of a partial outage"
        for row in rows.values()
        if row.lane in sick and row.status == "dead"
    ]
    probes = sum(request.probing for request in requests)
    # Three lanes in a row can be refused by chance, and then the link pauses, as it should.
    if probes * 100 > len(requests):
        found.append(f"{probes} of {len(requests)} requests were probes, in a partial outage")
    return found


def everything_ends(rows: Mapping[int, Row], may_wait: Collection[int] = ()) -> list[str]:
    """10. Once the troubles are over, everything is delivered or dead."""
    left = defaultdict(list)
    for row in rows.values():
        if row.status == "pending" and row.id not in may_wait:
            left[row.destination].append(row.id)
    return [
        f"{len(ids)} events of {name} are still pending, the first of them {min(ids)}"
        for name, ids in left.items()
    ]


def the_receiver_is_spared(
    requests: Iterable[Request],
    terms: Mapping[str, Terms],
    released: Mapping[str, Sequence[float]] | None = None,
) -> list[str]:
    """11. No more requests a second than allowed, and none before a Retry-After has passed.

    But for an operator's release of the destination, which ends any pause (`released`: when). A
    destination that is down has one probe at a time.
    """
    found = []
    groups: dict[tuple[int, str], list[Request]] = defaultdict(list)
    for request in requests:
        groups[request.process, request.destination].append(request)
    for (_, name), group in groups.items():
        found += _too_fast([r.began for r in group], terms[name].max_rate)
        probes = [r for r in group if r.probing]
        found += [
            f"events {before.id} and {probe.id} probed {name} at once"
            for before, probe in pairwise(probes)
            if before.ended is None or before.ended > probe.began
        ]
        for throttled in (r for r in group if r.answer == "throttled" and r.retry_after):
            # An HTTP date says it to the second.
            told = throttled.ended or 0.0
            # A release that is given while the request is in flight is noticed after the answer. So
            # is one that is given just before, while the exchange ends that lets the request begin.
            heard = throttled.began - UNHEARD
            words = [at for at in (released or {}).get(name, ()) if at >= heard]
            until = min([told + (throttled.retry_after or 0.0) - 1.0, *words])
            found += [
                f"event {r.id} was sent before a Retry-After of {throttled.retry_after:g} s"
                for r in group
                if told < r.began < until
            ]
    return found


def _too_fast(moments: Sequence[float], rate: float) -> list[str]:
    if not rate:
        return []
    first = 0
    for at, moment in enumerate(moments):
        while moments[first] <= moment - 1.0:
            first += 1
        if at - first + 1 > rate + 1:
            return [f"{at - first + 1} requests in a second, {rate:g} may be"]
    return []


def everything_is_bounded(
    samples: Iterable[Sample], requests: Iterable[Request], terms: Mapping[str, Terms]
) -> list[str]:
    """12. Memory, and what is under way at once, keep to their bounds."""
    found = [
        f"{sample.what}: {sample.value:g}, {sample.bound:g} may be"
        for sample in samples
        if sample.value > sample.bound
    ]
    for request in requests:
        most = terms[request.destination].max_in_flight
        if request.beside >= most:
            found.append(f"{request.beside + 1} places were taken at once, {most} may be")
    return found


def clocks_mean_nothing(
    moments: Mapping[str, Sequence[float]], begin: float, longest: float
) -> list[str]:
    """13. Whatever the wall clock says: no destination falls silent while something is pending.

    `moments` are, for each destination, when something was sent or ended after `begin`, in order.
    """
    return [
        f"nothing happened to {name} for {after - before:.1f} s, {longest:.1f} may be"
        for name, times in moments.items()
        for before, after in pairwise([begin, *times])
        if after - before > longest
    ]


def stops_are_clean(
    processes: Iterable[Process], requests: Iterable[Request], terms: Mapping[str, Terms]
) -> list[str]:
    """14. After it was asked to stop, a process begins nothing and ends in time; never by a bug."""
    found = []
    most = max((one.timeout for one in terms.values()), default=0.0) + STOP_GRACE
    begun = defaultdict(list)
    for request in requests:
        begun[request.process].append(request.began)
    for process in processes:
        asked, number = process.stop_asked, process.number
        if process.bug is not None:
            found.append(f"process {number} ended with {process.bug}")
        if asked is None:
            continue
        if any(began > asked for began in begun[number]):
            found.append(f"process {number} began a try after it was asked to stop")
        if process.end == "stopped" and process.stop_took > most + STORE_GRACE:
            took = f"{process.stop_took:.1f} s to stop, {most + STORE_GRACE:.1f} may be"
            found.append(f"process {number} took {took}")
    return found


def held_is_held(requests: Iterable[Request], grace: float) -> list[str]:
    """14. Nor does anything begin that an operator has held, once a turn had time to see it."""
    return [
        f"event {request.id} was sent, although it had been held for {request.held:.3f} s"
        for request in requests
        if request.held > grace
    ]


def nothing_leaks(texts: Iterable[str], secrets: Collection[str]) -> list[str]:
    """15. No secret is in any text that we write."""
    return [
        f"a secret is in: {text.replace(secret, '****')[:120]}"
        for text in texts
        for secret in secrets
        if secret in text
    ]


def _by_lane(requests: Iterable[Request]) -> dict[tuple[str, Lane], list[Request]]:
    lanes: dict[tuple[str, Lane], list[Request]] = defaultdict(list)
    for request in requests:
        lanes[request.destination, request.lane].append(request)
    return lanes


def _statuses(moves: Iterable[Move]) -> dict[int, list[tuple[float, str]]]:
    statuses: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for move in moves:
        statuses[move.id].append((move.at, move.after))
    return statuses


def _stayed_pending(
    statuses: Mapping[int, list[tuple[float, str]]], row: int, since: float, until: float
) -> bool:
    """Return whether an event was pending all the time: not one that an operator has retried."""
    status = "pending"
    for moment, after in statuses.get(row, ()):
        if moment <= since:
            status = after
        elif moment <= until and after != "pending":
            return False
    return status == "pending"
