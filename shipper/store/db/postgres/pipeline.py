"""Statements that are sent before the answers to earlier ones are there, in libpq's pipeline mode.

The driver's own pipeline waits at each statement. This one writes all of them at once, so that the
loop's thread has the interpreter meanwhile, and a turn is two round trips.

It decides where a transaction in a pipeline begins and ends, and whether it has committed. What is
sent behind the COMMIT shares its round trip; if only that fails, the transaction has committed all
the same. It must never report a COMMIT that the server hasn't confirmed. After any other failure
the caller has to assume that the transaction may have committed, and to close the connection.
"""

import re
import select
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from shipper.store.db.postgres.opening import LocalSettings

_BEGIN: Final = b"BEGIN ISOLATION LEVEL READ COMMITTED"
_COMMIT: Final = b"COMMIT"
_NO_COMMIT: Final = "the server has answered COMMIT with ROLLBACK"
_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w+)")
_INT8, _FLOAT8, _UNKNOWN = 20, 701, 0
_BINARY = 1


class Compiled:
    """A statement with parameters like `:name`, as libpq takes it."""

    __slots__ = ("names", "sql")

    def __init__(self, sql: str) -> None:
        self.names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        places = {name: f"${at}" for at, name in enumerate(self.names, 1)}
        self.sql = _PARAMETER.sub(lambda found: places[found[1]], sql).encode()


# The server would plan each statement of a small turn again, which is half of its work. The plan
# for any value is as good here (tests/store/drain/test_plans.py), if it never scans a table: it can
# be from a time when the outbox was empty. Where only a scan is possible, as of the few rows of
# shipper_turn, that makes it look so expensive that the server would compile each execution to
# machine code first: 0.2 seconds of its CPU, where it can (Debian's PostgreSQL can).
_PLAN_ONCE: Final = Compiled(
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', true),"
    " set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"
)


class SentStatement:
    """The answer to a statement that was sent; it is there after `Pipeline.wait`."""

    __slots__ = ("_pipeline", "_result")

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline
        self._result: Any = None

    @property
    def driver(self) -> object:
        """The driver's connection that has sent the statement."""
        return self._pipeline.driver

    @property
    def is_answered(self) -> bool:
        """Whether the server has done the statement."""
        return self._result is not None

    @property
    def status(self) -> bytes:
        """What the server says that it has done; empty if it hasn't answered."""
        return b"" if self._result is None else self._result.command_status or b""

    def give(self, result: Any) -> None:
        """Keep the answer."""
        self._result = result

    def rows(self) -> Sequence[tuple[Any, ...]]:
        """Return the rows that the statement has found."""
        return self._pipeline.load(self._result)

    def changes(self) -> int:
        """Return how many rows the statement has changed."""
        return int(self._result.command_tuples or 0)


class Pipeline:
    """The pipeline of one connection, which its transactions use one after the other."""

    def __init__(self, connection: Connection) -> None:
        dbapi: Any = connection.dialect.loaded_dbapi
        driver: Any = connection.connection.driver_connection
        self.driver = driver
        """The driver's connection."""
        self._pgconn = driver.pgconn
        self._errors = dbapi.errors
        self._status = dbapi.pq.ExecStatus
        self._done = {self._status.COMMAND_OK, self._status.TUPLES_OK}
        self._transformer = dbapi.adapt.Transformer(driver)
        # Not behind a pooler: the next transaction can get another process of the server, which
        # doesn't know what was prepared.
        self._local: LocalSettings | None = connection.info["local"]
        self._prepares = self._local is None
        # The driver deallocates all prepared statements, also ours, when it rolls back and has
        # prepared some of its own. From here on it has none.
        if self._prepares:
            driver.execute("DEALLOCATE ALL", prepare=False)
        driver.prepare_threshold = None
        self._prepared: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._sent: deque[SentStatement] = deque()

    def begin(self) -> None:
        """Enter the pipeline mode."""
        self._pgconn.enter_pipeline_mode()

    def settle(self) -> None:
        """Set what holds until the end of the transaction, or outside of one until `wait`.

        Each statement has one plan; behind a pooler, the settings of our sessions are in force.
        """
        if self._local is None:
            self.send(_PLAN_ONCE, {})
        else:
            self.send_plain(self._local.query)

    def end(self) -> None:
        """Leave the pipeline mode, if the connection is still there."""
        if not self.driver.closed:
            self._pgconn.exit_pipeline_mode()

    def send(self, command: Compiled, values: Mapping[str, Any]) -> SentStatement:
        """Write a statement; the answer is there after `wait`."""
        given = [values[name] for name in command.names]
        types = tuple(map(_type_of, given))
        parameters = [_encoded(value) for value in given]
        if any(b"\0" in one for one in parameters if one is not None):
            raise self._errors.DataError("a text for PostgreSQL can't contain a NUL")
        if self._prepares:
            name = self._prepare(command.sql, types)
            self._pgconn.send_query_prepared(name, parameters, None, _BINARY)
        else:
            self._pgconn.send_query_params(command.sql, parameters, types, None, _BINARY)
        return self._expect()

    def send_plain(self, sql: bytes) -> SentStatement:
        """Write a statement without parameters that isn't worth to be prepared."""
        self._pgconn.send_query_params(sql, None)
        return self._expect()

    def wait(self) -> None:
        """Wait for all answers so far; raises the driver's error for the first that failed."""
        self._pgconn.pipeline_sync()
        self._flush()
        failures: list[Exception] = []
        try:
            while (result := self._next()).status != self._status.PIPELINE_SYNC:
                if result.status not in self._done:  # what was sent after a failure isn't done
                    failures.append(self._errors.error_from_result(result))
                elif not failures:
                    self._sent[0].give(result)
                if self._sent:  # a server that ends and a pooler may each say why
                    self._sent.popleft()
        except self._errors.OperationalError as lost:
            failures.append(lost)  # a server that ends says first why
        if failures:
            raise failures[0]

    def load(self, result: Any) -> Sequence[tuple[Any, ...]]:
        """Return the rows of an answer."""
        self._transformer.set_pgresult(result)
        rows: Sequence[tuple[Any, ...]] = self._transformer.load_rows(0, result.ntuples, tuple)
        return rows

    def _prepare(self, sql: bytes, types: tuple[int, ...]) -> bytes:
        name = self._prepared.get((sql, types))
        if name is None:
            name = b"shipper_%d" % len(self._prepared)
            self._prepared[sql, types] = name
            self._pgconn.send_prepare(name, sql, types)
            self._expect()
        return name

    def _expect(self) -> SentStatement:
        answer = SentStatement(self)
        self._sent.append(answer)
        return answer

    def _flush(self) -> None:
        """Write everything; read meanwhile, or a server that can't write would never read on."""
        while self._pgconn.flush():
            self._poll(select.POLLIN | select.POLLOUT)
            self._pgconn.consume_input()

    def _next(self) -> Any:
        """Return the next result; raises the driver's error for a lost connection."""
        for _ in range(2):  # libpq ends the results of each statement with none
            while self._pgconn.is_busy():
                self._poll(select.POLLIN)
                self._pgconn.consume_input()
            if (result := self._pgconn.get_result()) is not None:
                return result
        raise self._errors.OperationalError("the connection was lost")

    def _poll(self, events: int) -> None:
        waiting = select.poll()
        waiting.register(self._pgconn.socket, events)
        waiting.poll()


@contextmanager
def pipelined(connection: Connection, on_commit: Callable[[], None]) -> Iterator[Pipeline]:
    """Open a transaction in a pipeline that commits at its end; `connection` is autocommit.

    `on_commit` is called when the COMMIT is written, and can send more behind it. If only that
    fails, nothing is raised: the connection is closed, and the answers are missing.
    """
    with _opened(connection) as pipeline:
        pipeline.send_plain(_BEGIN)
        pipeline.settle()
        yield pipeline
        commit = pipeline.send_plain(_COMMIT)
        try:
            pipeline.settle()
            on_commit()
            pipeline.wait()
        except (connection.dialect.loaded_dbapi.Error, DBAPIError):
            if commit.status != _COMMIT:
                raise
            pipeline.driver.close()
        if commit.status != _COMMIT:
            raise connection.dialect.loaded_dbapi.OperationalError(_NO_COMMIT)


@contextmanager
def asking(connection: Connection) -> Iterator[Pipeline]:
    """Open a pipeline for single statements; `connection` is autocommit.

    After a failure the connection has to be closed: it is still in the pipeline.
    """
    with _opened(connection) as pipeline:
        pipeline.settle()
        yield pipeline


@contextmanager
def _opened(connection: Connection) -> Iterator[Pipeline]:
    pipeline: Pipeline | None = connection.info.get("pipeline")
    if pipeline is None:
        pipeline = connection.info["pipeline"] = Pipeline(connection)
    pipeline.begin()
    yield pipeline
    pipeline.end()


class Pipelines(NamedTuple):
    """How statements are sent before the answers to earlier ones are there."""

    pipelined: Callable[[Connection, Callable[[], None]], AbstractContextManager[Pipeline]]
    asking: Callable[[Connection], AbstractContextManager[Pipeline]]


PIPELINES: Final = Pipelines(pipelined, asking)


# -- values -----------------------------------------------------------------------------------


def _type_of(value: object) -> int:
    """Return the type of a parameter; the server knows what a text or an array is cast to."""
    if isinstance(value, int):
        return _INT8
    return _FLOAT8 if isinstance(value, float) else _UNKNOWN


def _encoded(value: Any) -> bytes | None:
    """Return a value as the server reads it."""
    if value is None:
        return None
    text = _array(value) if isinstance(value, list) else str(value)
    return text.encode()


def _array(values: list[Any]) -> str:
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
