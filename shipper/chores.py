"""What is done now and then, one function a chore. APScheduler rings; nothing here delivers.

Each takes what it works on as arguments and is safe to run late, twice, or never.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from shipper.dispatcher import Dispatcher, Route
from shipper.errors import ShipperError
from shipper.logs import Log

Fingerprint = tuple[int, int, int]


def look(dispatcher: Dispatcher) -> None:
    """Look for new events: the safety net under every other way to learn of them."""
    dispatcher.look()


def rescan(dispatcher: Dispatcher) -> None:
    """Read the outbox from its beginning: the look-ahead in memory is only a shortcut."""
    dispatcher.rescan()


def guarded(name: str, chore: Callable[[], None], log: Log) -> Callable[[], None]:
    """Return the chore with its failures logged: one that fails is rung again, and ends nothing."""

    def run() -> None:
        try:
            chore()
        except Exception as error:  # noqa: BLE001 - whatever it is, the drain goes on without it
            log("chore.failed", chore=name, reason=f"{type(error).__name__}: {error}")

    return run


def open_or_close(dispatcher: Dispatcher, is_open: bool, log: Log) -> None:  # noqa: FBT001
    """Let all destinations send, or not; what is in flight goes on."""
    for route in dispatcher.routes.values():
        if route.open is not is_open:
            log("window.opened" if is_open else "window.closed", destination=route.name)
            route.open = is_open
    dispatcher.wake()


class Heartbeat:
    """Tells the service manager that the drain turns, and what it does; a wedged one is silent."""

    def __init__(self, notify: Callable[..., None]) -> None:
        self._notify = notify
        self._beats = -1

    def beat(self, dispatcher: Dispatcher) -> None:
        """Feed the watchdog if the drain has turned since the last time."""
        if dispatcher.beats != self._beats:
            self._beats = dispatcher.beats
            states = (f"{r.name} {r.link.shown.value}" for r in dispatcher.routes.values())
            self._notify(WATCHDOG=1, STATUS=", ".join(states))


class CredentialWatch:
    """Notices that a file with an API ID was replaced, and lets its destination try at once."""

    def __init__(
        self, files: Iterable[tuple[Route, Path]], clock: Callable[[], float], log: Log
    ) -> None:
        # Without a fingerprint at first: a file may have changed since its courier read it.
        self._files: list[tuple[Route, Path, Fingerprint | None]] = [
            (route, path, None) for route, path in files
        ]
        self._clock = clock
        self._log = log

    def look(self, dispatcher: Dispatcher) -> None:
        """Compare every file with what it was; a file that can't be read is told once a change."""
        for at, (route, path, before) in enumerate(self._files):
            now = fingerprint(path)
            if now == before:
                continue
            self._files[at] = (route, path, now)
            try:
                changed = route.courier.refresh()
            except ShipperError as error:
                name = route.name
                self._log("credential.unreadable", destination=name, reason=error.message)
                continue
            if changed:
                self._log("credential.changed", destination=route.name)
                route.link.probe_at_once(self._clock())
                dispatcher.wake()


def fingerprint(path: Path) -> Fingerprint | None:
    """Return what changes when a file is written or replaced; None when it isn't there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)
