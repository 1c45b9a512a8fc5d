"""Which values of a pandas column an Arrow type holds without change.

Arrow itself makes 1 of 1.5, a date of a time, an instant of a time without zone, inf of 1e300 where it is asked for that type, without
a word. What may be converted is only what comes back the same: 2.0 as integer, midnight as date, 19.9 as 19.90.

Not here: the conversion, and how its errors read (`copy.py`).
"""

import datetime
import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

_NUMBERS = (int, float, Decimal, np.integer, np.floating)
_BYTES = (bytes, bytearray, memoryview)


def exact(values: "pd.Series[Any]", type_: pa.DataType) -> "pd.Series[Any]":
    """The column itself, or as decimals where floats become numbers of fixed digits.

    Raises:
        pa.ArrowInvalid: A value would be changed; the message says how.
    """
    dtype: Any = values.dtype
    kind = getattr(dtype, "kind", "O")
    if pd.api.types.is_object_dtype(dtype):
        _refuse_objects(values.to_numpy(), type_)
    if pa.types.is_decimal(type_) and kind in "fO":
        decimals = values.map(_in_its_digits, na_action="ignore").astype(object)
        _refuse_small(decimals.array, type_.scale)
        return decimals
    if pa.types.is_temporal(type_) and kind in "iufb":
        raise pa.ArrowInvalid("a number is no time")
    if kind in "Mm":
        _refuse_times(values, type_)
    elif pa.types.is_float32(type_) and kind == "f" and dtype.itemsize > 4:
        _refuse_digits(values.dropna().to_numpy(dtype="float64"))
    return values


def _refuse_times(values: "pd.Series[Any]", type_: pa.DataType) -> None:
    if not pa.types.is_temporal(type_):
        raise pa.ArrowInvalid("a time is no such value")
    if values.dtype.kind == "m" and not pa.types.is_duration(type_):
        raise pa.ArrowInvalid("a length of time is no point in time")
    if values.dtype.kind == "M" and not pa.types.is_timestamp(type_):
        if not pa.types.is_date(type_):
            raise pa.ArrowInvalid("a date and time is no such value")
        if isinstance(values.dtype, pd.DatetimeTZDtype):
            raise pa.ArrowInvalid("a date has no zone")
        present = values.dropna()
        if (present != present.dt.normalize()).any():
            raise pa.ArrowInvalid("a date has no time of day")


def _in_its_digits(value: Any) -> Any:
    return Decimal(repr(float(value))) if isinstance(value, float | np.floating) else value


def _refuse_small(values: Sequence[Any], scale: int) -> None:
    """Refuse decimals without digits, and those below the last digit, some of which Arrow takes for zero."""
    for value in values:
        if isinstance(value, Decimal):
            if not value.is_finite():
                raise pa.ArrowInvalid(f"{value} has no digits")
            if value.adjusted() < -scale and value:
                raise pa.ArrowInvalid("its digits would be lost")


def _refuse_digits(numbers: Any) -> None:
    """Refuse doubles that a real changes: 0.1 is printed as 0.1 by both, 0.123456789 is not."""
    with np.errstate(over="ignore"):
        as_real = numbers.astype("float32")
    changed = as_real.astype("float64") != numbers
    for number, real in zip(numbers[changed], as_real[changed], strict=True):
        if number == number and (np.isinf(real) or float(str(real)) != number):
            raise pa.ArrowInvalid("it has more digits than a real")


# -- columns of Python objects --------------------------------------------------------------------------------------------


def _refuse_objects(values: Iterable[Any], type_: pa.DataType) -> None:
    for is_type, usual, refuse in _RULES:
        if is_type(type_):
            unusual = set(map(type, values)) - {*usual, type(None)}
            for value in values if unusual else ():
                if type(value) in unusual and not _is_missing(value):
                    refuse(value)
            return


def refuse_inexact(value: Any, type_: pa.DataType) -> None:
    """Refuse one value that a type does not hold without change.

    Raises:
        pa.ArrowInvalid: The message says how it would be changed.
    """
    if isinstance(value, bool | np.bool_) and not pa.types.is_boolean(type_):
        raise pa.ArrowInvalid("a boolean is no such value")
    for is_type, _, refuse in _RULES:
        if is_type(type_):
            refuse(value)
            return


def _is_missing(value: Any) -> bool:
    return value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _whole(value: Any) -> None:
    if not isinstance(value, _NUMBERS) or isinstance(value, bool):
        raise pa.ArrowInvalid("it is no number")
    if not math.isfinite(value) or value != value // 1:
        raise pa.ArrowInvalid("it is no whole number")


def _number(value: Any) -> None:
    if not isinstance(value, _NUMBERS) or isinstance(value, bool):
        raise pa.ArrowInvalid("it is no number")


def _real(value: Any) -> None:
    _number(value)
    if isinstance(value, float):
        _refuse_digits(np.array([value]))


def _text(value: Any) -> None:
    if not isinstance(value, str):
        raise pa.ArrowInvalid("only text is stored as text")


def _bytes(value: Any) -> None:
    if not isinstance(value, _BYTES):
        raise pa.ArrowInvalid("only bytes are stored as bytes")


def _day(value: Any) -> None:
    if not isinstance(value, datetime.date):
        raise pa.ArrowInvalid("it is no date")
    if isinstance(value, datetime.datetime) and (value.tzinfo is not None or value.time() != datetime.time() or _nanoseconds(value)):
        raise pa.ArrowInvalid("a date has no zone" if value.tzinfo is not None else "a date has no time of day")


def _instant(value: Any) -> None:
    _moment(value)
    if value.tzinfo is None:
        raise pa.ArrowInvalid("it has no zone")


def _local(value: Any) -> None:
    _moment(value)
    if value.tzinfo is not None:
        raise pa.ArrowInvalid("it has a zone")


def _moment(value: Any) -> None:
    if not isinstance(value, datetime.datetime):
        raise pa.ArrowInvalid("it is no date and time")
    if _nanoseconds(value):
        raise pa.ArrowInvalid("it has nanoseconds")


def _clock(value: Any) -> None:
    if not isinstance(value, datetime.time) or value.tzinfo is not None:
        raise pa.ArrowInvalid("it is no time of day without zone")


def _length(value: Any) -> None:
    if not isinstance(value, datetime.timedelta):
        raise pa.ArrowInvalid("it is no length of time")
    if _nanoseconds(value):
        raise pa.ArrowInvalid("it has nanoseconds")


def _nanoseconds(value: Any) -> int:
    return int(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0))


_Refuse = Callable[[Any], None]
# Which type, the Python types that need no look, and the look at others.
_RULES: tuple[tuple[Callable[[pa.DataType], bool], tuple[type, ...], _Refuse], ...] = (
    (pa.types.is_integer, (int,), _whole),
    (pa.types.is_float32, (int,), _real),
    (pa.types.is_floating, (int, float), _number),
    (pa.types.is_decimal, (int, Decimal), _number),
    (pa.types.is_large_string, (str,), _text),
    (pa.types.is_large_binary, (bytes,), _bytes),
    (pa.types.is_date, (datetime.date,), _day),
    (lambda type_: pa.types.is_timestamp(type_) and type_.tz is not None, (), _instant),
    (pa.types.is_timestamp, (), _local),
    (pa.types.is_time, (), _clock),
    (pa.types.is_duration, (datetime.timedelta,), _length),
)

__all__ = ["exact", "refuse_inexact"]
