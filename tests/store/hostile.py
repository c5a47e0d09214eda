"""Every setting of a PostgreSQL server that a client may set, turned into something hostile.

The list is the server's own (`pg_settings`), so that a newer server brings its new ones. What is
left out is left out by name, with the reason.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

# What ends or refuses a statement because the session asks for just that.
ASKED_FOR = {
    "statement_timeout": "ends the statement",
    "transaction_timeout": "ends the session",
    "lock_timeout": "ends the statement",
    "idle_in_transaction_session_timeout": "ends the session",
    "idle_session_timeout": "ends the session",
    "client_connection_check_interval": "refused with a socket that can't be checked",
    "default_transaction_read_only": "says that the session writes nothing",
    "transaction_read_only": "says that the transaction writes nothing",
    "max_stack_depth": "too small, it refuses deep values of anybody's",
    "temp_file_limit": "refuses what doesn't fit into memory",
}
# What makes a server slow, or breaks it for everybody: nothing that a statement could be proof to.
LEFT_OUT = {
    "post_auth_delay": "waits for so long",
    "debug_discard_caches": "forgets its catalog with every step",
    "ignore_invalid_pages": "of recovery alone",
    "trace_recovery_messages": "of recovery alone",
    "in_hot_standby": "nobody's to set",
    "log_parameter_max_length": "of the log alone",
    "log_parameter_max_length_on_error": "of the log alone",
    "allow_system_table_mods": "of who changes the catalog",
}
# Texts that mean something; any other text is a name of a file, a library or a user.
TEXTS = {
    "client_encoding": ["SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP", "SJIS", "GB18030", "UTF8"],
    "DateStyle": ["German, DMY", "SQL, MDY", "Postgres, YMD"],
    "TimeZone": ["Asia/Kolkata", "Pacific/Apia", "<-99>+99:59:59"],
    "search_path": ["", "pg_temp", "shadows, pg_catalog, public", "public, pg_catalog"],
    "application_name": ["'; DROP TABLE shipper_outbox; --", ""],
    "default_tablespace": ["pg_default"],
    "temp_tablespaces": ["pg_default"],
    "lc_messages": ["C"],
    "lc_monetary": ["C"],
    "lc_numeric": ["C"],
    "lc_time": ["C"],
    "default_text_search_config": ["pg_catalog.german"],
    "timezone_abbreviations": ["India"],
    "restrict_nonsystem_relation_kind": ["view, foreign-table"],
    "plpgsql.extra_errors": ["all"],
    "plpgsql.extra_warnings": ["all"],
}


class Setting(NamedTuple):
    """A setting, and what it is set to."""

    name: str
    value: str


def settings(connection: Connection, without: dict[str, str]) -> Iterator[list[Setting]]:
    """Yield the hostile values of each setting that a client may set."""
    connection.exec_driver_sql("LOAD 'plpgsql'")  # its settings are known from then on
    rows = connection.execute(
        text(
            "SELECT name, vartype, setting, enumvals, min_val, max_val FROM pg_settings"
            " WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend')"
            " ORDER BY name"
        )
    ).all()
    assert len(rows) > 200
    for row in rows:
        if row.name not in without and row.name not in LEFT_OUT:
            yield [Setting(row.name, value) for value in _values(row)]


def _values(row: Any) -> list[str]:
    match row.vartype:
        case "bool":
            return ["on", "off"]
        case "enum":
            return list(row.enumvals)
        case "integer" | "real":
            return list(dict.fromkeys([row.min_val, row.max_val]))
    return TEXTS.get(row.name, [])


# Schemas whose functions and operators stand before PostgreSQL's own.
SHADOWS = (
    "CREATE SCHEMA shadows",
    "CREATE FUNCTION shadows.wrong(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
    "CREATE OPERATOR shadows.= (LEFTARG = text, RIGHTARG = text, FUNCTION = shadows.wrong)",
    "CREATE FUNCTION shadows.none(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
    "CREATE OPERATOR shadows.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = shadows.none)",
    "CREATE OPERATOR shadows.<= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = shadows.none)",
    "CREATE FUNCTION shadows.md5(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    (
        "CREATE FUNCTION shadows.to_timestamp(double precision) RETURNS timestamptz LANGUAGE sql"
        " AS 'SELECT timestamptz ''epoch'''"
    ),
    "CREATE FUNCTION shadows.age(xid) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "GRANT USAGE ON SCHEMA shadows TO PUBLIC",
)
