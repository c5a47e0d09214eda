"""Where an SQLite file may lie: one name, one memory, one WAL for everybody who opens it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shipper.errors import SchemaError
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.place import device, file_system, refuse_unusable_file, remark
from tests import needs

LINE = "{id} 1 0:{id} / {at} rw,relatime shared:{id} master:1 - {kind} source {options}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file in a directory with odd characters, which the kernel escapes in its list."""
    directory = tmp_path / "a shop\\with\ttabs"
    directory.mkdir()
    (directory / "shop.db").touch()
    return directory / "shop.db"


def mounts(place: Path, *lines: tuple[object, str, str]) -> Path:
    """Write a list of mounts (where, kind, options) as the kernel does, and return it."""
    written = [LINE.format(id=1, at="/", kind="ext4", options="rw")]
    for number, (at, kind, options) in enumerate(lines, 2):
        escaped = str(at).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
        written.append(LINE.format(id=number, at=escaped, kind=kind, options=options))
    file = place.with_name("mountinfo")
    file.write_text("\n".join([*written, ""]), "utf-8", "surrogateescape")
    return file


def on(path: Path, kind: str) -> Path:
    """Return a list of mounts in which the file's directory is a mount of that kind."""
    return mounts(path, (os.path.realpath(path.parent), kind, "rw"))


SHARED_WITH_A_HOST = [
    "virtiofs", "fuse.grpcfuse", "grpcfuse", "fakeowner", "fuse.fakeowner", "fuse.osxfs", "osxfs",
    "fuse.vmhgfs-fuse", "hgfs", "prl_fs", "fuse.prl_fsd", "drvfs", "fuse.drvfs", "vboxsf",
]  # fmt: skip


@pytest.mark.parametrize("kind", SHARED_WITH_A_HOST)
def test_what_a_virtual_machine_shares_with_its_host_is_refused(path: Path, kind: str) -> None:
    """Each side has a cache of its own: hermes-agent 110847, openclaw 120549, job-ops 726."""
    with pytest.raises(SchemaError, match=kind) as caught:
        refuse_unusable_file(path, on(path, kind))
    assert caught.value.exit_status == 78
    assert "named volume" in str(caught.value.hint)
    assert "PostgreSQL" in str(caught.value.hint)


@pytest.mark.parametrize(
    "kind",
    ["9p", "nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gfs2", "ocfs2",
     "glusterfs", "afs", "beegfs", "orangefs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs",
     "fuse.gcsfuse", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.davfs", "fuse.juicefs",
     "fuse.mount_portal", "fuse"],
)  # fmt: skip
def test_what_other_machines_may_have_mounted_is_refused(path: Path, kind: str) -> None:
    """Of a file system in user space nobody knows, so an unknown one is not believed."""
    with pytest.raises(SchemaError, match=kind) as caught:
        refuse_unusable_file(path, on(path, kind))
    assert "disk of this machine" in str(caught.value.hint)


@pytest.mark.parametrize(
    "kind",
    ["ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "tmpfs", "vfat", "exfat", "fuseblk",
     "fuse.ntfs-3g", "bcachefs"],
)  # fmt: skip
def test_a_disk_of_this_machine_is_good(path: Path, kind: str) -> None:
    """Whatever it is formatted as."""
    listed = on(path, kind)
    refuse_unusable_file(path, listed)
    assert file_system(os.path.realpath(path), listed) == kind


def test_a_local_disk_inside_of_a_shared_directory_is_good(path: Path) -> None:
    """And a shared directory inside of a local disk is not: the innermost mount decides."""
    inner, outer = os.path.realpath(path.parent), os.path.realpath(path.parent.parent)
    refuse_unusable_file(path, mounts(path, (outer, "virtiofs", "rw"), (inner, "ext4", "rw")))
    with pytest.raises(SchemaError, match="virtiofs"):
        refuse_unusable_file(path, mounts(path, (outer, "ext4", "rw"), (inner, "virtiofs", "rw")))


def test_the_kernels_own_word_wins_over_names(path: Path) -> None:
    """A mount that a later one has covered is still in the list, with the longer name."""
    descriptor = os.open(path, os.O_PATH)
    told = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii")
    os.close(descriptor)
    number = next(line.split()[1] for line in told.splitlines() if line.startswith("mnt_id"))
    listed = on(path, "nfs4")
    with listed.open("a", encoding="utf-8") as file:
        file.write(LINE.format(id=number, at="/", kind="xfs", options="rw") + "\n")
    refuse_unusable_file(path, listed)


def test_the_device_is_the_one_that_the_kernel_counts_locks_by(path: Path, tmp_path: Path) -> None:
    """It is the mount's, which on btrfs isn't what stat(2) says; without a list there is none."""
    assert device(str(path), on(path, "btrfs")) == (0, 2)
    assert device(str(path), tmp_path / "no list") is None


def test_a_link_leads_to_the_place_that_counts(path: Path, tmp_path: Path) -> None:
    """Of a symbolic link SQLite puts -wal and -shm where it leads to."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with pytest.raises(SchemaError, match="nfs4"):
        refuse_unusable_file(link, on(path, "nfs4"))


def test_a_file_with_two_names_is_refused(path: Path) -> None:
    """Each name has a WAL of its own (sqlite.org/howtocorrupt.html, 2.5)."""
    other = path.with_name("other.db")
    other.hardlink_to(path)
    for name in (path, other):
        with pytest.raises(SchemaError, match="2 names") as caught:
            refuse_unusable_file(name)
        assert f"-samefile {name}" in str(caught.value.hint)
    other.unlink()
    refuse_unusable_file(path)


def test_a_file_that_is_mounted_by_itself_is_refused(path: Path) -> None:
    """`-v ./shop.db:/data/shop.db`: the WAL inside isn't the WAL outside."""
    with pytest.raises(SchemaError, match="mounted by itself") as caught:
        refuse_unusable_file(path, mounts(path, (os.path.realpath(path), "ext4", "rw")))
    assert "mount the directory" in str(caught.value.hint)


LOOK = """
import subprocess, sys
from pathlib import Path
from shipper.errors import SchemaError
from shipper.store.db.sqlite.place import refuse_unusable_file

outside, inside = sys.argv[1:]
if subprocess.run(["mount", "--bind", outside, inside], check=False).returncode:
    sys.exit("can't mount")
try:
    refuse_unusable_file(Path(inside))
except SchemaError as error:
    print(error.message)
"""


def test_a_real_bind_mount_of_one_file_is_seen(path: Path, tmp_path: Path) -> None:
    """In a mount namespace of its own, as a container's is."""
    inside = tmp_path / "inside.db"
    inside.touch()
    command = ["unshare", "--mount", sys.executable, "-c", LOOK, str(path), str(inside)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        needs.missing("no unshare")
    if "can't mount" in done.stderr or "unshare" in done.stderr:
        needs.missing("nobody may mount here")
    assert "mounted by itself" in done.stdout, done.stderr


def test_a_layer_of_a_containers_file_system_is_refused(path: Path) -> None:
    """The container opens it through the overlay, where it is another file."""
    layer = os.path.realpath(path.parent.parent)
    options = f"rw,lowerdir=/l1:/l2,upperdir={layer},workdir=/w"
    with pytest.raises(SchemaError, match="layer"):
        refuse_unusable_file(path, mounts(path, ("/merged", "overlay", options)))
    # Whoever is inside of it sees the same path, and has the right file.
    refuse_unusable_file(path, mounts(path, (layer, "overlay", options)))


def test_no_file_is_made_where_none_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left behind on a share."""
    listed = mounts(tmp_path / "shop.db", (os.path.realpath(tmp_path), "cifs", "rw"))
    monkeypatch.setattr("shipper.store.db.sqlite.place.MOUNTINFO", listed)
    with pytest.raises(SchemaError, match="cifs"):
        open_engine(f"sqlite:///{tmp_path / 'new.db'}", create=True)
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("kind", "at", "words"),
    [("tmpfs", "here", "restarts"), ("overlay", "/", "container"), ("ext4", "here", None)],
)
def test_what_does_not_last_is_worth_a_warning(
    path: Path, kind: str, at: str, words: str | None
) -> None:
    """It can be used, but not everybody knows that it is gone one day."""
    where = os.path.realpath(path.parent) if at == "here" else at
    told = remark(path, mounts(path, (where, kind, "rw")))
    assert told is None if words is None else words in str(told)


def test_lines_that_say_nothing_are_passed_over(path: Path) -> None:
    """The kernel of tomorrow may write what today's doesn't."""
    listed = on(path, "ext4")
    listed.write_text(listed.read_text("utf-8") + "\n\nnonsense - here\n", "utf-8")
    refuse_unusable_file(path, listed)
    assert file_system("/nowhere", path.with_name("no such list")) == "unknown"
