"""One load, one transaction: rows, load ledger and quarantine commit together or not at all.

A transient failure repeats the whole transaction. When the answer to COMMIT is lost, the repeated attempt finds its own load id in
the ledger and does nothing. A load that fails for good leaves a row in the ledger, in a transaction of its own, and the
quarantined rows with it when it was the contract's gate that stopped it.

Not here: how rows reach the table (`dispositions.py`), schema etl (`ledger.py`), statements (`sql.py`), Dagster (`io_manager.py`).
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy.engine import Engine

from etl_assets.errors import DatabaseRefusedError, EtlError, UnstorableValueError
from etl_assets.loading import ddl, dispositions, ledger, session
from etl_assets.loading.options import WriteDisposition
from etl_assets.loading.rows import NotStoredError, Rows
from etl_assets.loading.table import ColumnSpec, LoadRequest, LoadResult, TableSpec
from etl_assets.postgres.types import from_pandas_dtype
from etl_assets.retry import DEFAULT_RETRY, RetryPolicy

logger = logging.getLogger(__name__)

ANALYZE_FROM_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a load waits for others.

    Attributes:
        lock_seconds: For a lock that a reader or another session holds; 0 for no limit.
        queue_seconds: For another load of the same table to end; 0 for no limit.
        retry: For transient failures; its unit is the whole transaction.
    """

    lock_seconds: float = 60.0
    queue_seconds: float = 3600.0
    retry: RetryPolicy = DEFAULT_RETRY


def write(engine: Engine, request: LoadRequest, rows: Rows, *, patience: Patience) -> LoadResult:
    """Load rows, wholly or not at all, once.

    Args:
        engine: Where to.
        request: Table, shape, options, and what commits along with the rows.
        rows: The rows; their columns are those of the shape, in any order.
        patience: How long to wait, and how often to try.

    Raises:
        UnstorableValueError: A value does not fit its column exactly.
        DatabaseRefusedError, AuthenticationError, DatabaseUnavailableError: PostgreSQL did not take the load.
        In all cases the table is as it was before.
    """
    started = time.perf_counter()
    try:
        return patience.retry.call(lambda: _attempt(engine, request, rows, patience), doing=f"loading {request.target}")
    except NotStoredError:
        raise
    except Exception as error:
        record_failure(engine, request, error, seconds=time.perf_counter() - started)
        raise


def record_failure(engine: Engine, request: LoadRequest, error: Exception, *, seconds: float, keep_rejected: bool = False) -> None:
    """Write a failed load to the ledger, in its own transaction; a ledger that cannot be written is logged, the failure stands.

    Args:
        engine: Where the load would have gone.
        request: What was to be loaded.
        error: Why it was not.
        seconds: How long it took until then.
        keep_rejected: Store the rejected rows as well, when the contract's gate refused the load.
    """
    try:
        with session.transaction(engine, request.identity.asset) as connection:
            ledger.ensure_bookkeeping(connection, request.identity.asset)
            state = getattr(getattr(error.__cause__, "orig", error.__cause__), "pgcode", None)
            ledger.record(connection, request, status="failed", seconds=seconds, error=error, sqlstate=state)
            if keep_rejected:
                ledger.quarantine(connection, request, request.rejected)
    except EtlError as second:
        logger.error("%s: the failed load is not in etl.loads: %s", request.identity.asset, second)


def spec_of_frame(frame: pd.DataFrame, *, where: str) -> TableSpec:
    """The table that stores a frame for which no contract speaks.

    Raises:
        UnstorableValueError: A column holds values of several kinds, or a kind without a PostgreSQL type; or there are no columns, or two
            of one name.
    """
    names = [str(name) for name in frame.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        told = f"several columns are named {repeated}" if repeated else "the rows have no columns"
        raise UnstorableValueError(where, f"{told}.", "name each column once.")
    return TableSpec(columns=tuple(_column_of(frame.iloc[:, place], where) for place in range(len(names))), is_inferred=True)


def _column_of(values: "pd.Series[Any]", where: str) -> ColumnSpec:
    guessed = from_pandas_dtype(values.dtype) is None and not values.notna().any()
    return ColumnSpec(name=str(values.name), type=_type_of(values, where), is_guess=guessed)


def _type_of(values: "pd.Series[Any]", where: str) -> str:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return from_pandas_dtype(values.dtype.categories.dtype) or "text"
    declared = from_pandas_dtype(values.dtype)
    if declared is not None:
        return declared
    present = values.dropna()
    if len(present) and present.map(lambda value: isinstance(value, int) and not isinstance(value, bool)).all():
        return "bigint" if present.between(-(2**63), 2**63 - 1).all() else "numeric"
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


def _attempt(engine: Engine, request: LoadRequest, rows: Rows, patience: Patience) -> LoadResult:
    started = time.perf_counter()
    assert request.spec is not None
    with session.transaction(engine, request.identity.asset) as connection:
        cursor = session.cursor(connection)
        ledger.ensure_bookkeeping(connection, request.identity.asset)
        session.lock(cursor, f"table {request.target}", seconds=patience.queue_seconds)
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{int(patience.lock_seconds * 1000)}ms",))
        # Under the lock: an attempt whose answer was lost may be committing still.
        earlier = ledger.find_committed(cursor, request)
        if earlier is not None:
            return earlier
        # A constraint that waits for the commit could tell no row from another.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        session.ensure_schema(cursor, request.target.schema, request.identity.asset)
        _refuse_only_new(request)
        ledger.refuse_overtaken(cursor, request)
        applied = dispositions.apply(cursor, request, request.spec, rows)
        final = rows.finish(request)
        _refuse_only_new(final)
        _refuse_part_of_a_snapshot(final)
        ledger.keep_watermarks(cursor, final)
        ledger.mark_replayed(cursor, final)
        ledger.quarantine(connection, final, final.rejected)
        if applied.changed >= ANALYZE_FROM_ROWS:
            session.sample(cursor, ddl.name_of(request.target))
        state = session.state(cursor, request.target)
        seconds = time.perf_counter() - started
        committed_at = ledger.record(connection, final, status="succeeded", applied=applied, seconds=seconds)
    return LoadResult(
        target=request.target,
        rows_loaded=applied.rows,
        rows_changed=applied.changed,
        rows_refused=rows.refused,
        seconds=time.perf_counter() - started,
        strategy=applied.strategy,
        changes=applied.changes,
        columns=state.columns if state is not None else (),
        committed_at=committed_at,
    )


def _refuse_only_new(request: LoadRequest) -> None:
    disposition = request.write.disposition
    if request.only_new and disposition in (WriteDisposition.REPLACE, WriteDisposition.REPLACE_PARTITION):
        raise DatabaseRefusedError(
            request.identity.asset, f"it reads only what is new, and {disposition.value} would drop the rows loaded before.",
            'say write="append", or write="merge" when rows are read again.',
        )  # fmt: skip


def _refuse_part_of_a_snapshot(request: LoadRequest) -> None:
    kept_aside = request.counts.quarantined if request.counts is not None else 0
    if request.write.close_absent and kept_aside:
        raise DatabaseRefusedError(
            request.identity.asset,
            f"close_absent takes the rows for all there are, and {kept_aside} of them go to the quarantine: their keys would end.",
            "correct these rows, or leave close_absent out.",
        )  # fmt: skip


__all__ = ["Patience", "record_failure", "spec_of_frame", "write"]
