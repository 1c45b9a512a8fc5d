"""Dropped rows: by a rule that has a name, or because they are repeated; and values out of range.

In real inventories exact repeats are often separate items, so a de-duplication needs a key and an order. Not here: NULLs (`missing.py`).
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from etl_assets.cleaning.step import Step, converted_only
from etl_assets.conversion import Unconverted
from etl_assets.errors import ContractDefinitionError
from etl_assets.frames import rows_where


def drop_rows(rule: str, which: Callable[[pd.DataFrame], "pd.Series[bool]"]) -> Step:
    """Drop the rows for which `which` is true.

    Args:
        rule: Why they go, shown in the report and counted as dropped.
        which: Takes the frame, returns one boolean per row; unknown (NULL) keeps the row.
    """

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        dropped = which(frame).fillna(False).astype(bool).reindex(frame.index)
        return rows_where(frame, ~dropped.to_numpy())

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
        keys = frame[list(key)]
        # Only rows that share their key are put in order.
        shared = np.flatnonzero(keys.duplicated(keep=False).to_numpy() & keys.notna().all(axis=1).to_numpy())
        order = pd.DataFrame({name: _orderable(frame[name]).iloc[shared].set_axis(shared) for name in order_by})
        places = order.sort_values(list(order_by), kind="stable", na_position=losers).index
        stays = np.ones(len(frame), dtype=bool)
        stays[places[keys.iloc[places].duplicated(keep=keep)]] = False
        return rows_where(frame, stays)

    return Step(
        name=f"deduplicate on {', '.join(key)}, keep the {keep} by {', '.join(order_by)}",
        function=run,
        columns=(*key, *order_by),
        drops_rows=True,
        by_row=False,
    )


def outliers(
    column: str,
    *,
    low: float | Decimal | None = None,
    high: float | Decimal | None = None,
    spread: float | None = None,
    action: Literal["refuse", "null", "clip"] = "refuse",
) -> Step:
    """Treat numbers that lie too far out.

    Args:
        column: Numbers, or plain text that stands for numbers.
        low: Smallest allowed value; None for none.
        high: Largest allowed value; None for none.
        spread: Instead of bounds: so many times the distance between the quartiles beyond them (Tukey's fences; 1.5 is usual). The
            bounds then depend on the rows of this run, and are reported.
        action: "refuse" them (they keep their value as text and go to the quarantine), read them as "null", or "clip" them to the bound.

    Raises:
        ContractDefinitionError: Neither bounds nor spread, or both; an unknown action.
    """
    bounded = low is not None or high is not None
    if bounded == (spread is not None) or action not in ("refuse", "null", "clip") or (spread is not None and spread <= 0):
        raise ContractDefinitionError(
            f"outliers({column!r})", f"low={low}, high={high}, spread={spread}, action={action!r} cannot be used together.",
            "give low, high or both, or else spread; refuse, null or clip.",
        )  # fmt: skip

    def bounds(frame: pd.DataFrame) -> tuple[Any, Any]:
        if spread is None:
            return low, high
        numbers = _numbers(frame[column]).dropna()
        if numbers.empty:
            return None, None
        first, third = numbers.quantile(0.25), numbers.quantile(0.75)
        return first - spread * (third - first), third + spread * (third - first)

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        values, numbers = frame[column], _numbers(frame[column])
        lowest, highest = bounds(frame)
        below = numbers < float(lowest) if lowest is not None else pd.Series(False, index=numbers.index)
        above = numbers > float(highest) if highest is not None else pd.Series(False, index=numbers.index)
        if not (below | above).any():
            return frame
        if action == "null":
            return frame.assign(**{column: values.mask((below | above).to_numpy())})
        cells: list[Any] = list(values.astype(object).where(values.notna(), None))
        is_text = isinstance(values.dtype, pd.StringDtype)
        for place in map(int, np.flatnonzero((below | above).to_numpy())):
            if action == "refuse":
                cells[place] = Unconverted(str(cells[place]))
            else:
                bound = lowest if below.iat[place] else highest
                cells[place] = str(bound) if is_text else type(cells[place])(bound)
        clipped = pd.Series(cells, index=values.index, dtype=object)
        return frame.assign(**{column: clipped.astype(values.dtype) if action == "clip" else clipped})

    def notes(before: pd.DataFrame, after: pd.DataFrame) -> str:
        lowest, highest = bounds(before)
        return f"allowed: {'' if lowest is None else lowest} to {'' if highest is None else highest}"

    shown = f"beyond {spread} times the quartiles' distance" if spread is not None else f"outside {low} to {high}"
    return Step(name=f"{action} {column} {shown}", function=run, columns=(column,), by_row=False, notes=notes)


def _numbers(values: "pd.Series[Any]") -> "pd.Series[float]":
    """Cells as numbers for comparing; NaN for NULL and for what is none."""
    return pd.to_numeric(converted_only(values), errors="coerce").astype("float64")


def _orderable(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """The values, text that stands among converted values taken out."""
    if not pd.api.types.is_object_dtype(values.dtype):
        return values
    is_text = values.map(lambda value: isinstance(value, str)).astype(bool)
    return values.mask(is_text) if is_text.any() and not (is_text | values.isna()).all() else values


__all__ = ["deduplicate", "drop_rows", "outliers"]
