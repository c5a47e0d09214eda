"""What a try leaves behind of an answer, without a network."""

from math import inf

from shipper.clock import SystemClock
from shipper.config.secrets import Secrets
from shipper.drain.courier import Courier, TryResult
from shipper.policy.event import Event
from shipper.policy.outcome import Reply, Report


class Holder:
    """A receiver that answers when the test says so."""

    def begin(self, _event: Event, _secrets: Secrets, done: Report, _until: float) -> "Holder":
        """Keep what takes the answer."""
        self.answer = done
        return self

    def cancel(self) -> None:
        """Give nothing up."""

    async def aclose(self) -> None:
        """Close nothing."""


def test_an_answer_is_masked_by_the_secrets_that_were_sent() -> None:
    """Their file may have changed since, and the old secret may be good for a while."""
    receiver, now, ends = Holder(), [Secrets(api_id="old-secret")], list[TryResult | Exception]()
    courier = Courier(
        receiver, validation="off", secrets=lambda: now[0], clock=SystemClock(), where="api:443"
    )
    courier.begin(Event(1, "e", "default", None, b"{}"), ends.append, now=0.0, until=inf)
    now[0] = Secrets(api_id="new-secret")
    assert courier.refresh()
    receiver.answer(Reply(400, body=b"old-secret is too old"))
    (end,) = ends
    assert isinstance(end, TryResult)
    assert end.outcome.excerpt == "**** is too old"
