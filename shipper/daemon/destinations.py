"""The couriers and routes to the destinations of a configuration.

This module decides when a destination counts as changed: when a setting of its route or its
certificate file changed. It first makes everything that can fail, and only then can the session
replace anything. It must never touch the network or the database.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from shipper.advice import at_its_line, place_of
from shipper.clock import Clock
from shipper.config import DestinationSettings, Settings
from shipper.config.secrets import read_secrets
from shipper.daemon.file_watch import SeenFiles, fingerprint
from shipper.destination import Destination
from shipper.drain import Route, Terms
from shipper.drain.courier import Courier
from shipper.errors import ConfigError
from shipper.policy.delivery import RetryPolicy

RouteInputs: TypeAlias = tuple[object, ...]
"""The values that a route is made of: the route is kept while they stay the same."""


@dataclass(frozen=True, slots=True)
class ReadyDestinations:
    """A configuration whose destinations can be used, with new couriers for the changed ones."""

    settings: Settings
    inputs: Mapping[str, RouteInputs]
    couriers: Mapping[str, Courier]
    seen: SeenFiles
    """The files that are read only once, with the fingerprints from before they were read."""

    async def aclose(self) -> None:
        """Close the couriers when the configuration isn't used."""
        for courier in self.couriers.values():
            await courier.aclose()


async def ready_destinations(
    settings: Settings, clock: Clock, before: Mapping[str, RouteInputs]
) -> ReadyDestinations:
    """Make a courier for each destination whose inputs differ from those of `before`.

    Raises ConfigError and AccessDenied, for instance if the file of a secret can't be read.
    """
    seen = {path: fingerprint(path) for path in read_once(settings)}
    inputs = {name: _inputs_of(one, settings, seen) for name, one in settings.destinations.items()}
    couriers: dict[str, Courier] = {}
    fresh = ReadyDestinations(settings, inputs, couriers, seen)
    try:
        for name, destination in settings.destinations.items():
            if before.get(name) == inputs[name]:
                read_secrets(destination)  # checks only: the courier rereads them by itself
            else:
                couriers[name] = _courier(destination, settings, clock)
    except BaseException:
        await fresh.aclose()
        raise
    return fresh


def read_once(settings: Settings) -> list[Path]:
    """Return the files that are read once, when a configuration is applied."""
    alerts = settings.alerts
    found = [file for each in settings.destinations.values() for file in _files_of(each)]
    found += [alerts.ca_file, alerts.heartbeat_url_file, alerts.webhook_url_file]
    return list(dict.fromkeys(path for path in found if path is not None))


def _inputs_of(
    destination: DestinationSettings, settings: Settings, seen: SeenFiles
) -> RouteInputs:
    read = tuple(seen[file] for file in _files_of(destination) if file is not None)
    return destination, settings.validation, read


def _files_of(destination: DestinationSettings) -> tuple[Path | None, ...]:
    return destination.ca_file, destination.tls.cert_file, destination.tls.key_file


def _courier(destination: DestinationSettings, settings: Settings, clock: Clock) -> Courier:
    try:
        carrier = Destination.of(destination, clock=clock)
    except ConfigError as error:
        raise at_its_line(error, destination.name, settings) from None
    return Courier(
        carrier,
        validation=destination.checks(settings.validation.mode),
        secrets=lambda: read_secrets(destination),
        clock=clock,
        where=carrier.where,
        answers=destination.answers.table(),
    )


def route_of(
    destination: DestinationSettings,
    settings: Settings,
    courier: Courier,
    clock: Clock,
    wake: Callable[[], None],
) -> Route:
    """Return a route to a destination, with its courier."""
    retry = destination.retry
    terms = Terms(
        policy=RetryPolicy(retry.backoff, retry.probe_backoff, retry.max_attempts),
        timeout=destination.timeout,
        max_in_flight=destination.max_in_flight,
        max_rate=destination.max_rate,
        holds_dead=destination.after_dead_letter == "hold",
        place=place_of(destination, settings),
    )
    return Route(destination.name, terms, courier, clock=clock, wake=wake)
