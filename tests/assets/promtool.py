"""Prometheus's own judge of rules and metrics, which is a program and no package of Python's.

Where $SHIPPER_TEST_REQUIRE has the word `promtool`, as in CI, it has to be there.
"""

import os
import shutil
import subprocess

import pytest


def promtool(*arguments: str, input_: str = "") -> str:
    """Run promtool and return what it says; skips where there is none, fails where it complains."""
    if shutil.which("promtool") is None:
        if "CI" in os.environ or "promtool" in os.environ.get("SHIPPER_TEST_REQUIRE", ""):
            pytest.fail("promtool is missing: apt-get install prometheus")
        pytest.skip("needs promtool: apt-get install prometheus")
    done = subprocess.run(
        ["promtool", *arguments],
        input=input_,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
