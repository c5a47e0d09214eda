"""Every campaign, as small as a test run has time for; `$SHIPPER_TEST_CAMPAIGN` scales them.

`python -m tests.campaigns` runs one at any size. What is tried here stands in `FAULTS.md`.
"""

from pathlib import Path
from typing import Literal

import pytest

from shipper.store.drain.look import Looks
from shipper.store.drain.watermark import Watermark
from tests import standbys
from tests.campaigns.answers import bad_answers
from tests.campaigns.audits import audits
from tests.campaigns.clocks import clock_jumps
from tests.campaigns.crashes import crashes
from tests.campaigns.daemons import daemons
from tests.campaigns.ext4 import shutdowns
from tests.campaigns.failovers import failovers
from tests.campaigns.figures import Figures
from tests.campaigns.full_disk import full_disk
from tests.campaigns.interleavings import interleavings
from tests.campaigns.io_errors import io_errors
from tests.campaigns.network import bad_network
from tests.campaigns.places import scaled
from tests.campaigns.power import power_cuts
from tests.campaigns.rows import bad_rows
from tests.campaigns.secrets import leaks
from tests.campaigns.soak import soak
from tests.campaigns.values import header_values
from tests.daemon.processes import PATIENCE

pytestmark = pytest.mark.timeout(600)

SEED = 20
KILLS, STOPS = 15, 5  # on each database
CUTS, CUTS_NORMAL, CUTS_EXT4 = 300, 100, 20
IO_SHARE = 0.06
ANSWERS, ANSWERS_STOCK, ROWS, VALUES = 5000, 600, 600, 3000
FAILOVERS = 2
DAEMONS_SECONDS = 10
FULL, STRIKES, SOAK_SECONDS, AUDIT_ROWS = 3, 60, 12, 20_000


def assert_kept(figures: Figures) -> Figures:
    """Fail with all that is known unless every promise was kept."""
    assert not figures.violations, "\n".join(figures.lines())
    return figures


async def test_killed_and_stopped(database_url: str, tmp_path: Path) -> None:
    """Kill -9 and SIGSTOP at any moment: nothing lost, a few immediate repeats."""
    kills, stops = scaled(KILLS), scaled(STOPS)
    figures = assert_kept(
        await crashes(database_url, tmp_path, kills=kills, stops=stops, seed=SEED)
    )
    assert (figures.tried["kills"], figures.tried["stops"]) == (kills, stops)
    assert figures.samples["seconds from kill -9 to first send"]


async def test_several_daemons_in_trouble(postgres_url: str, tmp_path: Path) -> None:
    """Killed, asleep, parted from the database, an hour off: nothing lost or out of order."""
    seconds = float(scaled(DAEMONS_SECONDS))
    figures = assert_kept(await daemons(postgres_url, tmp_path, seconds=seconds, seed=SEED))
    assert figures.tried["processes"] > 4
    assert figures.tried["events"]


async def test_daemons_that_write_after_their_end_do_not_go_unnoticed(
    postgres_url: str, tmp_path: Path
) -> None:
    """Where a token isn't ended, one that was asleep sends and records what others have sent again."""
    terms = {"seconds": DAEMONS_SECONDS * 0.7, "lease": 2.0}
    figures = await daemons(
        postgres_url, tmp_path, seed=SEED, spares=True, kinds=("asleep",), **terms
    )
    assert figures.violations, figures.lines()


def _outbox(sqlite_url: str, tmp_path: Path) -> str:
    """Return the URL of an outbox in a directory where nothing else is."""
    directory = tmp_path / "outbox"
    directory.mkdir()
    (tmp_path / "shop.db").rename(directory / "shop.db")
    return f"sqlite:///{directory / 'shop.db'}"


async def test_without_power(sqlite_url: str, tmp_path: Path) -> None:
    """A disk that drops and tears what wasn't synced: nothing told is lost, no phantom."""
    url = _outbox(sqlite_url, tmp_path)
    figures = assert_kept(await power_cuts(url, tmp_path, cuts=scaled(CUTS), seed=SEED))
    assert figures.tried["power cuts"] == scaled(CUTS)


async def test_without_power_where_the_application_does_not_sync(
    sqlite_url: str, tmp_path: Path
) -> None:
    """It may lose what it wrote, but the receiver gets nothing that isn't there."""
    url = _outbox(sqlite_url, tmp_path)
    cuts = scaled(CUTS_NORMAL)
    assert_kept(await power_cuts(url, tmp_path, cuts=cuts, seed=SEED, normal=True))


async def test_a_disk_that_lies_does_not_go_unnoticed(sqlite_url: str, tmp_path: Path) -> None:
    """Without the daemon's syncs the campaign finds phantoms: it isn't blind."""
    url = _outbox(sqlite_url, tmp_path)
    # The application doesn't sync either: its syncs would cover what the daemon wrote before.
    figures = await power_cuts(url, tmp_path, cuts=100, seed=SEED, normal=True, lying=True)
    assert any("phantom" in violation for violation in figures.violations)


async def test_without_power_on_a_real_file_system(tmp_path: Path) -> None:
    """ext4, shut down without its journal."""
    assert_kept(await shutdowns(tmp_path, cuts=scaled(CUTS_EXT4), seed=SEED))


async def test_files_that_fail(tmp_path: Path) -> None:
    """EIO and ENOSPC, once and for ever, at a share of all operations on the outbox's files."""
    figures = assert_kept(
        await io_errors(tmp_path, share=min(1.0, IO_SHARE * scaled(100) / 100), seed=SEED)
    )
    assert figures.tried["EIO"]
    assert figures.tried["ENOSPC"]


async def test_a_full_disk(tmp_path: Path) -> None:
    """It is waited for, and the daemon goes on by itself once there is space."""
    figures = assert_kept(await full_disk(tmp_path, times=scaled(FULL), seed=SEED))
    assert figures.tried["times that the daemon couldn't write"]


async def test_bad_answers() -> None:
    """Each is what the table says it is, and costs no memory."""
    figures = assert_kept(await bad_answers(number=scaled(ANSWERS), seed=SEED))
    assert figures.tried["answers"] == scaled(ANSWERS)


async def test_bad_answers_to_the_client_that_stands_in() -> None:
    """None breaks it, and none is accepted that says something else."""
    assert_kept(await bad_answers(number=scaled(ANSWERS_STOCK), seed=SEED, stock=True))


@pytest.mark.parametrize("mode", ["envelope", "off"])
async def test_bad_rows(
    database_url: str, tmp_path: Path, mode: Literal["envelope", "off"]
) -> None:
    """Refused with clear words, or delivered or dead; the good ones among them arrive."""
    number = scaled(ROWS)
    figures = assert_kept(
        await bad_rows(database_url, tmp_path, number=number, seed_=SEED, mode=mode)
    )
    assert figures.tried["rows"] >= 0.9 * number  # the strategy may run out of new ones


def test_bad_values_in_headers() -> None:
    """Of Retry-After and Date, and of event ids on their way into one."""
    assert_kept(header_values(number=scaled(VALUES), seed_=SEED))


def test_every_interleaving(postgres_url: str) -> None:
    """Of two applications and a daemon."""
    figures = assert_kept(interleavings(postgres_url, long=False))
    assert figures.tried["orders"] == 4 * 210 / 2


def test_without_the_fence_an_interleaving_goes_wrong(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that ships whatever it sees meets later an id that is smaller."""

    def observe(watermark: Watermark, highest: int, *_: int) -> None:
        watermark.safe = max(watermark.safe, highest)

    monkeypatch.setattr(Watermark, "observe", observe)
    assert interleavings(postgres_url, long=False).violations


def test_failovers_that_lose_commits(stage: standbys.Stage, server_room: Path) -> None:
    """Nothing is remembered of a server that another has taken the place of."""
    times = scaled(FAILOVERS)
    figures = assert_kept(failovers(stage, server_room, times=times, seed=SEED))
    assert figures.tried["failovers"] == times


def test_a_watermark_of_another_server_goes_wrong(
    stage: standbys.Stage, server_room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody looks who answers by a new connection, events wait for ever, or overtake."""
    monkeypatch.setattr(Looks, "_meet", lambda *_: False)
    assert failovers(stage, server_room, times=1, seed=SEED).violations


async def test_a_bad_network(database_url: str, tmp_path: Path) -> None:
    """Resets, half-open connections, silence, garbage: what comes again comes at once."""
    assert_kept(await bad_network(database_url, tmp_path, strikes=scaled(STRIKES), seed=SEED))


async def test_wall_clock_jumps(sqlite_url: str, tmp_path: Path) -> None:
    """From 1970 to 2100 and back, while events wait for another try."""
    figures = assert_kept(await clock_jumps(sqlite_url, tmp_path, times=1, seed=SEED))
    assert figures.tried["jumps"] >= 25


async def test_a_soak(sqlite_url: str, tmp_path: Path) -> None:
    """Memory, files, threads and the write-ahead log stay within bounds."""
    seconds = float(scaled(SOAK_SECONDS))
    assert_kept(await soak(sqlite_url, tmp_path, seconds=seconds, rate=100.0, seed=SEED))


async def test_an_audit_of_a_large_outbox(database_url: str, tmp_path: Path) -> None:
    """Quick, and nobody feels it: neither the applications nor the receiver."""
    rows = scaled(AUDIT_ROWS)
    figures = assert_kept(
        # It is the start of a process on a busy machine that takes so long.
        await audits(database_url, tmp_path, rows=rows, times=1, most=PATIENCE, seed=SEED)
    )
    assert figures.tried["audits"] == 1


async def test_canaries(database_url: str, tmp_path: Path) -> None:
    """No API ID, payload or password in what the daemon and the commands write."""
    assert_kept(await leaks(database_url, tmp_path))
