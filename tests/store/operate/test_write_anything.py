"""Whatever JSON there is can be written, and derives the key that Python reads in it."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shipper.store.schema.tables import outbox
from tests.store.outboxes import SqlWriter, derived, insert

_TEXT = st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(
    [
        "user",
        "u1",
        "",
        "\0",
        "\\",
        "\\u0000",
        "\ud83d",
        "\udc00",
        "\ufffd",
        "\ufdd0",
        "\x01",
        '"',
        "\U0001f600",
    ]
)
_SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False,
    allow_infinity=False) | _TEXT  # fmt: skip
_ANY = st.recursive(
    _SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3)
)
_LONG_TEXT = st.lists(_TEXT, max_size=4).map("".join)
_USER = st.fixed_dictionaries({"id": _LONG_TEXT | st.integers() | _ANY}) | _ANY
_ENTRY = st.fixed_dictionaries(
    {"type": st.just("user") | _TEXT | _ANY}, optional={"user": _USER, "other": _ANY}
)
_EVENT = st.fixed_dictionaries(
    {"type": _TEXT}, optional={"view": _ANY, "context": st.lists(_ENTRY | _ANY, max_size=3) | _ANY}
)


def _encoded(document: object, *, ascii_only: bool) -> str:
    written = json.dumps(document, ensure_ascii=ascii_only)
    try:
        written.encode()
    except UnicodeEncodeError:
        return json.dumps(document)
    return written


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(document=_EVENT | _ANY, ascii_only=st.booleans())
def test_whatever_json_dumps_writes_can_be_inserted(
    write: SqlWriter, document: object, *, ascii_only: bool
) -> None:
    """And derives what Python says, on both databases alike."""
    payload = _encoded(document, ascii_only=ascii_only)
    row = insert(write, payload)
    assert row["ordering_key"] == derived(payload)
    stored = outbox.select().with_only_columns(outbox.c.payload).where(outbox.c.id == row["id"])
    assert write.connection.execute(stored).scalar() == payload.encode()
