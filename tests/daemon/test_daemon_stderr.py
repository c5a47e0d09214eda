"""stderr that nobody reads, that is closed, full or broken: events are shipped all the same."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.daemon.application import payload
from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.processes import PATIENCE, until

pytestmark = only_sqlite


@contextmanager
def pipe_of_one_page() -> Iterator[tuple[int, int]]:
    """Give a pipe that is full after a few lines."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


async def put(shop: Shop, events: int, first: int = 0) -> None:
    """Write so many events, of as many users."""
    rows = ({"payload": payload(f"u{n}", 1)} for n in range(first, first + events))
    await shop.put(*rows)


async def test_a_log_that_nobody_reads_stops_neither_the_shipping_nor_the_stop(shop: Shop) -> None:
    """A stuck log driver: the pipe is full after 16 lines, and stays so to the end."""
    with pipe_of_one_page() as (_, writing):
        daemon = shop.start(stderr=writing)
        await put(shop, 300)
        await shop.settled()
        await daemon.stop()
    shop.assert_flawless()
    assert shop.counts() == {"delivered": 300}


async def test_lines_that_nobody_read_are_counted_in_the_log_and_in_the_metrics(
    shop: Shop, tmp_path: Path
) -> None:
    """Once somebody reads again, the log says how many are missing, and goes on to its last."""
    socket = tmp_path / "web.sock"
    shop.configure(more=f'[web]\nlisten = "unix:{socket}"')
    with pipe_of_one_page() as (reading, writing):
        daemon = shop.start(stderr=writing)
        await put(shop, 6000)
        await shop.settled()
        dropped = await until(lambda: _dropped(socket), PATIENCE)
        lines: list[bytes] = []
        reader = Thread(target=lambda: lines.extend(iter(lambda: os.read(reading, 1 << 16), b"")))
        reader.start()
        await until(lambda: b"log.dropped" in b"".join(lines))
        await daemon.stop()
        os.close(writing)
        reader.join(PATIENCE)
        os.dup2(reading, writing)  # for the end of the `with`
    told = [json.loads(line) for line in b"".join(lines).splitlines()]
    said = [line for line in told if line["event"] == "log.dropped"]
    assert sum(line["lines"] for line in said) >= dropped > 0
    assert {line["reason"] for line in said} == {"stderr was not read"}
    assert said[0]["level"] == "warning"
    assert told[-1]["event"] == "daemon.stopped"


def _dropped(socket: Path) -> int:
    asked = (
        f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(socket)!r}); "
        "s.sendall(b'GET /metrics HTTP/1.0\\r\\n\\r\\n'); "
        "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    numbers = [
        float(line.split()[1])
        for line in done.stdout.splitlines()
        if line.startswith("shipper_log_dropped_total ")
    ]
    return int(numbers[0]) if numbers else 0


@pytest.mark.parametrize("stderr", ["/dev/full", "a reader that went away"])
async def test_a_log_that_cannot_be_written_stops_nothing(shop: Shop, stderr: str) -> None:
    """A full disk, a closed pipe: as before, and the exit status is the one it would be."""
    if stderr == "/dev/full":
        writing = os.open(stderr, os.O_WRONLY)
    else:
        reading, writing = os.pipe()
        os.close(reading)
    try:
        daemon = shop.start(stderr=writing)
        shop.add("u1-1", "u2-1")
        await shop.settled()
        await daemon.stop()
        shop.config.write_text("nonsense = 1\n")
        assert await shop.start(stderr=writing).ended() == 78
    finally:
        os.close(writing)


async def test_the_last_line_of_a_process_that_gives_up_comes_out(shop: Shop) -> None:
    """In a pipe that is read, everything; also what isn't of the log, after what is."""
    with pipe_of_one_page() as (reading, writing):
        lines: list[bytes] = []
        first = await shop.started()
        second = shop.start(stderr=writing)
        reader = Thread(target=lambda: lines.extend(iter(lambda: os.read(reading, 1 << 16), b"")))
        reader.start()
        assert await second.ended() == 75
        os.close(writing)
        reader.join(PATIENCE)
        os.dup2(reading, writing)
        await first.stop()
    log, *rest = b"".join(lines).decode().splitlines()
    assert json.loads(log)["event"] == "daemon.waiting"
    assert rest[0].startswith("shipper: another daemon holds this outbox")


async def test_a_full_pipe_does_not_hold_up_an_exit_status(shop: Shop) -> None:
    """Who would say why, and finds nobody who reads, ends with what it had to say."""
    with pipe_of_one_page() as (_, writing):
        os.set_blocking(writing, False)
        os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        shop.config.write_text("nonsense = 1\n")
        assert await shop.start(stderr=writing).ended() == 78
