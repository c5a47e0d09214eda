"""Transactions of an application that overlap, and a daemon that looks on, a step at a time."""

from sqlalchemy import Connection, Engine, text

from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look
from tests.store.shipping import until

INSERT = text(
    "INSERT INTO shipper_outbox (payload, destination, ordering_key)"
    " VALUES ('{}', :destination, 'k') RETURNING id"
)
ELSEWHERE = text("INSERT INTO business VALUES (1)")


class Writer:
    """A transaction of the application, a step at a time."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.destination = "default"
        self.wrote: list[int] = []
        self.committed: list[int] = []

    def step(self, name: str) -> None:
        """Do a step; `write` and `insert` begin the transaction where none is open."""
        match name:
            case "write":
                self.connection.execute(ELSEWHERE)
            case "insert":
                self.insert()
            case "commit":
                self.commit()
            case "rollback":
                self.rollback()

    def insert(self) -> int:
        """Write an event, and return its id."""
        values = {"destination": self.destination}
        row: int = self.connection.execute(INSERT, values).scalar_one()
        self.wrote.append(row)
        return row

    def commit(self) -> None:
        """End the transaction."""
        self.connection.commit()
        self.committed += self.wrote
        self.wrote = []

    def rollback(self) -> None:
        """End the transaction as if it had never been."""
        self.connection.rollback()
        self.wrote = []


class Daemon:
    """Looks at one destination, and remembers what it was shown, when."""

    def __init__(self, engine: Engine, destination: str = "default") -> None:
        self.looks = Looks(engine)
        self.destination = destination
        self.shown: list[int] = []
        self.held_back = False

    def look(self) -> list[int]:
        """Look once; what was shown before must be the beginning of what is shown now."""
        self.held_back = self.looks.pulse().held_back
        ids = [row.id for row in self.looks.look(Look("pending", self.destination, 1000))]
        assert ids == sorted(ids)
        assert ids[: len(self.shown)] == self.shown
        self.shown = ids
        return ids

    def sees(self, *ids: int) -> bool:
        """Look until these are shown: other business on the server may hold them back a moment."""
        until(lambda: self.look() == list(ids))
        lane = self.looks.look(Look("lane", self.destination, 1000, lane="k"))
        return [row.id for row in lane] == list(ids)

    def sees_so_many(self, events: int) -> bool:
        """Look until at least so many are shown."""
        until(lambda: len(self.look()) >= events)
        return True

    def waits(self, *shown: int) -> bool:
        """Look some times, and return whether no more than this is shown, ever."""
        return all(self.look() == list(shown) and self.held_back for _ in range(5))
