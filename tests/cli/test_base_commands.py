"""The commands that set up, write, check and ship: what each prints, leaves behind and returns."""

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from shipper.cli.input.documents import split
from shipper.cli.setup.template import example, render
from shipper.config import DestinationSettings, load
from shipper.errors import ConfigError, ShipperError
from shipper.policy.outcome import Fault, Reply
from tests.cli.command_line import DEADLINE, VIEW, Home, next_line
from tests.cli.terminal import Terminal


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox on SQLite."""
    return Home(tmp_path, sqlite_url)


@pytest.fixture
def either_home(tmp_path: Path, database_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox, once for each database."""
    return Home(tmp_path, database_url)


def rows(home: Home, columns: str = "payload") -> list[Any]:
    """Return what the outbox holds, in the order of its ids."""
    url = make_url(load(home.config, {}).database.url)
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT {columns} FROM shipper_outbox ORDER BY id")).all()
    engine.dispose()
    return [row[0] if len(row) == 1 else tuple(row) for row in found]


def a_view(number: int, user: str = "user-1") -> str:
    """Return an event that differs from the others."""
    return VIEW.replace("set-1", f"set-{number}").replace("user-1", user)


# -- enqueue ----------------------------------------------------------------------------------


def test_lines_become_events_byte_for_byte_and_their_ids_are_printed(either_home: Home) -> None:
    """Each line is one event; blanks, escapes and the order of names stay as they were written."""
    written = [VIEW, '{ "type" : "x","x":{"b":1,"a":"\\u00fc ü"} }']
    ran = either_home.call("enqueue", "-", stdin=f"{written[0]}\r\n\n{written[1]}\n".encode())
    assert ran.status == 0
    assert rows(either_home, "CAST(payload AS text)") == written
    assert ran.out.splitlines() == rows(either_home, "event_id")


def test_a_document_over_several_lines_is_one_event(home: Home) -> None:
    """The whole input is the payload, its line ends included."""
    document = json.dumps(json.loads(VIEW), indent=2) + "\n"
    (home.directory / "event.json").write_text(document)
    assert home.call("enqueue", "event.json").status == 0
    assert rows(home) == [document]


def test_the_options_name_key_id_and_destination(either_home: Home) -> None:
    """The row has the values of the options; the command prints the id, or JSON with --json."""
    arguments = ("--key", "k 1", "--event-id", "order-4711", "--destination", "default")
    ran = either_home.call("enqueue", *arguments, "--json", stdin=VIEW.encode())
    assert ran.value == {"event_id": "order-4711", "new": True}
    assert rows(either_home, "ordering_key, event_id, destination") == [
        ("k 1", "order-4711", "default")
    ]


def test_an_id_that_is_there_is_not_written_twice(either_home: Home) -> None:
    """The command can be repeated: it prints the id again, says so, and succeeds."""
    for is_new in (True, False):
        ran = either_home.call("enqueue", "--event-id", "o", "--json", stdin=VIEW.encode())
        assert (ran.status, ran.value["new"]) == (0, is_new)
    assert "1 of 1 in the outbox already" in ran.err
    assert len(rows(either_home)) == 1


def test_one_invalid_line_keeps_all_out_and_every_violation_is_told(either_home: Home) -> None:
    """Line number, place and rule of each; exit status 1; the outbox stays empty."""
    broken = f'{VIEW}\n{{"type":"x"}}\n[1]\n{{"a"\n'
    ran = either_home.call("enqueue", stdin=broken.encode())
    assert (ran.status, ran.out) == (1, "")
    assert re.findall(r"^stdin:(\d): event(\S*) must", ran.err, re.MULTILINE) == [
        ("2", ""),
        ("3", ""),
        ("4", ""),
    ]
    told = either_home.call("enqueue", "--json", stdin=broken.encode()).error
    assert [violation["line"] for violation in told["violations"]] == [2, 3, 4]
    assert {"instancePath", "schemaPath", "keyword", "params", "message"} < set(
        told["violations"][0]
    )
    assert rows(either_home) == []


@pytest.mark.parametrize(
    ("mode", "event", "status"),
    [
        ("schema", '{"type":"x","x":{}}', 1),
        ("envelope", '{"type":"x","x":{}}', 0),
        ("envelope", "[1]", 1),
        ("off", "[1]", 0),
        ("off", "{nothing", 1),
    ],
)
def test_the_configured_mode_decides_what_is_invalid(
    home: Home, mode: str, event: str, status: int
) -> None:
    """In every mode, text that isn't JSON is refused, as the table itself would."""
    home.configure("sqlite:///shop.db", "https://a.example/", f'[validation]\nmode = "{mode}"\n')
    assert home.call("enqueue", stdin=event.encode()).status == status
    assert len(rows(home)) == (status == 0)


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("--destination", "defualt"), VIEW, "configuration has: default"),
        (("--event-id", "x"), f"{VIEW}\n{VIEW}", "stdin has 2"),
        (("--event-id", "a\nb"), VIEW, "not contain control characters"),
        (("--event-id", ""), VIEW, "1 to 255 characters"),
        (("--key", "k" * 256), VIEW, "1 to 255 characters"),
        (("--key", os.fsdecode(b"\xff")), VIEW, "must be valid UTF-8"),
        ((), " \n", "contains no event"),
        (("none.json",), "", "can't read none.json: No such"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    home: Home, arguments: tuple[str, ...], stdin: str, message: str
) -> None:
    """Exit status 2 and nothing written."""
    ran = home.call("enqueue", *arguments, stdin=stdin.encode())
    assert ran.status == 2
    assert message in ran.err
    assert rows(home) == []


def test_what_only_the_database_refuses_is_told_without_the_payload(home: Home) -> None:
    """JSON that is nested deeper than SQLite reads is a finding, not a crash, and all stay out."""
    deep = '{"type":"x","x":{"secret-word":' + "[" * 1010 + "]" * 1010 + "}}"
    ran = home.call("enqueue", stdin=f"{VIEW}\n{deep}\n".encode())
    assert ran.status == 1
    assert "secret-word" not in ran.err
    assert "Traceback" not in ran.err
    assert rows(home) == []


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b'{"a":1}', [1]),
        (b'{"a":1}\n', [1]),
        (b'\n{"a":1}\n{"a":1}\n', [2, 3]),
        (b'{"a":1}\n{"a"\n', [1, 2]),
        (b'{"a"\n{"a":1}\n', [1, 2]),
        (b'{\n"a":1}\n', [1]),
        (b'[\n  {"a":1}\n', [1]),
        (b"\n\n", []),
        (b"", []),
    ],
)
def test_lines_and_documents_are_told_apart(content: bytes, lines: list[int]) -> None:
    """One document may run over many lines; lines are events where one is an object by itself."""
    assert [document.line for document in split(content)] == lines


# -- validate ---------------------------------------------------------------------------------


def test_validate_tells_the_violations_of_each_line(home: Home) -> None:
    """One object for each event, in Ajv's form; no configuration is needed for it."""
    home.config.unlink()
    ran = home.call("validate", "-", "--json", stdin=f'{VIEW}\n{{"type":"view"}}\n'.encode())
    first, second = map(json.loads, ran.out.splitlines())
    assert ran.status == 1
    assert first == {"line": 1, "valid": True, "violations": []}
    assert (second["line"], second["valid"]) == (2, False)
    assert "required" in {violation["keyword"] for violation in second["violations"]}
    assert home.call("validate", "-", stdin=VIEW.encode()).status == 0


def test_validate_remote_asks_the_destination(home: Home) -> None:
    """Its violations look like ours; exit status 75 if it is unreachable, 78 for a wrong API ID."""
    both = f'{VIEW}\n{{"type":"view"}}\n'.encode()
    with home.receiving("--api-id", "secret-id"):
        ran = home.call("validate", "-", "--remote", stdin=both)
        assert ran.status == 1
        assert "stdin:2: event must have required property 'view'" in ran.out
        assert "stdin:1" not in ran.out
        home.config.write_text(home.config.read_text().replace("secret-id", "wrong-id"))
        wrong = home.call("validate", "-", "--remote", stdin=VIEW.encode())
        assert wrong.status == 78
        assert "wrong-id" not in wrong.err
    assert home.call("validate", "-", "--remote", stdin=VIEW.encode()).status == 75


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Reply(200, body=b"[]"), 0),
        (Reply(204), 0),
        (Reply(400, body=b'[{"instancePath":"","message":"m"}]'), 1),
        (Reply(503, body=b"[1]"), ShipperError),
        (Reply(403, body=b"no"), ConfigError),
        (Reply(200, content_type="text/html", body=b"<html>"), ShipperError),
        (Fault("dns", "no", "no such host"), ShipperError),
    ],
)
def test_a_remote_answer_is_judged_by_its_violations(
    answer: Reply | Fault, found: int | type[ShipperError]
) -> None:
    """The vendor documents no status: a list of objects counts with any, an empty 2xx is a yes."""
    from shipper.cli.commands.validate import judged

    settings = DestinationSettings("default", "http://127.0.0.1:9/e")
    if isinstance(found, int):
        assert len(judged(answer, settings, lambda: 0.0)) == found
    else:
        with pytest.raises(found):
            judged(answer, settings, lambda: 0.0)


# -- check and config show --------------------------------------------------------------------


def test_check_finds_what_only_the_files_show(home: Home) -> None:
    """A missing API ID, a broken certificate and an impossible window are told all at once."""
    home.config.write_text(
        '[database]\nurl = "sqlite:///shop.db"\n[destinations.default]\n'
        'url = "https://a.example/"\napi_id_file = "nowhere"\nca_file = "shipper.toml"\n'
        '[schedule]\nwindows = ["99 * * * *"]\n'
    )
    ran = home.call("check")
    assert (ran.status, ran.out) == (78, "")
    assert re.search(r"^shipper.toml:5: .*nowhere", ran.err, re.MULTILINE)
    assert "ca_file" in ran.err
    assert re.search(r"^shipper.toml:8: .*99", ran.err, re.MULTILINE)
    told = home.call("check", "--json")
    assert (told.status, told.value["ok"], len(told.value["problems"])) == (78, False, 3)


def test_check_says_which_windows_in_which_time_zone(home: Home) -> None:
    """And warns of one that never opens; doctor says so, too, and status whether one is open."""
    home.configure(
        "sqlite:///shop.db", "https://a.example/events", "[schedule]\nwindows = ['* * * * 1-5']\n"
    )
    assert "sends in the windows * * * * 1-5 (UTC)\n" in home.call("check").out
    always = "[schedule]\nwindows = ['* * * * *']\ntimezone = 'Europe/Berlin'\n"
    home.configure("sqlite:///shop.db", "https://a.example/events", always)
    assert home.call("check", "--json").value["timezone"] == "Europe/Berlin"
    assert home.call("db", "upgrade").status == 0
    assert "inside the delivery windows (Europe/Berlin)\n" in home.call("status").err
    told = home.call("doctor", "--no-network").out
    assert "inside the delivery windows (Europe/Berlin): * * * * *" in told
    never = "[schedule]\nwindows = ['30 2 31 2 *']\n"
    home.configure("sqlite:///shop.db", "https://a.example/events", never)
    ran = home.call("check")
    assert ran.status == 0
    assert "shipper.toml:7: schedule.windows: '30 2 31 2 *' matches no minute" in ran.err
    assert "outside the delivery windows (UTC) for ever" in home.call("doctor", "--no-network").out
    broken = "[schedule]\nwindows = ['* 22-6 * * *', '* * * * 8']\n"
    home.configure("sqlite:///shop.db", "https://a.example/events", broken)
    for command in (("check",), ("run",)):
        ran = home.call(*command)
        assert ran.status == 78
        for wrong in ("* 22-6 * * *", "* * * * 8"):
            said = f"shipper.toml:7: schedule.windows: {wrong!r} is not a cron expression"
            assert said in ran.err
    assert home.call("doctor", "--no-network").out.count("is not a cron expression") == 2
    assert home.call("status").status == 0


def test_a_bad_window_is_told_with_all_that_is_wrong(home: Home) -> None:
    """Fixing one mistake must not uncover the next one."""
    more = "[schedule]\nwindows = ['* * * * 9', '0 8 * * *']\nx = 1\n"
    home.configure("sqlite:///shop.db", "https://a.example/events", more)
    ran = home.call("check")
    assert ran.status == 78
    assert "shipper.toml:7: schedule.windows: '* * * * 9' is not a cron expression" in ran.err
    assert "shipper.toml:8: unknown setting schedule.x" in ran.err
    assert ran.err.count("schedule.windows") == 1


def test_a_time_zone_that_there_is_not_is_a_fault_with_its_line(home: Home) -> None:
    """For every command."""
    home.configure(
        "sqlite:///shop.db", "https://a.example/events", "[schedule]\ntimezone = 'Berlin'\n"
    )
    for command in ("check", "status", "run"):
        ran = home.call(command)
        assert ran.status == 78
        assert "shipper.toml:7: schedule.timezone: must be a time zone" in ran.err
        assert 'did you mean "Europe/Berlin"?' in ran.err


def test_check_says_what_will_be_done_and_connects_to_nothing(home: Home) -> None:
    """The configuration is valid although the database is missing and the API is down."""
    home.configure("postgresql://shop:geheim@127.0.0.1:9/shop", "https://a.example/events")
    home.config.chmod(0o644)
    ran = home.call("check")
    assert ran.status == 0
    assert "https://a.example/events" in ran.out
    assert "can be read by other users" in ran.err
    told = home.call("check", "--json")
    assert told.value["ok"] is True
    for shown in (ran.out, ran.err, told.out):
        assert "geheim" not in shown
        assert "secret-id" not in shown


def test_config_show_tells_where_each_value_came_from(home: Home) -> None:
    """A line of the file, a variable, or the default; secrets are masked."""
    ran = home.call("config", "show", "--origin", "--json", SHIPPER_LOG__LEVEL="debug")
    shown = ran.value
    assert shown["log.level"] == {"value": "debug", "origin": "environment SHIPPER_LOG__LEVEL"}
    assert shown["destinations.default.url"]["origin"] == "shipper.toml:4"
    assert shown["destinations.default.timeout"]["origin"] == "default"
    assert "secret-id" not in ran.out
    assert "shipper.toml:4" in home.call("config", "show", "--origin").out


def test_config_show_gives_values_as_what_they_are(home: Home) -> None:
    """Numbers, lists and nothing at all; durations and sizes as one writes them."""
    told = home.call("config", "show", "--json").value
    assert told["destinations.default.max_in_flight"] == 64
    assert told["destinations.default.max_rate"] == 0
    assert told["destinations.default.retry.max_attempts"] == 20
    assert told["schedule.windows"] == []
    assert told["destinations.default.timeout"] == "10s"
    assert told["retention.dead"] == "never"
    assert told["destinations.default.api_id_file"] is None
    assert told["space.reserve"] == "16MB"


# -- db ---------------------------------------------------------------------------------------


def test_an_outbox_is_created_and_known(tmp_path: Path, bare_url: str) -> None:
    """Before: no revision and 78; `upgrade` creates it; afterwards it is current and sound."""
    home = Home(tmp_path, bare_url)
    assert home.call("db", "check").status == 78
    upgraded = home.call("db", "upgrade", "--create", "--json").value
    assert upgraded["before"] is None
    assert home.call("db", "current", "--json").value == {
        "revision": upgraded["revision"],
        "head": upgraded["revision"],
    }
    assert home.call("db", "check", "--json").value["ok"] is True
    assert "up to date" in home.call("db", "upgrade").out


_ALL = (
    "status", "run", "drain", "events list", "dead list", "verify", "prune", "hold --key a",
    "db upgrade", "db current", "db check", "backup copy.db", "enqueue -", "top --json",
)  # fmt: skip


@pytest.mark.parametrize("command", _ALL)
@pytest.mark.parametrize("place", ["gone.db", "nowhere/gone.db"])
def test_a_path_with_a_typing_error_makes_nothing(home: Home, command: str, place: str) -> None:
    """A wrong path must not become an empty outbox."""
    home.configure(f"sqlite:///{home.directory}/{place}", "http://127.0.0.1:9/e")
    before = sorted(home.directory.rglob("*"))
    ran = home.call(*command.split(), stdin=VIEW.encode())
    assert ran.status == 78
    assert f"{place} is missing" in ran.err
    assert "is the path right, is the disk mounted? Only for a NEW outbox" in ran.err
    assert sorted(home.directory.rglob("*")) == before


def test_an_empty_file_is_not_taken_for_a_new_outbox_unasked(home: Home) -> None:
    """It can be the mount point of a disk that isn't mounted."""
    (home.directory / "empty.db").touch()
    home.configure(f"sqlite:///{home.directory}/empty.db", "http://127.0.0.1:9/e")
    for command in ("status", "run", "events list", "verify"):
        told = home.call(*command.split()).err
        assert "which is empty" in told
        assert "Only for a NEW outbox: shipper db upgrade --create" in told
    ran = home.call("db", "upgrade")
    assert (ran.status, (home.directory / "empty.db").stat().st_size) == (78, 0)
    assert "is the disk mounted?" in ran.err
    assert home.call("db", "upgrade", "--create").status == 0


def test_another_applications_file_is_told_from_a_broken_outbox(home: Home) -> None:
    """Every command prints the same error, with the file's name."""
    other = sqlite3.connect(home.directory / "other.db")
    other.execute("CREATE TABLE orders (id INTEGER)")
    other.close()
    home.configure(f"sqlite:///{home.directory}/other.db", "http://127.0.0.1:9/e")
    for command in ("status", "run", "events list", "verify", "hold --key a"):
        ran = home.call(*command.split())
        assert ran.status == 78
        assert "no outbox in this database" in ran.err
        assert "other.db): is it your application's?" in ran.err


def test_check_warns_of_a_file_that_is_not_there(home: Home) -> None:
    """And suggests the fourth slash of an absolute path."""
    home.configure("sqlite:///gone.db", "http://127.0.0.1:9/e")
    ran = home.call("check")
    assert ran.status == 0
    assert "shipper.toml:2: " in ran.err
    assert "gone.db doesn't exist; check the path, and that its disk is mounted;" in ran.err
    home.configure(f"sqlite:///{str(home.directory)[1:]}/shop.db", "http://127.0.0.1:9/e")
    warned = home.call("check", "--json").value["warnings"]
    assert any(f'"sqlite:///{home.directory}/shop.db", which exists' in one for one in warned)


def test_check_names_a_file_that_can_hold_no_outbox(home: Home) -> None:
    """Without opening it."""
    (home.directory / "second.db").hardlink_to(home.directory / "shop.db")
    home.configure(f"sqlite:///{home.directory}", "http://127.0.0.1:9/e")
    assert "is a directory" in home.call("check").err
    home.configure(f"sqlite:///{home.directory}/second.db", "http://127.0.0.1:9/e")
    ran = home.call("check")
    assert ran.status == 78
    assert "shipper.toml:2: " in ran.err
    assert "2 names (hard links)" in ran.err


def test_a_database_without_an_outbox_has_no_revision(home: Home) -> None:
    """`current` says so and ends with 1."""
    (home.directory / "shop.db").write_bytes(b"")
    ran = home.call("db", "current")
    assert ran.status == 1
    assert ran.out.startswith("no outbox")


def test_grants_are_statements_on_postgres_and_advice_on_sqlite(either_home: Home) -> None:
    """What is printed can be piped into psql; SQLite has files and groups instead."""
    ran = either_home.call("db", "grants", "--role", "shop")
    statements = either_home.call("db", "grants", "--role", "shop", "--json").value["statements"]
    if "postgresql" in either_home.config.read_text():
        assert ran.out.splitlines() == [f"{statement};" for statement in statements]
        assert all('TO "shop"' in statement for statement in statements)
    else:
        assert statements == []
        assert "group" in ran.out


@pytest.fixture
def till(tmp_path: Path, postgres_url: str) -> Iterator[Home]:
    """Give a configuration with the role of an application, which holds the printed grants."""
    url = make_url(postgres_url)
    role = f"till_{url.database}"
    granted = Home(tmp_path, postgres_url).call("db", "grants", "--role", role).out
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'till'"))
        connection.execute(text(granted))
        till_url = url.set(username=role, password="till")
        yield Home(tmp_path, till_url.render_as_string(hide_password=False))
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
    engine.dispose()


def test_an_applications_role_can_enqueue_and_is_told_what_it_lacks_for_more(till: Home) -> None:
    """The role isn't allowed to read even the version of the outbox."""
    ran = till.call("enqueue", "--event-id", "order-4711", stdin=VIEW.encode())
    assert (ran.status, ran.out) == (0, "order-4711\n")
    for command in (("status",), ("verify",), ("db", "check"), ("db", "upgrade")):
        ran = till.call(*command)
        assert (ran.status, ran.out) == (77, "")
        assert "42501" in ran.err


def test_an_api_id_that_we_may_not_read_is_a_matter_of_rights(
    home: Home, an_ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    """The configuration itself is right: exit status 77, with the line that names the file."""
    secret = home.directory / "api_id"
    secret.touch(0)
    text_of_it = home.config.read_text()
    home.config.write_text(text_of_it.replace('api_id = "secret-id"', f'api_id_file = "{secret}"'))
    home.config.chmod(0o644)
    for directory in (home.directory, *home.directory.parents):
        directory.chmod(directory.stat().st_mode | 0o055)
        if directory.name.startswith("pytest-of-"):
            break
    if os.geteuid() == 0:
        # Whatever else it reads, code of ours and of Python, it has read by then.
        assert home.call("check").status == 78  # it is empty for root
    with an_ordinary_user():
        ran = home.call("check")
    assert (ran.status, ran.out) == (77, "")
    assert "shipper.toml:" in ran.err
    assert "api_id" in ran.err


# -- init -------------------------------------------------------------------------------------


@pytest.fixture
def bare(home: Home) -> Home:
    """Give a directory with nothing in it."""
    home.config.unlink()
    (home.directory / "shop.db").unlink()
    return home


def test_init_leaves_a_configuration_an_outbox_and_the_next_steps(bare: Home) -> None:
    """Without a terminal nothing is asked; what it wrote passes `check` and takes an event."""
    ran = bare.call("init", "--api-id", "secret-id")
    assert ran.status == 0
    assert "INSERT INTO shipper_outbox" in ran.out
    assert "shipper check" in ran.out
    assert "secret-id" not in ran.out + ran.err + bare.config.read_text()
    assert stat.S_IMODE((bare.directory / "api_id").stat().st_mode) == 0o600
    assert load(bare.config, {}).destinations["default"].read_api_id().reveal() == "secret-id"
    assert bare.call("check").status == 0
    assert bare.call("enqueue", stdin=VIEW.encode()).status == 0


def test_a_password_in_the_services_configuration_is_for_its_group(
    bare: Home, bare_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root writes it, and the service's group has to read it; anywhere else it is private."""
    url = make_url(bare_postgres_url).set(password="hush").render_as_string(hide_password=False)
    place = bare.directory / "etc" / "config.toml"
    place.parent.mkdir()
    if os.geteuid() == 0:
        os.chown(place.parent, 0, 65533)
    monkeypatch.setattr("shipper.cli.setup.init.SYSTEM_PATH", place)
    ran = bare.call("init", "--database", url.replace("+psycopg", ""), "-o", str(place))
    assert (ran.status, "hush" in ran.out + ran.err) == (0, False)
    status = place.stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_gid == place.parent.stat().st_gid
    assert "shipper db grants" in ran.out
    ran = bare.call("init", "--database", url.replace("+psycopg", ""), "-o", "mine.toml")
    assert stat.S_IMODE((bare.directory / "mine.toml").stat().st_mode) == 0o600


def test_the_insert_that_init_prints_works(bare: Home) -> None:
    """The snippet is run as it stands, by the application's own library."""
    snippet = re.search(r"INSERT.*?;", bare.call("init").out, re.DOTALL)
    assert snippet is not None
    with closing(sqlite3.connect(bare.directory / "shop.db")) as database:
        database.execute(snippet[0])
        database.commit()
    assert rows(bare, "ordering_key") == ["user-1"]


@pytest.mark.parametrize("there", ["shipper.toml", "api_id"])
def test_init_overwrites_nothing(bare: Home, there: str) -> None:
    """An existing file stops it before it writes anything."""
    (bare.directory / there).write_text("mine")
    ran = bare.call("init", "--api-id", "secret-id")
    assert ran.status == 2
    assert "exists already" in ran.err
    assert [path.name for path in bare.directory.iterdir()] == [there]
    assert (bare.directory / there).read_text() == "mine"


def test_init_takes_everything_as_options(bare: Home) -> None:
    """Paths, URL and the place of the configuration; one object tells what was made."""
    ran = bare.call(
        *("init", "--json", "--database", "sqlite:///data/own.db", "--url", "https://a.example/e"),
        *("--api-id-file", "key", "-o", "own.toml"),
    )
    told = ran.value
    assert told["config"] == str(bare.directory / "own.toml")
    assert told["api_id_file"] == str(bare.directory / "key")
    assert (bare.directory / "data" / "own.db").is_file()
    settings = load(bare.directory / "own.toml", {})
    assert settings.destinations["default"].url == "https://a.example/e"
    assert settings.destinations["default"].api_id_file == bare.directory / "key"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--database", "mysql://h/db"), 2),
        (("--url", "http://a.example/"), 2),
        (("--api-id", "two words"), 2),
        (("--database", "postgresql://nobody@127.0.0.1:9/none"), 69),
        (("--database", "sqlite:////proc/none/shop.db"), 78),
        (("--database", "sqlite:////dev/null"), 78),
    ],
)
def test_init_writes_no_configuration_where_something_is_wrong(
    bare: Home, arguments: tuple[str, ...], status: int
) -> None:
    """After the fix, the same command can be repeated."""
    ran = bare.call("init", *arguments)
    assert ran.status == status
    assert "two words" not in ran.err
    assert not bare.config.exists()


def test_init_asks_four_questions_on_a_terminal(bare: Home) -> None:
    """It asks again after a wrong answer; an empty one is the default; the API ID isn't shown."""
    shown = Terminal(bare, "init").answer(
        (
            "database does your application use? (SQLite or PostgreSQL) [sqlite:///shop.db]",
            "mysql://x",
        ),
        ("must be SQLite or PostgreSQL", ""),
        ("Which URL receives the events?", "https://a.example/e"),
        ("Your API ID?", "secret-id"),
        ("write the configuration? [shipper.toml]", ""),
    )
    assert "wrote" in shown
    assert "secret-id" not in shown
    settings = load(bare.config, {})
    assert settings.destinations["default"].url == "https://a.example/e"
    assert settings.destinations["default"].read_api_id().reveal() == "secret-id"


def test_init_ends_where_its_input_ends(bare: Home) -> None:
    """At the question whose answer isn't shown, too: Ctrl-D is no bug."""
    shown = Terminal(bare, "init").answer(
        ("database does your application use?", ""),
        ("Which URL receives the events?", "https://a.example/e"),
        ("Your API ID?", "\x04"),
        status=2,
    )
    assert "stdin ended before all questions were answered" in shown
    assert "bug" not in shown
    assert not bare.config.exists()


def test_the_written_configuration_is_the_example_but_for_three_lines() -> None:
    """Every comment and setting stays; quotes and backslashes in a value are escaped."""
    text_of = render(database='sqlite:///a"b\\c.db', url="https://a.example/", api_id_file="id")
    changed = [
        new
        for old, new in zip(example().splitlines(), text_of.splitlines(), strict=True)
        if old != new
    ]
    assert [line.split("  ")[0] for line in changed] == [
        r'url = "sqlite:///a\"b\\c.db"',
        'url = "https://a.example/"',
        'api_id_file = "id"',
    ]


# -- shipping ---------------------------------------------------------------------------------


def test_drain_ships_everything_and_ends_with_0(either_home: Home) -> None:
    """All that was pending is delivered when it returns, and one object says so."""
    lines = "\n".join(a_view(number, f"user-{number % 3}") for number in range(30))
    assert either_home.call("enqueue", stdin=lines.encode()).status == 0
    with either_home.receiving():
        ran = either_home.run("drain", "--json")
    assert ran.value == {"delivered": 30, "dead": 0, "pending": 0, "destinations": {}}
    assert ran.status == 0
    assert set(rows(either_home, "status")) == {"delivered"}


def test_drain_ends_with_1_where_an_event_died(home: Home) -> None:
    """A dead letter is a finding; the others are delivered."""
    off = '[validation]\nmode = "off"\n'
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", off)
    home.call("enqueue", stdin=f'{VIEW}\n{{"type":"view"}}\n'.encode())
    with home.receiving():
        ran = home.run("drain")
    assert ran.status == 1
    assert "delivered 1, dead letters 1 (see: shipper dead list)" in ran.out


def test_drain_gives_up_on_a_link_that_is_down_and_says_why(home: Home) -> None:
    """Without --timeout it doesn't wait for an operator: exit status 75 and the reason."""
    home.call("enqueue", stdin=VIEW.encode())
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", FAST)
    ran = home.run("drain")
    assert ran.status == 75
    assert re.search(r"default: 1 still pending: offline, .*127\.0\.0\.1:9", ran.out)
    assert home.run("drain", "--timeout", "100ms", "--json").value["pending"] == 1


# Five failures make a link offline; the short delays keep this test fast.
FAST = '[destinations.default.retry]\nmin_delay = "10ms"\nprobe_max_delay = "20ms"\n'


def test_drain_shows_a_person_how_far_it_is(home: Home) -> None:
    """On a terminal there is a bar, which is gone at the end; in a pipe nothing but the result."""
    home.call("enqueue", stdin=f"{VIEW}\n{VIEW}\n".encode())
    with home.receiving("--chaos", "slow:500ms:1"):
        shown = Terminal(home, "drain").answer()
    assert "shipping" in shown
    assert "0/2" in shown
    assert shown.rstrip().endswith("delivered 2")


def test_drain_can_be_interrupted(home: Home) -> None:
    """SIGINT ends it as a timeout does: what is in flight finishes, the rest is still pending."""
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", FAST)
    home.call("enqueue", stdin=VIEW.encode())
    with home.running("drain", "-v", "--timeout", "50s") as drain:
        wait_for(drain, b"link.changed")
        drain.send_signal(signal.SIGINT)
        out, _ = drain.communicate(timeout=DEADLINE)
    assert drain.returncode == 75
    assert b"1 still pending" in out


def test_drain_leaves_what_is_held_and_says_so(home: Home) -> None:
    """A held key keeps its events; the other key is delivered; exit status 75."""
    home.call("enqueue", stdin=f"{a_view(1, 'anna')}\n{a_view(2, 'berta')}\n".encode())
    assert home.call("hold", "--key", "anna").status == 0
    with home.receiving():
        ran = home.run("drain")
        assert ran.status == 75
        assert "delivered 1\n" in ran.out
        assert "1 still pending, 1 of them behind a held key" in ran.out
        home.call("release", "--key", "anna")
        home.call("hold", "--destination", "default")
        assert "1 still pending: held" in home.run("drain").out
        home.call("release", "--destination", "default")
        assert home.run("drain").status == 0


def test_drain_leaves_a_destination_that_is_not_configured(home: Home) -> None:
    """Rows that name it are still pending, with the reason."""
    with closing(sqlite3.connect(home.directory / "shop.db")) as database:
        database.execute(
            "INSERT INTO shipper_outbox (payload, destination) VALUES (?, 'other')", [VIEW]
        )
        database.commit()
    with home.receiving():
        ran = home.run("drain", "--json")
    assert ran.status == 75
    assert ran.value["destinations"]["other"]["state"] == "paused"


def test_drain_watches_the_daemon_that_runs(either_home: Home) -> None:
    """The daemon ships; drain waits for it and tells of the same events."""
    lines = "\n".join(a_view(number, f"user-{number}") for number in range(20))
    with either_home.receiving(), either_home.running("run") as daemon:
        wait_for(daemon, b"daemon.started")
        either_home.call("enqueue", stdin=lines.encode())
        ran = either_home.run("drain", "--timeout", "30s")
        assert ran.status == 0
        assert f"process {daemon.pid}" in ran.err
        stop(daemon)
    assert set(rows(either_home, "status")) == {"delivered"}


def test_drain_takes_over_where_the_daemon_goes_away(home: Home) -> None:
    """The daemon ends before the link is back: drain ships the rest."""
    with home.receiving() as url:
        pass
    home.configure("sqlite:///shop.db", url, FAST)
    home.call("enqueue", stdin=VIEW.encode())
    with home.running("run") as daemon:
        wait_for(daemon, b"daemon.started")
        with home.running("drain", "--timeout", "50s") as drain:
            wait_for(drain, b"ships this outbox; watching it")
            stop(daemon)
            with home.receiving("--port", url.split(":")[2].split("/")[0]):
                out, _ = drain.communicate(timeout=DEADLINE)
    assert (drain.returncode, out) == (0, b"delivered 1\n")


def test_run_stops_cleanly_and_a_second_one_is_refused(home: Home) -> None:
    """SIGTERM ends it with 0; while it runs another one ends with 75."""
    with home.running("run") as daemon:
        wait_for(daemon, b"daemon.started")
        second = home.run("run")
        assert second.status == 75
        assert "another daemon holds this outbox" in second.err
        stop(daemon)


def test_the_sandbox_says_where_it_listens_and_what_it_saw(home: Home) -> None:
    """A person gets an example to paste; its API ID isn't printed; the summary comes at the end."""
    arguments = ("sandbox", "--port", "0", "--api-id", "secret-id", "--log", "api.jsonl")
    with home.running(*arguments) as process:
        assert process.stderr is not None
        first = next_line(process.stderr.fileno()).decode()
        url = re.findall(r"http://127\.0\.0\.1:\d+", first)[0]
        home.configure("sqlite:///shop.db", f"{url}/analytics/v3/events")
        home.call("enqueue", stdin=VIEW.encode())
        assert home.run("drain").status == 0
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
    assert b"1 request, 1 accepted" in out
    assert b"curl" in err
    assert b"shipper init --url " in err
    assert b"secret-id" not in err
    assert (home.directory / "api.jsonl").read_bytes().count(b"\n") == 1


def test_what_the_sandbox_says_can_be_pasted(tmp_path: Path, home: Home) -> None:
    """The event is taken, and the configuration that comes of it warns of nothing."""
    with home.running("sandbox", "--port", "0") as process:
        assert process.stderr is not None
        said = next_line(process.stderr.fileno()).decode()
        while "Make a configuration" not in said or "shipper init" not in said:
            said += next_line(process.stderr.fileno()).decode()
        [event] = re.findall(r"-d '(.*)'", said)
        [line] = re.findall(r"shipper (init .*)", said)
        home.config.unlink()
        ran = home.call(*line.split(), "--database", "sqlite:///new.db", "--output", "shipper.toml")
        assert ran.status == 0, ran.err
        checked = home.call("check")
        assert (checked.status, checked.err) == (0, "")
        home.call("enqueue", stdin=event.encode())
        assert home.run("drain").status == 0


def test_the_sandbox_can_be_milder(home: Home) -> None:
    """For a type of event that the vendor has added since; refused is what the schema refuses."""
    event = b'{"type":"refund","refund":{},"context":[{"type":"user","user":{"id":"u"}}]}'
    home.call("enqueue", stdin=event)
    with home.receiving():
        assert home.run("drain").status == 1
    home.call("dead", "retry", "ALL", "--yes")
    with home.receiving("--validation", "envelope"):
        assert home.run("drain").status == 0


def test_a_wrong_chaos_spec_is_a_usage_error(home: Home) -> None:
    """It names the item, and nothing listens."""
    ran = home.call("sandbox", "--port", "0", "--chaos", "503:0.1,drpo:0.5")
    assert ran.status == 2
    assert "drpo" in ran.err


def test_demo_is_reached_from_the_command_line(home: Home) -> None:
    """Its summary is the one object on stdout, and its exit status says whether it balances."""
    ran = home.run("demo", "--seconds", "1", "--json")
    assert ran.value["balanced"] is (ran.status == 0)


def wait_for(process: "subprocess.Popen[bytes]", event: bytes) -> None:
    """Read the log of a daemon until an event appears in it."""
    assert process.stderr is not None
    while event not in next_line(process.stderr.fileno()):
        pass


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop a daemon as a service manager does, and expect it to end cleanly."""
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err.decode()
