"""Which commands there are, where their functions live, and how each is used, by example.

Only names stand here: a function is imported when its command is called, and its help is read
from its source without importing it.
"""

import re
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from pkgutil import get_data
from typing import NamedTuple

from cyclopts import App, Group, Parameter

from shipper import __version__

_FIRST = Group.create_ordered("First steps")
_DAILY = Group.create_ordered("The daemon")
_EVENTS = Group.create_ordered("Events")
_REST = Group.create_ordered("Upkeep")


_EPILOGUE = (
    "`shipper COMMAND --help` shows examples. Exit statuses: 0 ok, 1 negative finding, 2 usage,"
    " 69 database unreachable, 75 try again, 77 permission, 78 configuration or schema."
)


class Command(NamedTuple):
    """A command: its words, `module:function` in this package, its group, and examples."""

    words: str
    target: str
    group: Group
    examples: tuple[str, ...]

    def help(self) -> str | None:
        """Return the docstring of the function, read from its source without importing it."""
        module, _, function = self.target.partition(":")
        source = (get_data("shipper.cli", f"{module}.py") or b"").decode()
        found = re.search(
            rf'^def {function}\(.*?^    """(.*?)"""', source, re.DOTALL | re.MULTILINE
        )
        return _folded(cleandoc(found[1])) if found else None


def _folded(text: str) -> str:
    """Return a text with a line for each paragraph, for a terminal of whatever width to fold.

    The parameters, which have their own form, stay as they are.
    """
    prose, heading, parameters = text.partition("\n\nParameters\n")
    paragraphs = prose.split("\n\n")
    return "\n\n".join(" ".join(part.split("\n")) for part in paragraphs) + heading + parameters


class Family(NamedTuple):
    """The first word of several commands."""

    group: Group
    help: str


FAMILIES: Mapping[str, Family] = {
    "events": Family(_EVENTS, "Find events, and see what became of one."),
    "dead": Family(_EVENTS, "Look at dead letters, and decide what becomes of them."),
    "db": Family(_REST, "Migrations and privileges."),
    "config": Family(_REST, "The configuration in force."),
    "assets": Family(_REST, "A dashboard, alert rules, the man page, completions."),
    "service": Family(_REST, "The systemd unit of this installation."),
}

COMMANDS: tuple[Command, ...] = (
    Command(
        "demo",
        "demo:demo",
        _FIRST,
        ("shipper demo", "shipper demo --seconds 5 --json"),
    ),
    Command(
        "init",
        "init:init",
        _FIRST,
        (
            "shipper init",
            "shipper init --database sqlite:////var/lib/shop/shop.db",
            "shipper init --database postgresql://shop@db/shop -o /etc/shipper/config.toml",
        ),
    ),
    Command(
        "check",
        "check:check",
        _FIRST,
        ("shipper check", "shipper check -c /etc/shipper/config.toml --json"),
    ),
    Command(
        "doctor",
        "doctor:doctor",
        _FIRST,
        ("shipper doctor", "shipper doctor --no-network --json"),
    ),
    Command(
        "sandbox",
        "sandbox:sandbox",
        _FIRST,
        ("shipper sandbox --port 8080", "shipper sandbox --chaos 503:0.1,outage:10s@30s/60s"),
    ),
    Command(
        "run",
        "run:run",
        _DAILY,
        ("shipper run", "shipper run -c /etc/shipper/config.toml -v"),
    ),
    Command(
        "drain",
        "drain:drain",
        _DAILY,
        ("shipper drain", "shipper drain --timeout 5m"),
    ),
    Command(
        "status",
        "status:status",
        _DAILY,
        ("shipper status", "shipper status --watch", "shipper status --nagios --oldest 15m"),
    ),
    Command("top", "top:top", _DAILY, ("shipper top", "shipper top --json")),
    Command(
        "healthcheck",
        "healthcheck:healthcheck",
        _DAILY,
        ("shipper healthcheck live", "shipper healthcheck ready --json"),
    ),
    Command(
        "hold",
        "hold:hold",
        _DAILY,
        ("shipper hold --key customer-42", "shipper hold --destination default"),
    ),
    Command(
        "release",
        "hold:release",
        _DAILY,
        ("shipper release --key customer-42", "shipper release --destination default"),
    ),
    Command(
        "enqueue",
        "enqueue:enqueue",
        _EVENTS,
        (
            "shipper enqueue events.jsonl",
            "shipper enqueue order.json --event-id order-4711",
            "shipper enqueue - --key customer-42 --json",
            "shipper enqueue --rows till.jsonl",
        ),
    ),
    Command(
        "validate",
        "validate:validate",
        _EVENTS,
        ("shipper validate event.json", "shipper validate - --remote --json"),
    ),
    Command(
        "events list",
        "events:list_events",
        _EVENTS,
        ("shipper events list --status pending", "shipper events list --key customer-42 --json"),
    ),
    Command(
        "events show",
        "events:show_event",
        _EVENTS,
        ("shipper events show 17", "shipper events show event_id:4711 --json"),
    ),
    Command(
        "events discard",
        "discard:discard",
        _EVENTS,
        (
            "shipper events discard 17 18",
            "shipper events discard ALL --until 2026-11-23T08:15 --yes",
        ),
    ),
    Command(
        "events export",
        "export:export",
        _EVENTS,
        (
            "shipper events export till.jsonl --hand-over",
            "shipper events export - --status dead --key customer-42",
        ),
    ),
    Command(
        "dead list",
        "dead:list_dead",
        _EVENTS,
        ("shipper dead list", "shipper dead list --cause http-422 --json"),
    ),
    Command("dead show", "dead:show_dead", _EVENTS, ("shipper dead show 17",)),
    Command(
        "dead retry",
        "dead:retry",
        _EVENTS,
        ("shipper dead retry 17 18", "shipper dead retry ALL --cause http-422 --yes"),
    ),
    Command(
        "dead discard",
        "dead:discard",
        _EVENTS,
        ("shipper dead discard 17", "shipper dead discard ALL --key customer-42 --yes"),
    ),
    Command(
        "verify",
        "verify:verify",
        _REST,
        ("shipper verify", "shipper verify --json"),
    ),
    Command(
        "backup",
        "backup:backup",
        _REST,
        ("shipper backup /backup/shop.db", "shipper backup shop.db.bak --json"),
    ),
    Command("prune", "prune:prune", _REST, ("shipper prune --dry-run", "shipper prune --json")),
    Command(
        "db upgrade",
        "database:upgrade",
        _REST,
        ("shipper db upgrade", "shipper db upgrade --create"),
    ),
    Command("db current", "database:current", _REST, ("shipper db current --json",)),
    Command("db check", "database:check", _REST, ("shipper db check",)),
    Command(
        "db grants",
        "database:grants",
        _REST,
        ("shipper db grants --role shop", "shipper db grants --role shop | psql shop"),
    ),
    Command(
        "config show",
        "config:show",
        _REST,
        ("shipper config show", "shipper config show --origin --json"),
    ),
    Command(
        "service install",
        "service:install",
        _REST,
        ("shipper service install", "shipper service install --run-as shop"),
    ),
    Command("service print", "service:show", _REST, ("shipper service print",)),
    Command("service uninstall", "service:uninstall", _REST, ("shipper service uninstall",)),
    Command("assets list", "assets:list_assets", _REST, ("shipper assets list",)),
    Command(
        "assets show",
        "assets:show_asset",
        _REST,
        (
            "shipper assets show prometheus-alerts.yml > /etc/prometheus/shipper.yml",
            "shipper assets show shipper.bash > /etc/bash_completion.d/shipper",
        ),
    ),
    Command("assets write", "assets:write_assets", _REST, ("shipper assets write .",)),
    Command(
        "version",
        "version:version",
        _REST,
        ("shipper version", "shipper version --json"),
    ),
)


def names(above: Sequence[str] = ()) -> list[str]:
    """Return the words that can follow the words `above`."""
    depth = len(above)
    words = [command.words.split() for command in COMMANDS]
    return sorted({w[depth] for w in words if w[:depth] == list(above) and len(w) > depth})


def build() -> App:
    """Return the application with every command registered and none imported."""
    app = App(
        name="shipper",
        help="Ships the events of a local outbox table to an HTTP API, in order, durably.",
        help_format="plaintext",
        help_epilogue=_EPILOGUE,
        version=__version__,
        default_parameter=Parameter(negative=()),
    )
    homes = {"": app}
    for name, family in FAMILIES.items():
        homes[name] = App(name=name, help=family.help, group=family.group)
        app.command(homes[name])
    for command in COMMANDS:
        family_name, _, name = command.words.rpartition(" ")
        homes[family_name].command(
            f"shipper.cli.{command.target}",
            name=name,
            help=command.help(),
            group=None if family_name else command.group,
            help_epilogue="\n".join(("Examples:", *(f"  {line}" for line in command.examples))),
        )
    return app
