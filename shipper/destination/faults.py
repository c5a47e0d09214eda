"""Translate the exceptions of two HTTP clients into the eight kinds of fault.

It decides by the root of an exception, because the outer types don't say enough: a refused
connection, a failed name lookup and even "closed after reading" can have the same type. Each fault
names host and port. A fault must never quote a byte that the peer sent, or more of a URL: an echoed
payload, an API ID or a password would get into the log.

`sent` doesn't depend on the exception. The transport notes when the first byte is about to leave.
Only before that is it certain that the receiver didn't get the event.
"""

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import httpx

from shipper.destination.request import PORTS, NotHttpError, RequestStage
from shipper.policy.outcome import Fault, FaultKind

# Every exception that a transport can raise.
FAILURES = (NotHttpError, httpx.TransportError, OSError)

_ADDRESSES: Final = 4  # the number of addresses of a name that a fault lists

# h11 and httpcore raise the same exception for garbage and for a lost connection. The message of
# a lost connection begins like this.
_LOST: Final = ("peer closed connection", "peer unexpectedly closed", "Server disconnected")


@dataclass(frozen=True, slots=True)
class Peer:
    """The receiver as faults name it. `seconds` is the deadline of a whole try."""

    host: str
    name: str
    """Host and port."""
    seconds: float | None = None
    proxy: "Peer | None" = None
    is_secret: bool = False

    @classmethod
    def of(cls, url: httpx.URL, seconds: float | None = None, proxy: str | None = None) -> "Peer":
        """Return the peer of a URL, without the path and without a user name."""
        host = f"[{url.host}]" if ":" in url.host else url.host
        name = f"{host}:{url.port or PORTS.get(url.scheme, 1080)}"
        return cls(url.host, name, seconds, None if proxy is None else cls.of(httpx.URL(proxy)))

    @classmethod
    def secret(cls, url: httpx.URL, seconds: float, proxy: str | None) -> "Peer":
        """Return the peer of a URL that is a secret as a whole."""
        name = "the host of the url"
        whole = cls.of(url, seconds, proxy)
        return replace(whole, host=name, name=name, is_secret=True)


RECEIVER: Final = Peer("the receiver", "the receiver")
PROXY: Final = Peer("the proxy", "the proxy")


def fault(
    error: BaseException,
    *,
    begun: bool,
    proxied: bool,
    peer: Peer = RECEIVER,
    stage: RequestStage = "",
) -> Fault:
    """Return the fault for an exception.

    `begun` says that a byte of the request may have been sent, `proxied` that there is a proxy.
    `peer` is the receiver, and `stage` is how far the try got before its first byte.
    """
    if begun:
        kind, detail = _after_the_first_byte(error, peer)
        return Fault(kind, "maybe", detail)
    nearest = (peer.proxy or PROXY) if proxied else peer
    kind, detail = _before_the_first_byte(error, peer, nearest, stage)
    if proxied and kind in {"dns", "refused", "unreachable"}:
        return Fault("proxy", "no", _proxy_detail(error, nearest, detail))
    return Fault(kind, "no", detail)


def _before_the_first_byte(
    error: BaseException, peer: Peer, nearest: Peer, stage: RequestStage
) -> tuple[FaultKind, str]:
    for root in _roots(error):
        match root:
            case TimeoutError():
                return "timeout", _late(peer, nearest, stage, root)
            case socket.gaierror():
                return "dns", f"{nearest.host} can't be resolved: {root.strerror}"
            case ConnectionRefusedError():
                return "refused", f"nothing listens at {nearest.name}{_tried(error, nearest)}"
            case ssl.SSLError() if not _is_end(root):
                return "tls", _tls_detail(root, peer)
    reason = _system_detail(error) or "no connection could be made"
    return "unreachable", f"{nearest.name} can't be reached{_tried(error, nearest)}: {reason}"


def _late(peer: Peer, nearest: Peer, stage: RequestStage, error: TimeoutError) -> str:
    if error.errno:  # the timeout of the operating system, not of the try
        return f"{nearest.name} can't be reached: {_system_detail(error)}"
    before = _deadline(peer)
    match stage:
        case "turn":
            return f"no connection to {peer.name} was free {before}"
        case "name":
            return f"no name service answered for {nearest.host} {before}"
        case "tls":
            return f"no answer to the TLS handshake from {peer.name} {before}"
    through = "" if nearest is peer else f" through the proxy {nearest.name}"
    return f"no connection to {peer.name}{through} {before}"


def _deadline(peer: Peer) -> str:
    return "before the deadline" + (f" of {peer.seconds:g} s" if peer.seconds else "")


def _tried(error: BaseException, peer: Peer) -> str:
    """Return the addresses that were tried; the dialler notes each in its exception."""
    if peer.is_secret:
        return ""
    found = [one.filename for one in _roots(error) if isinstance(one, OSError) and one.filename]
    tried = [one for one in dict.fromkeys(found) if one != peer.host]
    more = ", …" if len(tried) > _ADDRESSES else ""
    return f" ({', '.join(tried[:_ADDRESSES])}{more})" if tried else ""


def _after_the_first_byte(error: BaseException, peer: Peer) -> tuple[FaultKind, str]:
    for root in _roots(error):
        match root:
            case TimeoutError() if root.errno:
                return "timeout", f"the connection to {peer.name} was lost: {_system_detail(root)}"
            case TimeoutError():
                return "timeout", f"no whole answer from {peer.name} {_deadline(peer)}"
            case ssl.SSLError() if not _is_end(root):
                return "tls", _tls_detail(root, peer)
    if _is_garbage(error):
        return "garbage", f"the answer of {peer.name} isn't HTTP, or exceeds a bound"
    reason = _system_detail(error)
    if reason is None:
        return "closed", f"{peer.name} closed the connection before its answer was whole"
    return "closed", f"the connection to {peer.name} was lost: {reason}"


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
        # httpcore raises some exceptions again `from None`: then only the context holds the cause.
        # Any other context may have nothing to do with the fault.
        behind = one.__context__ if one.__suppress_context__ else None
        behind = one.__cause__ or behind
        if behind is not None:
            ahead.append(behind)


def _is_end(error: ssl.SSLError) -> bool:
    # The peer closed the connection during TLS: a problem of the network, not of certificates.
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _tls_detail(error: ssl.SSLError, peer: Peer) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {peer.name} isn't trusted: {error.verify_message}"
    reason: str | None = getattr(error, "reason", None)
    return f"TLS with {peer.name} failed: {(reason or 'no reason given').replace('_', ' ').lower()}"


def _proxy_detail(error: BaseException, proxy: Peer, detail: str) -> str:
    if isinstance(error, httpx.ProxyError):
        # The status is safe to quote; the reason phrase is the peer's text.
        return f"the proxy {proxy.name} answered HTTP {str(error)[:3]}"
    return f"at the proxy: {detail}"


def _system_detail(error: BaseException) -> str | None:
    """Return the operating system's text for the first error number in the chain."""
    for root in _roots(error):
        if isinstance(root, OSError) and not isinstance(root, ssl.SSLError) and root.errno:
            return os.strerror(root.errno).lower()
    return None
