"""Every branch of the modules that decide is taken by the unit tests alone.

Those that walk at random are left out: what they happen to come across is no test of a branch.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DECIDING = ("event", "outcome", "backoff", "delivery", "lane", "link", "blame", "crowd")
TESTS = (
    "backoff", "crowd", "delivery", "event", "lanes", "lanes_bounds", "link", "link_blame",
    "link_pauses", "lookahead", "masked", "outcome", "route",
)  # fmt: skip


def test_every_branch_of_what_decides_is_tested(tmp_path: Path) -> None:
    """And none is excepted."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(f"tests/unit/test_{name}.py" for name in TESTS),
        *(f"--cov=shipper.{module}" for module in DECIDING),
        *("--cov-branch", "--cov-report=term-missing:skip-covered", "--cov-fail-under=100"),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
