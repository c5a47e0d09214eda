"""Where an API ID, a hook's URL or a payload could get out, and doesn't."""

import socket
from pathlib import Path
from typing import Any

import pytest

from shipper.config import load
from shipper.config.urls import HookUrl
from shipper.destination.inspect import addresses, origin_of
from shipper.destination.tls import tls_context
from shipper.errors import ConfigError
from shipper.store.db.sqlite.opening import connect_sqlite, create_sqlite_file
from tests.cli.command_line import Home
from tests.destination.servers import ACCEPTED, answering, serving
from tests.destination.ways import Way, each_way, words
from tests.docs.documents import ROOT

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
            monkeypatch.setattr("shipper.destination.resolve._ask_the_system", ask)
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
