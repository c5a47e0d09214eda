"""Prometheus's own check of rules and metrics: the program promtool."""

import subprocess

from tests import needs


def promtool(*arguments: str, input_: str = "") -> str:
    """Run promtool and return its output; fails if promtool reports an error."""
    done = subprocess.run(
        [needs.program("promtool", "prometheus"), *arguments],
        input=input_,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
