"""Which other daemons see a destination up, as each of them has written."""

import pytest
from sqlalchemy import Engine, text

from shipper.store.db.engine import open_engine
from shipper.store.report.up_elsewhere import up_elsewhere
from tests.store.joined import ELSEWHERE, joined

ME, OTHER, THIRD = 11, 12, 13


def sees(engine: Engine, token: int, **states: str) -> None:
    """Write how a daemon sees destinations."""
    row = text(
        "INSERT INTO shipper_link (token, name, state, since, updated_at)"
        " VALUES (:token, :name, :state, '2000-01-01', '2000-01-01')"
    )
    with engine.begin() as tx:
        for name, state in states.items():
            tx.execute(row, {"token": token, "name": name, "state": state})


@pytest.fixture
def crew(postgres_url: str) -> Engine:
    """Give an outbox of three daemons, each with a shard."""
    engine = open_engine(postgres_url)
    for shard, token in enumerate((ME, OTHER, THIRD)):
        joined(engine, token, f"d{token}", ELSEWHERE, "{}")
        with engine.begin() as tx:
            own = "UPDATE shipper_shard SET token = :token WHERE shard = :shard"
            tx.execute(text(own), {"token": token, "shard": shard})
    return engine


def test_each_state_in_which_events_are_sent_counts(crew: Engine) -> None:
    """However old the row is by any clock; of others only, and only what was asked."""
    sees(crew, ME, a="ready", b="ready", c="ready")
    sees(crew, OTHER, a="ready", b="offline", c="throttled", d="ready")
    sees(crew, THIRD, a="ramping", b="paused", c="ready")
    assert up_elsewhere(crew, ME, ["a", "b", "c", "unknown"]) == {
        "a": {OTHER, THIRD},
        "b": frozenset(),
        "c": {THIRD},
        "unknown": frozenset(),
    }
    crew.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '1 s'",
        "DELETE FROM shipper_daemon",
        "UPDATE shipper_shard SET token = NULL",
    ],
    ids=["its lease is over", "it is ended", "it waits for shards"],
)
def test_one_that_does_not_send_proves_nothing(crew: Engine, change: str) -> None:
    """How it last saw the destination is long over."""
    sees(crew, OTHER, a="ready")
    assert up_elsewhere(crew, ME, ["a"]) == {"a": {OTHER}}
    with crew.begin() as tx:
        tx.execute(text(f"{change} WHERE token = {OTHER}"))
    assert up_elsewhere(crew, ME, ["a"]) == {"a": frozenset()}
    crew.dispose()
