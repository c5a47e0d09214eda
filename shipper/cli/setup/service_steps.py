"""What the operator has to do after `shipper service install`, before the daemon delivers.

It only reads this machine; it must never change anything, and never list a step that is done.
"""

import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from shipper.cli.setup.instances import TOOL_SECONDS
from shipper.cli.setup.units import RELAXED, USER, Machine, place_of
from shipper.doctor.access import User, group_name
from shipper.errors import ShipperError


def next_steps(machine: Machine) -> Iterator[str]:
    """Yield the operator's next steps, in order."""
    shipper = machine.program
    if not machine.config.exists():
        options = f"-o {machine.config} --database sqlite:///{machine.state}/outbox.db"
        if machine.instance is not None:
            options += f" --api-id-file {machine.api_id}"
        yield f"{shipper} init {options}   (or your own database)"
    elif not (api_id := machine.api_id).exists():
        yield f"install -m 600 /dev/stdin {api_id}   (paste the API ID, then Ctrl-D)"
    yield from _readable(machine)
    yield from _drop_in(machine)
    yield from _relaxed(machine.drop_ins)
    if machine.user == USER and not _is_on_server(machine):
        yield f"usermod -aG {machine.group} YOUR_APP   (YOUR_APP: the user of your application)"
    if _succeeds("systemctl", "is-active", machine.unit):
        yield f"systemctl restart {machine.unit}   (it still runs with the old unit)"
    else:
        yield f"systemctl enable --now {machine.unit}"


def _readable(machine: Machine) -> Iterator[str]:
    """Yield the command that lets the service read a private configuration."""
    try:
        user = User.of(pwd.getpwnam(machine.user).pw_uid, "the unit's")
        refused = user.refused(machine.config, "r")
    except (KeyError, OSError):
        return  # the user or the file doesn't exist yet
    if refused is not None:
        yield refused.fix or f"chgrp {machine.group} {machine.config}; chmod 640 {machine.config}"


def _database(machine: Machine) -> str:
    """Return the database's URL; empty if the configuration has mistakes, or there is none."""
    from shipper.config import load  # noqa: PLC0415 - only here

    try:
        return load(machine.config, {}).database.url
    except ShipperError:
        return ""  # `shipper check` lists the mistakes


def _is_on_server(machine: Machine) -> bool:
    """Return whether the outbox is no file, so that the application needs no group."""
    from shipper.store.db.engine import database_path  # noqa: PLC0415 - sqlalchemy takes a while

    url = _database(machine)
    return bool(url) and database_path(url) is None


def _drop_in(machine: Machine) -> Iterator[str]:
    """Yield the step that lets the service write to the application's directory."""
    from shipper.store.db.engine import database_path  # noqa: PLC0415 - sqlalchemy takes a while

    url = _database(machine)
    path = database_path(url) if url else None
    if path is None or path.is_relative_to(machine.state) or not path.parent.is_dir():
        return
    group = group_name(path.parent.stat().st_gid)
    yield (
        f"systemctl edit {machine.unit}   (the outbox is in {path.parent}: add"
        f" [Service] ReadWritePaths={path.parent} SupplementaryGroups={group}, on two lines)"
    )


def _relaxed(drop_ins: Path) -> Iterator[str]:
    """Yield a drop-in for a container in which systemd can't do the unit's sandboxing."""
    if shutil.which("systemd-detect-virt") is None:
        return
    if _succeeds("systemd-detect-virt", "--quiet", "--container"):
        yield (
            f"install -D -m 644 -t {drop_ins} {place_of(RELAXED)}   (this is a container: only if"
            " the service fails with status=226/NAMESPACE, 217/USER or 243/CREDENTIALS)"
        )


def _succeeds(*command: str) -> bool:
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, timeout=TOOL_SECONDS, check=False
    )
    return done.returncode == 0
