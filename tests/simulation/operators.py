"""The people who hold, release, retry and discard, whenever it pleases them."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import event

from shipper.errors import StoreUnavailable
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.operate import dead_letters, hold
from tests.evidence import OPERATOR
from tests.simulation.database import diarise
from tests.simulation.virtual import MachineTime

ACTS = (
    "hold key", "release key", "hold destination", "release destination", "retry one",
    "retry all", "retry all", "retry all", "retry cause", "discard one",
)  # fmt: skip


class Operators:
    """Commands as `shipper dead`, `hold` and `release` give them; what is busy is left alone.

    `awake` counts the seconds that the machine doesn't sleep. `retried` is when an event was first
    given a new life, `released` when a destination, or a key of it, was; `held` since when, in such
    seconds, a destination and key are held by their word; of a whole destination the key is None.
    """

    def __init__(
        self,
        path: Path,
        time: MachineTime,
        awake: Callable[[], float],
        dice: random.Random,
        reader: Any,
        note: Callable[[str], None],
    ) -> None:
        self.retried: dict[int, float] = {}
        self.released: dict[str, list[float]] = {}
        self.held: dict[tuple[str, str | None], float] = {}
        self._engine = open_engine(f"sqlite:///{path}", busy_timeout=0.0)
        event.listen(self._engine, "connect", lambda c, _: diarise(c, time.monotonic, OPERATOR))
        self._time = time
        self._awake = awake
        self._dice = dice
        self._reader = reader
        self._note = note

    def act(self, names: list[str]) -> bool:
        """Do something; return whether the database let them."""
        what, name = self._dice.choice(ACTS), self._dice.choice(names)
        key = f"k{self._dice.randrange(4)}"
        dead = [row for [row] in self._reader.execute(_DEAD)]
        one = self._dice.choice(dead) if dead else 0
        now = self._time.wall()
        match what:
            case "hold key":
                act = partial(hold.hold_key, self._engine, name, key, now)
                return self._hold(name, key, self._try(what, act, key))
            case "release key":
                return self._release_key(name, key)
            case "hold destination":
                act = partial(hold.hold_destination, self._engine, name, now)
                return self._hold(name, None, self._try(what, act))
            case "release destination":
                return self._release(name)
            case "retry one":
                return self.retry([one], Selection(ids=(one,)))
            case "retry all":
                return self.retry(dead, Selection())
            case "retry cause":
                return self.retry(dead, Selection(cause=self._dice.choice(_CAUSES)))
            case _:
                chosen = Selection(ids=(one,))
                return self._try(what, lambda: dead_letters.discard(self._engine, chosen, now), one)

    def retry(self, rows: list[int], selection: Selection) -> bool:
        """Give dead letters, all of them among `rows`, a new life."""
        now = self._time.wall()
        done = self._try("retry", lambda: dead_letters.retry(self._engine, selection, now), rows)
        if done:
            for [row] in self._reader.execute(_REVIVED):
                self.retried.setdefault(row, self._time.monotonic())
        return done

    def release_everything(self, names: list[str]) -> bool:
        """Let go of whatever is held, by whomever."""
        held = list(self._reader.execute("SELECT destination, ordering_key FROM shipper_hold"))
        done = [self._release_key(name, key) for name, key in held]
        stopped = self._reader.execute("SELECT name FROM shipper_destination WHERE held = 1")
        return all(done + [self._release(name) for [name] in list(stopped)])

    def release_throttled(self) -> None:
        """Let what has asked for a pause be asked again now."""
        asked = self._reader.execute(
            "SELECT name FROM shipper_destination WHERE state = 'throttled'"
        )
        for [name] in list(asked):
            self._release(name)

    def held_for(self, name: str, key: object) -> float:
        """Return for how long what is of this destination and key has been held."""
        since = [self.held[at] for at in ((name, None), (name, key)) if at in self.held]
        return self._awake() - min(since) if since else 0.0

    def _hold(self, name: str, key: str | None, done: bool) -> bool:  # noqa: FBT001
        if done:
            self.held.setdefault((name, key), self._awake())
        return done

    def _release_key(self, name: str, key: str) -> bool:
        act = partial(hold.release_key, self._engine, key, name)
        return self._let_go(name, key, self._try("release key", act, key))

    def _release(self, name: str) -> bool:
        act = partial(hold.release_destination, self._engine, name, self._time.wall())
        return self._let_go(name, None, self._try("release destination", act))

    def _let_go(self, name: str, key: str | None, done: bool) -> bool:  # noqa: FBT001
        if done:
            self.held.pop((name, key), None)
            self.released.setdefault(name, []).append(self._time.monotonic())
        return done

    def _try(self, what: str, act: Callable[[], object], about: object = "") -> bool:
        try:
            result = act()
        except StoreUnavailable:
            return False
        self._note(f"operator: {what} {about} → {result}")
        return True

    def close(self) -> None:
        """Leave the database."""
        self._engine.dispose()


_CAUSES = ("http-400", "http-422", "http-500", "timeout", "invalid")
_DEAD = "SELECT id FROM shipper_outbox WHERE status = 'dead' ORDER BY id"
_REVIVED = "SELECT DISTINCT id FROM diary WHERE before = 'dead' AND after = 'pending' ORDER BY id"
