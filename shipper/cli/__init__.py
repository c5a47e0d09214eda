"""Arguments in, exit status out. Nothing is decided here; the verbs live in the layers below.

Every command is a plain function in a module of its own, imported when it is asked for: `--help`
and `status` must not pay for what only the daemon or a migration needs.
"""

import shipper.clock  # noqa: F401 - first of all, because it notes when we began
from shipper.cli.shell import main

__all__ = ["main"]
