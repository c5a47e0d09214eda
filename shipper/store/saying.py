"""What receivers said of events: the last words of each. Reads only.

It decides which words count: the receiver's own where there are any, else ours. It must never show
more than one line of them, nor anything that isn't printable.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Engine, text

from shipper.store.snapshot import snapshot

LINE_CHARS: Final = 120

_LAST_WORDS = text(
    "SELECT coalesce((SELECT coalesce(nullif(response_excerpt, ''), error) FROM shipper_attempt"
    " WHERE outbox_id = :id ORDER BY id DESC LIMIT 1),"
    " (SELECT last_error FROM shipper_outbox WHERE id = :id))"
)


def last_words(engine: Engine, ids: Iterable[int]) -> dict[int, str]:
    """Return what was said last of each of the events, on one line; '' where nothing was."""
    with snapshot(engine) as tx:
        found = {row: tx.execute(_LAST_WORDS, {"id": row}).scalar() for row in ids}
    return {row: _line(words or "") for row, words in found.items()}


def _line(words: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 1]}…"
