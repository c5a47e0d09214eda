"""Texts of applications and receivers, made safe for a terminal.

A terminal obeys control characters, also those beyond ASCII (U+009B is CSI). Characters that change
the direction, or that have no width, make a text look like another one. It decides how such
characters are written instead. It must never change a text without them, and never the value of a
JSON document.
"""

import re
from typing import Final

# Unicode's categories Cc and Cf, and the line and paragraph separators; a test compares them.
_STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BEYOND_BMP: Final = 0x1_0000


def printable(text: str) -> str:
    """Return a text on one line, with every character escaped that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return a text made printable line by line; its line ends and tabs stay."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def printable_json(line: str) -> str:
    """Return a JSON document of one line, with the characters escaped that a terminal would obey.

    The escapes are those of RFC 8259, section 7. Such characters can stand only inside strings,
    because the document isn't indented.
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
