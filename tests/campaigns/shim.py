"""The library `shim.c`, compiled where there is a compiler."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tests import needs

_SOURCE = Path(__file__).with_name("shim.c")


@cache
def library() -> Path:
    """Return the compiled library; skips the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("clang") or needs.program("cc", "gcc")
    built = Path(mkdtemp(prefix="shipper-shim-")) / "shim.so"
    options = ("-O2", "-shared", "-fPIC", "-o", str(built), str(_SOURCE), "-ldl")
    subprocess.run([compiler, *options], check=True)
    return built


def preloaded(orders: str = "") -> dict[str, str]:
    """Return the environment of a process under the shim."""
    return {"LD_PRELOAD": str(library()), "CAMPAIGN_SHIM": orders}
