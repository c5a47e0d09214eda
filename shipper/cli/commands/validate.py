"""`shipper validate`: would an event be taken? Our copy of the schema says, or the vendor does."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import orjson

from shipper.cli.input.documents import Document, Input, name_of, read_documents
from shipper.cli.output.context import Context
from shipper.config import DestinationSettings
from shipper.contract.validation import Violation, violations
from shipper.errors import ConfigError, ShipperError, UsageError
from shipper.policy.outcome import Fault, Kind, Reply, classify, masked
from shipper.wording.safe_text import printable


class RemoteUnavailable(ShipperError):
    """The destination didn't say what it thinks; trying again may help."""

    exit_status: ClassVar[int] = 75


def validate(
    file: Input, /, *, remote: bool = False, destination: str = "default", context: Context
) -> int:
    """Check events against the vendor's schema, without sending one; exit status 1 if any fails.

    Takes one JSON document or JSON lines. The violations have the form of the Ajv validator.

    Parameters
    ----------
    file
        Where the events are; - is stdin.
    remote
        Ask the destination's own validate endpoint instead.
    destination
        The destination to ask.
    """
    documents = read_documents(file)
    if remote:
        found = _ask(_destination(context, destination), documents)
    else:
        found = [violations(document.payload, "schema") for document in documents]
    for document, breaches in zip(documents, found, strict=True):
        _tell(context, file, document, breaches)
    return 1 if any(found) else 0


def _tell(context: Context, file: Path, document: Document, breaches: list[Violation]) -> None:
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
        raise UsageError(
            f"no destination {name!r} is configured", f"there is: {', '.join(destinations)}"
        )
    return destinations[name]


def _ask(settings: DestinationSettings, documents: Iterable[Document]) -> list[list[Violation]]:
    return asyncio.run(_ask_all(settings, documents))


async def _ask_all(
    settings: DestinationSettings, documents: Iterable[Document]
) -> list[list[Violation]]:
    from shipper.clock import SystemClock  # noqa: PLC0415 - offline checks need neither of them
    from shipper.destination import Destination  # noqa: PLC0415

    api_id, wall = settings.read_api_id().reveal(), SystemClock().wall
    carrier = Destination(
        url=settings.url,
        timeout=settings.timeout,
        max_in_flight=1,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
        transport=settings.transport,
    )
    try:
        found = []
        for document in documents:
            answer = await carrier.validate(document.payload, api_id)
            if isinstance(answer, Reply):
                answer = masked(answer, api_id)
            found.append(judged(answer, settings.name, wall, carrier.where))
        return found
    finally:
        await carrier.aclose()


def judged(
    answer: Reply | Fault, name: str, wall: Callable[[], float], where: str = ""
) -> list[Violation]:
    """Return the violations that an answer of the validate endpoint holds.

    Which status it has for an invalid event isn't documented, so a list of violations counts with
    any. Raises ConfigError where somebody has to mend the settings, RemoteUnavailable else.
    """
    found = _violations_in(answer.body) if isinstance(answer, Reply) else None
    if found is not None:
        return found
    outcome = classify(answer, wall(), where)
    if outcome.kind is Kind.ACCEPTED:
        return []
    said = f": {outcome.excerpt}" if outcome.excerpt else ""
    told = printable(f"{name} answered no violations but {outcome.reason}{said}")
    if outcome.kind is Kind.MISCONFIGURED:
        raise ConfigError([told], "look at the destination's url and API ID")
    raise RemoteUnavailable(told, "try again")


def _violations_in(body: bytes) -> list[Violation] | None:
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    is_list = isinstance(found, list) and all(isinstance(entry, dict) for entry in found)
    return found if is_list else None
