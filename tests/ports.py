"""A port for a server that a test starts later.

A port that `bind(0)` gives can be the source of any connection as soon as it is closed again: a
server that starts a moment later then fails. The kernel never gives away the ports here: they are
below `net.ipv4.ip_local_port_range`, and each process of the tests has its own.
"""

import os
import socket
from itertools import cycle

_FIRST, _OF_A_WORKER = 20_000, 1_000

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12
_begin = os.getpid()  # two runs of the tests begin at different ports
_ports = cycle(
    _FIRST + _worker * _OF_A_WORKER + (_begin + n) % _OF_A_WORKER for n in range(_OF_A_WORKER)
)


def free_port() -> int:
    """Return a port of this machine that no process has, another one each time."""
    for _, port in zip(range(_OF_A_WORKER), _ports, strict=False):
        with socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
