"""PostgresIOManager: Dagster stores asset values as tables, and reads them back, through the writer. On Dagster's public API.

The asset key `[schema, table]` names the table; metadata `schema` on the asset overrides the schema, metadata `columns` on an input
picks columns. Not here: how a load works (`writer.py`), what a contract means.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
import pandas as pd

from etl_assets.errors import ConfigurationError, EtlError, TransientError
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.rows import Batches
from etl_assets.loading.table import (
    ColumnSpec,
    LoadIdentity,
    LoadRequest,
    LoadResult,
    RejectedRow,
    RowCounts,
    TableRef,
    TableSpec,
    WriteDisposition,
)
from etl_assets.watermarks import Watermark

_ATTRIBUTE = "etl_assets.load"
BATCHES = "etl_assets/batches"
"""Metadata of an input that is read batch by batch."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadDetails:
    """What an asset knows about its rows beyond the frame; it travels with the frame to the IO manager.

    Attributes:
        spec: Shape of the table, from the contract.
        counts: Rows read, quarantined, dropped.
        orchestrator: Who runs the asset, for the load ledger.
        rejected: Rows for the quarantine.
        disposition: How the table changes.
        watermarks: How far the sources were read.
    """

    spec: TableSpec
    counts: RowCounts
    orchestrator: str = "dagster"
    rejected: Collection[RejectedRow] = field(default=(), repr=False)
    disposition: WriteDisposition = WriteDisposition.REPLACE
    watermarks: tuple[Watermark, ...] = ()


def attach(frame: pd.DataFrame, details: LoadDetails) -> pd.DataFrame:
    """The frame with its details, for the IO manager; another IO manager just sees a frame."""
    frame.attrs[_ATTRIBUTE] = details
    return frame


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Rows that are in their table already.

    Attributes:
        request: What was asked for.
        result: What came of it.
    """

    request: LoadRequest
    result: LoadResult


class TableBatches(Iterator[pd.DataFrame]):
    """A stored table, frame by frame; counts the rows it gave, and those nobody took."""

    def __init__(self, frames: Iterator[pd.DataFrame]) -> None:
        self._frames = frames
        self._count = 0

    def __next__(self) -> pd.DataFrame:
        frame = next(self._frames)
        self._count += len(frame)
        return frame

    def drain(self) -> int:
        """All rows of the table, once those that are left have been read."""
        for _ in self:
            pass
        return self._count


class PostgresIOManager(dg.ConfigurableIOManager):
    """Stores frames as PostgreSQL tables: in one transaction, by binary COPY, with a row in `etl.loads`."""

    postgres: dg.ResourceDependency[PostgresResource]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Bring the frame into the asset's table and report counts, columns and seconds to the UI."""
        if obj is None:
            return
        asset = context.asset_key.to_user_string() if context.has_asset_key else context.name
        if isinstance(obj, Stored):
            context.add_output_metadata(_metadata(obj.result, obj.request))
            return
        if not isinstance(obj, pd.DataFrame):
            raise failure(
                ConfigurationError(
                    asset,
                    f"PostgresIOManager stores pandas frames; the asset returned a {type(obj).__name__}.",
                    "return a DataFrame, or give the asset another io_manager_key.",
                ),
                asset,
            )
        if context.has_asset_partitions:
            raise failure(
                ConfigurationError(
                    asset, "partitioned assets cannot be stored yet: each partition would replace the whole table.",
                    "remove partitions_def, or give the asset another io_manager_key.",
                ),
                asset,
            )  # fmt: skip
        details = obj.attrs.pop(_ATTRIBUTE, None)
        key = context.asset_key if context.has_asset_key else dg.AssetKey([context.step_key.replace(".", "_"), context.name])
        request = _request(key, context.definition_metadata or {}, context.run_id, details)
        try:
            result = self.postgres.write(obj, request)
        except EtlError as error:
            raise failure(error, asset) from error
        context.add_output_metadata(_metadata(result, request))
        context.log.info("%s: %d rows in %.2f s", request.target, result.rows_loaded, result.seconds)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame | TableBatches:
        """Read the table of an upstream asset, exactly; batch by batch where the input's metadata says so."""
        upstream = context.asset_key
        target = table_of(upstream, (context.upstream_output.definition_metadata or {}) if context.upstream_output else {})
        columns = (context.definition_metadata or {}).get("columns")
        if (context.definition_metadata or {}).get(BATCHES):
            return TableBatches(self._batches(target, columns, upstream))
        try:
            return self.postgres.read_table(target.table, schema=target.schema, columns=columns)
        except EtlError as error:
            raise failure(error, f"input {upstream.to_user_string()}") from error

    def _batches(self, target: TableRef, columns: Any, upstream: dg.AssetKey) -> Iterator[pd.DataFrame]:
        try:
            yield from self.postgres.read_table_batches(target.table, schema=target.schema, columns=columns)
        except EtlError as error:
            raise failure(error, f"input {upstream.to_user_string()}") from error

    def store_batches(self, key: dg.AssetKey, metadata: Mapping[str, Any], run_id: str, details: LoadDetails, batches: Batches) -> Stored:
        """Load batches in one transaction; the output of the asset then only tells of it.

        Args:
            key: The asset.
            metadata: Of its definition, for the table's schema.
            run_id: The Dagster run.
            details: Shape and disposition.
            batches: The rows; what they settle on in the end commits with them.

        Raises:
            EtlError: As `writer.write`; the table is then as it was.
        """
        # What there is to count is counted while the batches come.
        request = replace(_request(key, metadata, run_id, details), counts=None)
        result = self.postgres.write_batches(batches, request)
        return Stored(request=batches.request or request, result=result)

    def reject(self, key: dg.AssetKey, metadata: Mapping[str, Any], run_id: str, details: LoadDetails, error: EtlError) -> None:
        """Keep the rejected rows of a load that the contract's gate refused, with a failed row in the ledger.

        Args:
            key: The asset.
            metadata: Of its definition, for the table's schema.
            run_id: The Dagster run.
            details: Rows rejected, and what is known of the others.
            error: Why the load was refused.
        """
        self.postgres.reject(_request(key, metadata, run_id, details), error)


def failure(error: EtlError, asset: str) -> dg.Failure:
    """Dagster's failure for an error of ours: readable, and retried by Dagster only when a retry may help."""
    text = str(error) if error.where.startswith(asset) else f"{asset}: {error}"
    return dg.Failure(
        description=text,
        metadata={"error": type(error).__name__, "where": error.where, "cause": error.cause, "next_step": error.next_step},
        allow_retries=isinstance(error, TransientError),
    )


def table_schema(columns: tuple[ColumnSpec, ...], primary_key: tuple[str, ...] = ()) -> dg.TableSchema:
    """Columns as Dagster's UI shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=column.type,
                description=column.comment,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
                tags={"primary_key": ""} if column.name in primary_key else None,
            )
            for column in columns
        ]
    )


def table_of(key: dg.AssetKey, metadata: Any) -> TableRef:
    """The table of an asset: its key, and the schema that its metadata may name."""
    declared = metadata.get("schema")
    declared = getattr(declared, "value", declared)
    path = key.path
    return TableRef(schema=str(declared) if declared else (path[-2] if len(path) > 1 else "public"), table=path[-1])


def _request(key: dg.AssetKey, metadata: Mapping[str, Any], run_id: str | None, details: LoadDetails | None) -> LoadRequest:
    """What is asked of the writer for an asset; without details for rows that say nothing of themselves."""
    identity = LoadIdentity(
        load_id=uuid.uuid4(),
        asset=key.to_user_string(),
        run_id=run_id,
        orchestrator=details.orchestrator if details else "dagster",
    )
    target = table_of(key, metadata)
    if details is None:
        return LoadRequest(target=target, identity=identity)
    return LoadRequest(
        target=target,
        identity=identity,
        spec=details.spec,
        counts=details.counts,
        rejected=details.rejected,
        disposition=details.disposition,
        watermarks=details.watermarks,
    )


def _metadata(result: LoadResult, request: LoadRequest) -> dict[str, Any]:
    counts = request.counts or RowCounts(read=result.rows_loaded)
    primary_key = request.spec.primary_key if request.spec else ()
    return {
        "dagster/row_count": result.rows_loaded,
        "dagster/table_name": str(result.target),
        "dagster/column_schema": table_schema(result.columns, primary_key),
        "rows_read": counts.read,
        "rows_quarantined": counts.quarantined,
        "rows_dropped": counts.dropped,
        "load_seconds": round(result.seconds, 3),
        "rows_per_second": round(result.rows_loaded / result.seconds) if result.seconds else 0,
        "load_id": str(request.identity.load_id),
        "write_disposition": request.disposition.value,
        **({"replaced_by": result.strategy.value} if result.strategy else {}),
        **({"found_committed": True} if result.found_committed else {}),
        **({"watermarks": {mark.source: str(mark.value) for mark in request.watermarks[:50]}} if request.watermarks else {}),
    }


__all__ = ["BATCHES", "LoadDetails", "PostgresIOManager", "Stored", "TableBatches", "attach", "failure", "table_of", "table_schema"]
