"""`shipper demo`: everything with one command, offline."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveFloat

from shipper.cli.output.context import Context


def demo(
    *,
    seconds: PositiveFloat = 10.0,
    keep: Annotated[Path | None, Parameter(name="--keep")] = None,
    context: Context,
) -> int:
    """See it work, offline: a shop writes, an API fails on purpose, the real daemon delivers.

    Parameters
    ----------
    seconds
        How long the shop writes.
    keep
        A directory to keep the outbox and the logs in.
    """
    from shipper.demo.command import demo as perform  # noqa: PLC0415 - brings the whole daemon

    return perform(seconds, keep, as_json=context.json)
