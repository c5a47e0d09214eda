"""The README and the manual's chapters: their fenced blocks, and the command lines in them.

A block begins with "```language tag". The tag tells the blocks of one language apart, and stands
once in all documents.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from textwrap import dedent
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
MANUAL: Final = ROOT / "shipper" / "manual"
DOCUMENTS: Final[Mapping[Path, str]] = {
    path: path.read_text("utf-8") for path in (README, *sorted(MANUAL.glob("*.md")))
}
TEXT: Final = "\n".join(DOCUMENTS.values())

_FENCE = re.compile(r"^( *)```(\w*) ?(\S*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# What may stand before a call on its line: another command, variables, `sudo`, the directory.
_BEFORE = re.compile(r"^(.* && )?(\w+=\S+ )*(sudo )?([\w./~-]*/)?(?=shipper )")
_OPERATORS: Final = "|&;<>"  # what ends a call


class Block(NamedTuple):
    """A fenced block; `tag` is empty where it has none, `section` is the heading above it."""

    document: Path
    section: str
    language: str
    tag: str
    text: str


def blocks() -> list[Block]:
    """Return every fenced block of every document, from top to bottom."""
    return [block for path, text in DOCUMENTS.items() for block in blocks_of(path, text)]


def blocks_of(path: Path, text: str) -> Iterator[Block]:
    """Yield the fenced blocks of one document."""
    section, end = "", 0
    for fence in _FENCE.finditer(text):
        for heading in _HEADING.finditer(text, end, fence.start()):
            section = heading[1]
        end = fence.end()
        yield Block(path, section, fence[2], fence[3], dedent(fence[4]))


def prose(text: str) -> str:
    """Return a document without its fenced blocks."""
    return _FENCE.sub("", text)


def tagged(language: str, tag: str) -> str:
    """Return the text of the one block of a language and a tag, in whichever document."""
    [text] = [block.text for block in blocks() if (block.language, block.tag) == (language, tag)]
    return text


def command_lines(section: str, tag: str = "") -> list[str]:
    """Return the lines that call `shipper` in a section's shell blocks, with their comments."""
    texts = [b.text for b in blocks() if (b.section, b.language, b.tag) == (section, "sh", tag)]
    return [line for text in texts for line in text.splitlines() if line.startswith("shipper ")]


def calls() -> list[str]:
    """Return every call of `shipper` in every document, without comments, pipes and paths."""
    return [call for text in DOCUMENTS.values() for call in (*run_of(text), *quoted_of(text))]


def run_of(text: str) -> Iterator[str]:
    """Yield the calls in a document's blocks of shell.

    In a block of the language `console` a command line begins with "$ "; the rest is its output.
    """
    for block in blocks_of(README, text):
        if block.language == "sh":
            yield from map(_call, filter(_is_call, block.text.splitlines()))
        elif block.language == "console":
            lines = re.findall(r"^\$ (.+)$", block.text, re.MULTILINE)
            yield from map(_call, filter(_is_call, lines))


def quoted_of(text: str) -> Iterator[str]:
    """Yield the calls amid a document's prose."""
    for quoted in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(text)):
        words = " ".join(quoted.split())
        if _is_call(words):
            yield _call(words)


def _is_call(line: str) -> bool:
    return _BEFORE.sub("", line).startswith("shipper ")


def _call(line: str) -> str:
    return shlex.join(_words(_BEFORE.sub("", line)))


def _words(line: str) -> Iterator[str]:
    """Yield the words of a line of shell up to the first pipe, redirection or comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    return takewhile(lambda word: word[0] not in _OPERATORS, lexer)
