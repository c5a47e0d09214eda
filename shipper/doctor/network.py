"""The way to a destination: its name, its certificate, its clock, and whether it knows our API ID.

It asks the vendor's validate endpoint, which takes no event. Everything is bounded by a few
seconds, and what doesn't answer is a finding.
"""

import asyncio
import os
import ssl
from email.utils import parsedate_to_datetime

import orjson

from shipper.advice import Place, hint, place_of, where_of
from shipper.clock import Clock
from shipper.config import DestinationSettings, Settings, masked
from shipper.contract.builders import view
from shipper.destination import Destination
from shipper.destination.inspect import Origin, addresses, certificate_ends, origin_of
from shipper.destination.tls import knows_authorities
from shipper.doctor.finding import Finding, fault, of_error, warning, well, words_of
from shipper.errors import AccessDenied, ShipperError
from shipper.policy.outcome import Fault, Kind, Reply, classify
from shipper.policy.outcome import masked as without

PATIENCE = 5.0
"""Seconds for each question that is asked over the network."""

_DAY = 86400.0
_CERTIFICATE_DAYS = 14.0
_CLOCK_SECONDS = 60.0
_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")

_ASK_AS_ROOT = "name it as api_id_file, and ask as root or as the daemon's user"

# What the vendor's own validation takes; it stays there.
_QUESTION = orjson.dumps(view("customSet", "doctor", user="00000000-0000-5000-8000-000000000000"))


async def check_destination(
    settings: DestinationSettings, clock: Clock, whole: Settings | None = None
) -> list[Finding]:
    """Return everything that the network shows of one destination; `whole` is all settings."""
    asked = [_proxy(settings)]
    origin = origin_of(settings.proxy or settings.url)
    name, certificate, api = await asyncio.gather(
        _name(settings, origin), _certificate(settings, clock), _api(settings, whole, clock)
    )
    return [*asked, name, *certificate, *api]


def _proxy(settings: DestinationSettings) -> Finding:
    name = f"proxy {settings.name}"
    if settings.proxy is not None:
        return well(name, masked(settings.proxy))
    ignored = [variable for variable in _PROXIES if os.environ.get(variable)]
    if ignored:
        return well(name, f"none; ${ignored[0]} is set and not used")
    return well(name, "none")


async def _name(settings: DestinationSettings, origin: Origin) -> Finding:
    name = f"name {settings.name}"
    try:
        async with asyncio.timeout(PATIENCE):
            found = await addresses(origin)
    except TimeoutError:
        return fault(name, f"{origin.host} is not resolved in {PATIENCE:.0f} s", _DNS)
    except OSError as error:
        return fault(name, f"{origin.host} can't be resolved: {error.strerror}", _DNS)
    if found == [origin.host]:
        return well(name, f"{origin.host} is an address; no name has to be resolved")
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return well(name, f"{origin.host} is {', '.join(found[:2])}{more}")


_DNS = "look at the network and at /etc/resolv.conf"


async def _certificate(settings: DestinationSettings, clock: Clock) -> list[Finding]:
    name, origin = f"TLS {settings.name}", origin_of(settings.url)
    if not origin.encrypted:
        return [well(name, "not needed: what is sent stays on this machine")]
    if settings.proxy is not None:
        return [well(name, "not looked at through a proxy")]
    try:
        async with asyncio.timeout(PATIENCE):
            ends = await certificate_ends(origin, settings.ca_file)
    except (OSError, ShipperError) as error:
        return [_no_certificate(name, error, where_of(settings.url))]
    days = (ends - clock.wall()) / _DAY
    told = f"the certificate is valid for {days:.0f} more days"
    if days < _CERTIFICATE_DAYS:
        return [warning(name, told, "its owner has to renew it; the link will pause otherwise")]
    return [well(name, told)]


def _no_certificate(name: str, error: OSError | ShipperError, where: str) -> Finding:
    match error:
        case ssl.SSLCertVerificationError():
            told = f"the certificate of {where} isn't trusted: {error.verify_message}"
            if not knows_authorities():
                none = f"{told}; this machine knows no authority at all"
                return fault(name, none, "install the package ca-certificates, or set ca_file")
            return fault(name, told, "set the clock, or name the authority as ca_file")
        case ssl.SSLError():
            return fault(name, f"TLS with {where} failed: {error.reason}", _SEE_API)
        case TimeoutError():
            return fault(name, f"no answer from {where} in {PATIENCE:.0f} s", _SEE_API)
        case OSError():
            return fault(name, f"{where} can't be reached: {words_of(error)}", _SEE_API)
    return of_error(name, error)


_SEE_API = "what to do stands beside API, below"


async def _api(
    settings: DestinationSettings, whole: Settings | None, clock: Clock
) -> list[Finding]:
    name = f"API {settings.name}"
    if settings.api_id is None and settings.api_id_file is None:
        # The daemon may have one all the same: systemd hands it to nobody else.
        return [warning(name, "not asked: the configuration has no API ID", _ASK_AS_ROOT)]
    try:
        api_id = settings.read_api_id().reveal()
        answer = await _ask(settings, api_id)
    except AccessDenied as error:
        return [warning(name, f"not asked: {error.message}", _ASK_AS_ROOT)]
    except (ShipperError, OSError) as error:
        return [of_error(name, error)]
    place = place_of(settings, whole)
    return [_verdict(name, answer, clock, place), *_their_clock(settings, answer, clock)]


async def _ask(settings: DestinationSettings, api_id: str) -> Reply | Fault:
    carrier = Destination(
        url=settings.url,
        timeout=min(PATIENCE, settings.timeout),
        max_in_flight=1,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
        transport=settings.transport,
    )
    try:
        answer = await carrier.validate(_QUESTION, api_id)
        return without(answer, api_id) if isinstance(answer, Reply) else answer
    finally:
        await carrier.aclose()


def _verdict(name: str, answer: Reply | Fault, clock: Clock, place: Place) -> Finding:
    outcome = classify(answer, clock.wall(), place.where)
    if outcome.kind in {Kind.ACCEPTED, Kind.REFUSED}:
        # It read the event and thought about it, so it let us in.
        return well(name, f"the API accepts this API ID (HTTP {outcome.status_code})")
    told = outcome.reason
    fix = hint(outcome.cause, place)
    if outcome.status_code in {401, 403}:
        return fault(name, f"the API ID is refused ({told})", fix)
    if outcome.kind is Kind.THROTTLED:
        return warning(name, f"it asks for a pause ({told})")
    return fault(name, told, fix)


def _their_clock(
    settings: DestinationSettings, answer: Reply | Fault, clock: Clock
) -> list[Finding]:
    name = f"clock {settings.name}"
    if not isinstance(answer, Reply) or not answer.date:
        return []
    try:
        theirs = parsedate_to_datetime(answer.date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return [warning(name, "its answer has a Date that can't be read")]
    # A Date is cut to the second.
    off = clock.wall() - theirs - 0.5
    told = f"ours is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the API's"
    if abs(off) < 1.0:
        told = "ours and the API's agree"
    if abs(off) > _CLOCK_SECONDS:
        return [warning(name, told, "timedatectl set-ntp true")]
    return [well(name, told)]
