"""One result of several runs: the median of each figure."""

from collections.abc import Sequence
from statistics import median
from typing import Any


def medians(runs: Sequence[object], *names: str) -> dict[str, Any]:
    """Return the median of each of these attributes; None for one that a run doesn't know."""
    return {name: _median([getattr(run, name) for run in runs]) for name in names}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if len(known) == len(values) else None
