"""What a load is about, as frozen values: which table, its columns, how it is written, what came of it.

The lowest module of loading: contracts and assets describe tables with it, and only with it. Not here: SQL, connections.
"""

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from etl_assets.loading.options import MergeStrategy, WriteOptions
from etl_assets.loading.partitions import Partition
from etl_assets.watermarks import Watermark

_DEFAULT_OPTIONS = WriteOptions()


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
        default: SQL expression that fills it where a row does not have it; None for none.
        is_guess: No value told the type, so that of a table that is there comes first.
    """

    name: str
    type: str
    nullable: bool = True
    comment: str | None = None
    default: str | None = None
    is_guess: bool = False


Operator = Literal["=", "<>", ">", ">=", "<", "<=", "in", "not in", "min length", "max length", "starts with", "ends with"]


@dataclass(frozen=True, kw_only=True)
class CheckSpec:
    """A rule about one column that the table itself keeps; NULL and NaN break none.

    Attributes:
        column: Its column.
        operator: How the value stands to the operands.
        operands: One value, or those of a list.
    """

    column: str
    operator: Operator
    operands: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """The shape a table shall have.

    Attributes:
        columns: Columns in order.
        primary_key: Names of the key columns; empty for none.
        unique: Further sets of columns that are unique together.
        checks: Rules that the table itself keeps.
        indexes: Columns of each index beside those of the keys.
        comment: What the table holds.
        is_inferred: The types are those of a frame's dtypes, and no contract asks for them.
    """

    columns: tuple[ColumnSpec, ...]
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    checks: tuple[CheckSpec, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    comment: str | None = None
    is_inferred: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True, kw_only=True)
class TableState:
    """A table as the catalog has it.

    Attributes:
        columns: Columns in order, without generated ones.
        filled: Columns that the server fills where a row does not have them.
        primary_key: Names of the key columns; empty for none.
        checks: What checks that this project made say, by name.
        indexes: Columns of indexes that this project made, by name.
        managed: Whether this project made the table: then its rules follow the contract.
    """

    columns: tuple[ColumnSpec, ...]
    filled: frozenset[str] = frozenset()
    primary_key: tuple[str, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    managed: bool = False

    @property
    def by_name(self) -> dict[str, ColumnSpec]:
        """Columns by their names."""
        return {column.name: column for column in self.columns}


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
        partition_keys: Each partition of the load, where `partition` is a range of them.
        orchestrator: "dagster", "airflow" or "python".
    """

    load_id: UUID
    asset: str
    run_id: str | None = None
    partition: str | None = None
    partition_keys: tuple[str, ...] = ()
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
        write: How the table changes.
        partition: Which rows a replace_partition replaces.
        counts: Rows besides those loaded; None when nobody counted.
        rejected: Rows for the quarantine.
        watermarks: How far the sources were read.
        replays: Rows of the quarantine, by id, that this load brings into the table after all.
        only_new: The rows are what is new since the load before, so they cannot stand for the whole table.
        identity: Who loads.
    """

    target: TableRef
    identity: LoadIdentity
    spec: TableSpec | None = None
    write: WriteOptions = _DEFAULT_OPTIONS
    partition: Partition | None = None
    counts: RowCounts | None = None
    rejected: Collection[RejectedRow] = field(default=(), repr=False)
    watermarks: tuple[Watermark, ...] = ()
    replays: tuple[int, ...] = ()
    only_new: bool = False


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What bringing rows into their table came to.

    Attributes:
        rows: Rows delivered to the table; a merge counts unchanged ones too.
        changed: Rows of the table that were added, changed, ended or removed.
        strategy: How a replace was carried out, or a merge.
        changes: How the shape of the table changed, in words; "" for not.
        made: The table was made, or made anew.
    """

    rows: int
    changed: int
    made: bool = False
    strategy: ReplaceStrategy | MergeStrategy | None = None
    changes: str = ""


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What a load did.

    Attributes:
        target: The table.
        rows_loaded: Rows delivered to the table, as PostgreSQL counted them; a merge counts unchanged ones too.
        rows_changed: Rows of the table that were added, changed, ended or removed.
        rows_refused: Rows that PostgreSQL refused and the quarantine holds.
        seconds: Wall time of the transaction that succeeded.
        strategy: How a replace was carried out, or a merge; None for other dispositions.
        changes: How the shape of the table changed, in words; "" for not.
        columns: Columns of the table as stored.
        committed_at: When the transaction committed, by the server's clock.
        found_committed: True when an earlier attempt had committed and only its answer was lost.
        counts: Of that attempt, from the ledger; None otherwise.
    """

    target: TableRef
    rows_loaded: int
    rows_changed: int
    rows_refused: int = 0
    seconds: float
    strategy: ReplaceStrategy | MergeStrategy | None
    changes: str = ""
    columns: tuple[ColumnSpec, ...]
    committed_at: datetime.datetime
    found_committed: bool = False
    counts: RowCounts | None = None


__all__ = [
    "Applied", "CheckSpec", "ColumnSpec", "LoadIdentity", "LoadRequest", "LoadResult", "Operator", "RejectedRow", "ReplaceStrategy",
    "RowCounts", "TableRef", "TableSpec", "TableState", "UniqueRule",
]  # fmt: skip
