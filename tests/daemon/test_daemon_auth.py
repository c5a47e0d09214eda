"""Credentials that change under a running daemon: tokens, certificates, signing secrets."""

import json
import re
import signal
from base64 import b64encode
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.processes import Daemon, until
from tests.daemon.test_daemon_http import add, link_is
from tests.destination.certificates import Holder, issued
from tests.destination.servers import ACCEPTED, Server, Talk, serving
from tests.destination.test_own_certificate import AUTHORITY, asking_for_one
from tests.destination.test_token_try import Api
from tests.destination.token_endpoints import TokenEndpoint, granting, saying


def section(server: Server, more: str) -> str:
    """Return the configuration of a destination `erp` for a server."""
    return f"""
[destinations.erp]
kind = "http"
url = "{server.url}"
retry = {{min_delay = "20ms", max_delay = "100ms", probe_max_delay = "100ms"}}
{more}
"""


def put(file: Path, content: str | bytes) -> None:
    """Write a file as tools do that renew one: under another name, and then in its place."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.chmod(0o600)
    new.replace(file)


def sent(server: Server) -> list[str]:
    """Return the keys of the requests, in their order."""
    return [request.headers["idempotency-key"] for request in server.requests]


def oauth2(endpoint: TokenEndpoint) -> str:
    """Return the section of credentials."""
    return f"""
[destinations.erp.auth]
type = "oauth2"
token_url = "{endpoint.url}"
client_id = "alice"
client_secret_file = "client"
"""


async def test_a_revoked_token_costs_nothing(shop: Shop) -> None:
    """Not a failure, not a pause, not the order: the same event goes again with another token."""
    put(shop.directory / "client", "wonder+land\n")
    api, endpoint = Api("t1"), TokenEndpoint()
    async with serving(api) as api.server, granting(endpoint):
        shop.configure(more=section(api.server, oauth2(endpoint)))
        daemon = await shop.started()
        for number in range(3):
            add(shop, f"before{number}")
        await shop.settled()
        api.taken = {"Bearer t2"}
        for number in range(3):
            add(shop, f"after{number}")
        await shop.settled()
        await daemon.stop()
    taken = list(dict.fromkeys(sent(api.server)))
    assert taken == [f"{when}{n}-1" for when in ("before", "after") for n in range(3)]
    assert api.seen == ["t1"] * 4 + ["t2"] * 3
    assert len(endpoint.requests) == 2
    assert shop.wasted() == 0
    assert not daemon.said("link.changed")
    for secret in ("wonder+land", "wonder%2Bland", "Bearer"):
        assert secret not in daemon.stderr


@only_sqlite
async def test_credentials_that_are_refused_pause_the_link(shop: Shop) -> None:
    """Until the file has others; no event is charged, and none is sent without a token."""
    client = shop.directory / "client"
    put(client, "wrong\n")
    api, endpoint = Api("t"), TokenEndpoint()

    def answer(number: int) -> bytes:
        right = endpoint.forms[number - 1].get("client_secret") == "wonder+land"
        return saying(200, {"access_token": "t"}) if right else saying(401, {"e": "wrong"})

    endpoint.answer = answer
    async with serving(api) as api.server, granting(endpoint):
        more = f'{oauth2(endpoint)}client_auth = "post"\n'
        shop.configure(more=section(api.server, more))
        daemon = await shop.started()
        for number in range(20):
            add(shop, f"e{number}", key=f"k{number}")
        await link_is(shop, "paused")
        status = await shop.command("status")
        assert "the token endpoint 127.0.0.1:" in status.stdout
        assert "gives no token: HTTP 401" in status.stdout
        assert str(client) in status.stdout  # what to do
        assert api.requests == []
        put(client, "wonder+land\n")
        await shop.settled()
        await daemon.told("credential.changed")
        await daemon.stop()
    assert len(api.requests) == 20
    assert shop.wasted() == 0
    assert "wonder+land" not in daemon.stderr


@only_sqlite
async def test_an_endpoint_that_fails_is_an_outage_and_costs_nothing(shop: Shop) -> None:
    """However many events wait, and whatever it answers."""
    put(shop.directory / "client", "wonder+land\n")
    api, endpoint = Api("t1"), TokenEndpoint()
    endpoint.answer = lambda number: saying((500, 503, 429)[number % 3], {})
    async with serving(api) as api.server, granting(endpoint):
        shop.configure(more=section(api.server, oauth2(endpoint)))
        daemon = await shop.started()
        for number in range(20):
            add(shop, f"e{number}", key=f"k{number}")
        await link_is(shop, "offline")
        assert api.requests == []
        api.taken = {"Bearer now"}
        endpoint.answer = lambda _: saying(200, {"access_token": "now", "expires_in": "3600"})
        await shop.settled()
        await daemon.stop()
    assert (len(api.requests), shop.wasted()) == (20, 0)


@only_sqlite
async def test_an_api_that_refuses_every_token_is_paused(shop: Shop) -> None:
    """Until it takes one, which a probe fetches anew; nothing is charged for all that."""
    put(shop.directory / "client", "wonder+land\n")
    api, endpoint = Api(), TokenEndpoint()
    async with serving(api) as api.server, granting(endpoint):
        shop.configure(more=section(api.server, oauth2(endpoint)))
        daemon = await shop.started()
        for number in range(5):
            add(shop, f"e{number}", key=f"k{number}")
        await link_is(shop, "paused")
        # A token that doesn't exist yet: the API has changed its mind about the client.
        api.taken = {f"Bearer t{number}" for number in range(len(endpoint.requests) + 1, 10_000)}
        await shop.settled()
        await daemon.stop()
    assert shop.counts() == {"delivered": 5}
    assert shop.wasted() == 0


class Guarded:
    """An API that asks for a certificate, and remembers whom it saw on which connection."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    async def __call__(self, talk: Talk) -> None:
        """Accept every request on a connection."""
        peer = talk._writer.get_extra_info("peercert")
        name = peer["subject"][0][0][1]
        while True:
            request = await talk.request()
            self.seen.append((request.headers["idempotency-key"], name))
            await talk.say(ACCEPTED)


def certificate(shop: Shop, holder: Holder, *, key: Holder | None = None) -> None:
    """Replace the certificate, and then its key."""
    put(shop.directory / "own.pem", holder.pem())
    put(shop.directory / "own.key", (key or holder).key_pem())


CERTIFICATE = """ca_file = "ca.pem"
[destinations.erp.tls]
cert_file = "own.pem"
key_file = "own.key"
"""


@pytest.mark.parametrize("transport", ["auto", "httpx"])
@only_sqlite
async def test_a_renewed_certificate_is_shown_without_a_restart(shop: Shop, transport: str) -> None:
    """On new connections: the old ones are closed (linkerd#1806). Half a renewal isn't taken."""
    first, second = (issued(AUTHORITY, common_name=name, names=()) for name in ("first", "second"))
    (shop.directory / "ca.pem").write_bytes(AUTHORITY.pem())
    certificate(shop, first)
    api = Guarded()
    async with serving(api, asking_for_one(shop.directory)) as server:
        shop.configure(more=section(server, f'transport = "{transport}"\n{CERTIFICATE}'))
        daemon = await shop.started()
        add(shop, "a")
        await shop.settled()
        put(shop.directory / "own.pem", second.pem())  # its key comes later
        unusable = await daemon.told("file.unusable")
        assert "the key doesn't belong to the certificate" in json.dumps(unusable)
        add(shop, "b")
        await shop.settled()
        put(shop.directory / "own.key", second.key_pem())
        await daemon.told("file.changed")
        add(shop, "c")
        await shop.settled()
        await daemon.stop()
    assert api.seen == [("a-1", "first"), ("b-1", "first"), ("c-1", "second")]
    assert shop.wasted() == 0


@only_sqlite
async def test_a_certificate_that_cannot_be_used_is_refused(shop: Shop) -> None:
    """With 78 at the start, and with a reload the old one stays."""
    good, other = issued(AUTHORITY, names=()), issued(AUTHORITY, names=())
    (shop.directory / "ca.pem").write_bytes(AUTHORITY.pem())
    api = Guarded()
    async with serving(api, asking_for_one(shop.directory)) as server:
        shop.configure(more=section(server, CERTIFICATE))
        certificate(shop, good, key=other)
        refused = shop.start()
        assert await refused.ended() == 78
        assert "own.key: the key doesn't belong to the certificate in" in refused.stderr
        assert "BEGIN" not in refused.stderr
        certificate(shop, good)
        daemon = await shop.started()
        put(shop.directory / "own.pem", other.pem())
        daemon.signal(signal.SIGHUP)
        rejected = json.dumps(await daemon.told("config.rejected"))
        assert re.search(r"shipper\.toml:\d+: key_file .*own\.pem.*; put the key of this", rejected)
        add(shop, "still")
        await shop.settled()
        await daemon.stop()
    assert [key for key, _ in api.seen] == ["still-1"]


@only_sqlite
async def test_an_expired_certificate_pauses_its_own_destination(shop: Shop) -> None:
    """Also over a restart, and a reload is taken: the other destinations don't wait for it."""
    good, old = issued(AUTHORITY, names=()), issued(AUTHORITY, names=(), days=(-9, -2))
    (shop.directory / "ca.pem").write_bytes(AUTHORITY.pem())
    api = Guarded()
    async with serving(api, asking_for_one(shop.directory)) as server:
        shop.configure(more=section(server, CERTIFICATE))
        certificate(shop, old)
        checked = shop.begin("check")
        assert await checked.ended() == 78
        assert re.search(
            r"shipper\.toml:\d+: cert_file .*own\.pem: the certificate has expired on .*; let the",
            checked.stderr,
        )
        daemon = await shop.started()
        add(shop, "late")
        await link_is(shop, "paused")
        shop.add("u1-1")
        await shop.arrival("u1-1")
        shop.configure(more=section(server, CERTIFICATE), log_level="info")
        daemon.signal(signal.SIGHUP)
        await daemon.told("config.reloaded")
        assert api.seen == []
        certificate(shop, good)
        await shop.settled()
        await daemon.stop()
    assert [key for key, _ in api.seen] == ["late-1"]
    assert shop.wasted() == 0


class Verifying:
    """A receiver with the library of the authors, and the one secret that it knows."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.taken: list[str] = []

    async def __call__(self, talk: Talk) -> None:
        """Accept what is signed with the secret; everything else is 401."""
        while True:
            request = await talk.request()
            try:
                Webhook(self.secret).verify(request.body, request.headers)
            except WebhookVerificationError:
                await talk.say(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
            else:
                self.taken.append(request.headers["webhook-id"])
                await talk.say(ACCEPTED)


SIGN = """
[destinations.erp.sign]
scheme = "standard-webhooks"
secret_file = "signing"
"""


@only_sqlite
async def test_a_signing_secret_rotates_without_a_gap(shop: Shop) -> None:
    """Both sign while both are in the file; the receiver changes over in between."""
    old, new = (f"whsec_{b64encode(letter * 32).decode()}" for letter in (b"o", b"n"))
    file = shop.directory / "signing"
    put(file, f"{old}\n")
    api = Verifying(old)
    async with serving(api) as server:
        shop.configure(more=section(server, SIGN))
        daemon = await shop.started()
        add(shop, "order.1")
        await shop.settled()
        put(file, f"{new}\r\n{old}\r\n")
        await changes(daemon, 1)
        add(shop, "order.2")
        await shop.settled()
        assert len(server.requests[-1].headers["webhook-signature"].split(" ")) == 2
        api.secret = new
        add(shop, "order.3")
        await shop.settled()
        put(file, "whsec_c2hvcnQ=\n")
        unreadable = await daemon.told("credential.unreadable")
        assert "must have 24 to 64 bytes" in unreadable["reason"]
        put(file, f"{new}\n")
        await changes(daemon, 2)
        add(shop, "order.4")
        await shop.settled()
        await daemon.stop()
    assert api.taken == [f"order%2E{number}-1" for number in range(1, 5)]
    assert len(server.requests) == 4
    assert shop.wasted() == 0
    for secret in (old, new):
        assert secret.removeprefix("whsec_") not in daemon.stderr


async def changes(daemon: Daemon, number: int) -> None:
    """Wait until so many changes of credentials were noticed."""
    await until(lambda: len(daemon.said("credential.changed")) >= number)


@only_sqlite
async def test_a_repeat_has_the_same_body_and_a_signature_of_its_own(shop: Shop) -> None:
    """Its timestamp is that of the try: a receiver refuses one that is minutes old."""
    secret = f"whsec_{b64encode(b's' * 24).decode()}"
    put(shop.directory / "signing", secret)
    seconds: list[int] = []

    async def failing_first(talk: Talk) -> None:
        while True:
            request = await talk.request()
            Webhook(secret).verify(request.body, request.headers)
            seconds.append(int(request.headers["webhook-timestamp"]))
            is_new = len(set(seconds)) == 2
            await talk.say(ACCEPTED if is_new else saying(500, {}))

    async with serving(failing_first) as server:
        cloudevents = '[destinations.erp.cloudevents]\nsource = "/shops/42"\ntype_prefix = "x."\n'
        shop.configure(more=section(server, SIGN + cloudevents))
        daemon = await shop.started()
        add(shop, "again")
        await shop.settled()
        await daemon.stop()
    assert len({request.body for request in server.requests}) == 1
    assert len({request.headers["webhook-id"] for request in server.requests}) == 1
    assert seconds == sorted(seconds)
    headers = server.requests[-1].headers
    assert headers["ce-id"] == "again-1"
    assert headers["ce-type"] == "x.order"
    assert headers["ce-source"] == "/shops/42"
    assert headers["ce-time"].endswith("Z")
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('[destinations.erp.auth]\ntype = "bearer"', '"bearer" needs token_file'),
        ('[destinations.erp.auth]\nuser = "u"', 'belongs to type = "basic"'),
        (SIGN.replace("signing", "short"), "must have 24 to 64 bytes"),
        (SIGN.replace("signing", "open"), "can be read by other users"),
        ('[destinations.erp.tls]\ncert_file = "own.pem"', "needs key_file"),
    ],
)
@only_sqlite
async def test_a_mistake_is_refused_with_its_line(shop: Shop, more: str, told: str) -> None:
    """At the start with 78; the file is named, and nothing of the secret."""
    put(shop.directory / "short", "whsec_c2hvcnQ=\n")
    put(shop.directory / "open", f"whsec_{b64encode(b's' * 24).decode()}\n")
    (shop.directory / "open").chmod(0o644)
    shop.configure(more=section(Server(1, True), more))
    daemon = shop.start()
    assert await daemon.ended() == 78
    assert told in daemon.stderr
    assert f"{shop.config}:" in daemon.stderr
    for secret in ("c2hvcnQ", "c3Nzc3"):
        assert secret not in daemon.stderr
