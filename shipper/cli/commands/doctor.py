"""`shipper doctor`: every live dependency, a line each, and how to fix what is broken."""

from collections import Counter
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context, folded
from shipper.clock import SystemClock
from shipper.doctor.checks import examine
from shipper.doctor.result import CheckLevel, CheckResult
from shipper.wording.colours import BAD, GOOD, WAITING, ascii_only, styled
from shipper.wording.safe_text import printable

_MARKS = {CheckLevel.OK: "✓", CheckLevel.WARNING: "!", CheckLevel.FAULT: "✗"}
_STYLES = {CheckLevel.OK: GOOD, CheckLevel.WARNING: WAITING, CheckLevel.FAULT: BAD}
# What stands on a line beside the name and the text.
_BESIDE = 4
# The order of `troubles`, behind what nothing can be told without.
_WORST = ("config", "database", "schema", "disk", "promises", "daemon")
# Where stdout can't write the marks.
_PLAIN = {CheckLevel.OK: "+", CheckLevel.WARNING: "!", CheckLevel.FAULT: "x"}


def doctor(
    *,
    network: Annotated[bool, Parameter(negative="--no-network", show=True)] = True,
    context: Context,
) -> int:
    """Check all that shipper depends on, here and now, and say how to fix it.

    Changes nothing, and may run beside the daemon. Of the API only the endpoint
    is asked that validates and takes no event.
    Exit status 1 where something is broken (✗), 0 else: a ! is only worth a look.

    Parameters
    ----------
    network
        Ask the destinations; without it nothing leaves this machine.
    """
    found = examine(context.settings, SystemClock(), network=network)
    broken = any(finding.level is CheckLevel.FAULT for finding in found)
    if context.json:
        context.emit({"ok": not broken, "findings": [_fields(finding) for finding in found]})
    else:
        _tell(context, found)
    return 1 if broken else 0


def _fields(finding: CheckResult) -> dict[str, str | None]:
    return {
        "level": finding.level.value,
        "name": finding.name,
        "text": finding.text,
        "fix": finding.fix,
    }


def _tell(context: Context, found: list[CheckResult]) -> None:
    width = max(len(finding.name) for finding in found)
    for finding in found:
        mark = _mark(finding.level)
        first, *more = folded(finding.text, width + _BESIDE)
        print(f"{mark} {printable(finding.name):<{width}}  {first}")  # the mark has its colour
        if finding.fix is not None:
            more += folded(f"fix: {finding.fix}", width + _BESIDE)
        for line in more:
            context.say(f"  {'':<{width}}  {line}")
    counts = Counter(finding.level for finding in found)
    context.note(
        f"{counts[CheckLevel.OK]} well, {counts[CheckLevel.WARNING]} worth a look,"
        f" {counts[CheckLevel.FAULT]} broken" + _worst(found)
    )


def _worst(found: list[CheckResult]) -> str:
    """Return what to see to first: the worst, then what the others stand on."""
    for level in (CheckLevel.FAULT, CheckLevel.WARNING):
        if names := [finding.name for finding in found if finding.level is level]:
            first = next((name for name in _WORST if name in names), names[0])
            return f"; first: {printable(first)}"
    return ""


def _mark(level: CheckLevel) -> str:
    mark = (_PLAIN if ascii_only() else _MARKS)[level]
    return styled(mark, _STYLES[level])
