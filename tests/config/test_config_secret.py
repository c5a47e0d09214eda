"""Secrets are read anew, checked, and never shown."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from shipper.config import DestinationSettings, Secret, Settings, masked
from shipper.errors import AccessDenied, ConfigError


def destination(api_id_file: Path | None) -> DestinationSettings:
    """Return a destination whose API ID is in a file."""
    return DestinationSettings("default", "https://h/", api_id_file=api_id_file)


def test_a_secret_shows_only_when_asked_to() -> None:
    """Neither repr nor str gives it away; equality and hash work."""
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hush"
    assert secret == Secret("hush")
    assert secret != Secret("other")
    assert secret != "hush"
    assert len({secret, Secret("hush")}) == 1


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    """The API ID is read each time, without its line end."""
    file = tmp_path / "id"
    for content in ("first\n", "second\r\n", "third"):
        file.write_bytes(content.encode())
        assert destination(file).read_api_id().reveal() == content.strip()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hush hush", "visible ASCII"),
        (b"hush\nhush", "visible ASCII"),
        (b"hush\0", "visible ASCII"),
        (b"hush\xff", "visible ASCII"),
        ("hüsh".encode(), "visible ASCII"),
        (b"hush" * 20_000, "too long"),
    ],
)
def test_what_fits_no_header_is_refused_unseen(
    tmp_path: Path, content: bytes, message: str
) -> None:
    """The problem names the file and the destination and shows nothing of what is in it."""
    file = tmp_path / "id"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        destination(file).read_api_id()
    (problem,) = caught.value.problems
    assert problem.startswith(f"the API ID of destination default: {file} ")
    assert caught.value.hint == f"put the API ID into {file}, on one line"
    assert "hush" not in problem


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A missing file, a directory, and a device that never ends."""
    for path, message in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "is not a file"),
        (Path("/dev/zero"), "is not a file"),
    ):
        with pytest.raises(ConfigError, match=message):
            destination(path).read_api_id()
    with pytest.raises(ConfigError, match="neither api_id nor api_id_file"):
        destination(None).read_api_id()


def test_a_file_that_we_may_not_read_is_a_matter_of_rights(
    tmp_path: Path, an_ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    """Exit 77 with advice, because the id itself may be right."""
    file = tmp_path / "id"
    file.touch(mode=0)
    with (
        an_ordinary_user(),
        pytest.raises(AccessDenied, match=r"can't read .*permission denied") as caught,
    ):
        destination(file).read_api_id()
    assert "LoadCredential" in (caught.value.hint or "")


@pytest.mark.parametrize("value", ['""', '"a b"', '"ä"', "7", '"hush\\n"'])
def test_a_literal_api_id_is_checked_at_load(
    configured: Callable[..., Settings], value: str
) -> None:
    """As strictly as one from a file, and as silently."""
    text = '[database]\nurl = "postgres:///x"\n[destinations.default]\nurl = "https://h/"\n'
    with pytest.raises(ConfigError, match=r":5: destinations.default.api_id: must ") as caught:
        configured(f"{text}api_id = {value}\n")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:pw@h/db", "postgresql+psycopg://u:****@h/db"),
        ("postgresql+psycopg://u:p@w@h/db", "postgresql+psycopg://u:****@h/db"),
        ("postgresql+psycopg://u:p/w:@h/db", "postgresql+psycopg://u:****@h/db"),
        ("postgresql+psycopg://u@h:5432/db", "postgresql+psycopg://u@h:5432/db"),
        ("postgresql+psycopg://h/db?user=u&password=p&x=1",
         "postgresql+psycopg://h/db?user=u&password=****&x=1"),
        ("sqlite:////var/lib/shop.db", "sqlite:////var/lib/shop.db"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_passwords(url: str, shown: str) -> None:
    """In the authority and in the query; all else stays readable."""
    assert masked(url) == shown
