"""Whatever the file and the environment hold: settings, or a ConfigError that names every place."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipper.config import load, show
from shipper.config.settings import kinds
from shipper.config.source import read
from shipper.errors import ConfigError

_CANARY = "hush-canary"

_NAMES = sorted({part for path, _ in kinds() for part in path} - {"*"})
_SECTIONS = ["database", "destinations", "destinations.default", "destinations.default.retry",
             "destinations.other", "validation", "retention", "schedule", "log"]  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(['"postgres://u@h/db"', '"1h"',
                     '"https://h/"', "[]", '["* * * * *"]', "{}", "1979-05-27", "inf", "nan"]),
    st.integers().map(str),
    st.integers().map(hex),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.text().map(json.dumps),
    st.lists(st.text(max_size=9)).map(json.dumps),
    st.text(max_size=9),
)  # fmt: skip
_KEYS = st.one_of(st.sampled_from(_NAMES), st.text(max_size=9).map(json.dumps))
_HEADERS = st.one_of(st.sampled_from(_SECTIONS), _KEYS).map(lambda name: f"[{name}]")
_SECRETS = st.tuples(
    st.sampled_from(["url", "api_id", "proxy", "ap_id"]),
    st.sampled_from([" = ", "=", " "]),
    st.sampled_from(
        [_CANARY, f'"{_CANARY}"', f'"https://u:{_CANARY}@h/"', f'"x://{_CANARY}', f'"""{_CANARY}']
    ),
).map("".join)
_LINES = st.one_of(_HEADERS, _SECRETS, st.tuples(_KEYS, _VALUES).map(" = ".join))
_DOCUMENTS = st.one_of(
    st.binary(max_size=200),
    st.lists(_LINES).map(lambda lines: "\n".join(lines).encode()),
)
_VARIABLES = st.dictionaries(
    st.one_of(
        st.sampled_from(
            ["SHIPPER_" + "__".join(path).upper().replace("*", "DEFAULT") for path, _ in kinds()]
        ),
        st.text(max_size=9).map(lambda text: f"SHIPPER_{text}__X"),
    ),
    st.text(max_size=30),
    max_size=3,
)


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    """Return the path of one file that each example writes anew."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "shipper.toml"


@given(document=_DOCUMENTS, environ=_VARIABLES)
@example(document=b"", environ={"SHIPPER_SCHEDULE__WINDOWS": "[" * 9999})
@example(document=b"x = 0x" + b"f" * 9999, environ={})
def test_anything_gives_settings_or_problems_with_a_place(
    file: Path, document: bytes, environ: dict[str, str]
) -> None:
    """Never another exception, and never a secret."""
    file.write_bytes(document)
    try:
        settings = load(file, environ)
    except ConfigError as error:
        problems = error.problems
    else:
        assert _CANARY not in repr(show(settings))
        return
    assert problems
    for problem in problems:
        assert re.match(rf"{re.escape(str(file))}:\d+: |['\"]?SHIPPER_.*?: ", problem), problem
        assert _CANARY not in problem


_FILLERS = st.sampled_from(
    [
        "",
        "# [x] = 'y",
        "   ",
        'a = """\n[x]\ny = 1\n"""',
        "a = '''\n# '' [\n'''",
        'a = """"q"" \\"""""',
        "a = [\n 1, # ]\n [2],\n]",
        "a = {b = '}', c = [1]}",
        "a = '#'",
        'a = "\\"#["',
        "a = 1 # =",
    ]
)
_PARTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,5}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), max_size=5).map(
        lambda text: json.dumps(text, ensure_ascii=True)
    ),
)


@given(st.lists(st.tuples(_FILLERS, st.booleans(), _PARTS), max_size=12))
def test_every_statement_is_found_on_its_line(
    file: Path, statements: list[tuple[str, bool, str]]
) -> None:
    """Strings, comments and brackets that look like statements don't lead the eye astray."""
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, (filler, is_header, part) in enumerate(statements):
        lines += re.sub(r"^a", f"filler{number}", filler).split("\n")
        # A surrogate pair in JSON is two escapes, which TOML doesn't know: keep to what both write.
        name = json.loads(part) if part.startswith('"') else part
        unique = f"k{number}"
        key = f"{unique} . {json.dumps(name, ensure_ascii=False)}".replace("\x7f", "\\u007f")
        lines.append(f"[ {key} ]  # ]" if is_header else f"  {key} = 1")
        table = (unique, name) if is_header else table
        expected[table if is_header else (*table, unique, name)] = len(lines)
    file.write_text("\n".join(lines), encoding="utf-8", newline="")
    source = read(file)
    assert {path: source.line(path) for path in expected} == expected
