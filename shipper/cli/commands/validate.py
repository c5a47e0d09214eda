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
from shipper.contract.violation import Violation, violation
from shipper.errors import ConfigError, ShipperError
from shipper.policy.event import Event
from shipper.policy.masking import masked
from shipper.policy.outcome import Fault, Invalid, Kind, Reply, classify
from shipper.wording.safe_text import printable

# The placeholders of a validate_url need a value; no event is accepted under this one.
_NO_EVENT = "validate"


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
        Let the API check them, instead of our copy of the schema: at the destination's
        validate endpoint, or for kind http at its validate_url.
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
    if not carrier.can_validate:
        raise ConfigError(
            [f"destination {settings.name} has no validate_url"],
            f"set validate_url in [destinations.{settings.name}], if its API has such a URL",
        )
    try:
        found = []
        for document in documents:
            event = Event(0, _NO_EVENT, settings.name, _NO_EVENT, document.payload)
            answer = await carrier.validate(event, secrets)
            if isinstance(answer, Reply):
                answer = masked(answer, secrets.all())
            found.append(judged(answer, settings, wall, carrier.where))
        return found
    finally:
        await carrier.aclose()


def judged(
    answer: Reply | Fault | Invalid,
    settings: DestinationSettings,
    wall: Callable[[], float],
    where: str = "",
) -> list[Violation]:
    """Return the violations in an answer of the validate endpoint, or of a validate_url.

    The vendor doesn't document the status for an invalid event, so a list of violations counts with
    any status. For kind http, a refusal is a violation. Raises ConfigError if the operator has to
    fix a setting, else RemoteUnavailable.
    """
    if isinstance(answer, Invalid):
        return [violation("", "shipper#/unbuildable", {}, f"can't be sent: {answer.reason}")]
    found = _found_in(answer)
    if found is not None:
        return found
    outcome = classify(answer, wall(), where, settings.answers.table())
    if outcome.kind is Kind.ACCEPTED:
        return []
    said = outcome.reason + (f": {outcome.excerpt}" if outcome.excerpt else "")
    if outcome.kind is Kind.REFUSED and settings.kind == "http":
        return [violation("", "api#/refused", {}, f"is refused: {said}")]
    message = printable(f"{settings.name} didn't validate the event: {said}")
    if outcome.kind is Kind.MISCONFIGURED:
        parts = "url and API ID" if settings.kind == "8select" else "validate_url and secrets"
        raise ConfigError([message], f"check {parts} of the destination")
    raise RemoteUnavailable(message, "try again")


def _found_in(answer: Reply | Fault) -> list[Violation] | None:
    """Return the violations that an answer lists; None if it has no list."""
    if isinstance(answer, Fault):
        return None
    try:
        found: Any = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(found, dict) and isinstance(messages := found.get("validationMessages"), list):
        return [_of_google(message) for message in messages]
    is_list = isinstance(found, list) and all(isinstance(entry, dict) for entry in found)
    return found if is_list else None


def _of_google(message: Any) -> Violation:
    """Return a message of Google's validation server, which answers 200 in any case.

    https://developers.google.com/analytics/devguides/collection/protocol/ga4/validating-events
    """
    named = message if isinstance(message, dict) else {}
    path, code = str(named.get("fieldPath", "")), str(named.get("validationCode", "INVALID"))
    pointer = f"/{path.replace('.', '/')}" if path else ""
    return violation(pointer, f"api#/{code}", {}, str(named.get("description", message)))
