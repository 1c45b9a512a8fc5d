"""Which rows of a table are a partition: values or a window of an SQL expression. Frozen values, and the mask they are of a frame.

Not here: the condition they are in SQL (`conditions.py`), how Dagster counts partitions (`dagster_partitions.py`).
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from etl_assets.errors import ConfigurationError
from etl_assets.frames import arrow_to_series

_MIDNIGHT = datetime.time()
_READERS: dict[str, Callable[[str], Any]] = {"string": str, "integer": int, "date": datetime.date.fromisoformat, "empty": str}


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Rows whose expression has one of some values, or lies in a window.

    Attributes:
        expression: Column, or SQL expression over the table's columns.
        values: Texts of the values; empty for a window.
        start: Start of the window, included, with the time zone of the partitions.
        end: Its end, not included.
    """

    expression: str
    values: tuple[str, ...] = ()
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None

    def __post_init__(self) -> None:
        if bool(self.values) == (self.start is not None) or (self.start is None) != (self.end is None):
            raise ConfigurationError(self.expression, "a slice has values, or a start and an end.", "correct it.")
        if self.start is not None and self.end is not None and None in (self.start.tzinfo, self.end.tzinfo):
            raise ConfigurationError(self.expression, "a window without a time zone says no instant.", "give datetimes with tzinfo.")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Rows that are replaced together.

    Attributes:
        key: What people call it, such as "2013-01-01" or "2013-01-01|us".
        alternatives: Its rows keep all slices of one of these.
    """

    key: str
    alternatives: tuple[tuple[Slice, ...], ...]

    @staticmethod
    def of(values: Mapping[str, Any], *, where: str = "partition") -> "Partition":
        """The rows whose columns or expressions have the given value, or one of several, each.

        Raises:
            ConfigurationError: Nothing is named, or a value is None.
        """
        if not values or any(one is None for given in values.values() for one in _listed(given)):
            raise ConfigurationError(where, f"{dict(values)!r} names no partition.", 'write {"day": "2013-01-01"}.')
        slices = tuple(Slice(expression=name, values=tuple(map(str, _listed(given)))) for name, given in values.items())
        return Partition(key="|".join(",".join(one.values) for one in slices), alternatives=(slices,))

    @property
    def expressions(self) -> tuple[str, ...]:
        """Every expression once."""
        return tuple(dict.fromkeys(one.expression for alternative in self.alternatives for one in alternative))


def _listed(given: Any) -> Sequence[Any]:
    return given if isinstance(given, Sequence) and not isinstance(given, str) else [given]


def outside(partition: Partition, frame: pd.DataFrame) -> npt.NDArray[np.bool_] | None:
    """Which rows of a frame are not of the partition; None where only the server can tell.

    Judged here are plain columns of text, whole numbers and dates for values, and of dates and times for windows.
    """
    inside = np.zeros(len(frame), dtype=bool)
    for alternative in partition.alternatives:
        matches = np.ones(len(frame), dtype=bool)
        for one in alternative:
            mask = _inside(one, frame[one.expression]) if one.expression in frame else None
            if mask is None:
                return None
            matches &= mask
        inside |= matches
    return ~inside


def _inside(one: Slice, values: "pd.Series[Any]") -> npt.NDArray[np.bool_] | None:
    if isinstance(values.dtype, pd.ArrowDtype):
        values = arrow_to_series(pa.chunked_array([pa.array(values)]))
    kind = "integer" if pd.api.types.is_integer_dtype(values.dtype) else pd.api.types.infer_dtype(values, skipna=True)
    if one.start is None or one.end is None:
        read = _READERS.get(kind)
        try:
            wanted = None if read is None else [read(text) for text in one.values]
        except ValueError:
            wanted = None
        # Other types, and other ways of writing a value, are the server's to read.
        return None if wanted is None else np.asarray(values.isin(wanted), dtype=bool)
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        found = (values >= pd.Timestamp(one.start)) & (values < pd.Timestamp(one.end))
    elif getattr(values.dtype, "kind", "O") == "M":
        found = (values >= pd.Timestamp(one.start.replace(tzinfo=None))) & (values < pd.Timestamp(one.end.replace(tzinfo=None)))
    elif kind == "date" and one.start.time() == one.end.time() == _MIDNIGHT:
        first, last = one.start.date(), one.end.date()
        found = values.map(lambda day: first <= day < last, na_action="ignore").fillna(False)
    else:
        return None
    return np.asarray(found, dtype=bool)


__all__ = ["Partition", "Slice", "outside"]
