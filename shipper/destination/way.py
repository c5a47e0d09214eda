"""What a try is, and what carries one: our own HTTP client, or the stock one of httpx.

It decides which bytes make the head of a request. A way must never send a try twice, and must say
that it has begun before the first byte of it can have left.
"""

from typing import Final, Protocol

import httpx

from shipper.outcome import Reply

# Of the body of an answer no more is read.
BODY_LIMIT: Final = 64 * 1024


class NotHttpError(Exception):
    """What came back isn't HTTP, or is out of every bound."""


class Target:
    """One URL to ask, with all of a request's head that stays the same."""

    def __init__(self, url: httpx.URL, user_agent: str, method: str = "POST") -> None:
        self.url = url
        self.method = method
        self._fields = {
            "host": url.netloc.decode("ascii"),
            "accept": "*/*",
            # Nothing here unpacks an answer, so none can be a bomb.
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": user_agent,
        }
        self._line = f"{method} {url.raw_path.decode('ascii')} HTTP/1.1\r\n"
        self._api_id = ""
        self._beginning = self._begin("")

    def fields(self, api_id: str) -> dict[str, str]:
        """Return the headers that every request with this API ID has; empty stands for none."""
        return {**self._fields, "x-api-id": api_id} if api_id else self._fields

    def beginning(self, api_id: str) -> str:
        """Return the same as the first lines of a request."""
        if api_id != self._api_id:
            self._api_id, self._beginning = api_id, self._begin(api_id)
        return self._beginning

    def _begin(self, api_id: str) -> str:
        fields = self.fields(api_id).items()
        return self._line + "".join(f"{name}: {value}\r\n" for name, value in fields)


class Attempt:
    """One request. `begun` turns true just before its first byte can leave."""

    __slots__ = ("api_id", "begun", "body", "key", "target")

    def __init__(self, target: Target, api_id: str, key: str | None, body: bytes) -> None:
        self.target = target
        self.api_id = api_id
        self.key = key
        self.body = body
        self.begun = False

    def fields(self) -> dict[str, str]:
        """Return the headers, all but the length of the body."""
        fields = self.target.fields(self.api_id)
        return fields if self.key is None else {**fields, "idempotency-key": self.key}

    def head(self) -> bytes:
        """Return the head of the request as it goes over the wire."""
        key = "" if self.key is None else f"idempotency-key: {self.key}\r\n"
        beginning = self.target.beginning(self.api_id)
        return f"{beginning}{key}content-length: {len(self.body)}\r\n\r\n".encode("ascii")


class Way(Protocol):
    """Carries tries to one origin. Belongs to the event loop in which it was opened."""

    async def post(self, attempt: Attempt) -> Reply:
        """Make one try before the way's deadline; raises one of `faults.FAILURES`."""

    async def aclose(self) -> None:
        """Close every connection, used or not."""
