"""`shipper hold` and `shipper release`: stop a key or a destination, and let it continue."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.input.arguments import LIMIT
from shipper.cli.input.choice import unknown_destination
from shipper.cli.output.context import Context
from shipper.cli.output.obstacles import obstacles, quoted
from shipper.clock import SystemClock, iso
from shipper.errors import NotFound, UsageError
from shipper.store.db.opening import Database
from shipper.store.operate.hold import (
    hold_destination,
    hold_key,
    release_destination,
    release_key,
)
from shipper.store.report import holds
from shipper.wording.quantities import age, count
from shipper.wording.safe_text import printable

_HEADER = ("destination", "key", "pending", "held for", "by", "to release it")

Key = Annotated[
    str | None, Parameter(help="The ordering key; without --destination, at all destinations.")
]
Destination = Annotated[
    str | None,
    Parameter(help="The destination: all of it, or with --key only that key."),
]


def hold(
    *,
    key: Key = None,
    destination: Destination = None,
    list_: Annotated[
        bool,
        Parameter(
            name="--list",
            negative="",
            show_default=False,
            help="List the held keys and destinations; stop nothing.",
        ),
    ] = False,
    limit: Annotated[int, Parameter(help="The most entries for --list.", validator=LIMIT)] = 50,
    context: Context,
) -> None:
    """Stop a key or a whole destination until `shipper release`; tries in flight still end.

    With --list it stops nothing: it lists what is held, for how long, by what, and how
    many events wait behind it.
    """
    if list_:
        if key is not None or destination is not None:
            raise UsageError(
                "--list can't be combined with --key or --destination", "shipper hold --list"
            )
        _list(context, limit)
        return
    _refuse_nothing(key, destination)
    configured = context.settings().destinations
    if destination is not None and destination not in configured:
        raise unknown_destination(destination, configured)
    names = sorted(configured) if destination is None else [destination]
    now = SystemClock().wall()
    with context.engine() as engine:
        for name in names:
            if key is None:
                changed = hold_destination(engine, name, now)
            else:
                changed = hold_key(engine, name, key, now)
            word = "held" if changed else "was held already"
            _report(context, name, key, word, held=True, changed=changed)
        if key is not None and not any(holds.waiting(engine, name, key) for name in names):
            context.note(
                f"no pending event has the key {printable(key)} now; later ones will be held;"
                f" if it is misspelt: shipper release --key {quoted(key)}"
            )


def _list(context: Context, limit: int) -> None:
    now = SystemClock().wall()
    with context.engine() as engine:
        found, total = holds.held(engine, limit)
    if context.json:
        for each in found:
            context.emit({**asdict(each), "since": None if each.since is None else iso(each.since)})
    elif found:
        context.table(_HEADER, [_row(each, now) for each in found])
    if not found:
        context.note("nothing is held")
    elif total > len(found):
        context.note(f"{total - len(found):,} more are held: --limit {total}")


def _row(each: holds.HoldReport, now: float) -> tuple[object, ...]:
    what = "" if each.ordering_key is None else f"--key {quoted(each.ordering_key)} "
    by = "operator" if each.cause == "operator" else f"dead letter {each.event_id}"
    # Counting stops at this number, so it isn't exact.
    waiting = f"{count(each.pending)}+" if each.pending == holds.COUNTED else each.pending
    return (
        each.destination,
        "(all keys)" if each.ordering_key is None else each.ordering_key,
        waiting,
        "" if each.since is None else age(now - each.since),
        by,
        f"shipper release {what}--destination {quoted(each.destination)}",
    )


def release(*, key: Key = None, destination: Destination = None, context: Context) -> None:
    """Let a key or a whole destination continue; a destination that is down is probed at once.

    Exit status 1 if the key isn't held.
    """
    _refuse_nothing(key, destination)
    with context.engine() as engine:
        if key is not None:
            names = release_key(engine, key, destination)
            if not names:
                raise NotFound(f"key {printable(key)} is not held")
            for name in names:
                _report(context, name, key, "released", held=False, changed=True)
            _report_obstacles(context, engine, names)
        elif destination is not None:
            changed = release_destination(engine, destination, SystemClock().wall())
            if not changed and destination not in context.settings().destinations:
                raise unknown_destination(destination, context.settings().destinations)
            word = "released" if changed else "was not held; the daemon probes it"
            _report(context, destination, None, word, held=False, changed=changed)
            _report_obstacles(context, engine, [destination])


def _report_obstacles(context: Context, engine: Database, names: Sequence[str]) -> None:
    for way in obstacles(context, engine, names, probed=True):
        context.note(f"not yet: {way}")


def _refuse_nothing(key: str | None, destination: str | None) -> None:
    if key == "" or (key is None and not destination):
        raise UsageError(
            "neither a key nor a destination is named",
            "name a key with --key, or a destination with --destination",
        )


def _report(
    context: Context, destination: str, key: str | None, word: str, *, held: bool, changed: bool
) -> None:
    if context.json:
        context.emit(
            {"destination": destination, "ordering_key": key, "held": held, "changed": changed}
        )
    else:
        what = f"destination {destination}" if key is None else f"key {key} of {destination}"
        context.say(f"{printable(what)} {word}")
