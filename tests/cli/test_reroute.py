"""`shipper events reroute`, and the errors of filters that match nothing."""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.command_line import VIEW, Home
from tests.cli.test_operating_commands import execute, kill, write

OTHER = '[destinations.erp]\nurl = "{url}"\napi_id = "x"\n'


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give an empty outbox on SQLite with two destinations that don't answer."""
    return with_two(Home(tmp_path, sqlite_url))


@pytest.fixture
def either_home(tmp_path: Path, database_url: str) -> Home:
    """Give the same, once for each database."""
    return with_two(Home(tmp_path, database_url))


def with_two(home: Home, url: str = "http://127.0.0.1:9/e") -> Home:
    """Add a destination to a configuration."""
    home.config.write_text(home.config.read_text() + OTHER.format(url=url))
    return home


def places(home: Home) -> list[str]:
    """Return destination and status of each event."""
    rows = execute(home, "SELECT destination, status FROM shipper_outbox ORDER BY id")
    return [f"{place} {status}" for place, status in rows]


def test_events_of_a_destination_that_does_not_exist_are_sent_where_they_belong(
    either_home: Home,
) -> None:
    """By filter or by id; a dry run says what it would do."""
    write(either_home, VIEW, "a", "a", "b", destination="defualt")
    chosen = ("events", "reroute", "ALL", "--destination", "defualt", "--to", "erp")
    dry = either_home.call(*chosen, "--dry-run")
    assert (dry.status, dry.out) == (0, "3 events would go to erp: 3 of defualt\n")
    assert either_home.call(*chosen).status == 2  # there is no terminal to confirm on
    assert places(either_home) == ["defualt pending"] * 3
    ran = either_home.call("events", "reroute", "3", "--to", "default")
    assert (ran.status, ran.out) == (0, "1 event rerouted to default\n")
    told = either_home.call(*chosen, "--yes", "--json").value
    assert (told["rerouted"], told["from"], told["dead"]) == (2, {"defualt": 2}, 0)
    assert places(either_home) == ["erp pending", "erp pending", "default pending"]
    assert either_home.call("verify").status == 0


def test_a_dead_letter_is_sent_elsewhere_as_a_new_event(either_home: Home) -> None:
    """Its history says where it came from."""
    kill(either_home, "a")
    assert either_home.call("events", "reroute", "1", "--to", "erp").status == 0
    told = either_home.call("events", "show", "1", "--json").value
    assert (told["status"], told["destination"], told["attempts"]) == ("pending", "erp", 0)
    assert told["history"][-1]["outcome"] == "rerouted"
    assert told["history"][-1]["error"] == "from default to erp"
    assert either_home.call("status", "--json").value["destinations"]["default"]["dead"] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("1", "--to", "erpp"), 2, "configuration has: erp\n"),
        (("1", "--to", "default"), 1, "already events of destination default: 1"),
        (("1", "7", "--to", "erp"), 1, "not among the pending or dead events: 7"),
        (("2", "--to", "erp"), 1, "event 2 is delivered"),
        (("ALL", "--key", "no", "--to", "erp", "--yes"), 1, "no pending or dead event matches"),
        (("--to", "erp"), 2, "no event is named"),
        (("1", "--key", "a", "--to", "erp"), 2, "filters need ALL"),
        (("1",), 2, "--to"),
    ],
)
def test_what_can_not_be_meant_changes_nothing(
    home: Home, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """Either all named events are changed, or none."""
    write(home, VIEW, "a", "b")
    execute(
        home,
        "UPDATE shipper_outbox SET status = 'delivered', delivered_at = '2026-01-01',"
        " delivery_number = 1 WHERE id = 2",
    )
    before = places(home)
    ran = home.call("events", "reroute", *arguments)
    assert ran.status == status
    assert said in ran.err
    assert places(home) == before


def test_a_running_daemon_lets_go_of_what_it_has_and_delivers_it_elsewhere_in_order(
    either_home: Home,
) -> None:
    """The old destination is away, so the daemon holds the beginning of each key claimed."""
    keys = [key for key in "abc" for _ in range(20)]
    with either_home.running("sandbox", "--port", "0", "--json") as sandbox:
        url = _url(sandbox)
        head = either_home.config.read_text().partition("[destinations.erp]")[0]
        either_home.config.write_text(head + OTHER.format(url=url))
        with either_home.running("run") as daemon:
            assert daemon.stderr is not None
            write(either_home, VIEW, *keys)
            assert any(b"offline" in line for line in daemon.stderr)
            ran = either_home.call("events", "reroute", "ALL", "--to", "erp", "--yes")
            assert (ran.status, ran.out) == (0, "60 events rerouted to erp\n")
            assert either_home.call("drain", "--timeout", "60").status == 0
    assert places(either_home) == ["erp delivered"] * 60
    numbers = execute(
        either_home, "SELECT ordering_key, delivery_number FROM shipper_outbox ORDER BY id"
    )
    for key in "abc":
        of_key = [number for name, number in numbers if name == key]
        assert of_key == sorted(of_key)
    assert either_home.call("verify").status == 0


def test_nothing_is_lost_or_sent_twice_when_events_leave_in_the_middle_of_a_delivery(
    either_home: Home,
) -> None:
    """Both destinations work; each event reaches one of them, once, and each key is in order."""
    keys = [key for _ in range(60) for key in "abcde"]
    logs = {name: either_home.directory / f"{name}.log" for name in ("default", "erp")}
    with ExitStack() as running:
        urls = [
            _url(running.enter_context(either_home.running(
                "sandbox", "--port", "0", "--json", "--chaos", "slow:20ms:1", "--log", str(log)
            )))
            for log in logs.values()
        ]  # fmt: skip
        head, _, _ = either_home.config.read_text().partition("[destinations.erp]")
        either_home.config.write_text(
            head.replace("http://127.0.0.1:9/e", urls[0]) + OTHER.format(url=urls[1])
        )
        running.enter_context(either_home.running("run"))
        cast = "CAST(:event AS json)" if "postgres" in head else ":event"
        values = ", ".join(f"({cast}, '{key}')" for key in keys)
        insert = f"INSERT INTO shipper_outbox (payload, ordering_key) VALUES {values}"
        execute(either_home, insert, event=VIEW)
        ran = either_home.call("events", "reroute", "ALL", "--to", "erp", "--yes", "--json")
        assert either_home.call("drain", "--timeout", "60").status == 0
    rows = execute(either_home, "SELECT event_id, ordering_key FROM shipper_outbox ORDER BY id")
    received = {name: _received(log) for name, log in logs.items()}
    assert len(received["erp"]) == ran.value["rerouted"] > 0
    assert sorted(received["default"] + received["erp"]) == sorted(event for event, _ in rows)
    for visits in received.values():
        for key in "abcde":
            of_key = [event for event, name in rows if name == key and event in visits]
            assert [event for event in visits if event in of_key] == of_key
    assert either_home.call("verify").status == 0


def _url(sandbox: "subprocess.Popen[bytes]") -> str:
    assert sandbox.stdout is not None
    url: str = json.loads(sandbox.stdout.readline())["events_url"]
    return url


def _received(log: Path) -> list[str]:
    return [json.loads(line)["key"] for line in log.read_text("utf-8").splitlines()]
