"""What each kind of value may be."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.config import Settings
from shipper.config.types import CronList, FilePath, Rate, Seconds, ValueType, Whole
from shipper.config.urls import DatabaseUrl, DestinationUrl, ProxyUrl
from shipper.errors import ConfigError
from shipper.wording.quantities import duration

_BASE = Path("/base")
_ANY_SECONDS = Seconds(0.0, 1e12)


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("30s", 30), ("5m", 300), ("7d", 604800), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400),
        ("1m1ms", 60.001), (" 2s ", 2), ("12", 12), ("0.5", 0.5), (12, 12), (0.5, 0.5),
    ],
)  # fmt: skip
def test_a_duration_is_units_or_a_bare_number(raw: object, seconds: float) -> None:
    """Units from d to ms in falling order; a bare number means seconds."""
    assert _ANY_SECONDS.parse(raw, _BASE) == seconds


@pytest.mark.parametrize(
    "raw",
    [
        "", "s", "1 s", "1x", "-1s", "1s1h", "1s1s", "1,5s", "1e3", "inf", "nan", "never",
        "\u0663s", True, None, [], -1, float("nan"), float("inf"), 10**400,
        "9" * 400, "1d" + " " * 99 + "x",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused(raw: object) -> None:
    """Neither a sign, an exponent, another order nor another script; nor what is out of bounds."""
    with pytest.raises(ValueError, match="must be a duration"):
        _ANY_SECONDS.parse(raw, _BASE)


@given(st.integers(min_value=1, max_value=10**12))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    """`config show` prints what could be put into the config."""
    shown = duration(milliseconds / 1000)
    assert _ANY_SECONDS.parse(shown, _BASE) == pytest.approx(milliseconds / 1000, abs=1e-4)


def test_never_is_a_duration_only_where_it_makes_sense() -> None:
    """Retention may be for ever; a timeout may not."""
    assert Seconds(1, 2, never=True).parse("never", _BASE) is None
    with pytest.raises(ValueError, match='from 1s to 1m, or "never"; not "2m"'):
        Seconds(1, 60, never=True).parse("2m", _BASE)


@pytest.mark.parametrize(
    ("kind", "raw", "message"),
    [
        (Whole(1, 9), 0, "from 1 to 9, not 0"),
        (Whole(1, 9), True, "not true"),
        (Whole(1, 9), 1.0, "not 1.0"),
        (Whole(1, 9), 10**4000, "not a huge number"),
        (Whole(1, 9), ["x"], "not a list"),
        (Whole(1, 9), {}, "not a table"),
        (Whole(1, 9), "x" * 99, 'not "x{40}…"'),
        (Whole(1, 9), "\x1b[2J", r"not '\\x1b\[2J'"),
        (Rate(9), -0.1, "from 0 .no limit. to 9, not -0.1"),
        (Rate(9), float("nan"), "not nan"),
        (Rate(9), "fast", "a number per second"),
        (FilePath(), "", "must be the path of a file"),
        (FilePath(), "a\0b", "must be the path of a file"),
        (CronList(), "5", "entry 1 must have 5 fields"),
        (CronList(), ["* * * * *", "* * * * ;"], "entry 2 must have"),
        (CronList(), "CRON_TZ=UTC * * * * *", "is a setting of its own, timezone"),
        (CronList(), "0 0 * * * *", "remove the seconds .or the year."),
        (CronList(), [7], "not 7"),
    ],
)
def test_a_refusal_names_the_bounds_and_the_value(
    kind: ValueType, raw: object, message: str
) -> None:
    """Values are shown short and harmless to a terminal."""
    with pytest.raises(ValueError, match=message):
        kind.parse(raw, _BASE)


@pytest.mark.parametrize(
    ("text", "raw"),
    [("7", 7), ("-7", "-7"), ("\u0667", "\u0667"), ("9" * 5000, "9" * 5000), ("7.5", "7.5")],
)
def test_a_number_from_the_environment(text: str, raw: object) -> None:
    """What is no plain number stays the text that it is, to be refused as such."""
    assert Whole(1, 9).from_text(text) == raw


def test_windows_from_the_environment() -> None:
    """A list as in TOML or JSON, or a single expression without any quotes."""
    kind = CronList()
    for text in ("['0 8 * * *']", '["0 8 * * *"]', "0 8 * * *", " 0  8 * * *\n"):
        assert kind.parse(kind.from_text(text), _BASE) == ("0 8 * * *",)
    assert kind.parse(kind.from_text("[]"), _BASE) == ()
    with pytest.raises(ValueError, match="entry 1"):
        kind.parse(kind.from_text("[" * 5000), _BASE)


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        ("sqlite:////abs/shop.db", "sqlite:////abs/shop.db"),
        ("sqlite://///abs/shop.db", "sqlite:////abs/shop.db"),
        ("sqlite:///////abs/shop.db", "sqlite:////abs/shop.db"),
        ("sqlite:////a%20shop/%24x#1.db", "sqlite:////a%20shop/%24x#1.db"),
        ("sqlite:///shop.db", "sqlite:////base/shop.db"),
        ("sqlite:///./a/../shop.db", "sqlite:////base/shop.db"),
        ("postgres://u@h/db", "postgresql+psycopg://u@h/db"),
        ("postgresql://u:p%40@h:5432/db?sslmode=require",
         "postgresql+psycopg://u:p%40@h:5432/db?sslmode=require"),
        ("postgresql+psycopg:///db?host=/run/postgresql",
         "postgresql+psycopg:///db?host=/run/postgresql"),
        ("postgres://[::1]:5433/db", "postgresql+psycopg://[::1]:5433/db"),
        ("postgres://h/db?connect_timeout=60&client_encoding=utf-8&replication=off",
         "postgresql+psycopg://h/db?connect_timeout=60&client_encoding=utf-8&replication=off"),
        ("postgres://h/db?options=-csynchronous_commit%3Dtrue%20-clock_timeout%3D9s",
         "postgresql+psycopg://h/db?options=-csynchronous_commit%3Dtrue%20-clock_timeout%3D9s"),
    ],
)  # fmt: skip
def test_a_database_url_names_our_driver(raw: str, url: str) -> None:
    """What an application's own configuration says is taken over as it is."""
    assert DatabaseUrl().parse(raw, _BASE) == url


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("/var/lib/shop.db", 'is a path, not a URL: write "sqlite:////var/lib/shop.db"'),
        ("shop.db", 'write "sqlite:///shop.db"'),
        ("./50%?.db", 'write "sqlite:///./50%25%3F.db"'),
        ("u:hush@h/db", "must be a URL like sqlite:"),
        ("shop", "must be a URL like sqlite:"),
        ("", "must be a URL like sqlite:"),
        (5, "must be a URL like sqlite:"),
        ("sqlite://shop.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:////var/lib/", "must name a file"),
        ("sqlite:////shop.db?mode=ro", "can't have options"),
        ("sqlite+aiosqlite:////shop.db", "write sqlite://"),
        ("sqlite://shop.db", 'write "sqlite:///shop.db"'),
        ("sqlite://var/lib/shop.db", 'write "sqlite:////var/lib/shop.db"'),
        ("sqlite://localhost/srv/shop.db", 'write "sqlite:////srv/shop.db"'),
        ("sqlite:shop.db", 'write "sqlite:///shop.db"'),
        ("sqlite:/srv/shop.db", 'write "sqlite:////srv/shop.db"'),
        ("jdbc:sqlite:/srv/shop.db", 'write "sqlite:////srv/shop.db"'),
        ("sqlite3:///shop.db", 'write "sqlite:///shop.db"'),
        ("SQLITE:////srv/shop.db", 'write "sqlite:////srv/shop.db"'),
        ("file:shop.db", 'write "sqlite:///shop.db"'),
        ("file:///srv/shop.db?mode=ro", 'write "sqlite:////srv/shop.db'),
        ("sqlite:///file:shop.db", "can't have options"),
        ("sqlite:////", "must name a file"),
        ("sqlite:////srv/..", "must name a file"),
        ("sqlite:////srv/:memory:", "must name a file"),
        ("sqlite:////${DIR}/shop.db", "holds ${DIR}"),
        ("sqlite:////$DIR/shop.db", "holds $DIR"),
        ("sqlite:///%(here)s/shop.db", "holds %(here)s"),
        ("sqlite:////{{ dir }}/shop.db", "holds {{ dir }}"),
        ("sqlite:////<path>/shop.db", "holds <path>"),
        ("sqlite:///~/shop.db", "holds ~"),
        ("sqlite:////~shop/shop.db", "holds ~"),
        (" sqlite:///shop.db", "a space"),
        ("sqlite:///shop.db ", "a space"),
        ("sqlite:///C:\\shop\\shop.db", "a backslash"),
        ("sqlite:///shop%00.db", "a control character"),
        ("sqlite:///shop%ff.db", "a control character"),
        ("sqlite:///shop.db-wal", "a file beside the database"),
        ("sqlite:///shop.db.shipper.lock", "a file beside the database"),
        ("postgresql+asyncpg://u:hush@h/db", "write postgresql://"),
        ("mysql://u:hush@h/db", "must be SQLite or PostgreSQL"),
        ("postgres://", "must be like postgresql://"),
        ("postgres://u:hu@sh@h/db", "%40"),
        ("postgres://u:hu/sh@h/db", "%2F"),
        ("postgres://u@h:port/db", "must be like postgresql://"),
        ("postgres://u@h:65536/db", "a port from 1 to 65535"),
        ("postgres://u@h:0/db", "a port from 1 to 65535"),
        ("postgres://h/db?connect_timeout=soon", "a whole number for connect_timeout"),
        ("postgres://h/db?connect_timeout=", "a whole number for connect_timeout"),
        ("postgres://h/db?connect_timeout=0", "1 to 60 seconds for connect_timeout"),
        ("postgres://h/db?connect_timeout=600", "1 to 60 seconds for connect_timeout"),
        ("postgres://h/db?tcp_user_timeout=4s", "a whole number for tcp_user_timeout"),
        ("postgres://h/db?keepalives=on", "a whole number for keepalives"),
        ("postgres://h/db?replication=database", "remove replication"),
        (
            "postgres://h/db?client_encoding=LATIN1",
            "sets client_encoding, which shipper has to set to UTF8",
        ),
        (
            "postgres://h/db?options=-csynchronous_commit%3Doff",
            "synchronous_commit, which shipper has to set to on:",
        ),
        ("postgres://h/db?options=-c+row-security%3Don", "sets row_security, which"),
        (
            "postgres://h/db?options=--DateStyle%3DGerman",
            "datestyle, which shipper has to set to ISO, MDY",
        ),
        ("postgres://h/db?options=-c%20a=b%20-c%20TimeZone=Asia/Kolkata", "sets timezone, which"),
        ("postgres://h/db?options=-cidle_in_transaction_session_timeout%3D0", "set itself"),
        ("postgres://a,b/db?options=-cclient_encoding%3Dsql_ascii", "client_encoding"),
    ],
)
def test_a_wrong_database_url_says_what_to_write(raw: object, message: str) -> None:
    """Each usual slip has its own advice, and no password is in it."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        DatabaseUrl().parse(raw, _BASE)
    assert message in str(caught.value)
    assert not any(part in str(caught.value) for part in ("hush", "hu@", "hu/", "sh@h"))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.8select.io/analytics/v3/events", "https://h:8443", "https://[2001:db8::1]/x",
        "http://localhost:8080/", "http://127.0.0.1", "http://127.1.2.3:1/x?y=z",
        "http://[::1]:9/", "http://api.localhost/",
    ],
)  # fmt: skip
def test_events_go_by_https_or_stay_on_this_machine(url: str) -> None:
    """Plain http is for a stand-in on a loopback address."""
    assert DestinationUrl().parse(url, _BASE) == url


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("http://api.8select.io/", "must be https"),
        ("http://127.0.0.1.example.com/", "must be https"),
        ("http://localhost.example.com/", "must be https"),
        ("http://0.0.0.0/", "must be https"),
        ("https://u:hush@h/", "must not hold a user"),
        ("http://localhost@example.com/", "must not hold a user"),
        ("https://@h/", "must not hold a user"),
        ("https://h/#hush", "fragment"),
        ("https://h/#", "fragment"),
        ("https://", "must be a URL like"),
        ("https:///x", "must be a URL like"),
        ("https://h:99999/", "must be a URL like"),
        ("https://h:0/", "must be a URL like"),
        ("https://[::1/", "must be a URL like"),
        ("ftp://h/", "must be a URL like"),
        ("api.8select.io", "must be a URL like"),
        ("https://h/a b", "visible ASCII"),
        ("https://h/ä", "visible ASCII"),
        ("https://localhost\\@example.com/", "visible ASCII"),
        (7, "visible ASCII"),
    ],
)
def test_a_wrong_destination_url_is_refused(raw: object, message: str) -> None:
    """Nothing that could send the API ID astray, and no secret in the refusal."""
    with pytest.raises(ValueError, match=message) as caught:
        DestinationUrl().parse(raw, _BASE)
    assert "hush" not in str(caught.value)


def test_a_proxy_is_a_host_and_a_port() -> None:
    """With a user and password, but nothing behind the port."""
    kind = ProxyUrl()
    assert kind.parse("http://u:pw@proxy:3128", _BASE) == "http://u:pw@proxy:3128"
    assert kind.parse("https://proxy/", _BASE) == "https://proxy/"
    for raw in ("http://proxy/x", "http://proxy?x", "http://proxy#x"):
        with pytest.raises(ValueError, match="must end after the host"):
            kind.parse(raw, _BASE)
    with pytest.raises(ValueError, match="must be a URL like"):
        kind.parse("socks5://proxy", _BASE)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ('min_delay = "2s"\nmax_delay = "1s"', ":8: destinations.default.retry.max_delay: 1s is "),
        ('min_delay = "2m"', ":7: destinations.default.retry.probe_max_delay: 1m is less than "),
        ('min_delay = "2s"\nprobe_max_delay = 1', ":8: destinations.default.retry.probe_max_d"),
    ],
)
def test_the_longest_wait_is_not_shorter_than_the_shortest(
    configured: Callable[..., Settings], more: str, problem: str
) -> None:
    """Reported where it was written, also when the other one is a default."""
    with pytest.raises(ConfigError) as caught:
        configured(more=f"[destinations.default.retry]\n{more}\n")
    assert problem in str(caught.value)
