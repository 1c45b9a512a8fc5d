"""Convert one column to a declared type, strictly and cell by cell: a value converts without loss or keeps its original form.

Rules per type, for text: integers are digits with an optional sign; decimals and floats are plain numbers; booleans are "true" and
"false"; dates and times are ISO 8601, with a zone exactly where the type has one. Values that are typed already convert where
nothing is lost: 517.0 to an integer, not 517.5; a date with time zone to UTC, not a naive one.

Two paths give the same result: whole columns of clean text go through Arrow, anything else cell by cell. Not here: which column
gets which type (`contracts.py`), other notations (steps of `cleaning.py`).
"""

import datetime
import decimal
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.frames import TEXT, arrow_to_series, exact_decimals

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?")


_FEW = 1000


class Unconverted(str):
    """Text that a declared notation refused: no type takes it, even where it would be right in another notation."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A column after conversion.

    Attributes:
        values: The converted cells; NULL where the conversion failed. Integers and booleans with NULL in their nullable form.
        failed: True where a value was present and could not be converted.
    """

    values: "pd.Series[Any]"
    failed: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A type to convert to.

    Attributes:
        name: How people call it, for messages: "integer", "date", "text".
        dtype: pandas dtype of the converted column.
        parse: One present value to its converted form; ValueError when it does not convert.
        arrow: Arrow type and pattern of text that Arrow parses to the same value, if it is certain about it; None when there is none.
        objects: Arrow type that Arrow finds for objects that all convert; None when the cells have to be looked at.
    """

    name: str
    dtype: Any
    parse: Callable[[Any], Any]
    arrow: tuple[pa.DataType, str] | None = None
    objects: pa.DataType | None = None


def integer(bits: int = 64, *, signed: bool = True) -> Target:
    """Whole numbers of 8 to 64 bits."""
    low = -(1 << (bits - 1)) if signed else 0
    high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1

    def parse(value: Any) -> int:
        if isinstance(value, bool | np.bool_):
            raise ValueError("a boolean is no integer")
        if isinstance(value, str):
            if not _INTEGER.fullmatch(value):
                raise ValueError("no whole number")
            number = int(value)
        elif isinstance(value, float | np.floating | decimal.Decimal):
            if not math.isfinite(value) or value != int(value):
                raise ValueError("no whole number")
            number = int(value)
            if not isinstance(value, decimal.Decimal) and abs(number) > 2**53:
                raise ValueError("more digits than a float holds exactly")
        elif isinstance(value, int | np.integer):
            number = int(value)
        else:
            raise ValueError("no whole number")
        if not low <= number <= high:
            raise ValueError(f"outside {low} to {high}")
        return number

    letters = "" if signed else "U"
    dtype = getattr(pd, f"{letters}Int{bits}Dtype")()
    fast = (pa.int64(), "^-?[0-9]{1,19}$") if signed else (pa.uint64(), "^[0-9]{1,20}$")
    return Target(name="integer", dtype=dtype, parse=parse, arrow=fast)


def floating(dtype: Any = "float64") -> Target:
    """Binary floating point."""

    def parse(value: Any) -> float:
        if isinstance(value, str):
            if not _NUMBER.fullmatch(value):
                raise ValueError("no number")
        elif isinstance(value, bool | np.bool_) or not isinstance(value, int | float | decimal.Decimal | np.integer | np.floating):
            raise ValueError("no number")
        number = float(value)
        if wide.itemsize == 4:
            with np.errstate(over="ignore"):
                number = float(np.float32(number))
        infinite = isinstance(value, float | np.floating) and math.isinf(value)
        if math.isinf(number) and not infinite:
            raise ValueError("too large for a float")
        if isinstance(value, int | np.integer) and int(number) != value:
            raise ValueError("too many digits for a float")
        return number

    wide: Any = pd.api.types.pandas_dtype(dtype)
    pattern = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
    return Target(name="number", dtype=wide, parse=parse, arrow=(pa.float64(), pattern) if wide == np.dtype("float64") else None)


def boolean() -> Target:
    """True and false."""

    def parse(value: Any) -> bool:
        if isinstance(value, bool | np.bool_):
            return bool(value)
        if isinstance(value, str) and value in ("true", "false"):
            return value == "true"
        raise ValueError("neither true nor false")

    return Target(name="boolean", dtype=pd.BooleanDtype(), parse=parse, arrow=(pa.bool_(), "^(true|false)$"))


def text(dtype: Any = TEXT) -> Target:
    """Text; numbers do not silently become text."""

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("no text")
        value.encode()  # half a surrogate pair raises UnicodeEncodeError, a ValueError
        return str(value)

    return Target(name="text", dtype=dtype, parse=parse)


def timestamp(dtype: Any) -> Target:
    """Date and time, in the unit of the dtype: an instant when the dtype has a zone, else a local time."""
    zone = getattr(dtype, "tz", None)

    def parse(value: Any) -> pd.Timestamp:
        if isinstance(value, str):
            if not _TIME.fullmatch(value):
                raise ValueError("no date and time in ISO 8601")
            value = datetime.datetime.fromisoformat(value)
        elif not isinstance(value, datetime.datetime):
            raise ValueError("no date and time")
        moment = pd.Timestamp(value)
        if (moment.tzinfo is None) != (zone is None):
            raise ValueError("a time zone is missing" if zone else "it has a time zone, the column has none")
        if zone:
            value.astimezone(datetime.UTC)  # OverflowError outside years 1 to 9999
            try:
                moment = moment.tz_convert(zone)
                moment.isoformat()
            except NotImplementedError:
                raise ValueError("outside years 1 to 9999") from None
        if moment != moment.as_unit(unit):
            raise ValueError(f"finer than {unit}")
        return moment.as_unit(unit)

    unit: Any = getattr(dtype, "unit", None) or np.datetime_data(dtype)[0]
    suffix = "(Z|[+-][0-9]{2}:?[0-9]{2})$" if zone else "$"
    pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?" + suffix
    fast = pa.timestamp("us", tz=str(zone) if zone else None)
    return Target(name="date and time" + (" with zone" if zone else ""), dtype=dtype, parse=parse, arrow=(fast, pattern))


def date() -> Target:
    """Calendar dates, kept as `datetime.date` objects."""

    def parse(value: Any) -> datetime.date:
        if isinstance(value, str):
            if not _DATE.fullmatch(value):
                raise ValueError("no date like 2013-01-31")
            return datetime.date.fromisoformat(value)
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            return value
        raise ValueError("no date")

    return Target(
        name="date", dtype=np.dtype(object), parse=parse, arrow=(pa.date32(), r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), objects=pa.date32()
    )


def exact_decimal(precision: int, scale: int) -> Target:
    """Decimal numbers with a fixed number of digits, kept as `decimal.Decimal` objects."""
    context = decimal.Context(prec=precision, traps=[decimal.Inexact, decimal.InvalidOperation])
    unit = decimal.Decimal(1).scaleb(-scale)

    def parse(value: Any) -> decimal.Decimal:
        if isinstance(value, str):
            if not _NUMBER.fullmatch(value):
                raise ValueError("no number")
        elif isinstance(value, bool | np.bool_) or not isinstance(value, int | decimal.Decimal | np.integer):
            raise ValueError("no exact number")
        try:
            fitting = decimal.Decimal(value if isinstance(value, str | decimal.Decimal) else int(value)).quantize(unit, context=context)
            return value if isinstance(value, decimal.Decimal) else fitting
        except decimal.DecimalException:
            raise ValueError(f"does not fit {precision} digits with {scale} decimals") from None

    type_ = pa.decimal128(precision, scale) if 0 < precision <= 38 and 0 <= scale <= precision else None
    decimals = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
    pattern = rf"^-?[0-9]{{1,{precision - scale}}}{decimals}$"
    text = (type_, pattern) if type_ is not None and precision > scale else None
    return Target(name=f"decimal({precision},{scale})", dtype=np.dtype(object), parse=parse, arrow=text, objects=type_)


def category(dtype: pd.CategoricalDtype) -> Target:
    """One of a declared set of values."""
    allowed = None if dtype.categories is None else set(dtype.categories)

    def parse(value: Any) -> Any:
        if allowed is not None and value not in allowed:
            raise ValueError("not in the declared set")
        return value

    named = "category" if allowed is None else f"category ({', '.join(map(str, dtype.categories[:10]))})"
    return Target(name=named, dtype=dtype, parse=parse)


def anything(dtype: Any) -> Target:
    """No conversion: values are kept as they are."""
    return Target(name="any", dtype=dtype, parse=lambda value: value)


def convert(values: "pd.Series[Any]", target: Target) -> Converted:
    """Convert a column; cells that do not convert are NULL in the result and marked as failed."""
    if target.name == "any":
        return Converted(values=values, failed=np.zeros(len(values), dtype=bool))
    fast = _convert_whole(values, target)
    if fast is not None:
        return Converted(values=fast.set_axis(values.index), failed=np.zeros(len(values), dtype=bool))
    if len(values) <= _FEW or target.arrow is None or not isinstance(values.dtype, pd.StringDtype):
        return _convert_each(values, target)
    # Some cell does not convert, or not so: it is looked for, so that it costs its neighbours and not the whole column.
    halves = [convert(values.iloc[part], target) for part in (slice(len(values) // 2), slice(len(values) // 2, None))]
    return Converted(values=pd.concat([half.values for half in halves]), failed=np.concatenate([half.failed for half in halves]))


def _convert_whole(values: "pd.Series[Any]", target: Target) -> "pd.Series[Any] | None":
    """The whole column at once when every cell certainly converts; None when that is not certain."""
    if values.dtype == target.dtype and values.dtype != np.dtype(object):
        return values
    kind = getattr(values.dtype, "kind", "O")
    if target.name == "integer" and values.dtype == target.dtype.numpy_dtype:
        return values  # without NULL, the plain form is the same
    if target.name == "integer" and kind in "iu":
        numbers = values.astype(pd.UInt64Dtype() if kind == "u" else pd.Int64Dtype())
        limits = np.iinfo(target.dtype.numpy_dtype)
        fits = numbers.dropna().between(limits.min, limits.max).all()
        return numbers.astype(target.dtype) if fits else None
    if target.name == "integer" and kind == "f":
        present = values.dropna()
        limits = np.iinfo(target.dtype.numpy_dtype)
        exact = np.isfinite(present) & (present == np.floor(present)) & (present.abs() <= min(2**53, limits.max)) & (present >= limits.min)
        return values.astype(target.dtype) if bool(exact.all()) else None
    if target.name == "boolean" and kind == "b":
        return values
    if target.name == "number" and kind in "iuf" and not pd.api.types.is_extension_array_dtype(values.dtype):
        return _numbers_whole(values, target)
    if target.name.startswith("date and time") and kind == "M":
        return _times_whole(values, target)
    if values.dtype == np.dtype(object) and target.objects is not None:
        return _objects_whole(values, target.objects)
    if target.arrow is not None and isinstance(values.dtype, pd.StringDtype):
        arrow_type, pattern = target.arrow
        cells = pa.array(values, from_pandas=True)
        cells = cells if isinstance(cells, pa.ChunkedArray) else pa.chunked_array([cells])
        if cells.type != pa.large_string():
            cells = cells.cast(pa.large_string())
        if not pc.all(pc.match_substring_regex(cells, pattern)).as_py() and cells.null_count < len(cells):
            return None
        try:
            parsed = pc.cast(cells, arrow_type)
            if not _certain(parsed, target):
                return None
            series = arrow_to_series(parsed)
            return _times_whole(series, target) if pa.types.is_timestamp(arrow_type) else series.astype(target.dtype)
        except (pa.ArrowInvalid, ValueError):
            return None  # some cell has the right form but no such day, hour or size: the cell-by-cell path finds it
    return None


def _numbers_whole(values: "pd.Series[Any]", target: Target) -> "pd.Series[Any] | None":
    given: np.dtype[Any] = values.to_numpy().dtype
    if given.kind == "f":
        return values.astype(target.dtype) if target.dtype.itemsize >= given.itemsize else None
    exact = target.dtype.itemsize == 8 and bool(values.between(-(2**53), 2**53).all())
    return values.astype(target.dtype) if exact else None


def _times_whole(values: "pd.Series[Any]", target: Target) -> "pd.Series[Any] | None":
    zone, given = getattr(target.dtype, "tz", None), getattr(values.dtype, "tz", None)
    if (zone is None) != (given is None):
        return None
    unit: Any = getattr(target.dtype, "unit", None) or np.datetime_data(target.dtype)[0]
    instants = values.dt.tz_convert("UTC").dt.tz_localize(None) if given is not None else values
    micros = instants.to_numpy().astype("datetime64[us]").astype("int64")[instants.notna().to_numpy()]
    if len(micros) and not (micros.min() >= _FIRST and micros.max() <= _LAST):
        return None
    try:
        converted = values.dt.as_unit(unit)
    except (pd.errors.OutOfBoundsDatetime, OverflowError):
        return None
    loses = np.timedelta64(1, unit) > np.timedelta64(1, values.dt.unit)
    if loses and not bool(((converted == values) | values.isna()).all()):
        return None
    local: pd.Series[Any] = converted.dt.tz_convert(zone) if zone is not None else converted
    return local.astype(target.dtype)


def _objects_whole(values: "pd.Series[Any]", type_: pa.DataType) -> "pd.Series[Any] | None":
    """Objects that are all of one kind, such as dates or decimals."""
    # A datetime is a date too, and is none here.
    kind = datetime.date if pa.types.is_date32(type_) else decimal.Decimal
    if not {kind, type(None)}.issuperset(map(type, values.to_numpy())):
        present = values.notna()
        if not {kind}.issuperset(map(type, values[present].to_numpy())):
            return None
        values = values.where(present, None)
    return values if kind is datetime.date or exact_decimals(values, type_) is not None else None


# Microseconds since 1970: nearer to the ends of years 1 to 9999 a zone may lead out of them, so each cell is looked at.
_FIRST, _LAST = (int(datetime.datetime(*day, tzinfo=datetime.UTC).timestamp()) * 10**6 for day in ((1, 1, 3), (9999, 12, 29)))


def _certain(parsed: pa.ChunkedArray, target: Target) -> bool:
    """Whether Arrow's result is what the cell-by-cell path would give: nothing overflowed."""
    if pa.types.is_integer(parsed.type):
        limits, found = np.iinfo(target.dtype.numpy_dtype), pc.min_max(parsed).as_py()
        return found["min"] is None or (found["min"] >= limits.min and found["max"] <= limits.max)
    if pa.types.is_floating(parsed.type):
        return not pc.any(pc.is_inf(parsed)).as_py()
    return True


def _convert_each(values: "pd.Series[Any]", target: Target) -> Converted:
    failed = np.zeros(len(values), dtype=bool)
    converted: list[Any] = [None] * len(values)
    known: dict[str, tuple[bool, Any]] = {}
    missing = values.isna().to_numpy()
    for place, value in enumerate(values.array):
        if missing[place]:
            continue
        if isinstance(value, Unconverted):
            failed[place] = True
            continue
        # Only text is remembered: 0.0 and -0.0, or the two hours of a clock change, are equal and not the same.
        key = value if type(value) is str else None
        outcome = known.get(key) if key is not None else None
        if outcome is None:
            try:
                outcome = (True, target.parse(value))
            except (TypeError, ValueError, OverflowError):
                outcome = (False, None)
            if key is not None:
                known[key] = outcome
        good, converted[place] = outcome
        failed[place] = not good
    return Converted(values=pd.Series(converted, index=values.index, dtype=target.dtype), failed=failed)


__all__ = [
    "Converted", "Target", "Unconverted", "anything", "boolean", "category", "convert", "date", "exact_decimal", "floating", "integer",
    "text", "timestamp",
]  # fmt: skip
