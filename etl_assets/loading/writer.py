"""One load, one transaction: rows, load ledger and quarantine commit together or not at all.

A transient failure repeats the whole transaction. When the answer to COMMIT is lost, the repeated attempt finds its own load id in
the ledger and does nothing. A load that fails for good leaves a row in the ledger, in a transaction of its own, and the
quarantined rows with it when it was the contract's gate that stopped it.

Not here: statements (`sql.py`), encoding (`copy.py`), Dagster (`io_manager.py`).
"""

import logging
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import psycopg2
import pyarrow as pa
import sqlalchemy as sa
from psycopg2.extras import execute_values
from sqlalchemy.engine import Connection, Engine

from etl_assets.errors import DatabaseRefusedError, EtlError, TransientError, UnstorableValueError
from etl_assets.loading import sql as statements
from etl_assets.loading.copy import copy_frame
from etl_assets.loading.table import (
    ColumnSpec,
    LoadRequest,
    LoadResult,
    RejectedRow,
    ReplaceStrategy,
    TableRef,
    TableSpec,
)
from etl_assets.postgres.connection import explain_error
from etl_assets.postgres.types import from_pandas_dtype
from etl_assets.retry import RetryPolicy

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_SECONDS = 60
ANALYZE_FROM_ROWS = 1000


def write(engine: Engine, request: LoadRequest, frame: pd.DataFrame, *, policy: RetryPolicy) -> LoadResult:
    """Load a frame, wholly or not at all, once.

    Args:
        engine: Where to.
        request: Table, shape, disposition, and what commits along with the rows.
        frame: The rows; its columns are those of the shape, in any order.
        policy: For transient failures; its unit is the whole transaction.

    Raises:
        UnstorableValueError: A value does not fit its column exactly.
        DatabaseRefusedError, AuthenticationError, DatabaseUnavailableError: PostgreSQL did not take the load.
        In all cases the table is as it was before.
    """
    where = request.identity.asset
    spec = request.spec or spec_of_frame(frame, where=where)
    names = [column.name for column in spec.columns]
    if sorted(map(str, frame.columns)) != sorted(names):
        raise UnstorableValueError(where, f"the rows have columns {list(frame.columns)}, the table {names}.", "make them the same.")
    frame = frame[names].reset_index(drop=True)
    started = time.perf_counter()
    try:
        return policy.call(lambda: _attempt(engine, request, spec, frame), doing=f"loading {request.target}")
    except EtlError as error:
        record_failure(engine, request, error, seconds=time.perf_counter() - started)
        raise


def record_failure(engine: Engine, request: LoadRequest, error: EtlError, *, seconds: float, keep_rejected: bool = False) -> None:
    """Write a failed load to the ledger, in its own transaction; a ledger that cannot be written is logged, the failure stands.

    Args:
        engine: Where the load would have gone.
        request: What was to be loaded.
        error: Why it was not.
        seconds: How long it took until then.
        keep_rejected: Store the rejected rows as well, when the contract's gate refused the load.
    """
    try:
        with _transaction(engine, request.identity.asset) as connection:
            _ensure_bookkeeping(connection)
            state = getattr(getattr(error.__cause__, "orig", error.__cause__), "pgcode", None)
            _record(connection, request, status="failed", rows_loaded=None, seconds=seconds, error=error, sqlstate=state)
            if keep_rejected:
                _quarantine(connection, request, request.rejected)
    except EtlError as second:
        logger.error("%s: the failed load is not in etl.loads: %s", request.identity.asset, second)


def spec_of_frame(frame: pd.DataFrame, *, where: str) -> TableSpec:
    """The table that stores a frame for which no contract speaks.

    Raises:
        UnstorableValueError: A column holds values of several kinds, or a kind without a PostgreSQL type.
    """
    return TableSpec(columns=tuple(ColumnSpec(name=str(name), type=_type_of(frame[name], where)) for name in frame.columns))


def _type_of(values: "pd.Series[Any]", where: str) -> str:
    declared = from_pandas_dtype(values.dtype)
    if declared is not None:
        return declared
    present = values.dropna()
    if present.map(lambda value: isinstance(value, dict | list)).any():
        return "jsonb"
    try:
        found = pa.array(present, from_pandas=True).type
    except (pa.ArrowException, OverflowError) as error:
        raise UnstorableValueError(
            f"{where}, column {values.name}", f"its values are not of one kind ({error}).", "convert them, or use a contract."
        ) from error
    if pa.types.is_decimal(found):
        return "numeric"
    named = from_pandas_dtype(pd.ArrowDtype(found)) if not pa.types.is_null(found) else "text"
    if named is None and pa.types.is_string(found):
        named = "text"
    if named is None and pa.types.is_binary(found):
        named = "bytea"
    if named is None:
        raise UnstorableValueError(f"{where}, column {values.name}", f"no PostgreSQL type is known for {found}.", "use a contract.")
    return named


# -- one attempt --------------------------------------------------------------------------------------------------------


def _attempt(engine: Engine, request: LoadRequest, spec: TableSpec, frame: pd.DataFrame) -> LoadResult:
    started = time.perf_counter()
    with _transaction(engine, request.identity.asset) as connection:
        cursor = _cursor(connection)
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT_SECONDS}s",))
        _ensure_bookkeeping(connection)
        earlier = _find_committed(cursor, request)
        if earlier is not None:
            return earlier
        _lock(cursor, f"table {request.target}")
        _ensure_schema(cursor, request.target.schema)
        strategy, loaded = _replace(cursor, request, spec, frame)
        _quarantine(connection, request, request.rejected)
        if loaded >= ANALYZE_FROM_ROWS:
            cursor.execute(_composed("ANALYZE {}", request.target))
        columns = _columns(cursor, request.target) or ()
        seconds = time.perf_counter() - started
        committed_at = _record(connection, request, status="succeeded", rows_loaded=loaded, seconds=seconds)
    return LoadResult(
        target=request.target,
        rows_loaded=loaded,
        seconds=time.perf_counter() - started,
        strategy=strategy,
        columns=columns,
        committed_at=committed_at,
    )


def _replace(cursor: Any, request: LoadRequest, spec: TableSpec, frame: pd.DataFrame) -> tuple[ReplaceStrategy, int]:
    target, where = request.target, request.identity.asset
    existing = _columns(cursor, target)
    if existing is None:
        _build(cursor, target, spec, frame, where)
        return ReplaceStrategy.SWAP, len(frame)
    reasons = _what_would_be_lost(cursor, target)
    if reasons:
        _refuse_other_shape(existing, spec, reasons, where)
        logger.info("%s: rows are deleted and loaded anew, because a swap would lose: %s", target, ", ".join(reasons))
        cursor.execute(_composed("DELETE FROM {}", target))
        by_name = {column.name: column for column in existing}
        copy_frame(cursor, statements.name_of(target), [by_name[c.name] for c in spec.columns], frame, where=where)
        return ReplaceStrategy.DELETE, len(frame)
    changed = _difference(existing, spec)
    if changed:
        logger.warning("%s: the table changes its shape: %s", target, changed)
    beside = TableRef(schema=target.schema, table=f"_etl_{secrets.token_hex(8)}")
    _build(cursor, beside, spec, frame, where)
    _copy_grants(cursor, target, beside)
    cursor.execute(_composed("DROP TABLE {}", target))
    cursor.execute(_composed("ALTER TABLE {} RENAME TO {name}", beside, name=target.table))
    _rename_constraints(cursor, target, beside.table)
    return ReplaceStrategy.SWAP, len(frame)


def _build(cursor: Any, table: TableRef, spec: TableSpec, frame: pd.DataFrame, where: str) -> None:
    """A new table with its rows, then its keys and comments: an index over finished rows is built faster."""
    cursor.execute(statements.create_table(table, spec.columns))
    catalog = _columns(cursor, table) or ()
    copy_frame(cursor, statements.name_of(table), catalog, frame, where=where)
    for statement in statements.add_keys(table, spec) + statements.add_comments(table, spec):
        cursor.execute(statement)


def _refuse_other_shape(existing: tuple[ColumnSpec, ...], spec: TableSpec, reasons: list[str], where: str) -> None:
    changed = _difference(existing, spec)
    if changed:
        raise DatabaseRefusedError(
            where,
            f"the table has another shape ({changed}) and cannot be replaced as a whole without losing: {', '.join(reasons)}.",
            "alter the table to the shape of the contract, or drop what depends on it.",
        )


def _difference(existing: tuple[ColumnSpec, ...], spec: TableSpec) -> str:
    before = {column.name: column.type for column in existing}
    after = {column.name: column.type for column in spec.columns}
    changes = [f"-{name} {before[name]}" for name in before if name not in after]
    changes += [f"+{name} {after[name]}" for name in after if name not in before]
    changes += [f"{name} {before[name]} -> {after[name]}" for name in after if name in before and before[name] != after[name]]
    return ", ".join(changes)


def _copy_grants(cursor: Any, source: TableRef, target: TableRef) -> None:
    cursor.execute(statements.GRANTS_OF_TABLE, {"table": _quoted(cursor, source)})
    for privilege, grantable, grantee in cursor.fetchall():
        cursor.execute(statements.grant(target, privilege, grantee, grantable=grantable))


def _rename_constraints(cursor: Any, table: TableRef, made_for: str) -> None:
    """Constraints that PostgreSQL named after the table's first name get the names they would have had."""
    cursor.execute("SELECT conname::text FROM pg_constraint WHERE conrelid = %s::regclass", (_quoted(cursor, table),))
    for (name,) in cursor.fetchall():
        if name.startswith(made_for):
            renamed = (table.table + name[len(made_for) :]).encode()[:63].decode(errors="ignore")
            cursor.execute(_composed("ALTER TABLE {} RENAME CONSTRAINT {old} TO {new}", table, old=name, new=renamed))


# -- bookkeeping --------------------------------------------------------------------------------------------------------


def _ensure_bookkeeping(connection: Connection) -> None:
    cursor = _cursor(connection)
    cursor.execute("SELECT to_regclass('etl.loads') IS NOT NULL AND to_regclass('etl.quarantine') IS NOT NULL")
    if cursor.fetchone()[0]:
        return
    # Two first loads at once would collide in the catalog, IF NOT EXISTS or not.
    _lock(cursor, "schema etl")
    for statement in statements.BOOKKEEPING:
        cursor.execute(statement)


def _ensure_schema(cursor: Any, schema: str) -> None:
    cursor.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", (schema,))
    if not cursor.fetchone()[0]:
        _lock(cursor, f"schema {schema}")
        cursor.execute(psycopg2.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(psycopg2.sql.Identifier(schema)))


def _find_committed(cursor: Any, request: LoadRequest) -> LoadResult | None:
    cursor.execute(
        "SELECT rows_loaded, seconds, recorded_at FROM etl.loads WHERE load_id = %s AND status = 'succeeded'",
        (str(request.identity.load_id),),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    logger.warning("%s: load %s had committed already; its answer was lost", request.target, request.identity.load_id)
    columns = _columns(cursor, request.target) or ()
    return LoadResult(
        target=request.target, rows_loaded=row[0], seconds=row[1], strategy=None, columns=columns, committed_at=row[2], found_committed=True
    )


def _record(
    connection: Connection,
    request: LoadRequest,
    *,
    status: str,
    rows_loaded: int | None,
    seconds: float,
    error: EtlError | None = None,
    sqlstate: str | None = None,
) -> Any:
    identity, counts = request.identity, request.counts
    row = {
        "load_id": str(identity.load_id),
        "status": status,
        "asset": identity.asset,
        "partition": identity.partition,
        "run_id": identity.run_id,
        "orchestrator": identity.orchestrator,
        "target_table": str(request.target),
        "disposition": request.disposition.value,
        "rows_read": counts.read if counts else rows_loaded,
        "rows_loaded": rows_loaded,
        "rows_quarantined": counts.quarantined if counts else 0,
        "rows_dropped": counts.dropped if counts else 0,
        "seconds": seconds,
        "error_class": type(error).__name__ if error else None,
        "sqlstate": sqlstate,
        "message": str(error) if error else None,
    }
    insert = sa.text(f"INSERT INTO etl.loads ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)}) RETURNING recorded_at")
    return connection.execute(insert, row).scalar_one()


def _quarantine(connection: Connection, request: LoadRequest, rejected: Iterable[RejectedRow]) -> None:
    identity = request.identity
    load = (str(identity.load_id), identity.asset, identity.partition, identity.run_id)
    rows = [(*load, row.position, _storable_json(row.record), list(row.rules), row.message.replace("\0", "\\0")) for row in rejected]
    if rows:
        execute_values(
            _cursor(connection),
            "INSERT INTO etl.quarantine (load_id, asset, partition, run_id, source_position, record, rules, message) VALUES %s",
            rows,
            page_size=1000,
        )


def _storable_json(record: str) -> str:
    # jsonb cannot hold a NUL character, in any spelling.
    return record.replace("\\u0000", "\\\\u0000")


# -- catalog ------------------------------------------------------------------------------------------------------------


def _columns(cursor: Any, table: TableRef) -> tuple[ColumnSpec, ...] | None:
    """Columns as the catalog has them; None when the table does not exist."""
    cursor.execute("SELECT to_regclass(%s)", (_quoted(cursor, table),))
    if cursor.fetchone()[0] is None:
        return None
    cursor.execute(statements.COLUMNS_OF_TABLE, {"table": _quoted(cursor, table)})
    return tuple(
        ColumnSpec(name=name, type=type_, nullable=nullable, comment=comment) for name, type_, nullable, comment in cursor.fetchall()
    )


def _what_would_be_lost(cursor: Any, table: TableRef) -> list[str]:
    cursor.execute(statements.WHAT_WOULD_BE_LOST, {"table": _quoted(cursor, table)})
    return [reason for (reason,) in cursor.fetchall()]


# -- plumbing -----------------------------------------------------------------------------------------------------------


@contextmanager
def _transaction(engine: Engine, where: str) -> Iterator[Connection]:
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


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return driver.cursor()


def _lock(cursor: Any, name: str) -> None:
    """Wait for everybody else who loads or makes the same thing, until the end of this transaction."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"etl_assets {name}",))


def _quoted(cursor: Any, table: TableRef) -> str:
    return str(statements.name_of(table).as_string(cursor))


def _composed(template: str, table: TableRef, **names: str) -> Any:
    identifiers = {key: psycopg2.sql.Identifier(name) for key, name in names.items()}
    return psycopg2.sql.SQL(template).format(statements.name_of(table), **identifiers)


__all__ = ["record_failure", "spec_of_frame", "write"]
