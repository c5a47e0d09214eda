"""`shipper help`: the manual, a chapter at a time, and the help of a command by its name."""

import sys
from difflib import get_close_matches
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.grammar.manual import CHAPTERS, SECTIONS, text_of
from shipper.cli.output.context import Context
from shipper.cli.output.pager import page
from shipper.errors import UsageError
from shipper.wording.colours import console
from shipper.wording.safe_text import printable


def show_help(*words: Annotated[str, Parameter(name="CHAPTER")], context: Context) -> None:
    """Show the manual's chapters, one of them, or the help of a command.

    Parameters
    ----------
    words
        A chapter or a command. Without it, the chapters are listed.
    """
    if not words:
        _list(context)
    elif len(words) == 1 and (words[0] in CHAPTERS or words[0] in SECTIONS):
        _print(words[0], context)
    else:
        _command(words)


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
        from shipper.cli.output.markdown import draw  # noqa: PLC0415 - only a terminal needs rich

        screen = console()
        with screen.capture() as drawn:
            draw(text, screen)
        page(drawn.get().rstrip("\n"))
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
    """Return the error for a word that is neither a chapter nor a command."""
    near = get_close_matches(word, [*CHAPTERS, *SECTIONS], n=1)
    hint = "shipper help" if near_command == "shipper --help" else near_command
    return UsageError(
        f"there is no chapter or command {printable(word)}",
        f"did you mean shipper help {near[0]}?" if near else hint,
    )
