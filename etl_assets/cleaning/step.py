"""What a step is: a named function from frame to frame that is timed, reported, and held to the rows it was given.

Not here: what steps do.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from etl_assets.accounting import SOURCE_POSITION, Change, StepReport, record_step
from etl_assets.conversion import Unconverted
from etl_assets.errors import CleaningError

logger = logging.getLogger(__name__)

SAMPLES = 5
_SAMPLE_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class Step:
    """A named function from frame to frame; calling it runs and reports it.

    Attributes:
        name: What it does and to which columns, shown in the report.
        function: Pure; returns a new frame.
        columns: Columns it may change, for counting; None for all.
        drops_rows: Whether it may return fewer rows.
        by_row: The function treats each row by itself, so that the first one it fails for can be looked for.
        shows_values: The report may show values; not of a step that hides them.
        notes: What else to report, from the frame before and the frame after.
    """

    name: str
    function: Callable[[pd.DataFrame], pd.DataFrame]
    columns: tuple[str, ...] | None = None
    drops_rows: bool = False
    by_row: bool = True
    shows_values: bool = True
    notes: Callable[[pd.DataFrame, pd.DataFrame], str] | None = None

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Run the step on a frame and report what it changed.

        Raises:
            CleaningError: A column is missing, the function raised, or rows vanished that the step may not drop. The message names
                the function and the first row it fails for, where one row alone makes it fail.
        """
        where = f"step {self.name}"
        if not frame.columns.is_unique:
            raise CleaningError(where, f"columns of the frame repeat: {list(frame.columns)}.", "name them apart before.")
        missing = [name for name in self.columns or () if name not in frame]
        if missing:
            raise CleaningError(where, f"the frame lacks {missing}; present: {list(frame.columns)}.", "correct the step or its order.")
        started = time.perf_counter()
        try:
            # A shallow copy: a function that assigns to its argument does not change the caller's frame.
            result = self.function(frame.copy(deep=False))
        except CleaningError:
            raise
        except Exception as error:
            place = self._first_failing(frame) if self.by_row else None
            at = "" if place is None else f" at {place}"
            raise CleaningError(
                where, f"it raised {type(error).__name__} ({error}){at}.", "correct the step or the rows it was given."
            ) from error
        if not isinstance(result, pd.DataFrame):
            raise CleaningError(where, f"it returned a {type(result).__name__}.", "return a DataFrame.")
        if len(result) != len(frame) and not (self.drops_rows and len(result) < len(frame)):
            raise CleaningError(where, f"it made {len(result)} of {len(frame)} rows.", "drop rows with drop_rows or deduplicate only.")
        seconds = time.perf_counter() - started
        changed, samples = _changes(frame, result, self.columns)
        report = StepReport(
            step=self.name,
            rows_in=len(frame),
            rows_out=len(result),
            cells_changed=changed,
            seconds=seconds,
            samples=samples if self.shows_values else (),
            notes=self.notes(frame, result) if self.notes is not None else "",
        )
        record_step(report)
        logger.info("%s: %d -> %d rows, %d cells changed, %.3f s", self.name, len(frame), len(result), changed, seconds)
        return result

    def _first_failing(self, frame: pd.DataFrame) -> str | None:
        """The first row that alone makes the function fail, by halving; None when no single row does."""
        low, high = 0, len(frame)
        while high - low > 1:
            middle = (low + high) // 2
            if self._fails(frame.iloc[low:middle]):
                high = middle
            else:
                low = middle
        return position_of(frame, low) if high - low == 1 and self._fails(frame.iloc[low:high]) else None

    def _fails(self, rows: pd.DataFrame) -> bool:
        try:
            self.function(rows.copy())
        except Exception:
            return True
        return False


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


def position_of(frame: pd.DataFrame, place: int) -> str:
    """Where a row stood in its source, or its number in the frame, counted from 1."""
    if SOURCE_POSITION in frame:
        position = frame[SOURCE_POSITION].iat[place]
        if isinstance(position, str):
            return position
    return f"row {place + 1}"


def each(values: "pd.Series[Any]", known: Mapping[Any, Any]) -> "pd.Series[Any]":
    """Each value by what it becomes, as objects: pandas would make text of a column that is all text, and forget which was refused."""
    cells = [None if gone else known[value] for value, gone in zip(values.array, values.isna(), strict=True)]
    return pd.Series(cells, index=values.index, dtype=object)


def converted_only(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """The column with NULL where a notation refused the text, for steps that count with its values."""
    if values.dtype != object:
        return values
    return values.map(lambda value: None if isinstance(value, Unconverted) else value)


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
            samples.append(Change(column=str(name), before=_shown(old.iat[place]), after=_shown(new.iat[place])))
    added = [name for name in after.columns if name not in before] if columns is None else []
    changed += sum(int(after[name].notna().sum()) for name in added)
    return changed, tuple(samples)


def _shown(value: Any) -> str:
    missing: Any = pd.isna(value)
    return "NULL" if missing is True else str(value)[:_SAMPLE_CHARACTERS]


__all__ = ["SAMPLES", "Step", "clean", "converted_only", "each", "position_of"]
