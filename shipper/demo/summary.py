"""The summary of a demo: count the events and decide whether every event is accounted for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shipper.sandbox import Summary
from shipper.store.report.status import DestinationReport


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """The counts of the shop, of the outbox and of the receiver, side by side."""

    written: int
    delivered: int
    pending: int
    dead: int
    repeats: int
    order_violations: int
    first_delivery_seconds: float | None
    balanced: bool

    def as_json(self) -> Mapping[str, Any]:
        """Return the summary as `--json` prints it."""
        return asdict(self)

    def explanations(self) -> Mapping[str, str]:
        """Return why a count isn't zero, by the names of the fields."""
        reasons = {}
        if self.dead:
            reasons["dead"] = "refused on purpose (HTTP 422: no such product)"
        if self.repeats:
            reasons["repeats"] = "sent again: the first answer was lost"
        return reasons


def summarize(
    written: int, outbox: DestinationReport, receiver: Summary, first: float | None
) -> DemoSummary:
    """Compare the counts of shop, outbox and receiver.

    They balance if every written event is in the outbox, if the receiver has every delivered event,
    and if the receiver saw no event out of order and no event that the shop didn't write. The
    receiver can have events that are still pending: their answer was lost, and the daemon will
    repeat them.
    """
    accounted = outbox.delivered + outbox.pending + outbox.dead
    received = outbox.delivered <= receiver.distinct <= outbox.delivered + outbox.pending
    return DemoSummary(
        written=written,
        delivered=outbox.delivered,
        pending=outbox.pending,
        dead=outbox.dead,
        repeats=receiver.repeats,
        order_violations=receiver.order_violations,
        first_delivery_seconds=first,
        balanced=accounted == written and received and receiver.flawless,
    )
