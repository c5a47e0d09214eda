"""Where the program runs: what the kernel, the system and the environment may lack.

Each place is a mount namespace in which something is hidden from the real daemon, as gVisor,
ProcSubset=pid, a chroot or a bare container image hide it.
"""

import signal
import subprocess
from pathlib import Path

import pytest

from tests import needs
from tests.daemon.harness import Shop, only_postgres, only_sqlite
from tests.daemon.processes import Daemon, until

_HIDE_BOOT = "mount -t tmpfs none /proc/sys/kernel/random"
_EMPTY = "mount --bind /dev/null"

PLACES = {
    "no boot id": _HIDE_BOOT,
    "an empty boot id": f"{_EMPTY} /proc/sys/kernel/random/boot_id",
    "ProcSubset=pid": "mount -t proc -o subset=pid proc /proc",
    "no status of processes": f"{_EMPTY} /proc/$$/stat; {_EMPTY} /proc/$$/status; "
    f"{_EMPTY} /proc/stat",
    "no mountinfo": f"{_EMPTY} /proc/$$/mountinfo",
    "no /proc": "mount -t tmpfs none /proc",
    "users without names": f"{_EMPTY} /etc/passwd; {_EMPTY} /etc/group",
    "a bare /etc": "mount -t tmpfs none /etc",
    "no time zones": "mount -t tmpfs none /usr/share/zoneinfo; export PYTHONTZPATH=",
    "a TZ that is no zone": "export TZ=Nowhere/Nonsense",
    "a bare /dev": "mount -t tmpfs none /dev",
    "nothing to write to": "mount --bind . .; mount -o remount,bind,ro /; cd ..; cd -",
    "no environment": 'exec env -i "$0" "$@"',
    "an unknown locale": "export LC_ALL=xx_YY.ISO-8859-1",
    "a directory that was removed": "mkdir gone; cd gone; rmdir ../gone",
    "few descriptors": "ulimit -n 48",
}


def hidden(script: str) -> list[str]:
    """Return the command line under which a program doesn't see what the script hides."""
    needs.root()
    unshare = needs.program("unshare", "util-linux")
    shell = ["sh", "-ec", f'{script} >/dev/null; exec "$0" "$@"']
    private = [unshare, "--mount", "--propagation", "private"]
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        needs.missing("no mount namespace can be had here")
    return [*private, *shell]


@only_sqlite
@pytest.mark.parametrize("place", PLACES)
async def test_the_daemon_ships_wherever_it_runs(shop: Shop, tmp_path: Path, place: str) -> None:
    """Also its port answers, and every command sees it."""
    socket = tmp_path / "web.sock"
    shop.configure(more=f'[web]\nlisten = "unix:{socket}"')
    shop.add("u1-1", "u1-2", "u2-1")
    daemon = shop.start(under=hidden(PLACES[place]))
    await daemon.told("web.listening")
    await shop.settled()
    for path in ("readyz", "metrics"):
        asked = ["curl", "-sf", "--unix-socket", str(socket), f"http://shipper/{path}"]
        assert subprocess.run(asked, capture_output=True, check=False).returncode == 0, path
    assert f"process {daemon.pid} on " in (await shop.command("status")).stderr
    await shop.assert_verified()
    await daemon.stop()
    shop.assert_flawless()


@only_postgres
@pytest.mark.parametrize("place", ["no boot id", "ProcSubset=pid", "no /proc"])
async def test_who_cannot_be_told_to_be_dead_keeps_its_lease(shop: Shop, place: str) -> None:
    """Neither living nor killed is it ended before its lease has ended: it keeps its shards.

    Two such places may have the same host name, and both be process 1: neither is the other.
    """
    shop.configure(timeout=1)
    under = hidden(PLACES[place])
    first = shop.start(under=under)
    await first.told("daemon.started")
    [its] = shop.rows("SELECT token FROM shipper_daemon")
    shards = f"SELECT count(*) FROM shipper_shard WHERE token = {its[0]}"
    for where in ([], under):
        other = shop.start(under=where)
        await until(lambda: shop.rows(shards)[0][0] == 32)
        assert first.is_alive
        other.signal(signal.SIGTERM)
        assert await other.ended() == 0
        await until(lambda: shop.rows(shards)[0][0] == 64)
    first.signal(signal.SIGKILL)
    await first.ended()
    heir = shop.start(under=under)
    await heir.told("daemon.started")
    assert shop.rows(shards)[0][0] == 64
    shop.execute("UPDATE shipper_daemon SET ttl = 0")
    await heir.told("daemon.took_over")
    await until(lambda: shop.rows(shards)[0][0] == 0)
    await heir.stop()


@only_sqlite
async def test_process_1_of_a_container_ships_and_stops(shop: Shop) -> None:
    """The kernel spares it every signal that it hasn't asked for; SIGTERM, from outside, it has."""
    needs.root()
    unshare = needs.program("unshare", "util-linux")
    container = [unshare, "--pid", "--fork", "--kill-child", "--mount-proc"]
    daemon = shop.start(under=container)
    await daemon.told("daemon.started")
    shop.add("u1-1")
    await shop.settled()
    inside = await until(lambda: _child_of(daemon))
    assert "NSpid:\t" in (status := Path(f"/proc/{inside}/status").read_text())
    assert status.partition("NSpid:")[2].split("\n")[0].split()[-1] == "1"
    subprocess.run(["kill", "-TERM", str(inside)], check=True)
    assert await daemon.ended() == 0
    assert daemon.said("daemon.stopped", cut_off=0)
    again = shop.start(under=container)
    await again.told("daemon.started")


def _child_of(daemon: Daemon) -> int | None:
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    return int(children[0]) if children else None
