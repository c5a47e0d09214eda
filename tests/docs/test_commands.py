"""Every command line of the README and the manual is one that exists.

Those that can be run are run, in their order.
"""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from sqlalchemy import make_url

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

_DEADLINE = 60.0
_DEMO = (
    "python3 -m venv .venv && .venv/bin/pip install -q -c .ci/constraints.txt -e . "
    "&& .venv/bin/shipper demo"
)
_TESTS = (
    "python3 -m venv .venv && .venv/bin/pip install -q -c .ci/constraints.txt "
    "-e '.[postgres,test]' && .venv/bin/pytest -n 3 --dist loadgroup"
)
_USER = "2b5c1e0a-7f39-4d0e-9a57-3d1f6f1c8e44"
RUN = {call for text in DOCUMENTS.values() for call in run_of(text)}
NAMES = {*FAMILIES, *(command.words for command in COMMANDS)}
# Nobody sits there to agree.
_ASKED = ("shipper dead retry", "shipper dead discard")


class Shell:
    """A directory in which lines are run as they stand, with `shipper` on the PATH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("SHIPPER_")}
        self.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(self, line: str, expected: int = 0) -> str:
        """Run a line to its end; return what it printed on stdout."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE,
            check=False,
        )
        assert done.returncode == expected, (line, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode()

    @contextmanager
    def running(self, line: str) -> Iterator[IO[bytes]]:
        """Run a line for the length of a `with` and give its stdout; SIGTERM has to end it well."""
        with subprocess.Popen(
            ["sh", "-c", f"exec {line}"],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
                process.terminate()
                assert process.wait(_DEADLINE) == 0, line
            finally:
                process.kill()

    @contextmanager
    def receiving(self, line: str, options: str = "") -> Iterator[None]:
        """Send to a sandbox for the length of a `with`, and never to the address in the file."""
        with self.running(f"{line} --port 0 --json {options}") as stdout:
            url = json.loads(stdout.readline())["events_url"]
            self.environ["SHIPPER_DESTINATIONS__DEFAULT__URL"] = url
            yield

    def store_api_id(self) -> None:
        """Put an API ID where the configuration looks for it."""
        file = self.directory / "api_id"
        file.write_text("any-will-do\n")
        file.chmod(0o600)

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement on the file that `shipper init` made."""
        connection = sqlite3.connect(self.directory / "shop.db", timeout=5)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def write(self, payload: Mapping[str, object]) -> None:
        """Write an event as an application does."""
        self.sql("INSERT INTO shipper_outbox (payload) VALUES (?)", json.dumps(payload))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Give an empty directory."""
    return Shell(tmp_path)


def event(user: str) -> dict[str, object]:
    """Return an event that the vendor would take."""
    body = {"type": "product", "product": {"sku": "COAT-42"}}
    context = [{"type": "user", "user": {"id": user}}]
    return {"type": "interact", "interact": body, "context": context}


# -- what stands there ------------------------------------------------------------------------


@pytest.mark.parametrize("line", sorted(set(calls())))
def test_every_command_line_is_one_that_exists(line: str) -> None:
    """It parses as a call: its words, its options and their values. Prose can name a command."""
    words = shlex.split(line)[1:]
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


def test_the_operators_lines_work_in_their_order(shell: Shell) -> None:
    """From `status` to `verify`, on an outbox with something of everything."""
    shell.run("shipper init")
    shell.store_api_id()
    shell.sql("INSERT INTO sqlite_sequence (name, seq) VALUES ('shipper_outbox', 4709)")
    shell.write(event("refused"))
    shell.write({"this": "is no event"})
    with shell.receiving("shipper sandbox", "--chaos 422:1"):
        shell.run("shipper drain", expected=1)
    shell.write(event("USER"))
    with shell.receiving("shipper sandbox"):
        said = {line: _as_a_person(shell, line) for line in command_lines("Operating")[:-1]}
    assert [line for line, text in said.items() if not text.strip()] == []
    rows = shell.sql("SELECT id, status FROM shipper_outbox ORDER BY id")
    assert rows == [(4710, "delivered"), (4711, "discarded"), (4712, "pending")]


def _as_a_person(shell: Shell, line: str) -> str:
    """Run a line, with the agreement that a person at a terminal would be asked for."""
    command, _, comment = line.partition("#")
    agreement = " --yes" if command.startswith(_ASKED) else ""
    # `hold` stands above `drain`, which says that something is left behind a held key.
    return shell.run(f"{command}{agreement} #{comment}", 75 if "drain" in command else 0)


def test_the_sandbox_line_fails_on_demand(shell: Shell) -> None:
    """The README's faults are understood; only the port is another, because tests run at once."""
    [line] = [line for line in command_lines("Operating") if line.startswith("shipper sandbox")]
    with shell.receiving(line):
        pass


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
