"""The shell around the commands: options anywhere, messages, exit statuses, cheap starts."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from cyclopts import App
from rich.console import Console

from shipper import __version__
from shipper.cli.grammar import parser, registry
from shipper.cli.output.context import Context
from shipper.cli.output.table import print_table
from shipper.errors import UsageError
from shipper.wording.safe_text import printable
from tests.cli.command_line import DEADLINE, VIEW, Home


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox."""
    return Home(tmp_path, sqlite_url)


# -- the command line -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "other.toml", "config", "show"),
        ("config", "-c", "other.toml", "show"),
        ("config", "show", "-c", "other.toml"),
        ("config", "show", "--config=other.toml"),
    ],
)
def test_the_config_option_is_accepted_anywhere(home: Home, arguments: tuple[str, ...]) -> None:
    """`-c FILE` means the same before, between and after the words of a command."""
    (home.directory / "other.toml").write_bytes(home.config.read_bytes())
    home.config.write_text("broken")
    assert home.call("--json", *arguments).value["destinations.default.api_id"] == "****"


def test_the_config_can_come_from_a_variable(home: Home) -> None:
    """$SHIPPER_CONFIG names the file where no option does."""
    home.config.rename(home.directory / "elsewhere.toml")
    assert home.call("config", "show", SHIPPER_CONFIG="elsewhere.toml").status == 0


def test_a_lone_hyphen_is_a_value(home: Home) -> None:
    """As a file it is stdin, and anywhere else what it is."""
    assert home.call("hold", "--key", "-").status == 0
    assert home.call("enqueue", "--key", "-", "-", "--json", stdin=VIEW.encode()).status == 0
    told = home.call("events", "list", "--key", "-", "--json").value
    assert told["ordering_key"] == "-"
    assert home.call("-c", "-", "status").err.startswith("shipper: -: can't be read")


def test_a_mistyped_command_is_answered_with_the_nearest_one(home: Home) -> None:
    """The suggestion comes without importing a single command, with exit status 2."""
    ran = home.call("stauts")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        "shipper: there is no command stauts\n  hint: did you mean shipper status?\n"
    )
    assert "did you mean shipper dead list?" in home.call("dead", "lst").err
    assert home.call("xyzzy").err.endswith("hint: shipper --help\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("version", "--widd"), "Unknown option"),
        (("version", "extra"), "Unused Tokens"),
        (("version", "-c"), "-c requires an argument"),
        (("drain", "--timeout", "soon"), "must be a duration"),
        (("sandbox", "--port", "http"), "unable to convert"),
        (("db", "grants"), "--role"),
        (("enqueue", "--kye", "k"), "Unknown option: --kye. Did you mean --key?"),
        (("sandbox", "--port", "-"), 'convert "-"'),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what(
    home: Home, arguments: tuple[str, ...], message: str
) -> None:
    """Nothing is on stdout, and stderr says what is wrong and where the help is."""
    ran = home.call(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert "--help" in ran.err


def test_an_error_is_json_where_json_was_asked_for(home: Home) -> None:
    """With --json stderr has one object with the error and the hint."""
    ran = home.call("stauts", "--json")
    assert ran.out == ""
    assert ran.error == {
        "error": "there is no command stauts",
        "hint": "did you mean shipper status?",
    }


# -- help -------------------------------------------------------------------------------------


def test_help_lists_every_command_with_a_summary(home: Home) -> None:
    """`shipper --help` shows each first word, what it is for, and the global options."""
    shown = home.call("--help").out
    for word in parser.names():
        line = next(line for line in shown.splitlines() if line.startswith(f"│ {word} "))
        assert line.strip("│ ").removeprefix(word).strip()
    assert "--config -c" in shown


@pytest.mark.parametrize("command", registry.COMMANDS, ids=lambda command: command.words)
def test_every_command_has_help_with_examples(home: Home, command: registry.Command) -> None:
    """The help of a command explains each of its options and ends with its examples."""
    ran = home.call(*command.words.split(), "--help")
    assert ran.status == 0
    for example in command.examples:
        assert f"  {example}\n" in ran.out


@pytest.mark.parametrize(
    "example", [line for command in registry.COMMANDS for line in command.examples]
)
def test_every_example_in_the_help_is_accepted(example: str) -> None:
    """An example parses as a call of the command that it is an example of."""
    words = shlex.split(re.split(r"[|>]", example)[0])[1:]
    own = ["file" if word == "-" else word for word in words if word not in {"--json", "-v"}]
    if "-c" in own:
        del own[own.index("-c") : own.index("-c") + 2]
    app: App = parser.build()
    function, _, injected = app.parse_args(own, exit_on_error=False, print_error=False)
    assert function.__module__.startswith("shipper.cli.")
    assert injected == {"context": Context}


# -- failures ---------------------------------------------------------------------------------


def test_every_fault_of_the_configuration_is_told_with_its_line(home: Home) -> None:
    """One line for each fault, beginning with file and line; exit status 78."""
    home.config.write_text(
        '[destinations.default]\nurl = "https://a/"\ntimout = 3\n[log]\nlevel=1\n'
    )
    ran = home.call("status")
    assert ran.status == 78
    lines = ran.err.splitlines()
    assert lines[0].startswith("shipper.toml:1: database.url")
    assert any(
        line.startswith("shipper.toml:3: unknown setting destinations.default.timout; did you mean")
        for line in lines
    )
    assert any(line.startswith("shipper.toml:5: log.level") for line in lines)
    assert len(home.call("status", "--json").error["problems"]) == len(lines)


def test_no_configuration_is_78_with_the_command_that_writes_one(home: Home) -> None:
    """The hint is the command that writes a configuration."""
    home.config.unlink()
    ran = home.call("status")
    assert ran.status == 78
    assert "hint: shipper init" in ran.err


def test_a_database_that_is_not_there_is_69_or_78(home: Home) -> None:
    """A server can come back (69); a missing file is a mistake of set-up (78)."""
    home.configure("postgresql://nobody@127.0.0.1:9/none", "https://a.example/")
    assert home.call("db", "current").status == 69
    home.configure(f"sqlite:///{home.directory}/none.db", "https://a.example/")
    ran = home.call("db", "current")
    assert ran.status == 78
    assert "hint: is the path right, is the disk mounted?" in ran.err


# Everything is imported while it is readable; then root becomes a user without that right.
_NOBODY = """
import os
import shipper.cli.commands.config
import shipper.cli.shell
import shipper.config.loader
from shipper.cli import main
if os.geteuid() == 0:
    os.setuid(65534)
main()
"""


def test_a_config_that_may_not_be_read_is_77(home: Home) -> None:
    """The operating system's no has an exit status of its own."""
    home.config.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", _NOBODY, "config", "show", "-c", str(home.config)],
        capture_output=True,
        text=True,
        env=home.environ,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 77, done.stderr
    assert "can't read" in done.stderr or "not allowed" in done.stderr


def test_a_reader_that_goes_away_is_no_failure_to_report(home: Home) -> None:
    """`shipper … | head` ends as if SIGPIPE had ended it, without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "shipper", "config", "show"],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=home.directory,
        env=home.environ,
        timeout=DEADLINE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", ["config show", "status --json", "help json", "--help"])
@pytest.mark.parametrize(
    ("stdout", "said"),
    [(">/dev/full", "No space left on device"), ("1</dev/null", "Bad file descriptor")],
)
def test_an_answer_that_cannot_be_written_is_no_bug(
    home: Home, words: str, stdout: str, said: str
) -> None:
    """A full disk, a descriptor that only reads: as other programs do, one line and a 1."""
    command = f"exec {shlex.quote(sys.executable)} -m shipper {words} {stdout}"
    done = subprocess.run(
        ["sh", "-c", command],
        stderr=subprocess.PIPE,
        cwd=home.directory,
        env=home.environ,
        timeout=DEADLINE,
        check=False,
    )
    told = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 1
    assert f"can't write to stdout: {said}" in told
    assert "Traceback" not in done.stderr.decode()


def test_closed_streams_are_survived(home: Home) -> None:
    """A caller that closes stdin, stdout and stderr gets an exit status all the same."""
    command = f"exec {shlex.quote(sys.executable)} -m shipper version <&- >&- 2>&-"
    done = subprocess.run(
        ["sh", "-c", command], cwd=home.directory, env=home.environ, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0


def test_a_directory_that_was_removed_is_no_bug(home: Home) -> None:
    """What needs none goes on there; what does says so."""
    gone = "mkdir gone && cd gone && rmdir ../gone && exec $0 -m shipper $*"
    for words, status, said in (("version", 0, ""), ("init", 2, "current directory was removed")):
        done = subprocess.run(
            ["sh", "-c", gone, sys.executable, words],
            cwd=home.directory,
            env={**home.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert said in done.stderr.decode()


def test_a_bug_shows_its_traceback_and_ends_with_70(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator can't fix a bug: its traceback is printed, and the status is no finding's."""
    bad = registry.Command("version", "nowhere:version", registry.COMMANDS[0].group, ())
    monkeypatch.setattr(parser, "COMMANDS", (bad,))
    ran = home.call("version")
    assert ran.status == 70
    assert "Traceback" in ran.err
    assert ran.err.endswith("please report the lines above\n")


# -- the voice --------------------------------------------------------------------------------


def test_version_is_told_in_one_object(home: Home) -> None:
    """It names shipper, Python, the SQLite library with its bug or without, and SQLAlchemy."""
    told = home.call("version", "--json").value
    assert told["version"] == __version__ == home.call("--version").out.strip()
    assert set(told) == {"version", "python", "sqlite", "sqlalchemy"}
    assert set(told["sqlite"]) == {"name", "version", "wal_reset_safe"}
    assert home.call("version").out.startswith(f"shipper {__version__}\n")


def test_a_program_gets_tabs_and_a_person_columns(home: Home) -> None:
    """The same table is cut with `cut -f` from a pipe and read on a terminal; NO_COLOR holds."""
    piped = home.call("config", "show").out
    assert "log.level\tinfo\n" in piped
    shown = on_terminal(home, "config", "show", "NO_COLOR=1", "COLUMNS=100")
    assert "\t" not in shown
    assert re.search(r"^log\.level {20,}info", shown, re.MULTILINE)
    assert "\x1b[3" not in shown


def on_terminal(home: Home, *words: str) -> str:
    """Return what a command shows on a terminal; words like A=b are variables."""
    variables = [word for word in words if "=" in word]
    leader, follower = pty.openpty()
    with subprocess.Popen(
        ["env", *variables, sys.executable, "-m", "shipper", *words[: -len(variables)]],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=home.directory,
        env=home.environ,
    ) as process:
        os.close(follower)
        shown = b""
        try:
            while chunk := os.read(leader, 65536):
                shown += chunk
        except OSError:  # Linux: EIO once the other end is closed
            pass
        process.wait(DEADLINE)
    os.close(leader)
    return shown.decode()


def test_a_narrow_terminal_cuts_nothing_off() -> None:
    """Where the columns don't fit each row becomes a block, and every value is there whole."""
    rows = [["a-rather-long-name", "x" * 50], ["b", "y"]]
    narrow, wide = StringIO(), StringIO()
    print_table(["name", "reason"], rows, Console(file=narrow, width=30))
    assert narrow.getvalue() == (
        "name    a-rather-long-name\n" + f"reason  {'x' * 50}\n\nname    b\nreason  y\n\n"
    )
    print_table(["name", "reason"], rows, Console(file=wide, width=80))
    assert wide.getvalue().splitlines()[0].split() == ["name", "reason"]
    assert "x" * 50 in wide.getvalue()


def test_numbers_stand_under_each_other_and_a_state_has_its_colour() -> None:
    """In columns; in blocks a value has no more than itself, and one that is empty is left out."""
    header, rows = ["state", "pending", "why"], [["ready", "7", ""], ["paused", "1234", "401"]]
    wide, narrow, plain = StringIO(), StringIO(), StringIO()
    print_table(header, rows, Console(file=wide, width=80, force_terminal=True))
    assert "\x1b[32mready \x1b[0m" in wide.getvalue()
    assert "\x1b[1;31mpaused\x1b[0m" in wide.getvalue()
    print_table(header, rows, Console(file=plain, width=80))
    assert [line.rstrip() for line in plain.getvalue().splitlines()] == [
        "state   pending  why", "ready         7", "paused     1234  401",
    ]  # fmt: skip
    print_table(header, rows, Console(file=narrow, width=15, force_terminal=True))
    assert "\x1b[1mpending  \x1b[0m1234\n" in narrow.getvalue()
    assert narrow.getvalue().count("why") == 1


def test_what_came_from_outside_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """An escape sequence, a tab or a line end in a key is shown, not obeyed."""
    assert printable("a\x1b[2J\tb\nc") == r"a\x1b[2J\tb\nc"
    Context().table(["key"], [["a\tb\x07"], [None]])
    assert capsys.readouterr().out == "key\na\\tb\\x07\n\n"


def test_json_holds_what_utf8_cannot(capfd: pytest.CaptureFixture[str]) -> None:
    """A key with bytes that are no UTF-8 leaves as JSON that every parser takes."""
    program = (
        "from shipper.cli import shell; from shipper.cli.output.context import Context;"
        " shell._repair_streams(); Context().emit({'key': 'ä\\udcff'})"
    )
    subprocess.run([sys.executable, "-X", "utf8", "-c", program], timeout=DEADLINE, check=True)
    assert json.loads(capfd.readouterr().out) == {"key": "ä\udcff"}


def test_quiet_silences_talk_and_only_talk(capsys: pytest.CaptureFixture[str]) -> None:
    """`--quiet` leaves the answer alone."""
    for context in (Context(verbosity=-1), Context()):
        context.say("answer")
        context.note("talk")
    assert capsys.readouterr() == ("answer\nanswer\n", "talk\n")


def test_nothing_is_undone_unless_somebody_agrees() -> None:
    """Without a terminal `--yes` is needed; with `--yes` there is no question."""
    Context().confirm("Discard 5 events?", yes=True)
    with pytest.raises(UsageError, match="no terminal to confirm on"):
        Context().confirm("Discard 5 events?", yes=False)
