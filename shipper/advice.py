"""What to do about a destination that fails: one table from the cause to what helps.

Log, `status`, `doctor` and `events show` all take it from here. Each piece of advice is something
to do, names the file or the command, and fits the configuration that it is given for. Pure. It
must never show a url's path, which may hold a secret, nor anything that a receiver wrote.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import urlsplit

from shipper.config import DestinationSettings, Settings

_NAME = re.compile(r"[a-z][a-z0-9_]*")
# `http-401: HTTP 401` says it twice, and the words after `refused:` say it better.
_CODE = re.compile(r"http-(\d{3}): (?:HTTP \1\b(?:: )?)?")
_SAYS_ITSELF = ("dns", "refused", "unreachable", "tls", "proxy", "timeout", "closed", "garbage",
                "portal")  # fmt: skip


class Place(NamedTuple):
    """What advice names of a destination: its host and port, its settings, where its ID is from."""

    name: str
    where: str
    config: str
    api_id: str


NOWHERE = Place("", "", "the configuration", "correct its API ID")


def place_of(destination: DestinationSettings, settings: Settings | None) -> Place:
    """Return what advice names of a configured destination; without settings, no file."""
    path = None if settings is None else settings.path
    config = NOWHERE.config if path is None else str(path)
    origins = {} if settings is None else settings.origins
    api_id = _api_id(destination, origins, config)
    return Place(destination.name, where_of(destination.url), config, api_id)


def where_of(url: str) -> str:
    """Return the host and port of a url; the port is said also where it goes without saying."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _api_id(destination: DestinationSettings, origins: Mapping[str, str], config: str) -> str:
    name = f"destinations.{destination.name}"
    origin = origins.get(f"{name}.api_id_file", "")
    if origin.startswith("credential "):
        # The unit copies a file at the start; which one, only systemd knows.
        return (
            "put the right API ID into the file that systemd hands over (LoadCredential="
            f"{origin.removeprefix('credential ')}:FILE), then: systemctl restart shipper"
        )
    if destination.api_id_file is not None:
        return (
            f"put the right API ID into {destination.api_id_file}; a running shipper notices it"
            " by itself"
        )
    if destination.api_id is None:
        return (
            f"put the right API ID into the file that shipper reads it from (api_id_file of {name})"
        )
    origin = origins.get(f"{name}.api_id", "")
    if origin.startswith("environment "):
        return f"set ${origin.removeprefix('environment ')} to the right API ID; restart shipper"
    return f"put the right api_id into [{name}] of {config}, then send shipper a SIGHUP"


def said(error: str) -> str:
    """Return an error as it is stored, for a person: its cause only where that says something."""
    cause, colon, detail = error.partition(": ")
    if colon and detail and cause in _SAYS_ITSELF:
        return detail
    if (status := _CODE.match(error)) is not None:
        rest = error[status.end() :]
        return f"HTTP {status[1]}" + (f": {rest}" if rest and not rest.startswith(" ") else rest)
    return error


def failed(failures: int, last_error: str | None) -> str:
    """Return how tries have failed of late: `the last 2 tries failed: nothing listens …`."""
    tries = "the last try" if failures == 1 else f"the last {failures} tries"
    return f"{tries} failed" + (f": {said(last_error)}" if last_error else "")


def down(reason: str | None, last_error: str | None) -> str:
    """Return why a destination is down: the reason, and what its last try failed of since.

    Where both are of the same cause, the error says more: it names host and port.
    """
    if not reason or (last_error and _cause(last_error) == _cause(reason)):
        return said(last_error or "")
    return said(reason) + (f"; {failed(1, last_error)}" if last_error else "")


def _cause(error: str) -> str:
    return error.partition(":")[0]


def hint(error: str | None, place: Place) -> str | None:
    """Return what to do about an error as a link has it; None where nothing is to be done."""
    cause = _cause(error or "")
    section = f"[destinations.{place.name}] of {place.config}"
    if cause == "http-401":
        return place.api_id
    if cause == "http-403":
        return f"{place.api_id}; or ask the API's owner what this account may do"
    if re.fullmatch(r"http-3\d\d", cause):
        return (
            f"write the API's new address as url of {section}; if it leads to a login page, log in"
            " to this network there"
        )
    if cause in {"http-404", "http-405", "http-410", "http-421"}:
        return f"correct url of {section}: no API answers there"
    if cause in _PASSES:
        return None
    advice = _ADVICE.get(cause)
    if advice is None and re.fullmatch(r"http-4\d\d", cause):
        advice = _CLIENT
    return None if advice is None else advice.format(where=place.where, section=section)


_PASSES = frozenset({"http-408", "http-425", "http-429"})
_REFUSED = "shipper dead list shows what it refuses, and why"
_PROXY = "correct proxy of {section}, or give shipper a login there"
_LOGIN = "log in to this network (open any web page from this machine)"
_CLIENT = "ask who runs the API at {where} what it doesn't like; url of {section} may be wrong"
_ADVICE = {
    "refused": "start the API at {where}, or correct url of {section}",
    "dns": "check url of {section}, and this machine's DNS (/etc/resolv.conf)",
    "unreachable": "check this machine's network and firewall: ip route; then url of {section}",
    "timeout": "check the network and firewall up to {where}, or raise timeout of {section}",
    "closed": "check what listens at {where}, and what stands before it: url of {section}",
    "garbage": "check what listens at {where}: no HTTP API answers there; url of {section}",
    "tls": (
        "check this machine's clock (timedatectl) and its authorities (package ca-certificates),"
        " then url of {section}; for an authority of your own, name its certificate there as"
        " ca_file"
    ),
    "proxy": _PROXY,
    "http-407": _PROXY,
    "portal": f"{_LOGIN}, or correct url of {{section}}",
    "http-511": _LOGIN,
    "http-451": "ask the API's owner: it is blocked for legal reasons",
    "everything is refused": _REFUSED,
    **{f"http-{status}": _REFUSED for status in (400, 409, 413, 415, 422)},
}  # fmt: skip


def unknown_destination(name: str, configured: Iterable[str], config: str) -> str:
    """Return what to do about events for a destination that no configuration knows."""
    names = sorted(configured)
    near = get_close_matches(name, names, n=1) or names[:1]
    to = near[0] if near else "NAME"
    # The name is whatever an application wrote: one word for the shell, without what steers it.
    these = shlex.quote("".join(c if c.isprintable() else "?" for c in name))
    elsewhere = (
        f"send its events elsewhere: shipper events reroute ALL --destination {these} --to {to}"
    )
    if not _NAME.fullmatch(name):
        return elsewhere  # it can't be configured at all
    return f"add [destinations.{name}] to {config}, or {elsewhere}"
