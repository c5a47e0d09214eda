"""The driver's own connection, and its errors as SQLAlchemy's.

Some statements and commits of the drain go straight to the driver. A failure there must look like
one of SQLAlchemy's own, so that it is translated in one place (`failures`).
"""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


def wrapped(tx: Connection, error: Any, statement: str) -> Exception:
    """Return SQLAlchemy's error for one of the driver's, without any values."""
    lost = tx.dialect.is_disconnect(error, tx.connection, None)
    # Without the parameters, as in the engine's own errors: they can be payloads.
    failure: Exception = DBAPIError.instance(
        statement, None, error, tx.dialect.loaded_dbapi.Error,
        hide_parameters=True, connection_invalidated=lost, dialect=tx.dialect,
    )  # fmt: skip
    return failure
