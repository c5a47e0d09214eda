"""The entry point: it turns a command line into a call, and the result into an exit status.

It is the one place that prints errors. It must never print a traceback for an error that the
operator can fix, and never hide the traceback of a bug.
"""

import gc
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError

from shipper.cli.grammar.near import unknown
from shipper.cli.grammar.parser import GLOBAL, build
from shipper.cli.output.context import Context, folded
from shipper.errors import ConfigError, InvalidEvent, NotWritten, ShipperError, UsageError
from shipper.system.stderr import flush_stderr
from shipper.wording.colours import BAD, styled
from shipper.wording.quantities import several
from shipper.wording.safe_text import printable, printable_json, printable_lines

T = TypeVar("T")

BUG = 70  # sysexits.h: EX_SOFTWARE
INTERRUPTED = 130
PIPE_CLOSED = 141  # what a shell reports for a program that SIGPIPE has ended

# The parser takes a lone hyphen for an option without a name; for our commands it is a value
# (stdin). So it is replaced before parsing, by a NUL: no argument of a process can contain one.
_HYPHEN = "\0"

_US = "shipper:"
_CONFIG = (
    "The configuration file. Default: $SHIPPER_CONFIG, else ./shipper.toml, else"
    " /etc/shipper/config.toml."
)
_PLACE = re.compile(r"[^:\s]\S*:\d+: ")


def main() -> None:
    """Run the command line of this process, and exit."""
    _repair_streams()
    sys.exit(run(sys.argv[1:]))


def _repair_streams() -> None:
    """Make every text printable on stdout and stderr; replace a closed stream by /dev/null."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - open until the end
            setattr(sys, name, nowhere)
        elif isinstance(stream, TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")
            if name == "stdout":
                sys.stdout = _Stdout.of(stream)


class _Stdout(TextIOWrapper):
    """A stdout that raises NotWritten for a full disk or a read-only descriptor: no bug."""

    @classmethod
    def of(cls, stream: TextIOWrapper) -> "_Stdout":
        """Return the replacement of a stream, which can't be used afterwards."""
        settings = {
            name: getattr(stream, name)
            for name in ("encoding", "errors", "line_buffering", "write_through")
        }
        return cls(stream.detach(), **settings)

    def write(self, text: str) -> int:
        """Write a text; raises NotWritten, and BrokenPipeError if the reader has gone."""
        with _not_a_bug():
            return super().write(text)

    def flush(self) -> None:
        """Flush the stream; raises the same."""
        with _not_a_bug():
            super().flush()


@contextmanager
def _not_a_bug() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_stdout()
        raise NotWritten(f"can't write to stdout: {error.strerror}") from error


def run(arguments: Sequence[str]) -> int:
    """Run a command line (without the program's name) and return its exit status."""
    try:
        return _run(arguments)
    finally:
        flush_stderr()


def _run(arguments: Sequence[str]) -> int:
    as_json = "--json" in arguments
    try:
        status = _call(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        return _report(_usage(error), as_json=as_json)
    except ShipperError as error:
        return _report(error, as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return PIPE_CLOSED
    except Exception:  # noqa: BLE001 - a bug: its traceback is printed
        print(printable_lines(traceback.format_exc()), end="", file=sys.stderr)
        print("shipper: this is a bug in shipper; please report the lines above", file=sys.stderr)
        return BUG
    return status


def _discard_stdout() -> None:
    # Python flushes stdout again at its end, and would print an error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_nowhere() -> bool:
    """Return whether the current directory was removed, so that relative paths lead nowhere."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _call(arguments: Sequence[str]) -> int:
    shielded = [_HYPHEN if word == "-" else word for word in arguments]
    try:
        status = application().meta(
            shielded, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except FileNotFoundError:
        if _is_nowhere():
            gone = "the current directory was removed"
            raise UsageError(
                gone, "change to an existing directory, and repeat the command"
            ) from None
        raise
    return int(status or 0)


def application() -> App:
    """Return the application with its global options, which belong to its `meta` application."""
    app = build()

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[Path | None, _option("--config", "-c"), Parameter(help=_CONFIG)] = None,
        json: Annotated[bool, _option("--json")] = False,
        verbose: Annotated[int, _option("--verbose", "-v"), Parameter(count=True)] = 0,
        quiet: Annotated[bool, _option("--quiet", "-q")] = False,
    ) -> int | None:
        """Call the command that the tokens name.

        Parameters
        ----------
        json
            Print the answer as JSON: one object on one line, for a list one line per entry.
        verbose
            Print also which configuration and outbox are used; `run` and `drain` log more.
        quiet
            Print only the answer and errors.
        """
        command, bound, injected = app.parse_args(tokens, exit_on_error=False, print_error=False)
        bound.arguments.update({name: _bare(value) for name, value in bound.arguments.items()})
        context = Context(_bare(config), json, -1 if quiet else verbose)
        bound.arguments.update(dict.fromkeys(injected, context))
        if not gc.isenabled():
            gc.freeze()  # loaded code stays, so the collector can skip it
            gc.enable()
        status: int | None = command(*bound.args, **bound.kwargs)
        return status

    return app


def _bare(value: T) -> T:
    """Return an argument with its lone hyphens restored."""
    if isinstance(value, list | tuple):
        return type(value)(map(_bare, value))
    return type(value)("-") if str(value) == _HYPHEN else value  # type: ignore[call-arg]


def _option(*names: str) -> Parameter:
    return Parameter(name=names, group=GLOBAL, show_default=False)


def _usage(error: CycloptsError) -> UsageError:
    """Return the error for a command line that the parser refuses."""
    chain = tuple(error.command_chain or ())
    help_on = " ".join(("shipper", *chain, "--help"))
    if not isinstance(error, UnknownCommandError):
        return UsageError(str(error).replace(_HYPHEN, "-").rstrip("."), help_on)
    # The parser's own message would import every command.
    return unknown(chain, (error.unused_tokens or [""])[0])


def _report(error: ShipperError, *, as_json: bool) -> int:
    """Print on stderr what is wrong and what to do; return the exit status."""
    with suppress(OSError):  # the exit status matters more than a broken stderr
        _print(error, as_json=as_json)
    return error.exit_status


def _print(error: ShipperError, *, as_json: bool) -> None:
    if as_json:
        line = json.dumps(_as_object(error), separators=(",", ":"))
        print(printable_json(line), file=sys.stderr)
    else:
        us = styled(_US, BAD, sys.stderr)
        lines = [printable(line) for line in error.message.splitlines()]
        if isinstance(error, ConfigError) and any(map(_PLACE.match, lines)):
            # Each fault begins with its file and line, so that an editor can jump there. On a
            # terminal a heading comes first: the operator may have run any other command.
            if sys.stderr.isatty():
                faults = several(len(error.problems), "fault")
                print(us, f"the configuration has {faults}", file=sys.stderr)
        elif not isinstance(error, InvalidEvent):
            lines[0] = f"{_US} {lines[0]}"
        for line in lines:
            text = "\n".join(folded(line, hangs=True, stream=sys.stderr))
            # Coloured after folding, because the codes of a colour have no width.
            print(us + text.removeprefix(_US) if text.startswith(_US) else text, file=sys.stderr)
        if error.hint:
            hint = folded(error.hint, len("  hint: "), stream=sys.stderr)
            label = styled("hint:", "bold", sys.stderr)
            print(f"  {label}", f"\n{'':8}".join(hint), file=sys.stderr)


def _as_object(error: ShipperError) -> dict[str, object]:
    fields: dict[str, object] = {"error": error.message, "hint": error.hint}
    if isinstance(error, InvalidEvent):
        fields["violations"] = error.violations
    if isinstance(error, ConfigError):
        fields["problems"] = error.problems
    return fields
