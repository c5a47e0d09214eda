"""The command line: it turns arguments into a call, and the result into an exit status.

Nothing is decided here; the layers below do the work. Every command is a plain function in a module
that is imported only when the command is called: `--help` and `status` must not load what only the
daemon or a migration needs.
"""

import gc

import shipper.clock  # noqa: F401 - first, because it notes when the process began


def main() -> None:
    """Run the command line of this process, and exit."""
    # Until the command begins: loading code leaves no garbage.
    gc.disable()
    from shipper.cli import shell  # noqa: PLC0415 - after gc.disable()

    shell.main()


__all__ = ["main"]
