"""What people hand over to be loaded, as frames that can be made anew for each attempt.

Not here: what happens to the frames (`rows.py`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa

from etl_assets.errors import ConfigurationError, PermanentError
from etl_assets.frames import arrow_to_frame, in_tables

Given: TypeAlias = pd.DataFrame | Any
Frames: TypeAlias = Given | Iterable[Given] | Callable[[], Iterable[Given]]
"""A frame or an Arrow table, several of them, or a function that makes several."""
_ARROW_ROWS = 50_000


def as_frames(given: Frames, where: str) -> tuple[pd.DataFrame, Callable[[], Iterable[pd.DataFrame]]]:
    """The first frame, for its columns, and a function that makes all of them.

    Args:
        given: A frame, an Arrow table, several of either, or a function that makes an iterator of them.
        where: The asset, for errors.

    Raises:
        ConfigurationError: Something else, or nothing at all: not even a first frame tells the columns.
    """
    if isinstance(given, pd.DataFrame):
        return given, lambda: [given]
    if isinstance(given, pa.Table | pa.RecordBatch):
        return next(_frames(given, where)), lambda: _frames(given, where)
    if isinstance(given, pa.RecordBatchReader):
        return _started(_each(_with_columns(given), where), None, where)
    if callable(given):
        made = given
        return _started(_each(_listed(made(), where), where), lambda: _each(_listed(made(), where), where), where)
    if isinstance(given, Iterator):
        return _started(_each(given, where), None, where)
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        several = given
        return _started(_each(several, where), lambda: _each(several, where), where)
    raise ConfigurationError(where, f"a {type(given).__name__} holds no rows.", "give a pandas DataFrame, an Arrow table, or several.")


def _listed(made: Any, where: str) -> Iterable[Any]:
    if isinstance(made, pd.DataFrame | pa.Table | pa.RecordBatch):
        return [made]
    if isinstance(made, pa.RecordBatchReader):
        return _with_columns(made)
    if not isinstance(made, Iterable) or isinstance(made, str | bytes):
        raise ConfigurationError(
            where,
            f"a {type(made).__name__} holds no rows, and that is what the function made.",
            "give one that makes DataFrames or Arrow tables.",
        )
    return made


def _with_columns(reader: pa.RecordBatchReader) -> Iterator[Any]:
    """The batches of a reader, and where there are none its columns."""
    count = 0
    for batch in reader:
        count += 1
        yield batch
    if not count:
        yield reader.schema.empty_table()


def _started(
    frames: Iterator[pd.DataFrame], again: Callable[[], Iterator[pd.DataFrame]] | None, where: str
) -> tuple[pd.DataFrame, Callable[[], Iterator[pd.DataFrame]]]:
    """The first frame was read to see its columns: the first attempt goes on from there."""
    first = next(frames, None)
    if first is None:
        raise ConfigurationError(where, "there is no frame, so nothing tells the columns.", "give an empty frame with columns for no rows.")
    begun = False

    def start() -> Iterator[pd.DataFrame]:
        nonlocal begun
        if begun and again is None:
            raise PermanentError(
                where, "the load failed for a moment, and its iterator cannot be read a second time.",
                "load again, or give a function that makes the iterator: then it is tried again by itself.",
            )  # fmt: skip
        if begun and again is not None:
            yield from again()
            return
        begun = True
        yield first
        yield from frames

    return first, start


def _each(several: Iterable[Any], where: str) -> Iterator[pd.DataFrame]:
    for one in several:
        yield from _frames(one, where)


def _frames(one: Any, where: str) -> Iterator[pd.DataFrame]:
    if isinstance(one, pd.DataFrame):
        yield one
    elif isinstance(one, pa.Table | pa.RecordBatch):
        table = pa.Table.from_batches([one]) if isinstance(one, pa.RecordBatch) else one
        if not table.num_rows:
            yield arrow_to_frame(table)
        for part in in_tables(table.to_batches(), _ARROW_ROWS):
            yield arrow_to_frame(part)
    else:
        raise ConfigurationError(where, f"a {type(one).__name__} among the rows is no frame.", "give pandas DataFrames or Arrow tables.")


__all__ = ["Frames", "as_frames"]
