"""One load, one transaction: rows, load ledger and quarantine commit together or not at all.

A transient failure repeats the whole transaction. When the answer to COMMIT is lost, the repeated attempt finds its own load id in
the ledger and does nothing. A load that fails for good leaves a row in the ledger, in a transaction of its own, and the
quarantined rows with it when it was the contract's gate that stopped it.

Not here: how rows reach the table (`dispositions.py`), schema etl (`ledger.py`), statements (`sql.py`), Dagster (`io_manager.py`).
"""

import logging
import time
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy.engine import Engine

from etl_assets.errors import EtlError, UnstorableValueError
from etl_assets.loading import dispositions, ledger, session
from etl_assets.loading.rows import Batches, WholeFrame, in_columns
from etl_assets.loading.table import ColumnSpec, LoadRequest, LoadResult, TableSpec
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
    rows = WholeFrame(in_columns(frame, [column.name for column in spec.columns], what="the rows have", where=where))
    return _write(engine, request, spec, rows, policy)


def write_batches(engine: Engine, request: LoadRequest, batches: Batches, *, policy: RetryPolicy) -> LoadResult:
    """Load batches as `write` loads a frame: in one transaction, without holding them together. The request names the shape."""
    assert request.spec is not None
    return _write(engine, request, request.spec, batches, policy)


def _write(engine: Engine, request: LoadRequest, spec: TableSpec, rows: WholeFrame | Batches, policy: RetryPolicy) -> LoadResult:
    started = time.perf_counter()
    try:
        return policy.call(lambda: _attempt(engine, request, spec, rows), doing=f"loading {request.target}")
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
        with session.transaction(engine, request.identity.asset) as connection:
            ledger.ensure_bookkeeping(connection)
            state = getattr(getattr(error.__cause__, "orig", error.__cause__), "pgcode", None)
            ledger.record(connection, request, status="failed", rows_loaded=None, seconds=seconds, error=error, sqlstate=state)
            if keep_rejected:
                ledger.quarantine(connection, request, request.rejected)
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


def _attempt(engine: Engine, request: LoadRequest, spec: TableSpec, rows: WholeFrame | Batches) -> LoadResult:
    started = time.perf_counter()
    with session.transaction(engine, request.identity.asset) as connection:
        cursor = session.cursor(connection)
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT_SECONDS}s",))
        ledger.ensure_bookkeeping(connection)
        earlier = ledger.find_committed(cursor, request)
        if earlier is not None:
            return earlier
        session.lock(cursor, f"table {request.target}")
        session.ensure_schema(cursor, request.target.schema)
        ledger.refuse_overtaken(cursor, request)
        strategy, loaded = dispositions.apply(cursor, request, spec, rows)
        if isinstance(rows, Batches):
            request = rows.finish(request)
        ledger.keep_watermarks(cursor, request)
        ledger.mark_replayed(cursor, request)
        ledger.quarantine(connection, request, request.rejected)
        if loaded >= ANALYZE_FROM_ROWS:
            cursor.execute(session.composed("ANALYZE {}", request.target))
        columns = session.columns(cursor, request.target) or ()
        seconds = time.perf_counter() - started
        committed_at = ledger.record(connection, request, status="succeeded", rows_loaded=loaded, seconds=seconds)
    return LoadResult(
        target=request.target,
        rows_loaded=loaded,
        seconds=time.perf_counter() - started,
        strategy=strategy,
        columns=columns,
        committed_at=committed_at,
    )


__all__ = ["record_failure", "spec_of_frame", "write", "write_batches"]
