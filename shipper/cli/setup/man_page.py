"""The man page, generated from the help of the commands, and the completions for shells.

`python -m shipper.cli.setup.man_page` writes them to `shipper/assets`, which is part of the wheel;
a test fails when they are out of date. It must never say anything that `--help` and `facts` don't.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from cyclopts import App, Argument

from shipper import __version__, resources
from shipper.cli.grammar.facts import ENVIRONMENT, EXIT_STATUSES, FILES, NAGIOS
from shipper.cli.grammar.manual import CHAPTERS
from shipper.cli.grammar.registry import COMMANDS, Command
from shipper.cli.setup.completion import Shell, completion
from shipper.cli.shell import application

ASSETS: Final = resources.assets()

COMPLETIONS: Final[Mapping[str, Shell]] = {
    "shipper.bash": "bash",
    "_shipper": "zsh",
    "shipper.fish": "fish",
}
PAGE: Final = "shipper.1"

_NAME = "shipper \\- delivers the events of a local outbox table to an HTTP API"
_DESCRIPTION = """\
An application writes events into the table shipper_outbox of its own database, in the same
transaction as the changes they report. `shipper run` delivers them to an HTTP API: the events of an
ordering key one after the other, and each of them until the API accepts it or an operator discards
it. `shipper help` shows the manual.

The answer of a command goes to stdout, everything else to stderr. Times are UTC. Tables and colours
are for terminals; a pipe or a file gets plain text.
"""
_MANUAL: Final = "`shipper help CHAPTER` shows a chapter of the manual:"


def main() -> None:
    """Write all files."""
    for name, content in contents().items():
        (ASSETS / name).write_text(content, "utf-8")


def contents() -> dict[str, str]:
    """Return every file's text by its name."""
    return {PAGE: page()} | {name: completion(shell) for name, shell in COMPLETIONS.items()}


def page() -> str:
    """Return the man page, as roff."""
    app = application()
    lines = [
        f'.TH SHIPPER 1 "" "shipper {_plain(__version__)}" "shipper"',
        *(".SH NAME", _NAME),
        *(".SH SYNOPSIS", ".B shipper", r"[\fIOPTIONS\fR] \fICOMMAND\fR ..."),
        *(".SH DESCRIPTION", *_paragraphs(_DESCRIPTION)),
        *(".SH OPTIONS", "Every command has these options.", *_options(app.meta)),
        *_commands(app),
        *(".SH MANUAL", _text(_MANUAL), *_list(_chapters())),
        *(".SH EXIT STATUS", *_list(EXIT_STATUSES), ".PP", *_paragraphs(NAGIOS)),
        *(".SH FILES", *_list(FILES)),
        *(".SH ENVIRONMENT", *_list(ENVIRONMENT)),
        *(".SH SEE ALSO", ".BR systemctl (1),", ".BR journalctl (1)"),
    ]
    return "\n".join(lines) + "\n"


def _commands(app: App) -> Iterator[str]:
    group = ""
    for command in sorted(COMMANDS, key=lambda c: (c.group.sort_key, _place(c))):
        if command.group.name != group:
            group = command.group.name
            yield f".SH {_plain(group.upper())}"
        yield from _command(app, command)


def _place(command: Command) -> int:
    """Return the place of a command's first word, so that a family stays together."""
    first = command.words.split()[0]
    return next(at for at, other in enumerate(COMMANDS) if other.words.split()[0] == first)


def _command(app: App, command: Command) -> Iterator[str]:
    words = command.words.split()
    for word in words:
        app = app[word]
    arguments = [a for a in _arguments(app) if not a.name.startswith("-")]
    usage = " ".join(f"\\fI{_plain(a.name)}\\fR" + " ..." * _is_many(a) for a in arguments)
    yield f".SS shipper {_plain(command.words)} {usage}".rstrip()
    yield from _paragraphs(command.help() or "")
    yield from _options(app)
    yield from (".PP", "Examples:", ".RS 4", ".nf")
    yield from map(_plain, command.examples)
    yield from (".fi", ".RE")


def _options(app: App) -> Iterator[str]:
    for argument in _arguments(app):
        yield ".TP"
        yield _names(argument)
        yield _text(" ".join(_said(argument)) or argument.name)


def _arguments(app: App) -> list[Argument]:
    found = app.assemble_argument_collection(
        default_parameter=application().default_parameter, parse_docstring=True
    )
    return [argument for argument in found if argument.show]


def _names(argument: Argument) -> str:
    names = ", ".join(f"\\fB{_plain(name)}\\fR" for name in sorted(argument.names, key=len))
    if not argument.name.startswith("-"):
        return f"\\fI{_plain(argument.name)}\\fR"
    if argument.hint is bool or argument.parameter.count:
        return names
    value = argument.parameter.metavar or argument.name.lstrip("-").upper()
    return f"{names} \\fI{_plain(value)}\\fR"


def _said(argument: Argument) -> Iterator[str]:
    if argument.parameter.help:
        yield argument.parameter.help.rstrip()
    if choices := argument.get_choices():
        yield f"One of {', '.join(choices)}."
    default = argument.field_info.default
    if default and isinstance(default, str | int) and not isinstance(default, bool):
        yield f"Default: {default}."


def _is_many(argument: Argument) -> bool:
    return argument.field_info.kind is argument.field_info.VAR_POSITIONAL


def _chapters() -> Mapping[str, str]:
    return {name: chapter.about for name, chapter in CHAPTERS.items()}


def _list(facts: Mapping[str, str]) -> Iterator[str]:
    for name, meaning in facts.items():
        yield from (".TP", f"\\fB{_plain(name)}\\fR", _text(meaning))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield a docstring as paragraphs, without its section on parameters."""
    about = re.split(r"\n\nParameters\n-+\n", text)[0]
    for at, paragraph in enumerate(about.split("\n\n")):
        yield from (".PP",) * (at > 0)
        yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """Return a line of text, with bold instead of backticks."""
    parts: Sequence[str] = re.split(r"`([^`]+)`", text)
    return "".join(f"\\fB{_plain(p)}\\fR" if at % 2 else _plain(p) for at, p in enumerate(parts))


def _plain(text: str) -> str:
    """Return a text escaped for roff, which prints it as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    main()
