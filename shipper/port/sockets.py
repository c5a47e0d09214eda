"""The listening socket of the local port, and which users can connect to it.

From its first moment, only the owner and the group can use a Unix socket's file. It must never be
in a directory where another user could replace it: clients would trust the answers of that user's
process. This module must never remove a socket on which another process listens.
"""

import errno
import os
import socket
import stat
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from shipper.config.listen import ListenAddress, UnixSocket
from shipper.system.files import Directory, Untrusted

_MAY_CONNECT: Final = 0o660


def bound(address: ListenAddress) -> socket.socket:
    """Return a socket that is bound to an address; raises OSError, of which Untrusted is one."""
    if isinstance(address, UnixSocket):
        return _bound_unix(address.path)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((address.host, address.port))
    except BaseException:
        taken.close()
        raise
    return taken


def remove(path: Path, inode: int) -> None:
    """Remove the file of this port's socket, unless another file has taken its name."""
    with suppress(OSError), Directory(path.parent) as directory:
        if directory.status(path.name).st_ino == inode:
            directory.remove(path.name)


def names_this_machine(host: str) -> bool:
    """Return whether a Host header names this machine itself, and not a name from DNS.

    A web page can make its own name lead to 127.0.0.1 and would then read the answers (DNS
    rebinding). `host` may have a port (RFC 9110, 7.2).
    """
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") <= 1:
        name = name.partition(":")[0]
    name = name.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ip_address(name).is_loopback
    return False


def _bound_unix(path: Path) -> socket.socket:
    with Directory(path.parent) as directory:
        if directory.may_be_changed_by_others:
            mode = stat.S_IMODE(directory.status().st_mode)
            raise Untrusted(
                f"other users can write in {path.parent} (mode {mode:o}), and could put their own"
                " socket there",
                str(path.parent),
            )
        taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if _is_left_behind(directory, path):
                directory.remove(path.name)
            # The kernel applies the mode, less the umask, as it creates the file: there is no gap.
            os.fchmod(taken.fileno(), _MAY_CONNECT)
            taken.bind(str(path))
            _let_group_in(directory, path.name)
        except BaseException:
            taken.close()
            raise
    return taken


def _let_group_in(directory: Directory, name: str) -> None:
    """Restore the mode that the umask has reduced; only the owner and root can do that."""
    status = directory.status(name)
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
        raise Untrusted(f"{name} was replaced by another user", name)
    if stat.S_IMODE(status.st_mode) != _MAY_CONNECT:
        os.chmod(name, _MAY_CONNECT, dir_fd=directory.descriptor)


def _is_left_behind(directory: Directory, path: Path) -> bool:
    """Return whether there is a socket on which no process listens: its process was killed."""
    try:
        if not stat.S_ISSOCK(directory.status(path.name).st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        return caller.connect_ex(str(path)) == errno.ECONNREFUSED
