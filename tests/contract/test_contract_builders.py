"""The builders give what the vendor's documentation shows."""

from decimal import Decimal
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shipper
from shipper.contract.builders import OrderLine, interact, order, user_id, view
from shipper.contract.encoding import encode
from shipper.contract.schema import CONTENT_TYPES
from shipper.contract.validation import violations

USER = "2b5c1e0a-7f39-4d0e-9a57-3d1f6f1c8e44"
USER_ENTRY = {"type": "user", "user": {"id": USER}}
SHOP = UUID("1f0c8e9a-3b7d-4c52-9a61-5e0f2d7b8c34")


def test_a_view_names_its_content() -> None:
    """The content's type names the property that holds its id."""
    assert view("customSet", "6f0f", user=USER) == {
        "type": "view",
        "view": {"type": "customSet", "customSet": {"id": "6f0f"}},
        "context": [USER_ENTRY],
    }


def test_an_interaction_says_where_it_happened() -> None:
    """The user comes first, because the ordering key is read from there; then the content."""
    event = interact("COAT", action="addToCart", user=USER, content=("productSet", "6f0f"))
    assert event == {
        "type": "interact",
        "interact": {"type": "product", "product": {"sku": "COAT"}, "action": "addToCart"},
        "context": [
            USER_ENTRY,
            {"type": "content", "content": {"type": "productSet", "productSet": {"id": "6f0f"}}},
        ],
    }


def test_what_is_left_out_is_not_written() -> None:
    """No null takes the place of an action, a user or a context that nobody gave."""
    assert interact("COAT") == {
        "type": "interact",
        "interact": {"type": "product", "product": {"sku": "COAT"}},
    }


def test_an_order_takes_lines_in_three_forms_and_money_exactly() -> None:
    """A OrderLine, a tuple and the vendor's own object are the same; 149.90 stays 149.90."""
    price = Decimal("149.90")
    written = {"sku": "A", "quantity": 2, "grossPrice": {"amount": price, "currency": "EUR"}}
    event = order(
        "W-1", [OrderLine("A", 2, price, "EUR"), ("A", 2, price, "EUR"), written], user=USER
    )
    assert event["order"] == {"id": "W-1", "lines": [written] * 3}
    assert b'"amount":149.90,' in encode(event)


def test_further_context_is_added_and_copied() -> None:
    """Entries are taken as the vendor writes them, and the caller's own stay the caller's."""
    page = {"type": "page", "page": {"url": "https://shop.example/"}}
    event = view("customSet", "1", user=USER, context=[page])
    assert event["context"] == [USER_ENTRY, page]
    assert event["context"][1] is not page


@given(kind=st.sampled_from(CONTENT_TYPES), text=st.text(), number=st.integers(0, 10**6))
def test_what_is_built_is_valid(kind: str, text: str, number: int) -> None:
    """Given the right types, every builder's result satisfies the whole schema."""
    line = OrderLine(text, number, Decimal(number) / 100, "EUR")
    for event in (
        view(kind, text, user=text),
        interact(text, action=text, user=text, content=(kind, text)),
        order(text, [line, line], user=text),
    ):
        assert violations(encode(event), "schema") == []


def test_a_user_id_is_a_uuid_v5_and_always_the_same() -> None:
    """The vendor's advice for shops that have an id of their own."""
    made = user_id(SHOP, "4711")
    assert UUID(made).version == 5
    assert made == str(uuid5(SHOP, "4711")) == user_id(str(SHOP), 4711)
    assert made != user_id(SHOP, "4712")


@pytest.mark.parametrize(("namespace", "own_id"), [("shop", "4711"), (SHOP, "")])
def test_a_user_id_of_nothing_is_refused(namespace: UUID | str, own_id: str) -> None:
    """No namespace or no id would give every shopper the same one."""
    with pytest.raises(ValueError, match=r"UUID|empty"):
        user_id(namespace, own_id)


def test_the_package_hands_out_the_builders() -> None:
    """`from shipper import view, interact, order, user_id` is all that a shop needs."""
    assert (shipper.view, shipper.interact) == (view, interact)
    assert (shipper.order, shipper.user_id) == (order, user_id)
