"""Where the migrations are, and the SQL that they are made of."""

from pathlib import Path


def location() -> Path:
    """Return the directory of the migrations: in an installed wheel, or beside the sources."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def statements(revision: str, dialect: str) -> list[str]:
    """Return the DDL of a revision for a dialect; in its file an empty line ends a statement.

    None where the revision has nothing to change there.
    """
    file = location() / "ddl" / f"{revision}_{dialect}.sql"
    if not file.exists():
        return []
    blocks = file.read_text("utf-8").strip().split("\n\n")
    return [block for block in blocks if block.endswith(";")]
