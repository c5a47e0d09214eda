"""The invariants judge rightly: silent over sound evidence, and each speaks where it is broken."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests import invariants
from tests.campaigns.judgement import said
from tests.evidence import Move, Process, Request, Row, Sample, Terms, Written

TERMS = {"default": Terms(10.0, 2, 1.0, 3, 600.0)}


class Evidence:
    """Two events of one key and one of another, each sent once, accepted and recorded."""

    def __init__(self) -> None:
        lanes = {1: "k", 2: "k", 3: "m"}
        self.written = [Written(n, f"e{n}", "default", lane, f"b{n}") for n, lane in lanes.items()]
        self.rows = {
            n: Row(n, f"e{n}", "default", lane, f"b{n}", "delivered", None)
            for n, lane in lanes.items()
        }
        self.requests = [self.request(n, lane) for n, lane in lanes.items()]
        self.moves = [self.move(n) for n in lanes]
        self.processes = [Process(1, 0.0, 20.0, "stopped", stop_asked=19.0, stop_took=1.0)]
        self.retried: dict[int, float] = {}
        self.samples = [Sample("events loaded", 3, 4)]

    def request(self, n: int, lane: str) -> Request:
        """Return a try that was accepted."""
        return Request(
            n, 1, "default", lane, n, f"e{n}", f"b{n}", began=1.0 * n, ended=n + 0.5, settled=n,
            answer="accepted", status=202, reached=True, received=n + 0.2,
        )  # fmt: skip

    def move(self, row: int, **more: Any) -> Move:
        """Return what records it."""
        return replace(Move(row + 0.6, 1, row, "pending", "delivered", 0, 0), **more)

    def fails(self, row: int, **more: Any) -> None:
        """Let the try of an event fail."""
        request = self.requests[row - 1]
        request.answer, request.status, request.received = "failed", 500, None
        for name, value in more.items():
            setattr(request, name, value)

    def judge(self) -> set[str]:
        """Ask every invariant; return the names of those that say something."""
        e = self
        said = {
            "lost": invariants.nothing_is_lost(e.written, e.rows),
            "phantom": invariants.nothing_is_a_phantom(e.requests, e.written, e.processes),
            "order": invariants.keys_are_in_order(e.requests, e.retried),
            "one": invariants.one_of_a_key_at_a_time(e.requests),
            "repeats": invariants.repeats_are_few_and_immediate(
                e.requests, e.moves, e.processes, TERMS
            ),
            "identity": invariants.identity_never_changes(e.requests, e.rows),
            "received": invariants.delivered_means_received(e.requests, e.moves, e.processes),
            "states": invariants.states_only_go_forward(e.moves),
            "outages": invariants.outages_cost_nothing(
                e.requests, e.moves, e.processes, e.written, TERMS
            ),
            "ends": invariants.everything_ends(e.rows),
            "spared": invariants.the_receiver_is_spared(e.requests, TERMS),
            "bounded": invariants.everything_is_bounded(e.samples, e.requests, TERMS),
            "clocks": invariants.clocks_mean_nothing({"default": [1.0, 9.0]}, 0.0, 8.0),
            "stops": invariants.stops_are_clean(e.processes, e.requests, TERMS),
            "held": invariants.held_is_held(e.requests, 0.1),
            "leaks": invariants.nothing_leaks(["log line"], ["secret"]),
        }
        return {name for name, found in said.items() if found}


def test_sound_evidence_breaks_nothing() -> None:
    """Or a violation would mean nothing."""
    assert Evidence().judge() == set()


def test_what_an_operator_released_may_go_before_the_end_of_a_pause() -> None:
    """Their word is stronger than the receiver's; what goes before it is still too early."""
    e = Evidence()
    e.requests[0].answer, e.requests[0].retry_after = "throttled", 60.0
    release = {"default": [2.5]}
    early = invariants.the_receiver_is_spared(e.requests, TERMS, release)
    assert early == ["event 2 was sent before a Retry-After of 60 s"]
    release = {"default": [1.6]}
    assert invariants.the_receiver_is_spared(e.requests, TERMS, release) == []


def test_a_partial_outage_kills_nobody_and_slows_nobody_down() -> None:
    """Of the keys that it was about nothing is dead, and few requests were probes."""
    e = Evidence()
    judge = invariants.partial_outages_cost_nothing
    assert judge(e.requests, e.rows, {"m"}) == []
    e.rows[3] = replace(e.rows[3], status="dead")
    assert judge(e.requests, e.rows, {"m"}) == ["event 3 died of a partial outage"]
    assert judge(e.requests, e.rows, {"k"}) == []
    e.requests[0].probing = True
    assert judge(e.requests, e.rows, {"k"}) == ["1 of 3 requests were probes, in a partial outage"]


def _drop_row(e: Evidence) -> None:
    del e.rows[1]


def _change_body(e: Evidence) -> None:
    e.rows[1] = replace(e.rows[1], body="other")


def _die_silently(e: Evidence) -> None:
    e.rows[1] = replace(e.rows[1], status="dead")


def _roll_back(e: Evidence) -> None:
    del e.written[0]


def _send_unclaimed(e: Evidence) -> None:
    e.requests[0].durable = False


def _commit_without_sync(e: Evidence) -> None:
    e.processes[0].durable_commits = False


def _send_before(e: Evidence) -> None:
    e.requests[1].ahead = (1,)


def _receive_before(e: Evidence) -> None:
    e.requests[1].received = 0.1


def _overlap(e: Evidence) -> None:
    e.requests[0].ended = 2.1


def _send_again(e: Evidence) -> None:
    e.requests.append(replace(e.requests[2], number=4))


def _repeat_after_a_clean_stop(e: Evidence) -> None:
    e.processes.append(Process(2, 20.0))
    e.requests.append(replace(e.requests[2], number=4, process=2, began=21.0, ended=22.0))


def _overtake_what_may_be_received(e: Evidence) -> None:
    e.fails(1, maybe=True)
    e.moves[0] = e.move(1, at=5.0)


def _forget_after_a_crash(e: Evidence) -> None:
    e.processes[0].recovered = {1: False}


def _send_other_bytes(e: Evidence) -> None:
    e.requests[0] = replace(e.requests[0], body="other")


def _mark_before_the_answer(e: Evidence) -> None:
    e.moves[0] = e.move(1, at=1.1)


def _write_after_a_takeover(e: Evidence) -> None:
    e.processes[0].writes_after = 1


def _go_back(e: Evidence) -> None:
    e.moves.append(e.move(1, at=9.0, before="delivered", after="pending"))


def _charge_without_witness(e: Evidence) -> None:
    e.fails(3)
    e.moves[2] = e.move(3, after="pending", attempts_after=1)


def _die_of_an_outage(e: Evidence) -> None:
    e.fails(3, status=401)
    e.moves[2] = e.move(3, after="dead")


def _die_with_everything(e: Evidence) -> None:
    e.processes[0].links = {"default": ("paused", "everything is refused")}
    e.fails(1, answer="refused", status=400)
    e.moves[0] = e.move(1, after="dead")


def _stay(e: Evidence) -> None:
    e.rows[1] = replace(e.rows[1], status="pending")


def _hurry(e: Evidence) -> None:
    for request in e.requests:
        request.began /= 100


def _come_too_early(e: Evidence) -> None:
    e.fails(1, answer="throttled", status=429, retry_after=60.0)


def _probe_twice(e: Evidence) -> None:
    for request in e.requests:
        request.probing = True
    e.requests[1].ended = 3.1


def _take_too_much(e: Evidence) -> None:
    e.samples.append(Sample("events loaded", 5, 4))


def _take_too_many_places(e: Evidence) -> None:
    e.requests[2].beside = 2


def _begin_after_the_stop(e: Evidence) -> None:
    e.processes[0].stop_asked = 2.5


def _send_what_is_held(e: Evidence) -> None:
    e.requests[0].held = 1.0


def _stop_slowly(e: Evidence) -> None:
    e.processes[0].stop_took = 60.0


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (_drop_row, "lost"),
        (_change_body, "lost"),
        (_die_silently, "lost"),
        (_roll_back, "phantom"),
        (_send_unclaimed, "phantom"),
        (_commit_without_sync, "phantom"),
        (_send_before, "order"),
        (_receive_before, "order"),
        (_overlap, "one"),
        (_send_again, "repeats"),
        (_repeat_after_a_clean_stop, "repeats"),
        (_overtake_what_may_be_received, "repeats"),
        (_forget_after_a_crash, "repeats"),
        (_send_other_bytes, "identity"),
        (_mark_before_the_answer, "received"),
        (_write_after_a_takeover, "received"),
        (_go_back, "states"),
        (_charge_without_witness, "outages"),
        (_die_of_an_outage, "outages"),
        (_die_with_everything, "outages"),
        (_stay, "ends"),
        (_hurry, "spared"),
        (_come_too_early, "spared"),
        (_probe_twice, "spared"),
        (_take_too_much, "bounded"),
        (_take_too_many_places, "bounded"),
        (_begin_after_the_stop, "stops"),
        (_send_what_is_held, "held"),
        (_stop_slowly, "stops"),
    ],
)
def test_each_breach_is_told(broken: Callable[[Evidence], None], says: str) -> None:
    """By the invariant that it breaks."""
    evidence = Evidence()
    broken(evidence)
    assert says in evidence.judge()


def test_silence_and_leaks_are_told() -> None:
    """These two take nothing from a run's requests."""
    assert invariants.clocks_mean_nothing({"default": [1.0, 9.5]}, 0.0, 8.0)
    assert invariants.nothing_leaks(["the secret is out"], ["secret"])


def test_what_an_operator_retried_may_come_later() -> None:
    """From the moment on at which it was retried, and not before."""
    evidence = Evidence()
    _send_before(evidence)
    evidence.retried[1] = 2.0
    assert evidence.judge() == set()
    evidence.retried[1] = 2.1
    assert "order" in evidence.judge()


def test_a_witness_justifies_a_charge() -> None:
    """Another event that was begun after the first failure, and accepted before the second."""
    evidence = Evidence()
    evidence.fails(1)
    again = replace(evidence.requests[0], number=4, began=4.0, ended=4.5, settled=4)
    evidence.requests.append(again)
    evidence.moves[0] = evidence.move(1, at=4.6, after="pending", attempts_after=1)
    assert "outages" not in evidence.judge()


def test_what_a_process_has_printed_is_judged() -> None:
    """A secret, a traceback and a bug that was told of; nothing in what is sound."""
    texts = ['{"event":"daemon.started"}', "x-api-id: canary", "Traceback (most recent call last):"]
    assert list(said(texts[:1], ["canary"])) == []
    assert len(list(said(texts, ["canary"]))) == 2
