"""`shipper doctor`: one line per live dependency, with a fix for each that is broken."""

from collections import Counter
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context, folded
from shipper.clock import SystemClock
from shipper.doctor.checks import examine
from shipper.doctor.result import CheckLevel, CheckResult
from shipper.wording.colours import BAD, GOOD, WAITING, ascii_only, styled
from shipper.wording.quantities import several
from shipper.wording.safe_text import printable

_MARKS = {CheckLevel.OK: "✓", CheckLevel.WARNING: "!", CheckLevel.FAULT: "✗"}
_STYLES = {CheckLevel.OK: GOOD, CheckLevel.WARNING: WAITING, CheckLevel.FAULT: BAD}
# Columns of a line beside the name and the text.
_BESIDE = 4
# The order in which `troubles` has them; before them, what all other checks need.
_WORST = ("config", "database", "schema", "disk", "promises", "daemon")
# For a stdout that can't write the marks.
_PLAIN = {CheckLevel.OK: "+", CheckLevel.WARNING: "!", CheckLevel.FAULT: "x"}


def doctor(
    *,
    network: Annotated[bool, Parameter(negative="--no-network", show=True)] = True,
    context: Context,
) -> int:
    """Check everything that shipper depends on, and print a fix for what is broken.

    Changes nothing, and can run beside the daemon. It calls only the API's validate
    endpoint, and sends no event. Exit status 1 if something is broken (✗). A
    warning (!) doesn't change the exit status.

    Parameters
    ----------
    network
        Connect to the destinations. With --no-network nothing leaves this machine.
    """
    found = examine(context.settings, SystemClock(), network=network)
    broken = any(finding.level is CheckLevel.FAULT for finding in found)
    if context.json:
        context.emit({"ok": not broken, "findings": [_fields(finding) for finding in found]})
    else:
        _report(context, found)
    return 1 if broken else 0


def _fields(finding: CheckResult) -> dict[str, str | None]:
    return {
        "level": finding.level.value,
        "name": finding.name,
        "text": finding.text,
        "fix": finding.fix,
    }


def _report(context: Context, found: list[CheckResult]) -> None:
    width = max(len(finding.name) for finding in found)
    for finding in found:
        mark = _mark(finding.level)
        first, *more = folded(finding.text, width + _BESIDE)
        print(f"{mark} {printable(finding.name):<{width}}  {first}")  # the mark has a colour
        if finding.fix is not None:
            more += folded(f"fix: {finding.fix}", width + _BESIDE)
        for line in more:
            context.say(f"  {'':<{width}}  {line}")
    counts = Counter(finding.level for finding in found)
    context.note(
        f"{counts[CheckLevel.OK]} ok, {several(counts[CheckLevel.WARNING], 'warning')},"
        f" {counts[CheckLevel.FAULT]} broken" + _worst(found)
    )


def _worst(found: list[CheckResult]) -> str:
    """Return what to fix first: of the worst findings the one that others depend on."""
    for level in (CheckLevel.FAULT, CheckLevel.WARNING):
        if names := [finding.name for finding in found if finding.level is level]:
            first = next((name for name in _WORST if name in names), names[0])
            return f"; begin with: {printable(first)}"
    return ""


def _mark(level: CheckLevel) -> str:
    mark = (_PLAIN if ascii_only() else _MARKS)[level]
    return styled(mark, _STYLES[level])
