"""A directory with a configuration and an outbox, and the real command run in it."""

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from shipper.cli import shell

DEADLINE = 60.0

VIEW = (
    '{"type":"view","view":{"type":"customSet","customSet":{"id":"set-1"}},'
    '"context":[{"type":"user","user":{"id":"user-1"}}]}'
)


@dataclass(frozen=True)
class Ran:
    """The result of a command: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """Return the one JSON value on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """Return the last JSON value on stderr."""
        return json.loads(self.err.splitlines()[-1])


class Home:
    """A working directory with ./shipper.toml; commands don't get the test's environment."""

    def __init__(self, directory: Path, database: str, url: str = "http://127.0.0.1:9/e") -> None:
        self.directory = directory
        self.config = directory / "shipper.toml"
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")
        }
        self.configure(database, url)

    def configure(self, database: str, url: str, more: str = "") -> None:
        """Write the configuration anew."""
        self.config.write_text(
            f'[database]\nurl = "{re.sub("[+]psycopg", "", database)}"\n'
            f'[destinations.default]\nurl = "{url}"\napi_id = "secret-id"\n{more}'
        )
        self.config.chmod(0o600)

    def call(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Ran:
        """Run a command line in this process, which is faster than a new process."""
        with pytest.MonkeyPatch.context() as patch, chdir(self.directory):
            for name in os.environ.keys() - self.environ.keys():
                patch.delenv(name)
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin)))
            out, err = StringIO(), StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                status = shell.run(arguments)
        return Ran(status, out.getvalue(), err.getvalue())

    def run(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Ran:
        """Run `shipper` to its end, in a process of its own."""
        done = subprocess.run(
            self._command(arguments),
            input=stdin,
            capture_output=True,
            cwd=self.directory,
            env={**self.environ, **environ},
            timeout=DEADLINE,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run `shipper` for the length of a `with`; killed at the end if it is still there."""
        with subprocess.Popen(
            self._command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=self.environ,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def receiving(self, *arguments: str) -> Iterator[str]:
        """Run `shipper sandbox`, with the configuration's destination pointed at it."""
        port = () if "--port" in arguments else ("--port", "0")
        with self.running("sandbox", *port, "--json", *arguments) as process:
            assert process.stdout is not None
            url: str = json.loads(next_line(process.stdout.fileno()))["events_url"]
            text = self.config.read_text()
            self.config.write_text(re.sub('url = "http:[^"]*"', f'url = "{url}"', text))
            yield url

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "shipper", *arguments]


def next_line(descriptor: int) -> bytes:
    """Return the next line of a pipe; fails after the deadline."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], DEADLINE)
        assert ready, f"nothing more came after {line!r}"
        byte = os.read(descriptor, 1)
        assert byte, f"the output ended with {line!r}"
        line += byte
    return line
