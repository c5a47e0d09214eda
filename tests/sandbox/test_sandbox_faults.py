"""Each fault as a client sees it on the wire, and what the ledger counts."""

import asyncio

import pytest

from shipper.sandbox import Chaos, InjectedFault, RequestInfo, Sandbox, SandboxAnswer
from shipper.sandbox.treatment import PORTAL
from tests.sandbox.rawclient import DEADLINE, VALIDATE, Received, connect, event, request, send


async def strike(sandbox: Sandbox, spec: str, data: bytes | None = None) -> Received:
    """Send one event into a fault."""
    sandbox.chaos = Chaos.parse(spec)
    return await send(sandbox.url, data or request(event()))


def counts(sandbox: Sandbox) -> tuple[dict[str, int], int, int]:
    """Return answers, accepted and ambiguous."""
    summary = sandbox.ledger.summary()
    return summary.answers, summary.accepted, summary.ambiguous


@pytest.mark.parametrize("status", [500, 503, 404, 429, 413])
async def test_a_status_comes_instead_of_the_answer(sandbox: Sandbox, status: int) -> None:
    """The answer is complete, and the event isn't accepted."""
    received = await strike(sandbox, f"{status}:1")
    assert received.status == status
    assert received.headers["content-type"] == "application/json"
    assert "retry-after" not in received.headers
    assert counts(sandbox) == ({str(status): 1}, 0, 0)


async def test_retry_after_is_rounded_up_to_whole_seconds(sandbox: Sandbox) -> None:
    """RFC 9110 allows whole seconds only; rounded down, the client would return too early."""
    for spec, seconds in [("429:1:2s", "2"), ("503:1:1500ms", "2"), ("503:1:1m", "60")]:
        received = await strike(sandbox, spec)
        assert received.headers["retry-after"] == seconds
        assert "date" in received.headers


@pytest.mark.parametrize("status", [200, 204, 299])
async def test_another_2xx_means_that_the_event_was_taken(sandbox: Sandbox, status: int) -> None:
    """The vendor doesn't say which 2xx it sends."""
    assert (await strike(sandbox, f"{status}:1")).status == status
    assert counts(sandbox) == ({str(status): 1}, 1, 0)


async def test_another_2xx_does_not_take_what_is_refused(sandbox: Sandbox) -> None:
    """An invalid event gets its usual answer."""
    assert (await strike(sandbox, "200:1", request(b"[]"))).status == 400
    assert counts(sandbox) == ({"400": 1}, 0, 0)


async def test_304_has_no_body(sandbox: Sandbox) -> None:
    """These answers can't have a body."""
    received = await strike(sandbox, "304:1")
    assert (received.status, received.body) == (304, b"")


@pytest.mark.parametrize(("fault", "accepted"), [("drop", 0), ("lost", 1)])
async def test_the_connection_ends_without_a_byte(
    sandbox: Sandbox, fault: str, accepted: int
) -> None:
    """A client can't distinguish a dropped request from a lost answer; the ledger can."""
    assert await strike(sandbox, f"{fault}:1") == Received(b"", was_reset=False)
    assert counts(sandbox) == ({fault: 1}, accepted, 1)


async def test_a_reset_strikes_in_mid_answer(sandbox: Sandbox) -> None:
    """The event is accepted, and the client gets a TCP RST."""
    received = await strike(sandbox, "reset:1")
    assert received.was_reset
    assert counts(sandbox) == ({"reset": 1}, 1, 1)


async def test_a_truncated_answer_is_shorter_than_it_says(sandbox: Sandbox) -> None:
    """A client that doesn't check the length reads a 202."""
    received = await strike(sandbox, "truncate:1")
    assert received.status == 202
    assert len(received.body) < int(received.headers["content-length"])
    assert not received.was_reset
    assert counts(sandbox) == ({"truncate": 1}, 1, 1)


async def test_garbage_is_no_http(sandbox: Sandbox) -> None:
    """The event isn't accepted, but the client can't know that."""
    received = await strike(sandbox, "garbage:1")
    assert received.raw
    assert not received.raw.startswith(b"HTTP")
    assert counts(sandbox) == ({"garbage": 1}, 0, 1)


async def test_a_captive_portal_says_200_and_shows_a_page(sandbox: Sandbox) -> None:
    """A client that checks only the status loses the event."""
    received = await strike(sandbox, "html:1")
    assert received.status == 200
    assert received.headers["content-type"] == "text/html"
    assert received.body.startswith(b"<")
    assert counts(sandbox) == ({"html": 1}, 0, 0)


async def test_a_redirect_leads_to_a_login_page(sandbox: Sandbox) -> None:
    """Its target doesn't exist: no client must follow it."""
    received = await strike(sandbox, "redirect:1")
    assert (received.status, received.headers["location"]) == (302, PORTAL)
    assert counts(sandbox) == ({"redirect": 1}, 0, 0)


async def test_a_slow_answer_is_the_right_one_but_late(sandbox: Sandbox) -> None:
    """The event is accepted on arrival; the answer comes after the delay."""
    received = await strike(sandbox, "slow:50ms:1")
    assert received.status == 202
    (visit,) = sandbox.ledger.visits
    assert visit.ended is not None
    assert 0.045 <= visit.ended - visit.began < DEADLINE
    assert counts(sandbox) == ({"202": 1}, 1, 0)


@pytest.mark.parametrize(
    ("spec", "status", "accepted"), [("hang:1", "gone", 1), ("stall:1", "stall", 0)]
)
async def test_no_answer_comes_until_the_client_gives_up(
    sandbox: Sandbox, spec: str, status: str, accepted: int
) -> None:
    """The request ends with its connection, long before the delay is over."""
    sandbox.chaos = Chaos.parse(spec)
    _, writer = await connect(sandbox.url)
    writer.write(request(event()))
    await sandbox.until(lambda ledger: ledger.summary().requests == 1)
    assert sandbox.ledger.summary().answers == {}
    writer.close()
    await sandbox.until(lambda ledger: ledger.summary().answers == {status: 1})
    assert counts(sandbox) == ({status: 1}, accepted, 1)


@pytest.mark.parametrize("spec", ["hang:1", "stall:1"])
async def test_stopping_ends_requests_that_wait(sandbox: Sandbox, spec: str) -> None:
    """A sandbox can be stopped at any time, at once."""
    sandbox.chaos = Chaos.parse(spec)
    pending = asyncio.create_task(send(sandbox.url, request(event())))
    await sandbox.until(lambda ledger: ledger.summary().requests == 1)
    async with asyncio.timeout(DEADLINE):
        await sandbox.stop()
        assert (await pending).raw == b""
    assert sandbox.ledger.summary().ambiguous == 1


async def test_an_outage_refuses_and_cuts_off_and_ends_on_the_same_port(sandbox: Sandbox) -> None:
    """New connections are refused, existing ones reset; after the outage everything works."""
    url = sandbox.url
    reader, writer = await connect(url)
    writer.write(request(event()).replace(b"connection: close\r\n", b""))
    assert b" 202 " in await reader.readuntil(b"\r\n\r\n")
    sandbox.chaos = Chaos.parse("outage:1h@0s")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    for duration in ["2h", "3h"]:
        with pytest.raises(ConnectionRefusedError):
            await connect(url)
        sandbox.chaos = Chaos.parse(f"outage:{duration}@0s")
        assert sandbox.chaos.is_out(0.0)
    sandbox.chaos = Chaos()
    assert (await send(url, request(event(), "u1-000002"))).status == 202
    assert sandbox.ledger.summary().accepted == 2


async def test_an_outage_begins_and_ends_by_itself(sandbox: Sandbox) -> None:
    """`outage:DUR@START/EVERY` begins and ends by itself."""
    sandbox.chaos = Chaos.parse("outage:60ms@20ms/120ms")
    seen: set[int | str] = set()
    async with asyncio.timeout(DEADLINE):
        while seen != {"refused", 202}:
            try:
                received = await send(sandbox.url, request(event()))
            except ConnectionRefusedError:
                seen.add("refused")
            except ConnectionResetError:
                continue  # connected at the very moment of going away
            else:
                seen |= {received.status} if received.raw else set()


async def test_a_request_cut_off_by_an_outage_is_in_the_books(sandbox: Sandbox) -> None:
    """The event was accepted, and its answer never came."""
    sandbox.chaos = Chaos.parse("hang:1")
    pending = asyncio.create_task(send(sandbox.url, request(event())))
    await sandbox.until(lambda ledger: ledger.summary().requests == 1)
    sandbox.chaos = Chaos.parse("outage:1h@0s")
    assert (await asyncio.wait_for(pending, DEADLINE)).was_reset
    await sandbox.until(lambda ledger: ledger.summary().answers == {"gone": 1})
    assert counts(sandbox) == ({"gone": 1}, 1, 1)


async def test_a_fault_after_processing_takes_nothing_invalid(sandbox: Sandbox) -> None:
    """A lost answer can be a refusal."""
    assert (await strike(sandbox, "lost:1", request(event(), api_id="wrong"))).raw == b""
    assert counts(sandbox) == ({"lost": 1}, 0, 1)


async def test_faults_leave_other_paths_alone_but_strike_validate(sandbox: Sandbox) -> None:
    """Only the API's paths have the API's faults."""
    assert (await strike(sandbox, "500:1", request(b"", path="/"))).status == 404
    assert (await strike(sandbox, "500:1", request(event(), path=VALIDATE))).status == 500


async def test_a_test_can_script_answers_and_faults(sandbox: Sandbox) -> None:
    """`answer_for` comes before the faults; if it returns None, the faults decide."""
    script: dict[str | None, SandboxAnswer | InjectedFault] = {
        "a": SandboxAnswer(403, b"no", {"Content-Type": "text/plain"}),
        "b": SandboxAnswer(200),
        "c": InjectedFault("lost"),
    }

    def answer_for(info: RequestInfo) -> SandboxAnswer | InjectedFault | None:
        return script.get(info.key)

    sandbox.answer_for = answer_for
    sandbox.chaos = Chaos.parse("500:1")
    refused = await send(sandbox.url, request(event(), "a"))
    assert (refused.status, refused.headers["content-type"], refused.body) == (
        403,
        "text/plain",
        b"no",
    )
    assert (await send(sandbox.url, request(event(), "b"))).status == 200
    assert (await send(sandbox.url, request(event(), "c"))).raw == b""
    assert (await send(sandbox.url, request(event(), "d"))).status == 500
    assert counts(sandbox) == ({"403": 1, "200": 1, "lost": 1, "500": 1}, 2, 1)
