"""An event, as the daemon carries it."""

from shipper.policy.event import Event


def test_the_payload_is_never_shown() -> None:
    """However it gets into a message: of an assertion, a traceback, a log line."""
    event = Event(7, "order-7", "default", "key", b"secret", attempts=2)
    assert f"{event} {event!r} {[event]}" == " ".join(["Event(id=7, event_id='order-7')"] * 2) + (
        " [Event(id=7, event_id='order-7')]"
    )


def test_a_lane_is_named_by_the_key_or_by_the_event() -> None:
    """An event without a key waits for no other event."""
    assert Event(7, "e", "default", "key", b"{}").lane == "key"
    assert Event(7, "e", "default", None, b"{}").lane == 7
