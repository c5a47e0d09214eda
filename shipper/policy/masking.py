"""The mask of an answer: no secret that a receiver echoes is kept. Pure.

It decides in which spellings a secret is found. It must never take long, however long a secret is:
it runs between the answers of all destinations.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from shipper.policy.outcome import Reply

_MASK: Final = "****"
# The encoded text of fewer bytes is so short that an answer may contain it by chance.
_ENCODED_LEAST: Final = 6
_LONGEST_CHARACTER: Final = 12
# Of a longer secret only the beginning is looked for in every spelling: the pattern for a token of
# two thousand characters would take a second to compile.
_SPELLED: Final = 64
_BEGINNING: Final = 24
_ENTITIES: Final = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


def masked(reply: Reply, secrets: tuple[str, ...], most: int | None = None) -> Reply:
    """Return an answer without the secrets that the receiver may have echoed.

    Mask before an excerpt is made: an excerpt could end in the middle of a secret. For the same
    reason, if only `most` bytes of the body are read, remove from their end what may be the
    beginning of one. `_spellings` lists how a secret can be written.
    """
    if not secrets or not (reply.body or reply.location):
        return reply
    spellings = _spellings_of(secrets)
    body = spellings.sub(_MASK, reply.body[:most].decode("latin-1")).encode("latin-1")
    if most is not None and len(reply.body) > most:
        longest = max(len(secret.encode("utf-8", "surrogateescape")) for secret in secrets)
        # Hexadecimal takes two characters for a byte. No other form of a long secret is only found
        # as a whole.
        tail = max(_LONGEST_CHARACTER * min(longest, _SPELLED), 2 * longest)
        body = body[: max(0, len(body) - tail)]
    location = reply.location and spellings.sub(_MASK, reply.location)
    is_same = (body, location) == (reply.body, reply.location)
    return reply if is_same else reply._replace(body=body, location=location)


@lru_cache(maxsize=64)
def _spellings_of(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern that finds each of the secrets; of two that overlap, the longer one."""
    return re.compile("|".join(_spellings(each) for each in sorted(secrets, key=len, reverse=True)))


def _spellings(secret: str) -> str:
    """Return a regular expression that finds a secret as it is, escaped, or encoded.

    Each character can be percent-encoded, also twice (RFC 3986, 2.1), a space also `+`, or escaped
    as in JSON (RFC 8259, 7) or in HTML. The whole secret can be hexadecimal, or base64 in the
    alphabets of RFC 4648, 4 and 5, with any text before and after it. In base64 the pattern finds
    the characters that encode only the secret; a secret below six bytes could match by chance, and
    is left out. What begins as a long secret does is masked to where the secret could end. The
    pattern is for bytes decoded as latin-1.
    """
    data = secret.encode("utf-8", "surrogateescape")
    if len(data) <= _SPELLED:
        forms = [_spelled(data)]
    else:  # what follows such a beginning can't be longer than this
        rest = _LONGEST_CHARACTER * (len(data) - _BEGINNING)
        plain = re.escape(data.decode("latin-1"))
        forms = [plain, rf"{_spelled(data[:_BEGINNING])}[\s\S]{{0,{rest}}}"]
    if len(data) >= _ENCODED_LEAST:
        forms.append(_hexadecimal(data))
        for shift in range(3):
            encoded = b64encode(bytes(shift) + data).decode().rstrip("=")
            first = -(-shift * 8 // 6)
            last = (shift + len(data)) * 8 // 6
            core = re.escape(encoded[first:last]).replace(r"\+", "[+-]").replace("/", "[/_]")
            forms.append(rf"[A-Za-z0-9+/_-]?{core}[A-Za-z0-9+/_-]?={{0,2}}")
    return "|".join(forms)


def _spelled(data: bytes) -> str:
    return "".join(f"(?:{'|'.join(_characters(byte))})" for byte in data)


def _characters(byte: int) -> Iterator[str]:
    """Yield the regular expressions for the ways to write one byte of a secret."""
    plain = chr(byte)
    yield re.escape(plain)
    code = _hexadecimal(bytes([byte]))
    yield rf"%(?:25){{0,3}}{code}"
    if byte < 0x80:
        yield rf"\\{{1,4}}(?:u00{code}|x{code}|{re.escape(plain)})"
        yield rf"&#(?:0{{0,4}}{byte}|x0{{0,4}}{code.removeprefix('0')});?"
        if plain == " ":
            yield r"\+"
        if plain in _ENTITIES:
            yield f"&{_ENTITIES[plain]};"


def _hexadecimal(data: bytes) -> str:
    """Return a pattern for the hexadecimal digits, in small and capital letters."""
    # (?i:...) would take several times as long to compile.
    return "".join(c if c.isdigit() else f"[{c}{c.upper()}]" for c in data.hex())
