"""PostgresIOManager: Dagster stores asset values as tables, and reads them back, through the writer. On Dagster's public API.

The asset key `[schema, table]` names the table; metadata says the rest, under the names other IO managers use: see `options.py`. What the
output says (`dg.Output(frame, metadata={"write_mode": "append"})`) comes before what the definition says. Metadata of an input picks
`columns`, all versions of rows (`history`), or batches.

Not here: how a load works (`writer.py`), what a contract means.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa

from etl_assets.errors import ConfigurationError, EtlError, SourceNotFoundError, TransientError
from etl_assets.loading.dagster_partitions import name_of, partition_of
from etl_assets.loading.given import as_frames
from etl_assets.loading.options import WriteDisposition, WriteOptions
from etl_assets.loading.partitions import Partition
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.rows import Rows
from etl_assets.loading.table import (
    ColumnSpec,
    LoadIdentity,
    LoadRequest,
    LoadResult,
    RejectedRow,
    RowCounts,
    TableRef,
    TableSpec,
)
from etl_assets.loading.writer import spec_of_frame
from etl_assets.watermarks import Watermark

BATCHES = "etl_assets/batches"
"""Metadata of an input that is read batch by batch."""
HISTORY = "history"
"""Metadata of an input that is read with all versions of its rows, of a table that keeps them."""
_NAMESPACE = uuid.UUID("6a9c2f8e-6f0d-5b3a-9a52-0c7e1f4b2d11")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Which asset is loaded by which run.

    Attributes:
        key: The asset.
        metadata: What says how it is written: of its definition, and of its output over it.
        run_id: The run.
        root_run_id: The run that this one tries again, or itself.
        partition_keys: Its partitions; empty for an asset without.
        partitions: Their definition; None for an asset without.
        orchestrator: Who runs it, for the load ledger.
    """

    key: dg.AssetKey
    metadata: Mapping[str, Any]
    run_id: str
    root_run_id: str
    partition_keys: Sequence[str] = ()
    partitions: dg.PartitionsDefinition | None = None
    orchestrator: str = "dagster"

    @property
    def where(self) -> str:
        """The asset, for errors."""
        return str(self.key.to_user_string())

    @property
    def options(self) -> WriteOptions:
        """How it is written; raises ConfigurationError."""
        return WriteOptions.of(self.metadata, self.where, partitioned=self.partitions is not None)

    @property
    def partition(self) -> Partition | None:
        """The rows that are loaded; None where nothing says which they are."""
        expressions = self.options.partition_expr
        if self.partitions is None or not self.partition_keys or not expressions:
            return None
        return partition_of(self.partitions, self.partition_keys, expressions, self.where)


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadDetails:
    """What an asset knows about its rows.

    Attributes:
        spec: Shape of the table, from the contract.
        counts: Rows read, quarantined, dropped; None while they are still counted.
        rejected: Rows for the quarantine.
        watermarks: How far the sources were read.
        only_new: The rows are what is new since the load before.
    """

    spec: TableSpec
    counts: RowCounts | None = None
    rejected: Collection[RejectedRow] = field(default=(), repr=False)
    watermarks: tuple[Watermark, ...] = ()
    only_new: bool = False


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
        """Bring the rows into the asset's table and report counts, columns and seconds to the UI."""
        if obj is None:
            return
        asset = context.asset_key.to_user_string() if context.has_asset_key else context.name
        if isinstance(obj, Stored):
            context.add_output_metadata(_metadata(obj.result, obj.request))
            return
        try:
            delivery = _delivery_of(context)
            first, frames = as_frames(obj, asset)
            spec = replace(spec_of_frame(first, where=asset), primary_key=delivery.options.primary_key)
            stored = self.store(self.request(delivery, LoadDetails(spec=spec)), Rows(frames))
        except EtlError as error:
            raise failure(error, asset) from error
        context.add_output_metadata(_metadata(stored.result, stored.request))
        context.log.info("%s: %d rows in %.2f s", stored.request.target, stored.result.rows_loaded, stored.result.seconds)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame | pa.Table | TableBatches:
        """Read the table of an upstream asset, exactly: its partition where it has some, as a frame, an Arrow table, or batch by batch."""
        upstream = context.asset_key
        where = f"input {upstream.to_user_string()}"
        own = context.definition_metadata or {}
        theirs = (context.upstream_output.definition_metadata or {}) if context.upstream_output else {}
        target = table_of(upstream, {**theirs, **own})
        try:
            options = WriteOptions.of({**theirs, **{k: v for k, v in own.items() if k == "partition_expr"}}, where)
            which: dict[str, Any] = {
                "schema": target.schema,
                "columns": [picked] if isinstance(picked := own.get("columns"), str) else picked,
                "partition": _input_partition(context, options, where),
                "only_current": options.keeps_history and not own.get(HISTORY, False),
            }
            if own.get(BATCHES):
                return TableBatches(self._batches(target, upstream, which))
            if context.dagster_type.typing_type is pa.Table:
                return self.postgres.read_table_arrow(target.table, **which)
            return self.postgres.read_table(target.table, **which)
        except EtlError as error:
            raise failure(_without_table(error, self.postgres, target, upstream, where), where) from error

    def _batches(self, target: TableRef, upstream: dg.AssetKey, which: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
        try:
            yield from self.postgres.read_table_batches(target.table, **which)
        except EtlError as error:
            where = f"input {upstream.to_user_string()}"
            raise failure(_without_table(error, self.postgres, target, upstream, where), where) from error

    def request(self, delivery: Delivery, details: LoadDetails) -> LoadRequest:
        """What is asked of the writer for an asset.

        Args:
            delivery: Asset, run and metadata.
            details: Shape, and what commits with the rows.

        Raises:
            ConfigurationError: The metadata contradicts itself, or the run has no partition.
        """
        return _request(delivery, details)

    def store(self, request: LoadRequest, rows: Rows) -> Stored:
        """Load rows in one transaction; the output of the asset then only tells of it.

        Args:
            request: What is asked for.
            rows: The rows; what their reception settles on in the end commits with them.

        Raises:
            EtlError: As `writer.write`, which has recorded it; the table is then as it was.
        """
        result = self.postgres.write(rows, request)
        return Stored(request=rows.request or request, result=result)

    def reject(self, delivery: Delivery, details: LoadDetails, error: EtlError) -> None:
        """Keep the rejected rows of a load that the contract's gate refused, with a failed row in the ledger.

        Args:
            delivery: Asset, run and metadata.
            details: Rows rejected, and what is known of the others.
            error: Why the load was refused.
        """
        self.postgres.reject(_request(delivery, details, refused=True), error)


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


def _without_table(error: EtlError, postgres: PostgresResource, target: TableRef, upstream: dg.AssetKey, where: str) -> EtlError:
    """The error, or what it means when the upstream asset has no table yet."""
    if not isinstance(error, SourceNotFoundError | ConfigurationError) or postgres.has_table(target.table, schema=target.schema):
        return error
    name = upstream.to_user_string()
    return SourceNotFoundError(where, f"there is no table {target} yet.", f"materialise {name} first.")


def _delivery_of(context: dg.OutputContext) -> Delivery:
    key = context.asset_key if context.has_asset_key else dg.AssetKey([context.step_key.replace(".", "_"), context.name])
    partitioned = context.has_asset_partitions
    return Delivery(
        key=key,
        metadata={**(context.definition_metadata or {}), **(context.output_metadata or {})},
        run_id=context.run_id,
        # Dagster tells an IO manager the run only; `etl_asset` knows the one it tries again.
        root_run_id=context.run_id,
        partition_keys=tuple(context.asset_partition_keys) if partitioned else (),
        # Also of a run that was started for no partition, which must not be taken for one of the whole table.
        partitions=context.asset_spec.partitions_def if context.has_asset_key else None,
    )


def _input_partition(context: dg.InputContext, options: WriteOptions, where: str) -> Partition | None:
    """The rows of the upstream partitions that this step asks for; None for all."""
    if not context.has_asset_partitions:
        return None
    definition, keys = context.asset_partitions_def, list(context.asset_partition_keys)
    if not keys:
        raise ConfigurationError(where, "the partition mapping gives no partition of it.", "correct the partition mapping.")
    if set(keys) >= set(definition.get_partition_keys(dynamic_partitions_store=context.instance)):
        return None
    if not options.partition_expr:
        raise ConfigurationError(
            where, f"partition {name_of(keys)} is asked for, and nothing says which rows of the table that is.",
            'add metadata={"partition_expr": "day"} to the upstream asset, or to this input by AssetIn(metadata=...).',
        )  # fmt: skip
    return partition_of(definition, keys, options.partition_expr, where)


def _request(delivery: Delivery, details: LoadDetails, *, refused: bool = False) -> LoadRequest:
    """What is asked of the writer for an asset; of a load that was refused the partition is only told."""
    options = WriteOptions() if refused and not _is_usable(delivery) else delivery.options
    if options.disposition is WriteDisposition.REPLACE_PARTITION and not delivery.partition_keys and not refused:
        raise ConfigurationError(
            delivery.where, "a partition is to be replaced, and the run was started for none.",
            "choose a partition, or, for an asset without partitions, another write_mode.",
        )  # fmt: skip
    name = name_of(delivery.partition_keys) if delivery.partition_keys else None
    return LoadRequest(
        target=table_of(delivery.key, delivery.metadata),
        identity=LoadIdentity(
            load_id=_load_id(delivery, options, details, name),
            asset=delivery.where,
            run_id=delivery.run_id,
            partition=name,
            partition_keys=tuple(delivery.partition_keys),
            orchestrator=delivery.orchestrator,
        ),
        spec=details.spec,
        write=options,
        partition=delivery.partition if options.disposition is WriteDisposition.REPLACE_PARTITION and not refused else None,
        counts=details.counts,
        rejected=details.rejected,
        watermarks=details.watermarks,
        only_new=details.only_new,
    )


def _is_usable(delivery: Delivery) -> bool:
    try:
        return delivery.options is not None
    except ConfigurationError:
        return False


def _load_id(delivery: Delivery, options: WriteOptions, details: LoadDetails, partition: str | None) -> uuid.UUID:
    """An append is told from the same one delivered again, by a step or a run that is tried again after its commit.

    The other dispositions end in the same table however often they run, and shall run when a person asks for it.
    """
    if options.disposition is not WriteDisposition.APPEND:
        return uuid.uuid4()
    # What is read from another watermark on is another delivery.
    began = sorted(f"{mark.source}={mark.started_from}" for mark in details.watermarks)
    return uuid.uuid5(_NAMESPACE, "\n".join([delivery.root_run_id, delivery.where, partition or "", *began]))


def _row_count(result: LoadResult, request: LoadRequest) -> dict[str, int]:
    """What Dagster shows as the rows of a table or of a partition; nothing where a load tells neither."""
    if request.write.disposition is WriteDisposition.REPLACE:
        return {"dagster/row_count": result.rows_loaded}
    single = request.partition is not None and "..." not in request.partition.key
    return {"dagster/partition_row_count": result.rows_loaded} if single else {}


def _metadata(result: LoadResult, request: LoadRequest) -> dict[str, Any]:
    counts = result.counts or request.counts or RowCounts(read=result.rows_loaded)
    primary_key = request.spec.primary_key if request.spec else ()
    return {
        **_row_count(result, request),
        "rows_loaded": result.rows_loaded,
        **({"loaded_together": name} if (name := request.identity.partition) and len(request.identity.partition_keys) > 1 else {}),
        "dagster/table_name": str(result.target),
        "dagster/column_schema": table_schema(result.columns, primary_key),
        "rows_read": counts.read,
        "rows_quarantined": counts.quarantined,
        "rows_dropped": counts.dropped,
        "load_seconds": round(result.seconds, 3),
        "rows_per_second": round(result.rows_loaded / result.seconds) if result.seconds else 0,
        "load_id": str(request.identity.load_id),
        "write_disposition": request.write.disposition.value,
        "rows_changed": result.rows_changed,
        **({"strategy": result.strategy.value} if result.strategy else {}),
        **({"shape_changed": result.changes} if result.changes else {}),
        **({"found_committed": True} if result.found_committed else {}),
        **({"watermarks": {mark.source: str(mark.value) for mark in request.watermarks[:50]}} if request.watermarks else {}),
    }


__all__ = [
    "BATCHES", "HISTORY", "Delivery", "LoadDetails", "PostgresIOManager", "Stored", "TableBatches", "failure", "table_of",
    "table_schema",
]  # fmt: skip
