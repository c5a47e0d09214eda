"""Every fault at once, each with its place and the nearest name, and never with a secret."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.config import Settings
from shipper.config.toml import read
from shipper.errors import ConfigError

Load = Callable[..., Settings]


def problems(configured: Load, *arguments: object, **named: object) -> list[str]:
    """Return the problems of a load, without the directory."""
    with pytest.raises(ConfigError) as caught:
        configured(*arguments, **named)
    return [problem.rpartition("/shipper.toml:")[2] or problem for problem in caught.value.problems]


def test_all_faults_are_reported_at_once_in_their_order(configured: Load) -> None:
    """One run of `shipper check` is enough to mend a file."""
    text = """\
databse = 1
[destinations.default]
url = "http://api.example.com/"
timout = "10s"
max_in_flight = "lots"   # not a number
[destinations.Bad-Name]
url = "https://h/"
[destinations]
other = 3
[schedule]
windows = [
  "* * *",
]
min_delay = "1s"
[log]
level = "loud"
"""
    environ = {"SHIPPER_LOG__FORMAT": "xml", "SHIPPER_LOGS__LEVEL": "info"}
    assert problems(configured, text, environ) == [
        '1: unknown setting databse; did you mean "database"?',
        "1: database.url or url_file: is missing",
        "2: destinations.default.api_id or api_id_file: is missing",
        (
            "3: destinations.default.url: must be https, or stay on this machine: what is sent is"
            " secret"
        ),
        '4: unknown setting destinations.default.timout; did you mean "timeout"?',
        '5: destinations.default.max_in_flight: must be a whole number from 1 to 1024, not "lots"',
        "6: destinations.Bad-Name: a name is made of a-z, 0-9 and _, and begins with a letter",
        "9: destinations.other: must be a section, not a value",
        '11: schedule.windows: entry 1 must have 5 fields like "*/5 8-19 * * mon-fri", not "* * *"',
        '14: unknown setting schedule.min_delay; did you mean "destinations.NAME.retry.min_delay"?',
        '16: log.level: must be one of debug, info, warning, error, not "loud"',
        'SHIPPER_LOGS__LEVEL: no such setting; did you mean "SHIPPER_LOG__LEVEL"?',
        'SHIPPER_LOG__FORMAT: log.format: must be one of auto, console, json, journal, not "xml"',
    ]


def test_every_window_is_told_beside_other_faults(configured: Load) -> None:
    """Those without five fields, and those whose fields mean nothing; a good one isn't."""
    text = (
        '[database]\nurl = "postgres:///x"\n[destinations.default]\nurl = "https://h/"\n'
        'api_id = "x"\ntimeout = "soon"\n[schedule]\nwindows = '
    )
    hour = "'* 25 * * *' is not a cron expression: hour: 25 is not from 0 to 23"
    day = "'* * * * 8' is not a cron expression: day of week: 8 is not from 0 to 7"
    example = 'must have 5 fields like "*/5 8-19 * * mon-fri", not'
    short = f'entry 1 {example} "* * *"; entry 2 {example} ""; {day}'
    for windows, told in {
        '["* 25 * * *", "* * * * *", "* * * * 8"]': [hour, day],
        '["* * *", "", "* * * * 8"]': [short],
    }.items():
        first, *others = problems(configured, text + windows)
        assert first.startswith("6: destinations.default.timeout: must be a duration")
        assert others == [f"8: schedule.windows: {fault}" for fault in told]


def test_an_empty_file_says_what_is_needed(configured: Load) -> None:
    """Two things have no default: the database and a destination."""
    assert problems(configured, "") == [
        "1: database.url or url_file: is missing",
        "1: no [destinations.NAME]: one is needed",
    ]


def test_a_section_is_not_a_value(configured: Load) -> None:
    """`retention = "7d"` is what somebody means by [retention] delivered."""
    text = 'retention = "7d"\n[database]\nurl = "postgres:///x"\n'
    assert problems(configured, text)[0] == "1: retention: must be a section, not a value"


def test_a_destination_needs_a_url_and_an_api_id(configured: Load) -> None:
    """Both are missed at the line of its header."""
    assert problems(configured, '[database]\nurl = "postgres:///x"\n\n[destinations.shop]\n') == [
        "4: destinations.shop.url: is missing",
        "4: destinations.shop.api_id or api_id_file: is missing",
    ]


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [
        ("SHIPPER_DESTINATIONS__DEFAULT__TIMOUT", "SHIPPER_DESTINATIONS__DEFAULT__TIMEOUT"),
        ("SHIPPER_DESTINATIONS__DEFAULT__RETRY__TIMEOUT", "SHIPPER_DESTINATIONS__DEFAULT__TIMEOUT"),
        ("SHIPPER_LOG__level", "SHIPPER_LOG__LEVEL"),
        ("SHIPPER_LOG__LEVEL__", "SHIPPER_LOG__LEVEL"),
    ],
)
def test_a_mistyped_variable_gets_the_nearest_name(
    configured: Load, variable: str, suggestion: str
) -> None:
    """A variable that looks like a setting and is none would otherwise be silently in vain."""
    (problem,) = problems(configured, environ={variable: "info"})
    assert problem == f'{variable}: no such setting; did you mean "{suggestion}"?'


def test_a_name_that_is_like_no_other_gets_no_suggestion(configured: Load) -> None:
    """A far-fetched guess is worse than none."""
    assert problems(configured, more="[zzz]\n") == ["6: unknown setting zzz"]
    assert problems(configured, environ={"SHIPPER___": ""}) == ["SHIPPER___: no such setting"]


def test_names_are_harmless_to_a_terminal(configured: Load) -> None:
    """A key can be any text; it is shown cut and escaped, on one line."""
    (problem,) = problems(configured, more='"\\u001b[2J\\n" = 1\n')
    assert problem == "6: unknown setting destinations.default.'\\x1b[2J\\n'"
    (problem,) = problems(configured, more=f"{'x' * 9999} = 1\n")
    assert len(problem) < 200


def test_broken_toml_shows_its_line_and_a_caret(configured: Load) -> None:
    """The usual slip, a text without quotes, is explained."""
    (problem,) = problems(configured, more='max_rate = 5\ntimeout = 10s  # "10s"\n')
    first, source, caret = problem.splitlines()
    assert first.startswith("7: broken TOML: Expected newline")
    assert first.endswith('(text needs quotes: name = "...")')
    assert source == '    7 | timeout = 10s  # "10s"'
    assert source[caret.index("^")] == "s"


@pytest.mark.parametrize(
    ("more", "start"),
    [
        ("max_rate = 5\nmax_rate = 6\n", "7: broken TOML: Cannot overwrite a value (it is set tw"),
        ("[log]\n[log]\n", "7: broken TOML: Cannot declare"),
        ("timeout 5\n", "6: broken TOML: Expected '=' after a key in a key/value pair (a setting"),
        ("windows = [\n\n", "6: broken TOML: Invalid value (the file ends in the middle of it)"),
        ("[log", "6: broken TOML: Expected ']' at the end of a table declaration"),
        (f"x = {'9' * 5000}\n", "1: holds a number with too many digits"),
        (f"x = {'[' * 5000}\n", "1: is nested too deeply"),
        ("# " + "x" * 2**20, "1: is larger than 1 MiB"),
    ],
)
def test_what_toml_refuses_has_a_place(configured: Load, more: str, start: str) -> None:
    """Also where the parser itself doesn't know one."""
    (problem,) = problems(configured, more=more)
    assert problem.startswith(start)


@pytest.mark.parametrize(
    "line",
    [
        "api_id = hush", 'api_id = "hush', "ap_id = hush", '"hush', "api_id hush",
        'timeout = "1s" api_id = "hush"', "proxy = http://u:hush@h", "api_id = '''\nhush",
        '[destinations.x] api_id = "hush"', "retry = { hush", '[database]\nurl = "p://u:hush@h',
        "timeout = 1s https://u:hush@h", "\\ hush", "timeout = 1s \x1b hush",
    ],
)  # fmt: skip
def test_a_broken_line_is_not_quoted_where_it_may_hold_a_secret(
    configured: Load, line: str
) -> None:
    """A message ends up in a log and in a bug report."""
    (problem,) = problems(configured, more=line)
    assert "hush" not in problem
    assert "broken TOML" in problem


def test_what_is_not_utf8_has_a_line(tmp_path: Path) -> None:
    """An editor's encoding is told from a mistake in the text; its byte order mark is let pass."""
    file = tmp_path / "shipper.toml"
    file.write_bytes(b"# one\n# two \xfc\n")
    with pytest.raises(ConfigError, match=r"shipper.toml:2: is not UTF-8"):
        read(file)
    file.write_bytes(b"\xef\xbb\xbf[log]\r\nlevel = 'info'\r\n")
    assert read(file).line(("log", "level")) == 2
