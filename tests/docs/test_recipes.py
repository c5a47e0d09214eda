"""The README's recipes for other APIs, as they stand there, against stand-ins for these APIs."""

import asyncio
import base64
import json
import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from shipper.config import load
from shipper.sandbox import (
    AnyApi,
    Chaos,
    OAuthClient,
    RequestInfo,
    Sandbox,
    SandboxAnswer,
    secret_key,
)
from tests.cli.command_line import Home, Ran
from tests.docs.documents import TEXT, tagged
from tests.docs.runtimes import psql, sqlite_shell
from tests.docs.test_writes import path_of, written
from tests.docs.vendors import Google, Matomo, query_of

RECIPES = tagged("toml", "recipes")
SECRETS = {
    "webhook_secret": "whsec_" + base64.b64encode(b"k" * 32).decode(),
    "ga4_secret": "canary/ga4+secret",
    "matomo_token": "canary-matomo-token",
    "erp_secret": "canary:erp+s%2Becret \u00fc",
}
EVENT = '{"type": "order", "order": {"id": "4711", "note": "1.50"}}'
# The other outboxes are filled by hand, so nothing of shipper looks at what is in an event.
_DEFAULT = '[destinations.default]\nurl = "http://127.0.0.1:9/e"\napi_id = "any"\n'


class Kitchen:
    """A directory with the recipes, sent to a stand-in, and an outbox."""

    def __init__(self, directory: Path, url: str) -> None:
        self.home = Home(directory, "sqlite:///shop.db")
        for name, secret in SECRETS.items():
            self.put(name, secret)
        text = re.sub(r"https://[\w.-]+", url, RECIPES.replace("/etc/shipper/", f"{directory}/"))
        database = '[database]\nurl = "sqlite:///shop.db"\n'
        self.home.config.write_text(f"{database}{_DEFAULT}{text}")
        assert self.home.call("db", "upgrade", "--create").status == 0

    def put(self, name: str, secret: str) -> None:
        """Write a secret as the README says."""
        file = self.home.directory / name
        file.write_text(f"{secret}\n")
        file.chmod(0o600)

    def enqueue(self, destination: str, event: str, event_id: str) -> None:
        """Write an event for a destination."""
        options = ("--destination", destination, "--event-id", event_id)
        ran = self.home.call("enqueue", *options, stdin=event.encode())
        assert ran.status == 0, ran.err

    async def call(self, *arguments: str, stdin: str = "") -> Ran:
        """Run a command in a process of its own, while the stand-in answers here."""
        return await asyncio.to_thread(self.home.run, *arguments, stdin=stdin.encode())

    async def ship(self) -> None:
        """Ship everything, and see nothing of a secret."""
        ran = await self.call("-v", "drain", "--timeout", "30s")
        assert ran.status == 0, ran
        refuse_secrets(ran.out + ran.err)


def refuse_secrets(text: str) -> None:
    """Fail if a text holds a secret of the recipes."""
    assert not [secret for secret in SECRETS.values() if secret in text]
    assert "canary" not in text


def test_each_recipe_has_a_test() -> None:
    """By the name of its destination."""
    names = {name.removeprefix("test_the_recipe_of_") for name in globals() if "recipe_of" in name}
    assert tomllib.loads(RECIPES)["destinations"].keys() == names


def test_the_check_shows_the_requests_and_no_secret(tmp_path: Path) -> None:
    """As the README says above the recipes."""
    kitchen = Kitchen(tmp_path, "http://127.0.0.1:9")
    for options in ((), ("--json",)):
        ran = kitchen.home.call("check", *options)
        assert ran.status == 0, ran.err
        refuse_secrets(ran.out + ran.err)
    requests = ran.value["requests"]
    assert requests["ga4"]["url"].endswith("?measurement_id=G-ABCDE12345&api_secret=****")
    assert requests["webhook"]["headers"]["webhook-signature"] == "v1,****"
    assert requests["matomo"]["headers"]["authorization"] == "Bearer ****"
    assert (requests["erp"]["method"], requests["erp"]["url"]) == (
        "POST",
        "http://127.0.0.1:9/hooks/{type}",
    )


async def test_the_recipe_of_webhook(tmp_path: Path) -> None:
    """The secret is what the recipe's own command prints; the sandbox checks the signature."""
    [command] = re.findall(r"this prints: (.*)", RECIPES)
    line = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    api = AnyApi(sign_keys=[secret_key(line.strip())])
    sandbox = Sandbox(api=api)
    seen: list[RequestInfo] = []
    sandbox.answer_for = seen.append
    async with sandbox.serve() as url:
        kitchen = Kitchen(tmp_path, url)
        kitchen.put("webhook_secret", line.strip())
        kitchen.enqueue("webhook", EVENT, "order-4711")
        await kitchen.ship()
    [info] = seen
    assert (info.method, info.target, info.payload) == ("POST", "/shop/order", EVENT.encode())
    assert info.headers["webhook-id"] == info.headers["idempotency-key"] == "order-4711"
    assert [visit.status for visit in sandbox.ledger.visits] == [202]


async def test_the_recipe_of_ga4(tmp_path: Path) -> None:
    """The event arrives under its keys; the validation server says what the API never does."""
    good = {"client_id": "1.2", "timestamp_micros": 1_790_000_000_000_000, "events": []}
    good["events"] = [{"name": "purchase", "params": {"transaction_id": "4711"}}]
    bad = {**good, "events": [{"name": "_purchase"}]}
    google = Google("G-ABCDE12345", SECRETS["ga4_secret"])
    sandbox = Sandbox(api=AnyApi())
    sandbox.answer_for = google
    async with sandbox.serve() as url:
        kitchen = Kitchen(tmp_path, url)
        [ask] = re.findall(r"shipper (validate FILE --remote --destination ga4)", RECIPES)
        (tmp_path / "FILE").write_text(json.dumps(bad))
        refused = await kitchen.call(*ask.split())
        (tmp_path / "FILE").write_text(json.dumps(good))
        accepted = await kitchen.call(*ask.split())
        assert (google.kept, google.dropped) == ([], [])
        kitchen.enqueue("ga4", json.dumps(good), "order-4711")
        kitchen.enqueue("ga4", json.dumps(bad), "order-4712")
        await kitchen.ship()
    assert (refused.status, accepted.status) == (1, 0), accepted.err
    said = "event/events Event at index: [0] has invalid name [_purchase]."
    assert refused.out == f"FILE:1: {said}\n"
    assert google.kept == [good]
    assert google.dropped == [json.dumps(bad).encode()]  # delivered, as far as a sender can see
    settings = load(kitchen.home.config, {})
    assert settings.destinations["ga4"].late_after == 48 * 3600


async def test_no_one_says_that_the_secret_of_ga4_is_wrong(tmp_path: Path) -> None:
    """Neither the API nor its validation server, so the README can't promise it."""
    google = Google("G-ABCDE12345", "another one")
    sandbox = Sandbox(api=AnyApi())
    sandbox.answer_for = google
    async with sandbox.serve() as url:
        kitchen = Kitchen(tmp_path, url)
        good = {"client_id": "1.2", "events": [{"name": "purchase"}]}
        kitchen.enqueue("ga4", json.dumps(good), "order-4711")
        await kitchen.ship()
    assert (google.kept, len(google.dropped)) == ([], 1)
    assert "not whether the secret is right" in RECIPES.replace("\n# ", " ")


async def test_the_recipe_of_matomo(tmp_path: Path) -> None:
    """An event of three days ago is tracked, because of the token; without it, it is lost."""
    now = int(time.time())
    matomo = Matomo(SECRETS["matomo_token"], lambda: now)
    old = {"requests": [f"?idsite=1&rec=1&url=https%3A%2F%2Fs.example%2F&cdt={now - 3 * 86400}"]}
    sandbox = Sandbox(api=AnyApi())
    sandbox.answer_for = matomo
    async with sandbox.serve() as url:
        kitchen = Kitchen(tmp_path, url)
        kitchen.enqueue("matomo", json.dumps(old), "visit-1")
        await kitchen.ship()
        assert [fields["url"] for fields in matomo.tracked] == ["https://s.example/"]
        kitchen.put("matomo_token", "wrong")
        kitchen.enqueue("matomo", json.dumps(old), "visit-2")
        await kitchen.ship()
    assert (len(matomo.tracked), len(matomo.dropped)) == (1, 1)
    assert "but answers 200" in RECIPES


async def test_the_recipe_of_erp(tmp_path: Path) -> None:
    """One token for all events, another one after it was revoked, and 409 for a known order."""
    api = AnyApi(client=OAuthClient("shop", SECRETS["erp_secret"], 600.0))
    sandbox = Sandbox(api=api, chaos=Chaos.parse("409:1@idempotency-key=order-3"))
    targets: list[str] = []

    def revoke(info: RequestInfo) -> SandboxAnswer | None:
        targets.append(f"{info.method} {info.target}")
        assert api.tokens is not None
        if len(targets) == 2:  # the first is for the token, the second for an event
            api.tokens.revoke()
        return None

    sandbox.answer_for = revoke
    async with sandbox.serve() as url:
        kitchen = Kitchen(tmp_path, url)
        for name in ("order-1", "order-2", "order-3"):
            kitchen.enqueue("erp", EVENT, name)
        kitchen.enqueue("erp", '{"type": "a/b?c", "a/b?c": {}}', "other")
        await kitchen.ship()
    assert targets[0] == "POST /oauth/token"
    assert {"POST /hooks/order", "POST /hooks/a%2Fb%3Fc"} <= set(targets)
    assert api.tokens is not None
    assert api.tokens.given == 2
    delivered = await kitchen.call("events", "list", "--json")
    found = [json.loads(line) for line in delivered.out.splitlines()]
    assert {event["status"] for event in found} == {"delivered"}
    assert {event["attempts"] for event in found} == {0}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_event_for_several_apis_is_a_row_for_each(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """The README's transaction, which can be repeated."""
    url: str = request.getfixturevalue(f"{kind}_url")
    script = tagged("sql", "fan-out")
    for _ in range(2):
        if kind == "sqlite":
            sqlite_shell(path_of(url), script)
        else:
            psql(url, script)
    assert [(row.event_id, row.destination) for row in written(url)] == [
        ("order-4711", "default"),
        ("order-4711@erp", "erp"),
    ]
    add = 'Outbox(session).add(event, event_id="order-4711", destinations=["default", "erp"])'
    assert add in " ".join(TEXT.split())


async def test_an_api_that_is_down_holds_up_no_other(tmp_path: Path) -> None:
    """And what another one has accepted isn't sent again."""
    sandbox = Sandbox(api=AnyApi(client=OAuthClient("shop", SECRETS["erp_secret"], 600.0)))
    async with sandbox.serve() as url:
        kitchen = Kitchen(tmp_path, url)  # nothing listens for the destination default
        sqlite_shell(tmp_path / "shop.db", tagged("sql", "fan-out"))
        ran = await kitchen.call("drain")
    assert ran.status == 75, ran
    assert [visit.key for visit in sandbox.ledger.visits] == ["order-4711@erp"]
    listed = await kitchen.call("events", "list", "--json")
    found = [json.loads(line) for line in listed.out.splitlines()]
    assert {event["event_id"]: event["status"] for event in found} == {
        "order-4711": "pending",
        "order-4711@erp": "delivered",
    }


def test_the_secret_of_a_query_is_encoded(tmp_path: Path) -> None:
    """And comes out as it stands in the file: a secret can have any character."""
    info = RequestInfo("POST", "/", None, None, b"", {}, "/?api_secret=canary%2Fga4%2Bsecret")
    assert query_of(info) == {"api_secret": SECRETS["ga4_secret"]}
