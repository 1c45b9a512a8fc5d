"""What a load is about, as frozen values: which table, its columns, how it is written, what came of it.

The lowest module of loading: contracts and assets describe tables with it, and only with it. Not here: SQL, connections.
"""

import datetime
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal
from uuid import UUID

from etl_assets.errors import ConfigurationError
from etl_assets.watermarks import Watermark


@dataclass(frozen=True, kw_only=True)
class TableRef:
    """A table of PostgreSQL.

    Attributes:
        schema: Its schema.
        table: Its name inside the schema.
    """

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, kw_only=True)
class ColumnSpec:
    """A column of a table.

    Attributes:
        name: Its name, exactly as stored.
        type: PostgreSQL type as `format_type` prints it, such as "bigint".
        nullable: Whether NULL is allowed.
        comment: What it means, shown by `\\d+`.
    """

    name: str
    type: str
    nullable: bool = True
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """The shape a table shall have.

    Attributes:
        columns: Columns in order.
        primary_key: Names of the key columns; empty for none.
        unique: Further sets of columns that are unique together.
        comment: What the table holds.
    """

    columns: tuple[ColumnSpec, ...]
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class UniqueRule:
    """Columns whose values are unique together in all batches.

    Attributes:
        name: Of the rule.
        columns: The columns.
        keep: Which of equal rows stays: the "first", the "last", or none.
    """

    name: str
    columns: tuple[str, ...]
    keep: Literal["first", "last", False]


class WriteDisposition(StrEnum):
    """How a load changes the table."""

    REPLACE = "replace"
    """The table holds exactly the rows of this load afterwards."""
    APPEND = "append"
    """The rows are added; the same load delivered twice adds them once."""
    MERGE = "merge"
    """A row replaces the one with its primary key, or is added; rows of other keys stay."""
    INSERT = "insert"
    """A row is added unless its primary key is there already; rows that are there stay as they are."""


def read_disposition(given: "WriteDisposition | str", where: str) -> WriteDisposition:
    """The disposition a person named.

    Raises:
        ConfigurationError: It is unknown; the message lists what is known.
    """
    try:
        return WriteDisposition(given)
    except ValueError:
        raise ConfigurationError(
            where, f"write disposition {given!r} is unknown; known: {[d.value for d in WriteDisposition]}.", "correct it."
        ) from None


class ReplaceStrategy(StrEnum):
    """How a replace was carried out."""

    SWAP = "swap"
    """A new table was built beside the old one and renamed: readers see old or new, never half."""
    DELETE = "delete"
    """Other objects depend on the table, so its rows were deleted and loaded anew in one transaction."""


@dataclass(frozen=True, kw_only=True)
class LoadIdentity:
    """Who loads, for the load ledger.

    Attributes:
        load_id: Unique per delivery of one asset; a repeated attempt carries the same one.
        asset: Asset key, such as "clean/flights".
        run_id: Run of the orchestrator; None outside one.
        partition: Partition key; None when the asset has none.
        orchestrator: "dagster", "airflow" or "python".
    """

    load_id: UUID
    asset: str
    run_id: str | None = None
    partition: str | None = None
    orchestrator: str = "python"


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """A row for the quarantine.

    Attributes:
        position: Where it stood in its source; None when unknown.
        record: The row as it was before conversion, as JSON text.
        rules: Names of the rules it broke.
        message: The same in words, with the offending values.
    """

    position: str | None
    record: str
    rules: tuple[str, ...]
    message: str


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """Rows of one load besides those loaded.

    Attributes:
        read: Rows the asset started from.
        quarantined: Rows that broke the contract.
        dropped: Rows that a declared rule dropped.
    """

    read: int
    quarantined: int = 0
    dropped: int = 0


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """Everything that commits together with the rows.

    Attributes:
        target: The table.
        spec: Its shape; None takes it from the rows (or from the table that exists).
        disposition: How the table changes.
        counts: Rows besides those loaded; None when nobody counted.
        rejected: Rows for the quarantine.
        watermarks: How far the sources were read.
        replays: Rows of the quarantine, by id, that this load brings into the table after all.
        identity: Who loads.
    """

    target: TableRef
    identity: LoadIdentity
    spec: TableSpec | None = None
    disposition: WriteDisposition = WriteDisposition.REPLACE
    counts: RowCounts | None = None
    rejected: Collection[RejectedRow] = field(default=(), repr=False)
    watermarks: tuple[Watermark, ...] = ()
    replays: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What a load did.

    Attributes:
        target: The table.
        rows_loaded: Rows delivered to the table, as PostgreSQL counted them; a merge counts unchanged ones too.
        seconds: Wall time of the transaction that succeeded.
        strategy: How a replace was carried out; None for other dispositions.
        columns: Columns of the table as stored.
        committed_at: When the transaction committed, by the server's clock.
        found_committed: True when an earlier attempt had committed and only its answer was lost.
    """

    target: TableRef
    rows_loaded: int
    seconds: float
    strategy: ReplaceStrategy | None
    columns: tuple[ColumnSpec, ...]
    committed_at: datetime.datetime
    found_committed: bool = False


__all__ = [
    "ColumnSpec", "LoadIdentity", "LoadRequest", "LoadResult", "RejectedRow", "ReplaceStrategy", "RowCounts", "TableRef", "TableSpec",
    "UniqueRule", "WriteDisposition", "read_disposition",
]  # fmt: skip
