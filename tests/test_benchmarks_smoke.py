"""The benchmarks keep the promises that they measure the price of; no time is asserted here."""

import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import cast

import pytest

from benchmarks.against import Tree
from benchmarks.crowds import CROWDS, Work, measure
from benchmarks.databases import PostgresDatabases
from benchmarks.disks import slowed
from benchmarks.drains import Drained, Rate, Run, Sample
from benchmarks.flows import Flowed, latencies, middle, percentile
from benchmarks.goals import Result, goals
from benchmarks.idles import Idled
from benchmarks.judge import Exchange, Verdict, judge
from benchmarks.processes import LeftOut
from benchmarks.receiver import Rules
from benchmarks.report import render
from benchmarks.rivals import GRAPHILE, PG_BOSS, Race, Rivaled
from benchmarks.scenarios import Drain, Flow, Idle
from benchmarks.workload import SEQUENCE, SHOPPER, Workload, payload

ROOT = Path(__file__).parents[1]


def log_of(*exchanges: tuple[int, int, int]) -> list[Exchange]:
    """Return a log: shopper, sequence and status; each is answered before the next arrives."""
    return [
        Exchange(shopper, sequence, 10 * place, 10 * place + 5, status)
        for place, (shopper, sequence, status) in enumerate(exchanges)
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a directory like another checkout of shipper with a virtual environment."""
    for name in ("shipper", "migrations"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def test_the_smallest_scenario_keeps_the_promises(checkout: Path) -> None:
    """With the real daemon, an endpoint that refuses some events once, and its log.

    The disk is slow, the bare loops run beside it, and another version ships the same.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", "--against", str(checkout)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "the promises were kept (400 events, 420 requests)",
        "the other version shipped the same",
    ]


@pytest.mark.parametrize("crowd", CROWDS)
def test_healthy_events_are_measured_beside_a_crowd(crowd: str) -> None:
    """All of them are shipped; of a crowd that can't go on nothing is."""
    rate = measure(Work(crowd, 30, 60, commands=True))
    assert rate.rate > 0
    assert bool(rate.crowd) is (crowd == "hot key")


def test_a_refused_event_may_come_again_before_its_followers() -> None:
    """And another shopper's may come in between."""
    verdict = judge(log_of((1, 0, 503), (2, 0, 202), (1, 0, 202), (1, 1, 202)), events=3)
    assert verdict.is_flawless
    assert (verdict.requests, verdict.accepted) == (4, 3)


@pytest.mark.parametrize(
    ("exchanges", "broken"),
    [
        ([(1, 0, 202)], "missing"),
        ([(1, 0, 202), (1, 0, 202), (1, 1, 202)], "repeats"),
        ([(1, 1, 202), (1, 0, 202)], "gaps"),
        ([(1, 0, 503), (1, 1, 202)], "gaps"),
        ([(1, 0, 202), (1, 1, 202), (1, 2, 202), (1, 0, 202)], "late"),
    ],
)
def test_the_judge_sees_a_broken_promise(
    exchanges: list[tuple[int, int, int]], broken: str
) -> None:
    """Each kind by its name."""
    verdict = judge(log_of(*exchanges), events=2)
    assert getattr(verdict, broken) > 0
    assert not verdict.is_flawless
    assert str(verdict).startswith("BROKEN")


def test_the_judge_sees_two_at_once() -> None:
    """The second arrived while the first was not answered, in whatever order they were logged."""
    assert judge([Exchange(1, 1, 3, 4, 202), Exchange(1, 0, 1, 5, 202)], events=2).overlaps == 1


@pytest.mark.parametrize("workload", [Workload(1000, 40), Workload(1000, 40, hot=True)])
def test_a_workload_numbers_the_events_of_each_shopper(workload: Workload) -> None:
    """Without a gap, in order, and readable at the same place of each payload."""
    seen: dict[int, int] = defaultdict(int)
    for number in range(workload.events):
        shopper, sequence = workload.event(number)
        assert sequence == seen[shopper]
        seen[shopper] += 1
        body = payload(shopper, sequence).encode()
        assert (int(body[SHOPPER]), int(body[SEQUENCE])) == (shopper, sequence)
        assert 280 <= len(body) <= 320
    assert len(seen) == workload.keys


def test_a_share_is_refused_once() -> None:
    """Always the same events, and when they come again they are accepted."""
    rules = Rules(0.0, 20, None)
    workload = Workload(1000, 40)
    events = [workload.event(number) for number in range(workload.events)]
    assert sum(rules.status(*event) == 503 for event in events) == 50
    assert all(rules.status(*event) == 202 for event in events)


def test_a_tenth_has_the_rate_of_its_own_time() -> None:
    """Read from samples that lie elsewhere."""
    samples = [Sample(0.5, 0), Sample(1.0, 250), Sample(2.0, 750), Sample(4.0, 1000)]
    run = Run(1000, samples, 0.1, 1.0, None, 60.0)
    assert run.rate == 250.0
    assert run.tenth(0) == pytest.approx(100 / 0.7)
    assert run.tenth(5) == pytest.approx(500.0)
    assert run.tenth(9) == pytest.approx(125.0)


def test_latency_counts_from_the_commit_to_the_first_arrival() -> None:
    """And an event that was there before its COMMIT returned took no time."""
    exchanges = [Exchange(0, 0, 5_000_000, 0, 503), Exchange(0, 0, 9_000_000, 0, 202)]
    exchanges.append(Exchange(0, 1, 10_000_000, 0, 202))
    waits = latencies(exchanges, {(0, 0): 2_000_000, (0, 1): 11_000_000})
    assert waits == [0.0, 3.0]
    assert (percentile(waits, 0), percentile(waits, 99)) == (0.0, 3.0)


def drained(
    name: str, rate: float, *, postgres: bool = False, keys: int = 10, peak: float = 60.0
) -> Drained:
    """Return the result of a backlog of 1,000 events that was shipped at this rate."""
    run = Run(1000, [Sample(1000 / rate, 1000)], 0.1, 0.08, 0.05, peak, bare=Rate(10_000, 1e-4))
    scenario = Drain(name, "of a test", Workload(1000, keys), postgres=postgres)
    verdict = Verdict(accepted=1000)
    return Drained(scenario, "Postgres" if postgres else "SQLite", [run], verdict, [])


def flowed(name: str, p99: float, *, repeats: int = 0) -> Flowed:
    """Return a run of 100 events on SQLite, written and shipped at the same time."""
    scenario, verdict = Flow(name, "of a test", postgres=False), Verdict(100, 100, repeats=repeats)
    return Flowed(scenario, "SQLite", 100, 1e3, 1.0, p99, 2 * p99, 0.1, None, 60.0, verdict)


def idled(percent: float, *, postgres: bool) -> Idled:
    """Return what an idle daemon used."""
    scenario = Idle("i", "of a test", postgres=postgres)
    return Idled(scenario, "Postgres" if postgres else "SQLite", percent, None, 60.0, 0.0, 0)


def shown(results: list[Result]) -> dict[str, tuple[str, ...]]:
    """Return the goals by their names: the figure, the verdict, and how it was measured."""
    return {goal.what: tuple(goal.row[2:]) for goal in goals(results)}


def rivaled(peer: str, rates: list[float], ours: list[float]) -> Rivaled:
    """Return the result of a peer beside shipper."""
    return Rivaled(peer, "1.0", 1000, rates, 0.1, None, 60.0, ours)


def test_a_goal_is_met_or_missed_by_the_figures_of_the_report() -> None:
    """By ratios of the same round; what wasn't run has no figure."""
    results: list[Result] = [
        drained("a", 10_500),
        drained("b", 7_000, postgres=True),
        drained("j", 8_400),
        rivaled(GRAPHILE, [4_000, 8_000, 5_000], [8_000, 8_000, 8_000]),
        rivaled(PG_BOSS, [8_000], [7_200]),
    ]
    rows = {goal.what: tuple(goal.row[2:4]) for goal in goals(results)}
    assert rows["(a) SQLite, of the bare loop"] == ("1.05", "met")
    assert rows["(b) Postgres, of the bare loop"] == ("0.70", "missed")
    assert rows["(b) Postgres, of graphile-worker"] == ("1.60", "met")
    assert rows["(b) Postgres, of pg-boss"] == ("0.90", "missed")
    assert rows["(j) 5 % refused once, of (a)"] == ("0.80", "missed")
    assert rows["(a) CPU of the daemon, of the bare loop's"] == ("0.80", "met")
    assert rows["(b) CPU of Postgres"] == ("50 µs", "missed")
    assert rows["(l) SQLite, status with 5 million rows"] == ("", "not measured")


def test_what_must_not_grow_is_the_highest_that_was_seen() -> None:
    """Memory over all backlogs, and an idle daemon on each database by its own bound."""
    results: list[Result] = [
        drained("a", 9_000, peak=70.0),
        drained("e", 9_000, peak=82.6),
        idled(0.7, postgres=False),
        idled(0.7, postgres=True),
    ]
    rows = shown(results)
    how = "VmHWM, highest of 2 backlogs: (e) with 1,000 events on SQLite, 1 run"
    assert rows["peak memory"] == ("83 MB", "missed", how)
    assert rows["(i) SQLite, idle"] == ("0.70 %", "met", "the daemon's process, 1 run")
    assert rows["(i) Postgres, idle"][:2] == ("0.70 %", "missed")


@pytest.mark.parametrize(("repeats", "verdict"), [(0, "met"), (1, "missed")])
def test_a_slow_disk_is_judged_by_rate_latency_and_repeats(repeats: int, verdict: str) -> None:
    """Each backlog by its own bound; a repeat in any of the logs counts."""
    results: list[Result] = [
        drained("m", 9_000, keys=1_000),
        drained("m", 10, keys=40),
        flowed("m", 1.0, repeats=repeats),
    ]
    rows = shown(results)
    assert rows["(m) 1,000 keys, of the bare loop"][:2] == ("0.90", "met")
    assert rows["(m) 40 keys, of the bare loop"][:2] == ("0.00", "missed")
    assert rows["(m) 10 commits/s, commit to receiver, p99"][:2] == ("1.0 ms", "met")
    logs = "the receiver's logs, 2,100 events"
    assert rows["(m) repeats"] == (str(repeats), verdict, logs)


def test_several_runs_of_a_flow_are_one_result() -> None:
    """The medians, the longest wait of all, and what all of the logs show."""
    runs = [flowed("h", 30.0), flowed("h", 90.0, repeats=2), flowed("h", 50.0)]
    result = middle(runs, [])
    assert (result.p99, result.worst, result.runs, result.database_cpu) == (50.0, 180.0, 3, None)
    assert (result.verdict.accepted, result.verdict.repeats) == (300, 2)
    assert shown([result])["(h) SQLite, commit to receiver, p99"] == (
        "50.0 ms",
        "missed",
        "p99 of each run, median of 3 runs",
    )


def test_a_report_has_a_table_for_what_was_run() -> None:
    """And none for the rest."""
    text = render([("left out", "pg-boss: there is no Node with npm")], [drained("a", 5_000)])
    assert "- left out: pg-boss: there is no Node with npm\n" in text
    assert "| (a) SQLite, of the bare loop | ≥ 1.0 | 0.50 | missed |" in text
    assert "## Idle" not in text
    assert "## Goals" not in render([], [rivaled("pgqueuer", [1.0], [2.0])])


def test_a_peer_without_its_program_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a line that says which, and why; nothing is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    race = Race(cast("PostgresDatabases", None), tmp_path, 10, lambda _: None)
    assert list(race.run([GRAPHILE], 1)) == []
    assert race.left_out == ["graphile-worker: there is no Node with npm"]
    with pytest.raises(LeftOut, match="no C compiler"):
        slowed(0.02, tmp_path)
    with pytest.raises(LeftOut, match=r"has no \.venv"):
        Tree(tmp_path, tmp_path, {})
