"""The commands of everyday operation: what each prints, changes and returns."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from shipper.clock import parse_iso
from shipper.config import load
from shipper.store.report.verify import RULES
from tests.cli.command_line import DEADLINE, VIEW, Home, Ran

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

# Refused before it is sent, so it dies without a receiver.
DEAD_PAYLOAD = '{"type": "view",  "note": "no view"}'


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox on SQLite."""
    return Home(tmp_path, sqlite_url)


@pytest.fixture
def either_home(tmp_path: Path, database_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox, once for each database."""
    return Home(tmp_path, database_url)


def execute(home: Home, statement: str, **values: object) -> list[Any]:
    """Run a statement as the application or an intruder would; return the rows."""
    engine = create_engine(make_url(load(home.config, {}).database.url))
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        found = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return found


def write(home: Home, payload: str, *keys: str, destination: str = "default") -> None:
    """Write an event for each key, without shipper's validation."""
    cast = "CAST(:payload AS json)" if "postgres" in home.config.read_text() else ":payload"
    for key in keys:
        execute(
            home,
            "INSERT INTO shipper_outbox (payload, ordering_key, destination)"
            f" VALUES ({cast}, :key, :destination)",
            payload=payload,
            key=key,
            destination=destination,
        )


def kill(home: Home, *keys: str) -> None:
    """Write an event for each key, and let the real drain make it a dead letter."""
    write(home, DEAD_PAYLOAD, *keys)
    assert home.call("drain").status == 1


def statuses(home: Home) -> list[str]:
    """Return the status of every event."""
    return [row[0] for row in execute(home, "SELECT status FROM shipper_outbox ORDER BY id")]


def lines(ran: Ran) -> list[Any]:
    """Return the JSON values on stdout, one per line."""
    return [json.loads(line) for line in ran.out.splitlines()]


def default(home: Home) -> dict[str, Any]:
    """Return the default destination from `status`."""
    told: dict[str, Any] = home.call("status", "--json").value["destinations"]["default"]
    return told


# -- status -----------------------------------------------------------------------------------


def test_status_has_exactly_the_fields_that_the_interface_names(either_home: Home) -> None:
    """With the right counters, and a remark that no daemon is running."""
    either_home.call("enqueue", stdin=f"{VIEW}\n{VIEW}\n".encode())
    with either_home.receiving():
        assert either_home.run("drain").status == 0
    kill(either_home, "a")
    either_home.call("hold", "--key", "user-1")
    either_home.call("enqueue", stdin=VIEW.encode())
    ran = either_home.call("status", "--json")
    told = ran.value["destinations"]["default"]
    assert ISO.fullmatch(told.pop("since"))
    assert 0 <= told.pop("oldest_pending_seconds") < DEADLINE
    assert told.pop("said_by") is None  # only where several daemons see it differently
    assert told == {
        "state": "ready",
        "reason": None,
        "next_try_at": None,
        "pending": 1,
        "delivered": 2,
        "dead": 1,
        "discarded": 0,
        "purged": 0,
        "held_keys": 1,
        "failures": 0,
        "last_error": None,
    }
    assert ran.value["running"] is False
    assert "no daemon is running; this state was recorded earlier" in ran.err


def test_status_tells_that_a_shipper_runs(home: Home) -> None:
    """And which process it is."""
    with home.running("run") as daemon:
        assert daemon.stderr is not None
        for line in daemon.stderr:
            if b"daemon.started" in line:
                break
        ran = home.call("status")
        assert home.call("status", "--json").value["running"] is True
    assert f"process {daemon.pid} on " in ran.err
    assert "default\tready\t0" in ran.out


def test_status_of_a_link_that_is_down_says_why_and_until_when(home: Home) -> None:
    """A destination that only rows name is paused, with that reason."""
    fast = '[destinations.default.retry]\nmin_delay = "10ms"\n'
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", fast)
    write(home, VIEW, "a")
    write(home, VIEW, "a", destination="elsewhere")
    assert home.call("drain").status == 75
    told = home.call("status", "--json").value["destinations"]
    assert told["default"]["state"] == "offline"
    assert told["default"]["reason"].startswith("refused")
    assert parse_iso(told["default"]["next_try_at"]) > parse_iso(told["default"]["since"])
    assert told["elsewhere"]["state"] == "paused"
    assert told["elsewhere"]["reason"] == "the configuration has no [destinations.elsewhere]"
    shown = home.call("status").out
    why = r"nothing listens at 127\.0\.0\.1:9; for \d+s; next try "
    assert re.search(rf"default\toffline\t1\t\d+s\t.*{why}", shown)


def test_a_failing_destination_is_told_everywhere(either_home: Home) -> None:
    """From the first failure on: the error, the host, the next try and a fix."""
    write(either_home, VIEW, "a")
    assert either_home.run("drain", "--timeout", "1500ms").status == 75
    told = default(either_home)
    assert told["failures"] >= 1
    assert told["last_error"].startswith("refused: ")
    assert "127.0.0.1:9" in told["last_error"]
    assert told["state"] == "ready"
    assert parse_iso(told["next_try_at"])
    shown = either_home.call("status").out
    assert re.search(r"\tready, but the last( \d+)? tr(y|ies) failed: .*127\.0\.0\.1:9", shown)
    assert "next try " in shown
    assert "warning: default is ready, but the last" in shown
    assert "  fix: start the API at 127.0.0.1:9" in shown
    # Critical, because no daemon is running; the failure is listed, too.
    nagios = either_home.call("status", "--nagios").out
    assert "default is ready, but the last" in nagios
    assert re.search(r" default_failures=\d+;0;;0 ", nagios)
    problems = either_home.call("status", "--json").value["problems"]
    assert [problem["level"] for problem in problems] == ["critical", "warning"]
    doctor = either_home.call("doctor", "--no-network").out
    assert re.search(r"! link default +ready, but the last", doctor)
    with either_home.receiving():
        assert either_home.run("drain").status == 0
    told = default(either_home)
    assert (told["failures"], told["last_error"], told["next_try_at"]) == (0, None, None)


def test_what_was_never_tried_is_not_said_to_be_well(home: Home) -> None:
    """Its state is `ready`, and the reason says that it was never tried."""
    told = default(home)
    assert (told["state"], told["reason"]) == ("ready", None)
    assert "never tried: nothing was delivered or refused there yet" in home.call("status").out
    write(home, VIEW, "a")
    first = home.call("status").out.splitlines()[0]
    assert first == "critical: 1 pending and no daemon is running"


def test_the_worst_is_the_first_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk comes before everything else, also in the plugin's line."""
    write(home, VIEW, "a")
    usage = shutil.disk_usage(home.directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert home.call("status").out.startswith("critical: the outbox's disk is full: 0 bytes free")
    ran = home.call("status", "--nagios")
    assert ran.status == 2
    assert ran.out.startswith("SHIPPER CRITICAL - the outbox's disk is full: 0 bytes free")
    assert " disk_free=0B;1000000000:;16000000:;0" in ran.out


def test_a_broken_promise_is_critical_until_it_is_recounted(either_home: Home) -> None:
    """Rows were changed by hand; the events decide the right counters."""
    kill(either_home, "a")
    execute(either_home, "UPDATE shipper_outbox SET status = 'discarded'")
    ran = either_home.call("status", "--nagios")
    assert ran.status == 2
    assert ran.out.startswith("SHIPPER CRITICAL - rules of the outbox are broken: counters")
    assert "broken: counters" in either_home.call("doctor", "--no-network").out
    assert "shipper verify --recount" in either_home.call("verify").err
    fixed = either_home.call("verify", "--recount")
    assert (fixed.status, fixed.err) == (0, "1 destination had wrong counters\n")
    assert either_home.call("status", "--nagios").status == 0


# -- events -----------------------------------------------------------------------------------


def test_events_are_listed_one_a_line(either_home: Home) -> None:
    """The newest first, with every filter; exit status 1 if there is none."""
    kill(either_home, "a", "b")
    write(either_home, VIEW, "a", "c")

    def listed(*arguments: str) -> list[int]:
        ran = either_home.call("events", "list", "--json", *arguments)
        assert ran.status == (0 if ran.out else 1)
        return [event["id"] for event in lines(ran)]

    assert listed() == [4, 3, 2, 1]
    assert listed("--limit", "1") == [4]
    assert listed("--status", "dead") == [2, 1]
    assert listed("--key", "a") == [3, 1]
    assert listed("--key", "nobody") == []
    assert listed("--since", "1h", "--until", "0s", "--destination", "default") == [4, 3, 2, 1]
    assert listed("--until", "2020-01-01T00:00") == []
    assert listed("--since", "2020-01-01", "--key", "b") == [2]
    shown = either_home.call("events", "list", "--key", "b").out
    assert re.search(r"2\tdead\t.*\tdefault\tb\t.*\tinvalid: ", shown)


@pytest.mark.parametrize(
    "arguments",
    [("--since", "yesterday"), ("--limit", "0"), ("--status", "lost"), ("--until", "")],
)
def test_a_filter_that_means_nothing_is_a_mistake(home: Home, arguments: tuple[str, ...]) -> None:
    """Exit status 2, with the wrong value."""
    ran = home.call("events", "list", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert arguments[0] in ran.err


def test_an_event_is_shown_with_everything(either_home: Home) -> None:
    """The payload is the text that was written; id and event id both lead there."""
    kill(either_home, "a")
    told = either_home.call("events", "show", "1", "--json").value
    assert told["payload"] == DEAD_PAYLOAD
    assert (told["id"], told["destination"], told["ordering_key"]) == (1, "default", "a")
    assert (told["status"], told["attempts"]) == ("dead", 0)
    assert "operator" in told["why"]
    [attempt] = told["history"]
    assert ISO.fullmatch(attempt.pop("started_at"))
    assert attempt.pop("error")
    assert attempt == {
        "outcome": "invalid",
        "status_code": None,
        "response_excerpt": None,
        "duration_ms": 0,
        "manual": False,
    }
    by_event_id = either_home.call("events", "show", f"event_id:{told['event_id']}", "--json")
    assert (by_event_id.status, by_event_id.value["id"]) == (0, 1)
    shown = either_home.call("events", "show", told["event_id"]).out
    assert f"payload      {DEAD_PAYLOAD}\n" in shown
    assert "\tinvalid\t" in shown


def test_a_pending_event_says_why_it_waits(home: Home) -> None:
    """No daemon, a closed window; a delivered event waits for nothing."""
    write(home, VIEW, "a")
    assert "no daemon is running" in home.call("events", "show", "1", "--json").value["why"]
    with home.running("run") as daemon:
        assert daemon.stderr is not None
        next(line for line in daemon.stderr if b"daemon.started" in line)
        never = '[schedule]\nwindows = ["0 0 30 2 *"]\n'
        home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", never)
        assert "window" in home.call("events", "show", "1", "--json").value["why"]
        home.configure(
            "sqlite:///shop.db", "http://127.0.0.1:9/e", f'{never}timezone = "Asia/Tokyo"\n'
        )
        told = home.call("events", "show", "1", "--json").value["why"]
        assert told == "no delivery window is open now (Asia/Tokyo) for ever"
        assert home.call("status").err.endswith(
            "\noutside the delivery windows (Asia/Tokyo) for ever\n"
        )
        assert "for ever" in home.call("status", "--json").value["window"]
    with home.receiving():
        assert home.run("drain").status == 0
    assert home.call("events", "show", "1", "--json").value["why"] is None


def test_an_event_that_is_not_there_is_a_finding(home: Home) -> None:
    """Digits alone are an id; the hint shows how to write an event id."""
    ran = home.call("events", "show", "4711")
    assert ran.status == 1
    assert ran.err == (
        "shipper: there is no event 4711\n  hint: to find it by its event id: event_id:4711\n"
    )


# -- dead letters -------------------------------------------------------------------------------


def test_dead_letters_are_listed_by_cause(either_home: Home) -> None:
    """One object per cause; exit status 1 only if filters match nothing."""
    assert either_home.call("dead", "list", "--json").out == ""
    kill(either_home, "a", "b")
    [group] = lines(either_home.call("dead", "list", "--json"))
    assert ISO.fullmatch(group.pop("first_written"))
    assert ISO.fullmatch(group.pop("last_written"))
    assert group == {
        "destination": "default", "cause": "invalid", "count": 2, "ids": [1, 2],
        "message": "event must have required property 'view'",
    }  # fmt: skip
    assert "invalid\t2\tdefault\t" in either_home.call("dead", "list").out
    none = either_home.call("dead", "list", "--cause", "http-400")
    assert (none.status, none.out) == (1, "")
    assert "no dead letter matches (--cause http-400)" in none.err
    assert "the causes are: invalid (2)" in none.err


def test_only_a_dead_letter_is_shown_as_one(home: Home) -> None:
    """For another event the error has its status."""
    kill(home, "a")
    write(home, VIEW, "b")
    assert home.call("dead", "show", "1", "--json").value["status"] == "dead"
    ran = home.call("dead", "show", "2")
    assert (ran.status, ran.err) == (1, "shipper: event 2 is pending, not dead\n")


@pytest.mark.parametrize(
    ("verb", "done", "status"),
    [("retry", "retried", "pending"), ("discard", "discarded", "discarded")],
)
def test_dead_letters_are_moved_by_id_and_all_together(
    either_home: Home, verb: str, done: str, status: str
) -> None:
    """By id, by event id, from stdin, and ALL; the counters change too."""
    kill(either_home, *"abcde")
    [(event_id,)] = execute(either_home, "SELECT event_id FROM shipper_outbox WHERE id = 2")
    ran = either_home.call("dead", verb, "1", event_id, "--yes", "--json")
    assert (ran.status, ran.value) == (0, {done: 2})
    ran = either_home.call("dead", verb, "-", "--yes", stdin=b"3\n\n")
    assert (ran.status, ran.out) == (0, f"1 dead letter {done}\n")
    ran = either_home.call("dead", verb, "ALL", "--key", "e", "--yes", "--json")
    assert ran.value == {done: 1}
    assert statuses(either_home) == [status, status, status, "dead", status]
    assert either_home.call("dead", verb, "ALL", "--yes", "--json").value == {done: 1}
    assert either_home.call("dead", verb, "ALL", "--yes", "--json").value == {done: 0}
    assert (default(either_home)["dead"], default(either_home)[status]) == (0, 5)
    assert either_home.call("verify").status == 0


def test_without_a_terminal_nothing_is_moved_unless_it_says_yes(home: Home) -> None:
    """Exit status 2 with the option as hint; named events need no confirmation."""
    kill(home, "a", "b", "c")
    for ident in ("ALL", "-"):
        for verb in ("retry", "discard"):
            ran = home.call("dead", verb, ident, stdin=b"1\n")
            assert ran.status == 2
            assert "add --yes" in ran.err
    assert statuses(home) == ["dead"] * 3
    assert home.call("dead", "retry", "1").status == 0
    assert home.call("dead", "discard", "2", "3").status == 0
    assert statuses(home) == ["pending", "discarded", "discarded"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no event is named"),
        (("ALL", "1"), "ALL can't be combined"),
        (("1", "--key", "a"), "filters need ALL"),
    ],
)
def test_what_is_meant_has_to_be_clear(
    home: Home, arguments: tuple[str, ...], message: str
) -> None:
    """An ambiguous command changes nothing."""
    kill(home, "a")
    ran = home.call("dead", "retry", *arguments, "--yes")
    assert ran.status == 2
    assert message in ran.err
    assert statuses(home) == ["dead"]


def test_all_that_are_named_are_moved_or_none(home: Home) -> None:
    """An event that isn't a dead letter is an error; ALL has to be in capitals."""
    kill(home, "a", "b")
    ran = home.call("dead", "retry", "1", "7", "nothing", "--yes")
    assert ran.status == 1
    assert "not among the dead letters: 7, nothing; nothing was changed" in ran.err
    ran = home.call("dead", "retry", "all", "--yes")
    assert (ran.status, "write ALL in capitals" in ran.err) == (1, True)
    assert statuses(home) == ["dead", "dead"]


@pytest.mark.parametrize(("reply", "status"), [("y", "pending"), ("n", "dead"), ("", "dead")])
def test_a_person_is_asked_with_count_and_samples(home: Home, reply: str, status: str) -> None:
    """Only y or yes confirms."""
    kill(home, *"abcd")
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "shipper", "dead", "retry", "ALL"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=home.directory,
        env=home.environ,
    ) as process:
        os.close(follower)
        shown = b""
        while b"[y/N] " not in shown:
            shown += os.read(leader, 4096)
        os.write(leader, f"{reply}\n".encode())
        assert process.wait(DEADLINE) == (0 if status == "pending" else 2)
    os.close(leader)
    assert b"retry 4 dead letters: 1 (invalid), 2 (invalid), 3 (invalid), ...?" in shown
    assert statuses(home) == [status] * 4


# -- hold and release ---------------------------------------------------------------------------


def test_a_key_is_held_and_released(either_home: Home) -> None:
    """A repeat changes nothing; releasing a key that isn't held has exit status 1."""
    held = {"destination": "default", "ordering_key": "a", "held": True, "changed": True}
    assert either_home.call("hold", "--key", "a", "--json").value == held
    again = either_home.call("hold", "--key", "a", "--destination", "default")
    assert (again.status, again.out) == (0, "key a of default was held already\n")
    assert default(either_home)["held_keys"] == 1
    released = either_home.call("release", "--key", "a")
    assert (released.status, released.out) == (0, "key a of default released\n")
    assert default(either_home)["held_keys"] == 0
    assert either_home.call("release", "--key", "a").status == 1


def test_a_destination_is_held_and_released(either_home: Home) -> None:
    """Status shows the hold; a release probes the link also without a hold."""
    assert either_home.call("hold", "--destination", "default").out == "destination default held\n"
    assert (default(either_home)["state"], default(either_home)["reason"]) == (
        "held",
        "held by an operator",
    )
    released = either_home.call("release", "--destination", "default", "--json")
    assert released.value == {
        "destination": "default",
        "ordering_key": None,
        "held": False,
        "changed": True,
    }
    assert default(either_home)["state"] == "ready"
    again = either_home.call("release", "--destination", "default")
    assert (again.status, again.out) == (
        0,
        "destination default was not held; the daemon probes it\n",
    )


def test_what_is_held_is_listed(either_home: Home) -> None:
    """Each with the command that releases it; an empty list has exit status 0."""
    nothing = either_home.call("hold", "--list")
    assert (nothing.status, nothing.out, nothing.err) == (0, "", "nothing is held\n")
    write(either_home, VIEW, "a b", "a b")
    either_home.call("hold", "--key", "a b")
    either_home.call("hold", "--destination", "default")
    ran = either_home.call("hold", "--list")
    assert "shipper release --key 'a b' --destination default" in ran.out
    everything, key = lines(either_home.call("hold", "--list", "--json"))
    assert ISO.fullmatch(key.pop("since"))
    assert key == {
        "destination": "default",
        "ordering_key": "a b",
        "cause": "operator",
        "event_id": None,
        "pending": 2,
    }
    assert (everything["ordering_key"], everything["pending"]) == (None, 2)
    first = either_home.call("hold", "--list", "--limit", "1")
    assert "1 more are held: --limit 2" in first.err
    assert either_home.call("hold", "--list", "--key", "a b").status == 2


def test_a_key_that_no_event_has_is_held_with_a_word(either_home: Home) -> None:
    """The key can be mistyped. If an event has the key, there is no remark."""
    write(either_home, VIEW, "a")
    odd = either_home.call("hold", "--key", "nosuchkey")
    assert (odd.status, odd.out) == (0, "key nosuchkey of default held\n")
    assert "no pending event has the key nosuchkey" in odd.err
    assert either_home.call("hold", "--key", "a").err == ""


def test_held_keys_are_named_wherever_something_is_wrong(home: Home) -> None:
    """Made printable, because an application writes them."""
    write(home, VIEW, "k\x1b[2J")
    home.call("hold", "--key", "k\x1b[2J")
    assert "default: 1 key held: k\\x1b[2J" in home.call("status", "--nagios").out
    assert "default: 1 key held: k\\x1b[2J" in home.call("status").out
    assert "held: k\\x1b[2J of default" in home.call("doctor", "--no-network").out
    with home.receiving():
        assert "behind a held key: k\\x1b[2J" in home.run("drain").out


@pytest.mark.parametrize("verb", ["hold", "release"])
@pytest.mark.parametrize(
    "arguments",
    [(), ("--key", ""), ("--destination", ""), ("--destination", "defalt")],
)
def test_what_to_hold_has_to_be_there(home: Home, verb: str, arguments: tuple[str, ...]) -> None:
    """Exit status 2, with the nearest name."""
    ran = home.call(verb, *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert "default" in ran.err or "--key" in ran.err


# -- verify -------------------------------------------------------------------------------------


def test_verify_goes_through_every_rule(either_home: Home) -> None:
    """A sound outbox is ok; each rule is listed."""
    kill(either_home, "a")
    ran = either_home.call("verify")
    assert ran.status == 0
    assert all(line.startswith("ok ") for line in ran.out.splitlines())
    assert either_home.call("verify", "--json").value == {
        "ok": True,
        "rules": dict.fromkeys(RULES, True),
        "findings": [],
    }


def test_verify_ends_with_1_where_a_promise_is_broken(either_home: Home) -> None:
    """With the rule, and the event that breaks it."""
    kill(either_home, "a")
    execute(either_home, "UPDATE shipper_destination SET delivered = 7")
    ran = either_home.call("verify")
    assert ran.status == 1
    assert "FAULT  the counters of every destination equal a recount of its rows\n" in ran.out
    assert "destination default counts 7 delivered events, but has 0" in ran.out
    told = either_home.call("verify", "--json")
    assert (told.status, told.value["ok"]) == (1, False)
    assert [finding["rule"] for finding in told.value["findings"]] == ["counters"]


@pytest.mark.parametrize(
    "words",
    [
        "status", "verify", "events list", "dead list", "dead retry ALL", "hold --key a",
        "events discard ALL --yes", "prune", "drain", "run", "db check", "db upgrade",
    ],
)  # fmt: skip
def test_an_outbox_of_a_newer_version_is_left_alone(home: Home, words: str) -> None:
    """A version that doesn't know the tables neither counts nor changes rows."""
    execute(home, "UPDATE shipper_alembic_version SET version_num = '9999'")
    ran = home.call(*words.split())
    assert ran.status == 78
    assert "9999" in ran.err
    assert "a newer shipper" in ran.err
    assert home.call("db", "current").out.startswith("9999")
