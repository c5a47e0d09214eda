"""`shipper sandbox --kind http`: its options, what it prints, and how it asks for certificates."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import trustme

from tests.cli.command_line import DEADLINE, Home, next_line
from tests.sandbox.test_sandbox_any_api import SECRET


def post(
    url: str, body: bytes = b"{}", tls: ssl.SSLContext | None = None, **headers: str
) -> tuple[int, bytes]:
    """Send a request; return status and body of the answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE, context=tls) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Give an empty directory."""
    return Home(tmp_path, "sqlite:///none.db")


def test_it_takes_any_event_and_counts_it(home: Home) -> None:
    """With --json, the first line says where it listens, and the last one what it saw."""
    with home.running("sandbox", "--kind", "http", "--port", "0", "--json") as process:
        assert process.stdout is not None
        said = json.loads(next_line(process.stdout.fileno()))
        assert said["events_url"] == said["url"] + "/events"
        for path in ("/events", "/hooks/order?x=1"):
            assert post(said["url"] + path, b"anything", webhook_id="e-1")[0] == 202
        process.terminate()
        out, _ = process.communicate(timeout=DEADLINE)
    summary = json.loads(out)
    assert (summary["accepted"], summary["repeats"], process.returncode) == (2, 1, 0)


def test_it_gives_tokens_and_prints_no_secret(home: Home) -> None:
    """The text on stderr says what a request needs, and has a destination to paste."""
    options = ("--bearer", "b-secret", "--basic", "u:p-secret", "--client", "shop:c-secret")
    life = ("--token-life", "1m", "--sign-secret", SECRET)
    with home.running("sandbox", "--kind", "http", "--port", "0", *options, *life) as process:
        assert process.stderr is not None
        said = ""
        while "  url = " not in said:
            said += next_line(process.stderr.fileno()).decode()
        url = said.split("listens on ")[1].split()[0]
        status, body = post(
            f"{url}/oauth/token",
            b"grant_type=client_credentials&client_id=shop&client_secret=c-secret",
            content_type="application/x-www-form-urlencoded",
        )
        assert (status, json.loads(body)["expires_in"]) == (200, 60)
        assert post(f"{url}/x")[0] == 401
        answer = post(f"{url}/x", authorization="Bearer b-secret")
        assert (answer[0], b"webhook-id" in answer[1]) == (401, True)
        process.terminate()
        said += process.communicate(timeout=DEADLINE)[1].decode()
    assert 'kind = "http"' in said
    assert f"Bearer TOKEN or Authorization: Basic … or a token of {url}/oauth/token" in said
    assert "-secret" not in said
    assert SECRET[6:] not in said


@pytest.mark.parametrize(
    ("option", "secret"),
    [("--bearer", "b-secret"), ("--basic", "till:b-secret"), ("--client", "shop:b-secret")],
)
def test_the_destination_that_it_prints_works(home: Home, option: str, secret: str) -> None:
    """With the secrets in the files that are named there: each option has its line."""
    asked = (option, secret, "--sign-secret", SECRET)
    with home.running("sandbox", "--kind", "http", "--port", "0", *asked) as process:
        assert process.stderr is not None
        said = ""
        while "sign = {" not in said:
            said += next_line(process.stderr.fileno()).decode()
        printed = said[said.index("  [destinations.NAME]") :].replace("NAME", "erp")
        home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", printed)
        for name, text in (("sandbox_auth", "b-secret"), ("sandbox_sign", SECRET)):
            (home.directory / name).write_text(text)
            (home.directory / name).chmod(0o600)
        assert home.call("db", "upgrade", "--create").status == 0
        event = b'{"type":"order","order":{}}'
        assert home.call("enqueue", "--destination", "erp", stdin=event).status == 0
        ran = home.run("drain", "--timeout", "30s")
        assert ran.status == 0, ran
    assert "b-secret" not in said


def test_it_asks_for_a_certificate(home: Home) -> None:
    """With --client-ca, only a client with a certificate of that authority gets an answer."""
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(home.directory / "key.pem")
    server.cert_chain_pems[0].write_to_path(home.directory / "cert.pem")
    authority.cert_pem.write_to_path(home.directory / "ca.pem")
    client = ssl.create_default_context()
    authority.configure_trust(client)
    files = ("--tls-cert", "cert.pem", "--tls-key", "key.pem", "--client-ca", "ca.pem")
    with home.running("sandbox", "--kind", "http", "--port", "0", "--json", *files) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = ""
        while "  tls = {" not in said:
            said += next_line(process.stderr.fileno()).decode()
        assert "  ca_file = " in said
        url = json.loads(next_line(process.stdout.fileno()))["events_url"]
        assert url.startswith("https://")
        with pytest.raises(OSError, match=r"(?i)certificate|reset|EOF|closed"):
            post(url, tls=client)
        authority.issue_cert("till").configure_cert(client)
        assert post(url, tls=client)[0] == 202


_EVERYTHING = """
[destinations.erp]
kind = "http"
url = "{url}/hooks/{{type}}"
ca_file = "ca.pem"
idempotency_header = ""
tls = {{ cert_file = "own.pem", key_file = "own-key.pem" }}
sign = {{ scheme = "standard-webhooks", secret_file = "signing" }}
cloudevents = {{ source = "/shops/42" }}
[destinations.erp.auth]
type = "oauth2"
token_url = "{url}/oauth/token"
client_id = "shop"
client_secret_file = "client"
"""


def test_a_destination_with_everything_ships_to_it(home: Home) -> None:
    """TLS with an own certificate, OAuth2, a signature and CloudEvents; nothing is charged."""
    authority, directory = trustme.CA(), home.directory
    for name, issued in (
        ("own", authority.issue_cert("till")),
        ("tls", authority.issue_cert("127.0.0.1")),
    ):
        issued.cert_chain_pems[0].write_to_path(directory / f"{name}.pem")
        issued.private_key_pem.write_to_path(directory / f"{name}-key.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    (directory / "signing").write_text(SECRET)
    (directory / "client").write_text("c:s+e ü%")
    for name in ("signing", "client", "own-key.pem"):
        (directory / name).chmod(0o600)
    files = ("--tls-cert", "tls.pem", "--tls-key", "tls-key.pem", "--client-ca", "ca.pem")
    asked = ("--client", "shop:c:s+e ü%", "--token-life", "5m", "--sign-secret", SECRET)
    options = ("--kind", "http", "--port", "0", "--json", *files, *asked)
    with home.running("sandbox", *options) as process:
        assert process.stdout is not None
        url = json.loads(next_line(process.stdout.fileno()))["url"]
        home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", _EVERYTHING.format(url=url))
        assert home.call("db", "upgrade", "--create").status == 0
        doctor = home.run("doctor", "--json").value["findings"]
        levels = {found["name"]: found["level"] for found in doctor if "erp" in found["name"]}
        assert set(levels.values()) == {"ok"}, [f for f in doctor if f["level"] == "fault"]
        assert levels.keys() >= {"request erp", "TLS erp", "certificate erp", "token erp"}
        events = b'{"type":"order","order":{}}\n' * 3
        assert home.call("enqueue", "--destination", "erp", stdin=events).status == 0
        ran = home.run("drain", "--timeout", "30s")
        assert ran.status == 0, ran
        process.terminate()
        summary = json.loads(process.communicate(timeout=DEADLINE)[0])
    assert summary["answers"] == {"200": 2, "202": 3}  # a token for doctor, and one for drain
    assert (summary["accepted"], summary["distinct"], summary["unkeyed"]) == (3, 3, 0)
    assert summary["flawless"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bearer", "b-secret"), "--bearer needs --kind http"),
        (("--token-life", "1m"), "--token-life needs --kind http"),
        (("--kind", "http", "--api-id", "b-secret"), "--api-id needs --kind 8select"),
        (("--kind", "http", "--token-life", "1m"), "--token-life needs --client"),
        (("--kind", "http", "--client", "b-secret"), "--client needs a name and a secret"),
        (("--kind", "http", "--basic", "till:"), "--basic needs a name and a secret"),
        (("--kind", "http", "--sign-secret", "b-secret"), "24 to 64 bytes"),
        (("--tls-key", "key.pem"), "--tls-key needs --tls-cert"),
        (("--client-ca", "ca.pem"), "--client-ca needs --tls-cert"),
        (("--tls-cert", "none.pem"), "none.pem"),
        (("--kind", "https"), "8select"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    home: Home, options: tuple[str, ...], said: str
) -> None:
    """Exit status 2 with the option's name, and without its secret."""
    ran = home.call("sandbox", "--port", "0", *options)
    assert (ran.status, said in ran.err) == (2, True), ran.err
    assert "b-secret" not in ran.err


def test_a_secret_can_be_base64_of_any_form(home: Home) -> None:
    """With padding, as `openssl rand -base64 32` prints it."""
    secret = "whsec_" + base64.b64encode(b"\xff" * 32).decode()
    options = ("--kind", "http", "--port", "0", "--json", "--sign-secret", secret)
    with home.running("sandbox", *options) as process:
        assert process.stdout is not None
        assert json.loads(next_line(process.stdout.fileno()))["url"]
