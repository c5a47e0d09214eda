"""`shipper service`: install, show or remove the systemd unit of this installation.

It must never overwrite or remove a file that the operator has changed, never touch data, and never
start anything. It prints each step, and the steps that remain. It can be repeated.
"""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.cli.setup.instances import TOOL_SECONDS, config_of, others
from shipper.cli.setup.service_steps import next_steps
from shipper.cli.setup.units import (
    PLACES,
    STATE,
    TEMPLATE_PLACE,
    USER,
    Machine,
    is_in_a_home,
    is_untouched,
    texts,
)
from shipper.config.loader import SYSTEM_PATH
from shipper.doctor.access import group_name
from shipper.doctor.unit import UNIT, instance_unit, is_booted
from shipper.errors import AccessDenied, ShipperError, UsageError
from shipper.system.drafts import replace
from shipper.system.files import Directory, Untrusted
from shipper.system.installation import for_all_users

RunAs = Annotated[str, Parameter(name="--run-as")]
_INSTANCE = (
    "The name of one of several daemons on this machine. It is the unit shipper@NAME, which reads"
    " /etc/shipper/NAME.toml."
)
Instance = Annotated[str | None, Parameter(name="--instance", help=_INSTANCE)]

_UNPRIVILEGED = 65534


def install(*, run_as: RunAs = USER, instance: Instance = None, context: Context) -> None:
    """Install the systemd unit, its user and its directories. Needs root; can be repeated.

    It prints each step and what remains to be done. It starts nothing, and refuses
    to overwrite a file that was changed by hand.

    Parameters
    ----------
    run_as
        The existing user that runs the service. Without this option a user `shipper` is made.
    """
    machine = _machine(run_as, instance, context)
    wanted = texts(machine)
    _require_root("install", instance)
    if shutil.which("systemctl") is None:
        raise UsageError("there is no systemd on this machine", "see: shipper service print")
    _refuse_temporary(machine.program)
    _refuse_foreign(wanted, machine.unit)
    _try_out(machine)
    steps = [_write(place, text) for place, text in wanted.items()]
    steps += _apply(wanted, machine)
    _report(context, steps, list(next_steps(machine)))


def show(*, run_as: RunAs = USER, instance: Instance = None, context: Context) -> None:
    """Print the files that `service install` would write, and their places. Changes nothing.

    Parameters
    ----------
    run_as
        The user that would run the service.
    """
    wanted = texts(_machine(run_as, instance, context))
    if context.json:
        context.emit({str(place): text for place, text in wanted.items()})
        return
    for place, text in wanted.items():
        context.say(f"# {place}\n{text}")


def uninstall(*, instance: Instance = None, context: Context) -> None:
    """Stop the service, and remove the files that `service install` wrote. Needs root.

    The configuration, the outbox, the user and the group stay. So does a file that was
    changed by hand, or that another daemon on this machine needs.
    """
    name = UNIT
    if instance is not None:
        config_of(instance, context.config_path)
        name = instance_unit(instance)
    _require_root("uninstall", instance)
    of_one, of_many = PLACES[UNIT], TEMPLATE_PLACE
    place, other = (of_one, of_many) if instance is None else (of_many, of_one)
    needed_by = [] if instance is None else others(instance)
    removed = [] if needed_by else [place]
    if not needed_by and not other.exists():
        removed += [path for file, path in PLACES.items() if file != UNIT]
    there = {path: text for path in removed if (text := _read(path)) is not None}
    if place in there:
        _refuse_foreign({place: ""}, name)
    steps: list[str] = []
    if _read(place) is not None:
        steps += _run("systemctl", "disable", *(["--now"] if is_booted() else []), name)
        steps += [f"kept {place} for {', '.join(needed_by)}"] * bool(needed_by)
    for path, text in there.items():
        if is_untouched(text):
            with Directory(path.parent) as directory:
                directory.remove(path.name)
            steps.append(f"removed {path}")
        else:
            steps.append(f"kept {path}: it was changed by hand")
    if there and is_booted():
        steps += _run("systemctl", "daemon-reload")
    stays = (SYSTEM_PATH.parent, STATE, place.with_name(f"{place.name}.d"))
    kept = [str(path) for path in stays if path.exists()]
    left = [f"kept {', '.join(kept)} and the service's user"] if steps and kept else []
    _report(context, [*steps, *left] or ["nothing was installed"], [])


# -- this machine ------------------------------------------------------------------------------


def _machine(run_as: str, instance: str | None, context: Context) -> Machine:
    program = _program()
    needs = (program, Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve())
    homes = tuple(path for path in needs if is_in_a_home(path))
    config = (context.config_path or SYSTEM_PATH).absolute()
    if instance is not None:
        config = config_of(instance, context.config_path)
    if run_as == USER:
        return Machine(program, config=config, homes=homes, instance=instance)
    if run_as == "root":
        raise UsageError(
            "the service must not run as root", "--run-as the user of your application"
        )
    try:
        account = pwd.getpwnam(run_as)
    except KeyError:
        raise UsageError(f"there is no user {run_as}", f"adduser --system {run_as}") from None
    return Machine(program, run_as, group_name(account.pw_gid), config, homes, instance)


def _program() -> Path:
    """Return the console script; a link of pipx or uv is followed, because it can vanish."""
    called = Path(sys.argv[0])
    if called.name == "shipper" and called.is_file():
        return called.resolve()
    script = Path(sysconfig.get_path("scripts"), "shipper")
    if not script.is_file():
        raise UsageError("the command `shipper` isn't installed with this Python", _for_all())
    return script


def _for_all() -> str:
    return f"install it where every user can read it: {for_all_users()}"


def _require_root(command: str, instance: str | None) -> None:
    if os.geteuid() != 0:
        which = "" if instance is None else f" --instance {instance}"
        raise AccessDenied(
            f"service {command} needs root", f"run: sudo {_program()} service {command}{which}"
        )


def _refuse_temporary(program: Path) -> None:
    if str(program).startswith(("/tmp/", "/var/tmp/")) or "/.cache/" in str(program):  # noqa: S108
        raise UsageError(
            f"{program} is in a temporary or private directory; a service can't use it", _for_all()
        )


def _refuse_foreign(wanted: dict[Path, str], unit: str) -> None:
    """Raise UsageError for a file that was changed by hand."""
    for place, text in wanted.items():
        there = _read(place)
        if there not in {None, text} and not is_untouched(str(there)):
            raise UsageError(
                f"{place} was changed since `shipper service install`, or not written by it",
                f"keep your changes in a drop-in (systemctl edit {unit}) and remove the file",
            )


def _try_out(machine: Machine) -> None:
    """Run the program as the service's user; raises AccessDenied if that fails."""
    try:
        account = pwd.getpwnam(machine.user)
        user, group = account.pw_uid, account.pw_gid
    except KeyError:
        user = group = _UNPRIVILEGED  # a user that doesn't exist yet will have no more rights
    reason = ""
    try:
        done = subprocess.run(  # noqa: S603
            [machine.program, "version"],
            user=user,
            group=group,
            extra_groups=[],
            cwd="/",
            env={},
            capture_output=True,
            timeout=TOOL_SECONDS,
            check=False,
        )
        reason = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    except PermissionError as error:
        reason = str(error.strerror)
    else:
        if done.returncode == 0:
            return
    raise AccessDenied(f"{machine.user} can't run {machine.program}: {reason}", _for_all())


# -- steps -------------------------------------------------------------------------------------


def _read(place: Path) -> str | None:
    """Return the text of a file, or None if it is missing; raises UsageError for anything else.

    `systemctl mask` and `systemctl link` leave links, which belong to the operator.
    """
    try:
        with Directory(place.parent) as directory:
            file = directory.open(place.name, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Untrusted as error:
        raise UsageError(
            f"{place} {error.strerror}; `shipper service install` didn't write it",
            "remove it if nothing needs it (systemctl unmask removes the link of mask)",
        ) from None
    with os.fdopen(file, encoding="utf-8", errors="replace") as there:
        return there.read()


def _write(place: Path, text: str) -> str:
    if _read(place) == text:
        return f"{place} is up to date"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        replace(place, text.encode())
    except Untrusted as error:
        raise AccessDenied(f"can't write {place}: {error.filename} {error.strerror}") from None
    return f"wrote {place}"


def _apply(wanted: dict[Path, str], machine: Machine) -> Iterator[str]:
    users, directories = PLACES["shipper.sysusers"], PLACES["shipper.tmpfiles"]
    if users in wanted:
        yield from _run("systemd-sysusers", str(users))
    yield from _run("systemd-tmpfiles", "--create", str(directories))
    if machine.instance is not None:
        # systemd makes it too, but only when the daemon starts: `shipper init` comes before.
        owner = ("-o", machine.user, "-g", machine.group)
        yield from _run("install", "-d", "-m", "2770", *owner, str(machine.state))
    if is_booted():
        yield from _run("systemctl", "daemon-reload")


def _run(*command: str) -> Iterator[str]:
    """Run a tool of systemd; yield the command line and its output."""
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, timeout=TOOL_SECONDS, check=False
    )
    output = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise ShipperError(f"{' '.join(command)} failed: {output}")
    yield f"ran {' '.join(command)}"
    yield from (f"  {line}" for line in output.splitlines())


# -- the answer --------------------------------------------------------------------------------


def _report(context: Context, steps: list[str], following: list[str]) -> None:
    if context.json:
        context.emit({"steps": steps, "next": following})
        return
    for step in steps:
        context.say(step)
    if following:
        context.say("\nNext:")
    for number, step in enumerate(following, 1):
        context.say(f"  {number}. {step}")
