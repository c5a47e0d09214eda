"""A full disk under a command: one line, nothing half done, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs
from tests.cli.command_line import DEADLINE, VIEW, Home, Ran
from tests.cli.test_operating_commands import statuses, write


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give an outbox with more events than fit, beside a mount point."""
    home = Home(tmp_path, sqlite_url)
    write(home, VIEW, *map(str, range(40)))
    (tmp_path / "full").mkdir()
    return home


def run(home: Home, words: str, *, room: int = 4, fill: int = 0) -> Ran:
    """Run a command on a file system of so many kB, and then list its files."""
    needs.root()
    unshare = needs.program("unshare", "util-linux")
    script = (
        f"mount -t tmpfs -o size={room}k none full; head -c {fill}k /dev/zero > full/fill;"
        f" status=0; {sys.executable} -m shipper {words} || status=$?; ls -A full; exit $status"
    )
    done = subprocess.run(
        [unshare, "--mount", "--propagation", "private", "sh", "-ec", script],
        cwd=home.directory,
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("more", ["", " --hand-over"])
def test_an_export_that_does_not_fit_exports_nothing(home: Home, more: str) -> None:
    """And marks no event."""
    ran = run(home, f"events export full/rows.jsonl{more}")
    assert (ran.status, ran.out) == (1, "fill\n")
    assert "can't write full/rows.jsonl: No space left on device" in ran.err
    assert "Traceback" not in ran.err
    assert set(statuses(home)) == {"pending"}


def test_a_configuration_that_does_not_fit_is_not_left_half_written(home: Home) -> None:
    """Half a file would block the next try."""
    words = f"init -o full/shipper.toml --url http://127.0.0.1:9/e --database sqlite:///{home.directory}/b.db"
    ran = run(home, words, fill=4)
    assert (ran.status, ran.out) == (1, "fill\n")
    assert "full/shipper.toml: No space left on device" in ran.err
    assert "Traceback" not in ran.err


def test_an_outbox_that_does_not_fit_is_told(home: Home) -> None:
    """With the error that every command has for a full disk."""
    ran = run(
        home, "init -o new.toml --url http://127.0.0.1:9/e --database sqlite:///full/b.db", fill=4
    )
    assert ran.status == 69
    assert "full" in ran.err
    assert "Traceback" not in ran.err
    assert not (home.directory / "new.toml").exists()
