"""The run of failed tries that a link keeps: from the first failure to the next success."""

import pytest

from shipper.policy.failing import ERROR_CHARS, Failing
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.state import State
from tests.policy.link_parts import GONE, LATER, LOCKED, NO, OK, Bench, down


def test_a_run_is_counted_from_its_first_failure_to_the_next_success() -> None:
    """Charged or not, and whatever follows for the link."""
    bench = Bench()
    assert bench.link.failing.failures == 0
    bench.go("a", GONE)
    assert (bench.state(), bench.link.failing.failures) == (State.READY, 1)
    assert bench.link.failing.last_error == "timeout: no answer within 10 s"
    bench.go("b", NO)
    assert (bench.link.failing.failures, bench.link.failing.since) == (2, 100.0)
    bench.go("a", OK)
    failing = bench.link.failing
    assert (failing.failures, failing.last_error, failing.since) == (0, None, None)
    bench.go("a", GONE)
    assert (failing.failures, failing.runs) == (1, 2)


@pytest.mark.parametrize("outcome", [GONE, LATER, LOCKED, NO])
def test_every_kind_of_failure_counts(outcome: Outcome) -> None:
    """An answer that asks for a pause is no success either."""
    bench = Bench()
    bench.go("a", outcome)
    assert bench.link.failing.failures == 1


@pytest.mark.parametrize("state", [State.OFFLINE, State.PAUSED, State.THROTTLED])
def test_failed_probes_go_on_with_the_run_and_an_accepted_one_ends_it(state: State) -> None:
    """However long the outage is."""
    bench, _ = down(state)
    before = bench.link.failing.failures
    bench.probe("x", GONE)
    assert bench.link.failing.failures == before + 1
    bench.probe("x", OK)
    assert bench.link.failing.failures == 0


def test_the_error_names_host_and_port_once_and_is_bounded() -> None:
    """A detail that names them already doesn't get them twice."""
    failing = Failing("shop.example:443")
    failing.failed(Outcome(Kind.TRANSIENT, "refused", "the connection was refused"), 1.0)
    assert failing.last_error == "refused: the connection was refused (shop.example:443)"
    failing.failed(Outcome(Kind.TRANSIENT, "refused", "nothing listens at shop.example:443"), 2.0)
    assert failing.last_error == "refused: nothing listens at shop.example:443"
    failing.failed(Outcome(Kind.TRANSIENT, "closed", "x" * 9000), 3.0)
    assert len(str(failing.last_error)) == ERROR_CHARS


def test_the_next_try_is_the_earliest_that_lies_ahead() -> None:
    """Of several events that wait for one; what is over doesn't count."""
    failing = Failing()
    failing.failed(GONE, 0.0)
    failing.retried_at(9.0, now=0.0)
    failing.retried_at(5.0, now=0.0)
    assert failing.next_try_at == 5.0
    failing.retried_at(12.0, now=6.0)
    assert failing.next_try_at == 12.0


def test_a_new_process_goes_on_with_the_run_of_the_last_one() -> None:
    """Until the first success; one that had none begins with nothing."""
    failing = Failing()
    failing.resume(0, None, 5.0, None)
    assert (failing.failures, failing.runs, failing.since) == (0, 0, None)
    failing.resume(7, "refused", 5.0, 9.0)
    failing.failed(GONE, 8.0)
    assert (failing.failures, failing.since, failing.runs) == (8, 5.0, 1)


def test_a_link_that_is_ready_says_when_what_failed_goes_next() -> None:
    """A link that is down says when it is probed."""
    bench = Bench()
    bench.go("a", GONE)
    bench.link.failing.retried_at(103.0, bench.now)
    assert bench.link.next_try == 103.0
    for lane in "bcdef":
        bench.go(lane, GONE)
    assert bench.state() is State.OFFLINE
    assert bench.link.next_try == bench.link.next_try_at
