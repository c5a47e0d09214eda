"""Whether the outbox keeps its promises: every invariant that rows alone can show.

For `verify`, and for the daemon's daily audit. It reads one snapshot and changes no event, also
while a daemon works. It must never call a fault what can be right: if rows can be read in two ways,
it takes the innocent one.

- An id without a row may be a number that was never used: its transaction rolled back (PostgreSQL),
  or ON CONFLICT skipped the insert (both databases). More rows than ids are a fault.
- A retried dead letter is delivered after its followers. So an event with a try that an operator
  asked for says nothing about order. Neither does one whose history is full: it may have lost such
  a try.
- All other events of a key were delivered in the order of their ids. Overlapping transactions are
  no exception: the daemon sees no id above the watermark.
- A claim goes on naming events that have ended, but not if all of them have. Its daemon still has a
  row: a daemon that is ended loses its claims and its shards in the same transaction.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.policy.shares import SHARDS
from shipper.store.db.dialect import SQLITE, Dialect, dialect_of, pick
from shipper.store.db.snapshot import shown, snapshot, sorting_on_disk, written
from shipper.store.drain.numbers import LAST_IN_BLOCKS
from shipper.store.drain.record import ATTEMPTS_KEPT
from shipper.store.lease.claim_rows import claims
from shipper.store.lease.claims import load_ids
from shipper.store.schema.damage import damage
from shipper.store.upgrade import sqlite_sequence
from shipper.store.upgrade.recount import COUNTERS
from shipper.wording.quantities import several

RULES: Mapping[str, str] = MappingProxyType(
    {
        "counters": "the counters of every destination equal a recount of its rows",
        "positions": "every id that was given out is a row, was purged, or was never used",
        "order": "every key was delivered in the order of its ids",
        "states": "every event is in a possible state",
        "history": f"no event has more than {ATTEMPTS_KEPT} tries in its history",
        "claims": "every claim names an event that is pending, and belongs to one daemon",
        "shards": "every shard belongs to a daemon that runs, or to none",
        "tables": "triggers, indexes and the next id are as the migrations made them",
    }
)

# How a state is reported that no event can be in, and its condition.
_IMPOSSIBLE = {
    "delivered without a time or a number": (
        "status = 'delivered' AND (delivered_at IS NULL OR delivery_number IS NULL)"
    ),
    "not delivered, but with a time of delivery": (
        "status <> 'delivered' AND delivered_at IS NOT NULL"
    ),
    "pending, but with the number of its end": (
        "status = 'pending' AND delivery_number IS NOT NULL"
    ),
    "dead without a reason": "status = 'dead' AND last_error IS NULL",
    "of an unknown status": "status NOT IN ('pending', 'delivered', 'dead', 'discarded')",
    "with a negative number of attempts": "attempts < 0",
    "with a delivery number above the last one given out": ("delivery_number > ({delivery})"),
}


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """A fact about one of the `RULES`; `fault` says that the rule is broken."""

    rule: str
    fault: bool
    message: str


def broken_rules(engine: Engine) -> tuple[str, ...]:
    """Return the broken rules; raises what `verify` raises."""
    return tuple(sorted({finding.rule for finding in verify(engine) if finding.fault}))


def verify(engine: Engine) -> list[RuleFinding]:
    """Check every rule; return the findings, faults first.

    The database sorts in a temporary file, not in memory. Raises StoreUnavailable, AccessDenied and
    SchemaError.
    """
    dialect = dialect_of(engine)
    with sorting_on_disk(engine), snapshot(engine) as tx:
        dialect.as_long_as_it_takes(tx)
        recorded = tx.execute(_recorded(dialect)).all()
        names = {f"name_{at}": row.name for at, row in enumerate(recorded)}
        scanned = tx.execute(_scan(dialect, names), names).one()
        findings = [
            *_check_counters(recorded, scanned),
            *_check_states(scanned),
            *_check_positions(tx, dialect, scanned.events),
            *(
                RuleFinding("positions", fault=True, message=told)
                for told in sqlite_sequence.faults(tx)
            ),
            *_check_shards(tx, dialect),
            *_check_order(tx, dialect),
            *_check_history(tx),
            *_check_claims(tx, dialect),
            *(RuleFinding("tables", fault=True, message=told) for told in damage(tx)),
        ]
    return sorted(findings, key=lambda finding: not finding.fault)


def _check_counters(recorded: Sequence[Row[Any]], scanned: Row[Any]) -> Iterator[RuleFinding]:
    for status in COUNTERS:
        elsewhere = getattr(scanned, status)
        for at, row in enumerate(recorded):
            counter, actual = getattr(row, status), getattr(scanned, f"name_{at}_{status}")
            elsewhere -= actual
            if counter != actual:
                events = f"{counter} {status} events, but has {actual}"
                told = f"destination {shown(row.name)} counts {events}"
                yield RuleFinding("counters", fault=True, message=told)
        if elsewhere:
            told = f"{elsewhere} {status} events have a destination without counters"
            yield RuleFinding("counters", fault=True, message=told)


def _check_states(scanned: Row[Any]) -> Iterator[RuleFinding]:
    for at, what in enumerate(_IMPOSSIBLE):
        count, smallest = getattr(scanned, f"count_{at}"), getattr(scanned, f"smallest_{at}")
        if count:
            yield RuleFinding("states", fault=True, message=f"{_events(count, smallest)}: {what}")


def _check_positions(tx: Connection, dialect: Dialect, rows: int) -> Iterator[RuleFinding]:
    given, purged = tx.execute(text(dialect.given)).scalar() or 0, tx.execute(_PURGED).scalar_one()
    unused = given - rows - int(purged)
    told = f"{given} ids were given out; {rows} are rows and {purged} were purged"
    if unused < 0:
        yield RuleFinding("positions", fault=True, message=told)
    elif unused > 0:
        never = f"{unused} were never used: rolled back, or skipped by ON CONFLICT"
        yield RuleFinding("positions", fault=False, message=f"{told}; {never}")


def _check_order(tx: Connection, dialect: Dialect) -> Iterator[RuleFinding]:
    # The database sorts by key, on its disk: a million keys take no memory of this process, and
    # hold up no other thread of it.
    count, smallest = tx.execute(_out_of_order(dialect)).one()
    if count:
        message = f"{_events(count, smallest)}: delivered before an earlier event of its key"
        yield RuleFinding("order", fault=True, message=message)


def _check_history(tx: Connection) -> Iterator[RuleFinding]:
    count, smallest = tx.execute(_LONG_HISTORIES).one()
    if count:
        message = f"{_events(count, smallest)} with more than {ATTEMPTS_KEPT} rows of history"
        yield RuleFinding("history", fault=True, message=message)


def _check_claims(tx: Connection, dialect: Dialect) -> Iterator[RuleFinding]:
    pending = text(
        f"SELECT id FROM shipper_outbox WHERE id IN {dialect.ids} AND status = 'pending'"
    )
    runs = None if dialect.is_file else set(tx.execute(_TOKENS).scalars())
    daemons = dict[int, set[int]]()
    for token, number, ids in claims(tx):
        found = tx.execute(pending, {"ids": dialect.bind_ids(load_ids(ids))}).scalars().all()
        if not found:
            message = f"claim {number} names no pending event, but is still there"
            yield RuleFinding("claims", fault=True, message=message)
        if runs is not None and token not in runs:
            message = f"claim {number} is of the token {token}, which no daemon has"
            yield RuleFinding("claims", fault=True, message=message)
        for row in found:
            daemons.setdefault(row, set()).add(token)
    several_have = sorted(row for row, tokens in daemons.items() if len(tokens) > 1)
    if several_have:
        message = f"{_events(len(several_have), several_have[0])}: claimed by several daemons"
        yield RuleFinding("claims", fault=True, message=message)


def _check_shards(tx: Connection, dialect: Dialect) -> Iterator[RuleFinding]:
    if dialect.is_file:
        return
    for shard, token in tx.execute(pick(dialect, postgresql=_STRAY_SHARDS)).all():
        told = f"shard {shard} belongs to the token {token}, which no daemon has"
        yield RuleFinding("shards", fault=True, message=told)
    if missing := tx.execute(_MISSING_SHARDS).scalar_one():
        told = f"{missing} shards are missing: no daemon sends their events"
        yield RuleFinding("shards", fault=True, message=told)


def _events(count: int, smallest: int) -> str:
    return (
        f"event {smallest}"
        if count == 1
        else f"{several(count, 'event')}, the first of them {smallest}"
    )


# -- statements ---------------------------------------------------------------------------------


def _recorded(dialect: Dialect) -> TextClause:
    name = written(dialect, "name")
    return text(
        f"SELECT {name} AS name, {', '.join(COUNTERS)} FROM {dialect.counters} ORDER BY name"
    )


def _scan(dialect: Dialect, names: Iterable[str]) -> TextClause:
    """Return the query for all rules about single rows: one pass, without a sort."""
    columns = ["count(*) AS events"]
    delivery = pick(dialect, sqlite=_GIVEN_IN_FILE, postgresql=LAST_IN_BLOCKS)
    for at, template in enumerate(_IMPOSSIBLE.values()):
        condition = template.format(delivery=delivery)
        columns.append(f"count(CASE WHEN {condition} THEN 1 END) AS count_{at}")
        columns.append(f"min(CASE WHEN {condition} THEN id END) AS smallest_{at}")
    for status in COUNTERS:
        of_status = f"status = '{status}'"
        columns.append(f"count(CASE WHEN {of_status} THEN 1 END) AS {status}")
        columns += [
            f"count(CASE WHEN {of_status} AND destination = CAST(:{name} AS text) THEN 1 END)"
            f" AS {name}_{status}"
            for name in names
        ]
    return text(f"SELECT {', '.join(columns)} FROM shipper_outbox")


def _out_of_order(dialect: Dialect) -> TextClause:
    """Return the query for events that were delivered before a smaller id of their key."""
    collate = dialect.binary_order
    return text(
        "SELECT count(*), min(id) FROM (SELECT id, delivery_number AS number,"
        " lag(delivery_number) OVER"
        f" (PARTITION BY destination{collate}, ordering_key{collate} ORDER BY id) AS before"
        " FROM shipper_outbox LEFT JOIN (SELECT outbox_id FROM shipper_attempt GROUP BY outbox_id"
        f" HAVING max(manual) = 1 OR count(*) >= {ATTEMPTS_KEPT}) AS told ON told.outbox_id = id"
        " WHERE status = 'delivered' AND ordering_key IS NOT NULL AND delivery_number IS NOT NULL"
        " AND told.outbox_id IS NULL) AS walked WHERE number <= before"
    )


_GIVEN_IN_FILE = f"SELECT delivery FROM {SQLITE.books}"
_TOKENS = text("SELECT token FROM shipper_daemon")
_STRAY_SHARDS = text(
    "SELECT shard, token FROM shipper_shard AS s WHERE token IS NOT NULL AND NOT EXISTS"
    " (SELECT 1 FROM shipper_daemon AS d WHERE d.token = s.token) ORDER BY shard"
)
_MISSING_SHARDS = text(f"SELECT {SHARDS} - count(*) FROM shipper_shard")
_PURGED = text("SELECT coalesce(sum(purged), 0) FROM shipper_destination")
_LONG_HISTORIES = text(
    "SELECT count(*), min(outbox_id) FROM (SELECT outbox_id FROM shipper_attempt"
    f" GROUP BY outbox_id HAVING count(*) > {ATTEMPTS_KEPT}) AS long"
)
