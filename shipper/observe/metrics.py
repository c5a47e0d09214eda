"""The metrics for Prometheus, in its text format.

This module decides their names, which must never change: dashboards and alert rules use them. A
label can hold the name of a configured destination, an outcome, a state or a status. It must never
hold a key, an event or anything else that an application writes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from shipper import __version__
from shipper.clock import Clock
from shipper.drain import Route
from shipper.drain.tally import Counts, Histogram, Tally
from shipper.observe.health import SILENCE
from shipper.observe.survey import Backlog, Figures
from shipper.policy.shares import SHARDS, WHOLE, Shares
from shipper.policy.state import State
from shipper.store.report.budget import Footprint
from shipper.store.report.daemons import RunningDaemon

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OF_DESTINATION: Final = ("destination",)


class Metrics:
    """Renders the numbers of the tally, the routes and the database."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        tally: Tally,
        clock: Clock,
        database: str,
        log_dropped: Callable[[], int] = lambda: 0,
        shares: Callable[[], Shares] = lambda: WHOLE,
    ) -> None:
        self._shares = shares
        self._routes = routes
        self._tally = tally
        self._clock = clock
        self._database = database
        self._log_dropped = log_dropped
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)

    def render(self, figures: Figures | None) -> bytes:
        """Return all metrics; without figures, those that only the database knows are left out."""
        once = CollectorRegistry(auto_describe=False)
        once.register(_Once([*self._of_drain(), *self._of_links(), *_of_database(figures)]))
        return generate_latest(once) + generate_latest(self._process)

    # -- what the drain has done ----------------------------------------------------------------

    def _of_drain(self) -> Iterator[Metric]:
        counted = {name: self._tally.destinations.get(name, Counts()) for name in self._routes}
        tries = CounterMetricFamily(
            "shipper_tries", "Tries that ended, by outcome.", labels=("destination", "outcome")
        )
        for name, counts in counted.items():
            for outcome, times in {"accepted": 0, **counts.tries}.items():
                tries.add_metric((name, outcome), times)
        yield tries
        yield _counter(
            "shipper_deliveries",
            "Events that were delivered.",
            {name: counts.delivered for name, counts in counted.items()},
        )
        yield _counter(
            "shipper_postponements",
            "Tries after which the event stays pending.",
            {name: counts.retried for name, counts in counted.items()},
        )
        yield _counter(
            "shipper_deaths",
            "Events that became dead letters.",
            {name: counts.dead for name, counts in counted.items()},
        )
        yield from _times(counted)
        yield from self._of_turns()

    def _of_turns(self) -> Iterator[Metric]:
        turns = HistogramMetricFamily(
            "shipper_turn_duration_seconds",
            "The drain's exchanges with the database: record, claim, look.",
        )
        turns.add_metric((), *_buckets(self._tally.turns))
        yield turns
        now = self._clock.monotonic()
        yield GaugeMetricFamily(
            "shipper_database_up",
            "Whether the database answers the drain.",
            int(self._tally.lost_at is None and self._tally.unanswered_for(now) <= SILENCE),
        )
        yield GaugeMetricFamily(
            "shipper_lease_remaining_seconds",
            "How long this daemon still holds the outbox; +Inf with a lock instead of a lease.",
            self._tally.lease_until - now,
        )
        info = GaugeMetricFamily(
            "shipper_info", "Shipper's version and database.", labels=("version", "database")
        )
        info.add_metric((__version__, self._database), 1)
        yield info
        yield from self._of_shares()
        yield CounterMetricFamily(
            "shipper_log_dropped",
            "Log lines that were dropped because stderr wasn't read.",
            self._log_dropped(),
        )

    def _of_shares(self) -> Iterator[Metric]:
        shares = self._shares()
        yield GaugeMetricFamily(
            "shipper_shards", f"How many of the {SHARDS} shards this daemon has.", len(shares.held)
        )
        yield GaugeMetricFamily(
            "shipper_shards_giving",
            "Shards that this daemon gives to another one, once nothing of them is in flight.",
            len(shares.gives),
        )
        yield GaugeMetricFamily(
            "shipper_leads",
            "Whether this daemon does the chores that only one of them does: alarms, retention.",
            int(shares.leads),
        )

    # -- the links ------------------------------------------------------------------------------

    def _of_links(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "shipper_link_state",
            "1 for the state that the link is in.",
            labels=("destination", "state"),
        )
        for name, route in self._routes.items():
            for state in State:
                states.add_metric((name, state.value), int(route.link.shown is state))
        yield states
        now, wall = self._clock.monotonic(), self._clock.wall()
        routes = self._routes.items()
        yield _gauge(
            "shipper_link_since_timestamp_seconds",
            "When the link entered its state.",
            {name: wall - (now - route.link.since) for name, route in routes},
        )
        yield _gauge(
            "shipper_link_failures",
            "Tries that failed in a row since the last one that was accepted.",
            {name: route.link.failing.failures for name, route in routes},
        )
        yield _gauge(
            "shipper_in_flight",
            "Events in flight, and events that are answered but not recorded yet.",
            {name: route.in_flight for name, route in routes},
        )
        yield _gauge(
            "shipper_in_flight_max",
            "How many events can be in flight.",
            {name: route.link.max_in_flight for name, route in routes},
        )


class _Once(Collector):
    """Metrics that were made for one answer."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._metrics


# -- the database ---------------------------------------------------------------------------------


def _of_database(figures: Figures | None) -> Iterator[Metric]:
    if figures is None:
        return
    backlogs = figures.backlogs
    events = GaugeMetricFamily(
        "shipper_events",
        "Events of the outbox; purged events were deleted after their retention.",
        labels=("destination", "status"),
    )
    for backlog in backlogs:
        for status, count in _statuses(backlog):
            events.add_metric((backlog.destination, status), count)
    yield events
    yield _gauge(
        "shipper_oldest_pending_seconds",
        "How long the oldest pending event has waited; 0 if none is pending.",
        {b.destination: b.oldest_pending_seconds or 0.0 for b in backlogs},
    )
    yield _gauge(
        "shipper_held_keys", "Keys that are held.", {b.destination: b.held_keys for b in backlogs}
    )
    yield GaugeMetricFamily(
        "shipper_held_back_seconds",
        "For how long an open transaction has kept the newest events back (PostgreSQL).",
        figures.held_back_seconds,
    )
    yield GaugeMetricFamily(
        "shipper_commit_wait_seconds",
        "For how long a commit has waited for a synchronous standby (PostgreSQL).",
        figures.commit_seconds,
    )
    yield from _of_daemons(figures.daemons)
    yield from _of_footprint(figures.footprint)
    if figures.disk is not None:
        yield GaugeMetricFamily("shipper_wal_bytes", "The size of the WAL.", figures.disk.wal)
        yield GaugeMetricFamily(
            "shipper_database_bytes", "The size of the database file.", figures.disk.file
        )
        yield GaugeMetricFamily(
            "shipper_disk_free_bytes", "Free space on the disk of the database.", figures.disk.free
        )
        yield GaugeMetricFamily(
            "shipper_reserve_bytes",
            "Size of the reserve file, which lets the daemon record deliveries on a full disk.",
            figures.disk.reserve,
        )


def _of_daemons(daemons: Sequence[RunningDaemon]) -> Iterator[Metric]:
    missing = sum(daemon.is_missing for daemon in daemons)
    yield GaugeMetricFamily(
        "shipper_daemons",
        "Daemons that ship this outbox; each of them says the same.",
        max(1, len(daemons) - missing),
    )
    yield GaugeMetricFamily(
        "shipper_daemons_missing",
        "Daemons that can't prolong their lease, or ended without a clean stop and aren't back.",
        missing,
    )


def _of_footprint(taken: Footprint) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "shipper_outbox_bytes",
        "Disk space of the outbox; estimated from its rows if the file holds other tables.",
        taken.taken,
    )
    yield GaugeMetricFamily(
        "shipper_outbox_growth_bytes",
        "Growth per day at the rate of the last day, if nothing is deleted.",
        taken.growth.bytes_a_day,
    )
    if taken.budget is not None:
        yield GaugeMetricFamily(
            "shipper_outbox_budget_bytes", "The configured budget of the outbox.", taken.budget
        )


def _statuses(backlog: Backlog) -> Iterator[tuple[str, int]]:
    yield "pending", backlog.pending
    yield "delivered", backlog.delivered
    yield "dead", backlog.dead
    yield "discarded", backlog.discarded
    yield "purged", backlog.purged


# -- rendering ------------------------------------------------------------------------------------


def _times(counted: Mapping[str, Counts]) -> Iterator[Metric]:
    latency = HistogramMetricFamily(
        "shipper_latency_seconds",
        "Time from writing an event to the answer that accepted it.",
        labels=_OF_DESTINATION,
    )
    duration = SummaryMetricFamily(
        "shipper_try_duration_seconds", "How long tries took.", labels=_OF_DESTINATION
    )
    for name, counts in counted.items():
        latency.add_metric((name,), *_buckets(counts.latency))
        duration.add_metric((name,), sum(counts.tries.values()), counts.seconds)
    yield latency
    yield duration


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    sums = map(float, accumulate(histogram.counts))
    return list(zip(bounds, sums, strict=True)), histogram.total


def _counter(name: str, text: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=_OF_DESTINATION)
    for destination, value in values.items():
        family.add_metric((destination,), value)
    return family


def _gauge(name: str, text: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=_OF_DESTINATION)
    for destination, value in values.items():
        family.add_metric((destination,), value)
    return family
