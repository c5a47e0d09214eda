"""Where the migrations are, and the statements that they are made of.

It must never need Alembic: what compares a database with them asks for it as well.
"""

from pathlib import Path

from shipper import resources


def location() -> Path:
    """Return the directory of the migrations."""
    return resources.packaged("migrations")


def statements(revision: str, dialect: str) -> list[str]:
    """Return the DDL of a revision for a dialect, if it has any; an empty line ends a statement."""
    file = location() / "ddl" / f"{revision}_{dialect}.sql"
    if not file.is_file():
        return []
    blocks = file.read_text("utf-8").strip().split("\n\n")
    return [block for block in blocks if block.endswith(";")]
