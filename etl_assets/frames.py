"""How pandas holds a column exactly: which dtype carries an Arrow type with NULLs and without rounding.

Not here: PostgreSQL's types (`postgres/types.py`), conversion between types (`conversion.py`).
"""

from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

TEXT = pd.StringDtype(na_value=float("nan"))
"""pandas 3's own text: Arrow buffers, NaN for NULL."""


def pandas_dtype(type_: pa.DataType) -> Any:
    """The pandas dtype for an Arrow type with NULLs; None where pandas' own choice is exact."""
    if pa.types.is_integer(type_):
        return {16: pd.Int16Dtype(), 32: pd.Int32Dtype(), 64: pd.Int64Dtype()}.get(type_.bit_width, pd.Int64Dtype())
    if pa.types.is_boolean(type_):
        return pd.BooleanDtype()
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return TEXT
    return None


def arrow_to_series(column: pa.ChunkedArray) -> "pd.Series[Any]":
    """The column as pandas holds it exactly: nullable integers and booleans, `str` text, dates and decimals as objects."""
    dtype = pandas_dtype(column.type)
    if dtype is not None:
        return pd.Series(dtype.__from_arrow__(column.combine_chunks()))
    if pa.types.is_floating(column.type):
        return pd.Series(pc.fill_null(column, float("nan")).to_numpy())
    series: pd.Series[Any] = column.to_pandas(date_as_object=True)
    return series


__all__ = ["TEXT", "arrow_to_series", "pandas_dtype"]
