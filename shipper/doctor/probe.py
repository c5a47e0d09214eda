"""A program of its own: becomes a user and asks the kernel what that user may do.

It stands alone, because it runs before it gives up its rights and must be able to load nothing
afterwards. It reads `{"uid", "gids", "asked": [[path, "rwx"], …]}` and writes `[true, …]`. It opens
and changes nothing.
"""

import json
import os
import sys

_MODES = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}


def may(path: str, rights: str) -> bool:
    """Return whether this very process may do all of `rights` to a path."""
    return os.access(path, sum(_MODES[right] for right in rights), effective_ids=True)


def _become(uid: int, gids: list[int]) -> None:
    os.setgroups(gids)
    os.setresgid(gids[0], gids[0], gids[0])
    os.setresuid(uid, uid, uid)


if __name__ == "__main__":
    told = json.load(sys.stdin)
    _become(told["uid"], told["gids"])
    json.dump([may(path, rights) for path, rights in told["asked"]], sys.stdout)
