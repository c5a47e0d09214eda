"""What the daemons of one outbox should have in common, and in what two of them differ.

A destination's limits and rules are the destination's, whichever daemon sends its events. One of
them sends the alarms of all, by its own [alerts]: if it has none, no alarm is sent. So each daemon
writes a short text of these settings where the others can read it. Pure. The text must never hold a
secret, and a text of another version, or a garbled one, must never raise anything: what can't be
compared counts as equal.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlsplit

from shipper.config.settings import DestinationSettings, Settings

MOST: Final = 20
"""So many differences are named."""

_DESTINATIONS: Final = "destinations"
_ONLY_MINE: Final = " (only here)"
_ONLY_THEIRS: Final = " (only there)"
# How the name of a destination looks. Another daemon wrote it, and it goes into a log.
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,199}")
_LONGEST: Final = 1_000_000
# Enough to notice another address.
_DIGITS: Final = 8


def agreement(settings: Settings) -> str:
    """Return what the other daemons of the outbox compare with their own, as a line of JSON."""
    alerts = settings.alerts
    common = {
        _DESTINATIONS: {name: _of(each) for name, each in sorted(settings.destinations.items())},
        "validation.mode": settings.validation.mode,
        "retention.delivered": settings.retention.delivered,
        "retention.dead": settings.retention.dead,
        "schedule.windows": list(settings.schedule.windows),
        "schedule.timezone": settings.schedule.timezone,
        # Only whether there is one: most of these URLs are secrets, and not every command may read
        # their files.
        "alerts.webhook_url": bool(alerts.webhook_url or alerts.webhook_url_file),
        "alerts.heartbeat_url": bool(alerts.heartbeat_url or alerts.heartbeat_url_file),
        "alerts.heartbeat_every": alerts.heartbeat_every,
        "alerts.oldest_pending": alerts.oldest_pending,
        "space.budget": settings.space.budget,
    }
    return json.dumps(common)


def differences(mine: str, theirs: str) -> list[str]:
    """Return the names of the settings that differ, for a person, at most `MOST` and how many more.

    A destination that only one of the two knows counts as one. A setting that only one of the two
    versions knows doesn't count.
    """
    found = list(_differences(_read(mine), _read(theirs)))
    more = len(found) - MOST
    return [*found[:MOST], f"and {more} more"] if more > 0 else found


def lacks(found: list[str]) -> bool:
    """Return whether `differences` names a destination that one of the two doesn't know."""
    return any(each.endswith((_ONLY_MINE, _ONLY_THEIRS)) for each in found)


def alarms_differ(found: list[str]) -> bool:
    """Return whether `differences` says that only one of the two sends alarms or heartbeats."""
    return not {"alerts.webhook_url", "alerts.heartbeat_url"}.isdisjoint(found)


def _of(destination: DestinationSettings) -> dict[str, Any]:
    retry = {f"retry.{name}": value for name, value in asdict(destination.retry).items()}
    return {
        "url": _shortened(destination.url),
        "timeout": destination.timeout,
        "max_in_flight": destination.max_in_flight,
        "max_rate": destination.max_rate,
        "after_dead_letter": destination.after_dead_letter,
        "kind": destination.kind,
        "validation": destination.validation,
        "late_after": destination.late_after,
        **retry,
        **(_of_http(destination) if destination.kind == "http" else {}),
    }


def _of_http(destination: DestinationSettings) -> dict[str, Any]:
    """Return what only kind http has, but for the values of headers, which can be secret."""
    answers = asdict(destination.answers).items()
    return {
        "method": destination.method,
        "content_type": destination.content_type,
        "idempotency_header": destination.idempotency_header,
        "headers": sorted(destination.headers),
        "auth.type": destination.auth.type,
        "auth.token_url": _shortened(destination.auth.token_url),
        "auth.scope": destination.auth.scope,
        "auth.audience": destination.auth.audience,
        "tls.cert_file": destination.tls.cert_file is not None,  # each daemon can have its own
        "sign.scheme": destination.sign.scheme,
        "cloudevents.source": destination.cloudevents.source,
        "cloudevents.type_prefix": destination.cloudevents.type_prefix,
        **{f"answers.{name}": list(listed) for name, listed in answers},
    }


def _shortened(url: str) -> str:
    """Return a short text for where a URL leads, without user and query: these can be secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return hashlib.sha256(f"{parts.scheme}://{host}{parts.path}".encode()).hexdigest()[:_DIGITS]


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    ours, others = mine.get(_DESTINATIONS), theirs.get(_DESTINATIONS)
    if isinstance(ours, dict) and isinstance(others, dict):
        for name in sorted(ours.keys() | others.keys()):
            if name not in others:
                yield f"{_DESTINATIONS}.{name}{_ONLY_MINE}"
            elif name not in ours:
                # A name that no configuration can have is of a garbled text.
                yield from [f"{_DESTINATIONS}.{name}{_ONLY_THEIRS}"] * bool(_NAME.fullmatch(name))
            else:
                yield from _unlike(ours[name], others[name], f"{_DESTINATIONS}.{name}.")
    yield from _unlike(mine, theirs)


def _unlike(mine: object, theirs: object, above: str = "") -> Iterator[str]:
    """Yield the names of what both have, and have otherwise."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for name, value in mine.items():
            if name != _DESTINATIONS and name in theirs and theirs[name] != value:
                yield f"{above}{name}"


def _read(text: str) -> Mapping[str, Any]:
    """Return what `agreement` wrote, nothing for any other text."""
    try:
        found = json.loads(text) if len(text) <= _LONGEST else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
