"""`shipper hold` and `shipper release`: stop a key or a destination, and let it go on."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.context import Context, printable
from shipper.clock import SystemClock
from shipper.errors import NotFound, UsageError
from shipper.store import operate
from shipper.store.lookups import find
from shipper.store.selection import Selection

Key = Annotated[str | None, Parameter(help="The ordering key.")]
Destination = Annotated[
    str | None,
    Parameter(help="The destination; with --key only there, else the key at all of them."),
]


def hold(*, key: Key = None, destination: Destination = None, context: Context) -> None:
    """Stop a key, or a whole destination, until it is released; what is in flight ends first."""
    _refuse_nothing(key, destination)
    configured = context.settings().destinations
    if destination is not None and destination not in configured:
        raise _unknown(destination, configured)
    names = sorted(configured) if destination is None else [destination]
    now = SystemClock().wall()
    with context.engine() as engine:
        for name in names:
            if key is None:
                changed = operate.hold_destination(engine, name, now)
            else:
                changed = operate.hold_key(engine, name, key, now)
                if not find(engine, Selection(status="pending", key=key, destination=name), 1):
                    context.note(
                        f"no event of key {printable(key)} is pending for {name}:"
                        " it is held for those to come"
                    )
            word = "held" if changed else "was held already"
            _tell(context, name, key, word, held=True, changed=changed)


def release(*, key: Key = None, destination: Destination = None, context: Context) -> None:
    """Let a key, or a whole destination, go on; links that are down are probed at once.

    Exit status 1 when no such key is held.
    """
    _refuse_nothing(key, destination)
    with context.engine() as engine:
        if key is not None:
            names = operate.release_key(engine, key, destination)
            if not names:
                raise NotFound(f"key {printable(key)} is not held")
            for name in names:
                _tell(context, name, key, "released", held=False, changed=True)
        elif destination is not None:
            changed = operate.release_destination(engine, destination, SystemClock().wall())
            if not changed and destination not in context.settings().destinations:
                raise _unknown(destination, context.settings().destinations)
            word = "released" if changed else "was not held; its link is probed"
            _tell(context, destination, None, word, held=False, changed=changed)


def _refuse_nothing(key: str | None, destination: str | None) -> None:
    if key == "" or (key is None and not destination):
        raise UsageError("what?", "name a key with --key, or a destination with --destination")


def _unknown(destination: str, configured: Collection[str]) -> UsageError:
    near = get_close_matches(destination, configured, n=1) or sorted(configured)
    return UsageError(
        f"no destination {printable(destination)} is configured", f"there is: {', '.join(near)}"
    )


def _tell(
    context: Context, destination: str, key: str | None, word: str, *, held: bool, changed: bool
) -> None:
    if context.json:
        context.emit(
            {"destination": destination, "ordering_key": key, "held": held, "changed": changed}
        )
    else:
        what = f"destination {destination}" if key is None else f"key {key} of {destination}"
        context.say(f"{printable(what)} {word}")
