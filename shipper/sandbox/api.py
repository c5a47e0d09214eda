"""What the vendor's API answers to a request that no fault strikes. Pure.

The paths, the header `x-api-id` and the violations in the shape of Ajv are the vendor's own. The
vendor documents no status for any of it, so these are ours: 202 without a body for an event that
was taken, 400 with the violations for one that the vendor's schema refuses, 200 with an array
(empty when all is well) for the validate path, 401 for an API ID that is wrong or not there, 404
and 405. A sandbox that takes what the vendor refuses would let a shop find out in production; for
event types that the vendor has added since, a milder mode of validation can be asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, Final

import orjson

from shipper.contract.validation import Mode, violations

EVENTS_PATH: Final = "/analytics/v3/events"
VALIDATE_PATH: Final = "/analytics/v3/events/validate"
_JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One request as it came in. Its repr shows neither the payload nor the API ID."""

    method: str
    path: str
    key: str | None
    user: str | None
    payload: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def is_event(self) -> bool:
        """Return whether this hands in an event (and isn't a mere question)."""
        return self.method == "POST" and self.path == EVENTS_PATH

    @property
    def is_ours(self) -> bool:
        """Return whether the API has such a path."""
        return self.path in {EVENTS_PATH, VALIDATE_PATH}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepts(self) -> bool:
        """Return whether this tells the sender that the event was taken."""
        return 200 <= self.status < 300


ACCEPTED: Final = Answer(202)


def answer_to(info: RequestInfo, api_id: str | None, mode: Mode = "schema") -> Answer:
    """Return the API's answer; without an `api_id` of ours any will do, but one must be given.

    `mode` says what an event is checked for; the validate path always asks for the whole schema.
    """
    if not info.is_ours:
        return problem(404, "no such path")
    if info.method != "POST":
        return problem(405, "POST only", {"Allow": "POST"})
    if not _is_authorised(info.headers.get("x-api-id", ""), api_id):
        return problem(401, "x-api-id is missing or wrong")
    if info.path == VALIDATE_PATH:
        return _json(200, violations(info.payload, "schema"))
    found = violations(info.payload, mode)
    return _json(400, found) if found else ACCEPTED


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer that says what is wrong, as JSON; 204 and 304 have no body to say it in."""
    if status in {204, 304}:
        return Answer(status, headers=headers or {})
    return Answer(status, orjson.dumps({"message": message}), {**_JSON, **(headers or {})})


def _is_authorised(given: str, expected: str | None) -> bool:
    if expected is None:
        return bool(given)
    return compare_digest(
        given.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape")
    )


def _json(status: int, body: list[dict[str, Any]]) -> Answer:
    return Answer(status, orjson.dumps(body), _JSON)
