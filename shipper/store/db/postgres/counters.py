"""The counters and states of all destinations on PostgreSQL, as the table of a FROM.

It decides how a destination is, if daemons see it differently: as the worst of them does. A daemon
that has prolonged its lease counts before one that has not. It must never read the history.
"""

from typing import Final

from shipper.store.db.postgres.fence import NOT_ADDED

_COUNTED: Final = (
    "SELECT c.name, CAST(sum(c.delivered) AS bigint) AS delivered,"
    " CAST(sum(c.dead) AS bigint) AS dead FROM shipper_daemon AS d, shipper_count AS c"
    f" WHERE {NOT_ADDED.format(count='c', daemon='d')} GROUP BY c.name"
)
_RANK: Final = (
    "CASE l.state WHEN 'paused' THEN 0 WHEN 'offline' THEN 1 WHEN 'throttled' THEN 2"
    " WHEN 'ramping' THEN 3 ELSE 4 END"
)
_LIVES: Final = "d.expires_at > clock_timestamp()"
_OF_ONE: Final = f"OVER (PARTITION BY l.name, {_LIVES})"
_WORST: Final = (
    "SELECT DISTINCT ON (l.name) l.name, l.state, l.reason, l.since, l.next_try_at, l.updated_at,"
    " l.failures, l.last_error, l.failing_since,"
    f" CASE WHEN min(l.state) {_OF_ONE} <> max(l.state) {_OF_ONE} THEN l.token END AS seen_by"
    " FROM shipper_link AS l JOIN shipper_daemon AS d ON d.token = l.token"
    # One that waits for shards sends nothing: how it last saw the destination is long over.
    " WHERE EXISTS (SELECT 1 FROM shipper_shard AS s WHERE s.token = d.token)"
    f" ORDER BY l.name, {_LIVES} DESC, {_RANK}, l.failures DESC, l.since, l.token"
)
# While a destination is held, `since` says since when.
COUNTERS: Final = (
    "(SELECT name, coalesce(link.state, own.state, 'ready') AS state,"
    " CASE WHEN link.name IS NULL THEN own.reason ELSE link.reason END AS reason,"
    " CASE WHEN own.held = 1 OR link.name IS NULL THEN own.since ELSE link.since END AS since,"
    " CASE WHEN link.name IS NULL THEN own.next_try_at ELSE link.next_try_at END AS next_try_at,"
    " coalesce(own.held, 0) AS held, coalesce(link.updated_at, own.updated_at) AS updated_at,"
    " coalesce(link.failures, own.failures, 0) AS failures,"
    " CASE WHEN link.name IS NULL THEN own.last_error ELSE link.last_error END AS last_error,"
    " CASE WHEN link.name IS NULL THEN own.failing_since ELSE link.failing_since END"
    " AS failing_since, coalesce(own.releases, 0) AS releases,"
    " coalesce(own.recalls, 0) AS recalls, coalesce(own.discarded, 0) AS discarded,"
    " coalesce(own.purged, 0) AS purged,"
    " coalesce(own.delivered, 0) + coalesce(more.delivered, 0) AS delivered,"
    " coalesce(own.dead, 0) + coalesce(more.dead, 0) AS dead, link.seen_by"
    f" FROM shipper_destination AS own FULL JOIN ({_WORST}) AS link USING (name)"
    f" FULL JOIN ({_COUNTED}) AS more USING (name)) AS shipper_destination"
)
