"""A payload for a person: indented, shortened, and with every token as it was written.

It is for display only; shipper sends the bytes in the database. It must never parse the payload
into values: a number would lose its zeros, and a name that occurs twice would lose a value.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter

from shipper.wording.quantities import several

MOST_LINES = 40
_MOST_CHARACTERS = 4000
_INDENT = "  "
# A string, a punctuation mark, or anything else between blanks.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|"', re.DOTALL)
_OPENS, _CLOSES, _EMPTY = frozenset("{["), frozenset("}]"), frozenset({"{}", "[]"})


def readable(payload: str) -> Iterator[str]:
    """Yield a payload in at most 40 lines, indented if it is JSON; then its length if it is cut."""
    beginning = payload[:_MOST_CHARACTERS]
    lines = list(islice(_indented(beginning) if _is_json(payload) else [beginning], MOST_LINES + 1))
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES or len(payload) > _MOST_CHARACTERS:
        yield f"… {several(len(payload), 'character')} in total; --json prints them"


def _is_json(payload: str) -> bool:
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return True


def _indented(payload: str) -> Iterator[str]:
    depth, line = 0, ""
    for word in _tokens(payload):
        if word in _CLOSES:
            depth -= 1
            yield line
            line = _INDENT * depth
        line += word + " " * (word == ":")
        if word in _OPENS or word == ",":
            depth += word in _OPENS
            yield line
            line = _INDENT * depth
    yield line


def _tokens(payload: str) -> Iterator[str]:
    """Yield the tokens; an empty object or list is one token."""
    before = ""
    for word in map(itemgetter(0), _TOKEN.finditer(payload)):
        if before + word in _EMPTY:
            before += word
        else:
            if before:
                yield before
            before = word
    if before:
        yield before
