"""The daemon's reports to systemd: that it is ready, what it does, and that the drain still turns.

sd_notify(3): datagrams to the socket in $NOTIFY_SOCKET; without it nothing is sent. Only a turn of
the drain must feed the watchdog: otherwise systemd wouldn't restart a process whose drain hangs. A
message must never wait for a service manager that doesn't read.
"""

import os
import socket
from collections.abc import Callable, Mapping

from shipper import advice
from shipper.daemon.session import Session
from shipper.drain import Route
from shipper.drain.dispatcher import STOP_GRACE
from shipper.drain.tally import Counts
from shipper.wording.quantities import age
from shipper.wording.safe_text import printable

# Seconds on top of a try and its grace: for the database (`STORE_GRACE`), and for a busy machine.
_STOP_MARGIN = 30.0
# Seconds: several times within the unit's WatchdogSec=60.
_BEAT_EVERY = 10.0
_BEATS_A_WATCHDOG = 4
_DATAGRAM = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_NOTHING = Counts()


class Notifier:
    """Sends to the service manager, if there is one. Never raises: no delivery depends on it."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog = _watchdog(environ)
        self._unsent: dict[str, object] = {}

    def __call__(self, **fields: object) -> None:
        """Send fields such as `READY=1`, `STATUS='Shipping'`, `WATCHDOG=1`.

        If the manager's queue is full, the fields go with the next call, at the latest with a beat.
        """
        if not self._address:
            return
        fields = {**self._unsent, **fields}
        self._unsent = {}
        # A leading @ means the abstract namespace (unix(7)).
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        # A value may hold a receiver's words; a line break in it would begin another field.
        message = "\n".join(f"{name}={printable(str(value))}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, _DATAGRAM) as sender:
                sender.sendto(message.encode(), address)
        except BlockingIOError:
            self._unsent = fields
        except OSError:
            return

    def waiting(self, reason: str) -> None:
        """Say what the daemon waits for before it ships; feed the watchdog meanwhile."""
        self(WATCHDOG=1, STATUS=f"Waiting: {reason}")

    def reloading(self, monotonic: float) -> None:
        """Say that the configuration is read; `monotonic` is CLOCK_MONOTONIC in seconds."""
        self(RELOADING=1, MONOTONIC_USEC=round(monotonic * 1e6), STATUS="Reading the configuration")

    def stopping(self, timeout: float) -> None:
        """Say that the daemon stops; ask for the longest time that a clean stop takes.

        `timeout` is that of a try, in seconds.
        """
        self(
            STOPPING=1,
            STATUS="Stopping: tries in flight can finish",
            EXTEND_TIMEOUT_USEC=round((timeout + STOP_GRACE + _STOP_MARGIN) * 1e6),
        )

    @property
    def beat_every(self) -> float:
        """Return the seconds between two beats."""
        return min(_BEAT_EVERY, self._watchdog / _BEATS_A_WATCHDOG)


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return the seconds within which the watchdog must be fed (sd_watchdog_enabled(3))."""
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "")) / 1e6
        is_ours = int(environ.get("WATCHDOG_PID", os.getpid())) == os.getpid()
    except ValueError:
        return float("inf")
    return seconds if is_ours and seconds > 0 else float("inf")


class Heartbeat:
    """Reports to the service manager that the drain turns, and what it does; silent if it hangs."""

    def __init__(
        self,
        notify: Notifier,
        clock: Callable[[], float],
        ending: Callable[[], bool],
        remark: Callable[[], str] = lambda: "",
    ) -> None:
        self.every = notify.beat_every
        self._notify = notify
        self._clock = clock
        self._ending = ending
        self._remark = remark
        self._beats = (-1, -1)

    def beat(self, session: Session) -> None:
        """Feed the watchdog if the drain has turned since the last beat, or is known to wait."""
        beats = (session.dispatcher.beats, session.commits.known_to_wait)
        if beats == self._beats:
            return
        self._beats = beats
        if self._ending():
            self._notify(WATCHDOG=1)  # its status was sent when the stop was asked for
        else:
            self._notify(WATCHDOG=1, STATUS=self.status(session))

    def status(self, session: Session) -> str:
        """Return what `systemctl status` shows: each destination, and why it waits."""
        now, tally = self._clock(), session.tally
        said = [
            _describe(route, tally.destinations.get(route.name, _NOTHING), now)
            for route in session.dispatcher.routes.values()
        ]
        if tally.lost_at is not None:
            said.insert(0, f"no database for {age(now - tally.lost_at)}")
        if session.commits.is_waiting:
            said.insert(0, "a commit waits for a synchronous standby")
        routes = "; ".join(said)
        remark = self._remark()
        return f"{routes} ({remark})" if remark else routes


def _describe(route: Route, counts: Counts, now: float) -> str:
    link, failing = route.link, route.link.failing
    said = [f"{route.name} {link.shown.value}"]
    if link.is_down:
        said[0] += f" for {age(now - link.since)}"
        said += [advice.said(link.reason)] if link.reason else []
        if link.next_try_at is not None:
            said.append(f"next try in {age(link.next_try_at - now)}")
    elif not route.open:
        said.append("waits for its delivery window")
    if failing.failures and not link.is_down:
        said[0] += f", but {advice.failed(failing.failures, failing.last_error)}"
        if failing.next_try_at is not None:
            said.append(f"next try in {age(failing.next_try_at - now)}")
    if route.in_flight:
        said.append(f"{route.in_flight} in flight")
    said.append(f"{counts.delivered} delivered")
    if counts.dead:
        said.append(f"{counts.dead} dead")
    return ", ".join(said)
