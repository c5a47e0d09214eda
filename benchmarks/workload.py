"""The events that every measurement ships: how many, of which shopper each is, and their bytes.

All of it is computed from a few numbers, so that the outbox, the bare loop and the peers get the
same payloads without a file. An event has its shopper, and its place in the shopper's sequence, at
fixed offsets: so the receiver needs no JSON parser.
"""

from dataclasses import dataclass

_PAYLOAD = (
    '{{"type":"interact","interact":{{"type":"product","action":"addToCart",'
    '"product":{{"sku":"COAT-{sequence:010}","colour":"blue","size":"M"}}}},'
    '"context":[{{"type":"user","user":{{"id":"{shopper:08}-7f39-4d0e-9a57-3d1f6f1c8e44"}}}},'
    '{{"type":"page","page":{{"url":"https://shop.example/coats/winter/blue?size=M&sort=new"}}}}]}}'
)
_SAMPLE = _PAYLOAD.format(shopper=77_777_777, sequence=8_888_888_888)

# Where a payload has its shopper and its place in the shopper's sequence, as digits.
SHOPPER = slice(_SAMPLE.index("77777777"), _SAMPLE.index("77777777") + 8)
SEQUENCE = slice(_SAMPLE.index("8888888888"), _SAMPLE.index("8888888888") + 10)


def payload(shopper: int, sequence: int) -> str:
    """Return an event of a shopper: about 300 bytes, valid, without its key, which is derived."""
    return _PAYLOAD.format(shopper=shopper, sequence=sequence)


@dataclass(frozen=True, slots=True)
class Workload:
    """A number of events of shoppers who take turns; a hot shopper can have nine in ten."""

    events: int
    keys: int
    hot: bool = False

    def event(self, number: int) -> tuple[int, int]:
        """Return the shopper and the place in the shopper's sequence of an event, from 0."""
        if not self.hot:
            return number % self.keys, number // self.keys
        tens, rest = divmod(number, 10)
        if rest:
            return 0, number - tens - 1
        return 1 + tens % (self.keys - 1), tens // (self.keys - 1)

    def payload(self, number: int) -> str:
        """Return the payload of an event."""
        return payload(*self.event(number))

    def arguments(self) -> list[str]:
        """Return the arguments that `workload_of` reads in another process."""
        return [str(self.events), str(self.keys), str(int(self.hot))]


def workload_of(events: str, keys: str, hot: str) -> Workload:
    """Return the workload that `arguments` wrote."""
    return Workload(int(events), int(keys), bool(int(hot)))
