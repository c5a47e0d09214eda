"""A daemon that others have ended stays in sight until one of its name is back."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine

from shipper.policy.shares import SHARDS
from shipper.store.db.transactions import writing
from shipper.store.lease.membership import begin_again
from shipper.store.lease.membership_statements import GONE_MOST
from shipper.store.report.daemon_rows import REMEMBERED
from shipper.store.report.daemons import current_daemon, gone_daemons, running_daemons
from tests.cli.command_line import Home
from tests.store.joined import DEAD
from tests.store.lease.members import FakeClock, Joined, Member, elsewhere, fall_silent, settle
from tests.store.shipping import ask, run

OLD = f"UPDATE shipper_gone SET expires_at = clock_timestamp() - interval '{REMEMBERED} s'"


def missing(engine: Engine) -> list[str]:
    """Return the names of the daemons that are missing."""
    return [one.name for one in running_daemons(engine) if one.is_missing]


def two_with_one_silent(joined: Joined, clock: FakeClock) -> Member:
    """Let `another 1` fall silent and be ended; return the other daemon."""
    silent, other = joined(), joined()
    settle([silent, other])
    fall_silent(clock, other)
    assert len(other.attend().ended) == 1
    return other


def test_one_that_was_ended_is_missing_until_one_of_its_name_is_back(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """It has nothing any more; another name's return is none of its."""
    other = two_with_one_silent(joined, clock)
    lives, gone = running_daemons(post)
    assert (lives.is_missing, lives.shards) == (False, SHARDS)
    assert (gone.name, gone.shards, gone.in_flight, gone.is_gone) == ("another 1", 0, 0, True)
    assert "process 1 on" in gone.absence
    assert "ended without a clean stop, and isn't back; it was last seen" in gone.absence
    assert current_daemon(post) == str(lives)
    joined()
    assert missing(post) == ["another 1"]
    joined(replace(elsewhere(1), pid=99))
    assert missing(post) == []
    other.queue.release()
    assert missing(post) == []


def test_a_clean_stop_and_a_daemon_that_begins_again_leave_none_missing(
    post: Engine, joined: Joined
) -> None:
    """Nor does a crashed one that is back before others have noticed."""
    first, second = joined(), joined()
    first.queue.release()
    assert missing(post) == []
    with writing(post) as tx:
        begin_again(tx)
    second.join()
    assert missing(post) == []
    third = joined(DEAD)
    third.queue.describe(60.0, "till", "")
    third.queue.renew()
    again = joined(joins=False)
    again.queue.acquire(again.owner, alone=False, name="till")
    assert missing(post) == []
    assert len(running_daemons(post)) == 2


def test_a_command_that_has_the_outbox_alone_is_never_missing(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """Neither does it bring a daemon of its name back."""
    two_with_one_silent(joined, clock).queue.release()
    command = joined(replace(elsewhere(1), pid=98), joins=False)
    command.queue.acquire(command.owner, name="another 1")
    assert missing(post) == ["another 1"]
    other = joined(elsewhere(3))
    fall_silent(clock, other)
    assert len(other.attend().ended) == 1
    assert missing(post) == ["another 1"]


def test_one_that_was_remembered_can_be_ended_again(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """A partial restore brings rows of daemons back, of which others know that they are gone."""
    silent, other = joined(), joined()
    settle([silent, other])
    run(
        post,
        "INSERT INTO shipper_gone SELECT token, name, owner, ttl, since, expires_at"
        " FROM shipper_daemon WHERE name = 'another 1'",
    )
    fall_silent(clock, other)
    assert len(other.attend().ended) == 1
    assert missing(post) == ["another 1"]


def test_of_two_of_one_name_each_return_is_that_of_one(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """A name is for people: it can be on two machines."""
    twin = replace(elsewhere(1), pid=2)
    joined(elsewhere(1)), joined(twin)
    other = joined(elsewhere(3))
    fall_silent(clock, other)
    other.attend()
    assert missing(post) == ["another 1", "another 1"]
    joined(twin)
    assert missing(post) == ["another 1"]


def test_one_that_never_returns_is_told_for_a_week_and_never_fills_a_table(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """Not even where a daemon crashes again and again under changing names."""
    two_with_one_silent(joined, clock)
    run(post, OLD)
    assert missing(post) == []
    run(
        post,
        "INSERT INTO shipper_gone SELECT token - n, name, owner, ttl, since, expires_at"
        f" FROM shipper_gone, generate_series(1, {2 * GONE_MOST}) AS n",
    )
    third = joined()
    fall_silent(clock, third)
    third.attend()
    assert ask(post, "SELECT count(*) FROM shipper_gone") == [(GONE_MOST,)]
    assert missing(post) == ["another 2"]


def test_an_operator_can_say_that_it_will_not_return(
    post: Engine, postgres_url: str, joined: Joined, clock: FakeClock, tmp_path: Path
) -> None:
    """After a question, and those that ship are left alone; then there is nothing to forget."""
    other = two_with_one_silent(joined, clock)
    home = Home(tmp_path, postgres_url)
    assert home.call("db", "unlock").status == 2
    [gone] = gone_daemons(post)
    ran = home.call("db", "unlock", "--yes", "--json")
    assert (ran.status, ran.value) == (0, {"unlocked": True, "holder": str(gone)})
    assert missing(post) == []
    other.queue.release()
    assert home.call("db", "unlock").out == "no daemon holds this outbox\n"
