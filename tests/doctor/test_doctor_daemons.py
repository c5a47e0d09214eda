"""The doctor compares its configuration with those of the running daemons."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.config import Settings, load
from shipper.config.agreement import agreement
from shipper.doctor.daemons import check_agreement
from shipper.doctor.result import CheckLevel
from shipper.store.db.engine import open_engine
from tests.store.joined import ELSEWHERE, HERE, joined

Load = Callable[..., Settings]
_LEAST = """\
[database]
url = "postgresql://127.0.0.1/shop"
[destinations.default]
url = "https://api.example.com/events"
api_id = "id-1"
"""
_ERP = '[destinations.erp]\nurl = "https://erp.example/e"\napi_id = "x"\n'


@pytest.fixture
def configured(tmp_path: Path) -> Load:
    """Load the least that is valid, and `more` after it."""

    def settings(more: str = "") -> Settings:
        path = tmp_path / "shipper.toml"
        path.write_text(_LEAST + more, "utf-8")
        return load(path, {})

    return settings


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


def test_daemons_that_agree_are_well(engine: Engine, configured: Load) -> None:
    """One alone is nothing to talk about."""
    settings = configured()
    joined(engine, 11, "first", HERE, agreement(settings))
    assert list(check_agreement(engine, settings)) == []
    joined(engine, 12, "second", ELSEWHERE, agreement(settings))
    [found] = check_agreement(engine, settings)
    assert (found.level, found.name) == (CheckLevel.OK, "settings")
    assert found.text == "2 daemons have those of this configuration"


def test_each_that_differs_is_named_with_what_differs(engine: Engine, configured: Load) -> None:
    """And that events wait where a destination is missing."""
    joined(engine, 11, "first", HERE, agreement(configured(more=_ERP)))
    joined(engine, 12, "second", ELSEWHERE, agreement(configured()))
    joined(engine, 13, "third", ELSEWHERE, agreement(configured(more=f"{_ERP}max_rate = 5\n")))
    second, third = check_agreement(engine, configured(more=_ERP))
    assert {second.level, third.level} == {CheckLevel.WARNING}
    assert second.text.startswith("second (process 77 on till-2) differs from this configuration")
    assert second.text.endswith(": destinations.erp (only here)")
    assert third.text.endswith("differs from this configuration: destinations.erp.max_rate")
    assert "events of a destination wait" in str(second.fix)
    assert "events of a destination wait" not in str(third.fix)
    assert "systemctl reload shipper" in str(third.fix)


def test_a_daemon_of_another_version_is_no_difference(engine: Engine, configured: Load) -> None:
    """It wrote nothing, or something that can't be read."""
    joined(engine, 11, "first", None, None)
    joined(engine, 12, "second", ELSEWHERE, "{")
    [found] = check_agreement(engine, configured())
    assert found.level is CheckLevel.OK
