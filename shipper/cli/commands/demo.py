"""`shipper demo`: the whole product in one command, offline."""

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
    """See shipper work, offline: a fake shop writes events, a fake API fails, the daemon delivers.

    A summary at the end accounts for every event. Exit status 0 if the numbers add
    up, else 1.

    Parameters
    ----------
    seconds
        How long the shop writes events, in seconds.
    keep
        Keep the outbox and the logs in this directory. Without it they are deleted.
    """
    from shipper.demo.command import demo as perform  # noqa: PLC0415 - imports the whole daemon

    return perform(seconds, keep, as_json=context.json)
