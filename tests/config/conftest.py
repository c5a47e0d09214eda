"""A directory to be configured in."""

from collections.abc import Callable, Mapping
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
