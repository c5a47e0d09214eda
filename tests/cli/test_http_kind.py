"""`check`, `doctor`, `enqueue` and `validate --remote` with destinations of kind http."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.cli.command_line import Home

CANARY = "canary-7f3a-secret"
EVENT = b'{"type":"order","order":{"id":"4711"}}'
ANY = b'{"client_id":"1","events":[]}'


class _Api(BaseHTTPRequestHandler):
    """Answers with the status and the body that the path names, and remembers its requests."""

    seen: list[tuple[str, str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers.get("idempotency-key", ""), body))
        status, answer = self.path.split("?")[0].split("/")[1:3]
        said = {"google": GOOGLE, "list": LIST, "echo": self.path, "none": ""}.get(answer, "no")
        self.send_response(int(status))
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


GOOGLE = json.dumps(
    {
        "validationMessages": [
            {"fieldPath": "events.name", "description": "is bad", "validationCode": "V"}
        ]
    }
)
LIST = '[{"instancePath":"/order","message":"must be nicer"}]'


class Kind(Home):
    """A directory with one destination of kind http, which is asked at a path."""

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__(directory, "sqlite:///shop.db")
        self.url = f"http://127.0.0.1:{port}"
        secret = directory / "secret"
        secret.write_text(CANARY)
        secret.chmod(0o600)

    def write(self, ask: str = "", more: str = "") -> None:
        """Write the configuration; `ask` is the path and query of `validate_url`."""
        asked = f'validate_url = "{self.url}{ask}"\n' if ask else ""
        self.configure(
            "sqlite:///shop.db",
            "http://127.0.0.1:9/e",
            f'[destinations.erp]\nkind = "http"\nurl = "{self.url}/202/none?k={{secret:hook}}"\n'
            f'{asked}secrets = {{ hook = {{ file = "secret" }} }}\n{more}',
        )

    def ask(self, event: bytes = EVENT) -> tuple[int, str, str]:
        """Let the API validate an event; return exit status, stdout and stderr."""
        ran = self.call("validate", "-", "--remote", "--destination", "erp", stdin=event)
        assert CANARY not in ran.out + ran.err
        return ran.status, ran.out, ran.err


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Kind]:
    """Give a directory, and an API."""
    api = type("Api", (_Api,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), api) as server:
        Thread(target=server.serve_forever).start()
        try:
            made = Kind(tmp_path, server.server_port)
            made.seen = api.seen  # type: ignore[attr-defined]
            yield made
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("ask", "status", "said"),
    [
        ("/204/none", 0, ""),
        ("/200/other", 0, ""),
        ("/200/google", 1, "stdin:1: event/events/name is bad\n"),
        ("/400/list", 1, "stdin:1: event/order must be nicer\n"),
        ("/422/other", 1, "stdin:1: event is refused: HTTP 422"),
        ("/422/echo?k={secret:hook}", 1, "****"),
    ],
)
def test_what_a_validate_url_says_is_reported(home: Kind, ask: str, status: int, said: str) -> None:
    """Google's messages, a list, or a refusal; the secret of the URL isn't shown."""
    home.write(ask)
    found, out, err = home.ask()
    assert (found, said in out) == (status, True), (out, err)


@pytest.mark.parametrize(
    ("ask", "status", "said"),
    [
        ("", 78, "destination erp has no validate_url"),
        ("/401/other", 78, "check validate_url and secrets of the destination"),
        ("/503/other", 75, "erp didn't validate the event"),
    ],
)
def test_an_api_that_does_not_validate_is_said_so(
    home: Kind, ask: str, status: int, said: str
) -> None:
    """With what there is to do."""
    home.write(ask)
    found, out, err = home.ask()
    assert (found, out, said in err) == (status, "", True), err


def test_a_status_means_what_the_answers_say(home: Kind) -> None:
    """As when the daemon sends."""
    home.write("/409/other", "answers = { accepted = [409] }\n")
    assert home.ask()[0] == 0


def test_the_placeholders_of_a_validate_url_have_values(home: Kind) -> None:
    """And an event without a type is an invalid one, where the type is asked for."""
    home.write("/204/none/{event_id}/{ordering_key}/{type}")
    assert home.ask() == (0, "", "stdin:1: ok\n")
    status, out, _ = home.ask(ANY)
    assert (status, out) == (
        1,
        "stdin:1: event can't be sent: the event has no type, which {type} asks for\n",
    )


def test_no_key_makes_a_document_an_event(home: Kind) -> None:
    """A receiver would store it under this key."""
    home.write("/204/none")
    home.ask()
    assert home.seen == [("/204/none", "", EVENT)]  # type: ignore[attr-defined]


def test_check_and_doctor_show_the_request(home: Kind) -> None:
    """In words and as JSON; neither reads nor shows a secret."""
    home.write(more='auth = { type = "bearer", token_file = "secret" }\n')
    line = f"POST {home.url}/202/none?k=****"
    checked = home.call("check")
    assert f"  each event is a request: {line}\n    accept: */*\n" in checked.out
    assert "    authorization: Bearer ****\n" in checked.out
    told = home.call("check", "--json").value["requests"]["erp"]
    assert f"{told['method']} {told['url']}" == line
    assert told["headers"]["authorization"] == "Bearer ****"
    doctor = home.call("doctor")
    assert f"{line} with " in " ".join(doctor.out.split())
    assert "authorization: Bearer ****" in " ".join(doctor.out.split())
    assert CANARY not in checked.out + doctor.out + json.dumps(told)
    assert home.seen == []  # type: ignore[attr-defined]


def test_an_event_of_another_form_can_be_enqueued(home: Kind) -> None:
    """Kind http asks for nothing of an event, unless its validation says so."""
    home.write()
    assert home.call("db", "upgrade", "--create").status == 0
    ran = home.call("enqueue", "--destination", "erp", stdin=ANY)
    assert ran.status == 0, ran.err
    assert home.call("enqueue", stdin=ANY).status == 1
    broken = home.call("enqueue", "--destination", "erp", stdin=b'{"client_id":')
    assert broken.status == 1
    home.write(more='validation = "envelope"\n')
    assert home.call("enqueue", "--destination", "erp", stdin=ANY).status == 1
