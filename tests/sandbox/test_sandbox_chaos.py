"""The language of faults: what a spec means, and how a wrong one is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.errors import UsageError
from shipper.sandbox.chaos import HANG_SECONDS, OUTAGE, Chaos, InjectedFault

ITEMS = [
    ("503:1", InjectedFault("status", 503)),
    ("429:1:2s", InjectedFault("status", 429, retry_after=2.0)),
    ("503:1:1500ms", InjectedFault("status", 503, retry_after=1.5)),
    ("drop:1", InjectedFault("drop")),
    ("lost:1.0", InjectedFault("lost")),
    ("stall:1", InjectedFault("stall")),
    ("reset:1", InjectedFault("reset")),
    ("garbage:1", InjectedFault("garbage")),
    ("html:1", InjectedFault("html")),
    ("truncate:1", InjectedFault("truncate")),
    ("redirect:1", InjectedFault("redirect")),
    ("slow:2s:1", InjectedFault("slow", delay=2.0)),
    ("slow:0.5:1", InjectedFault("slow", delay=0.5)),
    ("hang:1", InjectedFault("slow", delay=HANG_SECONDS)),
]


@pytest.mark.parametrize(("spec", "fault"), ITEMS)
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999999])
def test_what_has_probability_one_always_strikes(
    spec: str, fault: InjectedFault, chance: float
) -> None:
    """Whatever the chance is, the only item of a spec strikes."""
    assert Chaos.parse(spec).choose(0.0, chance) == fault


@pytest.mark.parametrize(
    ("spec", "item", "hint"),
    [
        ("503:0.1,drp:0.1", "drp:0.1", "drop"),
        ("xyz:0.1", "xyz:0.1", "garbage"),
        ("503", "503", "503:P"),
        ("503:0.1:2s:9", "503:0.1:2s:9", "RETRY_AFTER"),
        ("503:0.1:soon", "503:0.1:soon", "2s"),
        ("100:0.1", "100:0.1", "200 to 599"),
        ("600:0.1", "600:0.1", "200 to 599"),
        ("drop", "drop", "drop:P"),
        ("drop:0.1:2s", "drop:0.1:2s", "drop:P"),
        ("drop:often", "drop:often", "0 to 1"),
        ("drop:1.5", "drop:1.5", "0 to 1"),
        ("drop:-0.1", "drop:-0.1", "0 to 1"),
        ("drop:nan", "drop:nan", "0 to 1"),
        ("slow:0.1", "slow:0.1", "slow:DURATION:P"),
        ("slow:2x:0.1", "slow:2x:0.1", "500ms"),
        ("503:0.7,drop:0.4", "drop:0.4", "1 in all"),
        ("outage:10s", "outage:10s", "DURATION@START"),
        ("outage", "outage", "DURATION@START"),
        ("outage:10s@", "outage:10s@", "500ms"),
        ("outage:10s@5s/", "outage:10s@5s/", "500ms"),
        ("outage:10s@5s/10s", "outage:10s@5s/10s", "longer than"),
    ],
)
def test_a_wrong_item_is_named_with_the_way_to_write_it(spec: str, item: str, hint: str) -> None:
    """The message quotes the item, the hint says what to write, the exit status is 2."""
    with pytest.raises(UsageError) as caught:
        Chaos.parse(spec)
    assert repr(item) in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("spec", ["", "  ", ",", "503:0"])
def test_no_item_is_no_fault(spec: str) -> None:
    """An empty spec and a probability of zero leave every request alone."""
    assert Chaos.parse(spec).choose(0.0, 0.0) is None


def test_probabilities_that_add_up_to_one_in_decimal_are_taken() -> None:
    """The sum of ten times 0.1 isn't exactly 1 in binary, and is accepted."""
    assert len(Chaos.parse(",".join(["503:0.1"] * 10)).faults) == 10


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_each_item_has_its_share_of_the_line(weights: list[int], chance: float) -> None:
    """A chance selects the item whose interval of [0, 1) contains it, or none."""
    total = max(sum(weights), 100)
    shares = [weight / total for weight in weights]
    spec = ",".join(f"{200 + place}:{share:.17f}" for place, share in enumerate(shares))
    fault = Chaos.parse(spec).choose(0.0, chance)
    place = next((i for i in range(len(shares)) if chance < sum(shares[: i + 1]) - 1e-9), None)
    surely = next((i for i in range(len(shares)) if chance < sum(shares[: i + 1]) + 1e-9), None)
    struck = None if fault is None or fault.status is None else fault.status - 200
    assert struck in {place, surely}


@pytest.mark.parametrize(
    ("elapsed", "is_out", "until"),
    [
        (0.0, False, 30.0),
        (29.0, False, 1.0),
        (30.0, True, 10.0),
        (39.0, True, 1.0),
        (40.0, False, 50.0),
        (90.0, True, 10.0),
        (100.0, False, 50.0),
    ],
)
def test_an_outage_begins_ends_and_returns(elapsed: float, *, is_out: bool, until: float) -> None:
    """`outage:10s@30s/60s` is on from 30 to 40, from 90 to 100, and so on."""
    chaos = Chaos.parse("outage:10s@30s/60s")
    assert chaos.is_out(elapsed) is is_out
    assert chaos.until_change(elapsed) == until
    assert (chaos.choose(elapsed, 0.5) is OUTAGE) is is_out


def test_an_outage_without_a_period_is_over_for_good() -> None:
    """After its end no change is left."""
    chaos = Chaos.parse("outage:10s@30s")
    assert chaos.until_change(40.0) is None
    assert not chaos.is_out(1e9)


def test_of_two_outages_the_next_edge_counts() -> None:
    """The outage that begins or ends first decides about the next change."""
    chaos = Chaos.parse("outage:10s@30s,outage:1s@5s,drop:0.5")
    assert chaos.until_change(0.0) == 5.0
    assert chaos.until_change(5.5) == 0.5
    assert chaos.until_change(6.0) == 24.0
    assert chaos.choose(0.0, 0.4) == InjectedFault("drop")


@pytest.mark.parametrize(
    ("spec", "processed"),
    [
        ("503:1", False),
        ("204:1", True),
        ("drop:1", False),
        ("lost:1", True),
        ("hang:1", True),
        ("slow:1s:1", True),
        ("stall:1", False),
        ("reset:1", True),
        ("truncate:1", True),
        ("garbage:1", False),
        ("html:1", False),
        ("redirect:1", False),
    ],
)
def test_which_faults_strike_after_processing(spec: str, *, processed: bool) -> None:
    """The last column of the table in the module, line by line."""
    fault = Chaos.parse(spec).choose(0.0, 0.0)
    assert fault is not None
    assert fault.after_processing is processed
