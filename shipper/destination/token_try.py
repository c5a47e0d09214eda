"""One try of an event whose request bears an access token: one or two requests, one deadline.

It decides when an event is sent a second time: if the API refuses the token (401), it has not taken
the event, and another token can be had. It must never send a third time, or after the deadline.
A 403 can be about the token as well: it is the answer, and the next try fetches another token.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias

from shipper.destination.grant import Credentials
from shipper.destination.oauth import TokenSource
from shipper.policy.masking import masked
from shipper.policy.outcome import Fault, Invalid, Reply, Report, UnderWay

Send: TypeAlias = Callable[[str, float, Report], UnderWay]
"""Sends the event with a token, to be over by a moment in the loop's time."""


class TokenTry:
    """A try that is over by `due`, in the loop's time; `done` gets its answer once.

    An answer that `is_kept`, or that a person may read, is masked: it can echo the token.
    """

    def __init__(
        self,
        tokens: TokenSource,
        credentials: Credentials,
        send: Send,
        done: Report,
        due: float,
        is_kept: Callable[[Reply], bool],
    ) -> None:
        self._tokens = tokens
        self._credentials = credentials
        self._send = send
        self._done = done
        self._due = due
        self._is_kept = is_kept
        self._used: tuple[str, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._step: UnderWay
        self._go_on()

    def cancel(self) -> None:
        """Give the try up: its answer isn't reported. The receiver may have the event."""
        self._settle_wait()
        self._step.cancel()

    def _go_on(self) -> None:
        """Send with the present token, or wait for one."""
        token = self._tokens.token(self._credentials)
        if token is not None:
            self._send_with(token)
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._due, self._overdue)
        self._step = self._tokens.fetch(self._credentials, self._fetched)

    def _overdue(self) -> None:
        self._timer = None
        self._step.cancel()
        why = f"no token: none came from {self._tokens.where} before the deadline of the try"
        self._done(Fault("token", "no", why))

    def _fetched(self, found: str | Fault | Exception) -> None:
        self._settle_wait()
        if isinstance(found, str):
            self._send_with(found)
        else:
            self._done(found)

    def _settle_wait(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _send_with(self, token: str) -> None:
        self._used = (*self._used, token)
        self._step = self._send(token, self._due, self._answered)

    def _answered(self, answer: Reply | Fault | Invalid | Exception) -> None:
        if not isinstance(answer, Reply):
            self._done(answer)
        elif self._is_worth_another(answer):
            self._go_on()
        else:
            if answer.status == HTTPStatus.FORBIDDEN:
                self._tokens.drop(self._used[-1])
            # The mask costs more than all the rest of a try, so it isn't made for each event.
            self._done(masked(answer, self._used) if self._is_kept(answer) else answer)

    def _is_worth_another(self, answer: Reply) -> bool:
        first = answer.status == HTTPStatus.UNAUTHORIZED and len(self._used) == 1
        return first and self._tokens.drop(self._used[0])
