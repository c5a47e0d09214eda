"""`shipper help`: the manual, a chapter at a time, and the help of a command by its name.

A chapter is a file of `shipper/manual`, or made from what the program itself goes by. It must never
say anything twice: what two chapters need stands in one of them.
"""

import os
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from typing import Annotated, Final, NamedTuple

from cyclopts import Parameter

from shipper.cli.grammar.facts import ENVIRONMENT, EXIT_STATUSES, FILES, NAGIOS
from shipper.cli.output.context import Context
from shipper.errors import UsageError
from shipper.wording.colours import coloured, console
from shipper.wording.safe_text import printable


class Chapter(NamedTuple):
    """A chapter: what it is about, and what makes it where it is no file."""

    about: str
    make: Callable[[], str] | None = None


def show_help(*words: Annotated[str, Parameter(name="CHAPTER")], context: Context) -> None:
    """Show the manual's chapters, one of them, or the help of a command.

    Parameters
    ----------
    words
        A chapter, or a command; left out, the chapters are listed.
    """
    if not words:
        _list(context)
    elif len(words) == 1 and words[0] in CHAPTERS:
        _print(words[0], context)
    else:
        _command(words)


def text_of(name: str) -> str:
    """Return a chapter as Markdown."""
    make = CHAPTERS[name].make
    if make is not None:
        return make()
    return (files("shipper") / "manual" / f"{name}.md").read_text("utf-8")


def _list(context: Context) -> None:
    if context.json:
        for name, chapter in CHAPTERS.items():
            context.emit({"chapter": name, "about": chapter.about})
        return
    context.table(("chapter", "about"), [(n, chapter.about) for n, chapter in CHAPTERS.items()])
    context.note("shipper help CHAPTER shows one, shipper help COMMAND the options of a command")


def _print(name: str, context: Context) -> None:
    text = text_of(name)
    if context.json:
        context.emit({"chapter": name, "text": text})
    elif sys.stdout.isatty():
        from rich.markdown import Markdown  # noqa: PLC0415 - only a terminal needs rich

        os.environ.setdefault("LESS", "-RFX")  # colours as colours; one screen needs no pager
        screen = console()
        with screen.pager(styles=coloured(sys.stdout)):
            screen.print(Markdown(text))
    else:
        context.say(text.rstrip("\n"))


def _command(words: tuple[str, ...]) -> None:
    from shipper.cli.grammar.near import unknown  # noqa: PLC0415 - only a command needs them
    from shipper.cli.shell import application  # noqa: PLC0415

    app, known = application(), True
    for at, word in enumerate(words):
        known = known and word in app.resolved_commands()
        if not known:
            raise unknown(words[:at], word) if at else _nothing(word, unknown((), word).hint)
        app = app[word]
    application().help_print(list(words))


def _nothing(word: str, near_command: str | None) -> UsageError:
    """Return what to say of a word that is neither a chapter nor a command."""
    near = get_close_matches(word, CHAPTERS, n=1)
    hint = "shipper help" if near_command == "shipper --help" else near_command
    return UsageError(
        f"there is no chapter or command {printable(word)}",
        f"did you mean shipper help {near[0]}?" if near else hint,
    )


def _configuration() -> str:
    from shipper.cli.setup.template import example  # noqa: PLC0415 - only this chapter needs it

    indented = "\n".join(f"    {line}".rstrip() for line in example().splitlines())
    return f"# Configuration\n\nEvery setting with its default:\n\n{indented}\n"


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
    "first-steps": Chapter("from nothing to the first delivered event"),
    "events": Chapter("how an application writes them, and what becomes of them"),
    "order": Chapter("what is guaranteed about order and repeats"),
    "states": Chapter("what a destination's state means"),
    "answers": Chapter("what becomes of an event, by the API's answer"),
    "dead-letters": Chapter("how to look at them, and what to do about them"),
    "configuration": Chapter("every setting, with its default", _configuration),
    "json": Chapter("every field that --json prints, with its type"),
    "exit-status": Chapter("what a command's exit status means", _statuses),
    "files": Chapter("files and environment variables", _places),
    "containers": Chapter("volumes, stopping, health"),
}
