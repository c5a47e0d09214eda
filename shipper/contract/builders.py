"""Builds the vendor's three events as plain dicts, so that an application needn't know the nesting.

A builder only arranges its arguments. It must never validate them: `validation` does that.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID, uuid5


class OrderLine(NamedTuple):
    """A line of an order. `amount` is the price of one unit, VAT included.

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
    """Return the event for content of which at least half became visible.

    `content_type` is `customSet`, `productSet`, `similarProducts`, `matchingProductClusters` or
    `setCompose`; newer types are accepted, too. `id` is the id of the set, or of the product for
    `similarProducts` and `matchingProductClusters`. For `user` and `context` see `order`.
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
    """Return the event for a shopper's action on a product inside 8SELECT content.

    `action` is free text. The vendor distinguishes only `addToCart`, and wants an uncertain action
    left out. `content` is the type and the id of the content, as for `view`.
    """
    body: dict[str, Any] = {"type": "product", "product": {"sku": sku}}
    if action is not None:
        body["action"] = action
    where = [] if content is None else [{"type": "content", "content": _content(*content)}]
    return _event("interact", body, user, [*where, *context])


def order(
    id: str,  # noqa: A002 - the vendor's word
    lines: Iterable[OrderLine | tuple[str, Any, Any, str] | Mapping[str, Any]],
    *,
    user: str | None = None,
    context: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the event for an order.

    A line is an `OrderLine`, a tuple with its fields in their order, or an object in the vendor's
    form. `user` is the shopper's id: anonymous, and the same in all events of that shopper
    (`user_id` makes one). The vendor asks for it in every event. `context` holds entries in the
    vendor's form.
    """
    return _event("order", {"id": id, "lines": [_line(line) for line in lines]}, user, context)


def user_id(namespace_uuid: UUID | str, own_id: str | int) -> str:
    """Return the uuid-v5 of a shop's own id of a shopper, as the vendor asks for it.

    The same namespace and id always give the same result. Never change the namespace, and keep it
    secret: with it, the id can be found by trying. Raises ValueError for a namespace that isn't a
    UUID, and for an empty id, which would be the same for all shoppers.
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
        # The database derives the ordering key from the first user entry.
        entries.insert(0, {"type": "user", "user": {"id": user}})
    event: dict[str, Any] = {"type": kind, kind: body}
    return {**event, "context": entries} if entries else event


def _content(content_type: str, content_id: str) -> dict[str, Any]:
    return {"type": content_type, content_type: {"id": content_id}}


def _line(line: OrderLine | tuple[str, Any, Any, str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(line, Mapping):
        return dict(line)
    sku, quantity, amount, currency = line
    price = {"amount": amount, "currency": currency}
    return {"sku": sku, "quantity": quantity, "grossPrice": price}
