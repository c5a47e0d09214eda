"""Another version of shipper, measured by these benchmarks: the same scenario in the same minutes.

Its code is that of another checkout, run by the Python of the virtual environment there; the
benchmarks are these. A directory with links to both is what Python imports from.
"""

import json
import pickle
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import ROOT, LeftOut, environment

_OURS, _THEIRS = ("benchmarks",), ("shipper", "migrations")


class Outcome(NamedTuple):
    """What the other version has reached: events a second, CPU in µs an event, latency in ms."""

    rate: float
    cpu: float
    p50: float | None = None
    p99: float | None = None


class Tree:
    """A checkout of shipper with a virtual environment `.venv`; raises LeftOut without one."""

    def __init__(self, checkout: Path, directory: Path, more: Mapping[str, str]) -> None:
        self._python = checkout / ".venv" / "bin" / "python"
        if not self._python.exists():
            raise LeftOut(f"{checkout.name} has no .venv")
        self._mixed = directory / "mixed"
        self._mixed.mkdir()
        self._more = more
        for names, root in ((_OURS, ROOT), (_THEIRS, checkout.absolute())):
            for name in names:
                (self._mixed / name).symlink_to(root / name)

    def once(self, scenario: object) -> Outcome:
        """Run a scenario once; raises CalledProcessError if it fails there."""
        paths = {"PYTHONPATH": str(self._mixed), **self._more}
        done = subprocess.run(
            [str(self._python), "-m", "benchmarks.once", str(self._mixed.parent)],
            cwd=self._mixed,
            env=environment(more=paths),
            input=pickle.dumps(scenario),
            stdout=subprocess.PIPE,
            check=True,
        )
        return Outcome(*json.loads(done.stdout))
