"""A driver that loses its database at a call of one's choice, and a turn that makes every call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.store.db.postgres.pipeline import Pipeline
from shipper.store.drain.messages import LinkRow, Work
from shipper.store.drain.queue import Queue
from tests.store.daemons import NOW
from tests.store.shipping import accepted, claim, failed, refused, taken, wipe

_waits = Pipeline.wait


def _wait_unanswered(pipeline: Pipeline) -> None:
    """Let the server do everything; a failure after that has kept the answers."""
    sent = list(pipeline._sent)
    _waits(pipeline)
    for answer in sent:
        answer.give(None)


class Driver:
    """The driver of an engine, which loses its database at one call, before or after it is done."""

    def __init__(self, engine: Engine, patch: pytest.MonkeyPatch) -> None:
        self._engine = engine
        self.calls = 0
        self.fails_at = 0
        self.after = False
        for name in ("do_execute", "do_executemany", "do_execute_no_params", "do_commit"):
            patch.setattr(engine.dialect, name, self._watched(getattr(engine.dialect, name)))
        for name in ("send", "send_plain"):
            patch.setattr(Pipeline, name, self._watched(getattr(Pipeline, name)))
        patch.setattr(Pipeline, "wait", self._wait)

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            lost = self.calls == self.fails_at
            if lost and not self.after:
                raise self._error()
            answer = call(*arguments, **more)
            if lost:
                raise self._error()
            return answer

        return watched

    @property
    def _wait(self) -> Callable[[Pipeline], None]:
        def wait(pipeline: Pipeline) -> None:
            loses = self.after and self.calls + 1 == self.fails_at
            self._watched(_wait_unanswered if loses else _waits)(pipeline)

        return wait

    def _error(self) -> Exception:
        assert self._engine.dialect.dbapi is not None
        error: Exception = self._engine.dialect.dbapi.OperationalError("lost")
        if self._engine.dialect.name == "sqlite":
            error.sqlite_errorcode = 10  # type: ignore[attr-defined]  # SQLITE_IOERR
        return error

    @contextmanager
    def losing(self, at: int, *, after: bool = False) -> Iterator[None]:
        """Lose the call of this number, counted from here."""
        self.calls, self.fails_at, self.after = 0, at, after
        try:
            yield
        finally:
            self.fails_at = 0


def story(engine: Engine) -> tuple[Queue, Work]:
    """Return a daemon in the middle of its work, and a turn that does everything a turn can do."""
    wipe(engine)
    with engine.begin() as tx:
        for n in range(1, 9):
            tx.exec_driver_sql(
                "INSERT INTO shipper_outbox (payload, ordering_key, event_id)"
                f" VALUES ('{{}}', 'k{n}', 'e{n}')"
            )
    queue = taken(engine)
    events = claim(queue, 1, 2, 3, 4, 5)
    return queue, Work(
        now=NOW,
        records=[accepted(events[0]), refused(events[1], holds_key=True), failed(events[2], 9.0)],
        released=[5],
        wanted=[7, 6],
        links=[LinkRow("default", "ready", None, NOW, None)],
    )
