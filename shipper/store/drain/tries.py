"""What every record writes about the tries of an event, on every database.

It decides how tries are counted. The count must never be less than the history shows.
"""

ERROR_CHARS = 1000

TRIED_BEFORE = (
    "(SELECT count(*) FROM shipper_attempt AS h"
    " WHERE h.outbox_id = {row}.id AND h.outcome <> 'rerouted')"
)
"""The tries of an event in its history, for events from before `tries` was counted."""


def and_counted(row: str) -> str:
    """Return the assignments of an UPDATE of events that count the try of each."""
    # A record is the outcome of one try, so counting costs no write of its own. The history is read
    # only for an event that failed before the counting began.
    return (
        f"manual = 0, tries = 1 + CASE WHEN {row}.tries = 0 AND {row}.last_error IS NOT NULL"
        f" THEN {TRIED_BEFORE.format(row=row)} ELSE {row}.tries END"
    )
