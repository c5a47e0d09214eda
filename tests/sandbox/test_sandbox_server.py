"""The stand-in API without faults: what it answers, what it records, what it never writes down."""

import asyncio
import json
import re
import ssl
from pathlib import Path
from typing import Literal

import pytest
import trustme

from shipper.errors import AccessDenied, UsageError
from shipper.sandbox import Chaos, RequestInfo, Sandbox, SandboxAnswer, run_sandbox
from shipper.sandbox.front import cannot_listen
from shipper.sandbox.wire import user_of
from tests.sandbox.rawclient import (
    API_ID,
    DEADLINE,
    EVENTS,
    VALIDATE,
    connect,
    event,
    request,
    send,
)


async def test_a_valid_event_is_accepted_without_a_body(sandbox: Sandbox) -> None:
    """202, and the ledger has key, user, number and bytes."""
    received = await send(sandbox.url, request(event()))
    assert (received.status, received.body) == (202, b"")
    (visit,) = sandbox.ledger.visits
    assert (visit.key, visit.user, visit.position) == ("u1-000001", "u1", ("u1-", 1))
    assert sandbox.events_url == sandbox.url + EVENTS


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"[]", b"\xff", b'{"type":"view"}'])
async def test_a_broken_envelope_is_refused_with_the_violations(
    sandbox: Sandbox, payload: bytes
) -> None:
    """400 and an array in the shape of Ajv."""
    received = await send(sandbox.url, request(payload))
    assert received.status == 400
    assert {"instancePath", "message"} <= set(json.loads(received.body)[0])
    assert sandbox.ledger.summary().accepted == 0


_USER = {"type": "user", "user": {"id": "u1"}}


def _written(kind: str, body: object, *context: object) -> bytes:
    return json.dumps({"type": kind, kind: body, "context": [*context]}).encode()


_REFUSED = {
    "an order without lines": _written("order", {"id": "W-1"}, _USER),
    "lines that are none": _written("order", {"id": "W-1", "lines": "two"}, _USER),
    "a line without a price": _written(
        "order", {"id": "W-1", "lines": [{"sku": "A", "quantity": 1}]}, _USER
    ),
    "a currency that there isn't": _written(
        "order",
        {
            "id": "W-1",
            "lines": [{"sku": "A", "quantity": 1, "grossPrice": {"amount": 1, "currency": "EURO"}}],
        },
        _USER,
    ),
    "a quantity that is a text": _written(
        "order",
        {
            "id": "W-1",
            "lines": [
                {"sku": "A", "quantity": "1", "grossPrice": {"amount": 1, "currency": "EUR"}}
            ],
        },
        _USER,
    ),
    "an interact without a product": _written("interact", {"type": "product"}, _USER),
    "an interact with a click": _written("interact", {"type": "click", "click": {}}, _USER),
    "an action that is no text": _written(
        "interact", {"type": "product", "product": {"sku": "A"}, "action": 7}, _USER
    ),
    "a sku that is a number": _written(
        "interact", {"type": "product", "product": {"sku": 42}}, _USER
    ),
    "a view without a body": _written("view", {"type": "customSet"}, _USER),
    "an unknown content": _written("view", {"type": "newestSet", "newestSet": {"id": "1"}}, _USER),
    "an unknown type": _written("refund", {"id": "W-1"}, _USER),
    "no context": b'{"type":"view","view":{"type":"customSet","customSet":{"id":"1"}}}',
    "a context without a user": _written(
        "view",
        {"type": "customSet", "customSet": {"id": "1"}},
        {"type": "page", "page": {"url": ""}},
    ),
    "the same user twice": _written(
        "view", {"type": "customSet", "customSet": {"id": "1"}}, _USER, _USER
    ),
}


@pytest.mark.parametrize("payload", _REFUSED.values(), ids=_REFUSED)
async def test_what_the_schema_refuses_is_refused(sandbox: Sandbox, payload: bytes) -> None:
    """On the path of events as on the one that validates, with the same words."""
    received = await send(sandbox.url, request(payload))
    asked = await send(sandbox.url, request(payload, path=VALIDATE))
    assert (received.status, asked.status) == (400, 200)
    assert json.loads(received.body) == json.loads(asked.body) != []
    assert not sandbox.ledger.visits


async def test_what_the_vendor_leaves_open_is_taken(sandbox: Sandbox) -> None:
    """Any action that is a text, any id, an amount of nothing."""
    line = {"sku": "", "quantity": 0, "grossPrice": {"amount": 0, "currency": "EUR"}}
    for payload in (
        _written(
            "interact", {"type": "product", "product": {"sku": "A"}, "action": "juggle"}, _USER
        ),
        _written("order", {"id": "", "lines": [line]}, _USER),
    ):
        assert (await send(sandbox.url, request(payload))).status == 202


@pytest.mark.parametrize(("mode", "statuses"), [("envelope", [202, 400]), ("off", [202, 202])])
async def test_whoever_is_ahead_of_the_schema_asks_for_less(
    mode: Literal["envelope", "off"], statuses: list[int]
) -> None:
    """The modes are those of [validation]; the validate path always reports everything."""
    sandbox = Sandbox(validation=mode)
    async with sandbox.serve() as url:
        payloads = (_REFUSED["an unknown type"], b'{"type":"view"}')
        assert [(await send(url, request(p))).status for p in payloads] == statuses
        asked = await send(url, request(payloads[0], path=VALIDATE))
        assert json.loads(asked.body)


async def test_validate_answers_an_array_and_takes_nothing(sandbox: Sandbox) -> None:
    """Empty when the event is valid, violations otherwise, 200 both times."""
    good = await send(sandbox.url, request(event(), path=VALIDATE))
    assert (good.status, json.loads(good.body)) == (200, [])
    bad = await send(sandbox.url, request(b'{"type":"order","order":{}}', path=VALIDATE))
    assert bad.status == 200
    assert any(found["keyword"] == "required" for found in json.loads(bad.body))
    assert sandbox.ledger.summary().accepted == 0


@pytest.mark.parametrize("path", [EVENTS, VALIDATE])
@pytest.mark.parametrize("api_id", [None, "", "wrong", API_ID + "x", "\xe4"])
async def test_a_wrong_or_missing_api_id_is_refused(
    sandbox: Sandbox, path: str, api_id: str | None
) -> None:
    """401 with JSON, on both paths."""
    received = await send(sandbox.url, request(event(), path=path, api_id=api_id))
    assert received.status == 401
    assert json.loads(received.body)["message"]


async def test_without_an_api_id_of_its_own_any_will_do() -> None:
    """But a request without one is refused, as by the vendor."""
    sandbox = Sandbox()
    async with sandbox.serve() as url:
        assert (await send(url, request(event(), api_id="any"))).status == 202
        assert (await send(url, request(event(), api_id=None))).status == 401


async def test_unknown_paths_and_methods(sandbox: Sandbox) -> None:
    """404, and 405 with Allow."""
    assert (await send(sandbox.url, request(b"", path="/"))).status == 404
    received = await send(sandbox.url, request(b"", method="GET"))
    assert (received.status, received.headers["allow"]) == (405, "POST")


async def test_a_large_body_is_read_whole(sandbox: Sandbox) -> None:
    """The contract limits the size to 1 MiB; the server has no limit of its own."""
    received = await send(sandbox.url, request(event(sku="x" * 3_000_000)))
    assert received.status == 400
    assert b"maxBytes" in received.body


async def test_a_request_that_ends_halfway_is_none(sandbox: Sandbox) -> None:
    """It isn't recorded, and the sandbox goes on."""
    _, writer = await connect(sandbox.url)
    writer.write(request(event())[:-10])
    await writer.drain()
    writer.close()
    assert (await send(sandbox.url, request(event()))).status == 202
    assert sandbox.ledger.summary().requests == 1


async def test_a_body_that_cannot_be_decoded_is_no_request(sandbox: Sandbox) -> None:
    """The connection ends without an acceptance."""
    data = request(event()).replace(b"connection:", b"content-encoding: gzip\r\nconnection:")
    received = await send(sandbox.url, data)
    assert b" 202 " not in received.raw
    assert sandbox.ledger.summary().requests == 0


async def test_keys_are_noted_as_the_sender_knows_them(sandbox: Sandbox) -> None:
    """The key is percent-decoded, and odd bytes do no harm."""
    await send(sandbox.url, request(event(), "caf%C3%A9%25-7"))
    await send(sandbox.url, request(event(), "KEY").replace(b"KEY", b"\xff\xfe"))
    first, second = sandbox.ledger.visits
    assert (first.key, first.position) == ("café%-7", ("café%-", 7))
    assert second.key == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("payload", "user"),
    [
        (event("u9"), "u9"),
        (b'{"context":[{"type":"page"},{"type":"user","user":{"id":"a"}}]}', "a"),
        (b'{"context":[{"type":"user","user":{"id":7}}]}', None),
        (b'{"context":[{"type":"user"},{"type":"user","user":{"id":"b"}}]}', None),
        (b'{"context":[1]}', None),
        (b'{"context":"user"}', None),
        (b'{"context":7}', None),
        (b'{"context":[]}', None),
        (b"{}", None),
        (b"[]", None),
        (b"\xff", None),
    ],
)
def test_the_user_is_the_first_one_in_the_context(payload: bytes, user: str | None) -> None:
    """If it can't be read there is none, and no exception."""
    assert user_of(payload) == user


async def test_the_log_tells_everything_but_secrets(tmp_path: Path) -> None:
    """One line per request with the documented fields; no API ID, no payload."""
    log = tmp_path / "received.jsonl"
    sandbox = Sandbox(API_ID, log=log)
    async with sandbox.serve() as url:
        await send(url, request(event(sku="SECRET-SKU")))
        assert len(log.read_text().splitlines()) == 1
        sandbox.chaos = Chaos.parse("lost:1")
        await send(url, request(event(), "u1-000002"))
        await send(url, request(b"", None, path="/x?token=hidden", method="GET"))
    text = log.read_text()
    assert not re.search(f"{API_ID}|SECRET-SKU|hidden", text)
    first, lost, other = (json.loads(line) for line in text.splitlines())
    fields = "seq time method path key user n sha bytes status processed began ended in_flight"
    assert list(first) == fields.split()
    assert (first["status"], first["processed"], first["n"]) == (202, True, 1)
    assert (lost["seq"], lost["status"], lost["processed"]) == (2, "lost", True)
    assert (other["path"], other["key"], other["status"]) == ("/x", None, 404)
    assert first["began"] <= first["ended"] <= lost["began"]


async def test_the_log_is_continued_by_the_next_start(tmp_path: Path) -> None:
    """A sandbox that is started again appends; the counts go on, too."""
    sandbox = Sandbox(API_ID, log=tmp_path / "log")
    for _ in range(2):
        async with sandbox.serve() as url:
            await send(url, request(event()))
    assert len((tmp_path / "log").read_text().splitlines()) == 2
    assert sandbox.ledger.summary().immediate_repeats == 1


async def test_a_client_that_leaves_and_returns_does_not_overlap(sandbox: Sandbox) -> None:
    """It closed the first connection before it opened the second."""
    sandbox.chaos = Chaos.parse("stall:1")
    for count in range(1, 6):
        _, writer = await connect(sandbox.url)
        writer.write(request(event()))
        await sandbox.until(lambda ledger, n=count: ledger.summary().requests == n)  # type: ignore[misc]
        writer.close()
    assert sandbox.ledger.summary().overlaps == 0


async def test_two_requests_of_a_user_at_a_time_are_seen(sandbox: Sandbox) -> None:
    """The second one is answered while the first still waits."""
    sandbox.answer_for = lambda info: (
        None if info.key == "u1-000002" else Chaos.parse("stall:1").choose(0, 0)
    )
    _, writer = await connect(sandbox.url)
    writer.write(request(event()))
    await sandbox.until(lambda ledger: ledger.summary().requests == 1)
    assert (await send(sandbox.url, request(event(), "u1-000002"))).status == 202
    writer.close()
    assert sandbox.ledger.summary().overlaps == 1


async def test_until_gives_up_after_its_time(sandbox: Sandbox) -> None:
    """A test that waits for nothing ends."""
    with pytest.raises(TimeoutError):
        await sandbox.until(lambda ledger: ledger.summary().requests > 0, 0.01)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS of a server on 127.0.0.1 and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def test_it_speaks_tls() -> None:
    """With a certificate it answers over https, its faults too, and plain HTTP does no harm."""
    server, client = contexts()
    sandbox = Sandbox(API_ID, ssl_context=server)
    async with sandbox.serve() as url:
        assert url.startswith("https://")
        assert (await send(url, request(event()))).raw == b""
        with pytest.raises(ssl.SSLError):
            await connect(url, ssl.create_default_context())
        assert (await send(url, request(event()), client)).status == 202
        sandbox.chaos = Chaos.parse("reset:1")
        assert (await send(url, request(event()), client)).was_reset
        sandbox.chaos = Chaos.parse("drop:1")
        assert (await send(url, request(event()), client)).raw == b""
    assert sandbox.ledger.summary().answers == {"202": 1, "reset": 1, "drop": 1}


async def test_stopping_ends_a_handshake_that_never_began() -> None:
    """A silent client that connects over TLS delays no other client."""
    server, client = contexts()
    sandbox = Sandbox(API_ID, ssl_context=server)
    async with sandbox.serve() as url:
        reader, writer = await connect(url)
        # Connections are accepted in order: with this answer, the silent one has been.
        assert (await send(url, request(event()), client)).status == 202
        async with asyncio.timeout(DEADLINE):
            await sandbox.stop()
            assert await asyncio.gather(reader.read(), return_exceptions=True)
        writer.close()


async def test_it_listens_on_ipv6_too() -> None:
    """The URL then has brackets."""
    sandbox = Sandbox(API_ID)
    async with sandbox.serve("::1") as url:
        assert url.startswith("http://[::1]:")
        assert (await send(url, request(event()))).status == 202


async def test_a_port_that_is_taken_is_said_so(sandbox: Sandbox) -> None:
    """Exit status 2, with the port in the message; and nothing is left behind."""
    port = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(UsageError, match=f"port {port}"):
        await Sandbox().start(port=port)


async def test_a_log_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    """The port is free again."""
    with pytest.raises(UsageError, match="log"):
        await Sandbox(log=tmp_path / "missing" / "log").start()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65536), ("no.such.host.invalid", 0)])
async def test_an_impossible_address_is_said_so(host: str, port: int) -> None:
    """Whatever the system's reason is."""
    with pytest.raises(UsageError, match=f"{host} port {port}: ."):
        await Sandbox().start(host, port)


def test_a_port_without_the_right_is_access_denied() -> None:
    """Exit status 77. The tests can run as root, so this checks only the wording."""
    error = cannot_listen(PermissionError(13, "Permission denied"), "127.0.0.1", 80)
    assert isinstance(error, AccessDenied)
    assert "1023" in (error.hint or "")


async def test_run_sandbox_serves_until_it_is_stopped(tmp_path: Path) -> None:
    """The command's coroutine: it says where it listens, returns the counts, and prints nothing."""
    stop = asyncio.Event()
    ready: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        run_sandbox(
            Sandbox(API_ID, log=tmp_path / "l"), "127.0.0.1", 0, stop, ready=ready.set_result
        )
    )
    sandbox = await asyncio.wait_for(ready, DEADLINE)
    assert (await send(sandbox.url, request(event()))).status == 202
    stop.set()
    summary = await asyncio.wait_for(running, DEADLINE)
    assert (summary.accepted, summary.flawless) == (1, True)
    with pytest.raises(ConnectionRefusedError):
        await connect(sandbox.url)
    stopped = asyncio.Event()
    stopped.set()
    assert (await run_sandbox(Sandbox(), "127.0.0.1", 0, stopped)).requests == 0


async def test_stopping_twice_is_no_harm(sandbox: Sandbox) -> None:
    """And faults can be set while it is stopped."""
    await sandbox.stop()
    sandbox.chaos = Chaos.parse("outage:1s@0s")
    await sandbox.stop()


def test_a_request_does_not_show_its_secrets() -> None:
    """Neither payload nor headers are in the repr."""
    info = RequestInfo("POST", EVENTS, "k", "u", b"SECRET", {"x-api-id": API_ID})
    assert not re.search(f"SECRET|{API_ID}", repr(info))
    assert SandboxAnswer(299).accepts


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "x"])
async def test_no_other_protocol_is_spoken(sandbox: Sandbox, protocol: str) -> None:
    """The bytes after an upgrade are no request (CVE-2026-69243)."""
    plain = request(event())
    head, _, rest = plain.partition(b"\r\n")
    upgrade = f"connection: Upgrade\r\nupgrade: {protocol}\r\n".encode()
    received = await send(sandbox.url, head + b"\r\n" + upgrade + rest + plain)
    assert received.status == 400
    assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", received.raw)) == 1
    assert sandbox.ledger.summary().accepted == 0
