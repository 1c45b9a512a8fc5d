"""The columns of a table, as the catalog of its database has them, in PostgreSQL types.

Not here: which type is which (`types.py`).
"""

import warnings
from typing import Any

import sqlalchemy as sa

from etl_assets.connectors.databases.types import postgresql_type, postgresql_type_of_duckdb
from etl_assets.errors import ConfigurationError, SourceNotFoundError
from etl_assets.loading.table import ColumnSpec, TableSpec

# The type of each column with domains resolved; a type that its database made itself, such as an enum, is read as text.
_POSTGRESQL_COLUMNS = """
    WITH RECURSIVE step AS (
        SELECT attnum, attname, atttypid AS type, atttypmod AS modifier, NOT attnotnull AS nullable, attrelid
          FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT attnum, attname, typbasetype, typtypmod, nullable AND NOT typnotnull, attrelid
          FROM step JOIN pg_type ON pg_type.oid = type WHERE typtype = 'd'
    )
    SELECT attname::text,
           CASE WHEN greatest(type::bigint, typelem::bigint) >= 16384 OR typname LIKE 'reg%' THEN 'text'
                ELSE format_type(type, modifier) END,
           nullable, col_description(attrelid, attnum)
      FROM step JOIN pg_type ON pg_type.oid = type WHERE typtype <> 'd' ORDER BY attnum
"""
_POSTGRESQL_KEY = """
    SELECT attname::text FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS k(number, place), pg_attribute
     WHERE conrelid = to_regclass(:name) AND contype = 'p' AND attrelid = conrelid AND attnum = number ORDER BY place
"""
_POSTGRESQL_COMMENT = "SELECT obj_description(to_regclass(:name), 'pg_class')"

_OF_DUCKDB = "database_name = current_database() AND lower(schema_name) = lower(coalesce(?, current_schema())) AND lower({}) = lower(?)"
_DUCKDB_COLUMNS = "SELECT column_name, data_type, is_nullable, comment FROM duckdb_columns() WHERE {} ORDER BY column_index"
_DUCKDB_KEY = "SELECT constraint_column_names FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY' AND {}"
_DUCKDB_COMMENT = (
    "SELECT comment FROM (SELECT database_name, schema_name, table_name, comment FROM duckdb_tables() "
    "UNION ALL SELECT database_name, schema_name, view_name, comment FROM duckdb_views()) AS t WHERE {}"
)


def of_postgresql(connection: sa.Connection, table: str, schema: str | None, where: str) -> TableSpec:
    """The columns of a table of PostgreSQL.

    Raises:
        SourceNotFoundError: There is no such table.
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    # The dialect doubles every % for the driver; a bound name must not be.
    name = {"name": ".".join(quote(part).replace("%%", "%") for part in (schema, table) if part is not None)}
    rows = connection.execute(sa.text(_POSTGRESQL_COLUMNS), name).all()
    if not rows:
        raise _not_found(where)
    return TableSpec(
        columns=tuple(ColumnSpec(name=name, type=type_, nullable=nullable, comment=said) for name, type_, nullable, said in rows),
        primary_key=tuple(connection.execute(sa.text(_POSTGRESQL_KEY), name).scalars()),
        comment=connection.execute(sa.text(_POSTGRESQL_COMMENT), name).scalar_one(),
    )


def of_duckdb(connection: Any, table: str, schema: str | None, where: str) -> TableSpec:
    """The columns of a table of DuckDB, by its native connection; errors as `of_postgresql`, and `reflected`."""
    names = [schema, table]
    in_table = _OF_DUCKDB.format("table_name")
    rows = connection.execute(_DUCKDB_COLUMNS.format(in_table), names).fetchall()
    if not rows:
        raise _not_found(where)
    key = connection.execute(_DUCKDB_KEY.format(in_table), names).fetchone()
    said = connection.execute(_DUCKDB_COMMENT.format(in_table), names).fetchone()
    columns = []
    for name, type_, nullable, comment in rows:
        columns.append(ColumnSpec(name=name, type=_typed(name, postgresql_type_of_duckdb, type_), nullable=nullable, comment=comment))
    return TableSpec(columns=tuple(columns), primary_key=tuple(key[0]) if key else (), comment=said[0] if said else None)


def reflected(connection: sa.Connection, table: str, schema: str | None, where: str) -> TableSpec:
    """The columns of a table of any other database, by SQLAlchemy's inspector.

    Raises:
        SourceNotFoundError: There is no such table.
        ConfigurationError: No PostgreSQL type is known for a column; the message names it.
    """
    inspector = sa.inspect(connection)
    with warnings.catch_warnings():
        # A type that the dialect does not know comes without one, which is an error below.
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        try:
            found = inspector.get_columns(table, schema=schema)
            key = inspector.get_pk_constraint(table, schema=schema)["constrained_columns"]
            said = inspector.get_table_comment(table, schema=schema)["text"] if connection.dialect.supports_comments else None
        except sa.exc.NoSuchTableError as error:
            raise _not_found(where) from error
    columns = []
    for column in found:
        type_ = _typed(column["name"], postgresql_type, column["type"], connection.dialect.name)
        columns.append(ColumnSpec(name=column["name"], type=type_, nullable=column["nullable"], comment=column.get("comment") or None))
    return TableSpec(columns=tuple(columns), primary_key=tuple(key), comment=said or None)


def _typed(name: str, convert: Any, *given: Any) -> str:
    try:
        return str(convert(*given))
    except ConfigurationError as error:
        raise ConfigurationError(f"column {name}, {error.where}", error.cause, error.next_step) from error


def _not_found(where: str) -> SourceNotFoundError:
    return SourceNotFoundError(where, "there is no such table.", "correct its name, or its schema.")


__all__ = ["of_duckdb", "of_postgresql", "reflected"]
