"""Which daemons are missing: those that this one has ended, and those whose lease is over.

This module decides for how long a daemon has to be away before that is an alarm, and when it is
back: as soon as a daemon of its name runs that didn't run before. It is pure: facts and time are
arguments. A daemon that was stopped cleanly must never count as missing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shipper.policy.shares import EndedDaemon
from shipper.store.report.daemon_rows import called
from shipper.store.report.daemons import RunningDaemon
from shipper.wording.quantities import duration, several

# Seconds. Within that, systemd has started a daemon that crashed again.
MISSING_FOR: Final = 60.0
# Seconds. An operator who has removed a machine on purpose is told of it for so long.
REMEMBERED: Final = 7 * 86400.0
# More aren't remembered: a daemon that crashes again and again under changing names.
_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class _Gone:
    """A daemon that was ended; `there` are the processes that ran then, `since` is monotonic."""

    daemon: EndedDaemon
    since: float
    there: frozenset[str]


class MissingDaemons:
    """Remembers the daemons that this one has ended and that haven't come back."""

    def __init__(self) -> None:
        self._gone: dict[tuple[str, str], _Gone] = {}
        self._noted: frozenset[tuple[str, str]] = frozenset()
        self._seen: frozenset[str] = frozenset()

    def note(self, ended: Iterable[EndedDaemon], now: float) -> None:
        """Note the daemons that were ended; those of the last call are named again and again."""
        named = {(daemon.name, daemon.process): daemon for daemon in ended}
        for key, daemon in named.items():
            if key not in self._noted:  # otherwise it may be back by now
                self._gone.setdefault(key, _Gone(daemon, now, self._seen))
        self._noted = frozenset(named)
        for key in list(self._gone)[:-_MOST]:
            del self._gone[key]

    def look(self, running: Sequence[RunningDaemon], now: float) -> None:
        """Take in which daemons run now, after `note`."""
        there = [(daemon.name, daemon.process) for daemon in running if not daemon.is_missing]
        self._gone = {
            key: gone
            for key, gone in self._gone.items()
            if now - gone.since < REMEMBERED and not _is_back(gone, there)
        }
        self._seen = frozenset(process for _, process in there)

    def sentences(self, now: float) -> Iterator[str]:
        """Yield a sentence for each daemon that was ended long enough ago."""
        for gone in self._gone.values():
            away = now - gone.since
            if away >= MISSING_FOR:
                name = called(gone.daemon.name, gone.daemon.process, _host(gone.daemon.process))
                again = several(gone.daemon.recovered, "event")
                yield (
                    f"the daemon {name} ended without a clean stop {duration(round(away))} ago and"
                    f" isn't back; the others have its shards, and sent {again} again at most"
                )


def overdue(running: Sequence[RunningDaemon]) -> Iterator[str]:
    """Yield a sentence for each daemon whose lease has been over for long (server's clock)."""
    for daemon in running:
        over = (daemon.last_seen_seconds or 0.0) - daemon.lease_seconds
        if daemon.is_missing and over >= MISSING_FOR:
            yield daemon.absence


def _is_back(gone: _Gone, there: Iterable[tuple[str, str]]) -> bool:
    return any(name == gone.daemon.name and process not in gone.there for name, process in there)


def _host(process: str) -> str:
    return process.rpartition(" on ")[2]
