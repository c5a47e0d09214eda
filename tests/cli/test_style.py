"""When there are colours, and what a payload looks like: the rules that all commands share."""

import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest

from shipper.cli.output.payload import MOST_LINES, readable
from shipper.policy.state import State
from shipper.wording.colours import STATES, ascii_only, coloured
from shipper.wording.quantities import age, count, lasting, several


class Stream(StringIO):
    """A stream that is a terminal or not, in an encoding."""

    def __init__(self, *, tty: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._tty = tty
        self._encoding = encoding

    def isatty(self) -> bool:
        """Return what it was made to be."""
        return self._tty

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return its encoding."""
        return self._encoding


@pytest.mark.parametrize(
    ("environ", "on_a_terminal", "in_a_pipe"),
    [
        ({}, True, False),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),  # no-color.org: when not an empty string
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "3", "NO_COLOR": "1"}, False, False),
    ],
)
def test_when_there_are_colours(
    environ: Mapping[str, str], *, on_a_terminal: bool, in_a_pipe: bool
) -> None:
    """NO_COLOR wins over a forced colour, and that wins over the terminal's abilities."""
    assert coloured(Stream(tty=True), environ) is on_a_terminal
    assert coloured(Stream(tty=False), environ) is in_a_pipe


@pytest.mark.parametrize(
    ("encoding", "environ", "plain"),
    [
        ("utf-8", {}, False),
        ("UTF8", {"LANG": "de_DE.UTF-8"}, False),
        ("utf-8", {"LC_ALL": "C.UTF-8", "LANG": "C"}, False),
        ("utf-8", {"LC_ALL": "C"}, True),
        ("utf-8", {"LANG": "POSIX"}, True),
        ("ascii", {}, True),
        ("iso8859-1", {"LANG": "de_DE"}, True),
    ],
)
def test_what_a_terminal_can_write(
    encoding: str, environ: Mapping[str, str], *, plain: bool
) -> None:
    """Python writes UTF-8 in the C locale too, but that locale stands for a terminal without it."""
    assert ascii_only(Stream(tty=True, encoding=encoding), environ) is plain


def test_every_state_has_a_style() -> None:
    """The same in every command and in the demo."""
    assert {state.value for state in State} | {"pending", "delivered", "dead"} == set(STATES)


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 keys"), (1, "1 key"), (2, "2 keys"), (6661, "6,661 keys")]
)
def test_one_is_not_many(number: int, said: str) -> None:
    """And thousands are apart."""
    assert several(number, "key") == said
    assert several(1, "reply", "replies") == "1 reply"
    assert several(2, "reply", "replies") == "2 replies"
    assert count(1234567.4) == "1,234,567"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3.0, "0s"), (0.4, "0s"), (59.9, "59s"), (60.0, "1m"), (119.0, "1m"), (3599.0, "59m"),
        (3600.0, "1h"), (86399.0, "23h"), (86400.0, "1d"), (1e9, "11574d"),
    ],
)  # fmt: skip
def test_an_age_is_whole(seconds: float, said: str) -> None:
    """Never 60 of a unit, and never more than it is."""
    assert age(seconds) == said


@pytest.mark.parametrize(
    "payload",
    [
        '{"a": 1.00, "a": 1e400, "b": [], "c": {}, "d": [{}, [1, 2]], "e": "x, {y}: \\"z\\""}',
        "[]",
        '"text"',
        "12345678901234567890.10",
        '{"ä": "\\u00e4"}',
    ],
)
def test_a_payload_is_indented_and_nothing_else(payload: str) -> None:
    """Not a character but blanks between words is another; the structure is the same."""
    shown = list(readable(payload))
    assert "".join("".join(shown).split()) == "".join(payload.split())
    assert json.loads("\n".join(shown), parse_float=str) == json.loads(payload, parse_float=str)


def test_a_payload_looks_as_one_expects() -> None:
    """Two blanks a level; what is empty stays on its line."""
    assert list(readable('{"type":"view","view":{},"context":[{"id":1}]}')) == [
        "{",
        '  "type": "view",',
        '  "view": {},',
        '  "context": [',
        "    {",
        '      "id": 1',
        "    }",
        "  ]",
        "}",
    ]


@pytest.mark.parametrize("payload", ["no json {at all}", '{"a":1', "", '{"a":' * 5000])
def test_what_is_no_json_is_shown_as_it_is(payload: str) -> None:
    """As far as there is room."""
    assert next(readable(payload)) == payload[:4000]


@pytest.mark.parametrize("payload", [json.dumps(list(range(5000))), '"' + "x" * 100_000 + '"'])
def test_a_payload_without_end_has_one(payload: str) -> None:
    """And says how much it is, and how to get all of it."""
    shown = list(readable(payload))
    assert len(shown) <= MOST_LINES + 1
    assert sum(map(len, shown)) < 5000
    assert shown[-1] == f"… {len(payload):,} characters in total; --json prints them"


def test_colours_are_decided_in_one_place() -> None:
    """No other module writes an escape sequence for a colour, or asks the environment."""
    package = Path(__file__).parents[2] / "shipper"
    for module in package.rglob("*.py"):
        if module.name != "colours.py":
            text = module.read_text("utf-8")
            assert "\\x1b[" not in text, module
            assert 'get("NO_COLOR")' not in text, module


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 minutes"), (5400, "90 minutes"), (47 * 3600, "47 hours"),
     (50 * 86400, "50 days"), (-1, "0 s")],
)  # fmt: skip
def test_a_sentence_has_a_duration_in_words(seconds: float, said: str) -> None:
    """In the greatest unit of which there are at least two."""
    assert lasting(seconds) == said
