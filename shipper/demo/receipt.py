"""The receipt: what was written, what became of it, and whether that adds up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shipper.sandbox import Summary
from shipper.store.report.status import DestinationReport


@dataclass(frozen=True, slots=True)
class Receipt:
    """The books of the shop, of the outbox and of the receiver, side by side."""

    written: int
    delivered: int
    pending: int
    dead: int
    repeats: int
    order_violations: int
    first_delivery_seconds: float | None
    balanced: bool

    def as_json(self) -> Mapping[str, Any]:
        """Return the receipt as `--json` prints it."""
        return asdict(self)

    def explanations(self) -> Mapping[str, str]:
        """Return what a person may wonder about, by the names of the fields."""
        told = {}
        if self.dead:
            told["dead"] = "refused on purpose (HTTP 422: no such product)"
        if self.repeats:
            told["repeats"] = "received again: the answer to the first one was lost"
        return told


def balance(
    written: int, outbox: DestinationReport, receiver: Summary, first: float | None
) -> Receipt:
    """Compare the three books.

    They balance when every event that was written is accounted for, the receiver has each that
    is marked delivered, and it saw no order broken and no event that was never written. It may
    have some that aren't marked yet: those whose answer got lost, and that will be repeated.
    """
    accounted = outbox.delivered + outbox.pending + outbox.dead
    received = outbox.delivered <= receiver.distinct <= outbox.delivered + outbox.pending
    return Receipt(
        written=written,
        delivered=outbox.delivered,
        pending=outbox.pending,
        dead=outbox.dead,
        repeats=receiver.repeats,
        order_violations=receiver.order_violations,
        first_delivery_seconds=first,
        balanced=accounted == written and received and receiver.flawless,
    )
