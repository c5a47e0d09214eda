"""Makes the disk slow for some processes: a library that is preloaded, and delays each sync."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.processes import LeftOut

_SOURCE = Path(__file__).with_name("slow_disk.c")


def find_compiler() -> str | None:
    """Return a C compiler, or None."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def slowed(seconds: float, directory: Path) -> Mapping[str, str]:
    """Return what makes each sync of a process take so much longer, as environment variables.

    Raises LeftOut if there is no C compiler.
    """
    if not seconds:
        return {}
    compiler = find_compiler()
    if compiler is None:
        raise LeftOut("there is no C compiler for the library that makes a disk slow")
    library = directory / "slow_disk.so"
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"], check=True
    )
    return {"LD_PRELOAD": str(library), "SLOW_DISK_US": f"{seconds * 1e6:.0f}"}
