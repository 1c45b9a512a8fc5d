"""One rule of a contract: what it says, which rows break it, and how those are shown and kept.

Rows are told apart by boolean masks over a frame with a RangeIndex. Counts are true, samples are capped.

Not here: which rules a contract has, and what becomes of the rows (`contracts.py`).
"""

import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from etl_assets.accounting import SOURCE_POSITION
from etl_assets.errors import ContractViolationError
from etl_assets.frames import json_value
from etl_assets.loading.table import RejectedRow

SAMPLE_ROWS = 5
SAMPLE_CHARACTERS = 200
_CHUNK_ROWS = 10_000
Mask = npt.NDArray[np.bool_]
# pandera's comparisons by the names people give them in Field(...), with their sign.
COMPARISONS = {
    "equal_to": ("eq", "="),
    "not_equal_to": ("ne", "<>"),
    "greater_than": ("gt", ">"),
    "greater_than_or_equal_to": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_or_equal_to": ("le", "<="),
}


RuleKind = Literal["type", "not_null", "check", "unique", "reference"]


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
        most_failed: Above so many rows, or such a share of them below 1, nothing is loaded; None for no limit of its own.
    """

    name: str
    columns: tuple[str, ...]
    says: str
    severity: Severity
    kind: RuleKind
    most_failed: float | None = None


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

    @property
    def over_limit(self) -> bool:
        """Whether more rows broke the rule than its own limit allows."""
        most = self.rule.most_failed
        return most is not None and self.failed_rows > (most * self.rows if most < 1 else most)


def words_of(check: pa.Check) -> str:
    statistics = check.statistics or {}
    if check.name in COMPARISONS and len(statistics) == 1:
        return f"{COMPARISONS[check.name][1]} {next(iter(statistics.values()))}"
    said = check.description or check.error or check.title or (check.name or "check").replace("_", " ")
    return str(said)


def rows_breaking(check: pa.Check, checked: Any, rule: Rule, where: str) -> Mask:
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
        breaks = ~outcome.fillna(True).to_numpy(dtype=bool) if outcome.hasnans else ~outcome.to_numpy(dtype=bool)
        if len(breaks) == len(checked):
            return breaks
        # pandera leaves NULLs out; labels are places, because the frame has a RangeIndex.
        broken = np.zeros(len(checked), dtype=bool)
        broken[outcome.index.to_numpy()] = breaks
        return broken
    # A check of the whole column at once: when it fails, it fails for every row.
    return np.full(len(checked), not bool(outcome))


def samples_of(frame: pd.DataFrame, rule: Rule, mask: Mask, positions: "pd.Series[Any] | None", rows_before: int) -> tuple[Sample, ...]:
    return tuple(
        Sample(position=_position(positions, int(place), rows_before), value=_values(frame, rule, int(place)))
        for place in np.flatnonzero(mask)[:SAMPLE_ROWS]
    )


def _position(positions: "pd.Series[Any] | None", place: int, rows_before: int) -> str:
    known = positions is not None and bool(positions.notna().iat[place])
    return str(positions.iat[place]) if positions is not None and known else f"row {rows_before + place + 1}"


def _values(frame: pd.DataFrame, rule: Rule, place: int) -> str:
    names = rule.columns or [name for name in frame.columns if name != SOURCE_POSITION]
    return _given({str(name): frame[name].iat[place] for name in names if name in frame}, rule)


class RejectedRows(Sequence[RejectedRow]):
    """Rows that break rules, each made when it is asked for: two million of them cost no more memory than their frame.

    Args:
        frame: The rows as they were before conversion; RangeIndex.
        bad: Which of them are rejected.
        rules: Rules that reject.
        masks: Which rows break each of them.
        rows_before: Rows of earlier batches.
    """

    def __init__(self, frame: pd.DataFrame, bad: Mask, rules: Sequence[Rule], masks: Mapping[str, Mask], rows_before: int = 0) -> None:
        self._rows_before = rows_before
        self._frame = frame
        self._places = np.flatnonzero(bad)
        self._rules = rules
        self._masks = masks

    def __len__(self) -> int:
        return len(self._places)

    @typing.overload
    def __getitem__(self, index: int) -> RejectedRow: ...
    @typing.overload
    def __getitem__(self, index: slice) -> Sequence[RejectedRow]: ...
    def __getitem__(self, index: int | slice) -> RejectedRow | Sequence[RejectedRow]:
        if isinstance(index, slice):
            return tuple(self._made(self._places[index]))
        return next(iter(self._made(self._places[[index]])))

    def __iter__(self) -> Iterator[RejectedRow]:
        for start in range(0, len(self._places), _CHUNK_ROWS):
            yield from self._made(self._places[start : start + _CHUNK_ROWS])

    def _made(self, places: npt.NDArray[np.int_]) -> Iterator[RejectedRow]:
        broken_by = [(rule, self._masks[rule.name][places]) for rule in self._rules]
        for row, (position, record) in enumerate(self._records(places)):
            broken = [rule for rule, mask in broken_by if mask[row]]
            message = "; ".join(f"{rule.says} (given: {_given(record, rule)})" for rule in broken)
            yield _rejected(position, record, tuple(rule.name for rule in broken), message)

    def _records(self, places: npt.NDArray[np.int_]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Where rows stood, and what they were before conversion."""
        positions = self._frame.get(SOURCE_POSITION)
        names = [str(name) for name in self._frame.columns if name != SOURCE_POSITION]
        records = self._frame[names].iloc[places].astype(object).itertuples(index=False, name=None)
        for place, values in zip(map(int, places), records, strict=True):
            yield _position(positions, place, self._rows_before), dict(zip(names, values, strict=True))

    def positions_of(self, places: npt.NDArray[np.int_]) -> list[str]:
        """Where rows stood, by their places in the frame."""
        numbers = (places + self._rows_before + 1).tolist()
        positions = self._frame.get(SOURCE_POSITION)
        if positions is None:
            return [f"row {number}" for number in numbers]
        known = positions.iloc[places]
        return [
            f"row {number}" if missing else str(position)
            for number, position, missing in zip(numbers, known.tolist(), known.isna().tolist(), strict=True)
        ]

    def also(self, place: int, rule: str, message: str) -> RejectedRow:
        """A row that keeps the contract and was refused by something else, by its place in the frame."""
        ((position, record),) = self._records(np.array([place]))
        return _rejected(position, record, (rule,), message)


def _rejected(position: str, record: Mapping[str, Any], rules: tuple[str, ...], message: str) -> RejectedRow:
    text = json.dumps({name: json_value(value) for name, value in record.items()}, ensure_ascii=False)
    return RejectedRow(position=position, record=text, rules=rules, message=message)


def _given(record: Mapping[str, Any], rule: Rule) -> str:
    return ", ".join(f"{name}={record[name]!s}" for name in rule.columns or record if name in record)[:SAMPLE_CHARACTERS]


__all__ = [
    "COMPARISONS", "Mask", "RejectedRows", "Rule", "RuleKind", "RuleOutcome", "Sample", "Severity", "rows_breaking", "samples_of",
    "words_of",
]  # fmt: skip
