"""The check of the other daemons of this outbox: whether they have the same settings for it.

It must only read. It compares this configuration with what each running daemon wrote of its own.
"""

from collections.abc import Iterator

from shipper.advice import differing_settings
from shipper.config import Settings
from shipper.config.agreement import agreement, differences
from shipper.doctor.result import CheckResult, warning, well
from shipper.store.db.opening import Database
from shipper.store.report.agreements import all_daemons


def check_agreement(database: Database, settings: Settings) -> Iterator[CheckResult]:
    """Name each daemon of the outbox whose settings differ from this configuration."""
    mine, daemons = agreement(settings), all_daemons(database)
    differing = [(each, differences(mine, each.settings)) for each in daemons]
    for daemon, found in differing:
        if found:
            text = f"{daemon} differs from this configuration: {', '.join(found)}"
            yield warning("settings", text, differing_settings(found))
    if len(daemons) > 1 and not any(found for _, found in differing):
        yield well("settings", f"{len(daemons)} daemons have those of this configuration")
