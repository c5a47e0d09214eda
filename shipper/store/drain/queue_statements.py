"""The statements of the queue, made once for a dialect. They decide nothing."""

from sqlalchemy import text

from shipper.store.db.dialect import Dialect
from shipper.store.db.statement import Statement


class QueueStatements:
    """The statements of `Queue`; if daemons share an outbox, each claim has a token."""

    def __init__(self, dialect: Dialect) -> None:
        self.made = Statement(dialect, dialect.made)
        self.started = Statement(dialect, f"SELECT {dialect.started}")
        shares = dialect.moves_shards
        column, value = ("token, ", ":token, ") if shares else ("", "")
        its = " AND token = :token" if shares else ""
        self.claim = text(f"SELECT ids FROM shipper_claim WHERE number = :number{its}")
        self.insert_claim = Statement(
            dialect,
            f"INSERT INTO shipper_claim ({column}number, ids) VALUES ({value}:number, :ids)",
        )
        self.rewrite_claim = Statement(
            dialect, f"UPDATE shipper_claim SET ids = :ids WHERE number = :number{its}"
        )
        self.end_claims = Statement(
            dialect, f"DELETE FROM shipper_claim WHERE number IN {dialect.ids}{its}"
        )
