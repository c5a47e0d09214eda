"""`shipper check`: is the configuration sound? Offline: nothing is connected to or opened."""

from collections.abc import Iterator
from pathlib import Path

from shipper.cli.output.context import Context
from shipper.config import DestinationSettings, Settings, masked
from shipper.config.types import duration
from shipper.config.windows import Windows
from shipper.destination import Destination
from shipper.errors import AccessDenied, ConfigError, SchemaError, ShipperError
from shipper.observe import alerts
from shipper.store.db.engine import database_path
from shipper.store.db.sqlite.place import refuse_unusable_file


def check(*, context: Context) -> int:
    """Check the configuration, offline: every setting, the API IDs, certificates, windows.

    Reports every fault at once, with its line; exit status 78 if there is one.
    """
    try:
        settings = sound(context)
    except ConfigError as error:
        if not context.json:
            raise
        context.emit({"ok": False, "problems": error.problems})
        return error.exit_status
    warnings = [*settings.warnings, *filter(None, [missing_file(settings)])]
    if context.json:
        context.emit({**_plan(settings), "warnings": warnings})
        return 0
    for warning in warnings:
        context.note(f"warning: {warning}")
    for line in _lines(settings):
        context.tell(line)
    return 0


def sound(context: Context) -> Settings:
    """Return the configuration; raises ConfigError with all that is wrong, AccessDenied."""
    settings = context.sender_settings()
    ids, problems = list(_unusable_ids(settings)), [*_unusable_file(settings), *_problems(settings)]
    if problems or not all(isinstance(error, AccessDenied) for error in ids):
        hints = [error.hint for error in ids if error.hint and not isinstance(error, AccessDenied)]
        raise ConfigError([*(error.message for error in ids), *problems], "; ".join(hints) or None)
    if ids:
        raise ids[0]  # a missing right is no fault of the configuration
    return settings


def _unusable_ids(settings: Settings) -> Iterator[ShipperError]:
    """Yield what is wrong with the API IDs: they may not be read, or are none."""
    for name, destination in settings.destinations.items():
        place = _place(settings, f"destinations.{name}.api_id_file")
        try:
            destination.read_api_id()
        except AccessDenied as error:
            yield AccessDenied(f"{place}: {error.message}", error.hint)
        except ShipperError as error:
            yield ShipperError(f"{place}: {error.message}", error.hint)


def _unusable_file(settings: Settings) -> Iterator[str]:
    """Yield why no outbox can be in the SQLite file; one that isn't there is only a warning."""
    path = database_path(settings.database.url)
    if path is not None and not _is_missing(path):
        try:
            refuse_unusable_file(path)
        except AccessDenied:
            return  # the daemon may be somebody else
        except SchemaError as error:
            yield f"{_place(settings, 'database.url')}: {error.message}; {error.hint}"


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def missing_file(settings: Settings) -> str | None:
    """Return the warning about an SQLite file that isn't there, for a database that should be."""
    path = database_path(settings.database.url)
    if path is None or not settings.path or not _is_missing(path):
        return None
    try:
        meant = Path("/") / path.relative_to(settings.path.absolute().parent)
    except ValueError:
        meant = path
    hint = (
        f'an absolute path has four slashes: did you mean "sqlite:///{meant}", which is there?'
        if meant != path and not _is_missing(meant)
        else "is the path right, is the disk mounted? A new one is made by: shipper init, or"
        " shipper db upgrade --create"
    )
    return f"{_place(settings, 'database.url')}: {path} isn't there; {hint}"


def _problems(settings: Settings) -> Iterator[str]:
    """Yield what is wrong beyond the text of the file."""
    for name, destination in settings.destinations.items():
        try:
            _open(destination)
        except ConfigError as error:
            yield from (f"{_place(settings, f'destinations.{name}')}: {p}" for p in error.problems)
    try:
        alerts.hooks(settings.alerts)
    except ConfigError as error:
        yield from (f"{_place(settings, 'alerts')}: {problem}" for problem in error.problems)
    try:
        Windows.of(settings)
    except ConfigError as error:
        yield from error.problems


def _open(destination: DestinationSettings) -> None:
    """Make what would send, which reads the certificates; nothing is connected before it sends."""
    Destination.of(destination)


def _place(settings: Settings, name: str) -> str:
    path: Path | str = settings.path or "the configuration"
    return settings.origins.get(name, f"{path}: {name}")


def _plan(settings: Settings) -> dict[str, object]:
    return {
        "ok": True,
        "config": str(settings.path),
        "database": masked(settings.database.url),
        "destinations": {name: masked(d.url) for name, d in settings.destinations.items()},
        "windows": list(settings.schedule.windows),
        "timezone": settings.schedule.timezone,
        "validation": settings.validation.mode,
    }


def _lines(settings: Settings) -> Iterator[str]:
    yield f"ok: {settings.path}"
    yield f"reads shipper_outbox in {masked(settings.database.url)}"
    for name, destination in settings.destinations.items():
        limits = f"{destination.max_in_flight} at once, {duration(destination.timeout)} each"
        rate = f", {destination.max_rate:g} a second" if destination.max_rate else ""
        yield f"sends '{name}' to {masked(destination.url)} ({limits}{rate})"
        dead = "goes on" if destination.after_dead_letter == "continue" else "is held"
        attempts = destination.retry.max_attempts
        yield f"  an event that fails {attempts} times by itself is dead, and its key {dead}"
    schedule = settings.schedule
    minutes = f"in the minutes of {', '.join(schedule.windows)} ({schedule.timezone})"
    yield f"sends {minutes if schedule.windows else 'always'}"
    keeps = settings.retention
    yield f"keeps delivered events {_kept(keeps.delivered)}, dead ones {_kept(keeps.dead)}"


def _kept(seconds: float | None) -> str:
    return "for ever" if seconds is None else f"for {duration(seconds)}"
