"""Choose the answer of the vendor's API to a request without an injected fault. Pure.

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
from typing import Any, Final

import orjson

from shipper.contract.validation import Mode, violations

EVENTS_PATH: Final = "/analytics/v3/events"
VALIDATE_PATH: Final = "/analytics/v3/events/validate"
_JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One request as the sandbox read it. Its repr hides the payload and the API ID."""

    method: str
    path: str
    key: str | None
    user: str | None
    payload: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def is_event(self) -> bool:
        """Return whether the request sends an event (a validation request doesn't)."""
        return self.method == "POST" and self.path == EVENTS_PATH

    @property
    def is_ours(self) -> bool:
        """Return whether the API has such a path."""
        return self.path in {EVENTS_PATH, VALIDATE_PATH}


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


def answer_to(info: RequestInfo, api_id: str | None, mode: Mode = "schema") -> SandboxAnswer:
    """Return the API's answer; if `api_id` is None, a request with any API ID is authorised.

    `mode` says what an event is checked for; the validate path always checks the whole schema.
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


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> SandboxAnswer:
    """Return an answer that says in JSON what is wrong; 204 and 304 can't have a body."""
    if status in {204, 304}:
        return SandboxAnswer(status, headers=headers or {})
    return SandboxAnswer(status, orjson.dumps({"message": message}), {**_JSON, **(headers or {})})


def _is_authorised(given: str, expected: str | None) -> bool:
    if expected is None:
        return bool(given)
    return compare_digest(
        given.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape")
    )


def _json(status: int, body: list[dict[str, Any]]) -> SandboxAnswer:
    return SandboxAnswer(status, orjson.dumps(body), _JSON)
