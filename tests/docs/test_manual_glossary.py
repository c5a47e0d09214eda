"""The glossary defines each term once, and what it says of the program is true."""

import re
from pathlib import Path

from shipper.policy.state import State

CHAPTER = Path(__file__).parents[2] / "shipper" / "manual" / "glossary.md"


def table(section: str) -> list[tuple[str, ...]]:
    """Return the rows of a section's table, without its head."""
    text = CHAPTER.read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def test_every_term_is_defined_once_and_briefly() -> None:
    """In one or two sentences."""
    terms = table("Terms")
    assert len(terms) >= 25
    assert len({term for term, *_ in terms}) == len(terms)
    for term, meaning, _ in terms:
        assert re.fullmatch(r"[a-z]+( [a-z]+)?", term)
        assert meaning.endswith(".")
        assert 1 <= len(re.findall(r"\.(?= [A-Z]|$)", meaning)) <= 2, term


def not_used() -> list[str]:
    """Return the words that are not used, with their scopes."""
    cells = [words for *_, words in table("Terms")]
    cells += [words for words, _ in table("Words that are not used")]
    return [word for words in cells for word in words.split(", ") if word]


def test_no_term_is_a_word_that_is_not_used() -> None:
    """Each such word is one word, with a scope or without, and stands in one place."""
    words = not_used()
    assert [word for word in words if not re.fullmatch(r"[a-z_]+( \(for [\w ]+\))?", word)] == []
    names = [word.partition(" ")[0] for word in words]
    assert len(names) >= 15
    assert len(set(names)) == len(names)
    assert {term for term, *_ in table("Terms")}.isdisjoint(names)


def test_every_word_that_is_not_used_has_one_to_write_instead() -> None:
    """A writer needs the other word."""
    rows = table("Words that are not used")
    assert rows
    assert all(len(row) == 2 and row[1] for row in rows)


def test_the_link_has_the_states_of_the_program() -> None:
    """All of them."""
    [meaning] = [meaning for term, meaning, _ in table("Terms") if term == "link"]
    named = meaning.partition("The states are ")[2].rstrip(".").replace(" and ", ", ").split(", ")
    assert sorted(named) == sorted(state.value for state in State)
