"""Which event goes next: the lanes of one destination. Pure bookkeeping, without any I/O.

A lane is the events of one ordering key, in order. The database has all of them; the daemon loads
the first few. One rule keeps the two the same: **the loaded events of a lane are the beginning of
the lane in the database, in the same order.** If that isn't certain (rows were skipped, an operator
retried a dead letter), the lane is emptied and fetched again by its key.

It must never let two events of a lane be in flight, start an event before the outcome of its
predecessor is recorded, or load more than its window.
"""

from shipper.policy.lanes.lane import Candidate, Lane, Name
from shipper.policy.lanes.lanes import Lanes

__all__ = ["Candidate", "Lane", "Lanes", "Name"]
