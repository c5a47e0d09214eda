"""From the exceptions of two HTTP clients to the eight kinds of fault, and to nothing else.

It decides by the root of an exception, because the outer types lie: refused, DNS and even "closed
after reading" can look alike. Each fault names host and port. It must never quote what a peer sent,
or more of a URL than that: an echoed payload, an API id or a password would end up in the log.

`sent` isn't read off an exception at all. The way notes when the first byte is about to
leave, and only a try that never came so far is certain not to have been received.
"""

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import httpx

from shipper.destination.request import PORTS, NotHttpError, Stage
from shipper.policy.outcome import Fault, FaultKind

# All that a try can raise.
FAILURES = (NotHttpError, httpx.TransportError, OSError)

_ADDRESSES: Final = 4  # so many of a name's addresses are told

# h11 and httpcore have one exception for both; these beginnings are those of a lost connection.
_LOST: Final = ("peer closed connection", "peer unexpectedly closed", "Server disconnected")


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a try asks, as its faults name it. `seconds` is the deadline of a whole try."""

    host: str
    name: str
    """Host and port."""
    seconds: float | None = None
    proxy: "Peer | None" = None
    is_secret: bool = False

    @classmethod
    def of(cls, url: httpx.URL, seconds: float | None = None, proxy: str | None = None) -> "Peer":
        """Return whom a URL leads to; neither its path nor a user's name is any part of it."""
        host = f"[{url.host}]" if ":" in url.host else url.host
        name = f"{host}:{url.port or PORTS.get(url.scheme, 1080)}"
        return cls(url.host, name, seconds, None if proxy is None else cls.of(httpx.URL(proxy)))

    @classmethod
    def secret(cls, url: httpx.URL, seconds: float, proxy: str | None) -> "Peer":
        """Return the same for a URL of which nothing may be shown."""
        name = "the host of the url"
        whole = cls.of(url, seconds, proxy)
        return replace(whole, host=name, name=name, is_secret=True)


RECEIVER: Final = Peer("the receiver", "the receiver")
PROXY: Final = Peer("the proxy", "the proxy")


def fault(
    error: BaseException, *, begun: bool, proxied: bool, peer: Peer = RECEIVER, stage: Stage = ""
) -> Fault:
    """Return what went wrong; `begun` says that a byte may have left, `proxied` through whom.

    `peer` is who was asked, and `stage` how far a try came before its first byte.
    """
    if begun:
        kind, detail = _on_the_way(error, peer)
        return Fault(kind, "maybe", detail)
    nearest = (peer.proxy or PROXY) if proxied else peer
    kind, detail = _before_the_first_byte(error, peer, nearest, stage)
    if proxied and kind in {"dns", "refused", "unreachable"}:
        return Fault("proxy", "no", _proxy_detail(error, nearest, detail))
    return Fault(kind, "no", detail)


def _before_the_first_byte(
    error: BaseException, peer: Peer, nearest: Peer, stage: Stage
) -> tuple[FaultKind, str]:
    for root in _roots(error):
        match root:
            case TimeoutError():
                return "timeout", _late(peer, nearest, stage, root)
            case socket.gaierror():
                return "dns", f"{nearest.host} can't be resolved: {root.strerror}"
            case ConnectionRefusedError():
                return "refused", f"nobody listens at {nearest.name}{_tried(error, nearest)}"
            case ssl.SSLError() if not _is_end(root):
                return "tls", _tls_detail(root, peer)
    reason = _system_detail(error) or "no connection could be made"
    return "unreachable", f"{nearest.name} can't be reached{_tried(error, nearest)}: {reason}"


def _late(peer: Peer, nearest: Peer, stage: Stage, error: TimeoutError) -> str:
    if error.errno:  # the system gave up before we did
        return f"{nearest.name} can't be reached: {_system_detail(error)}"
    before = _deadline(peer)
    match stage:
        case "turn":
            return f"no connection to {peer.name} was free {before}"
        case "name":
            return f"no name service told where {nearest.host} is {before}"
        case "tls":
            return f"no answer to the TLS greeting from {peer.name} {before}"
    through = "" if nearest is peer else f" through the proxy {nearest.name}"
    return f"no connection to {peer.name}{through} {before}"


def _deadline(peer: Peer) -> str:
    return "before the deadline" + (f" of {peer.seconds:g} s" if peer.seconds else "")


def _tried(error: BaseException, peer: Peer) -> str:
    """Return the addresses that a name stood for; the dialler notes each beside its failure."""
    if peer.is_secret:
        return ""
    found = [one.filename for one in _roots(error) if isinstance(one, OSError) and one.filename]
    tried = [one for one in dict.fromkeys(found) if one != peer.host]
    more = ", …" if len(tried) > _ADDRESSES else ""
    return f" ({', '.join(tried[:_ADDRESSES])}{more})" if tried else ""


def _on_the_way(error: BaseException, peer: Peer) -> tuple[FaultKind, str]:
    for root in _roots(error):
        match root:
            case TimeoutError() if root.errno:
                return "timeout", f"the connection to {peer.name} broke off: {_system_detail(root)}"
            case TimeoutError():
                return "timeout", f"no whole answer from {peer.name} {_deadline(peer)}"
            case ssl.SSLError() if not _is_end(root):
                return "tls", _tls_detail(root, peer)
    if _is_garbage(error):
        return "garbage", f"what {peer.name} answers isn't HTTP, or is out of every bound"
    reason = _system_detail(error)
    if reason is None:
        return "closed", f"{peer.name} closed the connection before its answer was whole"
    return "closed", f"the connection to {peer.name} broke off: {reason}"


def _is_garbage(error: BaseException) -> bool:
    if isinstance(error, httpx.RemoteProtocolError):
        return not str(error).startswith(_LOST)
    return isinstance(error, NotHttpError)


def _roots(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, what it was raised from, and the members of groups among those."""
    ahead = [error]
    while ahead:
        one = ahead.pop()
        yield one
        if isinstance(one, BaseExceptionGroup):
            ahead.extend(one.exceptions)
        # httpcore raises some again `from None`, which leaves the cause only as the context. Any
        # other context may be the caller's own business.
        behind = one.__context__ if one.__suppress_context__ else None
        behind = one.__cause__ or behind
        if behind is not None:
            ahead.append(behind)


def _is_end(error: ssl.SSLError) -> bool:
    # The peer hung up in the middle of TLS: a matter of the network, not of certificates.
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _tls_detail(error: ssl.SSLError, peer: Peer) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {peer.name} isn't trusted: {error.verify_message}"
    reason: str | None = getattr(error, "reason", None)
    return f"TLS with {peer.name} failed: {(reason or 'no reason given').replace('_', ' ').lower()}"


def _proxy_detail(error: BaseException, proxy: Peer, detail: str) -> str:
    if isinstance(error, httpx.ProxyError):
        # The status is all that is the library's own; a reason phrase is the peer's.
        return f"the proxy {proxy.name} answered HTTP {str(error)[:3]}"
    return f"at the proxy: {detail}"


def _system_detail(error: BaseException) -> str | None:
    """Return the operating system's words for the first error number in the chain."""
    for root in _roots(error):
        if isinstance(root, OSError) and not isinstance(root, ssl.SSLError) and root.errno:
            return os.strerror(root.errno).lower()
    return None
