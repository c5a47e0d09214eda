"""Decide about one request: its answer, how the answer leaves, whether the event is accepted.

Pure. It combines the API's own answer (`api`) with an injected fault (`chaos`) or with an answer
that a test chose. An event whose answer reads as a refusal must never count as accepted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from shipper.sandbox.api import SandboxAnswer, problem
from shipper.sandbox.chaos import InjectedFault

PORTAL: Final = "http://portal.invalid/login"
_LOGIN_PAGE: Final = SandboxAnswer(
    200,
    b"<!DOCTYPE html><html><title>Log in</title><form>Log in</form></html>",
    {"Content-Type": "text/html"},
)
_REDIRECT: Final = problem(302, "log in first", {"Location": PORTAL})


@dataclass(frozen=True, slots=True)
class Treatment:
    """The decision. `status` goes to the ledger; if `answer` is None, it names how to fail.

    `delay` is the seconds before the answer; None means until the client disconnects.
    """

    status: int | str
    accepted: bool
    answer: SandboxAnswer | None = None
    delay: float | None = 0.0


def treat(
    answer: Callable[[], SandboxAnswer],
    scripted: SandboxAnswer | None,
    fault: InjectedFault | None,
    *,
    is_event: bool,
) -> Treatment:
    """Return what to do with a request; a scripted answer comes before a fault.

    `answer` gives the API's own answer; `is_event` says whether the request sends an event.
    """
    if scripted is not None:
        return Treatment(scripted.status, is_event and scripted.accepts, scripted)
    if fault is not None and not fault.after_processing:
        return _struck(fault)
    usual = answer()
    accepted = is_event and usual.accepts
    if fault is None:
        return Treatment(usual.status, accepted, usual)
    if fault.kind == "status":
        assert fault.status is not None
        other = replace(usual, status=fault.status) if usual.accepts else usual
        return Treatment(other.status, accepted, other)
    if fault.kind == "slow":
        return Treatment(usual.status, accepted, usual, fault.delay)
    return Treatment(fault.kind, accepted)


def _struck(fault: InjectedFault) -> Treatment:
    match fault.kind:
        case "status":
            assert fault.status is not None
            answer = problem(fault.status, "an injected fault", _retry_after(fault))
            return Treatment(fault.status, accepted=False, answer=answer)
        case "html":
            return Treatment("html", accepted=False, answer=_LOGIN_PAGE)
        case "redirect":
            return Treatment("redirect", accepted=False, answer=_REDIRECT)
        case "stall":
            return Treatment("stall", accepted=False, delay=None)
        case _:
            return Treatment(fault.kind, accepted=False)


def _retry_after(fault: InjectedFault) -> dict[str, str]:
    # Whole seconds (RFC 9110, 10.2.3), rounded up: the client must not return too early.
    return {} if fault.retry_after is None else {"Retry-After": str(-int(-fault.retry_after // 1))}
