"""Ships the events of a local outbox table to an HTTP API, in order, until all are delivered.

Applications import from here: `Outbox` and the event builders. Nothing is imported before it
is asked for, because `shipper --help` and an application's start-up must not pay for the daemon.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shipper.contract.builders import interact, order, user_id, view
    from shipper.errors import InvalidEvent
    from shipper.outbox import Outbox

__version__ = "0.1.0"

__all__ = ["InvalidEvent", "Outbox", "__version__", "interact", "order", "user_id", "view"]

_HOMES = {
    "InvalidEvent": "shipper.errors",
    "Outbox": "shipper.outbox",
    "interact": "shipper.contract.builders",
    "order": "shipper.contract.builders",
    "user_id": "shipper.contract.builders",
    "view": "shipper.contract.builders",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see the module docstring

    return getattr(import_module(_HOMES[name]), name)
