"""The scenarios: the events, the database, the endpoint, and the loop to compare with."""

from dataclasses import dataclass, replace
from enum import Enum

from benchmarks.servers import Endpoint
from benchmarks.workload import Workload


class Reference(Enum):
    """Which order a bare client loop keeps when it ships the same; see `bare_loop`."""

    FREE = "free"
    ORDERED = "ordered"
    COMMITTING = "committing"


_AT_ONCE = Endpoint()
# With the default delays, most of the measured time would be waits.
_QUICK_RETRY = '[destinations.default.retry]\nmin_delay = "10ms"\nmax_delay = "100ms"\n'


@dataclass(frozen=True, slots=True)
class Drain:
    """A backlog that is shipped to its end."""

    name: str
    title: str
    workload: Workload
    postgres: bool = False
    endpoint: Endpoint = _AT_ONCE
    in_flight: int = 64
    retry: str = ""
    reference: Reference | None = None
    """A second loop to compare with, if a loop without any order shows little."""
    most_runs: int | None = None
    slow_sync: float = 0.0
    """How many seconds each fsync of the daemon takes longer."""


@dataclass(frozen=True, slots=True)
class Flow:
    """New events, written while they are shipped: `rate` commits a second for some seconds."""

    name: str
    title: str
    postgres: bool
    rate: int = 1000
    seconds: float = 20.0
    writers: int = 2
    keys: int = 1000
    slow_sync: float = 0.0
    """How many seconds each fsync takes longer, of the daemon and of the applications."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to do for some seconds, with so many delivered events in the outbox."""

    name: str
    title: str
    postgres: bool
    events: int = 1_000_000
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Insert:
    """What one INSERT costs the application, into the outbox and into a plain table."""

    name: str
    title: str
    postgres: bool
    events: int = 20_000


@dataclass(frozen=True, slots=True)
class Commands:
    """An operator's commands, as whole processes, on so many events, some of them pending."""

    name: str
    title: str
    postgres: bool
    events: int = 5_000_000
    pending: int = 100_000


@dataclass(frozen=True, slots=True)
class Team:
    """Several daemons on one outbox: `events` and `in_flight` are for each of them."""

    name: str
    title: str
    endpoint: Endpoint
    daemons: tuple[int, ...]
    events: int
    keys: int = 10_000
    in_flight: int = 64
    postgres: bool = True


Scenario = Drain | Flow | Idle | Insert | Commands | Team

_PLAIN = Workload(20_000, 1_000)
_BACKLOG = Workload(100_000, 1_000)
_DISTANT = Drain("c", "50 ms", Workload(40_000, 1_000), endpoint=Endpoint(0.05), in_flight=256)
_ONE_KEY = Drain("d", "one key", Workload(5_000, 1), reference=Reference.COMMITTING)
_FEW_KEYS = Drain(
    "f2",
    "40 keys, 5 ms",
    Workload(20_000, 40),
    endpoint=Endpoint(0.005),
    reference=Reference.ORDERED,
)
# What an fsync of an SD card takes.
_CARD = 0.02

REFERENCES = {"j": "a"}
"""What a scenario is compared with, if that is another one: it has to run in the same minutes."""

PEERS_DO = Drain("b", "1,000 keys", _PLAIN, postgres=True)
"""The work of the peers."""

SCENARIOS: tuple[Scenario, ...] = (
    Drain("a", "1,000 keys", _PLAIN),
    # Just after (a), which it is compared with.
    Drain(
        "j",
        "5 % refused once",
        _PLAIN,
        endpoint=Endpoint(0.0, fail_every=20),
        retry=_QUICK_RETRY,
    ),
    PEERS_DO,
    _DISTANT,
    replace(_DISTANT, postgres=True),
    _ONE_KEY,
    replace(_ONE_KEY, postgres=True),
    Drain("e", "20,000 keys", Workload(40_000, 20_000)),
    Drain("f", "90 % in one key", Workload(20_000, 1_000, hot=True), reference=Reference.ORDERED),
    _FEW_KEYS,
    replace(_FEW_KEYS, postgres=True),
    Drain("g", "backlog", _BACKLOG, most_runs=3),
    Flow("h", "1,000 commits/s", postgres=False),
    Flow("h", "1,000 commits/s", postgres=True),
    Idle("i", "idle", postgres=False),
    Idle("i", "idle", postgres=True),
    Insert("k", "INSERT", postgres=False),
    Insert("k", "INSERT", postgres=True),
    Commands("l", "commands", postgres=False),
    Commands("l", "commands", postgres=True),
    Team("n", "200 ms", Endpoint(0.2), (1, 2, 4, 8), 5_000),
    Team("n", "at once", Endpoint(), (1, 2), 20_000),
    Drain("m", "fsync 20 ms, 1,000 keys", Workload(10_000, 1_000), slow_sync=_CARD),
    Drain("m", "fsync 20 ms, 40 keys", Workload(4_000, 40), slow_sync=_CARD),
    Flow("m", "fsync 20 ms, 10 commits/s", postgres=False, rate=10, slow_sync=_CARD),
)

# What --full runs instead of (g).
FULL_BACKLOGS: tuple[Scenario, ...] = (
    Drain("g", "backlog", Workload(1_000_000, 1_000), most_runs=1),
    Drain("g", "backlog", Workload(5_000_000, 1_000), most_runs=1),
)

SMOKE = Drain(
    "smoke",
    "20 keys, 5 % refused once",
    Workload(400, 20),
    endpoint=Endpoint(0.0, fail_every=20),
    in_flight=16,
    retry=_QUICK_RETRY,
    reference=Reference.COMMITTING,
    slow_sync=0.001,
)


def names() -> list[str]:
    """Return the names of the scenarios, each once, in their order."""
    return list(dict.fromkeys(scenario.name for scenario in SCENARIOS))


def chosen(
    wanted: list[str],
    *,
    full: bool = False,
    events: int | None = None,
    seconds: float | None = None,
) -> list[Scenario]:
    """Return the scenarios of these names (all if there are none), in the size asked for."""
    scenarios: list[Scenario] = []
    for scenario in SCENARIOS:
        if wanted and scenario.name not in wanted:
            continue
        scenarios.extend(FULL_BACKLOGS if full and scenario.name == "g" else [scenario])
    return [_sized(scenario, events, seconds) for scenario in scenarios]


def _sized(scenario: Scenario, events: int | None, seconds: float | None) -> Scenario:
    if isinstance(scenario, Drain):
        workload = scenario.workload
        return replace(scenario, workload=replace(workload, events=events or workload.events))
    if isinstance(scenario, Flow):
        return replace(scenario, seconds=seconds or scenario.seconds)
    if isinstance(scenario, Commands) and events:
        return replace(scenario, events=events, pending=min(events // 2, scenario.pending))
    scenario = replace(scenario, events=events or scenario.events)
    return (
        replace(scenario, seconds=seconds or scenario.seconds)
        if isinstance(scenario, Idle)
        else scenario
    )
