"""Checks of a destination: its request, proxy, name, certificates and clock, its API ID or token.

A request goes only to the vendor's validate endpoint, which accepts no event, and to a token
endpoint. A check must never send an event. Each check is limited to a few seconds, and a missing
answer is a result, too.
"""

import asyncio
import os
import ssl
from email.utils import parsedate_to_datetime

import orjson

from shipper.advice import DestinationPlace, hint, place_of, where_of
from shipper.clock import Clock
from shipper.config import DestinationSettings, Settings, masked
from shipper.config.secrets import Secrets, read_secrets
from shipper.contract.builders import view
from shipper.destination import Destination
from shipper.destination.inspect import Origin, addresses, certificate_ends, origin_of
from shipper.destination.own_certificate import SCARCE_DAYS, own_certificate
from shipper.destination.preview import preview
from shipper.destination.tls import knows_authorities, tls_context
from shipper.doctor.result import CheckResult, fault, of_error, warning, well, words_of
from shipper.errors import AccessDenied, ShipperError
from shipper.policy.event import Event
from shipper.policy.masking import masked as without
from shipper.policy.outcome import Fault, Invalid, Kind, Reply, classify

PATIENCE = 5.0
"""Seconds for each network operation."""

_DAY = 86400.0
_CLOCK_SECONDS = 60.0
_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")

_ASK_AS_ROOT = "set api_id_file, and run shipper doctor as root or as the daemon's user"

# A sample that the vendor's validation accepts; the vendor doesn't store it.
_QUESTION = orjson.dumps(view("customSet", "doctor", user="00000000-0000-5000-8000-000000000000"))


async def check_destination(
    settings: DestinationSettings, clock: Clock, whole: Settings | None = None
) -> list[CheckResult]:
    """Return the results for one destination; `whole` is all settings."""
    asked = [_request(settings), _proxy(settings)]
    origin = origin_of(settings.proxy or settings.url)
    name, certificate, api = await asyncio.gather(
        _name(settings, origin), _certificate(settings, clock), _api(settings, whole, clock)
    )
    return [*asked, name, *certificate, *_own_certificate(settings, clock), *api]


def _request(settings: DestinationSettings) -> CheckResult:
    name = f"request {settings.name}"
    try:
        made = preview(settings)
    except ShipperError as error:
        return of_error(name, error)
    headers = "; ".join(f"{header}: {value}" for header, value in made.headers.items())
    return well(name, f"{made.line} with {headers}")


def _proxy(settings: DestinationSettings) -> CheckResult:
    name = f"proxy {settings.name}"
    if settings.proxy is not None:
        return well(name, masked(settings.proxy))
    ignored = [variable for variable in _PROXIES if os.environ.get(variable)]
    if ignored:
        return well(name, f"none; ${ignored[0]} is set, but shipper doesn't use it")
    return well(name, "none")


async def _name(settings: DestinationSettings, origin: Origin) -> CheckResult:
    name = f"name {settings.name}"
    try:
        async with asyncio.timeout(PATIENCE):
            found = await addresses(origin)
    except TimeoutError:
        return fault(name, f"{origin.host} was not resolved in {PATIENCE:.0f} s", _DNS)
    except OSError as error:
        return fault(name, f"{origin.host} can't be resolved: {error.strerror}", _DNS)
    if found == [origin.host]:
        return well(name, f"{origin.host} is an address; no name to resolve")
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return well(name, f"{origin.host} is {', '.join(found[:2])}{more}")


_DNS = "check the host in the url, the network, and /etc/resolv.conf"


async def _certificate(settings: DestinationSettings, clock: Clock) -> list[CheckResult]:
    name, origin = f"TLS {settings.name}", origin_of(settings.url)
    if not origin.encrypted:
        return [well(name, "not needed: the destination is on this machine")]
    if settings.proxy is not None:
        return [well(name, "not checked through a proxy")]
    try:
        async with asyncio.timeout(PATIENCE):
            ends = await certificate_ends(origin, settings.ca_file, own_certificate(settings))
    except (OSError, ShipperError) as error:
        return [_no_certificate(name, error, where_of(settings.url))]
    days = (ends - clock.wall()) / _DAY
    text = f"the certificate is valid for {days:.0f} more days"
    if days < SCARCE_DAYS:
        return [
            warning(name, text, "the API's operator must renew it; if it expires, delivery pauses")
        ]
    return [well(name, text)]


def _own_certificate(settings: DestinationSettings, clock: Clock) -> list[CheckResult]:
    name, own = f"certificate {settings.name}", own_certificate(settings)
    if own is None:
        return []
    try:
        tls_context(None, own)
        own.check(clock.wall())
    except ShipperError as error:
        return [of_error(name, error)]
    days = (own.ends() - clock.wall()) / _DAY
    text = f"the certificate in {own.cert_file} is valid for {days:.0f} more days"
    if days < SCARCE_DAYS:
        return [warning(name, text, "renew it; if it expires, delivery pauses")]
    return [well(name, text)]


def _no_certificate(name: str, error: OSError | ShipperError, where: str) -> CheckResult:
    match error:
        case ssl.SSLCertVerificationError():
            text = f"the certificate of {where} isn't trusted: {error.verify_message}"
            if not knows_authorities():
                none = f"{text}; this machine has no list of trusted authorities"
                return fault(name, none, "install the package ca-certificates, or set ca_file")
            return fault(name, text, "set the clock; for a private authority set ca_file")
        case ssl.SSLError():
            return fault(name, f"TLS with {where} failed: {error.reason}", _SEE_API)
        case TimeoutError():
            return fault(name, f"no answer from {where} in {PATIENCE:.0f} s", _SEE_API)
        case OSError():
            return fault(name, f"{where} can't be reached: {words_of(error)}", _SEE_API)
    return of_error(name, error)


_SEE_API = "see the API check of this destination"


async def _api(
    settings: DestinationSettings, whole: Settings | None, clock: Clock
) -> list[CheckResult]:
    name = f"API {settings.name}"
    if settings.kind != "8select":
        return [
            well(name, "not asked: each request to it is an event"),
            *await _token(settings, whole),
        ]
    if settings.api_id is None and settings.api_id_file is None:
        # The daemon may have an API ID all the same: systemd passes it to the daemon only.
        return [warning(name, "not checked: the configuration has no API ID", _ASK_AS_ROOT)]
    try:
        answer = await _ask(settings, read_secrets(settings))
    except AccessDenied as error:
        return [warning(name, f"not checked: {error.message}", _ASK_AS_ROOT)]
    except (ShipperError, OSError) as error:
        return [of_error(name, error)]
    place = place_of(settings, whole)
    return [_of_answer(name, answer, clock, place), *_their_clock(settings, answer, clock)]


async def _token(settings: DestinationSettings, whole: Settings | None) -> list[CheckResult]:
    """Return whether the token endpoint gives a token; nothing for another kind of auth."""
    if settings.auth.type != "oauth2":
        return []
    name = f"token {settings.name}"
    try:
        secrets = read_secrets(settings)
        carrier = Destination.of(settings, max_in_flight=1, timeout=min(PATIENCE, settings.timeout))
        try:
            failed = await carrier.why_no_token(secrets)
        finally:
            await carrier.aclose()
    except AccessDenied as error:
        return [warning(name, f"not checked: {error.message}", error.hint)]
    except (ShipperError, OSError) as error:
        return [of_error(name, error)]
    if failed is None:
        return [well(name, f"{where_of(settings.auth.token_url)} gives tokens")]
    outcome = classify(failed, 0.0)
    return [fault(name, outcome.reason, hint(outcome.cause, place_of(settings, whole)))]


async def _ask(settings: DestinationSettings, secrets: Secrets) -> Reply | Fault:
    carrier = Destination.of(settings, max_in_flight=1, timeout=min(PATIENCE, settings.timeout))
    try:
        answer = await carrier.validate(Event(0, "", settings.name, None, _QUESTION), secrets)
        assert not isinstance(answer, Invalid)  # nothing of the event is in its URL or headers
        return without(answer, secrets.all()) if isinstance(answer, Reply) else answer
    finally:
        await carrier.aclose()


def _of_answer(
    name: str, answer: Reply | Fault, clock: Clock, place: DestinationPlace
) -> CheckResult:
    outcome = classify(answer, clock.wall(), place.where)
    if outcome.kind in {Kind.ACCEPTED, Kind.REFUSED}:
        # The API has judged the event, so it has accepted the API ID.
        return well(name, f"the API accepts this API ID (HTTP {outcome.status_code})")
    text = outcome.reason
    fix = hint(outcome.cause, place)
    if outcome.status_code in {401, 403}:
        return fault(name, f"the API refuses this API ID ({text})", fix)
    if outcome.kind is Kind.THROTTLED:
        return warning(name, f"the API asks for a pause ({text})", "shipper resumes by itself")
    return fault(name, text, fix)


def _their_clock(
    settings: DestinationSettings, answer: Reply | Fault, clock: Clock
) -> list[CheckResult]:
    name = f"clock {settings.name}"
    if not isinstance(answer, Reply) or not answer.date:
        return []
    try:
        theirs = parsedate_to_datetime(answer.date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return [warning(name, "the API's answer has a Date header that can't be read")]
    # A Date header has whole seconds.
    off = clock.wall() - theirs - 0.5
    where = "ahead of" if off > 0 else "behind"
    text = f"this machine's clock is {abs(off):.0f} s {where} the API's"
    if abs(off) < 1.0:
        text = "this machine's clock and the API's agree"
    if abs(off) > _CLOCK_SECONDS:
        return [warning(name, text, "timedatectl set-ntp true")]
    return [well(name, text)]
