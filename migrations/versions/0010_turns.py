"""On PostgreSQL a turn only adds a row, so that the next turn finds no dead versions in its way."""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BACK = """
ALTER TABLE shipper_lease ADD COLUMN turn bigint NOT NULL DEFAULT 0,
  ADD COLUMN claim bigint NOT NULL DEFAULT 0, ADD COLUMN delivery bigint NOT NULL DEFAULT 0,
  ADD COLUMN settled bigint NOT NULL DEFAULT 0;
UPDATE shipper_lease SET turn = t.turn, claim = t.claim, delivery = t.delivery, settled = t.settled
  FROM (SELECT * FROM shipper_turn ORDER BY turn DESC LIMIT 1) AS t WHERE name = 'outbox';
INSERT INTO shipper_destination (name, delivered, dead)
  SELECT name, sum(delivered), sum(dead) FROM shipper_count GROUP BY name
  ON CONFLICT (name) DO UPDATE SET delivered = shipper_destination.delivered + excluded.delivered,
  dead = shipper_destination.dead + excluded.dead;
DROP TABLE shipper_turn;
DROP TABLE shipper_count
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for statement in statements(revision, connection.dialect.name):
            connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for statement in _BACK.split(";"):
            connection.exec_driver_sql(statement)
