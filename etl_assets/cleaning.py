"""TRANSFORM: steps from frame to frame, each reporting what it changed. No Dagster, no I/O.

    PLANE_STEPS = [
        null_markers("NA"),
        map_values("manufacturer", {"AIRBUS INDUSTRIE": "AIRBUS"}),
    ]

    clean(frame, PLANE_STEPS)            # or frame.pipe(null_markers("NA"))

A step never changes its input. Values it cannot convert keep their text, and the contract sends their rows to the quarantine.
Only `drop_rows` and `deduplicate` drop rows, by a rule that has a name. Outside this module nothing that drops rows is accounted for.

Not here: conversion to the types of a contract (it does that itself, by `conversion.py`).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd

from etl_assets.accounting import SOURCE_POSITION, Change, StepReport, record_step
from etl_assets.conversion import Unconverted
from etl_assets.errors import CleaningError, ContractDefinitionError
from etl_assets.notations import NumberNotation

logger = logging.getLogger(__name__)

SAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Step:
    """A named function from frame to frame; calling it runs and reports it.

    Attributes:
        name: What it does and to which columns, shown in the report.
        function: Pure; returns a new frame.
        columns: Columns it may change, for counting; None for all.
        drops_rows: Whether it may return fewer rows.
    """

    name: str
    function: Callable[[pd.DataFrame], pd.DataFrame]
    columns: tuple[str, ...] | None = None
    drops_rows: bool = False

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Run the step on a frame and report what it changed.

        Raises:
            CleaningError: A column is missing, the function raised, or rows vanished that the step may not drop.
        """
        if not frame.columns.is_unique:
            raise CleaningError(f"step {self.name}", f"columns of the frame repeat: {list(frame.columns)}.", "name them apart before.")
        missing = [name for name in self.columns or () if name not in frame]
        if missing:
            raise CleaningError(
                f"step {self.name}", f"the frame lacks {missing}; present: {list(frame.columns)}.", "correct the step or its order."
            )
        started = time.perf_counter()
        try:
            # A shallow copy: a function that assigns to its argument does not change the caller's frame.
            result = self.function(frame.copy(deep=False))
        except Exception as error:
            raise CleaningError(
                f"step {self.name}", f"it raised {type(error).__name__} ({error}).", "correct the step or the rows it was given."
            ) from error
        if not isinstance(result, pd.DataFrame):
            raise CleaningError(f"step {self.name}", f"it returned a {type(result).__name__}.", "return a DataFrame.")
        if len(result) != len(frame) and not (self.drops_rows and len(result) < len(frame)):
            raise CleaningError(
                f"step {self.name}", f"it made {len(result)} of {len(frame)} rows.", "drop rows with drop_rows or deduplicate only."
            )
        seconds = time.perf_counter() - started
        changed, samples = _changes(frame, result, self.columns)
        report = StepReport(
            step=self.name, rows_in=len(frame), rows_out=len(result), cells_changed=changed, seconds=seconds, samples=samples
        )
        record_step(report)
        logger.info("%s: %d -> %d rows, %d cells changed, %.3f s", self.name, len(frame), len(result), changed, seconds)
        return result


def clean(frame: pd.DataFrame, steps: Sequence[Step]) -> pd.DataFrame:
    """Run the steps in order.

    Args:
        frame: Any columns; not changed.
        steps: Each sees the result of the one before.

    Returns:
        The frame after the last step; index labels are those of the rows kept.
    """
    for step in steps:
        frame = step(frame)
    return frame


# -- steps ----------------------------------------------------------------------------------------------------------------


def rename(names: Mapping[str, str]) -> Step:
    """Give columns other names; the others keep theirs."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.rename(columns=dict(names))

    shown = ", ".join(f"{before} -> {after}" for before, after in names.items())
    return Step(name=f"rename {shown}", function=run, columns=tuple(names))


def select(*columns: str) -> Step:
    """Keep these columns, in this order; `source_position` comes along when it is there."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        kept = [*columns, SOURCE_POSITION] if SOURCE_POSITION in frame and SOURCE_POSITION not in columns else list(columns)
        return frame[kept]

    return Step(name=f"select {', '.join(columns)}", function=run, columns=columns)


def null_markers(*markers: str, columns: Sequence[str] | None = None) -> Step:
    """Read exact texts such as "NA" as NULL, in the given columns or in all of text."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        chosen = list(columns) if columns is not None else [str(name) for name in frame if isinstance(frame[name].dtype, pd.StringDtype)]
        return frame.assign(**{name: frame[name].mask(frame[name].isin(markers)) for name in chosen})

    return Step(name=f"null markers {', '.join(markers)}", function=run, columns=tuple(columns) if columns is not None else None)


def trim(*columns: str) -> Step:
    """Remove white space around text; text of nothing else becomes NULL."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        trimmed = {name: _strip(frame[name]) for name in columns}
        return frame.assign(**{name: values.mask(values == "") for name, values in trimmed.items()})

    return Step(name=f"trim {', '.join(columns)}", function=run, columns=columns)


def _strip(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_object_dtype(values.dtype):
        return values.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    return values.str.strip()


def map_values(column: str, mapping: Mapping[str, str]) -> Step:
    """Replace the values that `mapping` names; the others stay."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column]
        return frame.assign(**{column: values.map(dict(mapping)).where(values.isin(mapping), values).astype(values.dtype)})

    return Step(name=f"map values of {column}", function=run, columns=(column,))


def parse_dates(column: str, format: str) -> Step:
    """Dates written in one format, such as "%m/%d/%Y", as dates; other text stays and fails the contract, an ISO date too.

    Raises:
        ContractDefinitionError: The format does not name year, month and day.
    """
    if not all(any(part in format for part in parts) for parts in (("%Y", "%y"), ("%m", "%b", "%B"), ("%d",))):
        raise ContractDefinitionError(f"parse_dates({column!r})", f"{format!r} lacks year, month or day.", "give all three.")

    def parse(text: Any) -> Any:
        try:
            return datetime.strptime(text, format).date()
        except (TypeError, ValueError):
            return Unconverted(text) if isinstance(text, str) else text

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column]
        return frame.assign(**{column: _each(values, {value: parse(value) for value in values.dropna().unique()})})

    return Step(name=f"parse dates of {column} as {format}", function=run, columns=(column,))


def parse_numbers(*columns: str, notation: NumberNotation) -> Step:
    """Numbers written as people write them, such as "1.234,50 €" or "(1,234.50)", as plain text, digit for digit.

    The contract converts the text to its type. Text in another notation stays and fails the contract, even "1.5" where the decimal mark
    is a comma. Values that are numbers already stay.

    Raises:
        ContractDefinitionError: The notation contradicts itself.
    """
    parse = notation.parser()

    def plain(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parsed = parse(value)
        return Unconverted(value) if parsed is None else parsed

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        changed: dict[str, Any] = {}
        for name in columns:
            values = frame[name]
            known = {value: plain(value) for value in values.dropna().unique()}
            if not any(isinstance(value, Unconverted) for value in known.values()) and isinstance(values.dtype, pd.StringDtype):
                changed[name] = values.map(known).astype(values.dtype)
            else:
                changed[name] = _each(values, known)
        return frame.assign(**changed)

    return Step(name=f"parse numbers of {', '.join(columns)}", function=run, columns=columns)


def derive(column: str, function: Callable[[pd.DataFrame], Any], *, named: str | None = None) -> Step:
    """Add a column, or replace it, computed from the whole frame at once.

    Args:
        column: Name of the column.
        function: Takes the frame and returns one value per row; a Series with the labels of the frame.
        named: What it computes, for the report; else the function's name.
    """

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        values = function(frame)
        if isinstance(values, pd.Series) and not values.index.equals(frame.index):
            # pandas would align by label, and so move values to other rows or lose them.
            raise ValueError("the values have other index labels than the rows; give them back in the frame's index, or as an array")
        return frame.assign(**{column: values})

    return Step(name=f"derive {column} by {named or function.__name__}", function=run)


def apply(function: Callable[[pd.DataFrame], pd.DataFrame], *, named: str | None = None) -> Step:
    """A function of your own from frame to frame, row for row."""
    return Step(name=named or function.__name__, function=function)


def drop_rows(rule: str, which: Callable[[pd.DataFrame], "pd.Series[bool]"]) -> Step:
    """Drop the rows for which `which` is true.

    Args:
        rule: Why they go, shown in the report and counted as dropped.
        which: Takes the frame, returns one boolean per row; unknown (NULL) keeps the row.
    """

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[~which(frame).fillna(False).astype(bool)]

    return Step(name=f"drop rows: {rule}", function=run, drops_rows=True)


def deduplicate(*, key: Sequence[str], order_by: Sequence[str], keep: Literal["first", "last"] = "last") -> Step:
    """Keep one row per key: the first or last in a declared order. Rows whose key has a NULL are all kept.

    Args:
        key: Columns that identify a thing.
        order_by: Columns that decide which of its rows stays. A row where one is NULL, or still text among converted values, loses.
        keep: Which end of that order.

    Raises:
        ContractDefinitionError: Key or order is empty.
    """
    if not key or not order_by:
        raise ContractDefinitionError("deduplicate", f"key {list(key)} and order_by {list(order_by)} both need columns.", "name them.")

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        losers: Literal["first", "last"] = "first" if keep == "last" else "last"
        ordered = frame.reset_index(drop=True).sort_values(list(order_by), kind="stable", key=_orderable, na_position=losers)
        repeated = ordered.duplicated(list(key), keep=keep) & ordered[list(key)].notna().all(axis=1)
        return frame[~repeated.sort_index().to_numpy()]

    return Step(
        name=f"deduplicate on {', '.join(key)}, keep the {keep} by {', '.join(order_by)}",
        function=run,
        columns=(*key, *order_by),
        drops_rows=True,
    )


def _each(values: "pd.Series[Any]", known: Mapping[Any, Any]) -> "pd.Series[Any]":
    """Each value by what it becomes, as objects: pandas would make text of a column that is all text, and forget which was refused."""
    cells = [None if gone else known[value] for value, gone in zip(values.array, values.isna(), strict=True)]
    return pd.Series(cells, index=values.index, dtype=object)


def _orderable(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """The values, text that stands among converted values taken out."""
    if not pd.api.types.is_object_dtype(values.dtype):
        return values
    is_text = values.map(lambda value: isinstance(value, str)).astype(bool)
    return values.mask(is_text) if is_text.any() and not (is_text | values.isna()).all() else values


# -- what changed ---------------------------------------------------------------------------------------------------------


def _changes(before: pd.DataFrame, after: pd.DataFrame, columns: tuple[str, ...] | None) -> tuple[int, tuple[Change, ...]]:
    """Cells that differ after a step, with a few samples; a column of another type counts each value it holds."""
    if len(before) != len(after):
        return 0, ()  # rows were dropped, the kept ones are as they were
    changed = 0
    samples: list[Change] = []
    for name in before.columns if columns is None else columns:
        if name not in after or before[name] is after[name]:
            continue
        old, new = before[name].reset_index(drop=True), after[name].reset_index(drop=True)
        if old.dtype == new.dtype:
            differs = np.asarray((old != new).fillna(False), dtype=bool) & ~(old.isna() & new.isna()).to_numpy()
            differs |= (old.isna() != new.isna()).to_numpy()
        else:
            differs = new.notna().to_numpy()
        changed += int(differs.sum())
        for place in np.flatnonzero(differs)[: SAMPLES - len(samples)]:
            samples.append(Change(column=str(name), before=str(old.iat[place])[:60], after=str(new.iat[place])[:60]))
    added = [name for name in after.columns if name not in before] if columns is None else []
    changed += sum(int(after[name].notna().sum()) for name in added)
    return changed, tuple(samples)


__all__ = [
    "Step", "apply", "clean", "deduplicate", "derive", "drop_rows", "map_values", "null_markers", "parse_dates", "parse_numbers", "rename",
    "select", "trim",
]  # fmt: skip
