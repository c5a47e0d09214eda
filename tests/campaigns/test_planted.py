"""PostgreSQL as it is run, and bugs planted there: whether the campaign would notice each.

`python -m tests.campaigns clusters` runs any number of seeds, `--planted NAME` with a bug.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import standbys
from tests.campaigns.clusters import STROKES, Servers, run, servers
from tests.campaigns.places import scaled
from tests.campaigns.planted import PLANTED, planted
from tests.planting import is_caught

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("clusters")]

CAUGHT = {
    "a_lane_is_read_from_its_first_version": 4,
    "a_server_that_went_back_is_a_takeover": 36,
    "a_watch_never_begins_anew": 3,
    "an_open_transaction_is_overtaken": 2,
    "an_unlocked_lease_is_still_held": 8,
    "claims_outlive_a_server_that_went_back": 22,
    "nobody_asks_which_server_answers": 2,
    "the_fence_is_of_another_cluster": 6,
    "the_lease_is_judged_by_the_servers_clock": 3,
    "the_lease_is_prolonged_with_every_turn": 4,
    "the_scan_outlives_its_server": 2,
    "the_watermark_outlives_its_server": 2,
    "what_was_settled_elsewhere_is_written_down": 2,
    "who_was_taken_over_goes_on": 8,
}
SEEDS = 10
MOST_SEEDS = 6  # of a kind


@pytest.fixture(scope="module")
def there(stage: standbys.Stage) -> Iterator[Servers]:
    """Give the servers of a campaign."""
    directory = Path(tempfile.mkdtemp(prefix="shipper-pg-"))
    directory.chmod(0o755)
    room = directory / "room"
    standbys.make_room(room)
    try:
        with servers(stage, room) as found:
            yield found
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("kind", STROKES)
def test_whatever_becomes_of_the_server_every_promise_is_kept(there: Servers, kind: str) -> None:
    """Real standbys, dumps, copies, clocks and snapshots, and the daemon's own sessions."""
    for seed in range(scaled(SEEDS // len(STROKES)) * len(STROKES)):
        if STROKES[seed % len(STROKES)] == kind:
            found = run(there, seed)
            assert not found.violations, "\n".join([*found.trace[-60:], f"seed {seed}"])


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_bug_is_caught(there: Servers, name: str) -> None:
    """By a promise that is broken, in a run that is sound without it.

    A change of the product can make another run of a seed, so the next ones are tried as well.
    """
    first, step = CAUGHT[name], len(STROKES)
    seeds = [first, *range(first % step, MOST_SEEDS * step, step)]
    assert any(_is_caught(there, name, seed) for seed in seeds)


def _is_caught(there: Servers, name: str, seed: int) -> bool:
    with planted(name):
        found = run(there, seed).violations
    # The test above has shown that the first ones are sound.
    return is_caught(found) and (seed < SEEDS or not run(there, seed).violations)


def test_every_planted_bug_is_listed() -> None:
    """With the seed that catches it."""
    assert CAUGHT.keys() == PLANTED.keys()
