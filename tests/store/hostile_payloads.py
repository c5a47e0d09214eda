"""Payloads that look like ordinary events, and differ from one in a few places of their text.

They are texts and not documents, because the differences that count are in the text: names twice,
letters written as escapes, blanks, numbers in odd forms, and JSON that one reader accepts and
another refuses. The same seed makes the same payload on every machine.
"""

from collections.abc import Callable, Iterator
from random import Random

_BLANKS = (" ", " ", "\n", "\t", "\r", "  ", "\f", "\xa0", "\ufeff", "/**/", "\0")
_PIECES = (
    *("u1", "user", "context", "id", "type", "4711", " ", "  ", "x" * 300, "é", "🚀", "null"),
    *('\\"', "\\\\", "\\/", "\\n", "\\u0000", "\\\\u0000", "\\u00e9", "\\u0075", "\\u007e"),
    *("\\ud83d\\ude00", "\\ud83d", "\\udc00", "\\ude00\\ud83d", "\\uFFFD", "\\u006", "\\x41"),
    *("\ufffd", "\ufffe", "\uffff", "\ufeff", "\x01", "\x7f", "\n", "\v", "\0", "\\v", "\\'"),
    *('"}', '"},{', '","id":"', '\\"context\\":', '"context":', "}", "]", "[", ",", ":", "'"),
)
_ODD = (
    *("null", "true", "false", "0", "-0", "7", "-7", "4711", "007", "+7", "1.0", "1e2", "1E400"),
    *(".5", "5.", "999999999999999999", "1000000000000000000", "-999999999999999999", "1" * 400),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "0x10", "NaN"),
    *("Infinity", "[]", "{}", '["u1"]', '{"id":"u1"}', '"{\\"id\\":\\"u1\\"}"', '""', '" u1 "'),
    *('"user"', '"context"', '"id"', "'u1'", "undefined", "", '{"type":"user","user":{"id":"u9"}}'),
    *('[{"type":"user","user":{"id":"u9"}}]', "[" * 990 + "]" * 990, '{"a":' * 99 + "1" + "}" * 99),
)
_AROUND = ("\ufeff{}", " {}\n", "[{}]", "{}{}", "{},", "{}\0", "{};", '"{}"', "[{},{}]")


def payload(seed: int) -> str:
    """Return the payload of a seed: some are ordinary events, others can't be read at all."""
    return _Writer(Random(seed)).payload()


class _Writer:
    """Writes one event; the rate says how often it writes something odd."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rate = random.choice((0.0, 0.02, 0.04, 0.08, 0.2))
        self._comma, self._colon = random.choice(((",", ":"), (",", ":"), (", ", ": ")))

    def payload(self) -> str:
        """Write an event, and damage it sometimes."""
        whole = self._object(
            ("type", lambda: '"view"'),
            ("view", self._body),
            ("context", self._context),
        )
        if self._is_odd(0.5):
            whole = self._random.choice(_AROUND).replace("{}", whole)
        if self._is_odd():
            at = self._random.randrange(len(whole) + 1)
            whole = (
                whole[:at]
                + self._random.choice(_PIECES)
                + whole[at + self._random.choice((0, 1)) :]
            )
        return whole

    def _is_odd(self, share: float = 1.0) -> bool:
        return self._random.random() < self._rate * share

    def _body(self) -> str:
        if self._is_odd():
            return self._odd()
        names = self._random.sample(("context", "id", "user", "type", "a\\u00fc", "x\\/"), 2)
        plain = "\\u00e9t\\u00e9 \\ud83d\\ude00" if self._random.random() < 0.3 else "C-1"
        return self._object(
            *((name, lambda: f'"{plain}"') for name in names[: self._random.randrange(3)])
        )

    def _context(self) -> str:
        if self._is_odd():
            return self._odd()
        entries = [self._entry()]
        while self._random.random() < 0.4:
            entries.append(self._other())
        if self._is_odd(2):
            self._random.shuffle(entries)
        return f"[{self._comma.join(entries)}]"

    def _entry(self) -> str:
        return self._object(("type", lambda: self._or_odd('"user"')), ("user", self._user))

    def _user(self) -> str:
        return self._odd() if self._is_odd() else self._object(("id", self._id))

    def _other(self) -> str:
        other = self._random.choice(("page", "user", "shop"))
        return self._object(("type", lambda: f'"{other}"'), (other, self._user))

    def _id(self) -> str:
        kind = self._random.random()
        if kind < 0.1 or self._is_odd():
            return self._odd()
        if kind < 0.3:
            return f'"{self._text()}"'
        return f'"{self._random.getrandbits(64):x}-{kind}"'

    def _odd(self) -> str:
        return self._random.choice((self._random.choice(_ODD), f'"{self._text()}"'))

    def _or_odd(self, value: str) -> str:
        return self._odd() if self._is_odd() else value

    def _text(self) -> str:
        pieces = [self._random.choice(_PIECES) for _ in range(self._random.randrange(4))]
        pieces += [
            chr(self._random.choice((0x20, 0x80, 0x800, 0xE000)) + self._random.randrange(99))
        ]
        return "".join(pieces)

    def _object(self, *members: tuple[str, Callable[[], str]]) -> str:
        pairs = list(self._pairs(members))
        if self._is_odd():
            pairs += self._pairs(self._random.choices(members)) if members else ()
        if self._is_odd():
            pairs.insert(0, f'"{self._text()}"{self._colon}{self._odd()}')
        if self._is_odd():
            self._random.shuffle(pairs)
        comma = self._comma + (self._random.choice(_BLANKS) if self._is_odd() else "")
        return self._spaced("{" + comma.join(pairs) + ("," if self._is_odd(0.2) else "") + "}")

    def _pairs(self, members: object) -> Iterator[str]:
        for name, value in members:  # type: ignore[attr-defined]
            if not self._is_odd(0.5):
                yield f"{self._spaced(self._name(name))}{self._colon}{self._spaced(value())}"

    def _spaced(self, text: str) -> str:
        if self._is_odd(0.3):
            return self._random.choice(_BLANKS) + text + self._random.choice(_BLANKS)
        return text

    def _name(self, name: str) -> str:
        if not self._is_odd():
            return f'"{name}"'
        at = self._random.randrange(len(name))
        letter = self._random.choice(("\\u{:04x}", "\\u{:04X}", "\\U{:04x}")).format(ord(name[at]))
        spelled = f'"{name[:at]}{letter}{name[at + 1 :]}"'
        return self._random.choice(
            (spelled, spelled, f"'{name}'", name, f'"{name} "', f'"{name}\\u0000"')
        )
