"""What two daemons of one outbox compare: what is in it, what never is, and what differs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.advice import differing_settings
from shipper.config import Settings
from shipper.config.agreement import MOST, agreement, alarms_differ, differences, lacks

Load = Callable[..., Settings]

_ERP = """\
[destinations.erp]
url = "https://erp.example/e?tenant=blue-secret"
api_id = "key-of-erp"
"""


def test_the_same_configuration_agrees(configured: Load) -> None:
    """Also where another order of the destinations, or another unit, says the same."""
    mine = agreement(configured(more=f"{_ERP}max_rate = 60\ntimeout = '5s'\n"))
    theirs = agreement(configured(more=f"{_ERP}timeout = 5\nmax_rate = 60.0\n"))
    assert differences(mine, theirs) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("max_rate = 5", "destinations.erp.max_rate"),
        ("max_in_flight = 5", "destinations.erp.max_in_flight"),
        ('after_dead_letter = "hold"', "destinations.erp.after_dead_letter"),
        ("timeout = '5s'", "destinations.erp.timeout"),
        ("retry = {max_attempts = 5}", "destinations.erp.retry.max_attempts"),
        ("validation = 'off'", "destinations.erp.validation"),
        ("late_after = '48h'", "destinations.erp.late_after"),
        ("[validation]\nmode = 'schema'", "validation.mode"),
        ("[retention]\ndelivered = '1d'", "retention.delivered"),
        ("[retention]\ndead = '90d'", "retention.dead"),
        ("[schedule]\nwindows = '* 8-19 * * *'", "schedule.windows"),
        ("[alerts]\nwebhook_url = 'https://hooks.example/secret'", "alerts.webhook_url"),
        ("[alerts]\nheartbeat_url = 'https://hooks.example/secret'", "alerts.heartbeat_url"),
        ("[alerts]\nheartbeat_every = '5m'", "alerts.heartbeat_every"),
        ("[alerts]\noldest_pending = '5m'", "alerts.oldest_pending"),
    ],
)
def test_a_setting_that_differs_is_named(configured: Load, line: str, name: str) -> None:
    """By the name that it has in `config show`; each of the two says the same."""
    mine, theirs = agreement(configured(more=_ERP)), agreement(configured(more=f"{_ERP}{line}\n"))
    assert differences(mine, theirs) == differences(theirs, mine) == [name]
    assert not lacks([name])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("method = 'PUT'", "destinations.hook.method"),
        ("content_type = 'text/json'", "destinations.hook.content_type"),
        ("idempotency_header = ''", "destinations.hook.idempotency_header"),
        ("headers = {x-shop = '42'}", "destinations.hook.headers"),
        ("answers = {accepted = [409, '2xx']}", "destinations.hook.answers.accepted"),
        ("cloudevents = {source = '/shops/a'}", "destinations.hook.cloudevents.source"),
        ("tls = {cert_file = 'a', key_file = 'b'}", "destinations.hook.tls.cert_file"),
    ],
)
def test_a_setting_of_any_http_api_that_differs_is_named(
    configured: Load, line: str, name: str
) -> None:
    """But for the values of headers: one of them can be a secret."""
    hook = '[destinations.hook]\nkind = "http"\nurl = "https://hook.example/"\n'
    mine, theirs = agreement(configured(more=hook)), agreement(configured(more=f"{hook}{line}\n"))
    assert differences(mine, theirs) == differences(theirs, mine) == [name]
    assert "42" not in theirs


def test_what_each_machine_decides_is_no_difference(configured: Load) -> None:
    """The name, the log, the local port, the certificates and the way to the network."""
    more = "[log]\nlevel = 'debug'\n[daemon]\nname = 'second'\n[web]\nlisten = '127.0.0.1:9'\n"
    mine = agreement(configured(more=_ERP))
    theirs = agreement(configured(more=f"{_ERP}ca_file = 'x.pem'\ntransport = 'httpx'\n{more}"))
    assert differences(mine, theirs) == []


def test_a_destination_that_one_of_them_lacks_is_named(configured: Load) -> None:
    """Nothing of it is compared; the one says "here", and the other one "there"."""
    mine, theirs = agreement(configured(more=_ERP)), agreement(configured())
    assert differences(mine, theirs) == ["destinations.erp (only here)"]
    assert differences(theirs, mine) == ["destinations.erp (only there)"]
    assert lacks(differences(mine, theirs))
    assert lacks(differences(theirs, mine))


def test_another_address_differs_and_none_is_told(configured: Load) -> None:
    """Neither the address nor what is secret in it can be read from the text."""
    mine = agreement(configured(more=_ERP))
    theirs = agreement(configured(more=_ERP.replace("erp.example", "other.example")))
    assert differences(mine, theirs) == ["destinations.erp.url"]
    secret = agreement(configured(more=_ERP.replace("blue-secret", "red-secret")))
    assert differences(mine, secret) == []
    for part in ("erp.example", "https", "tenant", "blue-secret", "key-of-erp", "id-1"):
        assert part not in mine
    assert len(json.loads(mine)["destinations"]["erp"]["url"]) == 8


def test_of_alerts_only_whether_there_is_a_url_is_compared(
    configured: Load, tmp_path: Path
) -> None:
    """It is often a secret, also its path; where it is read from makes no difference."""
    hook = "[alerts]\nwebhook_url = 'https://hooks.example/canary'\n"
    mine = agreement(configured(more=hook))
    (tmp_path / "hook").write_text("https://hooks.example/other")
    (tmp_path / "hook").chmod(0o600)
    of_file = agreement(configured(more="[alerts]\nwebhook_url_file = 'hook'\n"))
    assert differences(mine, of_file) == []
    found = differences(mine, agreement(configured()))
    assert found == ["alerts.webhook_url"]
    assert alarms_differ(found)
    assert "one daemon sends the alarms" in differing_settings(found)
    assert not alarms_differ(["alerts.oldest_pending"])
    assert "canary" not in mine
    assert "hooks.example" not in mine


def test_only_some_of_many_differences_are_named(configured: Load) -> None:
    """And how many more there are."""
    url, many = 'url = "https://h/"\napi_id = "x"\n', range(MOST + 5)
    more = "".join(f"[destinations.d{number}]\n{url}" for number in many)
    found = differences(agreement(configured(more=more)), agreement(configured()))
    assert len(found) == MOST + 1
    assert found[-1] == "and 5 more"


def test_a_setting_of_another_version_does_not_count(configured: Load) -> None:
    """Only what both versions know can differ."""
    mine = agreement(configured(more=_ERP))
    newer = json.loads(mine)
    newer["destinations"]["erp"]["burst"] = 7
    newer["retention.held"] = 9.0
    older = json.loads(mine)
    del older["destinations"]["erp"]["max_rate"], older["validation.mode"]
    for other in (newer, older):
        assert differences(mine, json.dumps(other)) == differences(json.dumps(other), mine) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '{"destinations": []}',
        '{"destinations": {"default": 3}}',
        '{"destinations": {"default": {}, "\\u001b[2J": {}, "two words": {}}}',
        "[" * 100_000,
        '{"validation.mode": ' + "9" * 5000 + "}",
        '{"validation.mode": "off"}' + " " * 1_000_001,
    ],
)
def test_a_garbled_text_is_no_difference(configured: Load, text: str) -> None:
    """It raises nothing, and nothing of it gets into a log."""
    assert differences(agreement(configured()), text) == []
    assert differences("{", text) == []


@given(
    theirs=st.recursive(
        st.none() | st.integers() | st.text(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(
                st.sampled_from(["destinations", "default", "validation.mode", "url"]), s
            )
        ),
    )
)
def test_no_text_raises(theirs: object) -> None:
    """Whatever another version makes of it; what is named is always printable."""
    mine = '{"destinations": {"default": {"url": "a"}}, "validation.mode": "off"}'
    for name in differences(mine, json.dumps(theirs)):
        assert name.isprintable()
