"""Last numbers are corrected while a daemon writes: it has to begin again in any case.

Otherwise it would go on with its old block of numbers, behind what others record from then on.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.errors import OutboxChanged
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.lease.membership_statements import HOLD
from shipper.store.upgrade import last_numbers
from shipper.store.upgrade.last_numbers import catch_up
from tests.store.daemons import write
from tests.store.lease.members import FakeClock, Member, elsewhere
from tests.store.shipping import accepted, ask, claim, record, run, until

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock'"
)
_NUMBERS_LOST = "SELECT setval('shipper_delivery', 1, false)"


@pytest.fixture
def three(postgres_url: str) -> Iterator[tuple[Engine, Engine, Engine]]:
    """Give three processes' ways to an outbox on PostgreSQL."""
    engines = open_engine(postgres_url), open_engine(postgres_url), open_engine(postgres_url)
    yield engines
    for engine in engines:
        engine.dispose()


@pytest.fixture
def member(postgres_url: str) -> Iterator[Member]:
    """Give a daemon."""
    one = Member(postgres_url, elsewhere(1), FakeClock())
    yield one
    one.close()


def _until_waiting(watcher: Engine, count: int) -> None:
    until(lambda: ask(watcher, _WAITING) == [(count,)])


def test_a_turn_that_waits_for_the_correction_is_not_written(
    three: tuple[Engine, Engine, Engine], member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has begun before the correction is committed, and its daemon's row stays."""
    post, watcher, _ = three
    write(post, "a", "b")
    member.send(1)
    events = claim(member.queue, 2)
    run(post, _NUMBERS_LOST)
    are_less, asked, turns = last_numbers._are_less, [], []
    with ThreadPoolExecutor() as pool:

        def ask_late(*given: Any) -> bool:
            asked.append(given)
            if len(asked) == 2:  # all is locked
                turns.append(pool.submit(record, member.queue, *map(accepted, events)))
                _until_waiting(watcher, 1)
            return are_less(*given)

        monkeypatch.setattr(last_numbers, "_are_less", ask_late)
        assert catch_up(post) == 1
        with pytest.raises(OutboxChanged, match="corrected"):
            turns[0].result()
    assert ask(post, "SELECT status FROM shipper_outbox WHERE id = 2") == [("pending",)]


def test_a_correction_waits_for_a_turn_that_is_being_written(
    three: tuple[Engine, Engine, Engine], member: Member
) -> None:
    """Neither waits for the other for ever, and the daemon begins again after that turn."""
    post, watcher, holder = three
    write(post, "a", "b")
    member.send(1)
    events = claim(member.queue, 2)
    run(post, _NUMBERS_LOST)
    with ThreadPoolExecutor() as pool:
        with writing(holder) as tx:
            tx.execute(HOLD, {"token": member.queue.token})
            turn = pool.submit(record, member.queue, *map(accepted, events))
            _until_waiting(watcher, 1)
            correction = pool.submit(catch_up, post)
            _until_waiting(watcher, 2)
        turn.result()
        assert correction.result() == 1
    assert ask(post, "SELECT status FROM shipper_outbox WHERE id = 2") == [("delivered",)]
    with pytest.raises(OutboxChanged, match="corrected"):
        member.queue.renew()
