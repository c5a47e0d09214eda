"""A directory to be configured in."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from shipper.config import Settings, load

_MINIMAL = """\
[database]
url = "sqlite:////var/lib/shop/shop.db"
[destinations.default]
url = "https://api.example.com/events"
api_id = "id-1"
"""


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Settings]:
    """Load a text as `shipper.toml`; without one the least that is valid, and `more` after it."""

    def load_text(
        text: str = _MINIMAL, environ: Mapping[str, str] | None = None, more: str = ""
    ) -> Settings:
        path = tmp_path / "shipper.toml"
        path.write_text(text + more, encoding="utf-8")
        path.chmod(0o600)
        return load(path, environ or {}, tmp_path)

    return load_text


@pytest.fixture
def an_ordinary_user() -> Callable[[], AbstractContextManager[None]]:
    """Be somebody whom the rights of files bind for a while, also where the tests run as root."""

    @contextmanager
    def be_ordinary() -> Iterator[None]:
        before = os.geteuid()
        os.seteuid(before or 65534)
        try:
            yield
        finally:
            os.seteuid(before)

    return be_ordinary
