"""Requests to a webhook: what they contain, and what they never do."""

from collections.abc import AsyncIterator

import pytest

from shipper.destination.webhook import Hook
from shipper.errors import ConfigError
from shipper.policy.outcome import Fault, Reply
from tests.observe.receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Return a server that listens."""
    async with receiving() as receiver:
        yield receiver


async def rung(hook: Hook, body: bytes = b"") -> Reply | Fault:
    """Ring once, and close."""
    try:
        return await hook.send(body)
    finally:
        await hook.aclose()


def post(url: str, proxy: str | None = None) -> Hook:
    """Return what posts there."""
    return Hook(url, "POST", timeout=5.0, ca_file=None, proxy=proxy)


async def test_a_hook_is_asked_without_anything_of_ours(receiver: Receiver) -> None:
    """Neither an API ID nor a key of an event; only who asks."""
    hook = Hook(f"{receiver.url}/beat?x=1", "GET", timeout=5.0, ca_file=None, proxy=None)
    answer = await rung(hook)
    assert isinstance(answer, Reply)
    assert answer.status == 200
    [call] = receiver.calls
    assert (call.method, call.path, call.body) == ("GET", "/beat?x=1", b"")
    assert {name.lower() for name in call.headers} == {
        "host", "accept", "accept-encoding", "content-type", "user-agent", "content-length",
    }  # fmt: skip
    assert call.headers["User-Agent"].startswith("shipper/")


async def test_a_hook_is_told_a_body(receiver: Receiver) -> None:
    """As it is."""
    assert isinstance(await rung(post(f"{receiver.url}/hook"), b'{"a":1}'), Reply)
    [call] = receiver.calls
    assert (call.method, call.path, call.body) == ("POST", "/hook", b'{"a":1}')


async def test_a_redirect_is_an_answer_and_not_followed(receiver: Receiver) -> None:
    """A request for one URL is never sent to another."""
    receiver.status = 307
    answer = await rung(post(f"{receiver.url}/hook"), b"{}")
    assert isinstance(answer, Reply)
    assert answer.status == 307
    assert len(receiver.calls) == 1


async def test_a_proxy_is_gone_through(receiver: Receiver) -> None:
    """By the stock client, with the same method and as little in it."""
    answer = await rung(post("http://hooks.example.com/hook", proxy=receiver.url), b"{}")
    assert isinstance(answer, Reply)
    [call] = receiver.calls
    assert (call.method, call.headers["Host"], call.body) == ("POST", "hooks.example.com", b"{}")
    assert "x-api-id" not in {name.lower() for name in call.headers}


async def test_a_fault_does_not_show_where_it_was() -> None:
    """The URL is a secret as a whole."""
    answer = await rung(post("http://127.0.0.1:1/canary-token?t=canary"))
    assert isinstance(answer, Fault)
    assert answer.kind == "refused"
    assert "canary" not in repr(answer)


def test_a_url_that_cannot_work_is_refused_without_being_shown() -> None:
    """When the configuration is checked, before the first request."""
    with pytest.raises(ConfigError) as raised:
        post("http://" + "canary." * 40 + "x" * 70 + "/")
    assert "canary" not in str(raised.value)
