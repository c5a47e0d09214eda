"""The closed list of things that are logged, and how. structlog renders; the names are here.

A name or a field that isn't in the list is a bug and raises. No payload, no ordering key's user
and no API ID has a field, so none can get into a log by accident.
"""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, TextIO

import orjson
import structlog

_DELIVERY = frozenset(
    {"destination", "id", "event_id", "attempts", "outcome", "status_code", "duration_ms"}
)

EVENTS: Mapping[str, tuple[str, frozenset[str]]] = {
    "daemon.started": ("info", frozenset({"version", "database", "destinations"})),
    "daemon.recovered": ("warning", frozenset({"maybe_received"})),
    "daemon.stopping": ("info", frozenset({"reason"})),
    "daemon.stopped": ("info", frozenset({"cut_off"})),
    "daemon.waiting": ("warning", frozenset({"reason", "seconds"})),
    "config.reloaded": ("info", frozenset({"path"})),
    "config.rejected": ("error", frozenset({"path", "problems"})),
    "config.warning": ("warning", frozenset({"problem"})),
    "credential.changed": ("info", frozenset({"destination"})),
    "credential.unreadable": ("error", frozenset({"destination", "reason"})),
    "batch.shipped": (
        "info",
        frozenset({"destination", "delivered", "postponed", "dead", "in_flight"}),
    ),
    "delivery.delivered": ("debug", _DELIVERY),
    "delivery.postponed": ("debug", _DELIVERY | {"charged", "wait_seconds", "reason"}),
    "delivery.dead": ("warning", _DELIVERY | {"reason"}),
    "link.changed": (
        "warning",
        frozenset({"destination", "state", "before", "reason", "next_try_seconds", "suppressed"}),
    ),
    "link.paused": (
        "error",
        frozenset({"destination", "reason", "hint", "next_try_seconds", "suppressed"}),
    ),
    "link.still_down": (
        "warning",
        frozenset({"destination", "state", "reason", "seconds", "suppressed"}),
    ),
    "store.lost": ("error", frozenset({"reason", "retry_seconds"})),
    "store.notice": ("warning", frozenset({"notice"})),
    "store.back": ("info", frozenset({"seconds"})),
    "file.changed": ("info", frozenset({"paths"})),
    "file.unusable": ("warning", frozenset({"paths", "reason"})),
    "store.damaged": ("error", frozenset({"problem", "hint"})),
    "store.changed": ("warning", frozenset({"reason", "hint"})),
    "window.closed": ("info", frozenset({"destination"})),
    "window.opened": ("info", frozenset({"destination"})),
    "chore.failed": ("error", frozenset({"chore", "reason"})),
    "retention.pruned": ("info", frozenset({"purged", "seconds"})),
    "web.listening": ("info", frozenset({"address"})),
    "web.failed": ("error", frozenset({"address", "reason", "hint", "retry_seconds"})),
    "web.broken": ("error", frozenset({"reason"})),
    "alert.alarm": ("warning", frozenset({"alarm", "change", "destination", "reason"})),
    "alert.failed": ("warning", frozenset({"alarm", "reason"})),
    "alert.lost": ("error", frozenset({"alarm", "reason", "tries"})),
    "alert.heartbeat_failed": ("warning", frozenset({"reason"})),
    "space.wal_large": ("warning", frozenset({"bytes"})),
    "space.reserve_given": ("error", frozenset({"bytes", "left", "hint"})),
    "space.reserve_back": ("info", frozenset({"bytes"})),
    "space.no_reserve": ("warning", frozenset({"bytes", "left"})),
}

_SYSLOG_LEVELS = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Log:
    """Writes what happened; the only way for shipper to log."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        self._logger = logger
        self.debug = bool(logger.is_enabled_for(logging.DEBUG))

    def __call__(self, name: str, /, **fields: object) -> None:
        """Log one event of the list; raises KeyError for a name or a field that isn't in it."""
        level, known = EVENTS[name]
        if not known.issuperset(fields):
            raise KeyError(f"{name} has no field {sorted(fields.keys() - known)}")
        with suppress(OSError):  # a full disk or a closed pipe must not end the shipping
            getattr(self._logger, level)(name, **fields)


def open_log(
    level: str = "info",
    style: Literal["auto", "console", "json", "journal"] = "auto",
    stream: TextIO = sys.stderr,
) -> Log:
    """Return a log that writes to `stream`; `auto` asks what the stream is."""
    chosen = _style_of(stream) if style == "auto" else style
    renderer: Any
    if chosen == "json":
        renderer = structlog.processors.JSONRenderer(_to_json)
    elif chosen == "journal":
        renderer = _to_journal
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty() and _colours_wanted())
    processors = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _bounded,
        renderer,
    ]
    wrapper = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
    return Log(
        structlog.wrap_logger(
            structlog.PrintLogger(stream), processors=processors, wrapper_class=wrapper
        )
    )


def _style_of(stream: TextIO) -> str:
    """Return what suits a stream: people get colours, the journal its levels, the rest JSON."""
    if stream.isatty():
        return "console"
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return "json"
    # systemd names device and inode of the journal's socket (systemd.exec(5), $JOURNAL_STREAM).
    journal = os.environ.get("JOURNAL_STREAM")
    return "journal" if journal == f"{status.st_dev}:{status.st_ino}" else "json"


def _colours_wanted() -> bool:
    return not os.environ.get("NO_COLOR")


def _bounded(_: object, __: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Cut what a receiver or an operating system wrote, and make it printable: see `_clean`."""
    return {
        name: _clean(value) if isinstance(value, str) else value for name, value in fields.items()
    }


def _clean(text: str) -> str:
    """Return at most 500 characters that any encoding takes: an event id may not be UTF-8."""
    return text[:500].encode("utf-8", "backslashreplace").decode()


def _to_json(fields: dict[str, Any], **_: object) -> str:
    return orjson.dumps(fields, default=str).decode("utf-8", "replace")


def _to_journal(_: object, __: str, fields: dict[str, Any]) -> str:
    """Write `<level>event key=value …` (sd-daemon(3)); the journal has the time already."""
    fields.pop("timestamp", None)
    level = _SYSLOG_LEVELS[str(fields.pop("level"))]
    event = fields.pop("event")
    words = (f"{name}={_word(value)}" for name, value in fields.items())
    return f"<{level}>" + " ".join([str(event), *words])


def _word(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and " " not in text and '"' not in text
    return text if plain and text else orjson.dumps(text).decode("utf-8", "replace")
