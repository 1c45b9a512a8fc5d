"""NULLs: rows without a value dropped, or the value filled by a constant, from the row before, or by a statistic of its group.

Not here: texts that mean NULL (`text.py`).
"""

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from etl_assets.cleaning.step import Step, converted_only
from etl_assets.errors import ContractDefinitionError
from etl_assets.frames import rows_where

Statistic = Literal["mean", "median", "mode", "min", "max"]


def drop_missing(*columns: str) -> Step:
    """Drop the rows where one of these columns is NULL; they are counted as dropped by this rule."""
    if not columns:
        raise ContractDefinitionError("drop_missing", "it names no column.", "name one.")

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return rows_where(frame, frame[list(columns)].notna().all(axis=1).to_numpy())

    return Step(name=f"drop rows without {' or '.join(columns)}", function=run, columns=columns, drops_rows=True)


def fill_missing(values: dict[str, Any]) -> Step:
    """Put a constant where a column is NULL, such as `{"country": "unknown", "pieces": "0"}`: text where the column is still text."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: frame[name].where(frame[name].notna(), value) for name, value in values.items()})

    shown = ", ".join(f"{name} by {value!r}" for name, value in values.items())
    return Step(name=f"fill {shown}", function=run, columns=tuple(values))


def fill_forward(column: str, *, order_by: Sequence[str], within: Sequence[str] = ()) -> Step:
    """Put the last value before it where a column is NULL.

    Args:
        column: The column.
        order_by: Columns whose order says what is before; rows of one order keep theirs. Text is compared as text.
        within: Columns of a group that values do not leave; rows whose group has a NULL stay as they are.

    Raises:
        ContractDefinitionError: There is no order.
    """
    if not order_by:
        raise ContractDefinitionError("fill_forward", "it has no order_by.", "name the columns that say what is before.")

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        ordered = frame.reset_index(drop=True).sort_values(list(order_by), kind="stable")
        filled = ordered.groupby(list(within), sort=False)[column].ffill() if within else ordered[column].ffill()
        return frame.assign(**{column: filled.sort_index().where(ordered[column].isna().sort_index(), frame[column].array).array})

    grouped = f" within {', '.join(within)}" if within else ""
    return Step(
        name=f"fill {column} forward by {', '.join(order_by)}{grouped}",
        function=run,
        columns=(column, *order_by, *within),
        by_row=False,
    )


def fill_by_group(column: str, *, by: Sequence[str], statistic: Statistic) -> Step:
    """Put a statistic of its group where a column is NULL; a group without values stays NULL.

    Args:
        column: Numbers; any values for "mode", which takes the first in order where several are as frequent.
        by: Columns of the group; rows whose group has a NULL stay as they are.
        statistic: "mean", "median", "mode", "min" or "max".

    Raises:
        ContractDefinitionError: The statistic is unknown, or there is no group.
    """
    if statistic not in ("mean", "median", "mode", "min", "max") or not by:
        raise ContractDefinitionError(
            "fill_by_group", f"statistic={statistic!r}, by={list(by)} cannot be used.", "name mean, median, mode, min or max, and a group."
        )

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].reset_index(drop=True)
        counted = converted_only(values)
        if statistic != "mode" and isinstance(counted.dtype, pd.StringDtype):
            raise TypeError(f"{column} is text; give it a type first, as in as_type({column!r}, type='float')")
        groups = [frame[name].reset_index(drop=True) for name in by]
        if statistic == "mode":
            found = counted.groupby(groups).transform(_mode)
        else:
            numbers = counted.astype(float) if counted.dtype == object else counted
            found = numbers.groupby(groups).transform(statistic)
        if values.dtype.kind in "iu" and statistic in ("mean", "median"):
            found = found.astype("Float64")
        gaps = values.isna()
        filled = found.where(gaps, values.astype(found.dtype) if values.dtype != object else values)
        return frame.assign(**{column: filled.array})

    return Step(name=f"fill {column} by the {statistic} of {', '.join(by)}", function=run, columns=(column, *by), by_row=False)


def _mode(values: "pd.Series[Any]") -> Any:
    found = values.mode()
    return found.iloc[0] if len(found) else None


__all__ = ["Statistic", "drop_missing", "fill_by_group", "fill_forward", "fill_missing"]
