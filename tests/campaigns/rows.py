"""Bad rows: whatever an application may try to write, straight past every library of ours.

Each is refused by the database itself, with words that say what is wrong, or it ends delivered or
dead; and none stops the good events among them. What is delivered arrives byte for byte as it was
written, under its own id. What names a destination that nobody has configured stays, pending.
"""

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from hypothesis import given, seed
from hypothesis import strategies as st

from shipper.sandbox import RequestInfo, SandboxAnswer
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher
from tests.campaigns.values import TEXT, examples
from tests.daemon.application import Database, payload
from tests.daemon.harness import Shop
from tests.daemon.processes import until
from tests.store.outboxes import INVALID, VALID

GOOD_EVERY = 10
_CORPUS = [text for text in [*VALID.values(), *INVALID.values()] if len(text) < 100_000]
# What a refusal says: the outbox's own words, or those of the database about a JSON text.
_CLEAR = (
    "shipper_outbox", "json", "JSON", "null value", "UNIQUE", "encoding", "stack depth",
    "surrogate", "NUL", "too big", "Unicode",
)  # fmt: skip

_SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | TEXT
_ANY = st.recursive(
    _SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)
_EVENT = st.fixed_dictionaries(
    {"type": st.just("view") | TEXT, "view": st.just({}) | _ANY},
    optional={"context": st.lists(st.fixed_dictionaries({"type": TEXT, "user": _ANY}), max_size=2)},
)


@st.composite
def _mangled(draw: Callable[..., Any]) -> str:
    text = draw(st.sampled_from(_CORPUS))
    at = draw(st.integers(0, len(text)))
    return str(text[:at] + draw(TEXT) + text[at + draw(st.integers(0, 3)) :])


@dataclass(frozen=True)
class Row:
    """What an application tries to write; None for a column is left out."""

    payload: Any
    destination: str | None
    ordering_key: Any
    event_id: Any


_PAYLOADS = st.one_of(
    _EVENT.map(json.dumps),
    _ANY.map(json.dumps),
    _mangled(),
    st.sampled_from(_CORPUS),
    st.binary(max_size=20),
    st.none(),
)
_NAMES = st.one_of(
    st.none(),
    st.none(),
    TEXT,
    st.sampled_from(["", "k", "a" * 255, "a" * 256, "\u20ac%\n", "é" * 200]),
)
_ROWS = st.builds(
    Row,
    payload=_PAYLOADS,
    destination=st.sampled_from([None, None, None, "default", "", "nowhere", "x\0y", "d" * 300]),
    ordering_key=_NAMES | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=3),
    event_id=_NAMES,
)


class Application:
    """Writes rows in autocommit, and notes which were taken."""

    def __init__(self, url: str, figures: Figures) -> None:
        self._database = Database(url)
        if self._database.is_sqlite:
            self._database("PRAGMA synchronous = OFF")  # it is the daemon that is tested
        self._figures = figures
        self.good: list[str] = []

    def write(self, row: Row) -> None:
        """Try to write a row, and a good one now and then."""
        self._figures.tried["rows"] += 1
        if self._figures.tried["rows"] % GOOD_EVERY == 0:
            self._write_good()
        values = {name: value for name, value in vars(row).items() if value is not None}
        marks = [self._mark(name, value) for name, value in values.items()]
        statement = f"INSERT INTO shipper_outbox ({', '.join(values)}) VALUES ({', '.join(marks)})"
        if not values:
            statement = "INSERT INTO shipper_outbox DEFAULT VALUES"
        try:
            self._database(statement, *values.values())
        except _REFUSALS as refusal:
            self._figures.tried["refused"] += 1
            self._judge(row, refusal)
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "psycopg":
                raise
            self._figures.tried["refused"] += 1
            self._judge(row, error)

    def _mark(self, name: str, value: object) -> str:
        # Bytes as TEXT: what a language without Unicode strings would write.
        return "CAST(? AS TEXT)" if self._database.is_sqlite and isinstance(value, bytes) else "?"

    def _judge(self, row: Row, refusal: Exception) -> None:
        if not any(word in str(refusal) for word in _CLEAR):
            self._figures.fault(f"{row}: refused by {refusal!r}")
        alone = row.event_id is None and row.ordering_key is None and row.destination is None
        if alone and isinstance(row.payload, str) and _is_json(row.payload):
            self._figures.fault(f"{row}: is JSON, and was refused by {refusal!r}")

    def _write_good(self) -> None:
        number = len(self.good)
        user = f"good{number % 5}"
        self.good.append(f"{user}-{number:07}")
        self._database(
            "INSERT INTO shipper_outbox (payload, event_id) VALUES (?, ?)",
            payload(user, number),
            self.good[-1],
        )

    def close(self) -> None:
        """Leave the database."""
        self._database.connection.close()


_REFUSALS = (sqlite3.Error, UnicodeError, OverflowError)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_no_constant)
        text.encode()
    except (ValueError, RecursionError):
        return False
    return "\0" not in text


def _no_constant(name: str) -> None:
    raise ValueError(name)


async def bad_rows(
    url: str, directory: Path, *, number: int, seed_: int, mode: Literal["envelope", "off"]
) -> Figures:
    """Write so many bad rows while a daemon runs with this mode of validation."""
    figures = Figures(f"bad rows, {url.partition(':')[0].partition('+')[0]}, {mode}", seed_)
    shop, received = Shop(url, directory), {}

    def accept(request: RequestInfo) -> SandboxAnswer:
        received[request.headers.get("idempotency-key")] = sha256(request.payload).digest()
        return SandboxAnswer(202)

    shop.sandbox.answer_for = accept
    async with AsyncExitStack() as stack:
        stack.push_async_callback(shop.close)
        await shop.open()
        shop.configure(log_level="warning", more=f'[validation]\nmode = "{mode}"')
        launcher = await stack.enter_async_context(Launcher(directory))
        daemon = await launcher.start("run", "-c", str(shop.config))
        good = await asyncio.to_thread(_write_all, url, figures, number, seed_)
        left = "SELECT 1 FROM shipper_outbox WHERE status = 'pending' AND destination = 'default'"
        await until(lambda: not shop.rows(f"{left} LIMIT 1") or not daemon.is_alive, 600)
        daemon.signal(signal.SIGTERM)
        figures.expect(await daemon.ended() == 0, f"the daemon ended: {daemon.stderr[-2000:]}")
        verify = await launcher.start("verify", "-c", str(shop.config))
        figures.expect(await verify.ended() == 0, verify.stdout)
        _judge(shop, good, received, figures)
    return figures


def _write_all(url: str, figures: Figures, number: int, seed_: int) -> list[str]:
    """Write the rows, and return the names of the good ones."""
    application = Application(url, figures)

    @seed(seed_)
    @examples(number)
    @given(_ROWS)
    def each(row: Row) -> None:
        application.write(row)

    each()
    application.close()
    return application.good


def _judge(
    shop: Shop, good: list[str], received: dict[str | None, bytes], figures: Figures
) -> None:
    as_bytes = "CAST({} AS BLOB)" if shop.is_sqlite else "convert_to(CAST({} AS text), 'UTF8')"
    name, body = as_bytes.format("event_id"), as_bytes.format("payload")
    statement = f"SELECT id, {name} AS name, {body} AS body, status, last_error FROM shipper_outbox"
    taken = {unquote_to_bytes(str(key)): digest for key, digest in received.items()}
    for row in shop.rows(f"{statement} WHERE destination = 'default'"):
        event = bytes(row.name)
        figures.tried[row.status] += 1
        if row.status == "delivered":
            same = taken.get(event) == sha256(bytes(row.body)).digest()
            figures.expect(same, f"event {row.id} was not received as it was written")
        else:
            figures.expect(
                row.status == "dead" and row.last_error, f"event {row.id} is {row.status}"
            )
    missing = [one for one in good if one.encode() not in taken]
    figures.expect(not missing, f"good events were never received: {missing[:5]}")
    figures.expect(shop.sandbox.ledger.summary().flawless, "the receiver saw promises broken")
