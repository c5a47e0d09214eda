"""A till that nobody looks at: shipper from its wheel, an application, an API that has faults.

What a test does to it is undone before the next one: drop-ins, configuration, outbox, API.
"""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from shipper.sandbox import Sandbox
from tests.daemon.application import payload
from tests.daemon.harness import API_ID
from tests.daemon.processes import PATIENCE, eventually
from tests.systemd.machine import LIBRARIES, PYTHON, Done, Machine

ROOT = Path(__file__).parents[2]
UNIT = "shipper.service"
PROGRAM = "/opt/shipper/bin/shipper"
CONFIG = "/etc/shipper/config.toml"
CREDENTIAL = "/etc/shipper/api_id"
OUTBOX = "/var/lib/shipper/outbox.db"
APPLICATION, STRANGER = "shop", "stranger"

_DROP_INS = "/run/systemd/system/shipper.service.d"
# The build backend's own entry point (PEP 517): offline, and no second copy of pip in between.
_BUILD = "import sys, hatchling.build as backend; backend.build_wheel(sys.argv[1])"


async def install(machine: Machine) -> Done:
    """Install the wheel of this tree as the manual says, and the unit; return what that said."""
    wheels = machine.root / "srv"
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(wheels)], cwd=ROOT, check=False, capture_output=True
    )
    assert built.returncode == 0, built.stderr.decode()
    [wheel] = wheels.glob("*.whl")
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    await machine.run(f"{PYTHON}/bin/{python}", "-m", "venv", "--without-pip", "/opt/shipper")
    # Offline: what the wheel depends on is what the tests run with; shipper itself is the wheel's.
    machine.write(f"/opt/shipper/lib/{python}/site-packages/libraries.pth", f"{LIBRARIES}\n")
    options = ("--quiet", "--no-deps", "--no-index", "--root-user-action=ignore")
    await machine.run(
        *("/opt/shipper/bin/python", "-m", "pip", "install", *options, f"/srv/{wheel.name}")
    )
    said = await machine.run(PROGRAM, "service", "install")
    await machine.run("useradd", "--user-group", "--groups=shipper", APPLICATION)
    await machine.run("useradd", "--user-group", STRANGER)
    return said


class Till:
    """The machine, as one test uses it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.sandbox = Sandbox(API_ID, validation="envelope")
        self.outbox = OUTBOX
        self._cursor = ""

    async def open(self) -> None:
        """Start an API, and set everything up for it as the manual says."""
        await self.sandbox.start()
        await self.reset()
        init = ("init", "--database", f"sqlite:///{OUTBOX}", "--api-id", API_ID, "-o", CONFIG)
        await self.run(PROGRAM, *init, "--url", self.sandbox.events_url)
        self.configure()

    @property
    def run(self) -> Callable[..., Awaitable[Done]]:
        """Return what runs a command in the machine."""
        return self.machine.run

    async def close(self) -> None:
        """Stop the API, and all that a test may have left behind."""
        await self.reset()
        await self.sandbox.stop()

    async def reset(self) -> None:
        """Take away what a test has made."""
        await self.run("systemctl", "stop", UNIT)
        await self.run("systemctl", "reset-failed", UNIT, check=False)
        outbox = f"{OUTBOX} {OUTBOX}-wal {OUTBOX}-shm {OUTBOX}.shipper.lock"
        await self.run("sh", "-c", f"rm -rf {_DROP_INS} {CONFIG} {CREDENTIAL} {outbox}")
        await self.run("systemctl", "daemon-reload")
        self._cursor = ""
        end = await self.run("journalctl", "--lines=0", "--show-cursor", "--quiet")
        self._cursor = end.out.rpartition("cursor: ")[2].strip()

    # -- the service ----------------------------------------------------------------------------

    def configure(self, **destination: object) -> None:
        """Write the configuration: quick retries, and what a test wants; None leaves one out."""
        usual = {"url": self.sandbox.events_url, "timeout": "20s", "api_id_file": CREDENTIAL}
        settings = {**usual, **destination}.items()
        lines = [
            *("[database]", f'url = "sqlite:///{self.outbox}"', "[destinations.default]"),
            *(f"{name} = {json.dumps(value)}" for name, value in settings if value is not None),
            "[destinations.default.retry]",
            *('min_delay = "20ms"', 'max_delay = "100ms"', 'probe_max_delay = "100ms"', ""),
        ]
        self.machine.write(CONFIG, "\n".join(lines))

    async def drop_in(self, text: str) -> None:
        """Change the unit for this test."""
        script = f"mkdir -p {_DROP_INS} && cat >{_DROP_INS}/test.conf"
        await self.run("sh", "-c", script, stdin=f"[Service]\n{text}\n")
        await self.run("systemctl", "daemon-reload")

    async def start(self) -> None:
        """Start the service; returns when it says that it is ready."""
        started = await self.run("systemctl", "start", UNIT, check=False)
        assert started.status == 0, await self.journal()

    async def shows(self, *names: str) -> dict[str, str]:
        """Return properties of the service."""
        shown = await self.run("systemctl", "show", UNIT, *(f"--property={n}" for n in names))
        return dict(line.split("=", 1) for line in shown.out.splitlines())

    async def becomes(self, **wanted: str) -> None:
        """Wait until the service has these properties."""
        shown = await self._eventually(lambda s: wanted.items() <= s.items(), *wanted)
        assert wanted.items() <= shown.items(), (shown, await self.journal())

    async def main_pid(self, *, other_than: str = "0") -> str:
        """Wait for a main process that is another one, and return it as the machine knows it."""
        unlike = {"0", other_than}
        shown = await self._eventually(
            lambda s: s["MainPID"] not in unlike and s["SubState"] == "running",
            *("MainPID", "SubState"),
        )
        assert shown["MainPID"] not in unlike, await self.journal()
        return shown["MainPID"]

    async def _eventually(
        self, holds: Callable[[dict[str, str]], bool], *names: str
    ) -> dict[str, str]:
        """Return the properties as soon as a condition holds of them, or at the deadline."""
        shown: dict[str, str] = {}

        async def look() -> bool:
            nonlocal shown
            shown = await self.shows(*names)
            return holds(shown)

        await eventually(look)
        return shown

    async def journal(self) -> str:
        """Return what the journal has of the service since this test began."""
        options = ("--output=cat", "--no-pager", f"--after-cursor={self._cursor}")
        return (await self.run("journalctl", "--unit", UNIT, *options)).out

    async def told(self, text: str) -> str:
        """Wait until the journal has a text; return all of it."""
        assert await eventually(lambda: self._has(text)), (text, await self.journal())
        return await self.journal()

    async def _has(self, text: str) -> bool:
        return text in await self.journal()

    # -- the application ------------------------------------------------------------------------

    async def insert(self, *names: str, user: str = APPLICATION, check: bool = True) -> Done:
        """Write events with the sqlite3 shell, in one transaction; `u1-7` is number 7 of `u1`."""
        lines = [".bail on", "PRAGMA busy_timeout = 5000;", "BEGIN IMMEDIATE;"]
        for name in names:
            of_user, _, number = name.rpartition("-")
            values = f"'{payload(of_user, int(number))}', '{name}'"
            lines.append(f"INSERT INTO shipper_outbox (payload, event_id) VALUES ({values});")
        script = "\n".join([*lines, "COMMIT;", ""])
        return await self.run("sqlite3", self.outbox, user=user, stdin=script, check=check)

    async def arrives(self, *names: str) -> None:
        """Wait until the API has accepted these events."""
        await self.sandbox.until(lambda _: set(names) <= set(self.arrived()), PATIENCE)

    def arrived(self) -> list[str]:
        """Return the events that the API has accepted, in their order."""
        return [str(visit.key) for visit in self.sandbox.ledger.visits if visit.processed]

    async def settled(self) -> None:
        """Wait until nothing is pending."""
        assert await eventually(self._nothing_pending), await self.journal()

    async def _nothing_pending(self) -> bool:
        query = "SELECT count(*) FROM shipper_outbox WHERE status = 'pending'"
        done = await self.run("sqlite3", self.outbox, query, user=APPLICATION)
        return done.out.strip() == "0"
