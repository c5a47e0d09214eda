"""A shop for each test, torn down whatever happened."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemon.harness import Shop


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """Give an outbox and a running sandbox, once for each kind of database."""
    shop = Shop(database_url, tmp_path)
    await shop.open()
    yield shop
    await shop.close()
