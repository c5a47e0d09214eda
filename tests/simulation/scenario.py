"""What happens in a run, drawn from its seed before anything runs.

Each seed takes only some of the kinds of trouble (a run with all of them at once would be the
same dull storm every time), and small bounds, so that a few dozen events reach them.
"""

import random
from dataclasses import dataclass, field
from typing import Literal

Fate = Literal["commit", "roll back", "die"]

WEATHERS = (
    "refused", "dns", "unreachable", "tls", "blackhole", "reset", "answer lost", "portal",
    "garbage", "throttled", "slow", "http-401", "http-403", "http-404", "http-410", "http-302",
    "http-500", "http-502", "http-503", "http-400", "http-422",
    "http-400", "throttled", "throttled",
)  # fmt: skip
POISONS = ("http-400", "http-413", "http-422", "http-403", "http-500", "timeout", "reset")
MOST_POISON = 4
UNFIT = ("[1]", '"x"', '{"type":1}', '{"type":"order"}', "null")


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One INSERT. `number` is in the payload, so that a receiver can tell events apart."""

    number: int
    destination: str | None
    key: str | None
    derived: bool
    event_id: str | None
    payload: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """What an application does at once: after `rest` seconds, with the lock for `stall` seconds."""

    rest: float
    events: tuple[NewEvent, ...]
    stall: float
    fate: Fate


@dataclass(frozen=True, slots=True)
class Weather:
    """What an API or the way to it does from one moment to another, in virtual seconds."""

    begin: float
    end: float
    kind: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of an API that is down for some keys, while it takes what all others send."""

    begin: float
    end: float
    kind: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Api:
    """A destination: how it is configured, and how it behaves."""

    name: str
    timeout: float
    max_in_flight: int
    max_rate: float
    after_dead_letter: Literal["continue", "hold"]
    min_delay: float
    max_delay: float
    max_attempts: int
    probe_max_delay: float
    latency: float
    faults: float  # the share of requests that fail for no reason
    repeats: Literal["accept", "409"]
    weather: tuple[Weather, ...]
    shard: Shard | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of the daemon's memory, smaller than they are in earnest."""

    window: int
    depth: int
    page: int
    claims: int
    chunk: int
    bytes_per_claim: int
    bytes_loaded: int
    waiting: int
    witness_seconds: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything about a run that is decided before it begins. Times are in seconds."""

    seed: int
    chaos: float
    applications: tuple[tuple[Transaction, ...], ...]
    apis: tuple[Api, ...]
    bounds: Bounds
    validation: Literal["off", "envelope"]
    poll: float
    idle: float
    watches: bool
    kinds: frozenset[str] = field(default_factory=frozenset)
    disk: float = 0.001  # how slow an exchange can be

    @property
    def is_impatient(self) -> bool:
        """Return whether a pause may be asked for that is over only because an operator ends it."""
        return self.seed < PARTIAL and self.seed % 2 == 1


KINDS = (
    "weather", "faults", "poison", "unfit", "rollbacks", "stalls", "crashes", "stops",
    "store", "operators", "clock", "suspend", "twice", "takeover", "intruders", "slow disk",
    "rescans", "windows", "long",
)  # fmt: skip


PARTIAL = 1_000_000
"""From this seed on, each is a quiet shop with a partial outage, or a firewall that refuses a few."""
SHARDS = ("http-500", "http-502", "http-408", "reset", "timeout", "timeout")
FIREWALLS = ("http-403", "http-404", "http-418")
SICK = 16


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    return _partial(seed) if seed >= PARTIAL else _stormy(seed)


def _partial(seed: int) -> Scenario:
    """Return one where nothing is wrong but that some are refused, for much longer than a budget."""
    dice = random.Random(f"partial {seed}")
    chaos, keys = 100.0, [f"s{n}" for n in range(SICK)]
    is_shard = dice.random() < 0.5
    kind = dice.choice(SHARDS if is_shard else FIREWALLS)
    shard = Shard(10.0, chaos, kind, frozenset(keys)) if is_shard else None
    api = Api(
        "default",
        timeout=5.0,
        max_in_flight=dice.choice((32, 64)),
        max_rate=0.0,
        after_dead_letter="continue",
        min_delay=0.5,
        max_delay=dice.choice((2.0, 4.0)),
        max_attempts=dice.choice((6, 8)),
        probe_max_delay=4.0,
        latency=dice.choice((0.02, 0.1)),
        faults=0.0,
        repeats="accept",
        weather=(),
        shard=shard,
    )
    well = [_of(dice, n, f"h{n % 12}", {}) for n in range(900)]
    marks = {} if is_shard else {"poison": kind}
    sick = [_of(dice, 1000 + n, key, marks) for n, key in enumerate(keys)]
    after = [_of(dice, 2000 + n, key, {}) for n, key in enumerate(keys)]
    # What times out began together, and ends together; the rest comes one by one.
    if kind == "timeout":
        trouble = [Transaction(20.0, tuple(sick), 0.0, "commit")]
    else:
        rest = (0.1, 0.3) if is_shard else (1.0, 3.0)
        trouble = [Transaction(dice.uniform(*rest), (one,), 0.0, "commit") for one in sick]
        trouble.insert(0, Transaction(20.0, (), 0.0, "commit"))
    trouble += [Transaction(dice.uniform(0.5, 2.0), (one,), 0.0, "commit") for one in after]
    trade = [Transaction(dice.uniform(0.0, 0.25), (one,), 0.0, "commit") for one in well]
    waiting = dice.choice((4, 50_000))
    bounds = Bounds(256, 8, 32, 64, 128, 1 << 20, 1 << 20, waiting, 600.0)
    return Scenario(
        seed, chaos, (tuple(trade), tuple(trouble)), (api,), bounds, "off", 0.2, 2.0, True
    )


def _of(dice: random.Random, number: int, key: str, marks: dict[str, str]) -> NewEvent:
    return NewEvent(number, None, key, False, None, _payload(number, None, marks))


def _stormy(seed: int) -> Scenario:
    """Return one with some of the kinds of trouble."""
    dice = random.Random(f"scenario {seed}")
    kinds = frozenset(kind for kind in KINDS if dice.random() < dice.choice((0.2, 0.5)))
    chaos = dice.uniform(20.0, 80.0) * (3 if "long" in kinds else 1)
    # By dice of their own: all else about a seed is as it was before there were reloads.
    if random.Random(f"reloads {seed}").random() < 0.3:
        kinds |= {"reloads"}
    if not kinds & {"twice", "takeover"} and random.Random(f"locks {seed}").random() < 0.5:
        kinds |= {"locks"}
    names = ("default", "other") if dice.random() < 0.25 else ("default",)
    apis = tuple(_api(dice, name, kinds, chaos) for name in names)
    return Scenario(
        seed,
        chaos,
        _applications(dice, names, kinds, chaos),
        apis,
        _bounds(dice, max(api.timeout for api in apis)),
        dice.choice(("off", "envelope", "envelope")) if "unfit" in kinds else "off",
        poll=dice.choice((0.2, 0.5, 1.0)),
        idle=dice.choice((2.0, 5.0, 10.0)),
        watches=dice.random() < 0.8,
        kinds=kinds,
        disk=dice.choice((0.02, 0.5)) if "slow disk" in kinds else 0.001,
    )


def _bounds(dice: random.Random, timeout: float) -> Bounds:
    # A proof must be remembered for longer than all that is poisoned takes to fail.
    witness_seconds = dice.choice(((MOST_POISON + 2) * timeout, 600.0))
    if dice.random() < 0.3:
        return Bounds(4096, 64, 512, 512, 128, 8 << 20, 32 << 20, 50_000, witness_seconds)
    # As in earnest, a window holds several pages and many lanes; what is stuck must not fill it.
    window = dice.choice((8, 16, 64))
    depth = dice.choice((1, 2, window // 8))
    return Bounds(
        window=window,
        depth=depth,
        page=dice.choice((1, 2, window // 4)),
        claims=dice.choice((1, 2, 5, 16)),
        chunk=dice.choice((1, 3, 128)),
        bytes_per_claim=dice.choice((1, 400, 2000, 1 << 20)),
        bytes_loaded=dice.choice(((MOST_POISON + 1) * depth * 1700, 1 << 20)),
        waiting=dice.choice((3, 10, 50_000)),
        witness_seconds=witness_seconds,
    )


def _api(dice: random.Random, name: str, kinds: frozenset[str], chaos: float) -> Api:
    min_delay, timeout = dice.choice((0.1, 0.5, 1.0)), dice.choice((1.0, 3.0, 10.0))
    return Api(
        name,
        timeout=timeout,
        max_in_flight=dice.choice((1, 2, 4, 8, 64)),
        max_rate=dice.choice((0.0, 0.0, 0.0, 2.0, 20.0)),
        after_dead_letter=dice.choice(("continue", "hold")),
        min_delay=min_delay,
        max_delay=min_delay * dice.choice((4, 16)),
        max_attempts=dice.choice((2, 3, 5)),
        probe_max_delay=min_delay * dice.choice((2, 8)),
        latency=min(timeout / 5, dice.choice((0.0, 0.02, 0.2, 1.0))),
        faults=dice.choice((0.05, 0.2, 0.5)) if "faults" in kinds else 0.0,
        repeats=dice.choice(("accept", "accept", "409")),
        weather=_weather(dice, chaos) if "weather" in kinds else (),
    )


def _weather(dice: random.Random, chaos: float) -> tuple[Weather, ...]:
    found = []
    for _ in range(dice.randint(1, 4)):
        begin = dice.uniform(0.0, chaos)
        found.append(Weather(begin, begin + dice.uniform(1.0, chaos / 2), dice.choice(WEATHERS)))
    return tuple(found)


def _applications(
    dice: random.Random, names: tuple[str, ...], kinds: frozenset[str], chaos: float
) -> tuple[tuple[Transaction, ...], ...]:
    total = dice.randint(6, 20) if "long" in kinds else dice.randint(6, 36)
    keys = dice.choice((1, 2, 4, 12, 12))
    writers = dice.randint(1, 3)
    poisoned = set(dice.sample(range(total), dice.randint(1, min(total, MOST_POISON))))
    poisoned &= set(range(total)) if "poison" in kinds else set()
    events = [_event(dice, n, names, keys, kinds, n in poisoned) for n in range(total)]
    found: list[tuple[Transaction, ...]] = []
    for at in range(writers):
        found.append(_transactions(dice, events[at::writers], kinds, chaos))
    return tuple(found)


def _transactions(
    dice: random.Random, events: list[NewEvent], kinds: frozenset[str], chaos: float
) -> tuple[Transaction, ...]:
    found = []
    mean = dice.choice((0.0, 0.02, 0.05)) * chaos
    while events:
        size = dice.choice((1, 1, 2, 5, 20))
        now, events = events[:size], events[size:]
        bad = "rollbacks" in kinds and dice.random() < 0.2
        fate: Fate = dice.choice(("roll back", "die")) if bad else "commit"
        stall = dice.choice((0.0, 0.1, 8.0)) if "stalls" in kinds and dice.random() < 0.2 else 0.0
        found.append(Transaction(dice.uniform(0.0, 2 * mean), tuple(now), stall, fate))
    return tuple(found)


def _event(
    dice: random.Random,
    number: int,
    names: tuple[str, ...],
    keys: int,
    kinds: frozenset[str],
    is_poison: bool,  # noqa: FBT001
) -> NewEvent:
    key = f"k{min(dice.randrange(keys), dice.randrange(keys))}"
    form = dice.choices(("supplied", "derived", "none", "empty"), (6, 2, 1, 1))[0]
    marks = {}
    if is_poison:
        marks["poison"] = dice.choice(POISONS)
    if dice.random() < 0.1:
        marks["fill"] = "x" * dice.choice((200, 1500))
    payload = _payload(number, key if form == "derived" else None, marks)
    if "unfit" in kinds and dice.random() < 0.1:
        payload = dice.choice(UNFIT)
    own = dice.random()
    event_id = f"e-{number}" if own < 0.3 else f"e-{max(0, number - 1)}" if own < 0.33 else None
    destination = dice.choice(names)
    return NewEvent(
        number,
        None if destination == "default" and dice.random() < 0.5 else destination,
        {"supplied": key, "empty": ""}.get(form),
        form == "derived",
        event_id,
        payload,
    )


def _payload(number: int, user: str | None, marks: dict[str, str]) -> str:
    more = "".join(f',"{name}":"{value}"' for name, value in marks.items())
    context = f',"context":[{{"type":"user","user":{{"id":"{user}"}}}}]' if user else ""
    return f'{{"type":"order","order":{{"n":{number}{more}}}{context}}}'


def healthy(number: int, destination: str, key: str | None) -> NewEvent:
    """Return an event that any API takes, to be written when the troubles are over."""
    return NewEvent(number, destination, key, False, None, _payload(number, None, {}))
