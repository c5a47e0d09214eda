"""The request that a person is shown: like the one that is sent, and without any secret."""

from pathlib import Path
from typing import Any

import pytest

from shipper.config import DestinationSettings, Secret
from shipper.config.destination import (
    AuthSettings,
    CloudEventsSettings,
    SignSettings,
)
from shipper.config.http_types import HeaderValue, SecretFile
from shipper.config.secrets import Secrets
from shipper.destination.form import form_of
from shipper.destination.preview import preview
from shipper.policy.event import Event

CANARY = "canary-7f3a"
FILE = Path("/nowhere/secret")
URL = "https://erp.example:8443/hooks/{type}/{event_id}?k={secret:hook}&api_secret=canary-7f3a&key={ordering_key}"


def http(url: str = URL, **settings: Any) -> DestinationSettings:
    """Return a destination whose secrets are in files that don't exist."""
    named = {"hook": SecretFile(FILE)}
    return DestinationSettings("erp", url, kind="http", secrets=named, **settings)


def test_the_vendors_api_gets_what_it_always_gets() -> None:
    """With the mask in the place of the API ID."""
    made = preview(
        DestinationSettings("default", "https://a.example/v3/events", api_id=Secret(CANARY))
    )
    assert made.line == "POST https://a.example/v3/events"
    assert made.headers == {
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": made.headers["user-agent"],
        "x-api-id": "****",
        "idempotency-key": "{event_id}",
    }


def test_a_url_shows_its_placeholders_and_masks_its_secrets() -> None:
    """Those of files, and those that stand in the URL under a name that says so."""
    made = preview(http(method="PUT"))
    assert made.line == (
        "PUT https://erp.example:8443/hooks/{type}/{event_id}?k=****&api_secret=****&key={ordering_key}"
    )


def test_headers_are_shown_or_masked() -> None:
    """A file's content is never shown; a text isn't, if its name is that of a secret."""
    headers = {
        "x-file": HeaderValue(file=FILE),
        "x-key": HeaderValue(text=CANARY),
        "Authorization": HeaderValue(text=f"Token {CANARY}"),
        "x-lane": HeaderValue(text="v1 {ordering_key} {destination} {{}}"),
        "x-mixed": HeaderValue(text="a {secret:hook} b"),
    }
    made = preview(http(headers=headers, idempotency_header="x-request-key"))
    assert made.headers["x-request-key"] == "{event_id}"
    assert {name: made.headers[name] for name in headers} == {
        "x-file": "****",
        "x-key": "****",
        "Authorization": "Token ****",
        "x-lane": "v1 {ordering_key} erp {}",
        "x-mixed": "a **** b",
    }


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        (AuthSettings("bearer", token_file=FILE), "Bearer ****"),
        (AuthSettings("basic", user="till", password_file=FILE), "Basic ****"),
        (AuthSettings("oauth2", token_url="https://a.example/t", client_id="shop"), "Bearer ****"),
    ],
)
def test_authorization_shows_its_scheme(auth: AuthSettings, shown: str) -> None:
    """And nothing more: what stands behind it is made of a secret."""
    assert preview(http(auth=auth)).headers["authorization"] == shown


def test_signatures_and_cloudevents_are_shown() -> None:
    """Without a signature, which would be one of a made-up secret."""
    made = preview(
        http(
            sign=SignSettings("standard-webhooks", FILE),
            cloudevents=CloudEventsSettings("/shops/42", "com.example."),
        )
    )
    assert made.headers["webhook-id"] == made.headers["ce-id"] == "{event_id}"
    assert made.headers["webhook-timestamp"] == "{seconds}"
    assert made.headers["webhook-signature"] == "v1,****"
    assert (made.headers["ce-source"], made.headers["ce-type"]) == (
        "/shops/42",
        "com.example.{type}",
    )
    assert made.headers["ce-time"] == "{time}"


def test_it_has_the_headers_of_a_real_request() -> None:
    """The same names in the same order, but for the host, which the URL has."""
    settings = http(
        headers={"x-file": HeaderValue(file=FILE)},
        auth=AuthSettings("bearer", token_file=FILE),
    )
    secrets = Secrets(headers={"x-file": "a"}, named={"hook": "b"}, token="c")
    event = Event(1, "order-1", "erp", "key", b'{"type":"order","order":{}}')
    sent = form_of(settings).request(event, secrets).fields()
    assert [name for name in sent if name != "host"] == list(preview(settings).headers)


def test_no_secret_of_the_configuration_is_in_it() -> None:
    """Wherever it stands."""
    headers = {"x-token": HeaderValue(text=CANARY), "cookie": HeaderValue(text=f"a={CANARY}")}
    made = preview(http(headers=headers))
    assert CANARY not in f"{made.line} {made.headers}"
