"""Prometheus's own judge of rules and metrics, which is a program and no package of Python's."""

import subprocess

from tests import needs


def promtool(*arguments: str, input_: str = "") -> str:
    """Run promtool and return what it says; fails where it complains."""
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
