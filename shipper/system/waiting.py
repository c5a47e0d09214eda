"""Wait for an event for a limited time. It must never raise when the time is over."""

import asyncio


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait at most `seconds` until `event` is set; return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
