"""Canaries: an API ID, a payload and a password, looked for in everything that shipper writes.

A receiver throws back whatever it is sent, in answers of every kind; a daemon logs at its most
talkative; every command of the command line is run, with what makes it fail too. None of the
canaries may turn up in a log, an error, a report, a metric, or what the system tells of a process;
the API ID, the password and the secrets of another destination, of kind http, not in the database
either. A payload is shown where somebody asked for
that very event, and nowhere else.
"""

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from urllib.parse import quote, quote_plus

from sqlalchemy import make_url

from shipper.cli.grammar.registry import COMMANDS
from shipper.sandbox import InjectedFault, RequestInfo, SandboxAnswer
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher, Life
from tests.daemon.application import payload
from tests.daemon.harness import API_ID, Shop
from tests.daemon.processes import until

PAYLOAD = "canary-payload-93b1"
PASSWORD = "canary-password-5c2e"
IN_FILE, IN_URL = "canary-in-a-file-6d1f", "canary/in a url-7e2a"
IN_TEXT, IN_QUERY = "canary-in-a-text-8f3b", "canary-in-a-query-9a4c"
HTTP = (IN_FILE, IN_URL, quote(IN_URL, safe=""), quote_plus(IN_URL), IN_TEXT, IN_QUERY)
"""The secrets of kind http, in the forms in which they are sent."""
SECRETS = (API_ID, PASSWORD, *HTTP)
_AT_ONCE = 4
_STATUSES = (400, 401, 404, 409, 422, 429, 451, 500, 502, 503, 302, 511, 599, 999)
# What serves, and what is to show or to hand over an event.
_NOT_RUN = frozenset({"run", "sandbox", "top", "demo", "service install", "service uninstall"})
_SHOWS_EVENTS = frozenset({"events show", "dead show", "events export", "backup"})


class Echo:
    """A receiver that throws everything back, every time in another answer, and then accepts."""

    def __init__(self) -> None:
        self._answers = cycle(self._all())
        self.given = self.given_to_http = 0
        self.accepts = False

    def __call__(self, request: RequestInfo) -> SandboxAnswer | InjectedFault | None:
        """Answer a request."""
        if self.accepts:
            return None
        self.given += 1
        said = json.dumps(dict(request.headers)).encode() + b"\n" + request.payload
        if "x-file" in request.headers:  # of kind http: what its URL has, which isn't passed on
            self.given_to_http += 1
            said += f"\n?k={quote(IN_URL, safe='')}&api_secret={IN_QUERY}".encode()
        answer = next(self._answers)
        if isinstance(answer, InjectedFault):
            return answer
        head = {"X-Echo": f"{API_ID} {PAYLOAD}", "Location": f"http://{API_ID}.invalid/{PAYLOAD}"}
        page = {"Content-Type": "text/html"} if answer % 2 else {}
        return SandboxAnswer(answer, b"<html>" + said if page else said, head | page)

    @property
    def has_given_all(self) -> bool:
        """Return whether every answer was given once."""
        return self.given >= len(self._all())

    @staticmethod
    def _all() -> list[int | InjectedFault]:
        faults = [
            InjectedFault(kind) for kind in ("garbage", "reset", "truncate", "drop", "lost", "html")
        ]
        return [*_STATUSES, 201, *faults]


def _writes(shop: Shop) -> None:
    """Write good events and bad ones, with the canary in all kinds of places."""
    event = json.loads(payload("u1", 1))
    event["view"]["secret"] = PAYLOAD
    bad = (
        {"type": "view", "view": PAYLOAD},
        {"type": [PAYLOAD], "view": {}},
        {"type": "view", "view": {}, "context": PAYLOAD},
        {"type": "view", "view": {}, "context": [{"type": 1, PAYLOAD: PAYLOAD}]},
        [PAYLOAD],
        PAYLOAD,
    )
    for number, document in enumerate([*[event] * 12, *bad]):
        for to in ("default", "erp"):
            row = {"payload": json.dumps(document), "event_id": f"e-{number}@{to}", "to": to}
            insert = "INSERT INTO shipper_outbox (payload, event_id, destination, ordering_key)"
            as_json = "CAST(:payload AS json)" if not shop.is_sqlite else ":payload"
            values = f"VALUES ({as_json}, :event_id, :to, :key)"
            shop.execute(f"{insert} {values}", key=f"k{number % 4}", **row)


def _erp(shop: Shop, directory: Path) -> str:
    """Return the configuration of a destination of kind http, after writing its secrets."""
    for name, text in (("in_file", IN_FILE), ("in_url", IN_URL), ("api", API_ID)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o600)
    return f"""
[destinations.erp]
kind = "http"
url = "{shop.sandbox.events_url}?k={{secret:hook}}&api_secret={IN_QUERY}"
retry = {{min_delay = "20ms", max_delay = "100ms", probe_max_delay = "100ms", max_attempts = 3}}
timeout = "500ms"
[destinations.erp.headers]
x-api-id = {{ file = "api" }}
x-file = {{ file = "in_file" }}
x-api-key = "{IN_TEXT}"
x-both = "{{secret:hook}} {{event_id}}"
[destinations.erp.secrets]
hook = {{ file = "in_url" }}
"""


async def leaks(url: str, directory: Path) -> Figures:
    """Run everything, and look for the canaries; every command in three ways on SQLite, else one."""
    figures = Figures(f"canaries, {url.partition(':')[0].partition('+')[0]}", 0)
    async with AsyncExitStack() as stack:
        shop = Shop(url, directory)
        stack.push_async_callback(shop.close)
        echo = Echo()
        shop.sandbox.answer_for = echo
        await shop.open()
        _writes(shop)
        if not shop.is_sqlite:
            shop.url = make_url(url).set(password=PASSWORD).render_as_string(hide_password=False)
        web = directory / "web.sock"
        more = f'{_erp(shop, directory)}[web]\nlisten = "unix:{web}"'
        shop.configure(retry={"max_attempts": 3}, more=more, timeout=0.5)
        launcher = await stack.enter_async_context(Launcher(directory))
        daemon = await launcher.start("run", "-v", "-c", str(shop.config))
        await until(lambda: echo.has_given_all or not daemon.is_alive, 60)
        looker = _Looker(figures)
        looker.look("the daemon's command line", _proc(daemon, "cmdline"))
        looker.look("the daemon's environment", _proc(daemon, "environ"))
        for path in ("/metrics", "/livez", "/readyz", "/"):
            looker.look(f"the web's {path}", _fetch(web, path))
        await _commands(shop, launcher, looker, directory)
        echo.accepts = True
        daemon.signal(signal.SIGTERM)
        figures.expect(await daemon.ended() == 0, "the daemon didn't end well")
        looker.look("the daemon's log", daemon.stderr + daemon.stdout)
        figures.expect(echo.given_to_http > len(_STATUSES), "the kind http had few answers")
        figures.expect("delivery." in daemon.stderr, "the log wasn't talkative")
        for where, text in _database(shop, directory):
            looker.look(where, text, *SECRETS)
    return figures


class _Looker:
    """Looks for canaries in a text."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def look(self, where: str, text: str, *canaries: str) -> None:
        """Note every canary that a text holds; all of them, unless some are named."""
        self._figures.tried["texts"] += 1
        for canary in canaries or (*SECRETS, PAYLOAD):
            if canary in text:
                at = text.index(canary)
                self._figures.fault(f"{canary} in {where}: …{text[max(0, at - 150) : at + 60]}…")

    def bug(self, line: tuple[str, ...], told: str) -> None:
        """Note that a command came to a bad end."""
        self._figures.fault(f"shipper {' '.join(line)}: {told[-1500:]}")


async def _commands(shop: Shop, launcher: Launcher, looker: _Looker, directory: Path) -> None:
    event, broken = directory / "event.json", directory / "broken.json"
    event.write_text(json.dumps({"type": "view", "view": {"secret": PAYLOAD}}), "utf-8")
    broken.write_text('{"type": "' + PAYLOAD + '", "view": ' + PAYLOAD, "utf-8")
    unfit = directory / "unfit.json"
    unfit.write_text(json.dumps({"type": "view", "view": PAYLOAD, "context": PAYLOAD}), "utf-8")
    more: dict[str, list[tuple[str, ...]]] = {
        "enqueue": [(str(event),), (str(broken),), (str(unfit),)],
        "validate": [(str(event),), (str(broken),), (str(unfit),), (str(event), "--remote")],
        "hold": [("--key", "k1")],
        "release": [("--key", "k1")],
        "events show": [("1",)],
        "dead show": [("13",)],
        "dead retry": [("13",)],
        "events export": [("-",)],
        "backup": [(str(directory / "copy.db"),)],
        "config show": [(), ("--origin",)],
        "db grants": [("--role", "shop")],
        "drain": [("--timeout", "0.2")],
        "assets show": [("prometheus-alerts.yml",)],
        "assets write": [(str(directory / "assets"),)],
        "init": [("--database", shop.url, "-o", str(directory / "new.toml"))],
    }
    unreachable = directory / "unreachable.toml"
    lost = f"postgresql://shop:{PASSWORD}@127.0.0.1:1/{PAYLOAD}"
    unreachable.write_text(
        shop.config.read_text("utf-8").replace(json.dumps(shop.url), f'"{lost}"')
    )
    unreachable.chmod(0o600)
    runs: list[tuple[tuple[str, ...], list[str]]] = []
    for command in COMMANDS:
        if command.words in _NOT_RUN:
            continue
        canaries = [*SECRETS, *([] if command.words in _SHOWS_EVENTS else [PAYLOAD])]
        words = command.words.split()
        for arguments in more.get(command.words, [()]):
            shows = PAYLOAD in canaries and "--remote" in arguments
            wanted = list(SECRETS) if shows else canaries
            for options in ((), ("--json", "-v")) if shop.is_sqlite else (("-v",),):
                runs.append(((*words, *arguments, *options, "-c", str(shop.config)), wanted))
        if not shop.is_sqlite:
            continue
        first = more.get(command.words, [()])[0]
        runs.append(((*words, *first, "-c", str(unreachable)), list(SECRETS)))
    places = asyncio.Semaphore(_AT_ONCE)

    async def run(line: tuple[str, ...], wanted: list[str]) -> None:
        async with places:
            await _run(launcher, looker, line, wanted)

    await asyncio.gather(*(run(*one) for one in runs))


async def _run(
    launcher: Launcher, looker: _Looker, line: tuple[str, ...], canaries: list[str]
) -> None:
    life = await launcher.start(*line)
    await life.ended(60)
    if "this is a bug" in life.stderr:
        looker.bug(line, life.stderr)
    # What somebody types isn't told to him.
    said = (life.stdout + life.stderr).replace(line[-1], "")
    looker.look(f"shipper {' '.join(line)}", said, *canaries)


def _proc(life: Life, name: str) -> str:
    return Path(f"/proc/{life.pid}/{name}").read_bytes().decode("utf-8", "replace")


def _fetch(web: Path, path: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(web))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


def _database(shop: Shop, directory: Path) -> Iterator[tuple[str, str]]:
    if shop.is_sqlite:
        for path in directory.glob("shop.db*"):
            yield path.name, path.read_bytes().decode("latin-1")
        return
    tables = shop.rows("SELECT tablename FROM pg_tables WHERE tablename LIKE 'shipper%'")
    for (table,) in tables:
        rows = shop.rows(f"SELECT CAST({table} AS text) FROM {table}")
        yield table, "\n".join(row[0] for row in rows)
