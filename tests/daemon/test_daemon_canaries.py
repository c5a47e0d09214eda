"""One canary of each kind of secret: an API echoes everything, and none of them gets out.

Neither as it is in its file, nor in a form in which it is sent.
"""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.processes import until
from tests.daemon.test_daemon_auth import put
from tests.daemon.test_daemon_http import add
from tests.daemon.test_daemon_web import ask
from tests.destination.servers import Talk, serving
from tests.destination.token_endpoints import TokenEndpoint, granting, saying

HEADER, NAMED, TOKEN = "canary-header-1a", "canary/named 2b", "canary-token~3c"
PASSWORD, CLIENT, ACCESS = "canary:password+4d", "canary client/5e", "canary-access.6f"
PLAIN, QUERY = "canary-plain-7g", "canary-query-8h"
SIGNING = b64encode(b"canary-signing-key-nine-9i").decode()
SECRETS = (HEADER, NAMED, TOKEN, PASSWORD, CLIENT, ACCESS, PLAIN, QUERY, SIGNING)
_STATUSES = (400, 401, 403, 404, 409, 422, 429, 451, 500, 503, 302, 511, 599)

AUTH = {
    "bearer": 'type = "bearer"\ntoken_file = "token"',
    "basic": 'type = "basic"\nuser = "shop"\npassword_file = "password"',
    "oauth2": 'type = "oauth2"\nclient_id = "shop"\nclient_secret_file = "client"\n',
}


def forms() -> Iterator[str]:
    """Yield every text that must not be shown."""
    for secret in SECRETS:
        yield from (secret, quote(secret, safe=""), quote_plus(secret))
        # What stays the same of its base64, whatever stands before it.
        for shift in range(3):
            yield b64encode(b"x" * shift + secret.encode()).decode()[4:-4]


class Echo:
    """Throws everything back that it is sent, in answers of all kinds; at last it accepts."""

    def __init__(self) -> None:
        self._statuses = cycle(_STATUSES)
        self.given: list[int] = []
        self.words = ""

    async def __call__(self, talk: Talk) -> None:
        """Answer the requests of a connection."""
        while True:
            request = await talk.request()
            words = "\n".join([request.line, *(f"{k}: {v}" for k, v in request.headers.items())])
            self.words += words
            self.given.append(next(self._statuses))
            target = request.line.split()[1]
            location = f"location: http://elsewhere.example{target}\r\n"
            await talk.say(saying(self.given[-1], words.encode(), location))


def section(url: str, auth: str) -> str:
    """Return the configuration of a destination with a secret of each kind."""
    return f"""
[destinations.erp]
kind = "http"
url = "{url}?k={{secret:hook}}&api_secret={QUERY}"
retry = {{min_delay = "5ms", max_delay = "20ms", probe_max_delay = "20ms", max_attempts = 2}}
[destinations.erp.headers]
x-file = {{ file = "header" }}
x-api-key = "{PLAIN}"
x-both = "hook={{secret:hook}};"
[destinations.erp.secrets]
hook = {{ file = "named" }}
[destinations.erp.sign]
scheme = "standard-webhooks"
secret_file = "signing"
[destinations.erp.auth]
{auth}
"""


def secrets_in(directory: Path) -> None:
    """Write the files of all secrets."""
    files = {"header": HEADER, "named": NAMED, "token": TOKEN, "password": PASSWORD}
    for name, text in (files | {"client": CLIENT, "signing": f"whsec_{SIGNING}"}).items():
        put(directory / name, text)


COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("status", "--json"),
    ("events", "list"),
    ("events", "show", "1"),
    ("events", "show", "1", "--json"),
    ("dead", "list"),
    ("dead", "show", "1"),
    ("dead", "list", "--json"),
    ("config", "show"),
    ("config", "show", "--origin"),
    ("config", "show", "--json"),
    ("doctor",),
    ("doctor", "--json"),
    ("check",),
    ("verify",),
)


@pytest.mark.parametrize("kind", AUTH)
@only_sqlite
async def test_no_secret_gets_out(shop: Shop, kind: str) -> None:
    """Not into the log at its most talkative, a report, the metrics, the history, the database."""
    secrets_in(shop.directory)
    web, echo, endpoint = shop.directory / "web.sock", Echo(), TokenEndpoint()
    endpoint.answer = lambda number: saying(
        *((200, {"access_token": f"{ACCESS}{number}"}) if number % 3 else (401, {"no": CLIENT}))
    )
    async with serving(echo) as server, granting(endpoint):
        auth = AUTH[kind] + (f'token_url = "{endpoint.url}"' if kind == "oauth2" else "")
        shop.configure(more=f'{section(server.url, auth)}[web]\nlisten = "unix:{web}"\n')
        daemon = await shop.started()
        for number in range(6):
            add(shop, f"e{number}", key=f"k{number}")
        await until(lambda: set(_STATUSES) <= set(echo.given) or not daemon.is_alive)
        told = {path: (await ask(web, path))[1] for path in ("/metrics", "/readyz")}
        places = asyncio.Semaphore(2)

        async def run(command: tuple[str, ...]) -> None:
            async with places:
                process = await shop.command(*command)
                told[" ".join(command)] = process.stdout + process.stderr
                assert "this is a bug" not in process.stderr

        await asyncio.gather(*(run(command) for command in COMMANDS))
        await daemon.stop()
    # The API really has seen them.
    sent = {"bearer": TOKEN, "basic": b64encode(f"shop:{PASSWORD}".encode()).decode()}
    assert {"oauth2": ACCESS, **sent}[kind] in echo.words
    assert HEADER in echo.words
    assert f"k={quote(NAMED, safe='')}&api_secret={QUERY}" in echo.words
    told |= {"log": daemon.stderr, "stdout": daemon.stdout}
    for file in shop.directory.glob("shop.db*"):
        told[file.name] = file.read_bytes().decode("latin-1")
    assert "****" in "".join(told.values())
    leaks = {(form, place) for form in forms() for place, text in told.items() if form in text}
    assert leaks == set()
