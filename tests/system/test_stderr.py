"""A stream that nobody reads costs its writer nothing, and says later what is missing of it."""

import fcntl
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from shipper.system.stderr import Unblocked, flush_stderr, unblock_stderr

DEADLINE = 30.0
PIPE_BYTES = 4096


class Pipe:
    """A pipe of one page, with a stream at its end."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.stream = os.fdopen(self.writing, "w", encoding="utf-8")

    def read_all(self) -> list[str]:
        """Return every line until the writing end is closed."""
        with os.fdopen(self.reading, encoding="utf-8") as lines:
            return lines.read().splitlines()


@contextmanager
def read(pipe: Pipe, into: list[str]) -> Iterator[None]:
    """Read everything meanwhile; closes the pipe."""
    reader = Thread(target=lambda: into.extend(pipe.read_all()))
    reader.start()
    try:
        yield
    finally:
        pipe.stream.close()
        reader.join(DEADLINE)


@pytest.fixture
def pipe() -> Pipe:
    """Give a pipe that nobody reads yet."""
    return Pipe()


def test_lines_that_nobody_reads_cost_nothing_and_are_counted(pipe: Pipe) -> None:
    """Every line comes out in its order, or is counted where it is missing; the latest are kept."""
    stream = Unblocked(pipe.stream, kept=1000)
    stream.words_for = "missing {}".format
    for number in range(2000):
        stream.write(f"{number:04}\n")
    assert not stream.flush_within(0.0)
    lines: list[str] = []
    with read(pipe, lines):
        assert stream.flush_within(DEADLINE)
    expected = missing = 0
    for line in lines:
        if line.startswith("missing"):
            count = int(line.split()[1])
            missing, expected = missing + count, expected + count
        else:
            assert int(line) == expected
            expected += 1
    assert expected == 2000
    assert missing == stream.dropped > 0


def test_what_is_kept_is_bounded(pipe: Pipe) -> None:
    """However much is written, and however long a line is."""
    stream = Unblocked(pipe.stream, kept=10_000)
    for _ in range(1000):
        stream.write("x" * 5_000 + "\n")
    assert sum(map(len, stream._waiting)) <= 10_000
    assert stream.dropped > 900
    with read(pipe, []):
        assert stream.flush_within(DEADLINE)


def test_a_line_that_comes_in_pieces_stays_whole(pipe: Pipe) -> None:
    """`print` gives its end by itself, and a traceback is many texts."""
    stream = Unblocked(pipe.stream)
    lines: list[str] = []
    with read(pipe, lines):
        print("one", "two", file=stream)
        print("a question: ", end="", file=stream, flush=True)
        print("an answer \udcff €", file=stream)
        assert stream.flush_within(DEADLINE)
    assert lines == ["one two", "a question: an answer \\udcff €"]


def test_a_descriptor_that_somebody_else_switched_to_not_blocking(pipe: Pipe) -> None:
    """As node does with a terminal it shares: no line is lost, none is cut."""
    os.set_blocking(pipe.writing, False)
    stream = Unblocked(pipe.stream)
    wanted = [f"{number:0100}" for number in range(500)]
    stream.write("\n".join(wanted) + "\n")
    assert not stream.flush_within(0.0)
    lines: list[str] = []
    with read(pipe, lines):
        assert stream.flush_within(DEADLINE)
    assert lines == wanted


def test_a_reader_that_went_away_is_no_fault_of_the_writers(pipe: Pipe) -> None:
    """The lines are counted; nothing is raised."""
    os.close(pipe.reading)
    stream = Unblocked(pipe.stream)
    for _ in range(3):
        stream.write("unheard\n")
        assert stream.flush_within(DEADLINE)
    assert stream.dropped == 3
    pipe.stream.close()


def test_on_a_full_disk_no_line_is_torn_by_the_next(tmp_path: Path) -> None:
    """What didn't fit is counted, and the rest begins on a line of its own."""
    path = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with path.open("w", encoding="utf-8") as file:
        stream = Unblocked(file)
        resource.setrlimit(resource.RLIMIT_FSIZE, (15, hard))
        try:
            for number in range(4):
                stream.write(f"line {number:03}\n")
                assert stream.flush_within(DEADLINE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        stream.write("line 004\n")
        assert stream.flush_within(DEADLINE)
    assert path.read_text().splitlines() == [
        "line 000",
        "line 0",
        "shipper: 3 lines were dropped",
        "line 004",
    ]
    assert stream.dropped == 3


def test_at_the_end_stderr_is_given_back_or_given_up(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody reads would hold up what Python itself says at its end."""
    monkeypatch.setattr("shipper.system.stderr._AT_THE_END", 0.1)
    monkeypatch.setattr(sys, "stderr", pipe.stream)
    unblock_stderr()
    flush_stderr()
    assert sys.stderr is pipe.stream
    unblock_stderr()
    sys.stderr.write("x" * 2 * PIPE_BYTES + "\n")
    flush_stderr()
    given = sys.stderr
    with given:
        assert given.name == os.devnull
    with read(pipe, []):
        pass
