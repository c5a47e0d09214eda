"""What stands in the README: its fenced blocks by language and tag, and its command lines.

A block begins with "```language tag"; the tag tells the blocks of one language apart.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


class Block(NamedTuple):
    """A fenced block; `tag` is empty where there is none."""

    section: str
    language: str
    tag: str
    text: str


def blocks() -> list[Block]:
    """Return every fenced block, from top to bottom."""
    found = []
    for section in re.split(r"^(?=## )", TEXT, flags=re.MULTILINE):
        title = section.partition("\n")[0].removeprefix("## ")
        for fence in re.finditer(
            r"^```(\w+) ?(\S*)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE
        ):
            found.append(Block(title, *fence.groups()))
    return found


def tagged(language: str, tag: str) -> str:
    """Return the text of the one block of a language and a tag."""
    [text] = [block.text for block in blocks() if (block.language, block.tag) == (language, tag)]
    return text


def command_lines(section: str) -> list[str]:
    """Return the lines in a section's untagged shell blocks that call `shipper`, with comments."""
    texts = [block.text for block in blocks() if block[:3] == (section, "sh", "")]
    return [line for text in texts for line in text.splitlines() if line.startswith("shipper ")]


def calls() -> list[str]:
    """Return every call of `shipper`, those amid the prose included, without comments and pipes."""
    fenced = [
        line for block in blocks() if block.language == "sh" for line in block.text.split("\n")
    ]
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    quoted = [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]
    lines = [re.sub(r".*\.venv/bin/shipper ", "shipper ", line) for line in [*fenced, *quoted]]
    return [
        shlex.join(shlex.split(line.partition(" | ")[0], comments=True))
        for line in lines
        if line.startswith("shipper ")
    ]
