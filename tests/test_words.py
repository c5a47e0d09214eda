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
_CLASS_NAME = re.compile(r"_?[A-Z][A-Za-z]*[a-z][A-Za-z]*")
_NO_TYPE = re.compile(r"(?:TypeVar|ParamSpec|NamedTuple)\(|Annotated\[")


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
    """Private ones included: a name that stands twice says too little.

    Another name for a type counts as well, if a class has it: `Answer = A | B` in one module and a
    class Answer in another one.
    """
    classes, aliases = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for path in MODULES:
        tree, place = ast.parse(path.read_bytes()), str(path.relative_to(ROOT))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(place)
        for name in aliased(tree):
            aliases[name].append(place)
    places = {name: paths + aliases[name] for name, paths in classes.items()}
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def aliased(module: ast.Module) -> Iterator[str]:
    """Yield the names that a module gives to types.

    A type variable is only a placeholder. A command's option has the name of what it is about.
    """
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(name)]):
                pass
            case ast.AnnAssign(target=ast.Name(name), annotation=ast.Name("TypeAlias")):
                pass
            case _:
                continue
        if _CLASS_NAME.fullmatch(name) and not _NO_TYPE.match(ast.unparse(node.value or node)):
            yield name


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("Answer: TypeAlias = int | str", ["Answer"]),
        ("Answer = Callable[[], int]", ["Answer"]),
        ("_Answer = Literal['a']", ["_Answer"]),
        ("Answer = TypeVar('Answer', int, str)", []),
        ("Key = Annotated[str, 'its help']", []),
        ("MOST = 5", []),
        ("Answer: int = 5", []),
        ("answer = 5", []),
    ],
)
def test_another_name_for_a_type_is_seen(line: str, names: list[str]) -> None:
    """With or without an annotation."""
    assert list(aliased(ast.parse(line))) == names
