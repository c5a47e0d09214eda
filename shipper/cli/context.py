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
from typing import TYPE_CHECKING

from cyclopts import Parameter

from shipper.errors import UsageError

if TYPE_CHECKING:
    from shipper.config import Settings
    from shipper.store.opening import Database


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

        Who only looks at the outbox needs no API id: it may be readable for the daemon alone.
        """
        return self._settings

    @cached_property
    def _settings(self) -> "Settings":
        from shipper.config import load  # noqa: PLC0415 - `version` needs none

        return load(self.config_path, self.environ, sends=False)

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
        from shipper.store.opening import opened  # noqa: PLC0415 - sqlalchemy takes a while
        from shipper.store.revisions import refuse_newer, refuse_none  # noqa: PLC0415 - as above

        where = self.settings().database
        with opened(where.url, create=create, told=self.note, renewed=where.read_url) as engine:
            if outbox:
                refuse_none(engine)
            if not newer:
                refuse_newer(engine)
            yield engine

    # -- how it speaks ------------------------------------------------------------------------

    def emit(self, value: object) -> None:
        """Print a value as JSON on one line."""
        # What UTF-8 can't write leaves as \udcXX (see `shell`), which is how JSON writes it too.
        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        print(json.dumps(value, ensure_ascii=plain, separators=(",", ":")))

    def say(self, text: str = "") -> None:
        """Print a line of the answer, for a person."""
        print(text)

    def note(self, text: str) -> None:
        """Print a line that isn't part of the answer, unless `--quiet`."""
        if self.verbosity >= 0:
            print(text, file=sys.stderr)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table: in columns on a terminal, with tabs between for a program."""
        cells = [[cell(value) for value in row] for row in rows]
        if sys.stdout.isatty():
            from shipper.cli.table import print_table  # noqa: PLC0415 - only a terminal needs rich

            print_table(header, cells)
        else:
            for row in [header, *cells]:
                print("\t".join(row))

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
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise UsageError("nothing was changed")


def printable(text: str) -> str:
    """Return a text on one line and without anything that would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    return "" if value is None else printable(str(value))
