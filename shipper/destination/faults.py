"""From the exceptions of two HTTP clients to the eight kinds of fault, and to nothing else.

It decides by the root of an exception, because the outer types lie: refused, DNS and even "closed
after reading" can look alike. It must never quote what a peer sent or where it was sent to: an
echoed payload, an API id or a password in a URL would end up in the log.

`sent` isn't read off an exception at all. The way notes when the first byte is about to
leave, and only a try that never came so far is certain not to have been received.
"""

import os
import socket
import ssl
from collections.abc import Iterator

import httpx

from shipper.destination.way import NotHttpError
from shipper.outcome import Fault, FaultKind

# All that a try can raise.
FAILURES = (NotHttpError, httpx.TransportError, OSError)

# h11 and httpcore have one exception for both; these beginnings are those of a lost connection.
_LOST = ("peer closed connection", "peer unexpectedly closed", "Server disconnected")


def fault(error: BaseException, *, begun: bool, proxied: bool) -> Fault:
    """Return what went wrong; `begun` says that a byte may have left, `proxied` through whom."""
    if begun:
        kind, detail = _on_the_way(error)
        return Fault(kind, "maybe", detail)
    kind, detail = _before_the_first_byte(error)
    if proxied and kind in {"dns", "refused", "unreachable"}:
        return Fault("proxy", "no", _proxy_detail(error, detail))
    return Fault(kind, "no", detail)


def _before_the_first_byte(error: BaseException) -> tuple[FaultKind, str]:
    for root in _roots(error):
        match root:
            case TimeoutError():
                return "timeout", "no connection before the deadline"
            case socket.gaierror():
                return "dns", f"the name can't be resolved: {root.strerror}"
            case ConnectionRefusedError():
                return "refused", "the connection was refused"
            case ssl.SSLError() if not _is_end(root):
                return "tls", _tls_detail(root)
    return "unreachable", _system_detail(error) or "no connection could be made"


def _on_the_way(error: BaseException) -> tuple[FaultKind, str]:
    for root in _roots(error):
        match root:
            case TimeoutError():
                return "timeout", "no whole answer before the deadline"
            case ssl.SSLError() if not _is_end(root):
                return "tls", _tls_detail(root)
    if _is_garbage(error):
        return "garbage", "what came back isn't HTTP, or is out of every bound"
    return "closed", _system_detail(error) or "the connection ended before the answer was whole"


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


def _tls_detail(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate isn't trusted: {error.verify_message}"
    reason: str | None = getattr(error, "reason", None)
    return f"TLS failed: {(reason or 'no reason given').replace('_', ' ').lower()}"


def _proxy_detail(error: BaseException, detail: str) -> str:
    if isinstance(error, httpx.ProxyError):
        # The status is all that is the library's own; a reason phrase is the peer's.
        return f"the proxy answered HTTP {str(error)[:3]}"
    return f"at the proxy: {detail}"


def _system_detail(error: BaseException) -> str | None:
    """Return the operating system's words for the first error number in the chain."""
    for root in _roots(error):
        if isinstance(root, OSError) and not isinstance(root, ssl.SSLError) and root.errno:
            return os.strerror(root.errno).lower()
    return None
