"""Which files and URLs an outbox can be opened at, and how a new file is made."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipper.errors import (
    ConfigError,
    SchemaError,
)
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import create_sqlite_file
from shipper.store.db.sqlite.place import refuse_unusable_file

NOON = 1_795_435_200.123


@pytest.fixture(params=[0o022, 0o077, 0o007, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the umask of a careless or a careful user."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_can_be_shared_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The directory, the file, and what SQLite puts beside it (hazard S11)."""
    path = tmp_path / "shop" / "shop.db"
    create_sqlite_file(path)
    assert _mode(path.parent) == 0o2770
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.rollback()
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("CREATE TABLE orders (id INTEGER)")
        assert {entry.name: _mode(entry) for entry in path.parent.iterdir()} == dict.fromkeys(
            ("shop.db", "shop.db-shm", "shop.db-wal"), 0o660
        )
    engine.dispose()


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """It is somebody else's to decide."""
    tmp_path.chmod(0o755)
    create_sqlite_file(tmp_path / "shop.db")
    assert _mode(tmp_path) == 0o755


def test_only_the_last_directory_is_made(tmp_path: Path) -> None:
    """A path with a typing error doesn't become a tree."""
    with pytest.raises(SchemaError, match="no directory"):
        create_sqlite_file(tmp_path / "a" / "b" / "shop.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    """It may be the application's."""
    path = tmp_path / "shop.db"
    path.write_bytes(b"mine")
    with pytest.raises(SchemaError, match="there already"):
        create_sqlite_file(path)
    assert path.read_bytes() == b"mine"


def test_a_file_cannot_be_a_directory_on_the_way(tmp_path: Path) -> None:
    """And that is said in words."""
    (tmp_path / "file").touch()
    with pytest.raises(SchemaError, match="not a directory"):
        create_sqlite_file(tmp_path / "file" / "shop.db")


def test_a_missing_file_is_not_made_by_looking(tmp_path: Path) -> None:
    """A URL with a typing error is exit status 78, not an empty outbox."""
    with pytest.raises(SchemaError, match="no outbox") as caught:
        open_engine(f"sqlite:///{tmp_path / 'none.db'}")
    assert str(caught.value.hint).startswith("is the path right, is the disk mounted?")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_went_away_does_not_come_back_empty(tmp_path: Path) -> None:
    """Not even between opening the engine and using it."""
    path = tmp_path / "shop.db"
    engine = open_engine(f"sqlite:///{path}", create=True)
    path.unlink()
    with pytest.raises(SchemaError, match="missing"):
        engine.connect()
    assert not path.exists()


def test_a_directory_is_no_outbox(tmp_path: Path) -> None:
    """Nor is anything else that isn't a file."""
    with pytest.raises(SchemaError, match="is a directory"):
        open_engine(f"sqlite:///{tmp_path}")


MOUNTS = """\
1 0 8:1 / / rw shared:1 - ext4 /dev/root rw
2 1 0:9 / /net rw shared:2 master:1 - nfs4 server:/export rw
3 1 0:9 / /net/local rw - ext4 /dev/sdb rw
4 1 0:9 / /with\\040blank rw - cifs //server/share rw
5 1 0:9 / /covered rw - nfs server:/export rw
6 1 0:9 / /covered rw - xfs /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("mount", "kind"),
    [("/net", "nfs4"), ("/net/local", None), ("/with blank", "cifs"), ("/covered", None),
     ("/network", None)],
)  # fmt: skip
def test_wal_over_a_network_is_refused(tmp_path: Path, mount: str, kind: str | None) -> None:
    """The file system that the path really lies on decides, not one with a similar name."""
    path = tmp_path / "shop.db"
    path.touch()
    mountinfo = tmp_path / "mountinfo"
    # The mounts of the example, moved under the directory that we have.
    lines = [line.split(" ") for line in MOUNTS.splitlines()]
    moved = [[*f[:4], f[4].replace(mount.replace(" ", "\\040"), os.path.realpath(tmp_path), 1)
              if f[4] != "/" else "/", *f[5:]] for f in lines]  # fmt: skip
    mountinfo.write_text("\n".join(" ".join(fields) for fields in moved))
    if kind is None:
        refuse_unusable_file(path, mountinfo)
        return
    with pytest.raises(SchemaError, match=kind):
        refuse_unusable_file(path, mountinfo)


def test_an_unknown_file_system_is_given_the_benefit_of_the_doubt(tmp_path: Path) -> None:
    """There may be no /proc."""
    (tmp_path / "shop.db").touch()
    refuse_unusable_file(tmp_path / "shop.db", tmp_path / "none")


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://secret@host/db", "sqlite://", "sqlite:///:memory:",
     "sqlite:////x.db?mode=memory", "oracle+x://secret@host"],
)  # fmt: skip
def test_a_url_that_is_not_one_of_ours_is_refused_without_showing_it(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ConfigError) as caught:
        open_engine(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_postgres_means_psycopg(scheme: str) -> None:
    """Hosting companies hand out the short one."""
    assert open_engine(f"{scheme}://user@host/db").driver == "psycopg"
