"""What a database's failure means to an operator who can act on it.

The driver's code decides, and never the words of a server. The database's own folder says what each
code means (`sqlite.failures`, `postgres.failures`). No message must ever show a statement's
parameters, which can be payloads.
"""

from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shipper.errors import SchemaError, ShipperError, StoreUnavailable
from shipper.store.db.dialect import DIALECTS, Dialect

_ENDURES = "endures"


def endure(engine: Engine) -> None:
    """Make every failure of this engine's database a ShipperError from now on.

    The drain needs that. A daemon that ends because it can't record an answer is started again,
    sends the same events again, and still can't record the answer. An exception of Python itself
    ends the daemon all the same.
    """
    engine.update_execution_options(**{_ENDURES: True})


def endures(engine: Engine) -> bool:
    """Return whether `endure` was called for this engine."""
    return bool(engine.get_execution_options().get(_ENDURES))


def file_of(engine: Engine) -> Path | None:
    """Return the file of an SQLite engine of ours; None for any other engine."""
    file: Path | None = engine.get_execution_options().get("file")
    return file


def source_of(error: Exception) -> Dialect | None:
    """Return the dialect whose driver raised a failure; None for any other failure."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return next((one for one in DIALECTS.values() if one.is_failure(cause)), None)


def translate(error: Exception, file: Path | None = None) -> ShipperError | None:
    """Return what a database's failure means, judged by its code and never by its message.

    `file` is the SQLite file, if it is known. None means that only a change of shipper's code
    helps: a constraint is violated, or a statement is wrong.
    """
    if isinstance(error, PoolTimeout):
        return StoreUnavailable("the only connection to the database is in use")
    dialect = source_of(error)
    if dialect is None or not isinstance(error, DBAPIError):
        return None
    if dialect.is_counter(error.orig):
        return SchemaError("a counter in shipper_destination is wrong: it would be less than 0",
                           "rows were changed by hand (SQL): shipper verify --recount")  # fmt: skip
    return dialect.translate(error, file)


def unknown(error: Exception) -> StoreUnavailable | None:
    """Return the failure for a code that shipper doesn't know; None if there is no code.

    It shows no words of the server, because they can quote a row.
    """
    dialect = source_of(error)
    code = dialect.named(error.orig) if dialect and isinstance(error, DBAPIError) else ""
    if not code:
        return None
    return StoreUnavailable(f"the database answers with an error unknown to shipper ({code})",
                            "shipper tries again; please report it")  # fmt: skip
