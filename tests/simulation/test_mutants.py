"""Planted bugs: whether the simulation would notice, with the seed that notices each.

`python -m tests.simulation --mutants` finds the seeds anew, and says what each of them shows.
"""

import pytest

from tests.planting import is_caught
from tests.simulation.mutants import MUTANTS, planted
from tests.simulation.scenario import PARTIAL
from tests.simulation.test_simulation import PARTIAL_SEEDS, SEEDS
from tests.simulation.world import run

MOST_SEEDS = 500
CAUGHT = {
    "a_disk_that_is_full_at_the_start_is_a_bug": 1,
    "a_failure_costs_two": 1,
    "a_firewall_is_a_partial_outage": 1_000_008,
    "a_lock_file_is_known_by_its_name": 13,
    "a_lock_file_is_taken_once": 13,
    "a_link_that_is_down_sends_all": 12,
    "a_new_route_knows_of_no_holds": 433,
    "a_partial_outage_is_charged": 1_000_000,
    "a_release_waits_for_the_end_of_a_pause": 37,
    "a_route_begins_beside_the_one_that_it_replaces": 22,
    "a_route_that_leaves_records_nothing": 22,
    "a_try_reports_its_answer_twice": 3,
    "an_answer_goes_to_the_try_that_began_last": 3,
    "budget_is_endless": 4,
    "claim_forgotten_with_the_first_of_it": 0,
    "claim_without_fsync": 0,
    "done_twice_when_the_answer_is_lost": 207,
    "everything_refused_kills_everything": 329,
    "gap_in_a_claim_is_sent_first": 11,
    "goes_on_sending_while_it_stops": 59,
    "holds_are_not_seen": 20,
    "idempotency_key_of_the_try": 0,
    "last_claimed_counts_as_sent": 4,
    "late_failures_speak_against_the_link": 1_000_000,
    "marked_before_the_answer": 4,
    "maybe_received_goes_by_its_id": 340,
    "next_of_the_key_before_the_record": 7,
    "next_of_the_key_while_the_commit_is_pending": 95,
    "nothing_may_have_been_received": 4,
    "one_refused_request_pauses_the_link": 1_000_003,
    "outage_burns_attempts": 0,
    "pace_is_not_kept": 9,
    "place_freed_before_it_is_recorded": 28,
    "portal_is_an_answer": 0,
    "probe_waits_for_no_pace": 29,
    "probes_are_always_the_same_event": 4,
    "record_dropped_when_the_database_fails": 5,
    "refusals_forgotten_by_a_restart": 1301,
    "refused_credentials_bury": 1,
    "retry_after_ignored": 0,
    "retry_overtakes_what_is_in_flight": 123,
    "sent_before_the_claim_is_committed": 0,
    "stale_lease_accepted": 0,
    "state_is_a_cursor": 4,
    "stops_at_once": 3,
    "the_answer_is_kept_with_the_secret_in_it": 0,
    "the_dead_are_deleted": 1,
    "the_lock_file_is_the_only_lock": 2,
    "the_other_lock_is_on_the_lock_file": 2,
    "two_of_a_key_in_flight": 4,
    "waits_by_the_wall_clock": 114,
    "what_a_command_names_is_not_looked_at": 3,
    "what_stays_loaded_forgets_its_failures": 1,
    "what_stays_loaded_loses_its_claim": 0,
    "what_was_answered_stays_under_way": 4,
    "what_was_overlooked_is_forgotten": 1605,
    "who_is_not_remembered_fails_for_the_first_time": 1_000_016,
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_bug_is_caught(name: str) -> None:
    """By an invariant, in a run that is sound without it.

    A change of the product can make another run of a seed. Then the list is wrong, and the test
    says which seed belongs there.
    """
    if not _is_caught(name, CAUGHT[name]):
        pytest.fail(f"seed {CAUGHT[name]} doesn't catch it any more; {_instead(name)}")


def _instead(name: str) -> str:
    first = CAUGHT[name] // PARTIAL * PARTIAL
    seeds = range(first, first + MOST_SEEDS)
    caught = next((seed for seed in seeds if _is_caught(name, seed)), None)
    if caught is None:
        return f"nor does one of {MOST_SEEDS} from {first} on"
    return f'write into CAUGHT: "{name}": {caught},'


def _is_caught(name: str, seed: int) -> bool:
    with planted(name):
        violations = run(seed).violations
    # Of these, test_simulation shows that they are sound.
    is_sound = seed % PARTIAL < (PARTIAL_SEEDS if seed >= PARTIAL else SEEDS)
    return is_caught(violations) and (is_sound or not run(seed).violations)


@pytest.mark.parametrize("ended", ["process 3 ended with ", "daemon 1 failed: ", ""])
def test_a_plant_that_crashes_is_not_caught(ended: str) -> None:
    """It no longer fits the product, and shows nothing about the invariants."""
    broken = "event 2 was received after 4 of its key"
    assert is_caught([broken])
    assert not is_caught([broken, f"{ended}TypeError: steps() takes 2 positional arguments"])
    assert not is_caught([])


def test_every_planted_bug_is_listed() -> None:
    """With the seed that catches it."""
    assert CAUGHT.keys() == MUTANTS.keys()
