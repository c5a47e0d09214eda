"""A turn in a pipeline: whatever is lost or fails in the middle, it is done once, and known.

Promises 1, 3 and 5 in the guarantees. The points of failure are enumerated, not sampled.
"""

from collections.abc import Iterator
from threading import Thread

import psycopg
import pytest
from sqlalchemy import Engine

from shipper.errors import StoreUnavailable
from shipper.policy.event import Event
from shipper.store.db.engine import open_engine
from shipper.store.db.postgres import pipeline
from shipper.store.db.postgres.dialect import PostgresDialect
from shipper.store.db.transactions import exchanging, interrupt, reading
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Work
from shipper.store.drain.queue import Queue, ask_nothing
from shipper.store.lease.turns import Turn
from shipper.system.steps import whole
from tests.store.cutting import Line, Way, line_to
from tests.store.daemons import NOW, write
from tests.store.drivers import story
from tests.store.poolers import Mode, pooling
from tests.store.shipping import accepted, ask, claim, claims, everything, settled, taken

LANE = Look("lane", "default", 64, lane="k1")


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def line(postgres_url: str) -> Iterator[tuple[Line, Engine]]:
    """Give a line to the server, and an engine that uses it."""
    with line_to(postgres_url) as (line, url):
        engine = open_engine(url)
        yield line, engine
        engine.dispose()


def _turn(queue: Queue, work: Work, looks: Looks | None = None) -> list[Event]:
    """Do a turn; each story is written anew, so when its events were is not a part of it."""
    follow = looks.following(pulse=True, questions=[LANE]) if looks else ask_nothing
    return [event._replace(created_at=0.0) for event in queue.turn(work, follow)]


# -- a line that is cut ---------------------------------------------------------------------------


def _cut_everywhere(cable: Line, engine: Engine, way: Way) -> tuple[int, int]:
    """Cut the line at each message of a turn, one after the other; return how many, and lost turns.

    After each cut the turn is given again if it was lost. It must be done once.
    """
    queue, work = story(engine)
    expected = (_turn(queue, work), everything(engine))
    queue, work = story(engine)
    looks = settled(Looks(engine))
    cable.cut(way, 0)
    _turn(queue, work, looks)
    points, lost = cable.passed, 0
    for at in range(1, points + 1):
        queue, work = story(engine)
        looks = settled(Looks(engine))
        cable.cut(way, at)
        try:
            events = _turn(queue, work, looks)
        except StoreUnavailable:
            lost += 1
            events = _turn(queue, work, looks)
        assert (events, everything(engine)) == expected, f"message {at}"
    return points, lost


def test_a_turn_that_was_cut_off_on_its_way_there_is_done_once(line: tuple[Line, Engine]) -> None:
    """Given again, it returns the same events, and the outbox is as if nothing had happened."""
    points, lost = _cut_everywhere(*line, "there")
    assert points > 12
    assert lost == points


def test_a_turn_whose_answers_were_cut_off_is_done_once(line: tuple[Line, Engine]) -> None:
    """Behind the answer to COMMIT only questions are lost: three answers, and the end of them."""
    points, lost = _cut_everywhere(*line, "back")
    assert points > 12
    assert lost == points - 4


def test_a_turn_that_is_given_twice_is_seen_by_these_tests(
    line: tuple[Line, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted bug: what was committed before the line was cut is done as another turn."""

    def _done_before(self: Queue, work: Work, turn: Turn) -> tuple[int, list[Event]]:
        self._turn = turn
        events = self.turn(work)
        return self._met, events

    monkeypatch.setattr(Queue, "_done_before", _done_before)
    with pytest.raises(AssertionError, match="message"):
        _cut_everywhere(*line, "back")


# -- statements that fail -------------------------------------------------------------------------


def test_the_first_failure_is_the_one_that_is_reported(post: Engine) -> None:
    """What is sent behind a failure fails without a reason, and that isn't the reason."""
    queue = taken(post)
    [event] = claim(queue, *write(post, "a"))
    with psycopg.connect(post.url.set(drivername="postgresql").render_as_string(False)) as other:
        other.execute("SELECT 1 FROM shipper_outbox FOR UPDATE")
        _lock_soon(post)
        with pytest.raises(StoreUnavailable, match="another transaction holds the rows"):
            queue.turn(Work(now=NOW, records=[accepted(event)], wanted=[event.id]))
    queue.turn(Work(now=NOW, records=[accepted(event)]))
    # The number of the turn that failed is not given again.
    assert ask(post, "SELECT status, delivery_number FROM shipper_outbox") == [("delivered", 2)]


def _lock_soon(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SET lock_timeout = '50ms'")
        connection.commit()


def test_a_question_that_fails_behind_a_commit_undoes_nothing(post: Engine) -> None:
    """The turn is done and known; the question is asked again, and then reports its failure."""
    queue = taken(post)
    ids = write(post, "a")

    def follow(channel: object) -> None:
        channel.pipeline.send_plain(b"SELECT 1 / 0")  # type: ignore[attr-defined]

    assert [event.id for event in queue.turn(Work(now=NOW, wanted=ids), follow)] == ids
    assert claims(post) == [ids]
    queue.turn(Work(now=NOW, released=ids))
    assert claims(post) == []


def test_a_commit_that_the_server_makes_a_rollback_is_no_commit(post: Engine) -> None:
    """In a transaction that has failed, COMMIT is answered by ROLLBACK and no error."""
    with pytest.raises(StoreUnavailable, match="COMMIT with ROLLBACK"):
        _commit_what_has_failed(post)


def _commit_what_has_failed(engine: Engine) -> None:
    with whole(exchanging(engine, ask_nothing)) as channel:
        assert channel.pipeline is not None
        channel.pipeline.send_plain(b"SELECT 1 / 0")
        with pytest.raises(psycopg.errors.DivisionByZero):
            channel.wait()


def test_a_server_that_ends_says_why(post: Engine) -> None:
    """Its reason comes before the end of the connection, and is the one that is reported."""
    with pytest.raises(StoreUnavailable, match="57P01"):
        _end_its_own_session(post)


def _end_its_own_session(engine: Engine) -> None:
    with whole(exchanging(engine, ask_nothing)) as channel:
        assert channel.pipeline is not None
        channel.pipeline.send_plain(b"SELECT pg_terminate_backend(pg_backend_pid())")
        channel.wait()


def test_a_text_with_a_nul_is_refused(post: Engine) -> None:
    """Libpq would cut it there."""
    command = pipeline.Compiled("SELECT CAST(:a AS text)")
    with whole(exchanging(post, ask_nothing)) as channel:
        assert channel.pipeline is not None
        with pytest.raises(psycopg.DataError):
            channel.pipeline.send(command, {"a": "a\0b"})


def test_texts_in_an_array_arrive_as_they_are(post: Engine) -> None:
    """Whatever they have in them; and None is NULL."""
    texts = ['a"b', "a\\b", "{a,b}", "", "NULL", " a ", "ü\n", None]
    command = pipeline.Compiled("SELECT unnest(CAST(:texts AS text[]))")
    with whole(exchanging(post, ask_nothing)) as channel:
        assert channel.pipeline is not None
        answer = channel.pipeline.send(command, {"texts": texts})
        channel.wait()
        assert [text for [text] in answer.rows()] == texts


def test_more_than_a_socket_holds_is_sent(post: Engine) -> None:
    """The server answers meanwhile, and waits until that is read."""
    text = "x" * (8 << 20)
    command = pipeline.Compiled("SELECT CAST(:text AS text)")
    with whole(exchanging(post, ask_nothing)) as channel:
        assert channel.pipeline is not None
        answers = [channel.pipeline.send(command, {"text": text}) for _ in range(3)]
        channel.wait()
        assert [len(answer.rows()[0][0]) for answer in answers] == [len(text)] * 3


# -- what is prepared, and where ------------------------------------------------------------------


def _prepared(engine: Engine) -> int:
    [[number]] = ask(engine, "SELECT count(*) FROM pg_prepared_statements")
    return int(number)


def test_what_was_prepared_survives_a_reading_transaction(post: Engine) -> None:
    """The driver deallocates everything when it rolls back, if it has prepared something itself."""
    queue = taken(post)
    claim(queue, *write(post, "a"))
    for _ in range(3):
        with reading(post) as tx:
            tx.exec_driver_sql("SELECT 1")
    assert _prepared(post) > 0
    assert len(claim(queue, *write(post, "b"))) == 1


def test_the_server_compiles_no_statement_of_a_turn(post: Engine) -> None:
    """With enable_seqscan off a scan of a few rows looks as if that were worth its 0.2 seconds."""
    asked = b"SELECT current_setting('enable_seqscan'), current_setting('jit')"
    with whole(exchanging(post, ask_nothing)) as channel:
        assert channel.pipeline is not None
        answer = channel.pipeline.send_plain(asked)
        channel.wait()
        assert [tuple(map(_text, row)) for row in answer.rows()] == [("off", "off")]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_behind_a_pooler_nothing_is_prepared(postgres_url: str, mode: Mode) -> None:
    """A turn stays on one process of the server, with what follows it; the next can get another."""
    with pooling(postgres_url, mode, 2) as url:
        engine = open_engine(url)
        queue, work = story(engine)
        looks = settled(Looks(engine))
        assert [event.id for event in _turn(queue, work, looks)] == [7, 6]
        assert looks.look(LANE) == []
        assert _prepared(engine) == 0
        [[plans]] = ask(engine, "SELECT current_setting('plan_cache_mode')")
        assert plans == "auto"
        engine.dispose()


def test_without_pipelines_a_turn_is_the_same(
    post: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old libpq has none."""
    queue, work = story(post)
    expected = (_turn(queue, work, settled(Looks(post))), everything(post))
    monkeypatch.setattr(PostgresDialect, "pipelines", lambda *_: None)
    queue, work = story(post)
    assert (_turn(queue, work, settled(Looks(post))), everything(post)) == expected


def test_a_turn_can_be_interrupted(post: Engine) -> None:
    """It waits for a lock; another thread cancels what runs on the server."""
    queue = taken(post)
    ids = write(post, "a")
    url = post.url.set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(url, autocommit=True) as watch, psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM shipper_daemon FOR UPDATE")
        thread = Thread(target=_interrupt_the_waiting, args=(post, watch))
        thread.start()
        with pytest.raises(StoreUnavailable, match="57014"):
            claim(queue, *ids)
        thread.join()
    assert [event.id for event in claim(queue, *ids)] == ids


def _interrupt_the_waiting(engine: Engine, watch: "psycopg.Connection[tuple[int]]") -> None:
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
    while watch.execute(waiting).fetchone() is None:  # the turn will wait for its daemon's row
        pass
    interrupt(engine)


@pytest.mark.parametrize(("events", "round_trips"), [(1, 2), (129, 3)])
def test_a_turn_is_two_round_trips(
    post: Engine, monkeypatch: pytest.MonkeyPatch, events: int, round_trips: int
) -> None:
    """With its pulse and its looks; one more for each further chunk of events."""
    queue, looks = taken(post), settled(Looks(post))
    ended = claim(queue, *write(post, "a"))
    ids = write(post, *["k1"] * events)
    waits = []

    def wait(self: pipeline.Pipeline) -> None:
        waits.append(self)
        original(self)

    original = pipeline.Pipeline.wait
    monkeypatch.setattr(pipeline.Pipeline, "wait", wait)
    follow = looks.following(pulse=True, questions=[LANE])
    work = Work(now=NOW, records=[*map(accepted, ended)], wanted=ids)
    assert [event.id for event in queue.turn(work, follow)] == ids
    assert not looks.pulse().moved
    looks.look(LANE)
    assert len(waits) == round_trips
