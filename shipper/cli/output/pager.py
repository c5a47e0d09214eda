"""A long text on a terminal, through the operator's pager.

It decides which pager that is: `PAGER`, else less or more. Without a pager that starts, the text is
printed as it is: a till can lack all of them. It must never end a command with an error.
"""

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

# A text of one screen needs no pager; the text stays when the pager ends.
_LESS_OPTIONS: Final = "-FX"


def page(text: str) -> None:
    """Show a text through the pager; return when the operator has left it."""
    try:
        pager = subprocess.Popen(  # noqa: S603 - the operator's own PAGER
            _pager(), stdin=subprocess.PIPE, env={"LESS": _LESS_OPTIONS, **os.environ}
        )
    except (OSError, ValueError):
        print(text)
        return
    rest: bytes | None = text.encode(sys.stdout.encoding, "replace")
    while pager.returncode is None:
        with suppress(KeyboardInterrupt):  # the pager's: less ends a search by it
            pager.communicate(rest)  # a pager that is left early is no failure
        rest = None


def _pager() -> list[str]:
    """Return the command of the pager; raises ValueError for none."""
    chosen = os.environ.get("PAGER")
    if chosen is None and os.environ.get("TERM") != "dumb":
        chosen = next(filter(None, map(shutil.which, ("less", "more"))), None)
    words = shlex.split(chosen or "")  # a quote that isn't closed is a ValueError, too
    if not words:
        raise ValueError("no pager")
    # Colours as colours also with an operator's own LESS, which replaces the options above.
    return [*words, "-R"] if Path(words[0]).name == "less" else words
