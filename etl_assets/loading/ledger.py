"""Schema `etl`: the load ledger, the quarantine and the watermarks, written in the transaction of their load.

Not here: the rows of the asset's own table (`dispositions.py`).
"""

import itertools
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from psycopg2.extras import execute_values
from sqlalchemy.engine import Connection, Engine

from etl_assets.errors import DatabaseRefusedError
from etl_assets.loading import session
from etl_assets.loading import sql as statements
from etl_assets.loading.copy import BATCH_ROWS, as_csv, copy_chunks
from etl_assets.loading.table import Applied, LoadRequest, LoadResult, RejectedRow, RowCounts
from etl_assets.postgres import arrays
from etl_assets.postgres.connection import redact_url
from etl_assets.watermarks import UNKNOWN, Value, from_text, to_text

logger = logging.getLogger(__name__)

_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def read_watermarks(engine: Engine, asset: str) -> dict[str, Value]:
    """The watermarks committed for an asset, by source; empty before its first load.

    Raises:
        EtlError: PostgreSQL cannot be reached or refuses, or a stored value cannot be read.
    """
    with session.transaction(engine, asset) as connection:
        cursor = session.cursor(connection)
        cursor.execute("SELECT to_regclass('etl.watermarks') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return {}
        return _watermarks(cursor, asset)


def _watermarks(cursor: Any, asset: str) -> dict[str, Value]:
    cursor.execute(statements.WATERMARKS_OF_ASSET, {"asset": asset})
    return {source: from_text(source, kind, text).value for source, kind, text in cursor.fetchall()}


def refuse_overtaken(cursor: Any, request: LoadRequest) -> None:
    """Refuse rows that another load brought meanwhile; under the lock of the table.

    Raises:
        DatabaseRefusedError: Another load moved a watermark since this read started from it, so both read the same rows.
    """
    identity = request.identity
    if not request.watermarks:
        return
    stored = _watermarks(cursor, identity.asset)
    for mark in request.watermarks:
        if mark.started_from is not UNKNOWN and stored.get(mark.source) != mark.started_from:
            raise DatabaseRefusedError(
                identity.asset,
                f"another load moved the watermark of {mark.source!r} from {mark.started_from} to {stored.get(mark.source)} meanwhile, "
                "so both read the same rows.",
                "materialise it again: it then reads what is new since.",
            )


def keep_watermarks(cursor: Any, request: LoadRequest) -> None:
    """Store how far the sources were read; errors as `refuse_overtaken`, for batches are read after the load began."""
    refuse_overtaken(cursor, request)
    identity = request.identity
    rows = [(identity.asset, mark.source, *to_text(mark), str(identity.load_id)) for mark in request.watermarks]
    if rows:
        execute_values(cursor, statements.KEEP_WATERMARKS, rows, page_size=1000)


def ensure_bookkeeping(connection: Connection, where: str) -> None:
    cursor = session.cursor(connection)
    cursor.execute("SELECT to_regclass('etl.loads') IS NOT NULL AND to_regclass('etl.watermarks') IS NOT NULL")
    if cursor.fetchone()[0]:
        return
    # Two first loads at once would collide in the catalog, IF NOT EXISTS or not.
    session.lock(cursor, "bookkeeping")
    session.ensure_schema(cursor, "etl", where)
    for statement in statements.BOOKKEEPING:
        cursor.execute(statement)


def find_committed(cursor: Any, request: LoadRequest) -> LoadResult | None:
    cursor.execute(
        "SELECT rows_loaded, rows_changed, seconds, recorded_at, rows_read, rows_quarantined, rows_dropped FROM etl.loads "
        "WHERE load_id = %s AND target_table = %s AND status = 'succeeded'",
        (str(request.identity.load_id), str(request.target)),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    logger.warning("%s: load %s had committed already; its answer was lost", request.target, request.identity.load_id)
    state = session.state(cursor, request.target)
    return LoadResult(
        target=request.target,
        rows_loaded=row[0],
        rows_changed=row[1],
        seconds=row[2],
        strategy=None,
        columns=state.columns if state is not None else (),
        committed_at=row[3],
        found_committed=True,
        counts=RowCounts(read=row[4], quarantined=row[5], dropped=row[6]),
    )


def record(
    connection: Connection,
    request: LoadRequest,
    *,
    status: str,
    seconds: float,
    applied: Applied | None = None,
    error: Exception | None = None,
    sqlstate: str | None = None,
) -> Any:
    identity, counts = request.identity, request.counts
    rows_loaded = applied.rows if applied else None
    row = {
        "load_id": str(identity.load_id),
        "status": status,
        "asset": identity.asset,
        "partition": identity.partition,
        "partition_keys": list(identity.partition_keys) or None,
        "run_id": identity.run_id,
        "orchestrator": identity.orchestrator,
        "target_table": str(request.target),
        "disposition": request.write.disposition.value,
        "strategy": applied.strategy.value if applied and applied.strategy else None,
        "rows_read": counts.read if counts else rows_loaded,
        "rows_loaded": rows_loaded,
        "rows_changed": applied.changed if applied else None,
        "rows_quarantined": counts.quarantined if counts else 0,
        "rows_dropped": counts.dropped if counts else 0,
        "seconds": seconds,
        "error_class": type(error).__name__ if error else None,
        "sqlstate": sqlstate,
        "message": redact_url(str(error)) if error else None,
        "made_table": _oid(session.cursor(connection), request) if applied and applied.made else None,
    }
    insert = sa.text(f"INSERT INTO etl.loads ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)}) RETURNING recorded_at")
    return connection.execute(insert, row).scalar_one()


def _oid(cursor: Any, request: LoadRequest) -> int:
    cursor.execute("SELECT %s::regclass::oid", (session.quoted(cursor, request.target),))
    return int(cursor.fetchone()[0])


def mark_replayed(cursor: Any, request: LoadRequest) -> None:
    """Mark the rows of the quarantine that this load brings into the table.

    Raises:
        DatabaseRefusedError: One of them was replayed by another load meanwhile.
    """
    if not request.replays:
        return
    cursor.execute(statements.MARK_REPLAYED, {"load": str(request.identity.load_id), "ids": list(request.replays)})
    if cursor.rowcount != len(request.replays):
        raise DatabaseRefusedError(
            request.identity.asset,
            f"{len(request.replays) - cursor.rowcount} of {len(request.replays)} rows were replayed by another load meanwhile.",
            "look at the quarantine again.",
        )


def quarantine(connection: Connection, request: LoadRequest, rejected: Iterable[RejectedRow]) -> None:
    """Store rejected rows, as many as there are, without holding them."""
    copy_chunks(session.cursor(connection), statements.COPY_QUARANTINE, _as_csv(request, rejected))


def _as_csv(request: LoadRequest, rejected: Iterable[RejectedRow]) -> Iterator[bytes]:
    identity = request.identity
    load = (str(identity.load_id), identity.asset, identity.partition, identity.run_id)
    remaining = iter(rejected)
    while rows := list(itertools.islice(remaining, BATCH_ROWS)):
        columns = [[value] * len(rows) for value in load]
        columns += [
            [row.position for row in rows],
            [_storable_json(row.record) for row in rows],
            [arrays.to_text(row.rules, "text", str) for row in rows],
            [row.message.replace("\0", "\\0") for row in rows],
        ]
        yield as_csv([pa.array(column, pa.large_string()) for column in columns])


def _storable_json(record: str) -> str:
    # jsonb cannot hold a NUL character; a text that merely spells one begins with an escaped backslash, and stays.
    return _ESCAPED_NUL.sub(r"\1\\\\u0000", record) if "\\u0000" in record else record


__all__ = [
    "ensure_bookkeeping",
    "find_committed",
    "keep_watermarks",
    "mark_replayed",
    "quarantine",
    "read_watermarks",
    "record",
    "refuse_overtaken",
]
