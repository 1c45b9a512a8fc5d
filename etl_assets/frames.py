"""How pandas holds a column exactly: which dtype carries an Arrow type with NULLs and without rounding.

Not here: PostgreSQL's types (`postgres/types.py`), conversion between types (`conversion.py`).
"""

import contextlib
import datetime
import json
import math
import os
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.threads import each_column

TEXT = pd.StringDtype(na_value=float("nan"))
"""pandas 3's own text: Arrow buffers, NaN for NULL."""


def _take_memory_from_jemalloc() -> None:
    """For all that Arrow does in this process, pandas' text included, unless it was told otherwise (ARROW_DEFAULT_MEMORY_POOL).

    Arrow's own choice, mimalloc, has huge pages cleared for small arrays in each thread that asks for them, and fetches memory anew that it
    has just given back; docs/performance.md says what that cost.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ and pa.default_memory_pool().backend_name == "mimalloc":
        with contextlib.suppress(NotImplementedError):  # not on every system
            pa.set_memory_pool(pa.jemalloc_memory_pool())


_take_memory_from_jemalloc()


def in_one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array, which is copied only where it is several."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def numbered(name: str, numbers: Any) -> pa.Array:
    """The name with each number after it, as text."""
    return pc.binary_replace_slice(pc.cast(pa.array(numbers), pa.large_string()), 0, 0, name)


def rows_where(frame: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """The rows for which a mask is true, with their labels."""
    index = frame.index[mask]
    # Column by column, for the rows of a frame are picked by their places, which takes longer than by a mask.
    columns = each_column(lambda place: frame.iloc[:, place][mask].set_axis(index), range(frame.shape[1]), len(frame))
    return pd.DataFrame(dict(enumerate(columns)), index=index, copy=False).set_axis(frame.columns, axis=1)


def in_tables(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Batches of any size as tables of `rows` rows, the last one of what is left; nothing for no batches."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows)
            rest = table.slice(rows)
            held, count = rest.to_batches(), rest.num_rows
    if count:
        yield pa.Table.from_batches(held)


def pandas_dtype(type_: pa.DataType) -> Any:
    """The pandas dtype for an Arrow type with NULLs; None where pandas' own choice is exact."""
    if pa.types.is_unsigned_integer(type_):
        return pd.UInt64Dtype() if type_.bit_width == 64 else pd.Int64Dtype()
    if pa.types.is_integer(type_):
        return {16: pd.Int16Dtype(), 32: pd.Int32Dtype(), 64: pd.Int64Dtype()}.get(type_.bit_width, pd.Int64Dtype())
    if pa.types.is_boolean(type_):
        return pd.BooleanDtype()
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return TEXT
    return None


def arrow_to_series(column: pa.ChunkedArray) -> "pd.Series[Any]":
    """The column as pandas holds it exactly: nullable integers and booleans, `str` text, dates and decimals as objects."""
    if pa.types.is_unsigned_integer(column.type) and column.type.bit_width < 64:
        column = column.cast(pa.int64())
    if pa.types.is_int8(column.type):
        column = column.cast(pa.int16())
    dtype = pandas_dtype(column.type)
    if dtype is TEXT:
        return pd.Series(TEXT.__from_arrow__(column))  # text may stay in several parts
    if dtype is not None:
        return pd.Series(dtype.__from_arrow__(in_one(column)))
    if pa.types.is_floating(column.type):
        return pd.Series(pc.fill_null(column, float("nan")).to_numpy())
    series: pd.Series[Any] = column.to_pandas(date_as_object=True)
    return series


def decimals(texts: pa.ChunkedArray) -> "pd.Series[Any]":
    """Numbers written as text, with as many digits as they have, as `Decimal` objects."""
    return pd.Series([None if text is None else Decimal(text) for text in texts.to_pylist()], dtype=object)


def exact_decimals(values: "pd.Series[Any]", type_: pa.DataType) -> pa.Array | None:
    """A column of decimals and integers as Arrow has it; None where a look at each value is needed: other objects, or one not held."""
    objects = values.to_numpy()
    if not {int, Decimal, type(None)}.issuperset(map(type, objects)):
        return None
    try:
        array = pa.array(objects, type=type_)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None
    # Arrow refuses digits that would be lost, but for some numbers far below the last digit, of which it makes zero.
    zeros = pc.fill_null(pc.equal(array, pa.scalar(Decimal(0), type_)), False)
    vanished = any(objects[place] for place in np.flatnonzero(zeros.to_numpy(zero_copy_only=False)))
    return None if vanished else array


def arrow_to_frame(table: pa.Table) -> pd.DataFrame:
    """A table as pandas holds it exactly; categories become their values, lists and structs JSON text, a column of NULLs text."""
    series = each_column(lambda column: arrow_to_series(_plain(column)), table.columns, table.num_rows)
    columns = dict(zip(table.column_names, series, strict=True))
    return pd.DataFrame(columns, columns=table.column_names, index=pd.RangeIndex(table.num_rows))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_nested(column.type):
        texts = [None if value is None else json.dumps(_for_json(value), ensure_ascii=False, default=str) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.large_string())])
    return column


def _for_json(value: Any) -> Any:
    """The value in types of JSON; what JSON has no type for is text as PostgreSQL's `to_json` writes it."""
    if isinstance(value, dict):
        return {str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return value


def json_value(value: Any) -> Any:
    """The value as JSON carries it; anything but numbers, booleans and text as its text."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {str(name): json_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [json_value(inner) for inner in value]
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


__all__ = [
    "TEXT", "arrow_to_frame", "arrow_to_series", "decimals", "exact_decimals", "in_one", "in_tables",
    "json_value", "numbered", "pandas_dtype", "rows_where",
]  # fmt: skip
