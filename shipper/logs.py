"""The closed list of log events with their levels and fields. structlog renders them.

An event or a field that isn't in the list is a bug and raises KeyError. No field may hold a
payload, an ordering key or an API ID, so that none can get into a log by accident.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TextIO

import orjson
import structlog

from shipper.system.stderr import Unblocked
from shipper.wording.colours import styled
from shipper.wording.safe_text import printable_json

_DELIVERY = frozenset(
    {"destination", "id", "event_id", "attempts", "outcome", "status_code", "duration_ms"}
)

EVENTS: Mapping[str, tuple[str, frozenset[str]]] = {
    "daemon.started": ("info", frozenset({"version", "database", "destinations"})),
    "daemon.recovered": ("warning", frozenset({"maybe_received"})),
    "daemon.shares": ("info", frozenset({"shards", "daemons", "hint"})),
    "daemon.took_over": ("warning", frozenset({"name", "process", "maybe_received"})),
    "daemon.stopping": ("info", frozenset({"reason"})),
    "daemon.stopped": ("info", frozenset({"cut_off"})),
    "daemon.waiting": ("warning", frozenset({"reason", "seconds"})),
    "daemon.differs": ("warning", frozenset({"name", "settings", "hint"})),
    "config.reloaded": ("info", frozenset({"path"})),
    "config.rejected": ("error", frozenset({"path", "problems", "hint"})),
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
        frozenset(
            {
                "destination",
                "state",
                "before",
                "reason",
                "hint",
                "next_try_seconds",
                "suppressed",
            }
        ),
    ),
    "link.paused": (
        "error",
        frozenset({"destination", "reason", "hint", "next_try_seconds", "suppressed"}),
    ),
    "link.still_down": (
        "warning",
        frozenset({"destination", "state", "reason", "hint", "seconds", "suppressed"}),
    ),
    "link.failing": (
        "warning",
        frozenset(
            {"destination", "state", "failures", "reason", "hint", "next_try_seconds", "suppressed"}
        ),
    ),
    "link.works": ("info", frozenset({"destination", "failures", "seconds"})),
    "destination.unknown": ("warning", frozenset({"destination", "pending", "hint"})),
    "store.lost": ("error", frozenset({"reason", "retry_seconds"})),
    "store.commit_waits": ("error", frozenset({"reason", "hint"})),
    "order.held_back": ("warning", frozenset({"reason", "hint", "seconds"})),
    "order.free": ("info", frozenset({"seconds"})),
    "store.notice": ("warning", frozenset({"notice"})),
    "store.given_up": ("error", frozenset({"reason", "hint"})),
    "store.unrecorded": ("error", frozenset({"events", "reason", "hint"})),
    "store.back": ("info", frozenset({"seconds"})),
    "file.changed": ("info", frozenset({"paths"})),
    "file.unusable": ("warning", frozenset({"paths", "reason"})),
    "store.damaged": ("error", frozenset({"problem", "hint"})),
    "store.changed": ("warning", frozenset({"reason", "hint"})),
    "window.closed": ("info", frozenset({"destination"})),
    "window.opened": ("info", frozenset({"destination"})),
    "clock.set": ("warning", frozenset({"seconds", "hint"})),
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
    "log.dropped": ("warning", frozenset({"lines", "reason"})),
}

_LEVELS = {"info": "green", "warning": "yellow", "error": "bold red"}
# The width of most event names, so that the fields start in the same column.
_WHAT = 15
_SYSLOG_LEVELS = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Log:
    """Writes log events; no other part of shipper is allowed to log."""

    def __init__(
        self,
        logger: structlog.typing.FilteringBoundLogger,
        dropped: Callable[[], int] = lambda: 0,
    ) -> None:
        self.logger = logger
        """Renders and writes an event."""
        self.dropped = dropped
        """Returns how many lines were dropped because stderr wasn't read."""
        self.debug = bool(logger.is_enabled_for(logging.DEBUG))

    def become(self, other: "Log") -> None:
        """From now on write as `other` does, for every holder of this log."""
        self.logger, self.dropped, self.debug = other.logger, other.dropped, other.debug

    def __call__(self, name: str, /, **fields: object) -> None:
        """Log an event of the list; raises KeyError for an event or field that isn't in it."""
        self._write(name, EVENTS[name][0], fields)

    def good(self, name: str, /, **fields: object) -> None:
        """Log at level info an event that usually is a warning: this time it is good news."""
        self._write(name, "info", fields)

    def _write(self, name: str, level: str, fields: Mapping[str, object]) -> None:
        known = EVENTS[name][1]
        if not known.issuperset(fields):
            raise KeyError(f"{name} has no field {sorted(fields.keys() - known)}")
        with suppress(OSError):  # a full disk or a closed pipe must not stop the delivery
            getattr(self.logger, level)(name, **fields)


def open_log(
    level: str = "info",
    style: Literal["auto", "console", "json", "journal"] = "auto",
    stream: TextIO | None = None,
) -> Log:
    """Return a log that writes to `stream` (default: stderr); `auto` picks its style."""
    stream = stream or sys.stderr
    chosen = _style_of(stream) if style == "auto" else style
    renderer: Any
    if chosen == "json":
        renderer = structlog.processors.JSONRenderer(_to_json)
    elif chosen == "journal":
        renderer = _to_journal
    else:
        renderer = _Console(stream)
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _bounded,
        renderer,
    ]
    wrapper = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream), processors=processors, wrapper_class=wrapper
    )
    if not isinstance(stream, Unblocked):
        return Log(logger)
    stream.words_for = _words_for_dropped(processors)
    return Log(logger, lambda: stream.dropped)


def _words_for_dropped(processors: Sequence[Any]) -> Callable[[int], str]:
    """Return a function that renders the log event about a number of dropped lines."""
    name = "log.dropped"
    level, _ = EVENTS[name]

    def line(lines: int) -> str:
        said: Any = {"event": name, "lines": lines, "reason": "stderr was not read"}
        for processor in processors:
            said = processor(None, level, said)
        return str(said)

    return line


def _style_of(stream: TextIO) -> str:
    """Return the style that fits a stream: a terminal, the journal, or JSON for the rest."""
    if stream.isatty():
        return "console"
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return "json"
    # systemd names device and inode of the journal's socket (systemd.exec(5), $JOURNAL_STREAM).
    journal = os.environ.get("JOURNAL_STREAM")
    return "journal" if journal == f"{status.st_dev}:{status.st_ino}" else "json"


def _bounded(_: object, __: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Shorten texts of a receiver or an operating system, and make them encodable."""
    return {
        name: _clean(value) if isinstance(value, str) else value for name, value in fields.items()
    }


def _clean(text: str) -> str:
    """Return at most 500 characters that any encoding can write: an event id may not be UTF-8."""
    return text[:500].encode("utf-8", "backslashreplace").decode()


def _to_json(fields: dict[str, Any], **_: object) -> str:
    return printable_json(orjson.dumps(fields, default=str).decode("utf-8", "replace"))


class _Console:
    """Renders a line for a person: time (UTC, milliseconds), level, event, and fields.

    The fields keep their order. At level info a count of zero is left out. A reason and a hint are
    sentences, and come last.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, _: object, __: str, fields: dict[str, Any]) -> str:
        moment = str(fields.pop("timestamp"))[5:23].replace("T", " ")
        level = str(fields.pop("level"))
        what = str(fields.pop("event")).replace(".", " ").replace("_", " ")
        said = [str(fields.pop(name)) for name in ("reason", "hint") if fields.get(name)]
        words = " ".join(
            f"{name}={_word(value)}"
            for name, value in fields.items()
            if value is not None and not (level == "info" and type(value) is int and not value)
        )
        return " ".join(
            [
                self._styled(moment, "dim"),
                self._styled(f"{level:<7}", _LEVELS.get(level, "")),
                self._styled(f"{what:<{_WHAT}}", "bold"),
                "; ".join(filter(None, [words, *map(_printable, said)])),
            ]
        ).rstrip()

    def _styled(self, text: str, style: str) -> str:
        return styled(text, style, self._stream)


def _printable(text: str) -> str:
    return text if text.isprintable() else _word(text)


def _to_journal(_: object, __: str, fields: dict[str, Any]) -> str:
    """Render `<level>event key=value …` (sd-daemon(3)); the journal adds the time itself."""
    fields.pop("timestamp", None)
    level = _SYSLOG_LEVELS[str(fields.pop("level"))]
    event = fields.pop("event")
    words = (f"{name}={_word(value)}" for name, value in fields.items())
    return f"<{level}>" + " ".join([str(event), *words])


def _word(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and " " not in text and '"' not in text
    if plain and text:
        return text
    return printable_json(orjson.dumps(text).decode("utf-8", "replace"))
