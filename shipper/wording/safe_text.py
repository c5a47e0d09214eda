"""Texts of applications and receivers on their way to somebody's eyes: nothing in them acts.

A terminal obeys control characters, also those beyond ASCII (U+009B is CSI), and shows what
characters of direction and of no width make of a text. It decides how those are written instead.
It must never change a text that has none, and what is JSON stays the same JSON.
"""

import re
from typing import Final

# Unicode's categories Cc and Cf, and the separators of lines and paragraphs; a test compares.
_STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BEYOND_BMP: Final = 0x1_0000


def printable(text: str) -> str:
    """Return a text on one line and without anything that would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return the same of a text whose ends of lines, and tabs, are ours."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def printable_json(line: str) -> str:
    """Return a JSON document on one line with what would steer a terminal escaped (RFC 8259, 7).

    Outside of its strings there is nothing of the kind, unless somebody has indented it.
    """
    if line.isascii() and "\x7f" not in line:
        return line
    return _STEERING.sub(_escaped, line)


def _escaped(found: "re.Match[str]") -> str:
    code = ord(found[0])
    if code < _BEYOND_BMP:
        return f"\\u{code:04x}"
    code -= _BEYOND_BMP
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
