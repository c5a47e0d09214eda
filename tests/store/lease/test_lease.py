"""Who may ship: one process, for as long as it lives, and one that was taken over changes nothing.

Promise 2 in the guarantees. The owners are real processes.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.daemon.acquisition import FROZEN, REACH_WITHIN
from shipper.errors import LeaseLost, OutboxHeld, StoreUnavailable
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.drain.messages import Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner, _status
from tests import needs
from tests.store.daemons import NOW, write
from tests.store.processes import Process, process
from tests.store.shipping import accepted, ask, claim, claims, everything, record, run, taken, until

HOUR = 3600.0


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def other(postgres_url: str) -> Iterator[Engine]:
    """Give a second connection to it."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


DAEMON = """
import sys
from shipper.errors import ShipperError
from shipper.store.db.engine import open_engine
from shipper.store.lease.lease import Owner, _status
from shipper.store.drain.queue import Queue
from shipper.store.drain.messages import Work

queue = Queue(open_engine(sys.argv[1]), lease_ttl=float(sys.argv[2]))
queue.acquire(Owner.here())
print(*(event.id for event in queue.turn(Work(now=0.0, wanted=[1]))), flush=True)
for line in sys.stdin:
    try:
        print(*(event.id for event in queue.turn(Work(now=0.0, wanted=[2]))), flush=True)
    except ShipperError as error:
        print(type(error).__name__, flush=True)
"""

STRANGER = """
import sys
from pathlib import Path
from shipper.store.lease.lease import Owner

Path("/proc/self/comm").write_text("a) Z 1 (b")
print(Owner.here().write(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def url(postgres_url: str) -> str:
    """Give the URL for another process."""
    return postgres_url


@contextmanager
def _daemon(post: Engine, url: str, ttl: float) -> Iterator[Process]:
    write(post, "a", "a")
    with process(DAEMON, url, str(ttl)) as daemon:
        assert daemon.said() == "1"
        yield daemon


# -- the lease ------------------------------------------------------------------------------------


def test_an_outbox_that_a_living_process_holds_is_not_taken(post: Engine, url: str) -> None:
    """It is named, and nothing of its work is touched."""
    with _daemon(post, url, HOUR) as daemon:
        before = everything(post)
        with pytest.raises(OutboxHeld, match=f"process {daemon.pid} on ") as held:
            taken(post)
        assert held.value.exit_status == 75
        assert everything(post) == before
        daemon.tell("on")
        assert daemon.said() == "2"


def test_the_outbox_of_a_killed_process_is_taken_at_once(post: Engine, url: str) -> None:
    """However long its lease would last, and before anybody has reaped it."""
    with _daemon(post, url, HOUR) as daemon:
        daemon.dies()
        assert Queue(post, lease_ttl=HOUR).acquire(Owner.here()) == 1
        assert claims(post) == []
        assert ask(post, "SELECT id FROM shipper_outbox WHERE maybe_received = 1") == [(1,)]


def test_a_process_that_was_frozen_beyond_its_lease_changes_nothing_more(
    post: Engine, url: str
) -> None:
    """It lives, so it is waited for; then another takes over, and it learns that on waking."""
    with _daemon(post, url, 0.3) as daemon:
        daemon.signal(signal.SIGSTOP)
        queue = Queue(post, lease_ttl=HOUR)
        until(lambda: _acquires(queue))
        [event] = claim(queue, 1)
        before = everything(post)
        daemon.signal(signal.SIGCONT)
        daemon.tell("on")
        assert daemon.said() == "LeaseLost"
        assert everything(post) == before
        record(queue, accepted(event))


def _acquires(queue: Queue) -> bool:
    try:
        queue.acquire(Owner.here())
    except OutboxHeld:
        return False
    return True


def test_who_is_hidden_from_us_is_not_taken_for_dead() -> None:
    """A service sees only its own user's processes (ProtectProc=, hidepid=), and others live."""
    needs.root()
    with subprocess.Popen(["setpriv", "--reuid=65534", "cat"], stdin=subprocess.PIPE) as other:
        until(lambda: f"\nUid:\t{65534}\t" in Path(f"/proc/{other.pid}/status").read_text())
        shown = _status(str(other.pid))
        assert shown is not None
        owner = replace(Owner.here(), pid=other.pid, started=shown.started)
        assert "None False" in _seen_by_a_service(owner)
        other.kill()
        other.wait()
        assert "None True" in _seen_by_a_service(owner)


def _seen_by_a_service(owner: Owner) -> str:
    """Ask as somebody without rights over others' processes, who isn't shown them either."""
    ask = (
        "import sys; from shipper.store.lease.lease import Owner, _status;"
        "owner = Owner.read(sys.argv[1]); print(_status(str(owner.pid)), owner.is_dead())"
    )
    script = (
        "mount -t proc -o hidepid=2,gid=65533 proc /proc &&"
        ' exec setpriv --inh-caps=-all --bounding-set=-all "$@"'
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", ask]
    return subprocess.run(
        [*command, owner.write()], check=True, capture_output=True, text=True
    ).stdout


class _Clock:
    """A clock of the test's."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


ELSEWHERE = replace(Owner.here(), boot="another", pid=2**22 + 1)


def _left(queue: Queue) -> float:
    with pytest.raises(OutboxHeld) as held:
        queue.acquire(Owner.here())
    return held.value.left


def _watch(taker: Queue, clock: _Clock, seconds: float) -> None:
    """Let time pass in which it tries to take the outbox again and again."""
    before = _left(taker)
    for step in range(int(seconds)):
        assert _left(taker) == pytest.approx(before - step)
        clock.now += 1.0
    clock.now += seconds - int(seconds)


def test_of_a_process_elsewhere_only_its_silence_tells(post: Engine) -> None:
    """Its number says nothing on this machine, so it is watched for as long as its lease is."""
    Queue(post, lease_ttl=60.0).acquire(ELSEWHERE)
    clock = _Clock()
    taker = Queue(post, lease_ttl=HOUR, monotonic=clock)
    _watch(taker, clock, 59.9)
    assert _left(taker) == pytest.approx(0.1)
    clock.now += 0.2
    taker.acquire(Owner.here())


def test_no_step_of_the_servers_clock_hands_a_lease_over(post: Engine) -> None:
    """A holder that lives moves the lease; where it says that it is over, it isn't believed."""
    holder = Queue(post, lease_ttl=60.0)
    holder.acquire(ELSEWHERE)
    clock = _Clock()
    taker = Queue(post, lease_ttl=HOUR, monotonic=clock)
    run(post, "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '1 year'")
    assert _left(taker) == 60.0
    for move in (holder.renew, lambda: write(post, "a") and claim(holder, 1)):
        _watch(taker, clock, 59.0)
        move()
        assert _left(taker) == 60.0


def test_a_clock_that_was_ahead_keeps_nobody_waiting(post: Engine) -> None:
    """A lease that ends in a year, because a clock was wrong, is over when its holder is silent."""
    Queue(post, lease_ttl=60.0).acquire(ELSEWHERE)
    run(post, "UPDATE shipper_daemon SET expires_at = clock_timestamp() + interval '1 year'")
    clock = _Clock()
    taker = Queue(post, lease_ttl=HOUR, monotonic=clock)
    _watch(taker, clock, 60.0)
    taker.acquire(Owner.here())


def test_a_lease_of_no_length_has_ended(post: Engine) -> None:
    """Nobody has to be watched."""
    Queue(post, lease_ttl=0.0).acquire(replace(Owner.here(), boot="another"))
    taken(post)


def test_an_owner_that_cannot_be_read_is_waited_for(post: Engine) -> None:
    """It may be of a newer version, and alive."""
    queue = taken(post)
    newer = '{"host": "shop", "pid": 1, "version": 2}'
    run(post, "UPDATE shipper_daemon SET owner = :owner", owner=newer)
    with pytest.raises(OutboxHeld, match="another daemon"):
        taken(post)
    queue.release()
    taken(post)


def test_the_same_process_takes_its_own_outbox_again(engine: Engine) -> None:
    """A reload is a new session of the same daemon; the old one has no say any more."""
    before = taken(engine)
    after = taken(engine)
    with pytest.raises(LeaseLost):
        before.renew()
    after.renew()


def test_a_queue_that_was_taken_over_changes_nothing(engine: Engine) -> None:
    """Whatever it wants to write, it is refused as a whole."""
    stale = taken(engine)
    first, second = write(engine, "a", "b")
    [event] = claim(stale, first)
    fresh = taken(engine)
    claim(fresh, first)
    before = everything(engine)
    for work in (
        Work(now=NOW, records=[accepted(event)]),
        Work(now=NOW, wanted=[second]),
        Work(now=NOW, released=[first]),
    ):
        with pytest.raises(LeaseLost):
            stale.turn(work)
    with pytest.raises(LeaseLost):
        stale.renew()
    stale.release()
    assert everything(engine) == before
    fresh.renew()


def test_to_renew_is_to_prolong(post: Engine) -> None:
    """A turn doesn't: it leaves the row of the daemon as it is."""
    write(post, "a")
    queue = taken(post)
    run(post, "UPDATE shipper_daemon SET expires_at = clock_timestamp()")
    left = "SELECT expires_at - clock_timestamp() > interval '50 seconds', xmin FROM shipper_daemon"
    before = ask(post, left)
    claim(queue, 1)
    assert ask(post, left) == before
    queue.renew()
    [(prolonged, _)] = ask(post, left)
    assert prolonged


def test_two_that_start_at_once_share_nothing(post: Engine, other: Engine) -> None:
    """Whoever comes second is a stranger's successor or waits; there is one token for each."""
    first = taken(post)
    second = taken(other)
    assert first._turn.token != second._turn.token
    with pytest.raises(LeaseLost):
        first.renew()


def test_a_daemon_that_stops_within_a_transaction_keeps_nobody_out(
    post: Engine, postgres_url: str
) -> None:
    """The server ends it, before whoever comes next has given up."""
    frozen = open_engine(postgres_url, frozen=0.2)
    with suppress(StoreUnavailable), writing(frozen) as tx:
        tx.exec_driver_sql("SELECT 1 FROM shipper_lease FOR UPDATE")
        taken(post)  # it waits for five seconds at most
    frozen.dispose()
    assert FROZEN < REACH_WITHIN


# -- the owner ------------------------------------------------------------------------------------


def test_an_owner_is_read_as_it_was_written() -> None:
    """What is none is nobody."""
    here = Owner.here()
    assert Owner.read(here.write()) == here
    assert not here.is_dead()
    for garbage in (None, "", "5", "[]", "{}", "{", '"owner"', '{"pid":1}'):
        assert Owner.read(garbage) is None


def test_an_owner_of_a_later_version_is_read_though_it_says_more() -> None:
    """During an upgrade both versions run; what one doesn't know of the other it passes by."""
    here = Owner.here()
    assert Owner.read(json.dumps(json.loads(here.write()) | {"of_later": 1})) == here


def test_a_number_that_another_process_has_now_is_a_dead_owners() -> None:
    """The kernel gives numbers again, but no two of them the same start."""
    here = Owner.here()
    assert replace(here, started="1").is_dead()
    assert replace(here, pid=2**22 + 1).is_dead()
    assert not replace(here, pid=2**22 + 1, namespace="another").is_dead()


def test_a_process_is_known_whatever_it_calls_itself() -> None:
    """A name with brackets and blanks doesn't shift the fields of its status."""
    with process(STRANGER) as stranger:
        owner = Owner.read(stranger.said())
        assert owner is not None
        assert owner.started.isdigit()
        assert not owner.is_dead()
        stranger.dies()
        assert owner.is_dead()
