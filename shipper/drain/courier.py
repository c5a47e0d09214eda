"""One try: send one event to its destination and return the outcome.

It has no access to the database or the lanes. It must never raise because of the network, the
receiver or the event: an event that breaks something must not stop the others.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from shipper.clock import Clock
from shipper.config.destination import Validation
from shipper.config.secrets import Secrets
from shipper.contract.validation import violations
from shipper.contract.violation import describe
from shipper.policy.event import Event
from shipper.policy.masking import masked
from shipper.policy.outcome import (
    EXCERPT_CHARS,
    TABLE,
    Answers,
    Fault,
    Invalid,
    Outcome,
    Reply,
    Report,
    UnderWay,
    accepted,
    classify,
)

# How many bytes of an answer are read: an excerpt needs a quarter, and a web page the first ones.
_LOOKED_AT = 16 * EXCERPT_CHARS


class Carrier(Protocol):
    """Sends requests to the receiver: a `shipper.destination.Destination`, or a test's stand-in."""

    def begin(self, event: Event, secrets: Secrets, done: Report, until: float) -> UnderWay:
        """Begin one try that is over by `until`, in monotonic seconds; `done` gets its answer.

        If a wait takes so long that it can't be, nothing is sent, and that is the answer.
        `done` is called exactly once, after `begin` has returned; not if the try is cancelled. An
        exception is a bug of the program: the network, the receiver and the event make none.
        """

    async def aclose(self) -> None:
        """Close all connections."""


class TryResult(NamedTuple):
    """The outcome of one try. `started_at` is in seconds since 1970; `seconds` is its duration."""

    outcome: Outcome
    started_at: float
    seconds: float


class Courier:
    """Checks events and sends them. `refresh` calls `secrets` for the secrets again.

    `where` is the receiver's host and port, which outcomes name. `answers` says what a status of
    this destination means.
    """

    def __init__(
        self,
        carrier: Carrier,
        *,
        validation: Validation,
        secrets: Callable[[], Secrets],
        clock: Clock,
        where: str = "",
        answers: Answers = TABLE,
    ) -> None:
        self._carrier = carrier
        self._where = where
        self._validation = validation
        self._answers = answers
        self._read_secrets = secrets
        self._secrets = secrets()
        self._clock = clock

    def refresh(self) -> bool:
        """Read the secrets again; return whether one has changed."""
        before, self._secrets = self._secrets, self._read_secrets()
        return before != self._secrets

    def check(self, event: Event) -> Outcome | None:
        """Return why an event can't be sent, or None if it can."""
        found = violations(event.payload, self._validation)
        if not found:
            return None
        return classify(Invalid("invalid", describe(found)), self._clock.wall())

    def begin(
        self,
        event: Event,
        done: Callable[[TryResult | Exception], None],
        *,
        now: float,
        until: float,
    ) -> UnderWay:
        """Begin one try with an event; `done` is called as `Carrier.begin` calls it."""
        # The file can change before the answer comes, which can echo the secrets that were sent.
        secrets = self._secrets
        answered = partial(self._answered, done, secrets, self._clock.wall(), now)
        return self._carrier.begin(event, secrets, answered, until)

    def _answered(
        self,
        done: Callable[[TryResult | Exception], None],
        secrets: Secrets,
        started_at: float,
        began: float,
        answer: Reply | Fault | Invalid | Exception,
    ) -> None:
        result: TryResult | Exception
        try:
            outcome = self._outcome(answer, secrets)
            result = TryResult(outcome, started_at, self._clock.monotonic() - began)
        except Exception as bug:  # noqa: BLE001 - the caller ends the process
            result = bug
        done(result)

    def _outcome(self, answer: Reply | Fault | Invalid | Exception, secrets: Secrets) -> Outcome:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Reply):
            outcome = accepted(answer, self._answers)
            if outcome is not None:
                return outcome
            # The history would keep a secret that the receiver echoes.
            answer = masked(answer, secrets.all(), _LOOKED_AT)
        return classify(answer, self._clock.wall(), self._where, self._answers)

    async def aclose(self) -> None:
        """Close the connections to the receiver."""
        await self._carrier.aclose()
