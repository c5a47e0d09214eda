"""How a transaction begins on SQLite, and how it waits for the write lock.

It asks every two milliseconds or so. SQLite itself would soon ask only every tenth of a second, and
between the many short transactions of a busy application would hardly ever come upon a moment at
which the lock is free (measured at 1,000 commits a second: waits of half a second).
"""

from types import ModuleType
from typing import Any

from sqlalchemy import Connection

# For so many milliseconds SQLite may wait before it is asked anew; it waits for one, then for two,
# then for what is left.
_ATTEMPT = 4
_BUSY = 5  # sqlite.org/rescode.html


def be_patient(driver: Any, patience: float, *, asking: bool) -> None:
    """Let a connection's statements wait for `patience` seconds, or for an attempt of `Begin`.

    To be told only when that changes: to tell it costs as much as to update a row.
    """
    driver.execute(f"PRAGMA busy_timeout = {_ATTEMPT if asking else round(patience * 1000)}")


class Begin:
    """Begins a transaction in the way that `transactions` has asked for; a listener of `begin`.

    `patience` is in seconds: how long to wait for another process's write lock.
    """

    def __init__(self, module: ModuleType, patience: float) -> None:
        self._error: type[Exception] = module.Error
        self._attempts = round(patience * 1000) // _ATTEMPT

    def __call__(self, connection: Connection) -> None:
        """Begin; a transaction that may write takes the lock now and not with its first write.

        One that reads first and writes later fails at once when somebody wrote in between.
        """
        options = connection.get_execution_options()
        mode = options.get("mode", "write")
        if mode == "read":
            connection.exec_driver_sql("BEGIN")
        elif mode == "write" and options.get("isolation_level") != "AUTOCOMMIT":
            attempts = self._attempts if "mode" in options else 0
            if not self._lock(connection.connection.driver_connection, attempts):
                # Once more, so that it fails in the usual way.
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
