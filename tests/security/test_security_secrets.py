"""Where an API ID, a hook's URL or a payload could get out, and doesn't."""

import base64
import html
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.config import load
from shipper.config.urls import HookUrl
from shipper.destination.probe import addresses, origin_of
from shipper.destination.tls import tls_context
from shipper.errors import ConfigError
from shipper.outcome import EXCERPT_CHARS, Reply, excerpt, masked
from shipper.store.engine import connect_sqlite, create_sqlite_file
from tests.cli.command_line import Home
from tests.docs.readme import ROOT
from tests.http.servers import ACCEPTED, answering, serving
from tests.http.ways import Way, each_way, words

# -- what a receiver throws back (B11) ------------------------------------------------------------

SECRET = "s3cr&t-Id/42+x=="
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON, slashes escaped": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "JSON, all escaped": lambda s: "".join(f"\\u{ord(c):04X}" for c in s),
    "JSON in JSON": lambda s: json.dumps(json.dumps(s).replace("/", "\\/"))[3:-3],
    "HTML": html.escape,
    "HTML, numbers": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "HTML, hexadecimal": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "a URL's path": quote,
    "a URL's query": lambda s: quote(s, safe=""),
    "a form": quote_plus,
    "percent signs for all": lambda s: "".join(f"%{ord(c):02x}" for c in s),
    "percent signs twice": lambda s: quote(quote(s, safe=""), safe=""),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "Basic credentials": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "Basic credentials, one more": lambda s: base64.b64encode(f"users:{s}".encode()).decode(),
    "Basic credentials, two more": lambda s: base64.b64encode(f"userxx:{s}".encode()).decode(),
    "base64 within": lambda s: base64.b64encode(f'{{"k":"{s}","l":1}}'.encode()).decode(),
    "hexadecimal": lambda s: s.encode().hex(),
    "hexadecimal, capitals": lambda s: s.encode().hex().upper(),
}


def _decoded(word: str) -> Iterator[bytes]:
    for at in range(4):
        whole = word[at : at + (len(word) - at) // 4 * 4]
        yield base64.b64decode(whole.replace("-", "+").replace("_", "/"))


def _parts(spelled: str) -> set[str]:
    """Return pieces of a spelling of which none may be left: half of one is as good as all."""
    return {spelled[at : at + 8] for at in range(0, max(1, len(spelled) - 8), 4)}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "around", ["{}", 'HTTP 401: key "{}" is unknown', "a" * 490 + "{}", "{}" * 3]
)
def test_a_secret_is_masked_in_every_usual_spelling(spelling: str, around: str) -> None:
    """In the body, and in where a redirect leads to."""
    spelled = SPELLINGS[spelling](SECRET)
    core = SPELLINGS[spelling](SECRET) if "64" not in spelling and "Basic" not in spelling else ""
    told = masked(
        Reply(401, body=around.format(*[spelled] * 3).encode(), location=f"/?{spelled}"), SECRET
    )
    shown = f"{excerpt(told.body)} {told.location}"
    assert "****" in told.body.decode()
    assert not any(part in shown for part in _parts(core)) or not core
    for word in re.findall(r"[A-Za-z0-9+/_-]{8,}", shown):
        assert not any(SECRET[3:10].encode() in decoded for decoded in _decoded(word))
    assert SECRET not in shown


@given(
    secret=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=60),
    before=st.text(max_size=700),
    spelling=st.sampled_from(sorted(SPELLINGS)),
)
def test_whatever_the_secret_is(secret: str, before: str, spelling: str) -> None:
    """And wherever an excerpt ends."""
    body = (before + SPELLINGS[spelling](secret)).encode("utf-8", "replace")
    told = masked(Reply(401, body=body), secret)
    spelled = SPELLINGS[spelling](secret).encode()
    assert spelled[2:-4] not in told.body.replace(before.encode("utf-8", "replace"), b"")
    assert secret.encode() not in told.body


@pytest.mark.parametrize("size", [8_001, 8_010, 9_000, 70_000])
def test_a_secret_at_the_end_of_what_is_looked_at_is_not_cut_in_two(size: int) -> None:
    """Its beginning would be shown."""
    for unit in (
        SECRET,
        SPELLINGS["HTML, numbers"](SECRET),
        SPELLINGS["percent signs twice"](SECRET),
    ):
        body = (unit * (size // len(unit) + 1))[:size].encode()
        told = masked(Reply(401, body=body), SECRET, 16 * EXCERPT_CHARS)
        assert unit[:6] not in told.body.decode()


@pytest.mark.parametrize(
    "body", [b"\\" * 65_000, b"&#0" + b"0" * 65_000, b"%25" * 21_000, b"s3" * 32_000]
)
def test_no_answer_takes_long_to_be_looked_at(body: bytes) -> None:
    """What is looked at is bounded; so is what is tried at each place."""
    assert masked(Reply(401, body=body), SECRET, 16 * EXCERPT_CHARS).body


def test_a_short_secret_is_not_found_by_chance() -> None:
    """Three bytes are four characters of base64, which are in any text."""
    body = b"YWJj and 616263 and abc"
    assert masked(Reply(401, body=body), "abc").body == b"YWJj and 616263 and ****"


# -- plain http (B4, B5) --------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("name", ["localhost", "LocalHost", "shop.localhost", "a.b.localhost"])
def test_localhost_is_asked_of_nobody(way: Way, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS may say that it is elsewhere, and the API ID would go there in clear."""
    asked: list[str] = []

    def elsewhere(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "asked")

    async def ask(host: str, port: int) -> list[Any]:
        return elsewhere(host, port)

    async def body() -> None:
        async with serving(answering(ACCEPTED)) as server:
            monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
            monkeypatch.setattr("shipper.destination.resolver._ask_the_system", ask)
            async with way.to(server.url.replace("127.0.0.1", name)) as destination:
                assert words(await destination.send("e", b"{}", "k")) == "202"
        assert server.requests[0].headers["host"].startswith(f"{name.lower()}:")
        assert asked == []

    way.run(body())


async def test_doctor_asks_nobody_for_localhost_either() -> None:
    """What it says is what the daemon does."""
    assert await addresses(origin_of("http://shop.localhost:80/")) == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    "url", ["http://hooks.example/x", "http://10.0.0.1/x", "http://localhost.example/"]
)
def test_a_hook_goes_by_https_or_stays_on_this_machine(url: str) -> None:
    """All of its URL is secret."""
    with pytest.raises(ValueError, match="must be https, or stay on this machine"):
        HookUrl().parse(url, Path())
    for fine in (
        "https://hooks.example/x",
        "http://127.0.0.1:9/x",
        "http://[::1]/",
        "http://localhost/",
    ):
        assert HookUrl().parse(fine, Path()).reveal() == fine


CONFIG = """\
[database]
url = "sqlite:///shop.db"
[destinations.default]
url = "{url}"
api_id = "secret-id"
{proxy}
[alerts]
webhook_url = "{hook}"
{proxy}
"""


def _faults(tmp_path: Path, **given: str) -> list[str]:
    file = tmp_path / "shipper.toml"
    file.write_text(CONFIG.format_map(given))
    file.chmod(0o600)
    try:
        load(file, {})
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("proxy", ["http://proxy.example:3128", "http://u:hush@10.0.0.1:3128"])
def test_a_proxy_elsewhere_gets_nothing_in_clear(tmp_path: Path, proxy: str) -> None:
    """To a proxy, localhost is itself."""
    local = "http://localhost:8808/e"
    found = _faults(tmp_path, url=local, hook=local, proxy=f'proxy = "{proxy}"')
    assert [line.partition(": ")[2].split(":")[0] for line in found] == [
        "destinations.default.url",
        "alerts.webhook_url",
    ]
    assert all("must be https: the proxy" in line for line in found)
    assert "hush" not in str(found)
    there = "https://api.example/e"
    assert _faults(tmp_path, url=there, hook=there, proxy=f'proxy = "{proxy}"') == []
    for beside in ("http://127.0.0.1:3128", "http://localhost:3128"):
        assert _faults(tmp_path, url=local, hook=local, proxy=f'proxy = "{beside}"') == []
    assert _faults(tmp_path, url=local, hook=local, proxy="") == []


# -- keys, core files, command lines (B8, B10) ----------------------------------------------------


def test_no_key_is_written_for_who_wants_to_read_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$SSLKEYLOGFILE makes Python's own contexts do that, and the file is made by root, too."""
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    context = tls_context(None)
    assert not context.keylog_filename
    assert not keys.exists()
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_the_unit_dumps_no_core() -> None:
    """Payloads and the API ID would be in it."""
    assert "\nLimitCORE=0\n" in (ROOT / "systemd" / "shipper.service").read_text()


def test_init_takes_what_is_secret_from_stdin(tmp_path: Path) -> None:
    """Else it is in the list of processes, and in the shell's history."""
    home = Home(tmp_path, "sqlite:///x.db")
    home.config.unlink()
    given = b"sqlite:///data/own.db\nsecret-id\n"
    ran = home.call("init", "--database", "-", "--api-id", "-", stdin=given)
    assert ran.status == 0, ran.err
    assert (tmp_path / "api_id").read_text() == "secret-id\n"
    assert (tmp_path / "data" / "own.db").exists()
    assert "secret-id" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("stdin", "message"),
    [(b"", "stdin has no line"), (b"\n", "stdin has no line"), (b"a b\n", "visible ASCII")],
)
def test_init_says_what_is_wrong_with_stdin(tmp_path: Path, stdin: bytes, message: str) -> None:
    """And writes nothing."""
    home = Home(tmp_path, "sqlite:///x.db")
    home.config.unlink()
    ran = home.call("init", "--api-id", "-", stdin=stdin)
    assert ran.status == 2
    assert message in ran.err
    assert list(tmp_path.iterdir()) == []


# -- a database that others may write (B6) --------------------------------------------------------


def test_what_a_schema_calls_does_no_harm(tmp_path: Path) -> None:
    """A member of the group may have put a view or a trigger into the file."""
    path = tmp_path / "shop.db"
    create_sqlite_file(path)
    connection = connect_sqlite(path, 0.0)
    told = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("trusted_schema", "cell_size_check")
    }
    assert told == {"trusted_schema": 0, "cell_size_check": 1}
    # fts3_tokenizer and load_extension are what such a schema would call.
    connection.execute("CREATE VIEW v AS SELECT load_extension('x')")
    with pytest.raises(Exception, match=r"unsafe use of load_extension|not authorized"):
        connection.execute("SELECT * FROM v").fetchall()
    if hasattr(connection, "getconfig"):
        assert connection.getconfig(1010)  # SQLITE_DBCONFIG_DEFENSIVE
    connection.close()
