"""Arguments in, exit status out. Nothing is decided here; the verbs live in the layers below.

Every command is a plain function in a module of its own, imported when it is asked for: `--help`
and `status` must not pay for what only the daemon or a migration needs.
"""

import gc

import shipper.clock  # noqa: F401 - first of all, because it notes when we began


def main() -> None:
    """Run the command line of this process, and exit."""
    # Until the command begins: while code is read there is nothing to collect.
    gc.disable()
    from shipper.cli import shell  # noqa: PLC0415 - see above

    shell.main()


__all__ = ["main"]
