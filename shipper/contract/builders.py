"""The vendor's three events as plain dicts, for people who would rather not look up the nesting.

A builder only arranges what it is given. Whether the result may be sent is `validation`'s word.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID, uuid5


class Line(NamedTuple):
    """One line of an order; `amount` is the price of one unit, VAT included.

    A Decimal amount is written with exactly its digits. `currency` is a code of ISO 4217.
    """

    sku: str
    quantity: int | float | Decimal
    amount: int | float | Decimal
    currency: str


def view(
    content_type: str,
    id: str,  # noqa: A002 - the vendor's word
    *,
    user: str | None = None,
    context: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the event for content that came at least half into the viewport.

    `content_type` is `customSet`, `productSet`, `similarProducts`, `matchingProductClusters` or
    `setCompose`; newer ones are taken too. `id` names the set, or the product for the middle two.
    `user` and further `context` entries as for all builders: see `order`.
    """
    return _event("view", _content(content_type, id), user, context)


def interact(
    sku: str,
    *,
    action: str | None = None,
    user: str | None = None,
    content: tuple[str, str] | None = None,
    context: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the event for a shopper who did something with a product inside 8SELECT content.

    `action` is free text; the vendor tells only `addToCart` apart and wants it left out when
    unsure. `content` is the content's type and id, as `view` takes them: where it happened.
    """
    body: dict[str, Any] = {"type": "product", "product": {"sku": sku}}
    if action is not None:
        body["action"] = action
    where = [] if content is None else [{"type": "content", "content": _content(*content)}]
    return _event("interact", body, user, [*where, *context])


def order(
    id: str,  # noqa: A002 - the vendor's word
    lines: Iterable[Line | tuple[str, Any, Any, str] | Mapping[str, Any]],
    *,
    user: str | None = None,
    context: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the event for an order that was placed.

    A line is a `Line`, a tuple in the order of its fields, or an object as the vendor writes it.
    `user` is the shopper's id, anonymous and the same in all events of one shopper (`user_id`
    makes one); the vendor wants it always. `context` holds entries as the vendor writes them.
    """
    return _event("order", {"id": id, "lines": [_line(line) for line in lines]}, user, context)


def user_id(namespace_uuid: UUID | str, own_id: str | int) -> str:
    """Return the uuid-v5 of a shop's own id for a shopper, as the vendor asks for it.

    The same namespace and id always give the same result, and without the namespace nobody can
    find out the id by trying: keep it to yourself, and never change it. Raises ValueError for a
    namespace that is no UUID, and for an empty id, which would make all shoppers one.
    """
    name = str(own_id)
    if not name:
        raise ValueError("own_id must not be empty")
    return str(uuid5(UUID(str(namespace_uuid)), name))


def _event(
    kind: str, body: dict[str, Any], user: str | None, context: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    entries = [dict(entry) for entry in context]
    if user is not None:
        # First, because the ordering key is derived from the first user entry.
        entries.insert(0, {"type": "user", "user": {"id": user}})
    event: dict[str, Any] = {"type": kind, kind: body}
    return {**event, "context": entries} if entries else event


def _content(content_type: str, content_id: str) -> dict[str, Any]:
    return {"type": content_type, content_type: {"id": content_id}}


def _line(line: Line | tuple[str, Any, Any, str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(line, Mapping):
        return dict(line)
    sku, quantity, amount, currency = line
    price = {"amount": amount, "currency": currency}
    return {"sku": sku, "quantity": quantity, "grossPrice": price}
