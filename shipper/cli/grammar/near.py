"""Which command an unknown word means: a mistyped one, or the word of another program."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from shipper.cli.grammar.parser import names
from shipper.cli.grammar.registry import COMMANDS
from shipper.errors import UsageError

# How similar a mistyped word must be: "migrate" isn't a mistyped "grants".
_CUTOFF = 0.7

_LOG = "`shipper run` logs to stderr; for the log of the service: journalctl -u shipper"

# The words of other programs, and our commands for them: first whole commands, then last words.
_COMMANDS: Final[Mapping[str, str]] = {
    "start": "run", "serve": "run", "daemon": "run", "worker": "run", "up": "run", "ship": "run",
    "ps": "status", "info": "status", "stats": "status", "state": "status", "stat": "status",
    "watch": "top", "monitor": "top", "dashboard": "top", "health": "healthcheck",
    "ping": "healthcheck", "stop": "hold", "pause": "hold", "block": "hold", "resume": "release",
    "continue": "release", "unpause": "release", "unhold": "release", "unblock": "release",
    "setup": "init", "new": "init", "create": "init", "configure": "init",
    "test": "check", "checkconfig": "check", "configtest": "check", "diagnose": "doctor",
    "send": "enqueue", "publish": "enqueue", "push": "enqueue", "add": "enqueue",
    "insert": "enqueue", "emit": "enqueue", "import": "enqueue --rows", "lint": "validate",
    "migrate": "db upgrade", "upgrade": "db upgrade", "migration": "db upgrade",
    "migrations": "db current", "grant": "db grants", "database": "db",
    "ls": "events list", "list": "events list", "queue": "events list", "inspect": "events show",
    "get": "events show", "describe": "events show", "view": "events show", "cat": "events show",
    "move": "events reroute", "redirect": "events reroute", "shovel": "events reroute",
    "dump": "events export", "rm": "events discard", "delete": "events discard",
    "cancel": "events discard", "dlq": "dead", "deadletter": "dead", "dead-letters": "dead",
    "failed": "dead list", "letters": "dead list", "requeue": "dead retry", "replay": "dead retry",
    "retry": "dead retry",
    "redrive": "dead retry", "resend": "dead retry", "clean": "prune", "cleanup": "prune",
    "purge": "prune", "vacuum": "prune", "gc": "prune", "snapshot": "backup", "save": "backup",
    "settings": "config show", "env": "config show", "man": "help", "manual": "help",
    "docs": "help", "completion": "assets list", "completions": "assets list", "mock": "sandbox",
    "fsck": "verify", "audit": "verify", "flush": "drain", "sync": "drain", "once": "drain",
}  # fmt: skip
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "ls": ("list",), "all": ("list",), "get": ("show", "print"), "cat": ("show", "print"),
    "view": ("show", "print"), "inspect": ("show",), "describe": ("show",), "info": ("show",),
    "dump": ("show", "export"), "print": ("show",), "show": ("print", "current", "list"),
    "rm": ("discard", "uninstall"), "remove": ("discard", "uninstall"),
    "delete": ("discard", "uninstall"), "drop": ("discard",), "cancel": ("discard",),
    "migrate": ("upgrade",), "up": ("upgrade",), "init": ("upgrade", "install"),
    "update": ("upgrade",), "create": ("upgrade",), "apply": ("upgrade",),
    "version": ("current",), "status": ("current", "print"), "head": ("current",),
    "verify": ("check",), "test": ("check",), "grant": ("grants",), "rights": ("grants",),
    "requeue": ("retry",), "replay": ("retry",), "redrive": ("retry",), "resend": ("retry",),
    "move": ("reroute",), "redirect": ("reroute",), "send": ("reroute",),
    "save": ("export", "write"),
    "add": ("install",), "enable": ("install",), "disable": ("uninstall",), "list": ("show",),
}  # fmt: skip


def unknown(above: Sequence[str], word: str) -> UsageError:
    """Return the error for an unknown command: `word`, after the words `above`."""
    words = " ".join((*above, word))
    if word.lower() in {"log", "logs", "journal", "tail"}:
        return UsageError(f"there is no command {words}", _LOG)
    near = _meant(above, word.lower())
    known = " ".join(("shipper", *above, "--help"))
    return UsageError(
        f"there is no command {words}", f"did you mean shipper {near}?" if near else known
    )


def _meant(above: Sequence[str], word: str) -> str | None:
    """Return the nearest command, without the program's name; None if none is near."""
    there = names(above)
    if above:
        known = [other for other in _WORDS.get(word, ()) if other in there]
    else:
        # A last word alone: `shipper reroute`, `shipper retry`.
        last = [command.words for command in COMMANDS if command.words.split()[-1] == word]
        known = [_COMMANDS[word]] if word in _COMMANDS else last
    known = known or get_close_matches(word, there, n=1, cutoff=_CUTOFF)
    return " ".join((*above, known[0])) if known else None
