"""The receiver's log: one JSON line per request, written before the answer leaves.

A test of shipper's promises reads this file, so each answered request must be in it. The file never
holds a payload or an API ID. The sandbox appends to it; `seq` begins at 1 with each start. Lines
are in the order of `ended`, not of `seq`. The fields:

    seq        order of arrival at this sandbox, from 1
    time       wall time of the line, ISO 8601 in UTC
    method     of the request
    path       without the query
    key        the Idempotency-Key, percent-decoded, or null
    user       id of the first `user` in the event's context, or null
    n          the order number that was found (see `ledger`), or null
    sha        first 16 hex digits of the body's SHA-256
    bytes      length of the body
    status     HTTP status of a complete answer, else the fault's name (see `chaos`); `gone` if the
               connection ended before the answer, `html` and `redirect` for a portal's answer
    processed  whether the event was accepted
    began      monotonic seconds, when the whole request was read
    ended      monotonic seconds, when the answer was written to the socket
    in_flight  requests of this user on open connections at `began`, this one included
"""

import os
from pathlib import Path
from typing import BinaryIO

import orjson

from shipper.clock import iso
from shipper.errors import UsageError
from shipper.sandbox.api import RequestInfo
from shipper.sandbox.ledger import Visit
from shipper.system.files import open_own
from shipper.wording.safe_text import printable_json


class Journal:
    """An open log file. Each line is one write, so that a reader never sees half a line."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises UsageError if it can't be written."""
        try:
            file = open_own(path, os.O_WRONLY | os.O_APPEND, 0o644)
            self._file: BinaryIO = os.fdopen(file, "ab", buffering=0)
        except OSError as error:
            raise UsageError(
                f"the sandbox can't write its log {path}: {error.strerror}", "choose another file"
            ) from error

    def write(self, info: RequestInfo, visit: Visit, wall: float) -> None:
        """Append the line of a finished request."""
        line = {
            "seq": visit.seq,
            "time": iso(wall),
            "method": info.method,
            "path": info.path,
            "key": visit.key,
            "user": visit.user,
            "n": None if visit.position is None else visit.position[1],
            "sha": visit.sha,
            "bytes": len(info.payload),
            "status": visit.status,
            "processed": visit.processed,
            "began": visit.began,
            "ended": visit.ended,
            "in_flight": visit.in_flight,
        }
        self._file.write(printable_json(orjson.dumps(line).decode()).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
