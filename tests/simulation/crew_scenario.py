"""What happens to several daemons in a run, drawn from its seed before anything runs.

It decides how many there are, what is written when, how the receivers are, and which trouble comes
when. It must never look at a run: a seed is one scenario.
"""

import json
import random
from dataclasses import dataclass, replace

from tests.simulation.scenario import Api, Weather

MOST_ALIVE = 4
KEYS = 12
KINDS = (
    "crash", "stop", "join", "stall", "cut", "store", "weather", "faults", "poison", "operators",
    "reload", "rate", "overlap", "reroute",
)  # fmt: skip
_WEATHERS = (
    "refused", "blackhole", "answer lost", "http-500", "http-503", "http-401", "slow", "throttled",
    "http-422",
)  # fmt: skip
_POISONS = ("http-400", "http-422", "http-500")
_OUTAGES = ("http-500", "refused", "http-401")
_SECONDS = 16.0


@dataclass(frozen=True, slots=True)
class Insert:
    """A transaction of one event: when it is written, and for how long it stays open after that."""

    at: float
    open_for: float
    destination: str
    key: str | None
    event_id: str
    payload: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that happens to a daemon or to all of them at a moment."""

    at: float
    kind: str
    which: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Voyage:
    """Everything about a run of several daemons that is decided before it begins."""

    seed: int
    daemons: int
    lease: float
    poll: float
    slow: float
    apis: tuple[Api, ...]
    inserts: tuple[Insert, ...]
    troubles: tuple[Trouble, ...]
    kinds: frozenset[str]
    end: float = _SECONDS
    """When the troubles are over."""


def embark(seed: int) -> Voyage:
    """Return the scenario of a seed."""
    dice = random.Random(f"crew {seed}")
    chosen = dice.sample(KINDS, dice.randint(2, 6))
    kinds = frozenset(chosen)
    names = ["default", "erp"] if "reroute" in kinds else ["default"]
    timeout = dice.choice((0.5, 1.0, 1.5))
    apis = tuple(_api(dice, name, timeout, kinds) for name in names)
    many = dice.randint(30, 80)
    return Voyage(
        seed,
        daemons=dice.randint(2, 3),
        lease=3.0 + 2 * timeout + dice.choice((0.0, 1.0)),
        poll=dice.choice((0.5, 0.9)),
        slow=dice.choice((0.002, 0.02, 0.1)),
        apis=apis,
        inserts=tuple(sorted(_inserts(dice, many, names, kinds), key=lambda one: one.at)),
        troubles=tuple(sorted(_troubles(dice, kinds), key=lambda one: one.at)),
        kinds=kinds,
    )


def _api(dice: random.Random, name: str, timeout: float, kinds: frozenset[str]) -> Api:
    probe = dice.choice((0.5, 1.0, 2.0))
    weather: tuple[Weather, ...] = ()
    if "weather" in kinds:
        begin = dice.uniform(2.0, 9.0)
        weather = (Weather(begin, begin + dice.uniform(2.0, 6.0), dice.choice(_WEATHERS)),)
    return Api(
        name,
        timeout=timeout,
        max_in_flight=dice.choice((2, 4, 4, 6, 8, 16)),
        max_rate=dice.choice((4.0, 8.0)) if "rate" in kinds else 0.0,
        after_dead_letter="continue",
        min_delay=0.2,
        max_delay=2.0,
        max_attempts=3,
        probe_max_delay=probe,
        latency=timeout * dice.choice((0.02, 0.1, 0.3)),
        faults=dice.choice((0.02, 0.1)) if "faults" in kinds else 0.0,
        repeats="accept",
        weather=weather,
    )


def outage(seed: int) -> Voyage:
    """Return one in which the receiver is down for long and daemons come, so that probes count."""
    dice = random.Random(f"outage {seed}")
    whole = embark(seed)
    down = (Weather(1.0, _SECONDS, dice.choice(_OUTAGES)),)
    [api, *_] = whole.apis
    api = Api(**{name: getattr(api, name) for name in Api.__slots__} | {"weather": down})
    return Voyage(
        seed,
        daemons=dice.randint(2, 4),
        lease=whole.lease,
        poll=whole.poll,
        slow=0.002,
        apis=(api,),
        inserts=tuple(one for one in whole.inserts if one.destination == api.name),
        troubles=(),
        kinds=frozenset({"outage"}),
    )


def calm(seed: int) -> Voyage:
    """Return one in which daemons come, stop and die, each long after the last such change."""
    dice = random.Random(f"calm {seed}")
    whole = embark(seed)
    at, troubles = _CALM["join"], []
    for kind in dice.sample(sorted(_CALM), len(_CALM)):
        # Which is killed at once, and not followed by another.
        troubles.append(Trouble(at, kind, dice.choice((3, 9, 15)), 0.0))
        at += _CALM[kind]
    return replace(whole, daemons=3, troubles=tuple(troubles), kinds=frozenset({"calm"}), end=at)


def away(seed: int) -> Voyage:
    """Return one in which the database is away for all, longer than a lease; one may die then."""
    dice = random.Random(f"away {seed}")
    whole = embark(seed)
    # A daemon asks a lost database again after five seconds, so a lease is longer than that.
    lease = whole.lease + 6.0
    lasts = lease * dice.uniform(1.1, 2.0)
    troubles = [Trouble(dice.uniform(2.0, 6.0), "away", 0, lasts)]
    if dice.random() < 0.5:
        troubles.append(Trouble(troubles[0].at + lasts / 2, "crash", 3, 0.0))
    return replace(
        whole,
        daemons=3,
        lease=lease,
        troubles=tuple(troubles),
        kinds=frozenset({"away"}),
        end=troubles[0].at + lasts + 2 * lease + 10.0,
    )


_CALM = {"join": 8.0, "stop": 4.0, "crash": 13.0}
"""The changes, and a time that is longer than each may take (see `crew_bounds`)."""


def _inserts(
    dice: random.Random, many: int, names: list[str], kinds: frozenset[str]
) -> list[Insert]:
    rush = dice.random() < 0.5
    found = []
    for number in range(many):
        key = None if dice.random() < 0.1 else f"k{dice.randrange(KEYS)}"
        at = dice.uniform(0.0, 3.0) if rush else dice.uniform(0.0, _SECONDS - 2.0)
        stays = dice.uniform(0.0, 2.0) if "overlap" in kinds and dice.random() < 0.1 else 0.0
        poison = "poison" in kinds and dice.random() < 0.06
        found.append(
            insert(
                number, at, dice.choice(names), key, dice.choice(_POISONS) if poison else "", stays
            )
        )
    return found


def insert(
    number: int, at: float, name: str, key: str | None, poison: str = "", open_for: float = 0.0
) -> Insert:
    """Return one event; the receiver does with it what `poison` says."""
    order = {"number": number} | ({"poison": poison} if poison else {})
    payload = json.dumps({"type": "order", "order": order})
    return Insert(at, open_for, name, key, f"event-{number}", payload)


_TIMES = {
    "crash": (1, 4), "stop": (1, 3), "join": (1, 2), "stall": (1, 3), "cut": (1, 3),
    "store": (2, 8), "operators": (3, 10), "reload": (1, 3), "reroute": (1, 2),
}  # fmt: skip


def _troubles(dice: random.Random, kinds: frozenset[str]) -> list[Trouble]:
    found = []
    for kind in sorted(kinds & _TIMES.keys()):
        for _ in range(dice.randint(*_TIMES[kind])):
            at = dice.uniform(0.3, _SECONDS - 1.0)
            # Shorter and longer than any lease.
            seconds = dice.choice((0.3, 1.0, 2.5, 5.0, 8.0)) * dice.uniform(0.8, 1.2)
            found.append(Trouble(at, kind, dice.randrange(1000), seconds))
    return found
