"""What becomes of an event: the whole table of outcome and blame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.policy.backoff import Backoff
from shipper.policy.delivery import Blame, RetryPolicy, Status, Verdict, verdict_of
from shipper.policy.outcome import Kind, Outcome

_POLICY = RetryPolicy(Backoff(1.0, 3600.0), Backoff(5.0, 60.0), max_attempts=20)


def _verdict(
    kind: Kind,
    blame: Blame,
    *,
    attempts: int = 0,
    before: bool = False,
    now: bool = False,
    status: int | None = None,
    streak: int = 1,
) -> Verdict:
    return verdict_of(
        Outcome(kind, "cause", status_code=status, maybe_received=now),
        blame,
        attempts=attempts,
        maybe_received=before,
        streak=streak,
        policy=_POLICY,
        chance=0.0,
    )


@pytest.mark.parametrize("blame", Blame)
@pytest.mark.parametrize("attempts", [0, 19, 20, 99])
def test_an_accepted_event_is_delivered(blame: Blame, attempts: int) -> None:
    """However often it failed before; success is no failed try."""
    expected = Verdict(Status.DELIVERED, attempts)
    assert _verdict(Kind.ACCEPTED, blame, attempts=attempts, before=True) == expected


@pytest.mark.parametrize("status", [None, 400, 409, 413, 415, 422])
def test_a_refused_event_is_dead_at_the_first_answer(status: int | None) -> None:
    """The answer was about the event; trying again would not change it."""
    assert _verdict(Kind.REFUSED, Blame.EVENT, status=status) == Verdict(Status.DEAD, 0)


def test_a_conflict_after_a_try_that_may_have_been_received_is_asked_once_more() -> None:
    """409 may mean "I have it already". The second time it is a refusal like any other."""
    first = _verdict(Kind.REFUSED, Blame.EVENT, status=409, before=True)
    assert first == Verdict(Status.PENDING, 0, wait=5.0, charged=False, maybe_received=False)
    again = _verdict(Kind.REFUSED, Blame.EVENT, status=409, before=first.maybe_received)
    assert again == Verdict(Status.DEAD, 0)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_other_refusals_are_final_even_then(status: int) -> None:
    """Only a conflict can be the echo of an earlier try."""
    verdict = _verdict(Kind.REFUSED, Blame.EVENT, status=status, before=True)
    assert verdict == Verdict(Status.DEAD, 0)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.ACCEPTED])
@pytest.mark.parametrize("blame", [Blame.LINK, Blame.NEITHER])
@pytest.mark.parametrize("attempts", [0, 19, 20, 99])
def test_what_is_not_charged_to_the_event_costs_it_nothing(
    kind: Kind, blame: Blame, attempts: int
) -> None:
    """It stays pending with its budget as it was, and waits as a probe does."""
    verdict = _verdict(kind, blame, attempts=attempts, status=409)
    assert verdict == Verdict(Status.PENDING, attempts, wait=5.0)


@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.MISCONFIGURED])
def test_a_charged_failure_takes_one_from_the_budget(kind: Kind) -> None:
    """It waits by its own count of failures."""
    verdict = _verdict(kind, Blame.EVENT, attempts=18)
    assert verdict == Verdict(Status.PENDING, 19, wait=1.0, charged=True)


@pytest.mark.parametrize("attempts", [19, 20, 99])
def test_the_last_charged_failure_is_the_end(attempts: int) -> None:
    """Also where max_attempts was made smaller meanwhile."""
    verdict = _verdict(Kind.TRANSIENT, Blame.EVENT, attempts=attempts)
    assert verdict == Verdict(Status.DEAD, attempts + 1)


@pytest.mark.parametrize("blame", Blame)
@pytest.mark.parametrize(("before", "now"), [(True, False), (False, True), (True, True)])
def test_what_may_have_been_received_once_stays_so(
    blame: Blame, *, before: bool, now: bool
) -> None:
    """A later failure doesn't undo an earlier try that may have arrived."""
    assert _verdict(Kind.TRANSIENT, blame, before=before, now=now).maybe_received


def test_waits_grow_by_their_own_counts() -> None:
    """Charged ones by charged attempts, the others by failures in a row."""

    def wait(blame: Blame) -> float:
        outcome = Outcome(Kind.TRANSIENT, "x")
        return verdict_of(
            outcome,
            blame,
            attempts=2,
            maybe_received=False,
            streak=1,
            policy=_POLICY,
            chance=1.0,
        ).wait

    assert wait(Blame.EVENT) == 8.0
    assert wait(Blame.LINK) == 10.0


@given(
    kind=st.sampled_from(Kind),
    blame=st.sampled_from(Blame),
    attempts=st.integers(0, 30),
    status=st.sampled_from([None, 200, 409, 422, 500]),
    before=st.booleans(),
    now=st.booleans(),
    streak=st.integers(1, 10**6),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_only_an_answer_about_the_event_or_a_charged_failure_ends_it(
    *,
    kind: Kind,
    blame: Blame,
    attempts: int,
    status: int | None,
    before: bool,
    now: bool,
    streak: int,
    chance: float,
) -> None:
    """No time, no streak and no other count moves an event towards its end."""
    verdict = verdict_of(
        Outcome(kind, "x", status_code=status, maybe_received=now),
        blame,
        attempts=attempts,
        maybe_received=before,
        streak=streak,
        policy=_POLICY,
        chance=chance,
    )
    assert (verdict.status is Status.DELIVERED) == (kind is Kind.ACCEPTED)
    if verdict.status is Status.DEAD:
        assert blame is Blame.EVENT
        assert kind is Kind.REFUSED or verdict.attempts >= _POLICY.max_attempts
    assert verdict.attempts - attempts == (verdict.charged or verdict.attempts > attempts)
    assert 0.0 <= verdict.wait <= 3600.0
    assert verdict.status is not Status.DISCARDED


@pytest.mark.parametrize(
    ("at", "attempts", "wait"),
    [
        (None, 0, 0.0),
        (1000.0, 1, 0.0),
        (900.0, 1, 0.0),
        (1030.0, 1, 30.0),
        (1060.0, 0, 60.0),
        (1061.0, 0, 0.0),
        (1128.0, 7, 128.0),
        (1129.0, 7, 0.0),
        (4600.0, 19, 3600.0),
        (4601.0, 19, 0.0),
    ],
)
def test_a_stored_time_is_waited_for_unless_no_wait_is_that_long(
    at: float | None, attempts: int, wait: float
) -> None:
    """The clock was set back since, another machine's clock is ahead, or it was written by hand."""
    assert _POLICY.due_in(at, attempts, 1000.0) == wait


@given(
    outcome=st.sampled_from(
        [
            Outcome(Kind.REFUSED, "x", status_code=409),
            Outcome(Kind.TRANSIENT, "x"),
        ]
    ),
    blame=st.sampled_from(Blame),
    attempts=st.integers(0, 30),
    before=st.booleans(),
    streak=st.integers(1, 10**6),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_every_wait_that_a_verdict_has_is_waited_for(
    *, outcome: Outcome, blame: Blame, attempts: int, before: bool, streak: int, chance: float
) -> None:
    """A daemon that begins takes none of them for the doing of a clock."""
    verdict = verdict_of(
        outcome,
        blame,
        attempts=attempts,
        maybe_received=before,
        streak=streak,
        policy=_POLICY,
        chance=chance,
    )
    assert _POLICY.due_in(1000.0 + verdict.wait, verdict.attempts, 1000.0) == pytest.approx(
        verdict.wait
    )
