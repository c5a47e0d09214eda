"""Which commands there are, where their functions are, and examples of how each is used.

It must never import a command: a function is imported when its command is called, and its help is
read from its source.
"""

import re
from collections.abc import Mapping
from inspect import cleandoc
from pkgutil import get_data
from typing import NamedTuple

from cyclopts import Group

_FIRST = Group.create_ordered("First steps")
_DAILY = Group.create_ordered("The daemon")
_EVENTS = Group.create_ordered("Events")
_REST = Group.create_ordered("Upkeep")


class Command(NamedTuple):
    """A command: its words, its `module:function` in this package, its group, and examples.

    `takes` are its arguments, as its usage shows them.
    """

    words: str
    target: str
    group: Group
    examples: tuple[str, ...]
    takes: str = ""

    def help(self) -> str | None:
        """Return the docstring of the function, read from its source without importing it."""
        module, _, function = self.target.partition(":")
        source = (get_data("shipper.cli", f"{module.replace('.', '/')}.py") or b"").decode()
        found = re.search(
            rf'^def {function}\(.*?^    """(.*?)"""', source, re.DOTALL | re.MULTILINE
        )
        return _folded(cleandoc(found[1])) if found else None


def _folded(text: str) -> str:
    """Return a text with each paragraph on one line, so that the terminal's width folds it.

    The section of the parameters stays as it is.
    """
    prose, heading, parameters = text.partition("\n\nParameters\n")
    paragraphs = prose.split("\n\n")
    return "\n\n".join(" ".join(part.split("\n")) for part in paragraphs) + heading + parameters


class Family(NamedTuple):
    """The first word of several commands."""

    group: Group
    help: str


FAMILIES: Mapping[str, Family] = {
    "service": Family(_DAILY, "Install, show or remove the systemd unit."),
    "events": Family(_EVENTS, "List and show events; retry, reroute, discard or export them."),
    "dead": Family(_EVENTS, "List and show dead letters; retry or discard them."),
    "db": Family(_REST, "Upgrade the outbox, check it, print privileges, end a stuck lease."),
    "config": Family(_REST, "Show the configuration in force."),
    "assets": Family(_REST, "A Grafana dashboard, alert rules, the man page, shell completions."),
}

COMMANDS: tuple[Command, ...] = (
    Command(
        "demo",
        "commands.demo:demo",
        _FIRST,
        ("shipper demo", "shipper demo --seconds 5 --json"),
    ),
    Command(
        "init",
        "setup.init:init",
        _FIRST,
        (
            "shipper init",
            "shipper init --database sqlite:////var/lib/shop/shop.db",
            "shipper init --database postgresql://shop@db/shop -o /etc/shipper/config.toml",
        ),
    ),
    Command(
        "check",
        "commands.check:check",
        _FIRST,
        ("shipper check", "shipper check -c /etc/shipper/config.toml --json"),
    ),
    Command(
        "run",
        "commands.run:run",
        _FIRST,
        ("shipper run", "shipper run -c /etc/shipper/config.toml -v"),
    ),
    Command(
        "status",
        "commands.status:status",
        _FIRST,
        ("shipper status", "shipper status --watch", "shipper status --nagios --oldest 15m"),
    ),
    Command(
        "doctor",
        "commands.doctor:doctor",
        _FIRST,
        ("shipper doctor", "shipper doctor --no-network --json"),
    ),
    Command(
        "help",
        "commands.help:show_help",
        _FIRST,
        ("shipper help", "shipper help order", "shipper help dead retry"),
        "[CHAPTER]",
    ),
    Command("top", "commands.top:top", _DAILY, ("shipper top", "shipper top --json")),
    Command(
        "hold",
        "commands.hold:hold",
        _DAILY,
        (
            "shipper hold --key customer-42",
            "shipper hold --destination default",
            "shipper hold --list",
        ),
    ),
    Command(
        "release",
        "commands.hold:release",
        _DAILY,
        ("shipper release --key customer-42", "shipper release --destination default"),
    ),
    Command(
        "drain",
        "commands.drain:drain",
        _DAILY,
        ("shipper drain", "shipper drain --timeout 5m"),
    ),
    Command(
        "healthcheck",
        "commands.healthcheck:healthcheck",
        _DAILY,
        ("shipper healthcheck live", "shipper healthcheck ready --json"),
        "WHAT",
    ),
    Command(
        "service install",
        "setup.service:install",
        _DAILY,
        (
            "shipper service install",
            "shipper service install --run-as shop",
            "shipper service install --instance shop-1",
        ),
    ),
    Command("service print", "setup.service:show", _DAILY, ("shipper service print",)),
    Command("service uninstall", "setup.service:uninstall", _DAILY, ("shipper service uninstall",)),
    Command(
        "events list",
        "commands.events:list_events",
        _EVENTS,
        ("shipper events list --status pending", "shipper events list --key customer-42 --json"),
    ),
    Command(
        "events show",
        "commands.events:show_event",
        _EVENTS,
        ("shipper events show 17", "shipper events show event_id:4711 --json"),
        "ID",
    ),
    Command(
        "events retry",
        "commands.retry:retry",
        _EVENTS,
        ("shipper events retry 17", "shipper events retry ALL --key customer-42 --yes"),
        "ID...",
    ),
    Command(
        "events reroute",
        "commands.reroute:send_elsewhere",
        _EVENTS,
        (
            "shipper events reroute 17 18 --to default",
            "shipper events reroute ALL --destination defualt --to default --dry-run",
        ),
        "ID...",
    ),
    Command(
        "events discard",
        "commands.discard:discard",
        _EVENTS,
        (
            "shipper events discard 17 18",
            "shipper events discard ALL --until 2026-11-23T08:15 --yes",
        ),
        "ID...",
    ),
    Command(
        "events export",
        "commands.export:export",
        _EVENTS,
        (
            "shipper events export till.jsonl --hand-over",
            "shipper events export - --status dead --key customer-42",
        ),
        "FILE",
    ),
    Command(
        "dead list",
        "commands.dead:list_dead",
        _EVENTS,
        ("shipper dead list", "shipper dead list --cause http-422 --json"),
    ),
    Command("dead show", "commands.dead:show_dead", _EVENTS, ("shipper dead show 17",), "ID"),
    Command(
        "dead retry",
        "commands.dead:retry",
        _EVENTS,
        ("shipper dead retry 17 18", "shipper dead retry ALL --cause http-422 --yes"),
        "ID...",
    ),
    Command(
        "dead discard",
        "commands.dead:discard",
        _EVENTS,
        ("shipper dead discard 17", "shipper dead discard ALL --key customer-42 --yes"),
        "ID...",
    ),
    Command(
        "enqueue",
        "commands.enqueue:enqueue",
        _EVENTS,
        (
            "shipper enqueue events.jsonl",
            "shipper enqueue order.json --event-id order-4711",
            "shipper enqueue - --key customer-42 --json",
            "shipper enqueue --rows till.jsonl",
        ),
        "[FILE]",
    ),
    Command(
        "validate",
        "commands.validate:validate",
        _EVENTS,
        ("shipper validate event.json", "shipper validate - --remote --json"),
        "FILE",
    ),
    Command(
        "sandbox",
        "commands.sandbox:sandbox",
        _EVENTS,
        (
            "shipper sandbox --port 8808",
            "shipper sandbox --chaos 503:0.1,outage:10s@30s/60s",
            "shipper sandbox --kind http --client shop:secret --token-life 1m",
        ),
    ),
    Command(
        "verify",
        "commands.verify:verify",
        _REST,
        ("shipper verify", "shipper verify --json"),
    ),
    Command(
        "prune", "commands.prune:prune", _REST, ("shipper prune --dry-run", "shipper prune --json")
    ),
    Command(
        "backup",
        "commands.backup:backup",
        _REST,
        ("shipper backup /backup/shop.db", "shipper backup shop.db.bak --json"),
        "FILE",
    ),
    Command("db upgrade", "commands.db:upgrade", _REST, ("shipper db upgrade",)),
    Command("db current", "commands.db:current", _REST, ("shipper db current --json",)),
    Command("db check", "commands.db:check", _REST, ("shipper db check",)),
    Command("db unlock", "commands.db:unlock", _REST, ("shipper db unlock",)),
    Command(
        "db grants",
        "commands.db:grants",
        _REST,
        ("shipper db grants --role shop", "shipper db grants --role shop | psql shop"),
    ),
    Command(
        "config show",
        "commands.config:show",
        _REST,
        ("shipper config show", "shipper config show --origin --json"),
    ),
    Command("assets list", "setup.assets:list_assets", _REST, ("shipper assets list",)),
    Command(
        "assets show",
        "setup.assets:show_asset",
        _REST,
        (
            "shipper assets show prometheus-alerts.yml > /etc/prometheus/shipper.yml",
            "shipper assets show shipper.bash > /etc/bash_completion.d/shipper",
        ),
        "NAME",
    ),
    Command("assets write", "setup.assets:write_assets", _REST, ("shipper assets write .",), "DIR"),
    Command(
        "version",
        "commands.version:version",
        _REST,
        ("shipper version", "shipper version --json"),
    ),
)
