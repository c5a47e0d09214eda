"""Runs one scenario once, for `against`.

    python -m benchmarks.once DIRECTORY < SCENARIO

It reads the scenario, pickled, and prints the `Outcome` as JSON.
"""

import json
import pickle
import sys
import tempfile
from pathlib import Path

from benchmarks.suite import open_suite


def main(directory: str) -> None:
    scenario = pickle.load(sys.stdin.buffer)
    with (
        tempfile.TemporaryDirectory(prefix="once-", dir=directory) as name,
        open_suite(Path(name), [scenario], lambda _: None) as suite,
    ):
        print(json.dumps(suite.once(scenario)))


if __name__ == "__main__":
    main(*sys.argv[1:])
