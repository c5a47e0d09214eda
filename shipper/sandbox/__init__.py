"""A local stand-in for the vendor's API, or for any HTTP API: its checks, and faults on demand.

The sandbox records what a receiver saw. As the vendor's API it has the vendor's paths and checks;
where the vendor documents nothing, the sandbox decides for itself (see `api`), and such an answer
proves nothing about the vendor. `shipper demo`, applications under test and shipper's own tests use
it: they replace the server and keep the real client.
"""

from shipper.sandbox.any_api import AnyApi
from shipper.sandbox.api import RequestInfo, SandboxAnswer
from shipper.sandbox.chaos import Chaos, InjectedFault
from shipper.sandbox.ledger import Ledger, Summary, Visit, trailing_number
from shipper.sandbox.server import Sandbox, run_sandbox
from shipper.sandbox.signed import secret_key
from shipper.sandbox.tls import server_context
from shipper.sandbox.tokens import FETCH_PATH, OAuthClient

__all__ = [
    "FETCH_PATH",
    "AnyApi",
    "Chaos",
    "InjectedFault",
    "Ledger",
    "OAuthClient",
    "RequestInfo",
    "Sandbox",
    "SandboxAnswer",
    "Summary",
    "Visit",
    "run_sandbox",
    "secret_key",
    "server_context",
    "trailing_number",
]
