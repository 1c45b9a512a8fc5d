"""AGREE: a pandera model as a data contract. From one model follow the checks, the columns people see, the PostgreSQL table, and the
split of a frame into rows that keep the contract and rows that go to the quarantine.

A frame is split in two passes: each column is converted to its declared type (a cell that does not convert keeps its text in the
quarantine), then every rule of the model is evaluated as a mask over the rows. Counts are true, samples are capped.

What pandera's model says is meant as pandera means it; these things are read from `metadata`:

    Field(metadata={"severity": "warn"})            warn, quarantine (default) or fail, for the rules of this column
    Field(metadata={"most_failed": 0.01})           nothing is loaded when more rows break one of them: a share below 1, else a number
    Field(metadata={"references": "clean/airports.airport"})  the value is a key of another asset's table
    Field(metadata={"fresh_within": timedelta(days=1)})       the newest value is not older
    Field(metadata={"postgres_type": "jsonb"})      where the dtype alone does not name a PostgreSQL type
    Field(metadata={"index": True})                 the table has an index on the column
    class Config: metadata = {"primary_key": [...]} the key of the table
                             {"indexes": [["a", "b"]]}         indexes over several columns
                             {"rules": {"name": {"severity": "fail", "most_failed": 10}}} the same for rules by their name

Belongs here: the meaning of a contract. Not here: Dagster (`assets.py`, `materialisation.py`), SQL (`loading/`), how text becomes numbers
(`conversion.py`), single rules (`rules.py`).
"""

import datetime
import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from etl_assets.accounting import SOURCE_POSITION
from etl_assets.conversion import Converted, Target, convert
from etl_assets.declarations import Reference, can_hold, declared_metadata, freshness, refuse_misspelt, target
from etl_assets.errors import ContractDefinitionError, ContractViolationError
from etl_assets.evaluations import Keep, Lookup, mask_of, read_evaluations
from etl_assets.frames import rows_where
from etl_assets.loading.table import ColumnSpec, RejectedRow, TableSpec, UniqueRule
from etl_assets.postgres.types import canonical_name
from etl_assets.rules import Mask, RejectedRows, Rule, RuleOutcome, Severity, samples_of, words_of
from etl_assets.table_rules import checks_of, indexes_of
from etl_assets.threads import each_column


@dataclass(frozen=True, kw_only=True)
class Split:
    """A frame after its contract.

    Attributes:
        valid: Rows that keep the contract, in the declared columns, order and types; RangeIndex.
        kept: Which rows of the frame those are.
        rejected: The other rows, each once, with every rule it broke.
        outcomes: One per rule of the contract, in its order.
    """

    valid: pd.DataFrame
    kept: Mask = field(repr=False)
    rejected: RejectedRows = field(repr=False)
    outcomes: tuple[RuleOutcome, ...]

    @functools.cached_property
    def places(self) -> "np.ndarray[Any, Any]":
        """Place of each valid row in the frame."""
        return np.flatnonzero(self.kept)

    @property
    def positions(self) -> list[str]:
        """Where each valid row stood in its source."""
        return self.rejected.positions_of(self.places)

    def refused(self, row: int, rule: str, message: str) -> RejectedRow:
        """A valid row, by its place among them, that could not be stored: as it was before conversion."""
        return self.rejected.also(int(self.places[row]), rule, message)


@dataclass(frozen=True, kw_only=True)
class ContractColumn:
    """A column of a contract.

    Attributes:
        name: Its name in frame and table.
        target: What its cells are converted to.
        dtype: pandas dtype of the column in `Split.valid`.
        postgres_type: PostgreSQL type of the column.
        nullable: Whether NULL is allowed.
        required: Whether a frame must have it; a missing optional column is filled with NULL.
        primary_key: Whether it is part of the key.
        unique: Whether its values are unique by themselves.
        description: What it means.
        constraints: Its checks in words.
        fresh_within: How old its newest value may be; None for no limit.
    """

    name: str
    target: Target
    dtype: Any
    postgres_type: str
    nullable: bool
    required: bool
    primary_key: bool
    unique: bool
    description: str | None
    constraints: tuple[str, ...]
    fresh_within: datetime.timedelta | None = None


_KEEP: Mapping[str, Keep] = {"all": False, "exclude_first": "first", "exclude_last": "last"}


class Contract:
    """A pandera model, read once. Build it with `Contract.of`."""

    def __init__(self, model: type[pa.DataFrameModel]) -> None:
        self.name = model.__name__
        try:
            self._schema = model.to_schema()
            # pandera registers how its checks run on pandas when a schema first looks for its backend.
            self._schema.get_backend(check_type=pd.DataFrame)
        except Exception as error:  # pandera raises several unrelated types here
            raise ContractDefinitionError(
                self.name, f"pandera cannot read the model ({error}).", "correct the annotation it names."
            ) from error
        declared = declared_metadata(model)
        refuse_misspelt(declared, ("primary_key", "rules", "indexes"), self.name)
        self.description = inspect.cleandoc(model.__dict__.get("__doc__") or "")
        self.primary_key = tuple(declared.get("primary_key", ()))
        self._keep: Keep = _KEEP[self._schema.report_duplicates]
        unknown = [name for name in self.primary_key if name not in self._schema.columns]
        if unknown:
            raise ContractDefinitionError(
                self.name, f"the primary key names {unknown}; columns: {list(self._schema.columns)}.", "correct Config.metadata."
            )
        self.columns = tuple(self._column(name, column) for name, column in self._schema.columns.items())
        self._evaluations = read_evaluations(self.name, self._schema, self.columns, self.primary_key, by_rule=declared.get("rules", {}))
        by_column = {name: column.metadata or {} for name, column in self._schema.columns.items()}
        self._indexes = indexes_of(self.name, by_column, declared.get("indexes", ()))

    @staticmethod
    @functools.cache
    def of(model: type[pa.DataFrameModel]) -> "Contract":
        """The contract of a pandera model.

        Raises:
            ContractDefinitionError: pandera cannot read it, a column has no PostgreSQL type, or a severity is unknown.
        """
        return Contract(model)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule about rows, in the order of the columns."""
        return tuple(evaluation.rule for evaluation in self._evaluations)

    @property
    def unique_rules(self) -> tuple[UniqueRule, ...]:
        """Which columns are unique together, for rows that come in batches."""
        return tuple(UniqueRule(name=rule.name, columns=rule.columns, keep=self._keep) for rule in self.rules if rule.kind == "unique")

    @property
    def references(self) -> tuple[Reference, ...]:
        """The keys of other assets that columns reference."""
        return tuple(evaluation.reference for evaluation in self._evaluations if evaluation.reference is not None)

    @property
    def freshness(self) -> Mapping[str, datetime.timedelta]:
        """How old the newest value of a column may be, by column."""
        return {column.name: column.fresh_within for column in self.columns if column.fresh_within is not None}

    @property
    def table(self) -> TableSpec:
        """The PostgreSQL table that holds rows of this contract."""
        unique = [tuple(self._schema.unique)] if self._schema.unique else []
        unique += [(column.name,) for column in self.columns if column.unique]
        return TableSpec(
            columns=tuple(
                ColumnSpec(name=c.name, type=c.postgres_type, nullable=c.nullable and not c.primary_key, comment=c.description)
                for c in self.columns
            ),
            primary_key=self.primary_key,
            unique=tuple(key for key in dict.fromkeys(unique) if key != self.primary_key),
            checks=checks_of(self._evaluations, {column.name: column.postgres_type for column in self.columns}),
            indexes=self._indexes,
            comment=self.description.split("\n\n")[0] or None,
        )

    def require_columns(self, frame: pd.DataFrame, *, where: str) -> None:
        """Compare the columns of a frame with the declared ones; `source_position` may always come along.

        Raises:
            ContractViolationError: Columns are missing, undeclared or repeated; both sets are named.
        """
        given = [str(name) for name in frame.columns]
        repeated = sorted({name for name in given if given.count(name) > 1})
        # A source of records that sends none tells no columns either.
        nothing = not len(frame) and set(given) <= {SOURCE_POSITION}
        missing = [] if nothing else [c.name for c in self.columns if c.required and c.name not in given]
        known = {c.name for c in self.columns} | {SOURCE_POSITION}
        undeclared = [name for name in given if name not in known]
        if repeated or missing or undeclared:
            parts = [
                f"{label} {names}" for label, names in (("missing", missing), ("undeclared", undeclared), ("repeated", repeated)) if names
            ]
            raise ContractViolationError(
                where,
                f"the columns are not those of contract {self.name}: {'; '.join(parts)}. "
                f"Declared: {[c.name for c in self.columns]}; returned: {given}.",
                "select, rename or derive columns in the asset, or change the contract.",
            )

    def split(self, frame: pd.DataFrame, *, where: str, lookup: Lookup | None = None, unique: bool = True, rows_before: int = 0) -> Split:
        """Convert the columns, evaluate every rule, and part the rows.

        Args:
            frame: Any index; columns as declared, in any order, and optionally `source_position`.
            where: Asset key, for errors.
            lookup: Gives the keys of another asset's table, for rules that reference it; None leaves those rules out.
            unique: Judge rules of uniqueness; not where the frame is only one batch of the rows.
            rows_before: Rows of earlier batches, for the positions of rows that have no other.

        Raises:
            ContractViolationError: The columns are not the declared ones, or a check raised an exception.
        """
        self.require_columns(frame, where=where)
        frame = frame.reset_index(drop=True)
        converted, unconverted = self._convert(frame)
        masks: dict[str, Mask] = {}
        # Uniqueness comes last and only among rows that keep all other rules: a bad copy does not drag a good row along.
        passing = np.ones(len(frame), dtype=bool)
        for evaluation in sorted(self._evaluations, key=lambda e: e.rule.kind == "unique"):
            left_out = {"reference": lookup is None, "unique": not unique}.get(evaluation.rule.kind, False)
            if left_out:
                mask: Mask = np.zeros(len(frame), dtype=bool)
            else:
                mask = mask_of(evaluation, converted, unconverted, passing, keep=self._keep, lookup=lookup, where=where)
            masks[evaluation.rule.name] = mask
            if evaluation.rule.kind != "unique" and evaluation.rule.severity is not Severity.WARN:
                passing &= ~mask
        positions = self._positions(frame)
        outcomes = tuple(
            RuleOutcome(
                rule=rule,
                rows=len(frame),
                failed_rows=int(masks[rule.name].sum()),
                samples=samples_of(frame, rule, masks[rule.name], positions, rows_before),
            )
            for rule in self.rules
        )
        rejecting = [rule for rule in self.rules if rule.severity is not Severity.WARN]
        bad: Mask = np.zeros(len(frame), dtype=bool)
        for rule in rejecting:
            bad |= masks[rule.name]
        return Split(
            valid=self._valid(converted, ~bad),
            kept=~bad,
            rejected=RejectedRows(frame, bad, rejecting, masks, rows_before),
            outcomes=outcomes,
        )

    # -- reading the model ------------------------------------------------------------------------------------------

    def _column(self, name: str, column: pa.Column) -> ContractColumn:
        where = f"{self.name}.{name}"
        refuse_misspelt(column.metadata or {}, ("severity", "most_failed", "postgres_type", "references", "fresh_within", "index"), where)
        declared = (column.metadata or {}).get("postgres_type")
        converts_to, from_dtype = target(column.dtype, where)
        postgres_type = canonical_name(declared) if declared else from_dtype
        if postgres_type is None:
            raise ContractDefinitionError(
                where, f"the dtype {column.dtype} does not say which PostgreSQL type stores it.",
                'add Field(metadata={"postgres_type": "jsonb"}) or the type you want.',
            )  # fmt: skip
        # Dates and kept objects are objects to pandas, whatever pandera calls them.
        as_objects = converts_to.name in ("date", "any") or column.dtype is None
        dtype = converts_to.dtype if as_objects else getattr(column.dtype, "type", converts_to.dtype)
        return ContractColumn(
            name=name,
            target=converts_to,
            dtype=dtype,
            postgres_type=postgres_type,
            nullable=column.nullable or not column.required,
            required=column.required,
            primary_key=name in self.primary_key,
            unique=column.unique,
            description=column.description,
            constraints=tuple(words_of(check) for check in column.checks),
            fresh_within=freshness(column.metadata or {}, converts_to, where),
        )

    # -- splitting a frame ------------------------------------------------------------------------------------------

    def _convert(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Mask]]:
        def done(column: ContractColumn) -> Converted:
            if column.name in frame:
                return convert(frame[column.name], column.target)
            nulls = pd.Series([None] * len(frame), dtype=column.target.dtype)
            return Converted(values=nulls, failed=np.zeros(len(frame), dtype=bool))

        found = dict(zip([column.name for column in self.columns], each_column(done, self.columns, len(frame)), strict=True))
        values = {name: converted.values for name, converted in found.items()}
        return pd.DataFrame(values, index=frame.index, copy=False), {name: converted.failed for name, converted in found.items()}

    def _valid(self, converted: pd.DataFrame, keep: Mask) -> pd.DataFrame:
        kept = converted if keep.all() else rows_where(converted, keep).reset_index(drop=True)
        others = {c.name: c.dtype for c in self.columns if can_hold(c.dtype, kept[c.name])}
        return kept.astype(others) if others else kept

    @staticmethod
    def _positions(frame: pd.DataFrame) -> "pd.Series[Any] | None":
        return frame.get(SOURCE_POSITION)


__all__ = ["Contract", "ContractColumn", "Split"]
