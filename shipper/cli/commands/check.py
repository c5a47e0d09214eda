"""`shipper check`: is the configuration valid? Offline: it opens no connection and no database."""

from collections.abc import Iterator
from pathlib import Path

from shipper.advice import at_its_line
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.config import DestinationSettings, Settings, masked
from shipper.config.secret import without_secrets
from shipper.config.windows import Windows
from shipper.destination import Destination
from shipper.destination.own_certificate import own_certificate
from shipper.destination.preview import preview
from shipper.errors import AccessDenied, ConfigError, SchemaError, ShipperError
from shipper.observe import alerts
from shipper.store.db.engine import database_path
from shipper.store.db.sqlite.place import refuse_unusable_file
from shipper.wording.quantities import duration


def check(*, context: Context) -> int:
    """Check the configuration, offline: settings, API IDs, certificates, delivery windows.

    Shows the request that each destination gets, with **** for every secret. Lists
    all mistakes at once, each with its file and line; exit status 78 if there is any.
    """
    try:
        settings = sound(context, wall=SystemClock().wall())
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


def sound(context: Context, *, wall: float | None = None) -> Settings:
    """Return the configuration; raises ConfigError with every mistake, or AccessDenied.

    With `wall`, in seconds since 1970, a certificate that has expired then is one of them. For the
    daemon it is none: it pauses only its own destination.
    """
    settings = context.sender_settings()
    ids = list(_unusable_ids(settings))
    problems = [*_unusable_file(settings), *_problems(settings, wall)]
    if problems or not all(isinstance(error, AccessDenied) for error in ids):
        hints = [error.hint for error in ids if error.hint and not isinstance(error, AccessDenied)]
        raise ConfigError([*(error.message for error in ids), *problems], "; ".join(hints) or None)
    if ids:
        raise ids[0]  # a missing right isn't a mistake in the configuration
    return settings


def _unusable_ids(settings: Settings) -> Iterator[ShipperError]:
    """Yield an error for each API ID that can't be read or isn't valid."""
    for name, destination in settings.destinations.items():
        if destination.kind != "8select":
            continue  # the files of its secrets were read with the configuration
        place = _place(settings, f"destinations.{name}.api_id_file")
        try:
            destination.read_api_id()
        except AccessDenied as error:
            yield AccessDenied(f"{place}: {error.message}", error.hint)
        except ShipperError as error:
            yield ShipperError(f"{place}: {error.message}", error.hint)


def _unusable_file(settings: Settings) -> Iterator[str]:
    """Yield why the SQLite file can't hold an outbox; a missing file is only a warning."""
    path = database_path(settings.database.url)
    if path is not None and not _is_missing(path):
        try:
            refuse_unusable_file(path)
        except AccessDenied:
            return  # the daemon can run as another user, who has the right
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
    """Return a warning if the configured SQLite file is missing."""
    path = database_path(settings.database.url)
    if path is None or not settings.path or not _is_missing(path):
        return None
    try:
        meant = Path("/") / path.relative_to(settings.path.absolute().parent)
    except ValueError:
        meant = path
    hint = (
        f'an absolute path has four slashes: did you mean "sqlite:///{meant}", which exists?'
        if meant != path and not _is_missing(meant)
        else "check the path, and that its disk is mounted; shipper init, or shipper db upgrade"
        " --create, makes a new one"
    )
    return f"{_place(settings, 'database.url')}: {path} doesn't exist; {hint}"


def _problems(settings: Settings, wall: float | None) -> Iterator[str]:
    """Yield mistakes that only show when a setting is used: certificates, URLs, windows."""
    for name, destination in settings.destinations.items():
        try:
            _open(destination, wall)
        except ConfigError as error:
            yield from at_its_line(error, name, settings).problems
    try:
        alerts.hooks(settings.alerts)
    except ConfigError as error:
        yield from (f"{_place(settings, 'alerts')}: {problem}" for problem in error.problems)
    try:
        Windows.of(settings)
    except ConfigError as error:
        yield from error.problems


def _open(destination: DestinationSettings, wall: float | None) -> None:
    """Make the HTTP client, which reads the certificates; it connects only when it sends."""
    Destination.of(destination)
    if wall is not None and (own := own_certificate(destination)) is not None:
        own.check(wall)


def _place(settings: Settings, name: str) -> str:
    path: Path | str = settings.path or "the configuration"
    return settings.origins.get(name, f"{path}: {name}")


def _plan(settings: Settings) -> dict[str, object]:
    return {
        "ok": True,
        "config": str(settings.path),
        "database": masked(settings.database.url),
        "destinations": {name: without_secrets(d.url) for name, d in settings.destinations.items()},
        "requests": {name: _request(d) for name, d in settings.destinations.items()},
        "windows": list(settings.schedule.windows),
        "timezone": settings.schedule.timezone,
        "validation": settings.validation.mode,
    }


def _request(destination: DestinationSettings) -> dict[str, object]:
    made = preview(destination)
    return {"method": made.method, "url": made.url, "headers": made.headers}


def _lines(settings: Settings) -> Iterator[str]:
    yield f"ok: {settings.path}"
    yield f"outbox: shipper_outbox in {masked(settings.database.url)}"
    for name, destination in settings.destinations.items():
        limits = f"{destination.max_in_flight} at once, {duration(destination.timeout)} each"
        rate = f", {destination.max_rate:g} a second" if destination.max_rate else ""
        yield f"sends '{name}' to {without_secrets(destination.url)} ({limits}{rate})"
        made = preview(destination)
        yield f"  each event is a request: {made.line}"
        yield from (f"    {header}: {value}" for header, value in made.headers.items())
        dead = "goes on" if destination.after_dead_letter == "continue" else "is held"
        attempts = destination.retry.max_attempts
        yield f"  an event with {attempts} charged tries becomes a dead letter, and its key {dead}"
    schedule = settings.schedule
    windows = f"in the windows {', '.join(schedule.windows)} ({schedule.timezone})"
    yield f"sends {windows if schedule.windows else 'at any time'}"
    keeps = settings.retention
    yield f"keeps delivered events {_kept(keeps.delivered)}, dead letters {_kept(keeps.dead)}"


def _kept(seconds: float | None) -> str:
    return "forever" if seconds is None else f"for {duration(seconds)}"
