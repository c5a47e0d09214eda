"""A fake shop: forty shoppers view, click and order; it writes events as an application does.

The events of each shopper are numbered, so that the receiver can check their order. A few events
name a product that the receiver refuses: they become dead letters and delay no other event.
"""

import threading
from decimal import Decimal
from itertools import count
from typing import Any

from shipper.clock import Clock
from shipper.contract.builders import OrderLine, interact, order, user_id, view
from shipper.outbox import Outbox
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing

SHOPPERS = 40
EVENTS_A_SECOND = 60.0
UNKNOWN_SKU = "GONE-404"
_UNKNOWN_EVERY = 97
_NAMESPACE = "5f0c6a1e-2b7d-4e0b-9a43-0d6a6d1c4b55"


class Shop:
    """Writes events in its own thread until `close` is called."""

    def __init__(self, database_url: str, clock: Clock) -> None:
        self.written = 0
        self._clock = clock
        self._url = database_url
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._trade, name="shop")
        self._failure: BaseException | None = None

    def open(self) -> None:
        """Start to write events."""
        self._thread.start()

    def close(self) -> None:
        """Stop writing. Raises the error that ended the shop's thread, if there is one."""
        self._closing.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _trade(self) -> None:
        engine = open_engine(self._url)
        steps = [0] * SHOPPERS
        try:
            for number in count(1):
                shopper = int(self._clock.random() * SHOPPERS)
                steps[shopper] += 1
                # A real shop commits its own change and the event together here.
                with writing(engine) as connection:
                    Outbox(connection).add(
                        self._event(number, shopper, steps[shopper]),
                        event_id=f"shopper{shopper:02}-{steps[shopper]:06}",
                    )
                self.written = number
                if self._closing.wait(2 * self._clock.random() / EVENTS_A_SECOND):
                    return
        except Exception as error:  # noqa: BLE001 - `close` raises it in the demo's thread
            self._failure = error
        finally:
            engine.dispose()

    def _event(self, number: int, shopper: int, step: int) -> dict[str, Any]:
        user = user_id(_NAMESPACE, shopper)
        if number % _UNKNOWN_EVERY == 0:
            return interact(UNKNOWN_SKU, user=user)
        match step % 3:
            case 1:
                return view("productSet", f"{user_id(_NAMESPACE, step)}#generated#1", user=user)
            case 2:
                return interact(f"COAT-{step:04}", action="addToCart", user=user)
            case _:
                lines = [OrderLine(f"COAT-{step:04}", 1, Decimal("149.95"), "EUR")]
                return order(f"W-{shopper:02}-{step:06}", lines, user=user)
