"""What a user may do is the kernel's word: real users, real access lists, real mounts."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.doctor.access import User
from shipper.doctor.files import check_config, check_directory, check_files, check_user
from shipper.doctor.result import CheckLevel, CheckResult
from shipper.store.db.sqlite.opening import create_sqlite_file
from tests import needs

NOBODY = User.of(pwd.getpwnam("nobody").pw_uid, "of the test")
DAEMON = User.of(pwd.getpwnam("daemon").pw_uid, "of the test")
ROOT = User.of(0, "of the test")


def run(*command: object) -> None:
    """Run a program; fails where it does."""
    subprocess.run([*map(str, command)], check=True, capture_output=True)


def setfacl(*arguments: object) -> None:
    """Change an access list."""
    run(needs.program("setfacl", "acl"), *arguments)


def only(found: Iterator[CheckResult]) -> CheckResult:
    """Return the one finding."""
    [finding] = found
    return finding


@pytest.fixture
def shop(public_path: Path) -> Path:
    """Give a private outbox of the application's in a directory that everybody can reach."""
    needs.root()
    path = public_path / "shop" / "shop.db"
    create_sqlite_file(path)
    path.chmod(0o600)
    path.parent.chmod(0o700)
    return path


def test_an_access_list_that_lets_the_service_in_is_no_fault(shop: Path) -> None:
    """Neither for the directory nor for the files, whatever the modes seem to say."""
    assert only(check_files(shop, NOBODY)).level is CheckLevel.FAULT
    shop.with_name("shop.db-wal").touch(0o600)
    setfacl("-R", "-m", "u:nobody:rwX", shop.parent)
    assert only(check_files(shop, NOBODY)).level is CheckLevel.OK
    found = only(check_directory(shop, NOBODY))
    assert found.level is CheckLevel.WARNING  # the next -wal would be the application's alone
    assert found.fix == f"setfacl -d -m u:nobody:rwX {shop.parent}"
    run("sh", "-c", found.fix)
    assert only(check_directory(shop, NOBODY)).level is CheckLevel.OK
    assert only(check_files(shop, DAEMON)).level is CheckLevel.FAULT


def test_an_access_list_that_keeps_the_service_out_is_a_fault(shop: Path) -> None:
    """Though the modes would let everybody in."""
    shop.parent.chmod(0o2777)
    shop.chmod(0o666)
    setfacl("-m", "u:nobody:---", shop)
    found = only(check_files(shop, NOBODY))
    assert found.level is CheckLevel.FAULT
    assert "an access list or a security module" in found.text
    assert f"getfacl {shop}" in str(found.fix)
    assert only(check_files(shop, DAEMON)).level is CheckLevel.OK


def test_a_mask_that_cuts_an_access_list_is_seen(shop: Path) -> None:
    """`chmod` of a file with an access list changes its mask, and not the group's rights."""
    shop.parent.chmod(0o2777)
    setfacl("-m", "u:nobody:rw", shop)
    assert only(check_files(shop, NOBODY)).level is CheckLevel.OK
    shop.chmod(0o640)
    assert only(check_files(shop, NOBODY)).level is CheckLevel.FAULT


def test_a_directory_on_the_way_is_named_with_a_fix_that_works(shop: Path) -> None:
    """The file itself and its own directory are as they should be."""
    shop.parent.chmod(0o2777)
    shop.chmod(0o666)
    above = shop.parent.parent
    above.chmod(0o750)
    for found in (only(check_directory(shop, NOBODY)), only(check_files(shop, NOBODY))):
        assert found.level is CheckLevel.FAULT
        assert "nobody can't" in found.text
        assert f"can't enter the directory {above}" in found.text
    needs.program("setfacl", "acl")
    run("sh", "-c", str(found.fix).partition("   (")[0])
    assert only(check_files(shop, NOBODY)).level is CheckLevel.OK


def test_where_a_link_leads_counts_as_well(shop: Path) -> None:
    """The way of the link, and the way of what it leads to."""
    shop.parent.chmod(0o2777)
    shop.chmod(0o666)
    hidden = shop.parent.parent / "hidden"
    hidden.mkdir(0o700)
    shop.parent.rename(hidden / "shop")
    shop.parent.symlink_to(hidden / "shop")
    assert f"can't enter the directory {hidden}" in only(check_files(shop, NOBODY)).text


def test_a_file_system_that_is_mounted_read_only_is_named(shop: Path) -> None:
    """Not even root writes there."""
    run("mount", "--bind", shop.parent, shop.parent)
    try:
        run("mount", "-o", "remount,bind,ro", shop.parent)
        found = only(check_files(shop, ROOT))
        assert found.level is CheckLevel.FAULT
        assert "its file system is mounted read-only" in found.text
        assert "read-only" in only(check_directory(shop, ROOT)).text
    finally:
        run("umount", shop.parent)
    assert only(check_files(shop, ROOT)).level is CheckLevel.OK


def test_an_immutable_file_is_named(shop: Path) -> None:
    """Not even root writes it."""
    if subprocess.run(["chattr", "+i", str(shop)], capture_output=True, check=False).returncode:
        needs.missing("the file system of the temporary directory has no immutable files")
    try:
        found = only(check_files(shop, ROOT))
        assert "it is immutable" in found.text
    finally:
        run("chattr", "-i", shop)
    assert found.fix == f"chattr -i {shop}"


def test_groups_beside_the_users_own_count(shop: Path) -> None:
    """Those of a unit's SupplementaryGroups=, or of the process that runs."""
    shop.parent.chmod(0o2770)
    shop.chmod(0o660)
    os.chown(shop.parent, -1, 54321)
    os.chown(shop, -1, 54321)
    assert only(check_files(shop, NOBODY)).level is CheckLevel.FAULT
    member = User.of(NOBODY.uid, "of the test", [54321])
    assert only(check_directory(shop, member)).level is CheckLevel.OK
    assert only(check_files(shop, member)).level is CheckLevel.OK


def test_an_owner_has_the_rights_of_the_owner(shop: Path) -> None:
    """And not those of the group, even if these are more."""
    shop.parent.chmod(0o2777)
    os.chown(shop, NOBODY.uid, DAEMON.uid)
    shop.chmod(0o060)
    owner = User.of(NOBODY.uid, "of the test", [DAEMON.uid])
    assert only(check_files(shop, owner)).level is CheckLevel.FAULT
    assert not list(check_config([shop], DAEMON))


def test_who_is_not_root_judges_others_by_modes_and_claims_nothing_of_lists(shop: Path) -> None:
    """Else the doctor would report a fault that is none."""
    shop.parent.chmod(0o2777)
    listed = shop.with_name("listed.db")
    listed.touch(0o600)
    setfacl("-m", "u:nobody:rw", listed)

    def judged(by: int) -> str:
        before = os.geteuid()
        os.seteuid(by)
        try:
            user = User.of(NOBODY.uid, "")
            told = only(check_user(user)).text
            refused = [user.refused(file, "rw") is not None for file in (shop, listed)]
            return f"{'judged by modes' in told} {refused}"
        finally:
            os.seteuid(before)

    assert judged(0) == "False [True, False]"
    assert judged(DAEMON.uid) == "True [True, False]"
