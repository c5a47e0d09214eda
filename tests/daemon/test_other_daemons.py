"""That another daemon has other settings is logged on both, once for each change."""

import io
import json
from collections.abc import Callable
from typing import Any

from shipper.daemon.other_daemons import OtherDaemons
from shipper.logs import open_log
from shipper.store.report.agreements import DaemonRow

Told = Callable[[str, dict[str, str]], list[dict[str, Any]]]


def settings(rate: float, *more: str) -> str:
    """Return what a daemon with this rate, and with more destinations, writes."""
    named = {name: {"max_rate": rate} for name in ("default", *more)}
    return json.dumps({"destinations": named})


def watching() -> Told:
    """Return what looks once, at daemons by their names, and returns what it has logged."""
    written, watch = io.StringIO(), OtherDaemons()
    log = open_log("info", "json", written)

    def told(mine: str, others: dict[str, str]) -> list[dict[str, Any]]:
        written.truncate(0)
        written.seek(0)
        rows = [
            DaemonRow(n, name, "p", False, text) for n, (name, text) in enumerate(others.items())
        ]
        watch.take(mine, rows, log)
        return [json.loads(line) for line in written.getvalue().splitlines()]

    return told


def test_a_difference_is_logged_once() -> None:
    """With the other daemon, the setting and what to do."""
    told = watching()
    [line] = told(settings(1), {"till-2": settings(2)})
    assert (line["event"], line["level"]) == ("daemon.differs", "warning")
    assert line["name"] == "till-2 (p)"
    assert line["settings"] == ["destinations.default.max_rate"]
    assert "systemctl reload shipper" in line["hint"]
    assert told(settings(1), {"till-2": settings(2)}) == []
    assert told(settings(1), {"till-2": settings(3)}) == [], "it is the same setting"


def test_each_change_is_logged() -> None:
    """Also one that comes back, and of each daemon."""
    told = watching()
    assert len(told(settings(1), {"till-2": settings(2), "till-3": settings(3)})) == 2
    [line] = told(settings(1), {"till-2": settings(2, "erp"), "till-3": settings(3)})
    assert line["settings"] == ["destinations.default.max_rate", "destinations.erp (only there)"]
    assert "events of a destination wait" in line["hint"]
    assert told(settings(1), {"till-2": settings(1), "till-3": settings(1)}) == []
    assert len(told(settings(1), {"till-2": settings(2)})) == 1


def test_a_reload_is_looked_at_too() -> None:
    """What this daemon has now is what counts."""
    told = watching()
    assert told(settings(1), {"till-2": settings(1)}) == []
    assert len(told(settings(2), {"till-2": settings(1)})) == 1
    assert told(settings(1), {"till-2": settings(1)}) == []


def test_where_all_agree_nothing_is_said() -> None:
    """Nor of a daemon that wrote nothing, or is gone."""
    told = watching()
    assert told(settings(1), {"till-2": settings(1), "older": ""}) == []
    assert told(settings(1), {}) == []
