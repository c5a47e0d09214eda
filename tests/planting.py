"""Planted bugs: a list of them by name, and when one counts as caught.

A bug is in the product for the length of a run. It is caught by a broken promise, and not because
the plant crashed.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

Plant: TypeAlias = Callable[[], AbstractContextManager[Any]]

# A plant that no longer fits the product ends its process so, and shows nothing about the checks.
_CRASH = re.compile(
    r"(?:^|ended with |failed: )(?:TypeError|AttributeError|NameError|UnboundLocalError): "
)


class Plants(dict[str, Plant]):
    """Bugs by name, as decorated functions: each returns what has its bug planted while entered."""

    def __call__(self, function: Plant) -> Plant:
        """Add one, under the name of its function."""
        self[function.__name__] = function
        return function

    @contextmanager
    def planted(self, name: str) -> Iterator[None]:
        """Run with a bug in the product."""
        with self[name]():
            yield


def is_caught(violations: Sequence[str]) -> bool:
    """Return whether a run with a planted bug shows that the bug breaks a promise."""
    return bool(violations) and not any(map(_CRASH.search, violations))
