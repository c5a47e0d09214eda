"""What the daemon keeps to: its limits, its silence about secrets, and its promptness."""

from bisect import bisect_left
from pathlib import Path

import pytest

from shipper.sandbox import InjectedFault, SandboxAnswer
from tests.daemon.harness import API_ID, Shop, only_sqlite, several
from tests.daemon.processes import until

NOTHING = '{"type":"view","view":{}}'
CANARY = "canary-payload-91c2"


async def test_an_event_wakes_an_idle_daemon(shop: Shop) -> None:
    """The safety net is an hour away."""
    shop.configure(more='[schedule]\npoll_interval = "1h"')
    daemon = await shop.started()
    for number in range(1, 4):
        await shop.put({"event_id": f"u1-{number}", "payload": NOTHING})
        await shop.arrival(f"u1-{number}")
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u1-2", "u1-3"]


async def test_one_transaction_of_many_events_is_shipped_to_its_end(shop: Shop) -> None:
    """An idle daemon reads as many pages as there are, though it is woken only once."""
    shop.configure(more='[schedule]\npoll_interval = "1h"')
    daemon = await shop.started()
    shop.add("u0-1")
    await shop.settled()
    rows = ({"event_id": name, "payload": NOTHING} for name in several(users=2500, each=1))
    await shop.put(*rows)
    await shop.settled(60)
    await daemon.stop()
    assert shop.counts() == {"delivered": 2501}


@only_sqlite
async def test_no_second_sees_more_than_max_rate(shop: Shop) -> None:
    """Requests are spaced, and none is lost for it."""
    rate = 25
    shop.configure(max_rate=rate)
    events = several(users=60, each=1)
    shop.add(*events)
    daemon = await shop.started()
    await shop.settled()
    await daemon.stop()
    began = [visit.began for visit in shop.sandbox.ledger.visits]
    assert len(began) == len(events)
    # Spaced when they leave; a loaded machine may let a few arrive together.
    most = max(bisect_left(began, moment + 1.0) - at for at, moment in enumerate(began))
    assert most <= rate * 1.3
    assert began[-1] - began[0] >= (len(events) - 1) / rate * 0.8


@only_sqlite
async def test_max_in_flight_is_reached_and_kept(shop: Shop) -> None:
    """And of a key there is never more than one."""
    shop.configure(max_in_flight=3)
    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=0.05)
    shop.add(*several(users=6, each=5))
    daemon = await shop.started()
    await shop.settled()
    await daemon.stop()
    changes = sorted(
        change
        for visit in shop.sandbox.ledger.visits
        for change in ((visit.began, 1), (visit.ended or visit.began, -1))
    )
    in_flight = [sum(step for _, step in changes[: at + 1]) for at in range(len(changes))]
    assert max(in_flight) == 3
    shop.assert_flawless(repeats=0)


def assert_silent(*texts: str) -> None:
    """Fail if one of them holds what nobody may see."""
    for text in texts:
        assert API_ID not in text
        assert CANARY not in text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_neither_api_id_nor_payload_is_shown(shop: Shop) -> None:
    """Not in the log at its loudest, not in the command line, not in what `status` says."""

    def answer(request: object) -> SandboxAnswer | InjectedFault | None:
        key = getattr(request, "key", "")
        if key == "u2-1":
            return SandboxAnswer(500, f"{API_ID} {CANARY}".encode())
        if key == "u3-1":
            return SandboxAnswer(422, f"{API_ID} {CANARY}".encode())
        return (
            InjectedFault("drop")
            if key == "u4-1" and shop.sandbox.ledger.summary().requests < 4
            else None
        )

    shop.sandbox.answer_for = answer
    shop.configure(more='[validation]\nmode = "envelope"', retry={"max_attempts": 2})
    bodies = {
        "u1-1": f'{{"type":"view","view":{{"text":"{CANARY}"}}}}',
        "u2-1": f'{{"type":"view","view":{{"text":"{CANARY}"}}}}',
        "u3-1": f'{{"type":"view","view":{{"text":"{CANARY}"}}}}',
        "u4-1": f'{{"type":"view","view":{{"text":"{CANARY}"}}}}',
        "u5-1": f'{{"type":"view","view":"{CANARY}"}}',
        "u6-1": f'{{"type":"view","view":{{}},"context":["{CANARY}"]}}',
        "u7-1": f'{{"type":"view","view":{{"{CANARY}":"\\ud800"}}}}',
    }
    daemon = await shop.started()
    await shop.put(*({"payload": body, "event_id": name} for name, body in bodies.items()))
    await until(lambda: len(shop.ended()) >= 6)
    command_line = Path(f"/proc/{daemon.pid}/cmdline").read_text("utf-8")
    status = await shop.command("status")
    await daemon.stop()
    assert_silent(daemon.stderr, daemon.stdout, command_line, status.stdout, status.stderr)
    for line in daemon.lines:
        assert "payload" not in line
