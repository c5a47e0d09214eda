"""What commands are called, how they are explained, and what they say where nothing is meant."""

import re
from pathlib import Path

import pytest

from shipper.cli.grammar.facts import EXIT_STATUSES, short_statuses
from shipper.cli.grammar.manual import CHAPTERS, text_of
from shipper.cli.grammar.parser import names
from shipper.cli.grammar.registry import COMMANDS
from shipper.cli.setup.man_page import PAGE, page
from tests.cli.command_line import VIEW, Home
from tests.cli.terminal import Terminal, draw
from tests.cli.test_operating_commands import write
from tests.docs.documents import README, TEXT


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox on SQLite."""
    return Home(tmp_path, sqlite_url)


# -- near misses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("db migrate", "db upgrade"), ("migrate", "db upgrade"), ("upgrade", "db upgrade"),
        ("db version", "db current"), ("db grnats", "db grants"), ("ls", "events list"),
        ("events ls", "events list"), ("dead rm", "dead discard"), ("dead requeue", "dead retry"),
        ("start", "run"), ("serve", "run"), ("ps", "status"), ("stauts", "status"),
        ("STATUS", "status"), ("pause", "hold"), ("resume", "release"),
        ("reroute", "events reroute"),
        ("events move", "events reroute"), ("retry", "dead retry"), ("dlq", "dead"),
        ("send", "enqueue"), ("config get", "config show"), ("man", "help"), ("purge", "prune"),
        ("service status", "service print"), ("shovel", "events reroute"), ("enque", "enqueue"),
    ],
)  # fmt: skip
def test_a_command_that_is_not_there_leads_to_the_one_that_is_meant(
    home: Home, said: str, meant: str
) -> None:
    """Also for the words of other programs."""
    ran = home.call(*said.split())
    assert (ran.status, ran.out) == (2, "")
    assert f"there is no command {said}\n  hint: did you mean shipper {meant}?\n" in ran.err


@pytest.mark.parametrize("said", ["xyzzy", "db xyzzy"])
def test_what_is_near_to_nothing_gets_the_help(home: Home, said: str) -> None:
    """And no random suggestion."""
    family = said.rpartition(" ")[0]
    hint = " ".join(filter(None, ("shipper", family, "--help")))
    assert home.call(*said.split()).err.endswith(f"hint: {hint}\n")


def test_whoever_asks_for_the_log_is_told_where_it_is(home: Home) -> None:
    """There is no command for it."""
    assert "journalctl -u shipper" in home.call("logs").err


# -- help ---------------------------------------------------------------------------------------


def test_the_help_lists_first_steps_in_the_order_in_which_one_takes_them(home: Home) -> None:
    """Groups by need, and a family where its group is."""
    shown = home.call("--help").out
    places = [shown.index(f"│ {word} ") for word in ("demo", "init", "check", "run", "status")]
    assert places == sorted(places)
    groups = [
        shown.index(f" {name} ─") for name in ("First steps", "The daemon", "Events", "Upkeep")
    ]
    assert groups == sorted(groups)
    assert " Commands ─" not in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_a_commands_usage_names_its_arguments_as_the_table_does(home: Home, command: str) -> None:
    """And no flag has a default worth a word."""
    shown = home.call(*command.words.split(), "--help").out  # type: ignore[attr-defined]
    usage, _, rest = shown.partition("\n")
    assert "ARGS" not in usage
    assert "[default: False]" not in rest
    assert 'default: ""' not in rest
    named = re.findall(r"^│ \*?  ?([A-Z]+) ", rest.partition("Parameters ─")[0], re.MULTILINE)
    for name in named:
        assert name in usage


def test_the_manual_lists_its_chapters_and_prints_each(home: Home) -> None:
    """As plain text without a terminal."""
    listed = home.call("help")
    assert listed.status == 0
    for name in CHAPTERS:
        assert f"\n{name}\t" in listed.out
        assert home.call("help", name).out == text_of(name).rstrip("\n") + "\n"
        assert home.call("help", name, "--json").value == {"chapter": name, "text": text_of(name)}


def test_a_chapter_is_laid_out_on_a_terminal(home: Home) -> None:
    """Through the pager that the person has, and without a mark of Markdown."""
    shown = draw(home, "help", "states", seen="lets it go on", columns=80, PAGER="cat")
    assert shown.has_colours
    assert "|" not in shown.text
    assert "`" not in shown.text
    plain = draw(home, "help", "states", seen="lets it go on", PAGER="cat", NO_COLOR="1")
    assert not plain.has_colours


@pytest.mark.parametrize(
    "environ",
    [
        {"PATH": "/nonexistent"},
        {"PAGER": "/nonexistent/pager -R"},
        {"PAGER": ""},
        {"PAGER": "less 'unclosed"},
        {"TERM": "dumb", "PATH": "/usr/bin:/bin"},
    ],
    ids=["a till without less and more", "no such pager", "none wanted", "a typo", "dumb"],
)
def test_without_a_pager_a_chapter_is_printed(home: Home, environ: dict[str, str]) -> None:
    """The command neither fails nor waits for a key, and nothing says `not found`."""
    home.environ.update(environ)
    shown = Terminal(home, "help", "states").answer()
    assert "lets it go on" in shown
    assert "not found" not in shown


def test_less_shows_colours_as_colours_whatever_its_own_options_are(
    home: Home, tmp_path: Path
) -> None:
    """An operator's LESS replaces ours, and without -R it shows the codes."""
    less = tmp_path / "less"
    less.write_text("#!/bin/sh\necho options: $LESS $@\ncat >/dev/null\n")
    less.chmod(0o755)
    home.environ |= {"PAGER": f"{less} -i", "LESS": "-S"}
    assert "options: -S -i -R" in Terminal(home, "help", "states").answer()


def test_a_pager_with_options_that_is_left_early_is_no_failure(home: Home) -> None:
    """It gets its options; the rest of the chapter has no reader."""
    home.environ["PAGER"] = "head -n 2"
    assert len(Terminal(home, "help", "json").answer().splitlines()) == 2


def test_help_of_a_command_is_its_own(home: Home) -> None:
    """Whatever depth it has."""
    for words in ("drain", "dead", "dead retry"):
        asked = home.call("help", *words.split())
        assert asked.out.startswith(f"Usage: shipper {words} ")
    assert (
        home.call("help", "drain").out.partition("Global")[0]
        == (home.call("drain", "--help").out.partition("Global")[0])
    )


@pytest.mark.parametrize(
    ("words", "meant"),
    [("ordr", "help order"), ("jason", "help json"), ("dead rety", "dead retry")],
)
def test_a_chapter_that_is_not_there_is_a_slip_of_another(
    home: Home, words: str, meant: str
) -> None:
    """Exit status 2."""
    ran = home.call("help", *words.split())
    assert (ran.status, ran.out) == (2, "")
    assert f"did you mean shipper {meant}?" in ran.err


def test_what_is_no_chapter_is_said_to_be_none(home: Home) -> None:
    """With where the chapters are listed, not the commands alone."""
    ran = home.call("help", "zzzz")
    assert (ran.status, ran.out) == (2, "")
    assert "there is no chapter or command zzzz\n  hint: shipper help\n" in ran.err


def test_exit_statuses_are_the_same_everywhere(home: Home) -> None:
    """In the help, the documents, the man page and the manual."""
    assert short_statuses() in " ".join(TEXT.split())
    assert short_statuses() in " ".join(home.call("--help").out.split())
    roff = page().replace("\\", "")
    for code, meaning in EXIT_STATUSES.items():
        assert f"fB{code}fR\n{meaning}" in roff
        assert f"| `{code}` | {meaning} |" in text_of("exit-status")
    assert PAGE == "shipper.1"


@pytest.mark.parametrize("name", ["states", "answers"])
def test_a_table_of_the_readme_is_that_of_the_manual(name: str) -> None:
    """Where the README says something of a state or an answer, it says what the manual says."""
    rows = [line for line in text_of(name).splitlines() if line.startswith("|")]
    assert len(rows) > 4
    told = {row.split("|")[1]: row for row in rows}
    said = {row.split("|")[1]: row for row in README.read_text("utf-8").splitlines() if "|" in row}
    shared = (told.keys() & said.keys()) - {"---"}
    assert [said[name] for name in shared] == [told[name] for name in shared]


def test_every_name_of_a_synonym_is_a_command(home: Home) -> None:
    """A hint must be a command that works."""
    from shipper.cli.grammar.near import _COMMANDS, _WORDS

    for meant in _COMMANDS.values():
        assert home.call(*meant.split(), "--help").status == 0
    last = {command.words.split()[-1] for command in COMMANDS} | set(names())
    assert {word for found in _WORDS.values() for word in found} - last == set()


# -- quiet and verbose --------------------------------------------------------------------------


def test_quiet_leaves_the_answer_and_verbose_says_what_is_used(home: Home) -> None:
    """On stderr, without a secret."""
    write(home, VIEW, "a")
    plain, loud, quiet = (home.call("status", *flag) for flag in ((), ("-v",), ("-q",)))
    assert plain.out == loud.out == quiet.out
    assert quiet.err == ""
    assert f"configuration: {home.config.name}" in loud.err
    assert "outbox: sqlite:///" in loud.err
    assert "configuration:" not in plain.err


def test_a_quiet_init_says_what_it_wrote_and_no_more(home: Home, tmp_path: Path) -> None:
    """The next steps are left out."""
    place = tmp_path / "new"
    place.mkdir()
    given = ("-q", "--database", f"sqlite:///{place}/a.db", "-o", str(place / "a.toml"))
    ran = home.call("init", *given)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.count("\n") == 1


# -- messages -----------------------------------------------------------------------------------


def test_check_without_an_api_id_says_what_to_do(home: Home) -> None:
    """One place, the one in the configuration, and where the API ID belongs."""
    text = home.config.read_text().replace('api_id = "secret-id"', 'api_id_file = "none"')
    home.config.write_text(text)
    ran = home.call("check")
    assert ran.status == 78
    assert ran.err == (
        "shipper.toml:5: the API ID of destination default: can't read none:"
        " No such file or directory\n"
        "  hint: put the API ID into none, mode 0600\n"
    )


def test_a_configuration_that_is_not_there_has_no_line(home: Home) -> None:
    """And no wording of Python's."""
    ran = home.call("status", SHIPPER_CONFIG="/nope")
    assert ran.err.startswith("shipper: /nope: can't be read: No such file or directory\n  hint: ")


def test_exported_events_are_recognised(home: Home) -> None:
    """The error suggests --rows."""
    write(home, VIEW, "a", "b")
    home.call("events", "export", "till.jsonl")
    ran = home.call("enqueue", "till.jsonl")
    assert ran.status == 1
    assert "did you mean shipper enqueue --rows till.jsonl?" in ran.err
    (home.directory / "own.jsonl").write_text('{"type":1}\n{"no":2}\n')
    assert "--rows" not in home.call("enqueue", "own.jsonl").err


def test_a_fault_in_a_file_has_one_position(home: Home) -> None:
    """That of the file, not another within the line."""
    (home.directory / "bad.jsonl").write_text(f"{VIEW}\n{VIEW}\n{{not json\n")
    ran = home.call("enqueue", "bad.jsonl")
    assert ran.err.startswith("bad.jsonl:3: event ")
    assert "line 1" not in ran.err


def test_an_error_as_json_is_as_compact_as_everything_else(home: Home) -> None:
    """One line without blanks between."""
    ran = home.call("events", "show", "7", "--json")
    assert ran.err.startswith('{"error":"there is no event 7","hint":"')


def test_nagios_has_no_json(home: Home) -> None:
    """The plugin's line isn't JSON."""
    assert home.call("status", "--nagios", "--json").status == 2


def test_tries_stand_beside_what_was_charged(home: Home) -> None:
    """A dead letter that was refused at once was tried, and nothing was charged to it."""
    write(home, '{"type": "view", "note": "no view"}', "a")
    assert "tried        never; 0 of 20 failures charged" in home.call("events", "show", "1").out
    assert home.call("drain").status == 1
    assert "tried        once; 0 of 20 failures charged" in home.call("events", "show", "1").out
    told = home.call("dead", "show", "1", "--json").value
    assert (told["attempts"], told["tries"], len(told["history"])) == (0, 1, 1)
