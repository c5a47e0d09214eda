"""A machine with a real systemd as its first process: this one's files, booted by systemd-nspawn.

What it writes goes to an overlay in memory and is gone with it. It shares the network, so that
what runs inside reaches what a test serves on 127.0.0.1. It has a cgroup of its own: two systemds
that shared one would end each other's services. Needs root; nothing of it outlives its `close`,
whatever happened inside.
"""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.daemon.processes import eventually, until

# Of this machine, what the one inside has to see at a place that everybody may read.
PYTHON = "/opt/python"
LIBRARIES = "/opt/libraries"

_BOOT_SECONDS = 60.0
_COMMAND_SECONDS = 60.0
_STATES = frozenset({"running", "degraded"})
_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
_REBOOTS = 133  # what systemd-nspawn ends with
# Of cgroup v1 systemd's own hierarchy, and v2 beside it; or v2 alone.
_HIERARCHIES = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_IN_CGROUPS = 'for file in $CGROUPS; do echo $$ >"$file" || exit; done; exec "$@"'
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    status: int
    out: str
    err: str


def why_not() -> str | None:
    """Return why no such machine can be had here; None where it can."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn isn't installed (Debian: systemd-container)"
    if not Path("/sbin/init").resolve().name.startswith("systemd"):
        return "/sbin/init isn't systemd (Debian: systemd-sysv)"
    return None


class Machine:
    """The machine inside, from its first boot to its end."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Take an empty directory, and more options for systemd-nspawn."""
        self._directory = directory
        self._options = options
        self._console = directory / "console"
        self.name = f"shipper-test-{os.getpid()}-{next(_numbers)}"
        there = [Path(one) for one in _HIERARCHIES if Path(one, "cgroup.procs").exists()]
        self._cgroups = [hierarchy / self.name for hierarchy in there]
        self.root = directory / "root"
        self._nspawn: subprocess.Popen[bytes] | None = None

    # -- its life -----------------------------------------------------------------------------

    def build(self) -> None:
        """Lay the overlay over this machine's files: nothing but the base system starts there."""
        _mount("-t", "tmpfs", "tmpfs", str(self._directory))
        for name in ("upper", "work", "root"):
            (self._directory / name).mkdir()
        layers = f"lowerdir=/,upperdir={self._directory}/upper,workdir={self._directory}/work"
        _mount("-t", "overlay", "overlay", "-o", layers, str(self.root))
        for own in ("etc/systemd/system", "etc/shipper", "var/lib/shipper", "opt/shipper"):
            shutil.rmtree(self.root / own, ignore_errors=True)
        for place in ("etc/systemd/system", "var/log/journal", PYTHON[1:], LIBRARIES[1:]):
            (self.root / place).mkdir(parents=True, exist_ok=True)
        (self.root / "etc/machine-id").write_text("")
        self.write("/etc/hostname", f"{self.name}\n")
        # A Python may look for its library where it was built, which nobody but root may read.
        self.write("/etc/ld.so.conf.d/00-python.conf", f"{PYTHON}/lib\n")

    async def boot(self) -> None:
        """Start it and wait until everything in it has."""
        libraries = next(path for path in sys.path if path.endswith("site-packages"))
        for cgroup in self._cgroups:
            _remove(cgroup)  # with what an earlier boot has left in it
            cgroup.mkdir()
        entries = " ".join(str(cgroup / "cgroup.procs") for cgroup in self._cgroups)
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [
                    *("sh", "-c", _IN_CGROUPS, "sh"),
                    *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
                    *(f"--directory={self.root}", f"--machine={self.name}"),
                    *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
                    f"--bind-ro={sys.base_prefix}:{PYTHON}",
                    f"--bind-ro={libraries}:{LIBRARIES}",
                    *self._options,
                    *("--console=pipe", "systemd.unit=multi-user.target"),
                ],
                env=os.environ | {"CGROUPS": entries},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        assert await eventually(self._is_booted, _BOOT_SECONDS), self._console.read_text()
        await self.run("ldconfig")

    async def reboot(self) -> None:
        """Have it stop everything cleanly, and start again."""
        assert self._nspawn is not None
        await self.run("systemctl", "reboot", "--no-wall")
        # With --keep-unit it is whoever started it that starts it again.
        assert await until(self._nspawn.poll, _BOOT_SECONDS) == _REBOOTS
        await self.boot()

    async def cut_power(self) -> None:
        """End all of it at once, and boot it anew."""
        self.lose_power()
        await self.boot()

    def close(self) -> None:
        """End it, and take the overlay and the cgroup away."""
        self.lose_power()
        for cgroup in self._cgroups:
            _remove(cgroup)
        for mounted in (self.root, self._directory):
            subprocess.run(["umount", "--lazy", str(mounted)], check=False, capture_output=True)

    def lose_power(self) -> None:
        """End all of it at once."""
        if self._nspawn is None:
            return
        leader = self._leader()
        if leader is not None:
            with suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
        try:
            self._nspawn.wait(_BOOT_SECONDS)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn = None

    def _leader(self) -> int | None:
        """Return the process that is number 1 inside."""
        assert self._nspawn is not None
        pid = self._nspawn.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        except OSError:
            return None
        return int(children[0]) if children else None

    async def _is_booted(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise AssertionError(self._console.read_text())
        if self._leader() is None:
            return False
        done = await self.run("systemctl", "is-system-running", check=False)
        return done.out.strip() in _STATES

    async def forbid_namespaces(self) -> None:
        """Let nobody inside hide or cover files any more, as a container without rights of its own.

        Only for a machine with users of its own: of this machine's the limit is left alone.
        """
        leader = self._leader()
        assert Path(f"/proc/{leader}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
        await self.run("mount", "-o", "remount,rw,bind", "/proc/sys")
        inside = ("nsenter", f"--target={leader}", "--user", "--mount", "--pid")
        limit = "echo 0 >/proc/sys/user/max_mnt_namespaces"
        subprocess.run([*inside, "sh", "-c", limit], check=True, capture_output=True)

    # -- what is done in it -------------------------------------------------------------------

    async def run(
        self, *command: str, user: str | None = None, stdin: str = "", check: bool = True
    ) -> Done:
        """Run a command inside, as root or as somebody else; fails where it does."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--target={self._leader()}", "--mount", "--pid", "--uts", "--ipc"),
            *("env", "--ignore-environment", "--chdir=/", _PATH, "LANG=C.UTF-8"),
            *become,
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(_COMMAND_SECONDS):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        done = Done(process.returncode, out.decode(), err.decode())
        assert done.status == 0 or not check, (command, done)
        return done

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file into it, as root's."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode)
        file.write_text(text, "utf-8")
        file.chmod(mode)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _remove(cgroup: Path) -> None:
    """Remove a cgroup without processes, and those below it, if it is there."""
    for directory, _, _ in os.walk(cgroup, topdown=False):
        Path(directory).rmdir()
