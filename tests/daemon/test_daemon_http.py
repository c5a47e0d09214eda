"""A destination of kind http under a real daemon: what its API sees, and what becomes of events."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shipper import __version__
from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.processes import eventually, until
from tests.destination.servers import ACCEPTED, Server, Talk, serving

_RETRY = 'retry = {min_delay = "20ms", max_delay = "100ms", probe_max_delay = "100ms"}'


class Api:
    """An API that answers what a test says, and remembers what it was sent."""

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, bytes] = {}
        """Answers by the request's `x-api-key`; every other one is accepted."""
        self.directory = directory
        self.server: Server

    async def __call__(self, talk: Talk) -> None:
        """Answer every request on a connection."""
        while True:
            request = await talk.request()
            await talk.say(self.answers.get(request.headers.get("x-api-key", ""), ACCEPTED))

    def secret(self, name: str, text: str, mode: int = 0o600) -> None:
        """Write the file of a secret, or replace it."""
        new = self.directory / f"{name}.new"
        new.write_text(text, "utf-8")
        new.chmod(mode)
        new.replace(self.directory / name)

    def section(self, url: str = "/hooks/{type}?k={secret:hook}", more: str = "") -> str:
        """Return the configuration of a destination `erp` for this API, after the others."""
        origin = f"http://127.0.0.1:{self.server.port}"
        return f"""
[destinations.erp]
kind = "http"
url = "{origin}{url}"
{_RETRY}
{more}
[destinations.erp.headers]
x-tenant = "42"
x-order = "{{ordering_key}} of {{destination}}"
x-api-key = {{ file = "erp_key" }}
[destinations.erp.secrets]
hook = {{ file = "erp_hook" }}
"""


@pytest.fixture
async def api(shop: Shop) -> AsyncIterator[Api]:
    """Run an API beside the shop."""
    api = Api(shop.directory)
    api.secret("erp_key", "right-key\n")
    api.secret("erp_hook", "hook/secret")
    async with serving(api) as api.server:
        yield api


def add(shop: Shop, event_id: str, key: str | None = "customer 7", kind: str = "order") -> None:
    """Insert an event for the destination `erp`."""
    payload = json.dumps({"type": kind, "total": 9.9})
    shop.add(f"{event_id}-1", payload=payload, ordering_key=key, destination="erp")


async def link_is(shop: Shop, state: str) -> None:
    """Wait until the destination `erp` is stored as being in this state."""

    async def told() -> bool:
        process = await shop.command("status", "--json")
        return bool(json.loads(process.stdout)["destinations"]["erp"]["state"] == state)

    assert await eventually(told), state


@pytest.mark.parametrize(
    ("method", "transport"),
    [("POST", "auto"), ("PUT", "auto"), ("PATCH", "auto"), ("POST", "httpx"), ("PATCH", "httpx")],
)
@only_sqlite
async def test_an_event_is_sent_as_its_destination_says(
    shop: Shop, api: Api, method: str, transport: str
) -> None:
    """Method, URL, every header, and the payload byte for byte; not one header more."""
    lines = f'method = "{method}"\ntransport = "{transport}"\ncontent_type = "application/x-erp"'
    shop.configure(more=api.section(more=f'{lines}\nidempotency_header = "x-event"'))
    daemon = await shop.started()
    add(shop, "Größe", kind="order/ä")
    await shop.settled()
    await daemon.stop()
    [request] = api.server.requests
    assert request.line == f"{method} /hooks/order%2F%C3%A4?k=hook%2Fsecret HTTP/1.1"
    assert json.loads(request.body) == {"type": "order/ä", "total": 9.9}
    assert request.headers == {
        "host": f"127.0.0.1:{api.server.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/x-erp",
        "user-agent": f"shipper/{__version__}",
        "x-tenant": "42",
        "x-order": "customer%207 of erp",
        "x-api-key": "right-key",
        "x-event": "Gr%C3%B6%C3%9Fe-1",
        "content-length": str(len(request.body)),
    }
    assert "hook/secret" not in daemon.stderr
    assert "right-key" not in daemon.stderr


async def test_two_rows_of_one_transaction_go_to_two_apis(shop: Shop, api: Api) -> None:
    """Each with its own body; neither waits for the other."""
    shop.configure(more=api.section())
    daemon = await shop.started()
    body = json.dumps({"type": "order", "no": 4711})
    await shop.put(
        {"payload": json.dumps({"type": "view", "view": {}}), "event_id": "order-4711"},
        {"payload": body, "event_id": "order-4711@erp", "destination": "erp", "ordering_key": "k"},
    )
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["order-4711"]
    assert [request.headers["idempotency-key"] for request in api.server.requests] == [
        "order-4711@erp"
    ]
    shop.assert_flawless()


async def test_an_event_without_what_a_placeholder_asks_for_stops_no_other(
    shop: Shop, api: Api
) -> None:
    """It is a dead letter at once, and its destination stays ready."""
    shop.configure(more=api.section(url="/{type}/{event_id}"))
    daemon = await shop.started()
    add(shop, "no-key", key=None)
    add(shop, "dots", kind="..")
    add(shop, "good")
    shop.add("no-type-1", payload="[]", ordering_key="k", destination="erp")
    await shop.settled()
    await daemon.stop()
    assert shop.dead() == ["no-key-1", "dots-1", "no-type-1"]
    assert [request.line for request in api.server.requests] == ["POST /order/good-1 HTTP/1.1"]
    rows = shop.rows("SELECT last_error FROM shipper_outbox WHERE status = 'dead' ORDER BY id")
    assert [str(row[0]) for row in rows] == [
        "unbuildable: the event has no ordering_key, which {ordering_key} asks for",
        "unbuildable: a value would change the path of the URL: it is . or ..",
        "unbuildable: the event has no type, which {type} asks for",
    ]


@only_sqlite
async def test_a_new_secret_is_noticed_and_tried_at_once(shop: Shop, api: Api) -> None:
    """Without a restart; one that others can read is told and not taken."""
    refused = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"
    api.answers["wrong-key"] = refused
    api.secret("erp_key", "wrong-key")
    shop.configure(more=api.section())
    daemon = await shop.started()
    add(shop, "waits")
    await link_is(shop, "paused")
    api.secret("erp_key", "right-key", mode=0o644)
    unreadable = await daemon.told("credential.unreadable")
    assert unreadable["destination"] == "erp"
    assert "erp_key can be read by other users; chmod o= " in unreadable["reason"]
    assert "headers.x-api-key" in unreadable["reason"]
    api.secret("erp_key", "right-key")
    await shop.settled()
    await daemon.told("credential.changed")
    await daemon.stop()
    keys = [request.headers["x-api-key"] for request in api.server.requests]
    assert keys[-1] == "right-key"
    assert set(keys[:-1]) == {"wrong-key"}
    assert shop.wasted() == 0
    for secret in ("wrong-key", "right-key"):
        assert secret not in daemon.stderr


@only_sqlite
async def test_a_secret_that_is_mounted_by_kubernetes_is_noticed_as_well(
    shop: Shop, api: Api
) -> None:
    """Its name is a link to a link that is renamed; and so is what a reload has named since."""
    mount = shop.directory / "mount"

    def rotate(number: int, text: str) -> None:
        version = mount / f"..{number}"
        version.mkdir(parents=True)
        (version / "key").write_text(text, "utf-8")
        (version / "key").chmod(0o440)
        (mount / "..new").symlink_to(version.name)
        (mount / "..new").rename(mount / "..data")

    async def arrived(key: str) -> None:
        await until(lambda: any(r.headers["x-api-key"] == key for r in api.server.requests))

    rotate(1, "first")
    (mount / "key").symlink_to("..data/key")
    shop.configure(more=api.section())
    daemon = await shop.started()
    text = shop.config.read_text("utf-8")
    shop.config.write_text(text.replace('file = "erp_key"', 'file = "mount/key"'), "utf-8")
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    add(shop, "a")
    await arrived("first")
    rotate(2, "")  # a writer is at it
    unreadable = await daemon.told("credential.unreadable")
    assert "is empty" in unreadable["reason"]
    add(shop, "b")
    await shop.settled()
    assert {request.headers["x-api-key"] for request in api.server.requests} == {"first"}
    rotate(3, "second")
    await daemon.told("credential.changed")
    add(shop, "c")
    await arrived("second")
    await shop.settled()
    await daemon.stop()


@only_sqlite
async def test_what_a_status_means_is_the_configurations_to_say(shop: Shop, api: Api) -> None:
    """409 counts as delivered here, and 404 as the event's own fault."""
    api.answers["right-key"] = b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n"
    answers = "answers = {accepted = [409], refused = [404]}"
    shop.configure(more=api.section(more=answers))
    daemon = await shop.started()
    add(shop, "known")
    await shop.settled()
    api.answers["right-key"] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    add(shop, "unknown")
    await shop.settled()
    await daemon.stop()
    assert shop.counts() == {"delivered": 1, "dead": 1}
    assert shop.dead() == ["unknown-1"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("[destinations.erp.answers]\nrefused = [401]", "401 can't be in refused"),
        ('[destinations.erp.answers]\naccepted = ["5xx"]', "503 can't be in accepted"),
        ('[destinations.erp.answers]\naccepted = [409]\nretried = ["4xx"]', "409 is in accepted"),
        ('url = "https://{type}.example/"', "in its path and query only"),
        ('[destinations.erp.headers]\nhost = "x"', "headers.host: is a header that shipper sets"),
    ],
)
@only_sqlite
async def test_a_reload_with_a_mistake_leaves_everything_as_it_is(
    shop: Shop, api: Api, wrong: str, told: str
) -> None:
    """It is refused with file and line, and the old configuration goes on shipping."""
    shop.configure(more=api.section())
    daemon = await shop.started()
    text = shop.config.read_text("utf-8")
    name = wrong.partition(" = ")[0]
    if wrong.startswith("["):
        section, _, line = wrong.partition("\n")
        has_it = f"\n{section}\n" in text
        text = text.replace(f"{section}\n", f"{wrong}\n") if has_it else f"{text}\n{wrong}\n"
        name = line.partition(" = ")[0]
    else:
        old = next(one for one in text.splitlines() if one.startswith("url") and "hooks" in one)
        text = text.replace(old, wrong)
    shop.config.write_text(text, "utf-8")
    daemon.signal(signal.SIGHUP)
    rejected = await daemon.told("config.rejected")
    [problem] = rejected["problems"]
    line_of = 1 + max(n for n, one in enumerate(text.splitlines()) if one.startswith(name))
    assert told in problem
    assert problem.startswith(f"{shop.config}:")
    assert int(problem.split(":")[1]) in range(line_of - 2, line_of + 1)
    add(shop, "still")
    await shop.settled()
    await daemon.stop()
    assert [request.headers["idempotency-key"] for request in api.server.requests] == ["still-1"]


@only_sqlite
async def test_an_event_that_waits_longer_than_its_api_wants_is_shown(shop: Shop, api: Api) -> None:
    """In status, beside everything that is given up: nothing."""
    api.answers["right-key"] = b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n"
    shop.configure(more=api.section(more='late_after = "1s"'))
    daemon = await shop.started()
    add(shop, "late")
    shop.execute("UPDATE shipper_outbox SET created_at = created_at - 100")

    async def told() -> bool:
        return "longer than its late_after" in (await shop.command("status")).stdout

    while not await told():
        await until(lambda: daemon.is_alive)
    assert shop.counts() == {"pending": 1}
    api.answers.clear()
    await shop.settled()
    await daemon.stop()
