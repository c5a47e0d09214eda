"""`shipper verify`: check the invariants of the outbox."""

from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.errors import ShipperError
from shipper.store.report.audit import remember
from shipper.store.report.verify import RULES
from shipper.store.report.verify import verify as audit
from shipper.store.upgrade.recount import recount as count_anew
from shipper.wording.quantities import several


def verify(
    *,
    recount: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="First correct wrong counters by counting the rows.",
        ),
    ] = False,
    context: Context,
) -> int:
    """Check every invariant that the rows can show; exit status 1 if one is broken.

    Changes no event, and can run beside the daemon; it reads every row once or
    twice. `shipper status` shows a broken invariant too, until verify finds it
    fixed.
    """
    with context.engine() as engine:
        if recount:
            wrong = count_anew(engine)
            context.note(f"{several(wrong, 'destination')} had wrong counters")
        findings = audit(engine)
        broken = {finding.rule for finding in findings if finding.fault}
        with suppress(ShipperError):  # a role that can only read gets an answer, too
            remember(engine, sorted(broken), SystemClock().wall())
    if context.json:
        context.emit(
            {
                "ok": not broken,
                "rules": {rule: rule not in broken for rule in RULES},
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        for rule, claim in RULES.items():
            context.tell(f"{'FAULT' if rule in broken else 'ok':<7}{claim}")
            for finding in findings:
                if finding.rule == rule:
                    context.tell(f"{'':<7}{finding.message}")
        if "counters" in broken:
            context.note("if rows were changed by hand (SQL): shipper verify --recount")
    return 1 if broken else 0
