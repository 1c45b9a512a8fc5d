"""Names and sets of columns, and columns computed by functions of your own.

Not here: values of one column in a declared notation (`types.py`), text (`text.py`).
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from etl_assets.accounting import SOURCE_POSITION
from etl_assets.cleaning.step import Step, position_of
from etl_assets.errors import CleaningError, ContractDefinitionError

_SHOWN_NAMES = 4
MOST_BYTES = 63
"""PostgreSQL cuts longer names without a word."""


def rename(names: Mapping[str, str]) -> Step:
    """Give columns other names; the others keep theirs."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.rename(columns=dict(names))

    shown = ", ".join(f"{before} -> {after}" for before, after in names.items())
    few = len(names) <= _SHOWN_NAMES
    return Step(
        name=f"rename {shown if few else f'{len(names)} columns'}",
        function=run,
        columns=tuple(names),
        notes=None if few else lambda before, after: shown,
    )


def snake_case_names() -> Step:
    """Give all columns names in snake_case, of at most 63 bytes.

    "First Name", "firstName" and "FIRST-NAME" become first_name. Where two columns would get one name, or a name would be too long, it
    ends with a hash of the column's own name, so that it stays the same from file to file.
    """

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.set_axis(snake_cased([str(name) for name in frame.columns]), axis=1)

    def notes(before: pd.DataFrame, after: pd.DataFrame) -> str:
        changes = [f"{old} -> {new}" for old, new in zip(before.columns, after.columns, strict=True) if old != new]
        return ", ".join(changes)

    return Step(name="names in snake_case", function=run, by_row=False, notes=notes)


def snake_cased(names: Iterable[str]) -> list[str]:
    """Distinct names in snake_case, of at most 63 bytes each; the position column keeps its own."""
    given = list(names)
    plain = {name: name if name == SOURCE_POSITION else _snake(name) for name in given}
    wanted = list(plain.values())
    # A name that is snake_case already keeps it; of the others that want it none gets it.
    return [
        name if plain[name] == name and len(name.encode()) <= MOST_BYTES
        else plain[name] if wanted.count(plain[name]) == 1 and len(plain[name].encode()) <= MOST_BYTES
        else _with_hash(plain[name], name)
        for name in given
    ]  # fmt: skip


def _snake(name: str) -> str:
    text = unicodedata.normalize("NFKC", name)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    text = re.sub(r"\W+", "_", text).strip("_").lower()
    text = re.sub(r"_+", "_", text) or "column"
    return f"_{text}" if text[0].isdigit() else text


def _with_hash(snake: str, name: str) -> str:
    suffix = "_" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return snake.encode()[: MOST_BYTES - len(suffix)].decode(errors="ignore").rstrip("_") + suffix


def select(*columns: str) -> Step:
    """Keep these columns, in this order; `source_position` comes along when it is there."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        kept = [*columns, SOURCE_POSITION] if SOURCE_POSITION in frame and SOURCE_POSITION not in columns else list(columns)
        return frame[kept]

    few = len(columns) <= _SHOWN_NAMES
    left_out = None if few else _left_out
    return Step(name=f"select {', '.join(columns) if few else f'{len(columns)} columns'}", function=run, columns=columns, notes=left_out)


def _left_out(before: pd.DataFrame, after: pd.DataFrame) -> str:
    gone = [str(name) for name in before.columns if name not in after]
    return f"left out: {', '.join(gone)}" if gone else ""


def derive(column: str, function: Callable[[pd.DataFrame], Any], *, named: str | None = None) -> Step:
    """Add a column, or replace it, computed from the whole frame at once.

    Args:
        column: Name of the column.
        function: Takes the frame and returns one value per row; a Series with the labels of the frame.
        named: What it computes, for the report; else the function's name.
    """

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{column: _same_rows(function(frame), frame)})

    return Step(name=f"derive {column} by {named or _name(function)}", function=run)


def derive_by_row(column: str, function: Callable[[Mapping[str, Any]], Any], *, named: str | None = None) -> Step:
    """Add a column, or replace it, computed row by row: easy to write, and about a hundred times slower than `derive`.

    Args:
        column: Name of the column.
        function: Takes one row as a mapping from column to value, NULL as None, and returns a value.
        named: What it computes, for the report; else the function's name.
    """
    called = named or _name(function)

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        plain = frame.astype(object).where(frame.notna(), None)
        values: list[Any] = []
        rows: Any = plain.to_dict("records")
        for place, row in enumerate(rows):
            try:
                values.append(function(row))
            except Exception as error:
                raise CleaningError(
                    f"step derive {column} by {called}",
                    f"it raised {type(error).__name__} ({error}) at {position_of(frame, place)}.",
                    "correct the function or the rows it was given.",
                ) from error
        return frame.assign(**{column: pd.Series(values, index=frame.index, dtype=object).infer_objects()})

    return Step(name=f"derive {column} by {called}", function=run)


def apply_to(*columns: str, function: Callable[..., Any], named: str | None = None, **parameters: Any) -> Step:
    """A function of your own from column to column, whole at once.

    Args:
        columns: Each is given to the function by itself.
        function: Takes a Series and the parameters, returns one value per row.
        named: What it does, for the report; else the function's name.
        parameters: Given to the function, and shown in the report.
    """
    if not columns:
        raise ContractDefinitionError("apply_to", "it names no column.", "name one.")
    shown = ", ".join(f"{name}={value!r}" for name, value in parameters.items())

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: _same_rows(function(frame[name], **parameters), frame) for name in columns})

    called = f"{named or _name(function)}{f'({shown})' if shown else ''}"
    return Step(name=f"{called} on {', '.join(columns)}", function=run, columns=columns)


def apply(function: Callable[[pd.DataFrame], pd.DataFrame], *, named: str | None = None) -> Step:
    """A function of your own from frame to frame, row for row."""
    return Step(name=named or _name(function), function=function)


def _same_rows(values: Any, frame: pd.DataFrame) -> Any:
    if isinstance(values, pd.Series) and not values.index.equals(frame.index):
        # pandas would align by label, and so move values to other rows or lose them.
        raise ValueError("the values have other index labels than the rows; give them back in the frame's index, or as an array")
    return values


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


__all__ = ["apply", "apply_to", "derive", "derive_by_row", "rename", "select", "snake_case_names", "snake_cased"]
