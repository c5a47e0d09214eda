"""Who goes next: the lanes of one destination. Pure bookkeeping; no database, no clock, no network.

A lane is the events of one ordering key, in order. The database has all of them; here is a
bounded look-ahead. One rule keeps the two in step: **what is loaded of a lane is the beginning of
what the database has of it, in the database's order.** Wherever that can't be known (more was
skipped, an operator put one back), the lane is emptied and fetched anew by its key.

It must never let two events of a lane be in flight, never start an event before the outcome of
its predecessor is recorded, and never hold more than its window.
"""

from shipper.policy.lanes.lane import Candidate, Lane, Name
from shipper.policy.lanes.lanes import Lanes

__all__ = ["Candidate", "Lane", "Lanes", "Name"]
