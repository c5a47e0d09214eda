"""The log as a person reads it on a terminal; JSON and the journal's lines are others' business."""

import json
import re
from io import StringIO

import pytest

from shipper.logs import EVENTS, open_log


def line(name: str, /, **fields: object) -> str:
    """Return the line that is written of an event."""
    stream = StringIO()
    open_log("debug", "console", stream)(name, **fields)
    return stream.getvalue().removesuffix("\n")


def test_a_line_has_the_time_to_the_millisecond() -> None:
    """Then how bad it is, and what happened, in words."""
    found = line("store.back", seconds=3.5)
    assert re.fullmatch(
        r"\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info    store back      seconds=3\.5", found
    )


def test_fields_stay_in_their_order_and_nothing_is_not_counted() -> None:
    """What is said of a batch is what came of it."""
    counts = {"destination": "default", "delivered": 3, "postponed": 0, "dead": 0, "in_flight": 7}
    assert line("batch.shipped", **counts).endswith("destination=default delivered=3 in_flight=7")


@pytest.mark.parametrize(
    ("name", "field"), [("delivery.delivered", "attempts"), ("delivery.dead", "attempts")]
)
def test_a_nothing_that_says_something_stays(name: str, field: str) -> None:
    """Of a single event, and wherever something is wrong."""
    assert f"{field}=0" in line(name, destination="default", **{field: 0})


def test_a_reason_and_a_hint_are_sentences() -> None:
    """They come last, without quotes; what would steer the terminal is escaped."""
    found = line("link.paused", hint="do this", destination="erp", reason="http-401: who?")
    assert found.endswith("link paused     destination=erp; http-401: who?; do this")
    assert "\x1b" not in line("store.lost", reason="a\x1b[2J\nb")
    assert len(line("store.lost", reason="a\nb").splitlines()) == 1


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_has_a_line(name: str) -> None:
    """Whatever its fields are."""
    level, fields = EVENTS[name]
    found = line(name, **dict.fromkeys(fields, "x y"))
    assert re.search(rf" {level} +{re.sub('[._]', ' ', name)}", found)


def test_what_programs_read_is_as_it_was() -> None:
    """Names with dots, and every field."""
    stream = StringIO()
    open_log("info", "json", stream)("batch.shipped", destination="default", dead=0)
    told = json.loads(stream.getvalue())
    assert (told["event"], told["dead"]) == ("batch.shipped", 0)
    stream = StringIO()
    open_log("info", "journal", stream)("batch.shipped", destination="default", dead=0)
    assert stream.getvalue() == "<6>batch.shipped destination=default dead=0\n"
