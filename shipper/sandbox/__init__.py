"""The local stand-in for the vendor's API: same paths, same checks, and faults on demand.

It decides what a receiver would have seen; it must never be taken for the vendor's word where
the vendor is silent (see `api`). Used by `shipper demo`, by shops that test their own code, and
by our tests, so that what is faked is the server and never the client.
"""

from shipper.sandbox.api import Answer, RequestInfo
from shipper.sandbox.chaos import Chaos, Fault
from shipper.sandbox.ledger import Ledger, Summary, Visit, trailing_number
from shipper.sandbox.server import Sandbox, run_sandbox

__all__ = [
    "Answer",
    "Chaos",
    "Fault",
    "Ledger",
    "RequestInfo",
    "Sandbox",
    "Summary",
    "Visit",
    "run_sandbox",
    "trailing_number",
]
