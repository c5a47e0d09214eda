"""On PostgreSQL, several daemons share an outbox: each has a row, and shards of the events.

A daemon of the version before can't go on with these tables, so `shipper.store.upgrade.migrate`
refuses to begin while one runs.
"""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_BACK = """
UPDATE shipper_turn SET turn = (SELECT max(turn) FROM shipper_turn) + 1,
  settled = (SELECT max(settled) FROM shipper_turn),
  token = (SELECT token FROM shipper_lease WHERE name = 'outbox'),
  claim = (SELECT coalesce(max(number), 0) FROM shipper_claim),
  delivery = (SELECT coalesce(max(delivery_number), 0) FROM shipper_outbox)
  WHERE token = 0;
DELETE FROM shipper_turn WHERE turn < (SELECT max(turn) FROM shipper_turn);
ALTER TABLE shipper_turn DROP CONSTRAINT shipper_turn_pkey, ADD PRIMARY KEY (turn);
INSERT INTO shipper_destination (name, delivered, dead)
  SELECT name, sum(delivered), sum(dead) FROM shipper_count GROUP BY name
  ON CONFLICT (name) DO UPDATE SET delivered = shipper_destination.delivered + excluded.delivered,
  dead = shipper_destination.dead + excluded.dead;
DELETE FROM shipper_count;
ALTER TABLE shipper_count DROP CONSTRAINT shipper_count_pkey, DROP COLUMN token,
  ADD PRIMARY KEY (turn, name);
UPDATE shipper_claim SET number = place.number FROM (SELECT ctid AS at, row_number() OVER
  (ORDER BY token, number) + (SELECT max(number) FROM shipper_claim) AS number FROM shipper_claim)
  AS place WHERE shipper_claim.ctid = place.at;
ALTER TABLE shipper_claim DROP CONSTRAINT shipper_claim_pkey, DROP COLUMN token,
  ADD PRIMARY KEY (number);
UPDATE shipper_turn SET claim = (SELECT coalesce(max(number), 0) FROM shipper_claim);
DROP SEQUENCE shipper_delivery;
ALTER TABLE shipper_lease DROP COLUMN epoch;
DROP TABLE shipper_link;
DROP TABLE shipper_shard;
DROP TABLE shipper_gone;
DROP TABLE shipper_daemon
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
