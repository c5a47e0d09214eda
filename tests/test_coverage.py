"""Every branch of the modules that decide is taken by the unit tests alone.

Those that walk at random are left out: what they happen to come across is no test of a branch.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DECIDING = (
    "event", "outcome", "backoff", "delivery", "lanes", "link", "blame", "failing", "pace",
    "partial_outage", "streak", "answers", "masking",
)  # fmt: skip
TESTS = (
    "config/test_masked", "drain/test_lookahead", "drain/test_route", "drain/test_sharing",
    "policy/test_answers", "policy/test_backoff", "policy/test_lanes_shards",
    "policy/test_delivery", "policy/test_event", "policy/test_failing", "policy/test_lanes",
    "policy/test_lanes_bounds", "policy/test_lane_phases", "policy/test_link",
    "policy/test_link_blame", "policy/test_link_elsewhere", "policy/test_link_pauses",
    "policy/test_outcome", "policy/test_partial_outage",
)  # fmt: skip


@pytest.mark.xdist_group("long")  # groups begin first
@pytest.mark.timeout(500)
def test_every_branch_of_what_decides_is_tested(tmp_path: Path) -> None:
    """And none is excepted."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(f"tests/{name}.py" for name in TESTS),
        *(f"--cov=shipper.policy.{module}" for module in DECIDING),
        *("--cov-branch", "--cov-report=term-missing:skip-covered", "--cov-fail-under=100"),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage")},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
