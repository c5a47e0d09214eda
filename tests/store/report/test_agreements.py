"""What the daemons of an outbox wrote of their settings, as `doctor` and the others read it."""

from shipper.store.db.engine import open_engine
from shipper.store.report.agreements import all_daemons, other_daemons
from tests.store.joined import DEAD, ELSEWHERE, HERE, joined


def test_each_daemon_is_read_with_what_it_wrote(postgres_url: str) -> None:
    """The oldest first; one of another version may have written nothing that can be read."""
    engine = open_engine(postgres_url)
    joined(engine, 12, "second", ELSEWHERE, '{"a": 1}')
    joined(engine, 11, "first", HERE, None)
    joined(engine, 13, "third", None, "garbled")
    found = all_daemons(engine)
    engine.dispose()
    assert [(each.token, each.owner, each.settings) for each in found] == [
        (11, HERE, ""),
        (12, ELSEWHERE, '{"a": 1}'),
        (13, None, "garbled"),
    ]
    assert [str(each) for each in found[1:]] == [
        "second (process 77 on till-2)",
        "third (a process)",
    ]


def test_neither_this_process_nor_a_dead_one_is_another(postgres_url: str) -> None:
    """What has ended can't have other settings any more."""
    engine = open_engine(postgres_url)
    joined(engine, 11, "first", HERE, "{}")
    joined(engine, 12, "dead", DEAD, "{}")
    joined(engine, 13, "other", ELSEWHERE, "{}")
    found = other_daemons(engine)
    engine.dispose()
    assert [each.token for each in found] == [13]


def test_on_sqlite_a_daemon_is_alone(sqlite_url: str) -> None:
    """There is no table to ask."""
    engine = open_engine(sqlite_url)
    assert all_daemons(engine) == other_daemons(engine) == []
    engine.dispose()
