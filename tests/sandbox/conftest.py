"""Every test over a socket runs on asyncio's own loop and on uvloop: their transports differ."""

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec

import pytest

from shipper.sandbox import Sandbox
from tests.sandbox.rawclient import API_ID


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name the event loops."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.SelectorEventLoop
    }
    if find_spec("uvloop") is not None:
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a sandbox without faults that expects the tests' API ID."""
    sandbox = Sandbox(API_ID)
    async with sandbox.serve():
        yield sandbox
