"""A URL with several hosts: the one that takes writes is found, whatever the others do."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import text

from shipper.config.urls import DatabaseUrl
from shipper.store.db.engine import open_engine
from shipper.store.report.facts import server
from tests import standbys
from tests.store.shipping import until


@contextmanager
def listening(*, answers: bool) -> Iterator[int]:
    """Give the port of a host that closes each connection, or accepts it and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def close_each() -> None:
            try:
                while True:
                    listener.accept()[0].close()
            except OSError:
                return  # the listener was shut down

        thread = Thread(target=close_each)
        if answers:
            thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            if answers:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def asked(url: str) -> tuple[int, bool]:
    """Return the port of the server that was found, and whether it is a standby."""
    engine = open_engine(DatabaseUrl().parse(url, Path("/")))
    with engine.connect() as connection:
        row = connection.execute(text("SELECT inet_server_port(), pg_is_in_recovery()")).one()
    engine.dispose()
    return row[0], row[1]


@pytest.mark.parametrize("before", ["refuses", "closes", "says nothing", "is a standby"])
@pytest.mark.parametrize("attrs", ["", "&target_session_attrs=read-write"])
def test_a_host_before_the_primary_is_passed_over(
    pair: standbys.Pair, before: str, attrs: str
) -> None:
    """Whether it can't be reached, breaks off, hangs, or doesn't take writes."""
    with listening(answers=before == "closes") as port:
        first = {"refuses": 1, "is a standby": pair.standby.port}.get(before, port)
        hosts = f"127.0.0.1:{first},127.0.0.1:{pair.primary.port}"
        found = asked(f"postgresql://postgres@{hosts}/shop?connect_timeout=2{attrs}")
    assert found == (pair.primary.port, False)


def test_after_a_failover_the_new_primary_is_found(pair: standbys.Pair) -> None:
    """With the same URL, whose first host is gone."""
    hosts = f"127.0.0.1:{pair.primary.port},127.0.0.1:{pair.standby.port}"
    pair.catch_up()
    pair.fail_over()
    found = asked(f"postgresql://postgres@{hosts}/shop")
    assert found == (pair.standby.port, False)


@pytest.mark.parametrize("role", ["postgres", "shipper"])
def test_a_standby_that_no_commit_waits_for_is_counted(pair: standbys.Pair, role: str) -> None:
    """Also for a role that isn't shown how a standby follows; one that commits wait for is none."""
    if role == "shipper":
        pair.primary.administer("CREATE ROLE shipper LOGIN")
    engine = open_engine(f"postgresql+psycopg://{role}@127.0.0.1:{pair.primary.port}/shop")
    until(lambda: server(engine).late_standbys == 1)
    pair.primary.administer(
        "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"
    )
    until(lambda: server(engine).late_standbys == 0)
    engine.dispose()
