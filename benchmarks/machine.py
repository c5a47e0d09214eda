"""The machine on which the benchmarks ran: without it, a figure has no meaning."""

import os
import platform
import re
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

_SYNCS = 50


def describe(directory: Path, versions: dict[str, str]) -> list[tuple[str, str]]:
    """Return names and values; `directory` is where the databases are."""
    kind, sync = _file_system(directory), _sync_seconds(directory)
    return [
        ("date", datetime.now(UTC).isoformat(timespec="minutes").replace("+00:00", "Z")),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("CPU", _cpu_model()),
        ("kernel", platform.release()),
        ("Python", platform.python_version()),
        *versions.items(),
        ("file system", f"{kind}, fdatasync of 4 KiB {sync * 1e6:,.0f} µs (median)"),
        ("load at the start", " ".join(f"{load:.2f}" for load in os.getloadavg())),
    ]


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on."""
    longest, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, name = line.split(" ")[:3]
        if directory.is_relative_to(mount) and len(mount) >= len(longest):
            longest, kind = mount, name
    return kind


def _sync_seconds(directory: Path) -> float:
    """Return the median time to append 4 KiB to a file durably: no commit can be faster."""
    path = directory / "sync-probe"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    took = []
    try:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            took.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(took)
