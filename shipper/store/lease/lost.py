"""What it means that a daemon can no longer write with its token.

It decides between three reasons: another process has ended the token, the database lacks what the
daemon has written, or damage was corrected. Only the first must end the process.
"""

from shipper.errors import LeaseLost, OutboxChanged

_WENT_BACK = (
    "the database lacks what shipper last wrote there: a standby was promoted that lacks it,"
    " or a backup was restored"
)
_MAY_REPEAT = "events delivered since then are sent again, with the same Idempotency-Key"
_CORRECTED = "numbers or shards in shipper's tables, which a tool had changed, were corrected"
_IN_FLIGHT = "events in flight at that moment are sent again, with the same Idempotency-Key"


def taken_over() -> LeaseLost:
    """Return the error of a daemon that another process has ended."""
    return LeaseLost("another process has taken over the events of this daemon")


def went_back() -> OutboxChanged:
    """Return the error of a daemon whose last writes are missing."""
    return OutboxChanged(_WENT_BACK, _MAY_REPEAT)


def corrected() -> OutboxChanged:
    """Return the error of a daemon that has to begin again, because damage was corrected."""
    return OutboxChanged(_CORRECTED, _IN_FLIGHT)
