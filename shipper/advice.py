"""What an operator can do about a destination that fails: one table from the cause to the fix.

The log, `status`, `doctor` and `events show` all use it. Each fix is an action; it names the file
or the command, and fits the configuration of the destination. Pure. It must never show the path of
a URL, which can contain a secret, nor anything that a receiver wrote.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import urlsplit

from shipper.config import DestinationSettings, Settings
from shipper.config.agreement import alarms_differ, lacks
from shipper.config.secrets import places
from shipper.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Stored errors begin with their cause. `http-401: HTTP 401 ...` repeats the status, and the words
# after `refused:` say more than the cause: such causes are left out.
_CODE = re.compile(r"http-(\d{3}): (?:HTTP \1\b(?:: )?)?")
_FILES = 3
_SAYS_ITSELF = ("dns", "refused", "unreachable", "tls", "proxy", "timeout", "closed", "garbage",
                "portal", "token", "credentials", "clock")  # fmt: skip


class DestinationPlace(NamedTuple):
    """What advice names: a destination's host and port, its configuration, its login's fix."""

    name: str
    where: str
    config: str
    login: str
    """What to do if the API doesn't accept the API ID, or what other kinds have in its place."""


NOWHERE = DestinationPlace("", "", "the configuration", "correct its API ID")


def place_of(destination: DestinationSettings, settings: Settings | None) -> DestinationPlace:
    """Return what advice names for a configured destination; without settings it names no file."""
    path = None if settings is None else settings.path
    config = NOWHERE.config if path is None else str(path)
    origins = {} if settings is None else settings.origins
    if destination.kind == "http":
        login = _secrets(destination, config)
    else:
        login = _api_id(destination, origins, config)
    return DestinationPlace(destination.name, where_of(destination.url), config, login)


def at_its_line(error: ConfigError, name: str, settings: Settings) -> ConfigError:
    """Return an error about a destination with the wrong setting's place, and what to do."""
    setting = f"destinations.{name}.{error.setting}".removesuffix(".")
    path = settings.path or "the configuration"
    place = settings.origins.get(setting, f"{path}: {setting}")
    fix = f"; {error.hint}" if error.hint else ""
    return ConfigError([f"{place}: {problem}{fix}" for problem in error.problems])


def where_of(url: str) -> str:
    """Return the host and port of a URL, with the default port if the URL has none."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _api_id(destination: DestinationSettings, origins: Mapping[str, str], config: str) -> str:
    name = f"destinations.{destination.name}"
    origin = origins.get(f"{name}.api_id_file", "")
    if origin.startswith("credential "):
        # systemd copies a file when it starts the unit; only systemd knows which one.
        return (
            "put the right API ID into the file that systemd passes to shipper (LoadCredential="
            f"{origin.removeprefix('credential ')}:FILE), then: systemctl restart shipper"
        )
    if destination.api_id_file is not None:
        return (
            f"put the right API ID into {destination.api_id_file}; a running daemon notices it"
            " by itself"
        )
    if destination.api_id is None:
        return f"put the right API ID into the file that {name}.api_id_file names"
    origin = origins.get(f"{name}.api_id", "")
    if origin.startswith("environment "):
        return (
            f"set ${origin.removeprefix('environment ')} to the right API ID, then restart shipper"
        )
    return f"put the right api_id into [{name}] of {config}, then send shipper a SIGHUP"


def _secrets(destination: DestinationSettings, config: str) -> str:
    """Return what to do if an API doesn't accept what a destination of kind http sends."""
    section = f"[destinations.{destination.name}] of {config}"
    files = list(dict.fromkeys(str(place.file) for place in places(destination)))
    if not files:
        return f"set what the API asks for in the section headers below {section}"
    if len(files) == 1:
        return f"put the right secret into {files[0]}; a running daemon notices it by itself"
    named = ", ".join(files[:_FILES]) + (", …" if len(files) > _FILES else "")
    return f"see which secret of {section} is wrong ({named}); a running daemon notices a new one"


def said(error: str) -> str:
    """Return a stored error for a person, without its cause if the text says the same."""
    cause, colon, detail = error.partition(": ")
    if colon and detail and cause in _SAYS_ITSELF:
        return detail
    if (status := _CODE.match(error)) is not None:
        rest = error[status.end() :]
        return f"HTTP {status[1]}" + (f": {rest}" if rest and not rest.startswith(" ") else rest)
    return error


def failed(failures: int, last_error: str | None) -> str:
    """Return a sentence about the latest failures: `the last 2 tries failed: …`."""
    tries = "the last try" if failures == 1 else f"the last {failures} tries"
    return f"{tries} failed" + (f": {said(last_error)}" if last_error else "")


def down(reason: str | None, last_error: str | None) -> str:
    """Return why a destination is down: the reason, and the error of its last try.

    If both have the same cause, only the error: it names host and port.
    """
    if not reason or (last_error and _cause(last_error) == _cause(reason)):
        return said(last_error or "")
    return said(reason) + (f"; {failed(1, last_error)}" if last_error else "")


def _cause(error: str) -> str:
    return error.partition(":")[0]


def hint(error: str | None, place: DestinationPlace) -> str | None:
    """Return what to do about a stored error of a link; None if it passes by itself."""
    cause = _cause(error or "")
    section = f"[destinations.{place.name}] of {place.config}"
    if cause in _LOGINS:
        return f"{place.login}{_LOGINS[cause].format(section=section)}"
    if re.fullmatch(r"http-3\d\d", cause):
        return (
            f"set url of {section} to the API's new address; if that is a login page, log in"
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


_LOGINS = {
    "http-401": "",
    "http-403": "; or ask the API's operator what this account is allowed to do",
    "credentials": "; or correct client_id, scope and token_url of auth below {section}",
}
_PASSES = frozenset({"http-408", "http-425", "http-429"})
_REFUSED = "see what the API refuses, and why: shipper dead list"
_PROXY = "correct proxy of {section}, or put a login into it"
_LOGIN = "log in to this network (open any web page from this machine)"
_CLIENT = "ask the operator of the API at {where} for the reason; or correct url of {section}"
_ADVICE = {
    "refused": "start the API at {where}, or correct url of {section}",
    "dns": "check url of {section}, and this machine's DNS (/etc/resolv.conf)",
    "unreachable": "check this machine's network (ip route) and firewall; then url of {section}",
    "timeout": "check the network and firewall up to {where}, or raise timeout of {section}",
    "closed": "check what listens at {where}, and any proxy before it; or correct url of {section}",
    "garbage": "check what listens at {where}: it is no HTTP API; or correct url of {section}",
    "tls": (
        "check this machine's clock (timedatectl) and its certificate authorities (package"
        " ca-certificates), then url of {section}; for an authority of your own, set ca_file there"
    ),
    "clock": "set this machine's clock: timedatectl set-ntp true; or tell the API's operator",
    "token": "check token_url in the section auth below {section}, and what answers there",
    "proxy": _PROXY,
    "http-407": _PROXY,
    "portal": f"{_LOGIN}, or correct url of {{section}}",
    "http-511": _LOGIN,
    "http-451": "ask the API's operator: it is blocked for legal reasons",
    "everything is refused": _REFUSED,
    **{f"http-{status}": _REFUSED for status in (400, 409, 413, 415, 422)},
}  # fmt: skip


def differing_settings(found: list[str]) -> str:
    """Return what to do about settings in which two daemons of an outbox differ."""
    same = "give all daemons of this outbox the same values, then: systemctl reload shipper"
    if lacks(found):
        return (
            f"events of a destination wait where the daemon of their shard doesn't have it: {same}"
        )
    if alarms_differ(found):
        return f"one daemon sends the alarms and heartbeats of all, as its [alerts] say: {same}"
    return same


def unknown_destination(name: str, configured: Iterable[str], config: str) -> str:
    """Return what to do about events for a destination that isn't configured."""
    names = sorted(configured)
    near = get_close_matches(name, names, n=1) or names[:1]
    to = near[0] if near else "NAME"
    # An application wrote the name: it becomes one word for the shell, in printable characters.
    these = shlex.quote("".join(c if c.isprintable() else "?" for c in name))
    elsewhere = (
        f"send its events elsewhere: shipper events reroute ALL --destination {these} --to {to}"
    )
    if not _NAME.fullmatch(name):
        return elsewhere  # no destination can have this name
    return f"add [destinations.{name}] to {config}, or {elsewhere}"
