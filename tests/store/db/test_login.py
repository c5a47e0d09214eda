"""Why a server could not be logged in to is told apart, in its own words and without a secret."""

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import make_url

from shipper.config.urls import DatabaseUrl
from shipper.errors import (
    AccessDenied,
    LoginRefused,
    SchemaError,
    ShipperError,
    StoreUnavailable,
)
from shipper.store.db.engine import open_engine
from shipper.store.db.postgres import login, opening
from shipper.store.db.transactions import glancing
from shipper.store.operate import backup
from tests.guarded import Server

SECRET = "hush-hush"
WORD = "first-word"


def _open(url: str, renewed: Callable[[], str] | None = None) -> object:
    """Log in by a URL as an application's configuration has it; return which database it is."""
    engine = open_engine(DatabaseUrl().parse(url, Path("/")), renewed=renewed)
    try:
        with glancing(engine) as tx:
            return tx.exec_driver_sql("SELECT current_database()").scalar()
    finally:
        engine.dispose()


def _failure(url: str) -> ShipperError:
    with pytest.raises(ShipperError) as caught:
        _open(url)
    told = f"{caught.value.message} {caught.value.hint}"
    assert SECRET not in told
    assert WORD not in told
    assert "\n" not in told
    return caught.value


def test_every_refusal_has_its_kind_and_the_servers_words(guarded: Server) -> None:
    """A real server says each; host, port, database and user are named each time."""
    no_port = guarded.url("shipper", WORD).replace(str(guarded.port), "1")
    wanted = {
        guarded.url("shipper", SECRET): (LoginRefused, "password authentication failed"),
        guarded.url("nobody", SECRET): (LoginRefused, 'failed for user "nobody"'),
        guarded.url("late", WORD): (LoginRefused, "password authentication failed"),
        guarded.url("shipper", "").replace(":@", "@"): (LoginRefused, "no password supplied"),
        guarded.url("nologin", WORD): (LoginRefused, "not permitted to log in"),
        guarded.url("denied", SECRET): (LoginRefused, "pg_hba.conf rejects"),
        guarded.url("shipper", WORD, "hidden"): (LoginRefused, "no pg_hba.conf entry"),
        guarded.url("shipper", WORD, "closed"): (AccessDenied, "permission denied for database"),
        guarded.url("shipper", WORD, "absent"): (SchemaError, 'database "absent" does not exist'),
        guarded.url("once", WORD): (StoreUnavailable, "too many connections"),
        guarded.url("shipper", WORD, more="?sslmode=require"): (SchemaError, "not support SSL"),
        no_port: (StoreUnavailable, "Connection refused"),
    }
    for url, (kind, words) in wanted.items():
        failure, parsed = _failure(url), make_url(url)
        assert type(failure) is kind, url
        assert words in failure.message
        assert f"{parsed.host}:{parsed.port}/{parsed.database} as {parsed.username}" in (
            failure.message
        )
        assert failure.hint
    assert _open(guarded.url("shipper", WORD)) == "shop"


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("postgresql://u:hush-hush@nosuch.invalid/db", StoreUnavailable, "nosuch.invalid"),
        ("postgresql://u:hush-hush@/db?host=/nowhere", StoreUnavailable, "/nowhere/.s.PGSQL.5432"),
        (f"postgresql://u:hush-hush@{'a' * 80}.x/db", StoreUnavailable, "a" * 80),
        ("postgresql:///db?service=nosuch", SchemaError, 'service "nosuch" not found'),
        ("postgresql://u@localhost:1/db?sslcert=/no&sslkey=/no&password=hush-hush",
         StoreUnavailable, "Connection refused"),
        ("postgresql://u@h/db?hostaddr=nonsense", SchemaError, "nonsense"),
    ],
)  # fmt: skip
def test_what_no_server_says_is_told_too(url: str, kind: type[ShipperError], words: str) -> None:
    """What libpq, the resolver or a file beside it says."""
    failure = _failure(url)
    assert type(failure) is kind, failure
    assert words in failure.message


def test_an_option_that_the_server_refuses_is_no_server_that_is_away(guarded: Server) -> None:
    """It is somebody's to change: 78, at once, in the server's words."""
    refused = {
        "-c foo=bar": 'unrecognized configuration parameter "foo"',
        "--nosuch=1": 'unrecognized configuration parameter "nosuch"',
        "-c foo": "-c foo requires a value",
        "-x": "invalid command-line argument",
        "nonsense": "invalid command-line argument",
        "-c statement_timeout=abc": 'invalid value for parameter "statement_timeout"',
        "-cwork_mem=1": 'outside the valid range for parameter "work_mem"',
        "-c ssl=off": 'parameter "ssl" cannot be changed now',
        "-c log_statement=all": 'permission denied to set parameter "log_statement"',
        "-c role=postgres": 'permission denied to set role "postgres"',
    }
    for options, words in refused.items():
        failure = _failure(guarded.url("shipper", WORD, more=f"?options={quote(options)}"))
        assert type(failure) is SchemaError, options
        assert words in failure.message
        assert "an option of database.url" in failure.message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("sslnegotiation=direct", "weak sslmode"),
        ("ssl_min_protocol_version=nonsense", "ssl_min_protocol_version"),
        ("ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "range"),
        ("hostaddr=nonsense", "could not parse network address"),
    ],
)
def test_an_option_that_libpq_refuses_is_none_either(options: str, words: str) -> None:
    """Nobody is asked."""
    failure = _failure(f"postgresql://u@localhost:1/db?{options}")
    assert type(failure) is SchemaError
    assert words in failure.message


def test_what_a_url_gives_wins(guarded: Server) -> None:
    """Over what shipper takes where it says nothing; the rest stays, with each connection."""
    options = quote(
        "-c statement_timeout=7s --lock-timeout=3s -cwork_mem=8MB"
        r" -c synchronous_commit=remote_apply -c a.b=it\ is\ 'so'"
    )
    given = {"connect_timeout": "9", "keepalives_idle": "77", "keepalives_count": "2",
             "tcp_user_timeout": "4000", "application_name": "billing"}  # fmt: skip
    query = "&".join(f"{name}={value}" for name, value in given.items())
    url = guarded.url("shipper", WORD, more=f"?{query}&options={options}")
    engine = open_engine(DatabaseUrl().parse(url, Path("/")))
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        asked = driver.info.get_parameters()
        shown = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("statement_timeout", "lock_timeout", "work_mem", "application_name", "a.b",
                         "synchronous_commit", "client_encoding")
        }  # fmt: skip
    engine.dispose()
    assert {name: asked[name] for name in given} == given
    assert asked["keepalives_interval"] == "10"
    assert shown == {
        "statement_timeout": "7s", "lock_timeout": "3s", "work_mem": "8MB", "a.b": "it is 'so'",
        "application_name": "billing", "client_encoding": "UTF8",
        # More than the primary's own disk.
        "synchronous_commit": "remote_apply",
    }  # fmt: skip


def test_who_hangs_up_and_who_says_nothing_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else listens there, or a firewall swallows what is sent."""
    monkeypatch.setattr(opening, "_CONNECT", {**opening._CONNECT, "connect_timeout": 2})
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        failure = _failure(f"postgresql://u:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/db")
    assert type(failure) is StoreUnavailable
    assert "timeout expired" in failure.message
    assert failure.hint == "a firewall, or the wrong host or port?"


def test_who_hangs_up_may_be_a_proxy_without_its_server() -> None:
    """The link to the server is cut behind it, or the server has crashed: all look the same."""
    with closing(socket.create_server(("127.0.0.1", 0))) as proxy:

        def hang_up() -> None:
            while True:
                try:
                    line, _ = proxy.accept()
                except OSError:
                    return
                line.recv(1024)
                line.close()

        Thread(target=hang_up, daemon=True).start()
        failure = _failure(f"postgresql://u:{SECRET}@127.0.0.1:{proxy.getsockname()[1]}/db")
        proxy.shutdown(socket.SHUT_RDWR)
    assert type(failure) is StoreUnavailable
    assert "can a proxy not reach it" in str(failure.hint)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("FATAL:  the database system is starting up", StoreUnavailable),
        ("FATAL:  the database system is shutting down", StoreUnavailable),
        ("FATAL:  sorry, too many clients already", StoreUnavailable),
        ("FATAL:  remaining connection slots are reserved for roles with …", StoreUnavailable),
        ("FATAL:  unsupported startup parameter in options: lock_timeout", SchemaError),
        ("FATAL:  RDS Proxy currently doesn't support command-line options.", SchemaError),
        (
            "FATAL:  unrecognized configuration parameter\nserver: Connection refused",
            StoreUnavailable,
        ),
        ('FATAL:  role "shop" does not exist', LoginRefused),
        ('FATAL:  Peer authentication failed for user "shop"', LoginRefused),
        ("authentication method 13 not supported", SchemaError),
        ("SSL error: certificate verify failed", StoreUnavailable),
        ('server certificate for "db" does not match host name "h"', StoreUnavailable),
        ('root certificate file "/x.crt" does not exist', SchemaError),
        ("session is read-only", StoreUnavailable),
        ("FATAL:  Passwort-Authentifizierung für Benutzer »shop« fehlgeschlagen", StoreUnavailable),
        ("FATAL:  password authentication failed\nserver: Connection refused", StoreUnavailable),
    ],
)
def test_words_are_judged_and_what_is_not_understood_is_tried_again(
    words: str, kind: type[ShipperError]
) -> None:
    """A server may speak another language; of several hosts one may come back."""
    failure = login.refused(psycopg.OperationalError(words), "h/db", "shop")
    assert type(failure) is kind
    assert words.split("\n", maxsplit=1)[0].replace("  ", " ") in failure.message


def test_a_password_is_taken_out_of_whatever_is_quoted() -> None:
    """The judgement is of the words as they were."""
    error = psycopg.OperationalError("FATAL: password authentication failed for hunter2")
    failure = login.refused(error, "h/db", "shop", ["hunter2", "password", "e"])
    assert failure.message.endswith("FATAL: **** authentication failed for ****")
    assert type(failure) is LoginRefused


def test_a_new_password_is_read_again_for_each_login(guarded: Server, tmp_path: Path) -> None:
    """While the file is being written, or names another database, the old URL is kept."""
    engine = open_engine(
        guarded.url("shipper", WORD),
        renewed=lambda: DatabaseUrl().parse(file.read_text(), tmp_path),
    )
    file = tmp_path / "url"
    file.write_text(guarded.url("shipper", "second-word"), "utf-8")
    with pytest.raises(LoginRefused), glancing(engine):
        pass
    guarded.administer("ALTER ROLE shipper PASSWORD 'second-word'")
    with glancing(engine) as tx:
        assert tx.exec_driver_sql("SELECT 1").scalar() == 1
    file.write_text(guarded.url("shipper", "second-word", "elsewhere"), "utf-8")
    guarded.administer(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='shop'"
    )
    with glancing(engine) as tx:
        assert tx.exec_driver_sql("SELECT current_database()").scalar() == "shop"
    engine.dispose()


# -- several hosts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "hosts", "ports"),
    [
        ("postgresql://h1:5432,h2:5433/db", "h1,h2", "5432,5433"),
        ("postgresql://h1,h2/db?port=5433", "h1,h2", "5433,5433"),
        ("postgresql://h1,h2/db?port=5432,5433", "h1,h2", "5432,5433"),
        ("postgresql:///db?host=h1,h2&port=5432,5433", "h1,h2", "5432,5433"),
        ("postgresql:///db?host=h1:5432&host=h2:5433", "h1,h2", "5432,5433"),
        ("postgresql://[::1]:5432,[fe80::1]:5433/db", "::1,fe80::1", "5432,5433"),
        ("postgresql://%2Frun%2Fpostgresql:5433/db", "/run/postgresql", "5433"),
        ("postgresql://%2Frun%2Fa,h2:5433/db", "/run/a,h2", ",5433"),
        ("postgresql://[::1]:5433/db", "::1", "5433"),
    ],
)
def test_what_libpq_takes_arrives_at_libpq(url: str, hosts: str, ports: str) -> None:
    """In whichever of the forms."""
    engine = open_engine(DatabaseUrl().parse(url, Path("/")))
    [_, params] = engine.dialect.create_connect_args(engine.url)
    assert (params["host"], str(params["port"])) == (hosts, ports)
    assert params["dbname"] == "db"


def test_of_several_hosts_the_one_that_takes_writes_is_found(guarded: Server) -> None:
    """Also where nobody says so; where there is none, all of them are named."""
    guarded.administer("CREATE ROLE reader LOGIN PASSWORD 'first-word'",
                       "ALTER ROLE reader SET default_transaction_read_only = on")  # fmt: skip
    hosts = f"127.0.0.1:1,127.0.0.1:{guarded.port}"
    assert _open(f"postgresql://shipper:{WORD}@{hosts}/shop") == "shop"
    assert (
        _open(f"postgresql://shipper:{WORD}@{hosts}/shop?target_session_attrs=read-write") == "shop"
    )
    failure = _failure(f"postgresql://reader:{WORD}@{hosts}/shop")
    assert type(failure) is StoreUnavailable
    assert f"{hosts}/shop as reader" in failure.message
    assert "session is read-only" in failure.message


def test_a_line_for_pg_dump_names_every_host() -> None:
    """In libpq's own form, and without the password."""
    url = DatabaseUrl().parse(f"postgresql://u:{SECRET}@h1:5432,h2:5433/db", Path("/"))
    line = backup.pg_dump(url, Path("shop.dump"))
    assert "postgresql://u@/db?host=h1%2Ch2&port=5432%2C5433" in line
    assert SECRET not in line
