"""`shipper version`: the versions of shipper and of what it runs on."""

import platform
from importlib.metadata import version as version_of

from shipper import __version__
from shipper.cli.output.context import Context


def version(*, context: Context) -> None:
    """Print the versions of shipper, Python, SQLite and SQLAlchemy."""
    from shipper.store.db.sqlite.opening import sqlite_library  # noqa: PLC0415 - sqlalchemy loads slowly

    library = sqlite_library()
    versions = {
        "version": __version__,
        "python": platform.python_version(),
        "sqlite": library._asdict(),
        "sqlalchemy": version_of("sqlalchemy"),
    }
    if context.json:
        context.emit(versions)
        return
    risk = "" if library.wal_reset_safe else ", with the WAL-reset bug"
    context.say(f"shipper {__version__}")
    context.say(f"python {versions['python']}")
    context.say(f"sqlite {library.version} ({library.name}{risk})")
    context.say(f"sqlalchemy {versions['sqlalchemy']}")
