"""What the outbox takes of its budget, and for how long that will do."""

import pytest
from sqlalchemy import Engine

from shipper.store.report.budget import Footprint, footprint
from shipper.store.report.facts import Growth
from tests.store.daemons import NOW, write
from tests.store.shipping import run

MB = 10**6


def test_a_file_of_its_own_is_measured(engine: Engine) -> None:
    """And on PostgreSQL our tables are: neither is an estimate."""
    write(engine, "a", "b")
    found = footprint(engine, 2, NOW, None)
    assert found.taken >= 64 << 10
    assert not found.is_estimate
    assert str(found).startswith("the outbox takes ")
    assert (found.share, found.days_left, found.is_over, found.is_scarce) == (
        None, None, False, False,
    )  # fmt: skip


def test_beside_an_applications_tables_it_is_counted_by_rows(engine: Engine) -> None:
    """What these take isn't ours; on PostgreSQL they are easily told apart."""
    write(engine, "a", "b")
    run(engine, "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
    found = footprint(engine, 2, NOW, 10 * MB)
    assert found.is_estimate == (engine.dialect.name == "sqlite")
    if found.is_estimate:
        assert found.taken == 2 * found.growth.bytes_each
        assert "takes about 8" in str(found)


@pytest.mark.parametrize(
    ("taken", "a_day", "verdict", "told"),
    [
        (50, 0, "well", "takes 50.0 MB of its budget of 100.0 MB (50 %)"),
        (50, 1, "well", "(50 %); full in 50 days at today's rate offline"),
        (50, 10, "scarce", "(50 %); full in 5 days at today's rate offline"),
        (50, 100, "over", "(50 %); full in 12 hours at today's rate offline"),
        (80, 0, "scarce", "(80 %)"),
        (100, 1, "over", "takes 100.0 MB of its budget of 100.0 MB (100 %)"),
        (150, 0, "over", "takes 150.0 MB of its budget of 100.0 MB (150 %)"),
    ],
)
def test_a_budget_is_told_before_it_is_used_up(
    taken: int, a_day: int, verdict: str, told: str
) -> None:
    """By its share, or by what a day like the last takes."""
    found = Footprint(taken * MB, False, Growth(a_day, MB), 100 * MB)
    assert found.is_scarce == (verdict != "well")
    assert found.is_over == (verdict == "over")
    assert str(found).endswith(told)
