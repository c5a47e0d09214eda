"""How a transaction begins on SQLite, and how it waits for the write lock.

It asks for the lock about every two milliseconds. SQLite itself soon asks only every tenth of a
second, and so rarely meets a free moment between the many short transactions of a busy application
(measured at 1,000 commits a second: waits of half a second).
"""

from types import ModuleType
from typing import Any

from sqlalchemy import Connection

# SQLite waits for so many milliseconds before it is asked again: one, then two, then the rest.
_ATTEMPT = 4
_BUSY = 5  # sqlite.org/rescode.html


def milliseconds(mode: str, patience: float) -> int:
    """Return how long one statement waits for a lock: in a transaction that writes, one attempt."""
    return {"write": _ATTEMPT, "ready": 0}.get(mode, round(patience * 1000))


def be_patient(driver: Any, milliseconds: int) -> None:
    """Let a connection's statements wait so long for a lock.

    Call it only if the time changes: it costs as much as an UPDATE of a row.
    """
    driver.execute(f"PRAGMA busy_timeout = {milliseconds}")


class Begin:
    """Begins a transaction of the kind that `transactions` asks for; a listener of `begin`.

    `patience` is in seconds: how long to wait for another process's write lock.
    """

    def __init__(self, module: ModuleType, patience: float) -> None:
        self._error: type[Exception] = module.Error
        self._attempts = round(patience * 1000) // _ATTEMPT

    def __call__(self, connection: Connection) -> None:
        """Begin; a transaction that can write takes the write lock now, not at its first write.

        A transaction that reads first and writes later would fail at once when another process has
        written in between.
        """
        options = connection.get_execution_options()
        mode = options.get("mode", "write")
        if mode == "read":
            connection.exec_driver_sql("BEGIN")
        elif mode == "write" and options.get("isolation_level") != "AUTOCOMMIT":
            attempts = self._attempts if "mode" in options else 0
            if not self._lock(connection.connection.driver_connection, attempts):
                # Once more, so that the failure is that of an ordinary statement.
                connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _lock(self, driver: Any, attempts: int) -> bool:
        for _ in range(attempts):
            try:
                driver.execute("BEGIN IMMEDIATE")
            except self._error as error:
                if getattr(error, "sqlite_errorcode", _BUSY) & 0xFF != _BUSY:
                    return False
            else:
                return True
        return False
