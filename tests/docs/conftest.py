"""What the tests of the documents share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.place import Place, places
from tests.docs.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Give an empty directory in which lines are run."""
    return Shell(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Give a place to make outboxes in, and an API for them."""
    with places(tmp_path) as made:
        yield made
