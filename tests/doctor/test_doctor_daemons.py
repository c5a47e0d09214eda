"""The doctor names the daemons of an outbox: what is wrong between them, and how they differ."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.config import Settings, load
from shipper.config.agreement import agreement
from shipper.doctor.daemons import check_agreement, check_daemons
from shipper.doctor.result import CheckLevel, CheckResult
from shipper.policy.shares import SHARDS
from shipper.store.db.engine import open_engine
from tests.store.daemons import tamper
from tests.store.joined import DEAD, ELSEWHERE, HERE, joined

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


def test_a_destination_that_only_another_daemon_has_is_named(
    engine: Engine, configured: Load
) -> None:
    """From the side of the one that lacks it, too; those that agree with us aren't blamed."""
    joined(engine, 11, "first", HERE, agreement(configured()))
    joined(engine, 12, "second", ELSEWHERE, agreement(configured(more=_ERP)))
    [found] = check_agreement(engine, configured())
    assert found.level is CheckLevel.WARNING
    assert found.text.endswith("differs from this configuration: destinations.erp (only there)")
    assert "events of a destination wait" in str(found.fix)


# -- the daemons ----------------------------------------------------------------------------------


def _told(engine: Engine) -> list[tuple[str, str]]:
    return [(each.level.name, f"{each.name}: {each.text}") for each in check_daemons(engine)]


def _warning(engine: Engine, name: str) -> CheckResult:
    [found] = [each for each in check_daemons(engine) if each.name == name and each.fix]
    assert found.level is CheckLevel.WARNING
    return found


def _two(engine: Engine) -> None:
    """Let two daemons share the outbox, this process as the first."""
    joined(engine, 1, "shop", replace(HERE, version="5.1.0"), None)
    joined(engine, 2, "till-2", replace(ELSEWHERE, version="5.1.0"), None)
    tamper(engine, "UPDATE shipper_shard SET token = 1 + shard % 2")


def test_one_daemon_is_not_listed(engine: Engine) -> None:
    """Another check says that it runs; a dead one is nothing to list."""
    joined(engine, 1, "shop", HERE, None)
    joined(engine, 2, "gone", DEAD, None)
    tamper(engine, "UPDATE shipper_shard SET token = 1")
    assert _told(engine) == []


def test_two_are_listed_with_their_versions_and_shards(engine: Engine) -> None:
    """And nothing is wrong."""
    _two(engine)
    first = f"shop (process {HERE.pid} on {HERE.host}) (5.1.0, 32 shards, 0 claimed)"
    second = "process 77 on till-2 (5.1.0, 32 shards, 0 claimed)"
    assert _told(engine) == [("OK", f"daemons: 2 share the outbox: {first}, {second}")]


def test_one_that_is_missing_is_named_with_who_takes_over(engine: Engine) -> None:
    """Its shards aren't free yet: that is the same trouble, and isn't told twice."""
    _two(engine)
    tamper(
        engine,
        "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '90 s'"
        " WHERE token = 2",
    )
    found = _warning(engine, "daemons")
    assert found.text.startswith("the daemon process 77 on till-2 hasn't prolonged its lease for")
    assert "the others take over its shards within 35 s" in found.text
    assert "look at its machine" in str(found.fix)
    assert [level for level, _ in _told(engine)] == ["OK", "WARNING"]


def test_shards_that_no_daemon_has_are_counted(engine: Engine) -> None:
    """Free ones, and those of a token that has ended."""
    _two(engine)
    tamper(engine, "UPDATE shipper_shard SET token = NULL WHERE shard < 2")
    tamper(engine, "UPDATE shipper_shard SET token = 9 WHERE shard = 2")
    found = _warning(engine, "shards")
    assert found.text == "no daemon has 3 shards of 64: their events wait"


def test_versions_that_differ_are_named_with_their_daemons(engine: Engine) -> None:
    """As in the middle of an upgrade; a missing daemon is no part of that."""
    _two(engine)
    joined(engine, 3, "till-3", replace(ELSEWHERE, version="5.2.0"), None)
    joined(engine, 4, "broken", None, None)
    found = _warning(engine, "versions")
    assert found.text == (
        "the daemons have several versions of shipper: an unknown one on broken;"
        " 5.1.0 on shop, till-2; 5.2.0 on till-3"
    )
    assert "one after the other" in str(found.fix)
    tamper(engine, "DELETE FROM shipper_daemon WHERE token = 4")
    tamper(engine, "UPDATE shipper_daemon SET expires_at = '2020-01-01' WHERE token = 3")
    assert not [text for _, text in _told(engine) if text.startswith("versions")]


def test_more_daemons_than_shards_wait_and_it_says_so(engine: Engine) -> None:
    """Of many only the first are named; a name from the database steers no terminal."""
    joined(engine, 1, "till\x1b[2J", ELSEWHERE, None)
    for token in range(2, SHARDS + 2):
        joined(engine, token, f"till-{token}", replace(ELSEWHERE, pid=token), None)
    tamper(engine, "UPDATE shipper_shard SET token = shard + 1")
    (_, many), (level, waiting) = _told(engine)
    assert many.startswith("daemons: 65 share the outbox: ")
    assert many.endswith("1 shard, 0 claimed) and 57 more")
    assert "\x1b" not in many
    assert level == "OK"
    assert waiting.startswith("shards: there are 64 shards, and 65 daemons: 1 daemon waits for")
    assert waiting.endswith("ready to take over")
    joined(engine, SHARDS + 2, "late", replace(ELSEWHERE, pid=SHARDS + 2), None)
    assert "66 daemons: 2 daemons wait for a shard, ready to take over" in _told(engine)[1][1]
