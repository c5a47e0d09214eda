"""The chapters of the manual, and their text: what `shipper help` and the man page show.

A chapter is a file of `shipper/manual`, or it is made from the tables that the program itself uses.
The files come with the package, so the manual can be read offline. They are Markdown that GitHub
shows, too: a link to another chapter is a link there, and a command here.
"""

import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Final, NamedTuple

from shipper.cli.grammar.facts import ENVIRONMENT, EXIT_STATUSES, FILES, NAGIOS

_LINES: Final = re.DOTALL | re.MULTILINE
# GitHub draws these; their source says nothing that the text beside them doesn't.
_DRAWING: Final = re.compile(r"^```mermaid\n.*?^```\n\n", _LINES)
_LINK: Final = re.compile(r"\[([^\]]+)\]\((?!https?:)(?:([a-z-]+)\.md|[^)]*?)(?:#[^)]*)?\)")


class Chapter(NamedTuple):
    """A chapter: what it is about, and the function that makes it if it is not a file."""

    about: str
    make: Callable[[], str] | None = None


def text_of(name: str) -> str:
    """Return a chapter, or a section that has a name of its own, as Markdown."""
    if name in SECTIONS:
        chapter, title = SECTIONS[name]
        found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text_of(chapter), _LINES)
        assert found is not None, f"{chapter} has no section {title}"
        return found[0].removeprefix("#").rstrip() + "\n"
    make = CHAPTERS[name].make
    if make is not None:
        return make()
    text = (files("shipper") / "manual" / f"{name}.md").read_text("utf-8")
    return _LINK.sub(_command_for, _DRAWING.sub("", text))


def _command_for(link: re.Match[str]) -> str:
    """Return what stands for a link: the command that shows the chapter, or its text alone."""
    text, chapter = link.groups()
    if chapter is None:
        return f"{text} (in the repository)"
    command = f"`shipper help {chapter}`"
    return command if text == chapter else f"{text} ({command})"


def _statuses() -> str:
    return f"# Exit statuses\n\n{_table(('status', 'meaning'), EXIT_STATUSES)}\n\n{NAGIOS}\n"


def _places() -> str:
    places = _table(("file", "meaning"), FILES)
    variables = _table(("variable", "meaning"), ENVIRONMENT)
    return f"# Files and environment\n\n{places}\n\n{variables}\n"


def _table(header: tuple[str, str], facts: Mapping[str, str]) -> str:
    lines = [f"| `{name}` | {meaning} |" for name, meaning in facts.items()]
    return "\n".join([f"| {header[0]} | {header[1]} |", "|---|---|", *lines])


CHAPTERS: Final[Mapping[str, Chapter]] = {
    "writing": Chapter("the first event, the columns, examples in each language, schema tools"),
    "configuration": Chapter("every setting, with its default and its bounds"),
    "operating": Chapter("look, send again, stop, move, discard; states and answers"),
    "troubleshooting": Chapter("nothing arrives: from the message to the fix"),
    "service": Chapter("as a systemd service"),
    "containers": Chapter("in Docker and Kubernetes: volumes, stopping, health"),
    "postgres": Chapter("the role, the URL, poolers, standbys, a second machine"),
    "backup": Chapter("backup, restore, moving to another machine"),
    "monitoring": Chapter("Nagios, Prometheus, heartbeat, webhook"),
    "guarantees": Chapter("the six promises, their limits, what is tested, speed"),
    "json": Chapter("every field that --json prints, with its type"),
    "metrics": Chapter("every metric, with its type and its labels"),
    "log": Chapter("every log event, with its level and its fields"),
    "exit-status": Chapter("what a command's exit status means", _statuses),
    "files": Chapter("files and environment variables", _places),
    "design": Chapter("how shipper works inside, and why"),
    "glossary": Chapter("the words that shipper uses, each with one meaning"),
    "contributing": Chapter("for developers: set-up, tests, how to add something"),
}
SECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "first-steps": ("writing", "First steps"),
    "events": ("writing", "What becomes of an event"),
    "order": ("guarantees", "Order and what operators do"),
    "states": ("operating", "States of a destination"),
    "answers": ("operating", "What an answer means"),
    "dead-letters": ("operating", "Dead letters"),
}
"""Sections that can be asked for by a name of their own: each with its chapter and its title."""
