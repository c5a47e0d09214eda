"""Starts daemons in no time: a process that has imported everything forks, and becomes `shipper`.

On stdin it takes one JSON object a line: `arguments` of shipper, `output` and `errors` as files,
`shim`, what to tell `shim.c` where it is preloaded, and the circumstances: `lease`, how many seconds
the lease of a daemon lasts; `machine`, the id of the boot of the machine it seems to run on; and
`spares`, whether it has a bug: it doesn't end the tokens of the daemons that it takes over. On stdout it
says `began PID`, and later `ended PID STATUS`. Everything that a fresh process would do, the fork does
too, except to import.
"""

import ctypes
import json
import os
import select
import signal
import sys
from contextlib import ExitStack
from typing import Any

import shipper.cli.commands.run
import shipper.cli.commands.verify
import shipper.cli.shell
import shipper.store.upgrade.migrate  # noqa: F401
from shipper.cli import main
from shipper.daemon import session
from shipper.store.lease import lease as leases

_planted = ExitStack()


def _import_what_is_imported_late() -> None:
    import psycopg  # noqa: F401
    import sqlalchemy.dialects.postgresql.psycopg
    import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401
    import uvloop  # noqa: F401

    import shipper.destination.transport  # noqa: F401

    try:
        import pysqlite3  # noqa: F401
    except ImportError:
        return


def _become(order: dict[str, Any]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for descriptor, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, order["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(name, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    if order.get("shim"):
        ctypes.CDLL(None).shim_set(order["shim"].encode())
    _arrange(order)
    sys.argv = ["shipper", *order["arguments"]]
    main()


def _arrange(order: dict[str, Any]) -> None:
    """Let it have a shorter lease than any configuration gives, or be elsewhere."""
    lease: float = order.get("lease", 0.0)
    if lease:
        # Replaced in the process that takes them, so that the product has no such setting.
        session.lease_ttl = lambda settings: lease  # type: ignore[attr-defined]
        # Less than a lease, as usual: else one that stands still in a transaction costs others theirs.
        session.FROZEN = min(session.FROZEN, lease * 0.4)  # type: ignore[attr-defined]
    if machine := order.get("machine"):
        leases._boot = lambda: machine
    if order.get("spares"):
        from tests.simulation import crew_mutants

        _planted.enter_context(crew_mutants.a_token_is_not_ended_before_its_shards_move())


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def serve() -> None:
    """Take orders until stdin ends."""
    _import_what_is_imported_late()
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    os.set_blocking(read_end, False)
    signal.set_wakeup_fd(write_end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _say("ready")
    pending = b""
    while True:
        ready, _, _ = select.select([0, read_end], [], [])
        if read_end in ready:
            os.read(read_end, 4096)
            _reap()
        if 0 not in ready:
            continue
        got = os.read(0, 65536)
        if not got:
            return
        *lines, pending = (pending + got).split(b"\n")
        for line in lines:
            pid = os.fork()
            if not pid:
                os.close(read_end)
                os.close(write_end)
                _become(json.loads(line))
            _say(f"began {pid}")


if __name__ == "__main__":
    serve()
