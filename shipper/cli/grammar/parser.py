"""The parser of the command line: it knows every command, and imports none."""

from collections.abc import Sequence

from cyclopts import App, Group, Parameter

from shipper import __version__
from shipper.cli.grammar.facts import short_statuses
from shipper.cli.grammar.registry import COMMANDS, FAMILIES, Command

GLOBAL = Group("Global options", sort_key=100)

_EPILOGUE = (
    "`shipper COMMAND --help` shows options and examples, `shipper help` the manual."
    f" Exit statuses: {short_statuses()}."
)


def names(above: Sequence[str] = ()) -> list[str]:
    """Return the words that can follow the words `above`."""
    depth = len(above)
    words = [command.words.split() for command in COMMANDS]
    return sorted({w[depth] for w in words if w[:depth] == list(above) and len(w) > depth})


def build() -> App:
    """Return the application with every command registered and none imported.

    Help lists them in the order of `COMMANDS`, in which a newcomer needs them.
    """
    places = {word: at for at, word in reversed([*enumerate(map(_first_word, COMMANDS))])}
    app = App(
        name="shipper",
        help="Delivers the events of a local outbox table to an HTTP API, in order, losing none.",
        help_format="plaintext",
        help_epilogue=_EPILOGUE,
        version=__version__,
        default_parameter=Parameter(negative=(), show_default=_default),
    )
    for flag in ("--help", "--version"):
        app[flag].group = (GLOBAL,)
    homes = {"": app}
    for name, family in FAMILIES.items():
        homes[name] = App(name=name, help=family.help, group=family.group, sort_key=places[name])
        app.command(homes[name])
    for at, command in enumerate(COMMANDS):
        family_name, _, name = command.words.rpartition(" ")
        homes[family_name].command(
            f"shipper.cli.{command.target}",
            name=name,
            help=command.help(),
            usage=" ".join(
                filter(None, ("Usage: shipper", command.words, "[OPTIONS]", command.takes))
            ),
            group=None if family_name else command.group,
            sort_key=at if family_name else places[name],
            help_epilogue="\n".join(("Examples:", *(f"  {line}" for line in command.examples))),
        )
    return app


def _first_word(command: Command) -> str:
    return command.words.partition(" ")[0]


def _default(value: object) -> str | None:
    """Return a default as `--help` shows it; None for a flag and for an empty default."""
    return None if isinstance(value, bool) or value in {None, ""} else str(value)
