"""Where the migrations are, and the statements of each.

It must never import Alembic: the comparison of a database with its migrations needs this module,
too.
"""

from pathlib import Path

from shipper import resources


def location() -> Path:
    """Return the directory of the migrations."""
    return resources.packaged("migrations")


def statements(revision: str, dialect: str) -> list[str]:
    """Return the DDL statements of a revision for a dialect; empty lines divide the file."""
    file = location() / "ddl" / f"{revision}_{dialect}.sql"
    if not file.is_file():
        return []
    blocks = file.read_text("utf-8").strip().split("\n\n")
    return [block for block in blocks if block.endswith(";")]
