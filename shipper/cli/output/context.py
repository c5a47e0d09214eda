"""What every command is given: the global options, the configuration, the database, a voice.

Data goes to stdout, talk to stderr, and whatever came from outside is made printable first: a key
or an answer may hold what would steer a terminal. It must never print a secret or read a clock.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, TextIO

from cyclopts import Parameter

from shipper.errors import UsageError
from shipper.wording.colours import STATES, styled, terminal_size
from shipper.wording.quantities import count
from shipper.wording.safe_text import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from shipper.cli.output.table import Header
    from shipper.config import Settings
    from shipper.store.db.opening import Database

# Of the facts about one thing: the column of the values, and the one whose value has a colour.
_LABEL_WIDTH = 13
_STATES_HERE = frozenset({"status"})
# Less room than this for a text is none.
_ROOM_LEAST = 20
_HANGING = 2


@Parameter(parse=False)
@dataclass
class Context:
    """The global options of a command line, and what follows from them.

    A command is a plain function whose keyword-only argument `context: Context` is filled in by
    the shell; its other arguments are its options and get their help from its docstring:

        def hold(*, key: str | None = None, context: Context) -> int | None:

    It returns its exit status, None for 0, and raises ShipperError for what a person has to mend.
    """

    config_path: Path | None = None
    """What `--config` names."""
    json: bool = False
    """Whether a program reads stdout: then nothing but `emit` may write there."""
    verbosity: int = 0
    """How often `--verbose` was given; below 0 is `--quiet`."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    # -- what the command works with ----------------------------------------------------------

    def settings(self) -> "Settings":
        """Return the configuration; raises ConfigError with every fault, AccessDenied.

        Who only looks at the outbox needs no API ID: it may be readable for the daemon alone.
        """
        return self._settings

    @cached_property
    def _settings(self) -> "Settings":
        from shipper.config import load  # noqa: PLC0415 - `version` needs none

        settings = load(self.config_path, self.environ, sends=False)
        self.detail(f"configuration: {settings.path}")
        return settings

    def sender_settings(self) -> "Settings":
        """Return the configuration for a command that sends; raises the same, also for secrets."""
        from shipper.config import load  # noqa: PLC0415 - as above

        return load(self.config_path, self.environ)

    @contextmanager
    def engine(
        self, *, create: bool = False, newer: bool = False, outbox: bool = True
    ) -> "Iterator[Database]":
        """Open the configured database for the length of a `with`; closed at its end.

        With `create` a missing SQLite file is made. With `newer` an outbox may be one that a newer
        shipper has upgraded. Without `outbox` there needn't be one yet. Raises ConfigError,
        SchemaError where no outbox can be or it is newer than this code, and whatever
        `store.failures.translate` says.
        """
        from shipper.config import masked  # noqa: PLC0415 - as above
        from shipper.store.db.opening import opened  # noqa: PLC0415 - sqlalchemy takes a while
        from shipper.store.schema.revisions import refuse_newer, refuse_none  # noqa: PLC0415 - as above

        where = self.settings().database
        self.detail(f"outbox: {masked(where.url)}")
        with opened(where.url, create=create, told=self.note, renewed=where.read_url) as engine:
            if outbox:
                refuse_none(engine)
            if not newer:
                refuse_newer(engine)
            yield engine

    # -- how it speaks ------------------------------------------------------------------------

    def emit(self, value: object) -> None:
        """Print a value as JSON on one line, in which nothing steers a terminal."""
        # What UTF-8 can't write leaves as \udcXX (see `shell`), which is how JSON writes it too.
        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        line = json.dumps(value, ensure_ascii=plain, separators=(",", ":"))
        print(printable_json(line))

    def say(self, text: str = "", style: str = "") -> None:
        """Print lines of the answer, for a person; see `plain`, and `style` for a colour."""
        print("\n".join(styled(line, style) for line in printable_lines(text).split("\n")))

    def tell(self, text: str) -> None:
        """Print a sentence of the answer: on a terminal it goes on in the next line."""
        self.say("\n".join(folded(text, hangs=True)))

    def note(self, text: str) -> None:
        """Print a line that isn't part of the answer, unless `--quiet`."""
        if self.verbosity >= 0:
            # What has several lines was laid out by whoever wrote it.
            lines = [text] if "\n" in text else folded(text, hangs=True, stream=sys.stderr)
            print(printable_lines("\n".join(lines)), file=sys.stderr)

    def detail(self, text: str) -> None:
        """Print a line that only `--verbose` asks for."""
        if self.verbosity > 0:
            print(printable(text), file=sys.stderr)

    def table(self, header: "Header", rows: Iterable[Sequence[object]]) -> None:
        """Print a table: in columns on a terminal, with tabs between for a program.

        A whole number is a quantity, and a person gets its thousands apart; what only looks like
        one (an id, a status code) is given as a text.
        """
        if sys.stdout.isatty():
            from shipper.cli.output.table import print_table  # noqa: PLC0415 - only a terminal needs rich

            print_table(header, [[shown(value) for value in row] for row in rows])
        else:
            print("\t".join(printable(str(title)) for title in header))
            for row in rows:
                print("\t".join(map(cell, row)))

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print a line for each fact: its label, and its value under the other values.

        On a terminal a long one goes on in the next line, and no word is broken.
        """
        for label, value in facts.items():
            lines = folded(value, _LABEL_WIDTH)
            if label in _STATES_HERE:
                lines = [styled(line, STATES.get(line, "")) for line in lines]
            text = f"\n{'':{_LABEL_WIDTH}}".join(lines)
            print(styled(f"{printable(label):<{_LABEL_WIDTH}}", "bold") + text)

    @property
    def asks(self) -> bool:
        """Whether a person is there who can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before what can't be undone; raises UsageError where nobody agrees.

        `yes` is the command's `--yes`; without a terminal nobody can be asked, so it is needed.
        """
        if yes:
            return
        if not self.asks:
            raise UsageError("nobody is there to agree", "add --yes")
        print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise UsageError("nothing was changed")


def folded(
    text: str, beside: int = 0, *, hangs: bool = False, stream: TextIO | None = None
) -> list[str]:
    """Return a text in printable lines that fit beside so many columns; a program gets it in one.

    No word is broken, so that a path or a URL can be copied. Where it `hangs`, all lines but the
    first are indented. Without a `stream` it is for stdout.
    """
    plain, on = printable(text), stream or sys.stdout
    if not on.isatty():
        return [plain]
    room = max(_ROOM_LEAST, terminal_size(on).columns - beside)
    indent = " " * (len(plain) - len(plain.lstrip()) + _HANGING) if hangs else ""
    lines = wrap(
        plain, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines or [""]


class Word(str):
    """A printable word of a table that has a colour of its own on a terminal: "" for none."""

    __slots__ = ("colour",)
    colour: str

    @classmethod
    def of(cls, text: str, colour: str) -> "Word":
        """Return the word."""
        word = cls(printable(text))
        word.colour = colour
        return word


def cell(value: object) -> str:
    """Return a value as a table for a program has it."""
    if isinstance(value, Word):
        return value
    return "" if value is None else printable(str(value))


def shown(value: object) -> str:
    """Return a value as a table for a person has it: a quantity with its thousands apart."""
    return count(value) if type(value) is int else cell(value)
