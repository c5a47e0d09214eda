"""`shipper doctor`: one line per finding, one JSON object, and the exit status."""

import json
import shutil
from pathlib import Path

import pytest
import trustme

from shipper.doctor import unit
from tests import needs
from tests.cli.command_line import VIEW, Home
from tests.cli.test_operating_commands import execute, write


@pytest.fixture(autouse=True)
def _no_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the unit of the machine that runs the tests."""
    monkeypatch.setattr(unit, "installed", lambda _=(): None)
    monkeypatch.setattr(unit, "running_unit", lambda **_: None)


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox on SQLite."""
    return Home(tmp_path, sqlite_url)


@pytest.fixture
def either_home(tmp_path: Path, database_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox, once for each database."""
    return Home(tmp_path, database_url)


def levels(home: Home, *options: str) -> dict[str, str]:
    """Return the level of each finding by its name."""
    found = home.call("doctor", "--json", *options).value["findings"]
    return {finding["name"]: finding["level"] for finding in found}


def test_every_dependency_has_its_line(home: Home) -> None:
    """In an order that can be read."""
    with home.receiving():
        ran = home.call("doctor")
    assert ran.status == 0, ran.out
    names = [line[2:].split("  ")[0] for line in ran.out.splitlines() if " fix: " not in line]
    assert names == [
        "config", "user", "directory", "file", "file system", "schema", "daemon", "link default",
        "oldest", "library", "journal", "WAL", "disk", "reserve", "budget", "request default",
            "proxy default", "name default",
        "TLS default", "API default", "clock default", "unit",
    ]  # fmt: skip
    assert " warnings, " in ran.err


def test_each_file_that_the_daemon_reads_is_readable_for_it(
    public_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is checked as the daemon's user; for root, every file is readable."""
    needs.root()
    home = Home(public_path, f"sqlite:///{public_path}/shop.db")
    files = {name: public_path / name for name in ("api_id", "ca.pem", "url", "theirs")}
    for name, file in files.items():
        file.write_bytes(trustme.CA().cert_pem.bytes() if name == "ca.pem" else b"https://h/x")
        file.chmod(0o644 if name == "theirs" else 0o600)
    home.config.write_text(
        f'[database]\nurl = "sqlite:///{public_path}/shop.db"\n'
        '[destinations.default]\nurl = "https://127.0.0.1:9/"\n'
        'api_id_file = "api_id"\nca_file = "ca.pem"\n'
        '[alerts]\nwebhook_url_file = "url"\nheartbeat_url_file = "theirs"\n'
    )
    home.config.chmod(0o644)
    home.call("db", "upgrade")
    service = public_path / "shipper.service"
    service.write_text(f"[Service]\nUser=nobody\nLoadCredential=api_id:{files['api_id']}\n")
    monkeypatch.setattr(unit, "running_unit", lambda **_: service)
    findings = home.call("doctor", "--json", "--no-network").value["findings"]
    refused = [f["text"] for f in findings if (f["name"], f["level"]) == ("config", "fault")]
    assert [text.split()[0] for text in refused] == ["url", "ca.pem"]


def test_without_a_network_nobody_is_asked(either_home: Home) -> None:
    """For a machine that is offline, or a test."""
    found = levels(either_home, "--no-network")
    assert not [name for name in found if name.split()[0] in {"name", "TLS", "API", "proxy"}]
    assert found["schema"] == "ok"


def test_postgres_has_its_own_lines(tmp_path: Path, postgres_url: str) -> None:
    """The test server runs without fsync, which is a fault."""
    found = levels(Home(tmp_path, postgres_url), "--no-network")
    assert list(found) == [
        "config", "user", "schema", "daemon", "link default", "oldest", "server", "pooler",
        "commits", "transactions", "prepared", "snapshots", "growth", "budget", "unit",
    ]  # fmt: skip
    assert found["pooler"] == found["growth"] == "ok"


def test_something_broken_is_exit_status_1(home: Home) -> None:
    """With a fix; a warning alone has exit status 0."""
    assert home.call("doctor", "--no-network").status == 0
    write(home, VIEW, "a")
    ran = home.call("doctor", "--no-network")
    assert ran.status == 1
    at = next(n for n, line in enumerate(ran.out.splitlines()) if "daemon" in line)
    assert "fix: shipper run" in ran.out.splitlines()[at + 1]


def test_the_worst_is_named_first(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is named before the findings that are listed above it."""
    write(home, VIEW, "a")
    assert "begin with: daemon" in home.call("doctor", "--no-network").err
    usage = shutil.disk_usage(home.directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert "begin with: disk" in home.call("doctor", "--no-network").err


def test_json_is_one_object_on_one_line(home: Home) -> None:
    """With everything that the lines say."""
    ran = home.call("doctor", "--json")
    assert ran.status == 1
    [line] = ran.out.splitlines()
    told = json.loads(line)
    assert told["ok"] is False
    api = next(finding for finding in told["findings"] if finding["name"] == "API default")
    assert api["level"] == "fault"
    assert {"level", "name", "text", "fix"} == api.keys()


def test_a_wrong_configuration_is_a_finding(home: Home) -> None:
    """One line per mistake; nothing else can be checked."""
    home.config.write_text('[database]\nurl = "mysql://x"\n[log]\nlevle = "info"\n')
    ran = home.call("doctor", "--json")
    assert ran.status == 1
    assert [finding["name"] for finding in ran.value["findings"]] == ["config"] * 3


def test_a_missing_file_is_a_finding(home: Home) -> None:
    """With a fix; the network is checked all the same."""
    home.configure(f"sqlite:///{home.directory}/gone.db", "http://127.0.0.1:9/e")
    ran = home.call("doctor", "--json")
    found = {finding["name"]: finding for finding in ran.value["findings"]}
    assert found["database"]["fix"].startswith("is the path right, is the disk mounted?")
    assert "API default" in found


def test_a_server_that_is_not_there_is_one_finding(home: Home) -> None:
    """Not one for each check, and it is not waited for again and again."""
    home.configure("postgresql://nobody@127.0.0.1:9/none", "http://127.0.0.1:9/e")
    ran = home.call("doctor", "--json", "--no-network")
    found = {finding["name"]: finding["level"] for finding in ran.value["findings"]}
    assert found == {"config": "ok", "user": "ok", "database": "fault", "unit": "ok"}


def test_a_database_without_an_outbox_is_a_finding(tmp_path: Path, bare_url: str) -> None:
    """With the command that makes one; in an empty file that is asked for twice."""
    (tmp_path / "bare.db").touch()
    fix = "run: shipper db upgrade" if "postgresql" in bare_url else "shipper db upgrade --create"
    ran = Home(tmp_path, bare_url).call("doctor", "--json", "--no-network")
    found = {finding["name"]: finding for finding in ran.value["findings"]}
    assert found["schema"]["fix"].endswith(fix)
    assert "daemon" not in found


def test_nothing_secret_is_told(home: Home) -> None:
    """Neither an API ID nor a password."""
    text = home.config.read_text()
    home.config.write_text(f'{text}proxy = "http://user:s3cret@127.0.0.1:9"\n')
    ran = home.call("doctor")
    assert "s3cret" not in ran.out + ran.err
    assert "secret-id" not in ran.out + ran.err


def test_it_changes_nothing(either_home: Home) -> None:
    """So an operator can run it safely on a machine in trouble."""
    write(either_home, VIEW, "a", "b")
    tables = ("outbox", "lease", "destination", "claim")
    before = [execute(either_home, f"SELECT * FROM shipper_{name}") for name in tables]
    either_home.call("doctor")
    assert [execute(either_home, f"SELECT * FROM shipper_{name}") for name in tables] == before
