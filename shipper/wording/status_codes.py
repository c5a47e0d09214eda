"""What an HTTP status means, in a few words beside the number. Pure.

It decides nothing about an event; `policy.outcome` does. Of a redirect's target it must never show
more than host and port: path and query can contain a token, or the event itself.
"""

from typing import Final
from urllib.parse import urlsplit

_HOST_CHARS = 253

_MEANINGS: Final = {
    300: "the API offers several addresses",
    304: "the API says that nothing has changed",
    400: "the API doesn't understand the event",
    401: "the API ID, key or token is wrong or was revoked",
    402: "the API requires a payment",
    403: "the API ID, key or token has no right to do this",
    404: "nothing answers at this path",
    405: "nothing takes events at this path",
    406: "the API can't answer in an accepted format",
    407: "a proxy in between requires a login",
    408: "the API didn't get the whole request in time",
    409: "the event conflicts with the API's data",
    410: "the API has moved away from this address for good",
    413: "the event is too large for the API",
    414: "the address is too long for the API",
    415: "the API doesn't take this kind of content",
    421: "the server at this address isn't the API's",
    422: "the API refuses the event",
    425: "the API wants the event a little later",
    426: "the API requires another protocol",
    429: "the API asks for a pause",
    431: "the headers are too large for the API",
    451: "the API is blocked for legal reasons",
    500: "the API failed",
    501: "the API can't process events",
    502: "a gateway got no usable answer from the API",
    503: "the API isn't available at the moment",
    504: "a gateway got no answer from the API in time",
    507: "the API has no room left",
}


def meaning(status: int, location: str | None = None, where: str = "") -> str:
    """Return what a status that isn't a success means; `where` is the receiver's host and port."""
    if 300 <= status < 400 and location:
        return _redirect(location, where)
    known = _MEANINGS.get(status)
    if known is not None:
        return known
    if 300 <= status < 400:
        return "the API has moved, but gives no new address"
    if 400 <= status < 500:
        return "the API refuses the request"
    return "the API failed" if status < 600 else "this status has no meaning"


def _redirect(location: str, where: str) -> str:
    text = "".join(c if c.isprintable() else "_" for c in location.strip())
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        return "it points to an invalid address"
    if not host:
        return "it points to another path of the same host"
    # Without path and query: the receiver can have put the request's own data into them.
    name = (f"[{host}]" if ":" in host else host)[:_HOST_CHARS]
    scheme = f"{url.scheme}:" if url.scheme else ""
    place = f"{scheme}//{name}" + (f":{port}" if port else "")
    if name == where.rpartition(":")[0].lower():
        return f"it points to {place}"
    return f"it points to {place}, perhaps the login page of a captive portal"
