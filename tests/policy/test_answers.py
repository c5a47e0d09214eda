"""What a destination's own lists say about a status, over the table and under its guards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.policy.answers import KINDS, answers_of, codes
from shipper.policy.outcome import Answers, Kind, Reply, accepted, classify

NOON = 1_700_000_000.0
OWN = {401, 407, 429}


def of(answer: Reply, answers: Answers) -> tuple[Kind, str, float | None]:
    """Return what an answer means for a destination with these answers."""
    outcome = classify(answer, NOON, answers=answers)
    assert (accepted(answer, answers) is None) == (outcome.kind is not Kind.ACCEPTED)
    return outcome.kind, outcome.cause, outcome.retry_after


@pytest.mark.parametrize("name", KINDS)
def test_a_listed_status_means_what_its_list_says(name: str) -> None:
    """Whatever the table says, each status from 200 to 599."""
    for status in range(200, 600):
        if name == "refused" and status in OWN:
            continue
        answers = answers_of({name: [status]})
        kind, cause, _ = of(Reply(status), answers)
        if status == 511 and name != "accepted":
            assert (kind, cause) == (Kind.TRANSIENT, "portal")
        else:
            assert kind is KINDS[name]
            assert cause == ("accepted" if kind is Kind.ACCEPTED else f"http-{status}")


@pytest.mark.parametrize("status", [200, 404, 599])
def test_what_is_not_listed_means_what_it_always_does(status: int) -> None:
    """Whatever another status means."""
    answers = answers_of({"retried": [status]})
    for other in {*range(100, 600), 600, 999} - {status}:
        assert classify(Reply(other), NOON, answers=answers) == classify(Reply(other), NOON)


@pytest.mark.parametrize("status", [200, 302, 404, 409, 511, 599])
def test_a_portals_page_is_no_success_whatever_is_listed(status: int) -> None:
    """A login page may come with any status, and its web server knows nothing of events."""
    page = Reply(status, "text/html", body=b"<html>log in")
    assert of(page, answers_of({"accepted": ["2xx", "3xx", "4xx", "5xx"]})) == (
        *(Kind.TRANSIENT, "portal"),
        None,
    )


def test_a_success_that_is_listed_elsewhere_is_none() -> None:
    """Some APIs answer 202 for what they put aside, or 200 with nothing but regrets."""
    assert of(Reply(202), answers_of({"refused": [202]}))[0] is Kind.REFUSED
    assert of(Reply(204), answers_of({"retried": ["2xx"]}))[0] is Kind.TRANSIENT
    page = Reply(200, "text/html", body=b"<html>")
    assert of(page, answers_of({"refused": [200]}))[:2] == (Kind.TRANSIENT, "portal")


def test_a_throttle_of_ones_own_waits_as_it_is_asked_to() -> None:
    """With `Retry-After`, or by the backoff."""
    answers = answers_of({"throttled": [403, 509]})
    assert of(Reply(403, retry_after="7"), answers) == (Kind.THROTTLED, "http-403", 7.0)
    assert of(Reply(509), answers) == (Kind.THROTTLED, "http-509", None)
    retried = answers_of({"retried": [503]})
    assert of(Reply(503, retry_after="7"), retried) == (Kind.TRANSIENT, "http-503", None)


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        ({"accepted": [409], "refused": [409]}, "409 is in accepted and in refused: take it out"),
        ({"accepted": [409], "retried": ["4xx"]}, "409 is in accepted and in retried: take it out"),
        ({"refused": [401]}, "401 can't be in refused, also not as one of a class"),
        ({"refused": ["4xx"]}, "401 can't be in refused, also not as one of a class"),
        ({"refused": [407]}, "407 can't be in refused"),
        ({"refused": [400, 429]}, "429 can't be in refused"),
    ],
)
def test_lists_that_contradict_are_refused(lists: dict[str, list[object]], told: str) -> None:
    """A status means one thing, and one about credentials or a limit is never the event's fault."""
    with pytest.raises(ValueError, match=told):
        answers_of(lists)


def test_a_status_may_be_twice_in_one_list() -> None:
    """As itself and as one of its class it means the same."""
    assert answers_of({"retried": [500, "5xx", 500]}) == answers_of({"retried": ["5xx"]})
    assert answers_of({}) == {}


@pytest.mark.parametrize(
    "entry",
    [199, 600, 100, 0, -1, True, 200.0, "200", "1xx", "6xx", "5XX", "5x", "5xx ", "", None, [], {}],
    ids=repr,
)
def test_what_is_no_status_from_200_to_599_is_refused(entry: object) -> None:
    """A 1xx is never the answer to a request, and 600 is none at all."""
    with pytest.raises(ValueError):  # noqa: PT011 - the setting's type has the words
        codes(entry)


@given(st.dictionaries(st.sampled_from(sorted(KINDS)), st.lists(st.integers(200, 599))))
def test_every_listed_status_has_one_meaning_or_none_is_taken(lists: dict[str, list[int]]) -> None:
    """However the lists are mixed."""
    listed = [(code, name) for name, all_of_it in lists.items() for code in set(all_of_it)]
    numbers = [code for code, _ in listed]
    is_clear = len(set(numbers)) == len(numbers) and not OWN.intersection(lists.get("refused", ()))
    try:
        assert answers_of(lists) == {code: KINDS[name] for code, name in listed}
        assert is_clear
    except ValueError:
        assert not is_clear
