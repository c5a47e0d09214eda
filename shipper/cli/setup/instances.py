"""Several daemons on one machine, one for each configuration: their names, and which there are.

A name becomes a part of a unit's name and of paths. One that would mean something else there is
refused, never escaped. It only reads this machine.
"""

import subprocess
from pathlib import Path

from shipper.cli.setup.units import TEMPLATE_PLACE
from shipper.config.loader import SYSTEM_PATH
from shipper.doctor.unit import INSTANCE, TEMPLATE, instance_unit, is_booted
from shipper.errors import UsageError

TOOL_SECONDS = 120.0


def config_of(instance: str, given: Path | None) -> Path:
    """Return the configuration of a daemon; `given` is what the command line names.

    Raises UsageError for a name that a daemon can't have, and for another configuration.
    """
    if not INSTANCE.fullmatch(instance):
        raise UsageError(
            f"a daemon can't have the name {instance!a}",
            "use up to 63 letters, digits, _ - and . (not at the beginning), for example:"
            " --instance shop-1",
        )
    config = SYSTEM_PATH.with_name(f"{instance}.toml")
    if config == SYSTEM_PATH:
        raise UsageError(
            f"{config} is the configuration of shipper.service",
            "leave --instance out, or choose another name",
        )
    if given is not None and given.absolute() != config:
        raise UsageError(
            f"the daemon {instance} reads {config}", f"leave --config out, and write {config}"
        )
    return config


def others(instance: str) -> list[str]:
    """Return the units of the other daemons that are enabled or running."""
    pattern = TEMPLATE.replace("@", "@?*")
    found = {path.name for path in TEMPLATE_PLACE.parent.glob(f"*.wants/{pattern}")}
    if is_booted():
        shown = subprocess.run(  # noqa: S603
            ["systemctl", "list-units", "--plain", "--no-legend", pattern],  # noqa: S607
            capture_output=True,
            timeout=TOOL_SECONDS,
            check=False,
        )
        lines = shown.stdout.decode("utf-8", "replace").splitlines()
        found |= {line.split()[0] for line in lines if line.strip()}
    return sorted(found - {instance_unit(instance)})
