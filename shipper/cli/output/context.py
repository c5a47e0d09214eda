"""What every command gets: the global options, the configuration, the database, ways to print.

The answer goes to stdout, everything else to stderr. Every text is made printable first, because a
key or an answer can contain characters that a terminal obeys. It must never print a secret or read
a clock.
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

from shipper.cli.output.cells import cell, shown
from shipper.errors import UsageError
from shipper.wording.colours import STATES, styled, terminal_size
from shipper.wording.safe_text import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from shipper.cli.output.columns import Header
    from shipper.config import Settings
    from shipper.store.db.opening import Database

# In a list of facts: the column where values begin, and the labels whose values are coloured.
_LABEL_WIDTH = 13
_STATES_HERE = frozenset({"status"})
# The least columns for a text.
_ROOM_LEAST = 20
_HANGING = 2


@Parameter(parse=False)
@dataclass
class Context:
    """The global options of a command line, and what a command needs because of them.

    A command is a plain function. The shell fills in its keyword-only argument `context: Context`;
    its other arguments are its options, and their help comes from its docstring:

        def hold(*, key: str | None = None, context: Context) -> int | None:

    It returns its exit status (None is 0), and raises ShipperError for what the operator has to
    fix.
    """

    config_path: Path | None = None
    """The file that `--config` names."""
    json: bool = False
    """Whether `--json` was given: then only `emit` is allowed to write to stdout."""
    verbosity: int = 0
    """How often `--verbose` was given; below 0 is `--quiet`."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    # -- configuration and database -----------------------------------------------------------

    def settings(self) -> "Settings":
        """Return the configuration without API IDs; raises ConfigError and AccessDenied.

        A command that sends nothing needs no API ID, and often only the daemon can read it.
        """
        return self._settings

    @cached_property
    def _settings(self) -> "Settings":
        from shipper.config import load  # noqa: PLC0415 - `version` doesn't need it

        settings = load(self.config_path, self.environ, sends=False)
        self.detail(f"configuration: {settings.path}")
        return settings

    def sender_settings(self) -> "Settings":
        """Return the configuration with its API IDs, for a command that sends; raises the same."""
        from shipper.config import load  # noqa: PLC0415 - as above

        return load(self.config_path, self.environ)

    @contextmanager
    def engine(
        self, *, create: bool = False, newer: bool = False, outbox: bool = True
    ) -> "Iterator[Database]":
        """Open the configured database for the length of a `with`.

        With `create` a missing SQLite file is made. With `newer` the outbox is allowed to be of a
        newer version. Without `outbox` the database needn't have an outbox. Raises ConfigError,
        SchemaError for a database without an outbox or with a newer one, and the errors of
        `store.db.failures`.
        """
        from shipper.config import masked  # noqa: PLC0415 - as above
        from shipper.store.db.opening import opened  # noqa: PLC0415 - sqlalchemy loads slowly
        from shipper.store.schema.revisions import refuse_newer, refuse_none  # noqa: PLC0415 - as above

        where = self.settings().database
        self.detail(f"outbox: {masked(where.url)}")
        with opened(where.url, create=create, notify=self.note, renewed=where.read_url) as engine:
            if outbox:
                refuse_none(engine)
            if not newer:
                refuse_newer(engine)
            yield engine

    # -- printing -----------------------------------------------------------------------------

    def emit(self, value: object) -> None:
        """Print a value as JSON on one line, safe for a terminal."""
        # Lone surrogates leave as \udcXX (see `shell`), which is JSON's own escape for them.
        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        line = json.dumps(value, ensure_ascii=plain, separators=(",", ":"))
        print(printable_json(line))

    def say(self, text: str = "", style: str = "") -> None:
        """Print lines of the answer, for a person, in a style of `colours.styled`."""
        print("\n".join(styled(line, style) for line in printable_lines(text).split("\n")))

    def tell(self, text: str) -> None:
        """Print a sentence of the answer; a terminal gets it folded between words."""
        self.say("\n".join(folded(text, hangs=True)))

    def note(self, text: str) -> None:
        """Print a remark on stderr, unless `--quiet` was given."""
        if self.verbosity >= 0:
            # A text of several lines has its own layout.
            lines = [text] if "\n" in text else folded(text, hangs=True, stream=sys.stderr)
            print(printable_lines("\n".join(lines)), file=sys.stderr)

    def detail(self, text: str) -> None:
        """Print a line on stderr if `--verbose` was given."""
        if self.verbosity > 0:
            print(printable(text), file=sys.stderr)

    def table(self, header: "Header", rows: Iterable[Sequence[object]]) -> None:
        """Print a table: in columns on a terminal, with tabs for a program.

        An int is a quantity: a terminal gets commas between its thousands. An id or a status code
        is passed as a str.
        """
        if sys.stdout.isatty():
            from shipper.cli.output.table import print_table  # noqa: PLC0415 - only a terminal needs rich

            print_table(header, [[shown(value) for value in row] for row in rows])
        else:
            print("\t".join(printable(str(title)) for title in header))
            for row in rows:
                print("\t".join(map(cell, row)))

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print one line per fact: its label, and its value in a column with the other values.

        On a terminal a long value is folded between words.
        """
        for label, value in facts.items():
            lines = folded(value, _LABEL_WIDTH)
            if label in _STATES_HERE:
                lines = [styled(line, STATES.get(line, "")) for line in lines]
            text = f"\n{'':{_LABEL_WIDTH}}".join(lines)
            print(styled(f"{printable(label):<{_LABEL_WIDTH}}", "bold") + text)

    @property
    def asks(self) -> bool:
        """Whether stdin and stderr are a terminal, so that a question can be answered."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before a change that can't be undone; raises UsageError without a yes.

        `yes` is the command's option `--yes`, which is needed without a terminal.
        """
        if yes:
            return
        if not self.asks:
            raise UsageError("there is no terminal to confirm on", "add --yes")
        print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise UsageError("nothing was changed")


def folded(
    text: str, beside: int = 0, *, hangs: bool = False, stream: TextIO | None = None
) -> list[str]:
    """Return a text as printable lines that fit a terminal, beside `beside` columns.

    No word is broken, so that a path or a URL can be copied. If it `hangs`, all lines but the first
    are indented. A `stream` (stdout) that is no terminal gets one line.
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
