"""One word for one thing: the glossary's words in code and prose, and no class's name twice.

The glossary is the manual's chapter of that name. Its last column has the words that must not
stand for the term in code, messages and documents.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_tidy import MODULES, ROOT

GLOSSARY = ROOT / "shipper" / "manual" / "glossary.md"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "config.example.toml",
    ROOT / "tests" / "FAULTS.md",
    ROOT / "tests" / "campaigns" / "README.md",
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *sorted((ROOT / "shipper" / "manual").glob("*.md")),
]
_TEST_NAME = re.compile(r"`[\w/.]+\.py::[^`]+`")
_FEWEST_TERMS = 20


def rows(columns: int) -> list[list[str]]:
    """Return the cells of the glossary's table of so many columns, row by row, without its head."""
    lines = GLOSSARY.read_text("utf-8").splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    return [row for row in cells if len(row) == columns][2:]


def banned() -> dict[str, str]:
    """Return the words that are banned, each with what to write instead.

    A word with a remark in brackets is banned in that meaning alone, which only a reader can tell.
    """
    pairs = [(row[2], row[0]) for row in rows(3)] + [(row[0], row[1]) for row in rows(2)]
    return {
        word.strip(): instead
        for words, instead in pairs
        for word in words.split(",")
        if word.strip() and "(" not in word
    }


def words(text: str) -> Iterator[str]:
    """Yield the words of a text in small letters, each part of an identifier by itself."""
    for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text):
        yield word.lower()


def test_the_glossary_has_the_terms_of_the_domain() -> None:
    """Each stands there once, and none of them is banned itself."""
    terms = [row[0] for row in rows(3)]
    assert len(terms) == len(set(terms)) >= _FEWEST_TERMS
    assert banned().keys().isdisjoint(terms)


@pytest.mark.parametrize("path", [*MODULES, *DOCUMENTS], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_banned_word_stands_for_a_term(path: Path) -> None:
    """Neither in a name nor in a comment, a docstring, a message or a document.

    A document can name a test, whatever words that name has.
    """
    instead = banned()
    found = [
        f"{number}: {word} -> {instead[word]}"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for word in words(_TEST_NAME.sub("", line))
        if word in instead
    ]
    assert path == GLOSSARY or found == []


def test_no_two_classes_have_one_name() -> None:
    """Private ones included: a name that stands twice says too little."""
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
