"""Planted bugs: whether the simulation would notice, with the seed that notices each.

`python -m tests.simulation --mutants` finds the seeds anew, and says what each of them shows.
"""

import pytest

from tests.simulation.mutants import planted
from tests.simulation.world import run

CAUGHT = {
    "a_link_that_is_down_sends_all": 4,
    "claim_forgotten_with_the_first_of_it": 0,
    "goes_on_sending_while_it_stops": 4,
    "holds_are_not_seen": 7,
    "idempotency_key_of_the_try": 0,
    "last_claimed_counts_as_sent": 0,
    "marked_before_the_answer": 1,
    "next_of_the_key_before_the_record": 7,
    "nothing_may_have_been_received": 0,
    "outage_burns_attempts": 0,
    "pace_is_not_kept": 9,
    "place_freed_before_it_is_recorded": 4,
    "portal_is_an_answer": 6,
    "probe_waits_for_no_pace": 29,
    "probes_are_always_the_same_event": 1,
    "refused_credentials_bury": 1,
    "retry_after_ignored": 0,
    "sent_before_the_claim_is_committed": 0,
    "stale_lease_accepted": 0,
    "state_is_a_cursor": 1,
    "stops_at_once": 3,
    "the_answer_is_kept_with_the_secret_in_it": 0,
    "two_of_a_key_in_flight": 0,
}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_bug_is_caught(name: str) -> None:
    """By an invariant, in a run that is sound without it."""
    assert not run(CAUGHT[name]).violations
    with planted(name):
        assert run(CAUGHT[name]).violations
