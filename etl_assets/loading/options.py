"""How a table is written, as frozen values: disposition, merge strategy, what a changed shape does. Read from the metadata of an asset.

    metadata={"write_mode": "merge"}                    replace (default), append, merge, replace_partition (default with partitions)
             {"merge_strategy": "scd2"}                 update (default), insert_only, delete_insert, scd2
             {"merge_key": ["order_id"]}                delete_insert replaces all rows of these values; default the primary key
             {"close_absent": True}                     scd2 ends rows that a load does not bring
             {"schema_change": "fail"}                  fail, add_columns, widen (default), replace (default of a replace)
             {"primary_key": ["id"]}                    for assets without a contract
             {"partition_expr": "day"}                  SQL expression of the partition; a mapping by dimension for several

Not here: which rows a partition is (`partitions.py`), carrying any of it out.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from etl_assets.errors import ConfigurationError


class WriteDisposition(StrEnum):
    """How a load changes the table."""

    REPLACE = "replace"
    """The table holds exactly the rows of this load afterwards."""
    APPEND = "append"
    """The rows are added; the same load delivered twice adds them once."""
    MERGE = "merge"
    """Rows are brought in by their key, as the merge strategy says; rows of other keys stay."""
    REPLACE_PARTITION = "replace_partition"
    """The partition holds exactly the rows of this load afterwards; other partitions stay."""


class MergeStrategy(StrEnum):
    """What a merge does with a key that is there."""

    UPDATE = "update"
    """The row takes the new values; one that has them already is not touched."""
    INSERT_ONLY = "insert_only"
    """The row that is there stays as it is."""
    DELETE_INSERT = "delete_insert"
    """All rows of the merge key's values are deleted, and the rows of the load added."""
    SCD2 = "scd2"
    """The row that is there ends, and a new version begins: `valid_from`, `valid_to`."""


class SchemaChange(StrEnum):
    """What happens when the rows have another shape than the table."""

    FAIL = "fail"
    """Nothing is loaded."""
    ADD_COLUMNS = "add_columns"
    """New columns are added; rows that are there have NULL in them."""
    WIDEN = "widen"
    """New columns are added, and types are changed to wider ones that hold every value."""
    REPLACE = "replace"
    """The table is made anew in the shape of the rows, and holds the rows of this load only."""


_Choice = TypeVar("_Choice", bound=StrEnum)
NAMES = ("write_mode", "merge_strategy", "merge_key", "close_absent", "schema_change", "primary_key", "partition_expr")
"""Names of metadata that this project reads; other keys are the user's own."""


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How a load changes its table.

    Attributes:
        disposition: How rows get there.
        merge_strategy: What a merge does with a key that is there.
        merge_key: Columns whose values a delete_insert replaces together; empty for the primary key.
        close_absent: Whether scd2 ends rows whose key the load does not bring.
        schema_change: What a changed shape does; None takes "replace" for a replace, else "widen".
        primary_key: Key columns where no contract names them.
        partition_expr: SQL expression of the partition by dimension; "" is the only dimension.
    """

    disposition: WriteDisposition = WriteDisposition.REPLACE
    merge_strategy: MergeStrategy = MergeStrategy.UPDATE
    merge_key: tuple[str, ...] = ()
    close_absent: bool = False
    schema_change: SchemaChange | None = None
    primary_key: tuple[str, ...] = ()
    partition_expr: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Text is taken for what it names: who writes schema_change="widen" in Python means no other thing.
        for name, kind in (("disposition", WriteDisposition), ("merge_strategy", MergeStrategy), ("schema_change", SchemaChange)):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _choice(kind, given, name, "WriteOptions"))
        for name in ("merge_key", "primary_key"):
            object.__setattr__(self, name, _names(getattr(self, name), name, "WriteOptions"))
        object.__setattr__(self, "close_absent", _flag(self.close_absent, "close_absent", "WriteOptions"))

    @property
    def on_schema_change(self) -> SchemaChange:
        """What a changed shape does."""
        if self.schema_change is not None:
            return self.schema_change
        return SchemaChange.REPLACE if self.disposition is WriteDisposition.REPLACE else SchemaChange.WIDEN

    @property
    def keeps_history(self) -> bool:
        """Whether the table holds all versions of a row."""
        return self.disposition is WriteDisposition.MERGE and self.merge_strategy is MergeStrategy.SCD2

    @staticmethod
    def of(metadata: Mapping[str, Any], where: str, *, partitioned: bool = False) -> "WriteOptions":
        """The options that metadata says.

        Args:
            metadata: Of an asset's definition, or of its output over it; values plain or Dagster's.
            where: The asset, for errors.
            partitioned: Whether the asset has partitions.

        Raises:
            ConfigurationError: A value is unknown or contradicts another; the message lists what is allowed.
        """
        given = {name: getattr(metadata[name], "value", metadata[name]) for name in NAMES if metadata.get(name) is not None}
        _refuse_misspelt(metadata, where)
        mode = given.get("write_mode")
        usual = WriteDisposition.REPLACE_PARTITION if partitioned else WriteDisposition.REPLACE
        options = WriteOptions(
            disposition=usual if mode is None else read_disposition(mode, where),
            merge_strategy=_choice(MergeStrategy, given.get("merge_strategy", MergeStrategy.UPDATE), "merge_strategy", where),
            merge_key=_names(given.get("merge_key", ()), "merge_key", where),
            close_absent=_flag(given.get("close_absent", False), "close_absent", where),
            schema_change=_choice(SchemaChange, given["schema_change"], "schema_change", where) if "schema_change" in given else None,
            primary_key=_names(given.get("primary_key", ()), "primary_key", where),
            partition_expr=_expressions(given.get("partition_expr"), where),
        )
        options.refuse_contradictions(where, partitioned=partitioned)
        return options

    def refuse_contradictions(self, where: str, *, partitioned: bool = False) -> None:
        """Raise ConfigurationError where one option has no meaning beside another."""
        if self.disposition is WriteDisposition.REPLACE and partitioned:
            raise ConfigurationError(
                where, 'write_mode "replace" replaces the whole table, and each partition would drop the others.',
                'leave write_mode out, or say "replace_partition", "merge" or "append".',
            )  # fmt: skip
        if self.disposition is WriteDisposition.REPLACE_PARTITION and partitioned and not self.partition_expr:
            raise ConfigurationError(
                where, "it has partitions, and nothing says which rows of the table a partition is.",
                'add metadata={"partition_expr": "day"}: a column or SQL expression, by dimension where there are several.',
            )  # fmt: skip
        if self.disposition is not WriteDisposition.MERGE and (self.merge_strategy is not MergeStrategy.UPDATE or self.merge_key):
            raise ConfigurationError(where, f"a merge strategy has no meaning for {self.disposition.value}.", 'say write_mode "merge".')
        if self.merge_key and self.merge_strategy is not MergeStrategy.DELETE_INSERT:
            raise ConfigurationError(
                where, f"{self.merge_strategy.value} works by the primary key; merge_key is for delete_insert.", "leave merge_key out."
            )
        if self.close_absent and not self.keeps_history:
            raise ConfigurationError(where, "close_absent is for the merge strategy scd2.", "leave it out.")


def read_disposition(given: Any, where: str) -> WriteDisposition:
    """The disposition a person named.

    Raises:
        ConfigurationError: It is unknown; the message lists what is known.
    """
    return _choice(WriteDisposition, given, "write disposition", where)


def _choice(kind: type[_Choice], given: Any, name: str, where: str) -> _Choice:
    try:
        return kind(given)
    except ValueError:
        raise ConfigurationError(where, f"{name} {given!r} is unknown; known: {[one.value for one in kind]}.", "correct it.") from None


def _names(given: Any, name: str, where: str) -> tuple[str, ...]:
    if isinstance(given, str) and given:
        return (given,)
    if not isinstance(given, str) and isinstance(given, Sequence) and all(isinstance(one, str) and one for one in given):
        return tuple(given)
    raise ConfigurationError(where, f"{name} is a list of columns; given: {given!r}.", 'write ["id"].')


def _flag(given: Any, name: str, where: str) -> bool:
    if not isinstance(given, bool):
        raise ConfigurationError(where, f"{name} is True or False; given: {given!r}.", "correct it.")
    return given


def _expressions(given: Any, where: str) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, str) and given:
        return {"": given}
    if isinstance(given, Mapping) and given and all(isinstance(one, str) and one for one in given.values()):
        return {str(dimension): expression for dimension, expression in given.items()}
    raise ConfigurationError(
        where, f"partition_expr is a column or SQL expression, or a mapping of those by dimension; given: {given!r}.", 'write "day".'
    )


def _refuse_misspelt(metadata: Mapping[str, Any], where: str) -> None:
    for key in metadata:
        close = difflib.get_close_matches(str(key), NAMES, n=1, cutoff=0.8)
        if key not in NAMES and close:
            raise ConfigurationError(where, f"metadata has the key {key!r}, close to {close[0]!r}.", "correct or rename it.")


__all__ = ["NAMES", "MergeStrategy", "SchemaChange", "WriteDisposition", "WriteOptions", "read_disposition"]
