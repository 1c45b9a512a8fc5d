"""What every statement of a load needs: a transaction whose errors are ours, its psycopg2 cursor, locks, the catalog.

Not here: what is loaded (`writer.py`, `dispositions.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2 import sql
from sqlalchemy.engine import Connection, Engine

from etl_assets.errors import DatabaseRefusedError, TransientError
from etl_assets.loading import sql as statements
from etl_assets.loading.ddl import name_of
from etl_assets.loading.table import ColumnSpec, TableRef, TableState
from etl_assets.postgres.connection import explain_error


@contextmanager
def transaction(engine: Engine, where: str) -> Iterator[Connection]:
    """A SQLAlchemy transaction whose errors are this project's."""
    inside: list[Exception] = []
    try:
        with engine.begin() as connection:
            try:
                yield connection
            except Exception as error:
                inside.append(error)
                raise
    except Exception as last:
        # Undoing the work of a lost connection fails too, and says less.
        first = inside[0] if inside else last
        if not isinstance(first, sa.exc.SQLAlchemyError | psycopg2.Error):
            if first is last:
                raise
            raise first from first.__cause__
        explained = explain_error(first, where=where)
        if isinstance(explained, TransientError):
            engine.dispose()  # a connection of a restarted server is of no use
        raise explained from first


def cursor(connection: Connection) -> Any:
    """The psycopg2 cursor of a SQLAlchemy connection."""
    driver: Any = connection.connection.driver_connection
    return driver.cursor()


def lock(cursor: Any, name: str, *, seconds: float = 60.0) -> None:
    """Wait for everybody else who loads or makes the same thing; held until the end of this transaction.

    Args:
        cursor: Inside a transaction.
        name: What is locked.
        seconds: Longest wait; 0 for no limit.
    """
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{int(seconds * 1000)}ms",))
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"etl_assets {name}",))


def quoted(cursor: Any, table: TableRef) -> str:
    """The quoted name as text, for `::regclass`."""
    return str(name_of(table).as_string(cursor))


def composed(template: str, table: TableRef, **names: str) -> Any:
    """A statement with the table at `{}` and further identifiers by name."""
    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    return sql.SQL(template).format(name_of(table), **identifiers)


def state(cursor: Any, table: TableRef) -> TableState | None:
    """The table as the catalog has it; None when it does not exist."""
    cursor.execute("SELECT to_regclass(%s)", (quoted(cursor, table),))
    if cursor.fetchone()[0] is None:
        return None
    cursor.execute(statements.STATE_OF_TABLE, {"table": quoted(cursor, table)})
    columns, key, checks, indexes, oid = cursor.fetchone()
    return TableState(
        columns=tuple(
            ColumnSpec(name=name, type=kind, nullable=nullable, comment=comment) for name, kind, nullable, comment, _ in columns or ()
        ),
        filled=frozenset(name for name, _, _, _, filled in columns or () if filled),
        primary_key=tuple(key or ()),
        checks=checks or {},
        indexes={name: tuple(names) for name, names in (indexes or {}).items()},
        managed=_made_here(cursor, oid),
    )


def _made_here(cursor: Any, oid: int) -> bool:
    cursor.execute("SELECT to_regclass('etl.loads') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return False
    cursor.execute(statements.MADE_HERE, {"oid": oid})
    return bool(cursor.fetchone()[0])


def sample(cursor: Any, table: sql.Composable, columns: Sequence[str] = ()) -> None:
    """Give the planner statistics of a table whose rows have just changed, from 3,000 rows.

    PostgreSQL's own 30,000 cost a third of the load, and autovacuum takes them anyway when the load has committed.

    Args:
        cursor: Inside the load's transaction.
        table: Quoted name.
        columns: Those that matter; empty for all.
    """
    named = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns))) if columns else sql.SQL("")
    cursor.execute("SELECT set_config('default_statistics_target', '10', true)")
    cursor.execute(sql.SQL("ANALYZE {}{}").format(table, named))


def with_room(cursor: Any) -> None:
    """Give the statements of this transaction that join many rows 64 MB each, rather than PostgreSQL's 4: they then need no disk."""
    cursor.execute(
        "SELECT set_config('work_mem', %(room)s, true) WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes(%(room)s)",
        {"room": "64MB"},
    )


def what_would_be_lost(cursor: Any, table: TableRef) -> list[str]:
    """Why the table cannot be dropped and made anew; empty when it can."""
    cursor.execute(statements.WHAT_WOULD_BE_LOST, {"table": quoted(cursor, table)})
    return [reason for (reason,) in cursor.fetchall()]


def has_schema(cursor: Any, schema: str) -> bool:
    """Whether the schema is there."""
    cursor.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", (schema,))
    return bool(cursor.fetchone()[0])


def ensure_schema(cursor: Any, schema: str, where: str) -> None:
    """Make the schema when it is missing.

    Raises:
        DatabaseRefusedError: The user may not.
    """
    if not has_schema(cursor, schema):
        lock(cursor, f"schema {schema}")
        try:
            cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        except psycopg2.errors.InsufficientPrivilege as error:
            explained = explain_error(error, where=where)
            cause = f"schema {schema} is missing and cannot be made: {explained.cause}"
            raise DatabaseRefusedError(where, cause, explained.next_step) from error


__all__ = [
    "composed",
    "cursor",
    "ensure_schema",
    "has_schema",
    "lock",
    "quoted",
    "sample",
    "state",
    "transaction",
    "what_would_be_lost",
    "with_room",
]
