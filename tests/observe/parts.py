"""What the local port shows, put together by hand: a route, what was counted, a look."""

from shipper.clock import Clock
from shipper.config.secrets import Secrets
from shipper.drain import Route, Terms
from shipper.drain.courier import Courier
from shipper.drain.tally import Tally
from shipper.drain.terms import Ended
from shipper.observe.survey import UNCONFIGURED, Backlog, Disk, Figures
from shipper.policy.backoff import Backoff
from shipper.policy.delivery import RetryPolicy, Status, Verdict
from shipper.policy.event import Event
from shipper.policy.lanes import Lane
from shipper.policy.outcome import Fault, Kind, Outcome
from shipper.store.drain.messages import Record
from shipper.store.report.budget import Footprint
from shipper.store.report.facts import Growth
from tests.carriers import Carrying


class Nobody(Carrying):
    """Carries nothing anywhere."""

    async def send(self, event_id: str, payload: bytes, api_id: str) -> Fault:  # noqa: ARG002
        """Fail."""
        return Fault("refused", "no", "")


def route(name: str, clock: Clock) -> Route:
    """Return a destination with nothing to do."""
    terms = Terms(RetryPolicy(Backoff(1, 2), Backoff(1, 2), 20), 10.0, 64, 0.0, holds_dead=False)
    courier = Courier(Nobody(), validation="off", secrets=lambda: Secrets(api_id="x"), clock=clock)
    return Route(name, terms, courier, clock=clock, wake=lambda: None)


def settled(status: Status, cause: str, latency: float, key: str = "key") -> Ended:
    """Return a try that has ended."""
    event = Event(1, "event-id", "default", key, b"{}", created_at=1000.0)
    record = Record(event, Verdict(status, 0), 1000.0 + latency)
    outcome = Outcome(Kind.ACCEPTED, cause)
    return Ended(Lane(key), record, outcome, None, newly_received=False, seconds=0.5)


def tally(clock: Clock) -> Tally:
    """Return what was counted of five tries."""
    counted = Tally(clock.monotonic())
    counted.recorded(
        "default",
        [
            settled(Status.DELIVERED, "accepted", 0.25),
            settled(Status.DELIVERED, "accepted", 3.0),
            settled(Status.PENDING, "http-503", 0.0),
            settled(Status.PENDING, "timeout", 0.0),
            settled(Status.DEAD, "http-422", 0.0),
        ],
    )
    counted.turned(0.002, clock.monotonic(), clock.monotonic() + 35.0)
    return counted


def figures() -> Figures:
    """Return a look at an outbox on SQLite, in which rows name somebody whom nobody knows."""
    return Figures(
        backlogs=(
            Backlog("default", 5, 20, 2, 1, 100, 3, 12.5),
            Backlog("second", 0, 0, 0, 0, 0, 0, None),
            Backlog(UNCONFIGURED, 4, 0, 0, 0, 0, 0, 99.0),
        ),
        held_back_seconds=0.0,
        footprint=Footprint(10**6, False, Growth(3, 700), 10**7),
        disk=Disk(file=4096, wal=512, free=10**9, days_left=None, reserve=16 * 10**6),
    )
