"""A local stand-in for the vendor's API: same paths, same checks, and faults on demand.

The sandbox records what a receiver saw. Where the vendor documents nothing, the sandbox decides for
itself (see `api`); such an answer proves nothing about the vendor. `shipper demo`, applications
under test and shipper's own tests use it: they replace the server and keep the real client.
"""

from shipper.sandbox.api import RequestInfo, SandboxAnswer
from shipper.sandbox.chaos import Chaos, InjectedFault
from shipper.sandbox.ledger import Ledger, Summary, Visit, trailing_number
from shipper.sandbox.server import Sandbox, run_sandbox

__all__ = [
    "Chaos",
    "InjectedFault",
    "Ledger",
    "RequestInfo",
    "Sandbox",
    "SandboxAnswer",
    "Summary",
    "Visit",
    "run_sandbox",
    "trailing_number",
]
