"""Every field that `--json` prints stands in the manual, with its type, and no other does.

Each command that reports is run on an empty outbox and on one that has everything.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shipper.cli.grammar.manual import text_of
from shipper.cli.grammar.registry import COMMANDS
from shipper.demo.summary import DemoSummary
from shipper.sandbox import Summary
from tests.cli.command_line import VIEW, Home, Ran
from tests.cli.test_operating_commands import execute, kill, write

Seen = dict[tuple[str, str], set[str]]

# They print no JSON, or need root, a daemon's port or a while; what they print is checked below.
SILENT = {"run", "service install", "service uninstall", "healthcheck", "demo", "sandbox"}

_ROW = re.compile(r"^\| ([^|]+) \| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)
_TYPES = {bool: "flag", int: "number", float: "number", str: "text", type(None): "null"}


@cache
def table() -> Mapping[tuple[str, str], frozenset[str]]:
    """Return the types of each field in the manual, by command and path."""
    rows = _ROW.findall(text_of("json"))
    found: dict[tuple[str, str], frozenset[str]] = {}
    for commands, path, types in rows:
        for command in commands.split(", "):
            assert (command.strip(), path) not in found
            kinds = types.replace("true or false", "flag").strip().split(" or ")
            found[command.strip(), path] = frozenset(kinds)
    return found


def flat(command: str, value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every path in a value with its type; `*` stands for variable names."""
    if isinstance(value, dict):
        opened = f"{path}.*" if path else "*"
        is_open = any(of == command and known.startswith(opened) for of, known in table())
        for name, inner in value.items():
            step = "*" if is_open else name
            yield from flat(command, inner, f"{path}.{step}" if path else step)
    elif isinstance(value, list):
        yield path, "list"
        if (command, f"{path}[]") not in table() and not any(isinstance(v, dict) for v in value):
            return  # what is in it is said of the list
        for inner in value:
            yield from flat(command, inner, f"{path}[]")
    else:
        yield path, _TYPES[type(value)]


def note(seen: Seen, command: str, text: str) -> None:
    """Add what a command has printed."""
    for line in text.splitlines():
        if line.startswith("{"):
            for path, kind in flat(command, json.loads(line)):
                seen[command, path].add(kind)


def run(seen: Seen, home: Home, *words: str, **more: Any) -> Ran:
    """Run a command with --json, and add what it has printed, failures too."""
    ran = home.call(*words, "--json", **more)
    name = max(c.words for c in COMMANDS if " ".join(words).startswith(c.words))
    name = " ".join([name, *(word for word in words if word in {"--rows", "--origin", "--list"})])
    note(seen, name, ran.out)
    # Lines of the log have an event; what went wrong has an error.
    failures = [line for line in ran.err.splitlines() if '"event":' not in line]
    note(seen, "any failure", "\n".join(failures))
    assert ran.status != 70, ran.err
    return ran


def everything(seen: Seen, home: Home, name: str) -> None:
    """Run every command that only reads, and those whose answer doesn't depend on the outbox."""
    for words in (
        "status", "events list", "events show 1", "events show 2", "dead list", "dead show 1",
        "verify", "verify --recount", "prune --dry-run", "prune", "top", "db current",
        "db check", "db upgrade", "db unlock",
        "config show", "config show --origin", "check", "version", "assets list",
        "assets show shipper.1", "help",
        "help order", "events export -", "events export - --status dead",
        "doctor --no-network", "events list --key nobody", "dead retry 4711",
    ):  # fmt: skip
        run(seen, home, *words.split())
    run(seen, home, "backup", f"{name}.bak")
    run(seen, home, "assets", "write", name)
    run(seen, home, "db", "grants", "--role", "shop")


def change(seen: Seen, home: Home) -> None:
    """Run every command that changes something."""
    for words in (
        "hold --key b", "hold --destination default", "hold --list", "release --key b",
        "release --destination default", "events export kept.jsonl", "enqueue --rows kept.jsonl",
        "events reroute ALL --to other --dry-run", "events reroute 4 --to other",
        "events retry 5", "events discard 5", "dead retry 1", "dead discard 2",
        "events export gone.jsonl --hand-over",
    ):  # fmt: skip
        run(seen, home, *words.split())
    run(seen, home, "enqueue", "-", stdin=VIEW.encode())
    run(seen, home, "enqueue", "-", stdin=b'{"type":1}')
    run(seen, home, "validate", "-", stdin=VIEW.encode())
    run(seen, home, "validate", "-", stdin=b'{"type":"view"}')
    run(seen, home, "drain")


def printed(home: Home, directory: Path) -> Seen:
    """Return everything that was printed."""
    found: Seen = defaultdict(set)
    more = (
        '[destinations.other]\nurl = "http://127.0.0.1:9/e"\napi_id = "x"\n'
        '[destinations.default.retry]\nmin_delay = "10ms"\n[space]\nbudget = "1GB"\n'
    )
    home.config.write_text(home.config.read_text() + more)
    everything(found, home, "empty")
    kill(home, "a", "b")
    with home.receiving(), home.running("run") as daemon:
        assert daemon.stderr is not None
        assert any(b"daemon.started" in line for line in daemon.stderr)
        run(found, home, "status")
        write(home, VIEW, "a")
        run(found, home, "drain")
    write(home, VIEW, "b", "c")
    run(found, home, "drain")
    execute(home, "UPDATE shipper_outbox SET delivered_at = '2026-01-01' WHERE id = 3")
    everything(found, home, "filled")
    change(found, home)
    everything(found, home, "changed")
    run(found, home, "service", "print")
    fresh = directory / "fresh"
    fresh.mkdir()
    run(
        found, home, "init", "--database", f"sqlite:///{fresh}/shop.db", "--url",
        "http://127.0.0.1:9/e", "-o", str(fresh / "shipper.toml"),
    )  # fmt: skip
    home.config.write_text("[log]\nlevel = 7\n")
    run(found, home, "check")
    run(found, home, "status")
    return found


def test_every_field_that_is_printed_is_in_the_manual(tmp_path: Path, sqlite_url: str) -> None:
    """With its type, and nothing is in the manual that no command prints."""
    seen = printed(Home(tmp_path, sqlite_url), tmp_path)
    missing = {
        at: kinds - table().get(at, frozenset())
        for at, kinds in seen.items()
        if kinds - table().get(at, frozenset())
    }
    assert missing == {}
    never = {at for at in table() if at not in seen and at[0] not in SILENT}
    assert never == set()


def test_every_command_is_in_the_manual() -> None:
    """Except those that print no JSON."""
    known = {command for command, _ in table()} | SILENT
    assert {command.words for command in COMMANDS} - known == set()


@pytest.mark.parametrize(("command", "shape"), [("demo", DemoSummary), ("sandbox", Summary)])
def test_what_takes_a_while_prints_what_the_manual_says(command: str, shape: type) -> None:
    """Their fields are those of one object."""
    told = {path.partition(".")[0] for of, path in table() if of == command}
    assert {field.name for field in fields(shape)} - told == set()
