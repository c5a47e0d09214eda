"""`shipper validate`: check events by our copy of the vendor's schema, or by the vendor's API."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import orjson

from shipper.cli.input.choice import unknown_destination
from shipper.cli.input.documents import Document, Input, name_of, read_documents
from shipper.cli.output.context import Context
from shipper.config import DestinationSettings
from shipper.config.secrets import read_secrets
from shipper.contract.validation import violations
from shipper.contract.violation import Violation
from shipper.errors import ConfigError, ShipperError
from shipper.policy.event import Event
from shipper.policy.outcome import Fault, Invalid, Kind, Reply, classify, masked
from shipper.wording.safe_text import printable


class RemoteUnavailable(ShipperError):
    """The destination didn't validate the event; another try can help."""

    exit_status: ClassVar[int] = 75


def validate(
    file: Input, /, *, remote: bool = False, destination: str = "default", context: Context
) -> int:
    """Check events by the vendor's schema, without sending them; exit status 1 if one is invalid.

    Reads one JSON document or JSON lines. Violations have the form of the Ajv
    validator.

    Parameters
    ----------
    file
        The file with the events; - is stdin.
    remote
        Let the destination's validate endpoint check them, instead of our copy of the schema.
    destination
        The destination for --remote.
    """
    documents = read_documents(file)
    if remote:
        found = _ask(_destination(context, destination), documents)
    else:
        found = [violations(document.payload, "schema") for document in documents]
    for document, breaches in zip(documents, found, strict=True):
        _report(context, file, document, breaches)
    return 1 if any(found) else 0


def _report(context: Context, file: Path, document: Document, breaches: list[Violation]) -> None:
    if context.json:
        context.emit({"line": document.line, "valid": not breaches, "violations": breaches})
        return
    for breach in breaches:
        where = f"{name_of(file)}:{document.line}: event{breach.get('instancePath', '')}"
        context.say(printable(f"{where} {breach.get('message', '')}"))
    if not breaches:
        context.note(f"{name_of(file)}:{document.line}: ok")


def _destination(context: Context, name: str) -> DestinationSettings:
    destinations = context.settings().destinations
    if name not in destinations:
        raise unknown_destination(name, destinations)
    return destinations[name]


def _ask(settings: DestinationSettings, documents: Iterable[Document]) -> list[list[Violation]]:
    return asyncio.run(_ask_all(settings, documents))


async def _ask_all(
    settings: DestinationSettings, documents: Iterable[Document]
) -> list[list[Violation]]:
    from shipper.clock import SystemClock  # noqa: PLC0415 - an offline check doesn't need them
    from shipper.destination import Destination  # noqa: PLC0415

    secrets, wall = read_secrets(settings), SystemClock().wall
    carrier = Destination.of(settings, max_in_flight=1)
    try:
        found = []
        for document in documents:
            event = Event(0, "", settings.name, None, document.payload)
            answer = await carrier.validate(event, secrets)
            if isinstance(answer, Reply):
                answer = masked(answer, secrets.all())
            found.append(judged(answer, settings.name, wall, carrier.where))
        return found
    finally:
        await carrier.aclose()


def judged(
    answer: Reply | Fault | Invalid, name: str, wall: Callable[[], float], where: str = ""
) -> list[Violation]:
    """Return the violations in an answer of the validate endpoint.

    The vendor doesn't document the status for an invalid event, so a list of violations counts with
    any status. Raises ConfigError if the operator has to fix a setting, else RemoteUnavailable.
    """
    found = _violations_in(answer.body) if isinstance(answer, Reply) else None
    if found is not None:
        return found
    outcome = classify(answer, wall(), where)
    if outcome.kind is Kind.ACCEPTED:
        return []
    excerpt = f": {outcome.excerpt}" if outcome.excerpt else ""
    message = printable(f"{name} didn't validate the event: {outcome.reason}{excerpt}")
    if outcome.kind is Kind.MISCONFIGURED:
        raise ConfigError([message], "check url and API ID of the destination")
    raise RemoteUnavailable(message, "try again")


def _violations_in(body: bytes) -> list[Violation] | None:
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    is_list = isinstance(found, list) and all(isinstance(entry, dict) for entry in found)
    return found if is_list else None
