"""What every statement of a load needs: a transaction whose errors are ours, its psycopg2 cursor, locks, the catalog.

Not here: what is loaded (`writer.py`, `dispositions.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2 import sql
from sqlalchemy.engine import Connection, Engine

from etl_assets.errors import EtlError, TransientError
from etl_assets.loading import sql as statements
from etl_assets.loading.table import ColumnSpec, TableRef
from etl_assets.postgres.connection import explain_error


@contextmanager
def transaction(engine: Engine, where: str) -> Iterator[Connection]:
    """A SQLAlchemy transaction whose errors are this project's."""
    try:
        with engine.begin() as connection:
            yield connection
    except EtlError:
        raise
    except (sa.exc.SQLAlchemyError, psycopg2.Error) as error:
        explained = explain_error(error, where=where)
        if isinstance(explained, TransientError):
            engine.dispose()  # a connection of a restarted server is of no use
        raise explained from error


def cursor(connection: Connection) -> Any:
    """The psycopg2 cursor of a SQLAlchemy connection."""
    driver: Any = connection.connection.driver_connection
    return driver.cursor()


def lock(cursor: Any, name: str) -> None:
    """Wait for everybody else who loads or makes the same thing, until the end of this transaction."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"etl_assets {name}",))


def quoted(cursor: Any, table: TableRef) -> str:
    """The quoted name as text, for `::regclass`."""
    return str(statements.name_of(table).as_string(cursor))


def composed(template: str, table: TableRef, **names: str) -> Any:
    """A statement with the table at `{}` and further identifiers by name."""
    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    return sql.SQL(template).format(statements.name_of(table), **identifiers)


def columns(cursor: Any, table: TableRef) -> tuple[ColumnSpec, ...] | None:
    """Columns as the catalog has them; None when the table does not exist."""
    cursor.execute("SELECT to_regclass(%s)", (quoted(cursor, table),))
    if cursor.fetchone()[0] is None:
        return None
    cursor.execute(statements.COLUMNS_OF_TABLE, {"table": quoted(cursor, table)})
    return tuple(
        ColumnSpec(name=name, type=type_, nullable=nullable, comment=comment) for name, type_, nullable, comment in cursor.fetchall()
    )


def what_would_be_lost(cursor: Any, table: TableRef) -> list[str]:
    """Why the table cannot be dropped and made anew; empty when it can."""
    cursor.execute(statements.WHAT_WOULD_BE_LOST, {"table": quoted(cursor, table)})
    return [reason for (reason,) in cursor.fetchall()]


def ensure_schema(cursor: Any, schema: str) -> None:
    """Make the schema when it is missing."""
    cursor.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", (schema,))
    if not cursor.fetchone()[0]:
        lock(cursor, f"schema {schema}")
        cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))


__all__ = ["columns", "composed", "cursor", "ensure_schema", "lock", "quoted", "transaction", "what_would_be_lost"]
