"""While another session holds a snapshot for hours, no step reads the turns that were deleted.

A dump does that. A step that read them would take longer and longer, and all steps wait for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

from shipper.store.db.transactions import writing
from shipper.store.lease import membership_statements as sql
from shipper.store.lease.membership import begin_again
from tests.store.lease.members import FakeClock, Joined, Member, fall_silent, settle
from tests.store.shipping import run

DEAD = 30_000
MOST = 100
"""So many pages a statement may read; the deleted turns lie on several times as many."""

_EXPLAINED = {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}


@contextmanager
def _snapshot(post: Engine) -> Iterator[None]:
    with post.connect().execution_options(isolation_level="REPEATABLE READ") as dump:
        dump.exec_driver_sql("SELECT 1 FROM shipper_turn").all()
        yield


def _delete_turns(post: Engine) -> None:
    """Leave behind what each daemon leaves in a while: its last turn stays."""
    run(
        post,
        "INSERT INTO shipper_turn (token, turn, settled) SELECT token, n, 0 FROM shipper_daemon,"
        f" generate_series(-{DEAD} - 4000, -4000) AS n",
    )
    run(post, "DELETE FROM shipper_turn WHERE turn < 0")


@contextmanager
def _pages_read(engine: Engine) -> Iterator[dict[str, int]]:
    """Give how many pages each statement reads that is executed in here."""
    found: dict[str, int] = {}

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        in_transaction = cursor.connection.info.transaction_status == TransactionStatus.INTRANS
        if not in_transaction or statement.split(maxsplit=1)[0] not in _EXPLAINED:
            return
        ask = cursor.connection.cursor()
        ask.execute("SAVEPOINT before")
        ask.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        [plan] = ask.fetchone()[0]
        ask.execute("ROLLBACK TO before")
        pages = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        found[statement] = max(pages, found.get(statement, 0))

    event.listen(engine, "before_cursor_execute", explain)
    yield found
    event.remove(engine, "before_cursor_execute", explain)


@pytest.mark.parametrize("is_analyzed", [True, False])
def test_no_step_reads_the_deleted_turns(
    post: Engine, joined: Joined, clock: FakeClock, *, is_analyzed: bool
) -> None:
    """One joins, takes what a dead one had, corrects numbers and leaves; statistics or none."""
    members = [joined(), joined(), joined()]
    settle(members)
    other = joined(joins=False)
    with _snapshot(post):
        _delete_turns(post)
        if is_analyzed:
            run(post, "ANALYZE shipper_turn")
        with _pages_read(other.engine) as pages:
            _live(other, members, clock)
    assert pages.pop(str(sql.ORPHANS)) > MOST, "it could not be told"
    assert len(pages) > 20
    assert not {one: read for one, read in pages.items() if read > MOST}


def _live(other: Member, members: list[Member], clock: FakeClock) -> None:
    other.join()
    settle([*members, other])
    fall_silent(clock, other, *members[1:])
    assert len(other.attend().ended) == 1
    with writing(other.engine) as tx:
        begin_again(tx)
    other.queue.release()
