"""What Prometheus reads: the numbers are right, their names a promise, their series bounded."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from shipper.drain import Route
from shipper.observe.health import SILENCE
from shipper.observe.metrics import Metrics
from shipper.observe.survey import Figures
from shipper.policy.delivery import Status
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.shares import NOTHING, WHOLE, Shares
from shipper.policy.state import State
from shipper.store.report.daemons import RunningDaemon
from tests.assets.promtool import promtool
from tests.observe import parts
from tests.observe.clocks import Hand

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def rendered(figures: Figures | None = None, clock: Hand | None = None) -> str:
    """Return the text for two destinations of which one has been at work."""
    clock = clock or Hand()
    routes = {name: parts.route(name, clock) for name in ("default", "second")}
    metrics = Metrics(routes, parts.tally(clock), clock, "sqlite 3.53.4", lambda: 7)
    return metrics.render(figures).decode()


def read(text: str) -> Samples:
    """Return every sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return one of them."""
    return samples[name, tuple(sorted(labels.items()))]


def test_the_tally_is_told_by_destination_and_outcome() -> None:
    """One that has done nothing yet is there with zeros: a rate needs a beginning."""
    samples = read(rendered())
    outcomes = {"accepted": 2, "http-503": 1, "timeout": 1, "http-422": 1}
    for outcome, count in outcomes.items():
        labels = {"destination": "default", "outcome": outcome}
        assert value(samples, "shipper_tries_total", **labels) == count
    assert value(samples, "shipper_tries_total", destination="second", outcome="accepted") == 0
    for name, counts in {"deliveries": (2, 0), "postponements": (2, 0), "deaths": (1, 0)}.items():
        found = [
            value(samples, f"shipper_{name}_total", destination=d) for d in ("default", "second")
        ]
        assert tuple(found) == counts


def test_latencies_are_a_histogram_whose_buckets_add_up() -> None:
    """Each bucket has what the smaller ones have."""
    samples = read(rendered())
    buckets = {
        bound: value(samples, "shipper_latency_seconds_bucket", destination="default", le=bound)
        for bound in ("0.1", "0.25", "2.5", "5.0", "86400.0", "+Inf")
    }
    assert list(buckets.values()) == [0, 1, 1, 2, 2, 2]
    assert value(samples, "shipper_latency_seconds_count", destination="default") == 2
    assert value(samples, "shipper_latency_seconds_sum", destination="default") == 3.25
    assert value(samples, "shipper_try_duration_seconds_sum", destination="default") == 2.5
    assert value(samples, "shipper_turn_duration_seconds_count") == 1
    assert value(samples, "shipper_turn_duration_seconds_bucket", le="0.0025") == 1
    assert value(samples, "shipper_turn_duration_seconds_bucket", le="0.001") == 0


def test_exactly_one_state_of_a_link_is_true() -> None:
    """All of them are there, so that a rule can name one that never was."""
    samples = read(rendered())
    states = {
        state.value: value(samples, "shipper_link_state", destination="default", state=state.value)
        for state in State
    }
    assert states == {state.value: float(state is State.READY) for state in State}


def test_an_operators_word_is_over_the_state_of_a_link() -> None:
    """As in `status`."""
    clock = Hand()
    route: Route = parts.route("default", clock)
    route.link.held = True
    samples = read(Metrics({"default": route}, parts.tally(clock), clock, "").render(None).decode())
    assert value(samples, "shipper_link_state", destination="default", state="held") == 1
    assert value(samples, "shipper_link_state", destination="default", state="ready") == 0


def test_failed_tries_in_a_row_are_told() -> None:
    """Of a link that is ready as far as is known."""
    clock = Hand()
    route: Route = parts.route("default", clock)
    route.link.failing.failed(Outcome(Kind.TRANSIENT, "refused"), 1.0)
    samples = read(Metrics({"default": route}, parts.tally(clock), clock, "").render(None).decode())
    assert value(samples, "shipper_link_failures", destination="default") == 1


def test_a_database_that_hangs_is_not_up() -> None:
    """Nothing fails, and nothing is answered."""
    clock = Hand()
    counted = parts.tally(clock)
    clock.now += SILENCE + 1.0
    samples = read(Metrics({}, counted, clock, "").render(None).decode())
    assert value(samples, "shipper_database_up") == 0.0


def test_the_lease_and_the_database_are_told() -> None:
    """For how long the outbox is ours; whether the drain is answered."""
    samples = read(rendered())
    assert value(samples, "shipper_lease_remaining_seconds") == 35.0
    assert value(samples, "shipper_database_up") == 1.0
    assert value(samples, "shipper_link_since_timestamp_seconds", destination="default") == (
        Hand().wall()
    )
    assert value(samples, "shipper_in_flight_max", destination="default") == 64


def test_what_the_database_says_is_told_by_status() -> None:
    """And what only rows name is one destination."""
    samples = read(rendered(parts.figures()))
    for status, count in {"pending": 5, "delivered": 20, "dead": 2, "purged": 100}.items():
        assert value(samples, "shipper_events", destination="default", status=status) == count
    assert value(samples, "shipper_events", destination="(unconfigured)", status="pending") == 4
    assert value(samples, "shipper_oldest_pending_seconds", destination="default") == 12.5
    assert value(samples, "shipper_oldest_pending_seconds", destination="second") == 0
    assert value(samples, "shipper_held_keys", destination="default") == 3
    assert value(samples, "shipper_wal_bytes") == 512
    assert value(samples, "shipper_disk_free_bytes") == 1e9
    assert value(samples, "shipper_reserve_bytes") == 16e6
    assert value(samples, "shipper_outbox_bytes") == 1e6
    assert value(samples, "shipper_outbox_budget_bytes") == 1e7
    assert value(samples, "shipper_outbox_growth_bytes") == 2100


def shared(shares: Shares = WHOLE, *daemons: RunningDaemon) -> Samples:
    """Return the samples of a daemon with these shards, among these daemons."""
    clock = Hand()
    metrics = Metrics({}, parts.tally(clock), clock, "", shares=lambda: shares)
    return read(metrics.render(replace(parts.figures(), daemons=daemons)).decode())


def test_the_only_daemon_has_every_shard_and_leads() -> None:
    """On SQLite too, where no row tells of a daemon: it is the one that answers."""
    samples = shared()
    found = {
        name: value(samples, f"shipper_{name}")
        for name in ("shards", "shards_giving", "leads", "daemons", "daemons_missing")
    }
    assert found == {
        "shards": 64, "shards_giving": 0, "leads": 1, "daemons": 1, "daemons_missing": 0,
    }  # fmt: skip


def test_one_of_several_tells_what_it_has_itself() -> None:
    """Shards sum up to 64 over all of them, and exactly one leads; what a step gives is told."""
    leads = shared(Shares(frozenset(range(40)), 2, frozenset({38, 39})))
    other = shared(Shares(frozenset(range(40, 64)), 2, frozenset()))
    assert [value(each, "shipper_shards") for each in (leads, other)] == [40, 24]
    assert [value(each, "shipper_leads") for each in (leads, other)] == [1, 0]
    assert [value(each, "shipper_shards_giving") for each in (leads, other)] == [2, 0]
    assert value(shared(NOTHING), "shipper_shards") == 0


def test_a_missing_daemon_is_counted_apart() -> None:
    """All daemons say the same of all; neither makes a series of its own."""
    there = RunningDaemon("shop", "shop", 7, "5.1.0", None, 1.0)
    gone = replace(there, name="till", is_missing=True)
    samples = shared(WHOLE, there, replace(there, pid=8), gone)
    assert value(samples, "shipper_daemons") == 2
    assert value(samples, "shipper_daemons_missing") == 1
    assert not [key for key in samples if "till" in str(key) or "shop" in str(key)]


def test_without_the_database_the_rest_is_told_all_the_same() -> None:
    """A number that nobody knows is left out: 0 would be a lie."""
    text = rendered(None)
    assert "shipper_events" not in text
    assert "shipper_oldest_pending" not in text
    assert "shipper_tries_total" in text
    assert "process_resident_memory_bytes" in text


def test_neither_a_key_nor_an_event_makes_a_series() -> None:
    """The number of series is that of the configuration."""
    clock, route = Hand(), parts.route("default", Hand())
    counted = parts.tally(clock)
    metrics = Metrics({"default": route}, counted, clock, "")
    before = read(metrics.render(parts.figures()).decode()).keys()
    for number in range(50):
        item = parts.settled(Status.DELIVERED, "accepted", 1.0, key=f"customer-{number}")
        counted.recorded("default", [item])
    assert read(metrics.render(parts.figures()).decode()).keys() == before
    assert not any("customer" in str(key) or "event-id" in str(key) for key in before)


def test_promtool_finds_nothing_to_complain_of() -> None:
    """Names, units and help are as Prometheus wants them."""
    assert promtool("check", "metrics", input_=rendered(parts.figures())) == ""


def test_lines_of_the_log_that_nobody_read_are_counted() -> None:
    """The log can't say it while nobody reads; this can."""
    assert value(read(rendered()), "shipper_log_dropped_total") == 7
