"""What the sandbox asks of an API, and the vendor's API: its answers without injected faults. Pure.

The vendor documents the paths, the header `x-api-id` and the violations in the shape of Ajv. The
vendor documents no status codes, so the sandbox chooses them: 202 without a body for an accepted
event, 400 with the violations for an event that the vendor's schema refuses, 200 with an array
(empty for a valid event) for the validate path, 401 for a wrong or missing API ID, 404 and 405. The
sandbox refuses what the vendor refuses, so that a developer finds a mistake before production. A
milder mode of validation is for event types that the vendor has added since.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final, Protocol

import orjson

from shipper.contract.validation import Mode, violations

EVENTS_PATH: Final = "/analytics/v3/events"
VALIDATE_PATH: Final = "/analytics/v3/events/validate"
_JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One request as the sandbox read it. Its repr hides what can hold a secret.

    `path` is percent-decoded and without the query; `target` is both as they were sent.
    """

    method: str
    path: str
    key: str | None
    user: str | None
    payload: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    target: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SandboxAnswer:
    """A complete HTTP answer that the sandbox gives."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepts(self) -> bool:
        """Return whether, for the sender, the answer means that the event was accepted."""
        return 200 <= self.status < 300


ACCEPTED: Final = SandboxAnswer(202)


class StandIn(Protocol):
    """An API that the sandbox stands in for."""

    events_path: str
    """The path that the sandbox names as the one for events."""

    key_headers: tuple[str, ...]
    """The headers that can hold the identity of an event; the first one of a request counts."""

    def is_event(self, info: RequestInfo) -> bool:
        """Return whether the request sends an event (a validation request doesn't)."""
        ...

    def is_ours(self, info: RequestInfo) -> bool:
        """Return whether the API has such a path; only there its faults are injected."""
        ...

    def answer(self, info: RequestInfo, wall: float) -> SandboxAnswer:
        """Return the answer to a request; `wall` is the time in seconds since 1970."""
        ...


class VendorApi:
    """The vendor's API; if `api_id` is None, a request with any API ID is authorised.

    `mode` says what an event is checked for; the validate path always checks the whole schema.
    """

    events_path = EVENTS_PATH
    key_headers: tuple[str, ...] = ("idempotency-key",)

    def __init__(self, api_id: str | None = None, mode: Mode = "schema") -> None:
        self._api_id = api_id
        self._mode: Mode = mode

    def is_event(self, info: RequestInfo) -> bool:
        """Return whether the request sends an event (a validation request doesn't)."""
        return info.method == "POST" and info.path == EVENTS_PATH

    def is_ours(self, info: RequestInfo) -> bool:
        """Return whether the vendor's API has such a path."""
        return info.path in {EVENTS_PATH, VALIDATE_PATH}

    def answer(self, info: RequestInfo, wall: float) -> SandboxAnswer:
        """Return the vendor's answer, which is the same at any time."""
        del wall
        if not self.is_ours(info):
            return problem(404, "no such path")
        if info.method != "POST":
            return problem(405, "POST only", {"Allow": "POST"})
        if not _is_authorised(info.headers.get("x-api-id", ""), self._api_id):
            return problem(401, "x-api-id is missing or wrong")
        if info.path == VALIDATE_PATH:
            return json_answer(200, violations(info.payload, "schema"))
        found = violations(info.payload, self._mode)
        return json_answer(400, found) if found else ACCEPTED


def is_same(given: str, expected: str) -> bool:
    """Compare two texts, one of them secret, in constant time."""
    return compare_digest(
        given.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape")
    )


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> SandboxAnswer:
    """Return an answer that says in JSON what is wrong; 204 and 304 can't have a body."""
    if status in {204, 304}:
        return SandboxAnswer(status, headers=headers or {})
    return json_answer(status, {"message": message}, headers)


def json_answer(
    status: int, body: object, headers: Mapping[str, str] | None = None
) -> SandboxAnswer:
    """Return an answer with a JSON body."""
    return SandboxAnswer(status, orjson.dumps(body), {**_JSON, **(headers or {})})


def _is_authorised(given: str, expected: str | None) -> bool:
    return bool(given) if expected is None else is_same(given, expected)
