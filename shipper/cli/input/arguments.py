"""What several commands take on the command line, and how it is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token

from shipper.config.types import Seconds

_YEAR = 366 * 86400.0


def _seconds(_hint: object, tokens: Sequence[Token]) -> float | None:
    return Seconds(0.0, 100 * _YEAR).parse(tokens[0].value, Path())


Duration = Annotated[float | None, Parameter(converter=_seconds, n_tokens=1, metavar="D")]
"""An option like `--timeout 5m`: seconds, or None where it is left out."""
