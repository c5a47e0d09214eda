"""When a planted bug counts as caught: by a broken promise, and not because the plant crashed."""

import re
from collections.abc import Sequence

# A plant that no longer fits the product ends its process so, and shows nothing about the checks.
_CRASH = re.compile(
    r"(?:^|ended with |failed: )(?:TypeError|AttributeError|NameError|UnboundLocalError): "
)


def is_caught(violations: Sequence[str]) -> bool:
    """Return whether a run with a planted bug shows that the bug breaks a promise."""
    return bool(violations) and not any(map(_CRASH.search, violations))
