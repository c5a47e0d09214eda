"""Whatever the file and the environment hold: settings, or a ConfigError that names every place."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipper.config.toml import read
from tests.config.anything import DOCUMENTS, VARIABLES, faults


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    """Return the path of one file that each example writes anew."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "shipper.toml"


@given(document=DOCUMENTS, environ=VARIABLES)
@example(document=b"", environ={"SHIPPER_SCHEDULE__WINDOWS": "[" * 9999})
@example(document=b"x = 0x" + b"f" * 9999, environ={})
def test_anything_gives_settings_or_problems_with_a_place(
    file: Path, document: bytes, environ: dict[str, str]
) -> None:
    """Never another exception, and never a secret."""
    assert list(faults(file, document, environ)) == []


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
