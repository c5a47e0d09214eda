"""Every command line of the README and the manual is one that exists.

Those that can be run are run, in their order.
"""

import json
import os
import re
import shlex
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import make_url

from shipper.cli.grammar.manual import CHAPTERS, SECTIONS
from shipper.cli.grammar.parser import build
from shipper.cli.grammar.registry import COMMANDS, FAMILIES
from shipper.cli.output.context import Context
from tests.docs.documents import (
    DOCUMENTS,
    ROOT,
    blocks,
    calls,
    command_lines,
    prose,
    quoted_of,
    run_of,
    tagged,
)
from tests.docs.runtimes import libpq_url, psql
from tests.docs.shell import Shell

_DEMO = (
    "python3 -m venv .venv && .venv/bin/pip install -q -c .ci/constraints.txt -e . "
    "&& .venv/bin/shipper demo"
)
_TESTS = (
    "python3 -m venv .venv && .venv/bin/pip install -q -c .ci/constraints.txt "
    "-e '.[postgres,test]' && .venv/bin/pytest -n 5 --dist loadgroup"
)
_USER = "2b5c1e0a-7f39-4d0e-9a57-3d1f6f1c8e44"
RUN = {call for text in DOCUMENTS.values() for call in run_of(text)}
GLOBAL = {"--json", "-v", "-q"}
NAMES = {*FAMILIES, *(command.words for command in COMMANDS)}


# -- what stands there ------------------------------------------------------------------------


@pytest.mark.parametrize("line", sorted(set(calls())))
def test_every_command_line_is_one_that_exists(line: str) -> None:
    """It parses as a call: its words, its options and their values. Prose can name a command."""
    words = [word for word in shlex.split(line)[1:] if word not in GLOBAL]
    if words[0] == "help":
        assert set(words[1:]) <= {"CHAPTER", *CHAPTERS, *SECTIONS}
    if words[0] == "COMMAND":
        words[0] = "status"
    if " ".join(words) in NAMES and line not in RUN:
        return
    if words[-1:] == ["--help"]:
        words.pop()
        assert words
    function, _, injected = build().parse_args(words, exit_on_error=False, print_error=False)
    assert function.__module__.startswith("shipper.cli.")
    assert injected == {"context": Context}


@pytest.mark.parametrize("line", [_DEMO, _TESTS])
def test_each_of_the_two_commands_is_one_line(line: str) -> None:
    """A newcomer copies one line; CI shows what it does on a fresh machine."""
    assert f"{line}\n" in [block.text for block in blocks()]


def test_ci_runs_the_readmes_own_test_command() -> None:
    """The very line, so that the README can't promise what nobody has tried."""
    lines = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert any(entry.startswith(_TESTS) for entry in lines)


def test_no_tag_stands_twice() -> None:
    """A test that asks for a tagged block gets one block, in whichever document it stands."""
    found = Counter((block.language, block.tag) for block in blocks() if block.tag)
    assert [one for one, times in found.items() if times > 1] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """A link into the repository names a file of it, and its fragment a heading of that file."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", prose(DOCUMENTS[path])):
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        assert not fragment or fragment in anchors(DOCUMENTS[file]), target


def anchors(text: str) -> set[str]:
    """Return the fragments that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Say `shipper dead\nlist`.", ["shipper dead list"]),
        ("```sh tag\nsudo shipper check # offline\n```\n", ["shipper check"]),
        ("1. Do:\n\n   ```sh\n   shipper sandbox &\n   ```\n", ["shipper sandbox"]),
        ("```sh\ncd x && A=1 .venv/bin/shipper demo | tail -1\n```\n", ["shipper demo"]),
        ("```sh\nshipper enqueue - --key 'a|b' <rows\n```\n", ["shipper enqueue - --key 'a|b'"]),
        ("```console\n$ shipper version\nshipper 0.1.0\n```\n", ["shipper version"]),
        ("```python\nshipper = 1\n```\nand `shipper.toml`, `shippers run`", []),
    ],
)
def test_calls_are_found_wherever_they_stand(text: str, found: list[str]) -> None:
    """In blocks, in lists, and in prose."""
    assert [*run_of(text), *quoted_of(text)] == found


# -- what it does -----------------------------------------------------------------------------


def test_the_demo_balances(shell: Shell) -> None:
    """`shipper demo` ends with a receipt whose books balance, and leaves nothing behind."""
    shown = shell.run("shipper demo --seconds 2 --json")
    receipt = json.loads(shown.splitlines()[-1])
    assert receipt["balanced"]
    assert receipt["delivered"] + receipt["dead"] == receipt["written"] > 0
    assert list(shell.directory.iterdir()) == []


def test_the_first_steps_lead_to_a_delivery(shell: Shell) -> None:
    """Init, check, run and status, as they stand there, with the README's own INSERT between."""
    init, check, run, status = command_lines("First steps")
    shell.run(init)
    shell.store_api_id()
    shell.run(check)
    log = shell.directory / "received"
    os.mkfifo(log)
    with (
        log.open("r+b", buffering=0) as received,
        shell.receiving("shipper sandbox", f"--log {log}"),
    ):
        with shell.running(run):
            connection = sqlite3.connect(shell.directory / "shop.db")
            connection.executescript(tagged("sql", "sqlite-shell"))
            connection.close()
            visit = json.loads(received.readline())
        assert (visit["user"], visit["processed"]) == (_USER, True)
        assert "default" in shell.run(status)
    assert shell.sql("SELECT status FROM shipper_outbox") == [("delivered",)]


def test_the_smallest_configuration_is_sound(shell: Shell) -> None:
    """It has all that is needed, once its two files are there."""
    place = shell.directory
    config = tagged("toml", "").replace("/var/lib/shop", str(place))
    (place / "shipper.toml").write_text(config.replace("/etc/shipper", str(place)))
    shell.store_api_id()
    shell.run("shipper db upgrade --create")
    shell.run("shipper check")


def test_the_roles_on_postgres_get_what_they_need(shell: Shell, bare_postgres_url: str) -> None:
    """The lines as they stand there; then shipper's own role ships what the application's wrote."""
    us, app = (f"{name}_docs_{os.getpid()}" for name in ("shipper", "shop"))
    url = make_url(bare_postgres_url)
    ours = libpq_url(url.set(username=us, password="SECRET").render_as_string(hide_password=False))
    as_owner = f"psql -X -q -v ON_ERROR_STOP=1 -d '{libpq_url(bare_postgres_url)}'"
    script = tagged("sh", "postgres").replace("ROLE shipper", f"ROLE {us}")
    script = script.replace("TO shipper", f"TO {us}").replace("YOUR_APP", app)
    script = script.replace("shipper init", f"shipper init --database '{ours}' --api-id any")
    psql(bare_postgres_url, f"CREATE ROLE {app}")
    try:
        shell.run(f"set -e\n{script.replace('psql shop', as_owner)}")
        psql(bare_postgres_url, f"SET ROLE {app};\n{tagged('sql', 'psql')}")
        with shell.receiving("shipper sandbox"):
            shell.run("shipper drain")
        shown = psql(bare_postgres_url, "SELECT event_id, status FROM shipper_outbox")
        assert re.search(r"order-W-4711 *[|] delivered", shown)
    finally:
        for role in (us, app):
            psql(bare_postgres_url, f"DROP OWNED BY {role}; DROP ROLE {role}")
