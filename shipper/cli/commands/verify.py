"""`shipper verify`: whether the outbox keeps what it promises."""

from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.errors import ShipperError
from shipper.store.report.verify import RULES, remember
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
            help="First set wrong counters to what the rows say.",
        ),
    ] = False,
    context: Context,
) -> int:
    """Check every invariant that the outbox can show; exit status 1 when one doesn't hold.

    Changes no event and disturbs no daemon; it reads every row once or twice.
    What it finds broken, `shipper status` says too, until it is verified again.
    """
    with context.engine() as engine:
        if recount:
            wrong = count_anew(engine)
            context.note(f"{several(wrong, 'destination')} had wrong counters")
        findings = audit(engine)
        broken = {finding.rule for finding in findings if finding.fault}
        with suppress(ShipperError):  # who may only read is answered all the same
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
            context.note("where rows were changed by hand (SQL): shipper verify --recount")
    return 1 if broken else 0
