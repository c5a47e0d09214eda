"""What applications and receivers write can't act on whoever looks at it, in any format.

Not on a terminal either (a pseudo terminal here), where a program's table is a person's.
"""

import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest

from shipper.cli import shell
from shipper.daemon.systemd import Notifier
from shipper.errors import ShipperError
from shipper.logs import open_log
from shipper.store.db.engine import open_engine
from shipper.store.upgrade.migrate import upgrade
from shipper.wording.safe_text import printable, printable_json, printable_lines
from tests.cli.command_line import Home
from tests.cli.terminal import shown
from tests.store.shipping import run

# Escape, CSI of eight bits, delete, bell, backspace, return; overrides of direction, no width,
# the end of a line in three ways, an annotation, a tag beyond the first plane.
STEERING = "\x1b]0;x\x07\x9b31m\x7f\b\r\u202e\u2066\u200b\ufeff\n\x85\u2028\ufff9\U000e0041"


def _acts(text: str, allowed: str = "\n\t") -> list[str]:
    """Return what in a text would steer a terminal."""
    found = {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}}
    return sorted(map(ascii, found - set(allowed)))


def test_every_character_that_steers_is_known() -> None:
    """By this Python's Unicode; an unknown one of a later Unicode is a gap of this list."""
    steering = [
        c for c in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}
    ]  # fmt: skip
    assert len(steering) > 200
    for character in steering:
        document = json.dumps({"x": f"a{character}b"}, ensure_ascii=False)
        plain = printable_json(document)
        assert _acts(plain, "") == []
        assert json.loads(plain) == {"x": f"a{character}b"}
        assert _acts(printable(f"a{character}b"), "") == []
        assert _acts(printable_lines(f"a{character}b\n\tc")) == []


@pytest.mark.parametrize("text", ["", "plain", "Grüße 東京 🛒", "\\x1b", '"'])
def test_what_steers_nothing_stays(text: str) -> None:
    """To the character."""
    document = json.dumps(text, ensure_ascii=False)
    assert (printable(text), printable_lines(text), printable_json(document)) == (
        text, text, document,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Give an outbox in which everything that somebody else writes steers a terminal."""
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    engine = open_engine(url, create=True)
    upgrade(engine)
    words = {"text": STEERING, "payload": json.dumps({"type": f"{STEERING}"}, ensure_ascii=False)}
    for status in ("pending", "dead"):
        run(
            engine,
            "INSERT INTO shipper_outbox (payload, ordering_key, destination, event_id) VALUES"
            f" (:payload, :text, 'default', 'id-\u202e{status}')",
            **words,
        )
        run(
            engine,
            f"UPDATE shipper_outbox SET status = '{status}', last_error = :text,"
            " last_status_code = 500 WHERE id = (SELECT max(id) FROM shipper_outbox)",
            text=STEERING,
        )
    run(
        engine,
        "INSERT INTO shipper_outbox (payload, destination) VALUES ('{}', :text)", text=STEERING,
    )  # fmt: skip
    run(
        engine,
        "INSERT INTO shipper_attempt (outbox_id, event_id, started_at, duration_ms, outcome, error,"
        " response_excerpt) SELECT id, event_id, '2026-01-01T00:00:00.000Z', 1, :text, :text, :text"
        " FROM shipper_outbox",
        text=STEERING,
    )
    engine.dispose()
    return Home(tmp_path, url)


COMMANDS = [
    "status", "status --verbose", "check", "verify", "events list", "events show 1",
    "events show 2", "events show 3", "dead list", "dead show 2", "dead retry ALL --dry-run",
    "hold --list", "hold --key K", "release --key K", "events export -", "prune --dry-run",
    "events reroute 3 --to default --dry-run", "events list --key K", "db current",
    "drain --timeout 0", "doctor",
]  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_no_command_prints_what_steers(home: Home, as_json: bool) -> None:  # noqa: FBT001
    """Neither what it answers nor what it says of a failure."""
    told = 0
    for command in COMMANDS:
        words = [STEERING if word == "K" else word for word in command.split()]
        ran = home.call(*words, *(["--json"] if as_json else []))
        assert ran.status != shell.BUG, (command, ran.err)
        assert _acts(ran.out + ran.err) == [], command
        for line in ran.out.splitlines() if as_json else []:
            told += STEERING in str(json.loads(line)) or "\\x1b" in str(json.loads(line))
    assert told > 5 or not as_json


@pytest.mark.parametrize(
    "command", ["events show 1 --json", "events show 1", "dead list", "status"]
)
def test_a_terminal_is_not_steered(home: Home, command: str) -> None:
    """Its own colours apart."""
    said = shown(home, *command.split()).raw.decode()
    assert "x9b31m" in said or "u009b31m" in said
    for sequence in ("\x9b", "\x07", "\x7f", "\u202e", "\x1b]0"):
        assert sequence not in said


@pytest.mark.parametrize("style", ["json", "journal", "console"])
def test_no_log_steers(style: str) -> None:
    """In any style; JSON is what it was."""
    stream = io.StringIO()
    log = open_log("debug", style, stream)  # type: ignore[arg-type]
    log("link.paused", destination=STEERING, reason=STEERING, hint=STEERING)
    log("file.changed", paths=[STEERING])
    log("store.damaged", problem=f"x\n{STEERING}", hint=None)
    assert _acts(stream.getvalue(), "\n") == []
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    if style == "json":
        assert json.loads(lines[0])["reason"] == STEERING


def test_a_bug_steers_nothing(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    """Its report may hold what a receiver wrote."""
    from shipper.cli.output.context import Context

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(STEERING)

    monkeypatch.setattr(Context, "engine", fail)
    ran = home.call("status")
    assert ran.status == shell.BUG
    assert "RuntimeError" in ran.err
    assert _acts(ran.err) == []


def test_a_hint_steers_nothing(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    """Nor does what is said beside it."""
    from shipper.cli.output.context import Context

    def fail(*_: object, **__: object) -> None:
        raise ShipperError(STEERING, STEERING)

    monkeypatch.setattr(Context, "engine", fail)
    for options in ([], ["--json"]):
        ran = home.call("status", *options)
        assert ran.status == 1
        assert _acts(ran.err) == []


def test_the_service_manager_is_told_of_one_thing_at_a_time(tmp_path: Path) -> None:
    """A line's end in a receiver's words would begin another field: `WATCHDOG=trigger`."""
    import socket

    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        Notifier({"NOTIFY_SOCKET": str(place)})(STATUS="offline: x\nWATCHDOG=trigger")
        assert manager.recv(1000).count(b"\n") == 0
