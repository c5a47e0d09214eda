"""Which rules of the outbox are known to be broken, for commands that can't wait for an audit.

It decides which outbox is small enough to be checked at once; of any other it tells what the last
audit found. It must never read the history of a large outbox.
"""

from collections.abc import Iterable

from sqlalchemy import Engine, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import writing

SMALL = 10_000
"""An outbox with at most this many events is checked within hundredths of a second."""


def remember(engine: Engine, broken: Iterable[str], now: float) -> None:
    """Store the rules that an audit found broken."""
    dialect = dialect_of(engine)
    values = {"broken": ",".join(broken), "now": dialect.bind_time(now)}
    with writing(engine) as tx:
        tx.execute(_remember(dialect), values)


def known_to_be_broken(engine: Engine, rows: int) -> tuple[str, ...]:
    """Return the broken rules: of a small outbox as of now, else as of the last audit.

    `rows` is the number of events. Raises what `verify` raises.
    """
    if rows <= SMALL:
        from shipper.store.report.verify import broken_rules  # noqa: PLC0415 - of a large outbox, no command needs it

        return broken_rules(engine)
    return remembered(engine)


def remembered(engine: Engine) -> tuple[str, ...]:
    """Return the rules that the last audit of any daemon found broken."""
    with snapshot(engine) as tx:
        broken = tx.execute(_REMEMBERED).scalar()
    return tuple(broken.split(",")) if broken else ()


# -- statements ---------------------------------------------------------------------------------


def _remember(dialect: Dialect) -> TextClause:
    return text(
        "UPDATE shipper_lease SET broken = CAST(:broken AS text),"
        f" audited_at = {dialect.time.format('now')} WHERE name = 'outbox'"
    )


_REMEMBERED = text("SELECT broken FROM shipper_lease WHERE name = 'outbox'")
