"""An application's view of the outbox: plain SQL, through whatever library it happens to use."""

import json
import re
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

COLUMNS = "id, event_id, destination, ordering_key, status, attempts, created_at"


UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


class Writer(Protocol):
    """Runs one statement with named parameters, written `:name`, and returns its rows."""

    def __call__(self, statement: str, /, **parameters: object) -> list[tuple[Any, ...]]:
        """Run it, in a transaction of its own."""


@dataclass(frozen=True)
class SqlWriter:
    """A writer over SQLAlchemy that hands the statement to the driver as it stands."""

    connection: Connection

    @property
    def dialect(self) -> str:
        """Return the name of the database."""
        return self.connection.dialect.name

    def __call__(self, statement: str, /, **parameters: object) -> list[tuple[Any, ...]]:
        """Run it in a savepoint, so that a refused statement doesn't end the transaction."""
        if self.dialect == "postgresql":
            statement = re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", statement)
        with self.connection.begin_nested():
            result = self.connection.exec_driver_sql(statement, parameters or None)
            return [tuple(row) for row in result] if result.returns_rows else []


@dataclass(frozen=True)
class DriverWriter:
    """A writer over a bare SQLite module, as an application in Python would use it."""

    connection: Any

    def __call__(self, statement: str, /, **parameters: object) -> list[tuple[Any, ...]]:
        """Run it; it commits by itself."""
        return list(self.connection.execute(statement, parameters).fetchall())


def insert(write: Writer, payload: object, **columns: object) -> dict[str, Any]:
    """Write one event and return the row that it became."""
    names = ", ".join(["payload", *columns])
    values = ", ".join([":payload", *(f":{name}" for name in columns)])
    write(f"INSERT INTO shipper_outbox ({names}) VALUES ({values})", payload=payload, **columns)
    return last(write)


def last(write: Writer) -> dict[str, Any]:
    """Return the youngest row, without its payload."""
    [row] = write(f"SELECT {COLUMNS} FROM shipper_outbox ORDER BY id DESC LIMIT 1")
    return dict(zip(COLUMNS.split(", "), row, strict=True))


def count(write: Writer) -> int:
    """Return how many events there are."""
    return int(write("SELECT count(*) FROM shipper_outbox")[0][0])


def event(user: object, **more: object) -> str:
    """Return an event of a user, as JSON."""
    context = [{"type": "user", "user": {"id": user}}]
    return json.dumps({"type": "view", "view": more, "context": context})


def derived(payload: str) -> str | None:
    """Return the key of a payload: what both databases have to derive, said in Python."""
    document = json.loads(payload)
    context = document.get("context") if isinstance(document, dict) else None
    entries = context if isinstance(context, list) else []
    users = [e for e in entries if isinstance(e, dict) and e.get("type") == "user"]
    user = users[0].get("user") if users else None
    return _key(user.get("id")) if isinstance(user, dict) else None


def _key(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**18 else None
    if not isinstance(value, str) or "\0" in value or re.search("[\ud800-\udfff]", value):
        return None
    return value or None


VALID = {
    "an event": event("u1"),
    "an event with a number as id": event(4711),
    "an id of 9,000 characters": event("x" * 9000),
    "an id of 9,000 characters that don't compress": event("".join(map(chr, range(2000, 11000)))),
    "an id of 18 digits": event(10**18 - 1),
    "an id of 19 digits": event(10**18),
    "an id of 400 digits": event(10**400),
    "a negative id": event(-5),
    "minus zero": '{"context":[{"type":"user","user":{"id":-0}}]}',
    "a fraction as id": event(1.5),
    "a whole float as id": event(1.0),
    "an exponent as id": '{"context":[{"type":"user","user":{"id":1e2}}]}',
    "an empty id": event(""),
    "a blank id": event(" "),
    "null as id": event(None),
    "true as id": event(True),
    "a list as id": event(["u1"]),
    "an object as id": event({"id": "u1"}),
    "a NUL in the id": event("u\0001"),
    "nothing but a NUL as id": event("\0"),
    "a NUL between two halves of a pair": event("\ud83d\0\ude00"),
    "a NUL after half a pair": event("\ud83d\0"),
    "a NUL beside the id": event("u1", name="a\0b"),
    "a NUL in a key beside the id": event("u1", **{"a\0b": 1}),
    "a NUL in the type of an entry before": '{"context":'
    '[{"type":"user\\u0000x","user":{"id":"no"}},'
    '{"type":"user","user":{"id":"u1"}}]}',
    "an escaped backslash before u0000 in the id": event("u\\u0000"),
    "two backslashes and a NUL in the id": event("u\\\\\0"),
    "a lone high surrogate in the id": event("u\ud800"),
    "a lone low surrogate in the id": event("\udc00u"),
    "surrogates in the wrong order": event("\udc00\ud800"),
    "a lone surrogate beside the id": event("u1", name="\udfff", other="\ud83d\ude00"),
    "a lone surrogate beside an id with a pair": event("\U0001f600", name="\ud83d"),
    "a pair in the id": event("\U0001f600"),
    "a replacement character as id": event("\ufffd\ufffe\uffff"),
    "a replacement character and a lone surrogate": event("\ufffd\ud800"),
    "control characters in the id": event("a\x01\x1f\x7f\x9f\n"),
    "characters beyond ASCII": '{"context":[{"type":"user","user":{"id":"Jörg 🚀"}}]}',
    "quotes and a solidus in the id": '{"context":[{"type":"user","user":{"id":"a\\"\\/\\\\b"}}]}',
    "escaped names": '{"c\\u006fntext":'
    '[{"t\\u0079pe":"us\\u0065r","\\u0075ser":{"\\u0069d":"u1"}}]}',
    "a context that is a string": '{"context":"user"}',
    "a context that is a string with JSON in it": '{"context":"[{\\"type\\":\\"user\\"}]"}',
    "a context that is an object": '{"context":{"type":"user","user":{"id":"u1"}}}',
    "a context that is null": '{"context":null}',
    "a context that is a number": '{"context":1}',
    "an empty context": '{"context":[]}',
    "mixed entries": '{"context":[1,"user",null,true,[],[{"type":"user","user":{"id":"no"}}],{},'
    '{"type":1},{"type":["user"]},{"type":"User"},{"type":"user","user":{"id":"u1"}}]}',
    "two users": '{"context":'
    '[{"type":"user","user":{"id":"u1"}},{"type":"user","user":{"id":"2"}}]}',
    "a first user without an id": '{"context":[{"type":"user"},{"type":"user","user":{"id":"2"}}]}',
    "a user that is a string": '{"context":[{"type":"user","user":"{\\"id\\":\\"u1\\"}"}]}',
    "a user that is not JSON": '{"context":[{"type":"user","user":"u1"}]}',
    "a user that is a list": '{"context":[{"type":"user","user":[{"id":"u1"}]}]}',
    "a context twice": '{"context":[{"type":"user","user":{"id":"no"}}],'
    '"context":[{"type":"user","user":{"id":"u1"}}]}',
    "a second context that is none": '{"context":[{"type":"user","user":{"id":"no"}}],"context":0}',
    "a type twice": '{"context":[{"type":"page","type":"user","user":{"id":"u1"}}]}',
    "a second type that is none": '{"context":[{"type":"user","type":0,"user":{"id":"no"}}]}',
    "an id twice": '{"context":[{"type":"user","user":{"id":"no","id":"u1"}}]}',
    "a user twice": '{"context":[{"type":"user","user":{"id":"no"},"user":{"id":"u1"}}]}',
    "a list": '[{"context":[{"type":"user","user":{"id":"u1"}}]}]',
    "a string": '"context"',
    "a number": "1",
    "null": "null",
    "an empty object": "{}",
    "white space around": ' \t\r\n{"context" : [ {"type":"user", "user":{"id":"u1"}} ] }\n ',
    "an empty name": '{"":{"context":[]},"$":1,"context.user":2}',
    "900 levels": '{"a":' + "[" * 900 + "]" * 900 + ',"context":'
    '[{"type":"user","user":{"id":"u1"}}]}',
    "900 levels within the context": '{"context":[' + "[" * 900 + "]" * 900
    + ',{"type":"user","user":{"id":"u1"}}]}',
    "a megabyte": event("u1", text="ü" * 500_000),
    "a percent sign and placeholders": event("100% :name %(name)s ? $1"),
}  # fmt: skip

INVALID = {
    "an empty text": "",
    "blanks": "  ",
    "NaN": '{"a":NaN}',
    "infinity": '{"a":-Infinity}',
    "a trailing comma": '{"a":1,}',
    "single quotes": "{'a':1}",
    "a comment": '{"a":1} -- no',
    "two documents": "{}{}",
    "half a document": '{"a":',
    "a byte order mark": "\ufeff{}",
    "a hexadecimal number": '{"a":0x1}',
    "a leading zero": '{"a":01}',
    "a name without quotes": "{a:1}",
    "a line break in a string": '{"a":"\n"}',
    "a short escape": '{"a":"\\u00"}',
    "an unknown escape": '{"a":"\\x41"}',
    "a million levels": "[" * 1_000_000 + "]" * 1_000_000,
}
