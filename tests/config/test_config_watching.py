"""[web] and [alerts]: what may be listened on, who may be told, and that no URL of theirs shows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.config import Settings, show
from shipper.config.listen import Listen, Loopback, UnixSocket
from shipper.config.types import Size
from shipper.config.urls import HookUrl
from shipper.errors import ConfigError

_BASE = Path("/base")
_URL = "https://hooks.example.com/T0/canary-token"

Configured = Callable[..., Settings]


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        ("127.0.0.1:9187", Loopback("127.0.0.1", 9187)),
        ("127.8.9.10:1", Loopback("127.8.9.10", 1)),
        ("localhost:80", Loopback("127.0.0.1", 80)),
        ("[::1]:9187", Loopback("::1", 9187)),
        ("unix:/run/shipper/web.sock", UnixSocket(Path("/run/shipper/web.sock"))),
        ("unix:web.sock", UnixSocket(Path("/base/web.sock"))),
        ("", None),
    ],
)
def test_it_listens_on_this_machine_or_not_at_all(raw: str, address: object) -> None:
    """A loopback address, or a socket in the file system."""
    assert Listen().parse(raw, _BASE) == address


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("0.0.0.0:9187", "must stay on this machine"),
        ("[::]:9187", "must stay on this machine"),
        ("192.168.1.5:9187", "must stay on this machine"),
        ("[::ffff:10.0.0.1]:80", "must stay on this machine"),
        ("shop.example.com:80", "an address and not with a name"),
        ("9187", "an address and a port"),
        (":9187", "an address and a port"),
        ("127.0.0.1", "an address and a port"),
        ("127.0.0.1:", "an address and a port"),
        ("::1:9187", "an address and a port"),
        ("[127.0.0.1:80", "an address and a port"),
        ("127.0.0.1:0", "a port from 1 to 65535"),
        ("127.0.0.1:65536", "a port from 1 to 65535"),
        ("127.0.0.1:٣", "an address and a port"),
        ("unix:", "must name a socket"),
        ("unix:/run/", "must name a socket"),
        ("unix:/" + 107 * "x", "at most 107 bytes"),
        ("a\nb", "must be an address like"),
        (9187, "must be an address like"),
        (None, "must be an address like"),
    ],
)
def test_nothing_else_can_be_listened_on(raw: object, message: str) -> None:
    """Nobody else is let in by a slip; what is wrong is said, with an example."""
    with pytest.raises(ValueError, match=message):
        Listen().parse(raw, _BASE)


@pytest.mark.parametrize("raw", ["127.0.0.1:9187", "[::1]:9187", "unix:/run/shipper/web.sock"])
def test_an_address_is_shown_as_it_is_written(raw: str) -> None:
    """`config show` prints what could be put into the config."""
    assert Listen().show(Listen().parse(raw, _BASE)) == raw


@pytest.mark.parametrize(
    ("raw", "size"),
    [("0B", 0), ("1GB", 10**9), ("1.5 GB", 1_500_000_000), ("250MB", 250 * 10**6), ("3kB", 3000)],
)
def test_a_size_is_a_number_with_its_unit(raw: str, size: int) -> None:
    """And is shown in the largest unit in which it is whole."""
    kind = Size(0, 10**12)
    assert kind.parse(raw, _BASE) == size
    assert kind.parse(kind.show(size), _BASE) == size


@pytest.mark.parametrize("raw", ["1", 1, "1TB", "1KB", "-1B", "1e9B", "", "9999999GB", None])
def test_what_is_no_size_is_refused(raw: object) -> None:
    """A bare number could be meant in anything."""
    with pytest.raises(ValueError, match="must be a size"):
        Size(0, 10**12).parse(raw, _BASE)


@pytest.mark.parametrize(
    "raw",
    ["ftp://h/", "hooks.example.com", "https://u:p@h/", "https://h/#f", "https://h/\n", 5, ""],
)
def test_what_cannot_be_told_is_refused_without_being_shown(raw: object) -> None:
    """A message never repeats a URL: it is a secret as a whole."""
    with pytest.raises(ValueError, match=r"must") as raised:
        HookUrl().parse(raw, _BASE)
    assert not raw or str(raw) not in str(raised.value)


def test_neither_url_is_ever_shown(configured: Configured) -> None:
    """Not in `config show`, not in a repr."""
    settings = configured(more=f'[alerts]\nwebhook_url = "{_URL}"\nheartbeat_url = "{_URL}"\n')
    assert settings.alerts.webhook_url is not None
    assert settings.alerts.webhook_url.reveal() == _URL
    shown = {name: value for name, value, _ in show(settings)}
    assert shown["alerts.webhook_url"] == shown["alerts.heartbeat_url"] == "****"
    assert "canary" not in repr(settings) + str(show(settings))


def test_a_url_may_lie_in_a_file_of_its_own(configured: Configured, tmp_path: Path) -> None:
    """Like the database's."""
    (tmp_path / "hook").write_text(_URL + "\n")
    settings = configured(more='[alerts]\nwebhook_url_file = "hook"\n')
    assert settings.alerts.webhook_url is not None
    assert settings.alerts.webhook_url.reveal() == _URL
    assert settings.alerts.heartbeat_url is None


def test_both_are_one_too_many(configured: Configured, tmp_path: Path) -> None:
    """Nobody has to guess which of the two counts; neither is needed."""
    (tmp_path / "hook").write_text(_URL)
    more = f'[alerts]\nwebhook_url_file = "hook"\nwebhook_url = "{_URL}"\n'
    with pytest.raises(ConfigError, match="is set, and so is webhook_url_file"):
        configured(more=more)


def test_an_override_takes_the_place_of_a_file(configured: Configured, tmp_path: Path) -> None:
    """The environment's word counts, as everywhere."""
    (tmp_path / "hook").write_text("https://other.example/")
    environ = {"SHIPPER_ALERTS__WEBHOOK_URL": _URL}
    settings = configured(environ=environ, more='[alerts]\nwebhook_url_file = "hook"\n')
    assert settings.alerts.webhook_url is not None
    assert settings.alerts.webhook_url.reveal() == _URL


def test_a_file_without_a_url_is_a_fault_with_its_place(
    configured: Configured, tmp_path: Path
) -> None:
    """And what is in it isn't shown."""
    (tmp_path / "hook").write_text("not-a-url-canary")
    with pytest.raises(ConfigError, match=r"hook:1: alerts\.webhook_url: must be a URL") as raised:
        configured(more='[alerts]\nwebhook_url_file = "hook"\n')
    assert "canary" not in str(raised.value)


def test_a_missing_file_is_a_fault(configured: Configured) -> None:
    """With the line that names it."""
    with pytest.raises(ConfigError, match=r"shipper\.toml:7: alerts\.heartbeat_url_file: .* can't"):
        configured(more='[alerts]\nheartbeat_url_file = "gone"\n')


def test_a_url_that_others_can_read_is_warned_of(configured: Configured, tmp_path: Path) -> None:
    """As an API ID is."""
    configured(more=f'[alerts]\nwebhook_url = "{_URL}"\n')
    path = tmp_path / "shipper.toml"
    path.chmod(0o644)
    from shipper.config import load

    [_, warning] = load(path, {}, tmp_path).warnings
    assert "alerts.webhook_url can be read by other users" in warning
