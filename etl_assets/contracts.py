"""AGREE: a pandera model as a data contract. From one model follow the checks, the columns people see, the PostgreSQL table, and the
split of a frame into rows that keep the contract and rows that go to the quarantine.

A frame is split in two passes: each column is converted to its declared type (a cell that does not convert keeps its text in the
quarantine), then every rule of the model is evaluated as a mask over the rows. Counts are true, samples are capped.

What pandera's model says is meant as pandera means it; three things are read from `metadata`:

    Field(metadata={"severity": "warn"})            warn, quarantine (default) or fail, for the rules of this column
    Field(metadata={"postgres_type": "jsonb"})      where the dtype alone does not name a PostgreSQL type
    class Config: metadata = {"primary_key": [...]} the key of the table

Belongs here: the meaning of a contract. Not here: Dagster (`assets.py`), SQL (`loading/`), how text becomes numbers
(`conversion.py`).
"""

import functools
import inspect
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa
from pandera.engines import pandas_engine
from pyarrow import types as pa_types

from etl_assets import conversion
from etl_assets.accounting import SOURCE_POSITION
from etl_assets.conversion import Target, convert
from etl_assets.errors import ContractDefinitionError, ContractViolationError
from etl_assets.loading.table import ColumnSpec, RejectedRow, TableSpec
from etl_assets.postgres.types import canonical_name, from_pandas_dtype

SAMPLE_ROWS = 5
SAMPLE_CHARACTERS = 200
Mask = npt.NDArray[np.bool_]
# pandera's comparisons by the names people give them in Field(...), with their sign.
_COMPARISONS = {
    "equal_to": ("eq", "="),
    "not_equal_to": ("ne", "<>"),
    "greater_than": ("gt", ">"),
    "greater_than_or_equal_to": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_or_equal_to": ("le", "<="),
}


class Severity(StrEnum):
    """What a broken rule does."""

    WARN = "warn"
    """The row is loaded; the check reports a warning."""
    QUARANTINE = "quarantine"
    """The row goes to the quarantine; the rest is loaded."""
    FAIL = "fail"
    """Nothing is loaded; the rows that broke it are in the quarantine."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of a contract.

    Attributes:
        name: Unique in the contract; letters, digits and underscores.
        columns: Columns it is about; empty for a rule about whole rows.
        says: The rule in words.
        severity: What breaking it does.
        kind: What sort of rule it is.
    """

    name: str
    columns: tuple[str, ...]
    says: str
    severity: Severity
    kind: Literal["type", "not_null", "check", "unique"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row that broke a rule.

    Attributes:
        position: Where it stood in its source, or its number in the frame.
        value: The offending value or values.
    """

    position: str
    value: str


@dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """What evaluating a rule gave.

    Attributes:
        rule: The rule.
        rows: Rows it was evaluated on.
        failed_rows: Rows that broke it.
        samples: A few of them.
    """

    rule: Rule
    rows: int
    failed_rows: int
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Split:
    """A frame after its contract.

    Attributes:
        valid: Rows that keep the contract, in the declared columns, order and types; RangeIndex.
        rejected: The other rows, each once, with every rule it broke.
        outcomes: One per rule of the contract, in its order.
    """

    valid: pd.DataFrame
    rejected: tuple[RejectedRow, ...] = field(repr=False)
    outcomes: tuple[RuleOutcome, ...]

    @property
    def failed_rules(self) -> tuple[str, ...]:
        """Rules of severity "fail" that were broken."""
        return tuple(o.rule.name for o in self.outcomes if o.failed_rows and o.rule.severity is Severity.FAIL)


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


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """A rule, with pandera's check when it is one."""

    rule: Rule
    check: pa.Check | None = None


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
        declared = _declared_metadata(model)
        self.description = inspect.cleandoc(model.__dict__.get("__doc__") or "")
        self.primary_key = tuple(declared.get("primary_key", ()))
        self._keep = {"all": False, "exclude_first": "first", "exclude_last": "last"}[self._schema.report_duplicates]
        unknown = [name for name in self.primary_key if name not in self._schema.columns]
        if unknown:
            raise ContractDefinitionError(
                self.name, f"the primary key names {unknown}; columns: {list(self._schema.columns)}.", "correct Config.metadata."
            )
        self.columns = tuple(self._column(name, column) for name, column in self._schema.columns.items())
        self._evaluations = self._read_rules()

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
            comment=self.description.split("\n\n")[0] or None,
        )

    def require_columns(self, frame: pd.DataFrame, *, where: str) -> None:
        """Compare the columns of a frame with the declared ones; `source_position` may always come along.

        Raises:
            ContractViolationError: Columns are missing, undeclared or repeated; both sets are named.
        """
        given = [str(name) for name in frame.columns]
        repeated = sorted({name for name in given if given.count(name) > 1})
        missing = [c.name for c in self.columns if c.required and c.name not in given]
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

    def split(self, frame: pd.DataFrame, *, where: str) -> Split:
        """Convert the columns, evaluate every rule, and part the rows.

        Args:
            frame: Any index; columns as declared, in any order, and optionally `source_position`.
            where: Asset key, for errors.

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
            mask = self._mask(evaluation, converted, unconverted, passing, where)
            masks[evaluation.rule.name] = mask
            if evaluation.rule.kind != "unique" and evaluation.rule.severity is not Severity.WARN:
                passing &= ~mask
        positions = self._positions(frame)
        outcomes = tuple(
            RuleOutcome(
                rule=rule,
                rows=len(frame),
                failed_rows=int(masks[rule.name].sum()),
                samples=_samples(frame, rule, masks[rule.name], positions),
            )
            for rule in self.rules
        )
        rejecting = [rule for rule in self.rules if rule.severity is not Severity.WARN]
        bad: Mask = np.zeros(len(frame), dtype=bool)
        for rule in rejecting:
            bad |= masks[rule.name]
        return Split(valid=self._valid(converted, ~bad), rejected=_reject(frame, bad, rejecting, masks, positions), outcomes=outcomes)

    # -- reading the model ------------------------------------------------------------------------------------------

    def _column(self, name: str, column: pa.Column) -> ContractColumn:
        where = f"{self.name}.{name}"
        declared = (column.metadata or {}).get("postgres_type")
        target, from_dtype = _target(column.dtype, where)
        postgres_type = canonical_name(declared) if declared else from_dtype
        if postgres_type is None:
            raise ContractDefinitionError(
                where, f"the dtype {column.dtype} does not say which PostgreSQL type stores it.",
                'add Field(metadata={"postgres_type": "jsonb"}) or the type you want.',
            )  # fmt: skip
        return ContractColumn(
            name=name,
            target=target,
            dtype=target.dtype if target.name in ("date", "any") or column.dtype is None else getattr(column.dtype, "type", target.dtype),
            postgres_type=postgres_type,
            nullable=column.nullable or not column.required,
            required=column.required,
            primary_key=name in self.primary_key,
            unique=column.unique,
            description=column.description,
            constraints=tuple(_words(check) for check in column.checks),
        )

    def _read_rules(self) -> tuple[_Evaluation, ...]:
        found: list[_Evaluation] = []
        names: set[str] = set()

        def add(
            kind: Literal["type", "not_null", "check", "unique"],
            name: str,
            columns: Sequence[str],
            says: str,
            severity: Severity,
            check: pa.Check | None = None,
        ) -> None:
            # Dagster allows letters, digits and underscores; rules of one name are numbered.
            plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "rule"
            name = next(n for n in itertools.chain([plain], (f"{plain}_{number}" for number in itertools.count(2))) if n not in names)
            names.add(name)
            rule = Rule(name=name, columns=tuple(columns), says=says, severity=severity, kind=kind)
            found.append(_Evaluation(rule=rule, check=check))

        for column in self.columns:
            schema = self._schema.columns[column.name]
            severity = self._severity(column.name, schema.metadata)
            # A cell of a wrong type and a NULL where none is allowed cannot be stored, so "warn" does not apply to them.
            storing = Severity.QUARANTINE if severity is Severity.WARN else severity
            if column.target.name != "any":
                add("type", f"{column.name}_type", [column.name], f"{column.name} holds {column.target.name} values", storing)
            if not column.nullable or column.primary_key:
                add("not_null", f"{column.name}_not_null", [column.name], f"{column.name} is present", storing)
            for check in schema.checks:
                short = _COMPARISONS.get(check.name or "", (check.name or "check", ""))[0]
                says = f"{column.name} {_words(check)}"
                add("check", f"{column.name}_{short}", [column.name], says, Severity.WARN if check.raise_warning else severity, check)
            if column.unique and (column.name,) != self.primary_key:
                add("unique", f"{column.name}_unique", [column.name], f"{column.name} is unique", storing)
        for check in self._schema.checks:
            add("check", check.name or "rows", [], _words(check), Severity.WARN if check.raise_warning else Severity.QUARANTINE, check)
        if self._schema.unique and tuple(self._schema.unique) != self.primary_key:
            together = list(self._schema.unique)
            add("unique", "_".join(together) + "_unique", together, f"{', '.join(together)} are unique together", Severity.QUARANTINE)
        if self.primary_key:
            add("unique", "primary_key_unique", self.primary_key, f"{', '.join(self.primary_key)} identify one row", Severity.QUARANTINE)
        return tuple(found)

    def _severity(self, column: str, metadata: dict[str, Any] | None) -> Severity:
        given = (metadata or {}).get("severity", Severity.QUARANTINE)
        try:
            return Severity(given)
        except ValueError:
            raise ContractDefinitionError(
                f"{self.name}.{column}", f"severity {given!r} is unknown; known: {[s.value for s in Severity]}.", "correct it."
            ) from None

    # -- splitting a frame ------------------------------------------------------------------------------------------

    def _convert(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Mask]]:
        values: dict[str, Any] = {}
        unconverted: dict[str, Mask] = {}
        for column in self.columns:
            if column.name in frame:
                done = convert(frame[column.name], column.target)
                values[column.name], unconverted[column.name] = done.values, done.failed
            else:
                values[column.name] = pd.Series([None] * len(frame), dtype=column.target.dtype)
                unconverted[column.name] = np.zeros(len(frame), dtype=bool)
        return pd.DataFrame(values, index=frame.index), unconverted

    def _mask(self, evaluation: _Evaluation, frame: pd.DataFrame, unconverted: dict[str, Mask], passing: Mask, where: str) -> Mask:
        """True for each row that breaks the rule."""
        rule = evaluation.rule
        if rule.kind == "type":
            return unconverted[rule.columns[0]]
        if rule.kind == "not_null":
            return frame[rule.columns[0]].isna().to_numpy() & ~unconverted[rule.columns[0]]
        if rule.kind == "unique":
            broken: Mask = np.zeros(len(frame), dtype=bool)
            keys = frame.loc[passing, list(rule.columns)]
            # As in SQL, NULL equals nothing.
            keys = keys[keys.notna().all(axis=1)]
            repeated = keys.duplicated(keep=self._keep)  # type: ignore[arg-type]
            broken[keys.index[repeated]] = True
            return broken
        assert evaluation.check is not None
        failed = _run_check(evaluation.check, frame[rule.columns[0]] if rule.columns else frame, rule, where)
        unread = [unconverted[name] for name in rule.columns or unconverted]
        broken = failed & ~np.logical_or.reduce(unread)
        return np.asarray(broken, dtype=bool)

    def _valid(self, converted: pd.DataFrame, keep: Mask) -> pd.DataFrame:
        kept = converted if keep.all() else converted[keep].reset_index(drop=True)
        return kept.astype({c.name: c.dtype for c in self.columns if _can_hold(c.dtype, kept[c.name])})

    @staticmethod
    def _positions(frame: pd.DataFrame) -> "pd.Series[Any] | None":
        return frame.get(SOURCE_POSITION)


def _can_hold(dtype: Any, values: "pd.Series[Any]") -> bool:
    """Whether converted values take the declared dtype: a plain integer or boolean has no NULL, so the nullable form stays."""
    return values.dtype != dtype and not (getattr(dtype, "kind", "O") in "iub" and values.hasnans)


def _declared_metadata(model: type[pa.DataFrameModel]) -> dict[str, Any]:
    metadata = getattr(model.__config__, "metadata", None)
    return dict(metadata or {})


def _target(dtype: Any, where: str) -> tuple[Target, str | None]:
    """What a pandera dtype converts to, and the PostgreSQL type it names."""
    if dtype is None:
        return conversion.anything(np.dtype(object)), None
    if isinstance(dtype, pandas_engine.Date):
        return conversion.date(), "date"
    if isinstance(dtype, pandas_engine.Decimal):
        return conversion.exact_decimal(dtype.precision, dtype.scale), f"numeric({dtype.precision},{dtype.scale})"
    kind = getattr(dtype, "type", None)
    name = from_pandas_dtype(kind)
    if isinstance(kind, pd.CategoricalDtype):
        return conversion.category(kind), name
    if isinstance(kind, pd.StringDtype):
        return conversion.text(kind), name
    if isinstance(kind, pd.ArrowDtype) and kind.kind in "Mm":
        raise ContractDefinitionError(where, f"the dtype {dtype} is not supported.", "use pandas' own datetime64 or pandera's Date.")
    if isinstance(kind, pd.ArrowDtype) and pa_types.is_decimal(kind.pyarrow_dtype):
        return conversion.exact_decimal(kind.pyarrow_dtype.precision, kind.pyarrow_dtype.scale), name
    if isinstance(kind, pd.DatetimeTZDtype) or getattr(kind, "kind", "") == "M":
        return conversion.timestamp(kind), name
    letter = getattr(kind, "kind", "O")
    if letter in "iu":
        return conversion.integer(int(getattr(kind, "itemsize", 8)) * 8, signed=letter == "i"), name
    if letter == "f":
        return conversion.floating(kind), name
    if letter == "b":
        return conversion.boolean(), name
    if letter == "U":
        return conversion.text(), "text"
    if letter == "O" or isinstance(kind, pd.ArrowDtype):
        return conversion.anything(kind), name
    raise ContractDefinitionError(where, f"the dtype {dtype} is not supported.", "use a numeric, text, boolean, date or decimal type.")


def _words(check: pa.Check) -> str:
    statistics = check.statistics or {}
    if check.name in _COMPARISONS and len(statistics) == 1:
        return f"{_COMPARISONS[check.name][1]} {next(iter(statistics.values()))}"
    said = check.description or check.error or check.title or (check.name or "check").replace("_", " ")
    return str(said)


def _run_check(check: pa.Check, checked: Any, rule: Rule, where: str) -> Mask:
    """Rows that break a check. As in SQL, a comparison with NULL breaks nothing, unless the check asks for NULLs by `ignore_na=False`."""
    if len(checked) == 0:
        return np.zeros(0, dtype=bool)
    try:
        if rule.columns:
            outcome = check(checked).check_output
        else:
            # pandera's own call fails when a nullable column makes the outcome of some rows unknown.
            backend: Any = check.get_backend(checked)(check)
            outcome = backend.apply(backend.preprocess(checked, None))
    except Exception as error:
        raise ContractViolationError(
            where, f"rule {rule.name} cannot be evaluated: its check raised {type(error).__name__} ({error}).", "correct the check."
        ) from error
    if isinstance(outcome, pd.DataFrame):
        outcome = outcome.fillna(True).all(axis=1)
    if isinstance(outcome, pd.Series):
        holds = outcome.reindex(checked.index, fill_value=True) if len(outcome) != len(checked) else outcome
        return ~holds.fillna(True).astype(bool).to_numpy()
    # A check of the whole column at once: when it fails, it fails for every row.
    return np.full(len(checked), not bool(outcome))


def _samples(frame: pd.DataFrame, rule: Rule, mask: Mask, positions: "pd.Series[Any] | None") -> tuple[Sample, ...]:
    return tuple(
        Sample(position=_position(positions, int(place)), value=_values(frame, rule, int(place)))
        for place in np.flatnonzero(mask)[:SAMPLE_ROWS]
    )


def _position(positions: "pd.Series[Any] | None", place: int) -> str:
    known = positions is not None and bool(positions.notna().iat[place])
    return str(positions.iat[place]) if positions is not None and known else f"row {place + 1}"


def _values(frame: pd.DataFrame, rule: Rule, place: int) -> str:
    names = rule.columns or [name for name in frame.columns if name != SOURCE_POSITION]
    shown = ", ".join(f"{name}={frame[name].iat[place]!s}" for name in names if name in frame)
    return shown[:SAMPLE_CHARACTERS]


def _reject(
    frame: pd.DataFrame, bad: Mask, rules: Sequence[Rule], masks: dict[str, Mask], positions: "pd.Series[Any] | None"
) -> tuple[RejectedRow, ...]:
    places = np.flatnonzero(bad)
    if not len(places):
        return ()
    broken: dict[int, list[Rule]] = {int(place): [] for place in places}
    for rule in rules:
        for place in np.flatnonzero(masks[rule.name]):
            broken[int(place)].append(rule)
    names = [str(name) for name in frame.columns if name != SOURCE_POSITION]
    records = frame.loc[bad, names].astype(object).itertuples(index=False, name=None)
    return tuple(
        RejectedRow(
            position=_position(positions, place),
            record=json.dumps({name: _plain(value) for name, value in zip(names, record, strict=True)}, ensure_ascii=False),
            rules=tuple(rule.name for rule in broken[place]),
            message="; ".join(f"{rule.says} (given: {_values(frame, rule, place)})" for rule in broken[place]),
        )
        for place, record in zip(broken, records, strict=True)
    )


def _plain(value: Any) -> Any:
    """The value as JSON carries it; anything but numbers, booleans and text as its text."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    missing: Any = pd.isna(value)
    if value is None or missing is True:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else str(value)
    return str(value)


__all__ = ["Contract", "ContractColumn", "Rule", "RuleOutcome", "Sample", "Severity", "Split"]
