"""The statistics: a row for each destination and minute."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DDL = Path(__file__).parent.parent / "ddl"


def statements(dialect: str) -> list[str]:
    """Return the DDL for a dialect; in the file an empty line ends a statement."""
    blocks = (_DDL / f"{revision}_{dialect}.sql").read_text("utf-8").strip().split("\n\n")
    return [block for block in blocks if block.endswith(";")]


def upgrade() -> None:
    connection = op.get_bind()
    for statement in statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("DROP TABLE shipper_minute")
