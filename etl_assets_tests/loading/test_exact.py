"""What the loader would change without a word is refused, and what comes back the same is converted."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.errors import UnstorableValueError
from etl_assets.loading.copy import _arrow
from etl_assets.loading.postgres import PostgresResource

UTC = datetime.UTC
NOON = datetime.datetime(2026, 3, 1, 12)
DAY = datetime.date(2026, 3, 1)
INTEGER, DOUBLE, REAL, NUMERIC = pa.int64(), pa.float64(), pa.float32(), pa.decimal128(5, 2)
LOCAL, INSTANT, CLOCK, LENGTH = pa.timestamp("us"), pa.timestamp("us", tz="UTC"), pa.time64("us"), pa.duration("us")
TEXT, BYTES, DATE = pa.large_string(), pa.large_binary(), pa.date32()


def objects(*values: Any) -> "pd.Series[Any]":
    return pd.Series(list(values), dtype=object)


CHANGED: list[tuple["pd.Series[Any]", pa.DataType, str]] = [
    (objects(1, 1.5), INTEGER, "no whole number"),
    (objects(1, Decimal("1.5")), INTEGER, "no whole number"),
    (objects(np.float64(1.5)), INTEGER, "no whole number"),
    (objects(float("inf")), INTEGER, "no whole number"),
    (objects(Decimal("Infinity")), INTEGER, "no whole number"),
    (objects(1, True), INTEGER, "no number"),
    (objects(1.5, True), DOUBLE, "no number"),
    (objects(2**53 + 1, 1.5), DOUBLE, "exactly"),
    (objects(0.123456789), REAL, "more digits than a real"),
    (objects(1e300), REAL, "more digits than a real"),
    (pd.Series([0.123456789]), REAL, "more digits than a real"),
    (pd.Series([1e300]), REAL, "more digits than a real"),
    (pd.Series([0.123456789, None], dtype="Float64"), REAL, "more digits than a real"),
    (pd.Series([1.555]), NUMERIC, "data loss"),
    (objects(1.555), NUMERIC, "data loss"),
    (objects(Decimal("1.555")), NUMERIC, "data loss"),
    (objects("1.5"), NUMERIC, "no number"),
    (objects(True), NUMERIC, "no number"),
    (objects(Decimal("NaN")), NUMERIC, "NaN has no digits"),
    (objects(Decimal("Infinity")), NUMERIC, "Infinity has no digits"),
    (pd.Series([float("inf")]), NUMERIC, "Infinity has no digits"),
    (objects(Decimal("1e-44")), NUMERIC, "digits would be lost"),
    (pd.Series([1.5e-44]), NUMERIC, "digits would be lost"),
    (objects("a", b"b"), TEXT, "only text"),
    (objects(1), TEXT, "only text"),
    (objects(b"a", "b"), BYTES, "only bytes"),
    (objects(NOON, DAY), DATE, "no time of day"),
    (objects(pd.Timestamp(NOON)), DATE, "no time of day"),
    (objects(NOON.replace(hour=0, tzinfo=UTC)), DATE, "no zone"),
    (objects(1), DATE, "no date"),
    (pd.Series(pd.to_datetime([NOON])), DATE, "no time of day"),
    (pd.Series(pd.to_datetime([NOON], utc=True)), DATE, "no zone"),
    (pd.Series([1], dtype="int32"), DATE, "a number is no time"),
    (objects(NOON), INSTANT, "no zone"),
    (objects(NOON.replace(tzinfo=UTC)), LOCAL, "has a zone"),
    (objects(DAY), LOCAL, "no date and time"),
    (objects(1), LOCAL, "no date and time"),
    (objects(pd.Timestamp("2026-03-01 12:00:00.000000001")), LOCAL, "nanoseconds"),
    (pd.Series([1]), LOCAL, "a number is no time"),
    (pd.Series([1.0]), INSTANT, "a number is no time"),
    (pd.Series([1, None], dtype="Int64"), LENGTH, "a number is no time"),
    (pd.Series(pd.to_datetime([NOON])), CLOCK, "no such value"),
    (pd.Series(pd.to_datetime([NOON])), INTEGER, "a time is no such value"),
    (pd.Series(pd.to_timedelta(["1h"])), INTEGER, "a time is no such value"),
    (pd.Series(pd.to_timedelta(["1h"])), LOCAL, "no point in time"),
    (objects(datetime.time(12, tzinfo=UTC)), CLOCK, "without zone"),
    (objects(pd.Timedelta(1, "ns")), LENGTH, "nanoseconds"),
    (objects(1), LENGTH, "no length of time"),
]


@pytest.mark.parametrize(("values", "type_", "said"), CHANGED, ids=[f"{case[0].tolist()}-{case[0].dtype}-{case[1]}" for case in CHANGED])
def test_a_value_that_would_change_is_refused(values: "pd.Series[Any]", type_: pa.DataType, said: str) -> None:
    """Digits, parts of a day, zones and kinds are not dropped: an error that says what would be."""
    with pytest.raises((pa.ArrowException, TypeError, ValueError), match=said):
        _arrow(values, type_)


@pytest.mark.parametrize(
    ("values", "type_", "stored"),
    [
        (objects(1, 2.0, Decimal("3.00"), np.int64(4), None), INTEGER, [1, 2, 3, 4, None]),
        (objects(1, 0.5, None), DOUBLE, [1.0, 0.5, None]),
        (objects(0.1, float("inf"), -0.0, None), REAL, [np.float32(0.1), float("inf"), 0.0, None]),
        (pd.Series([0.1, None]), REAL, [np.float32(0.1), None]),
        (pd.Series([19.9, 0.07, None]), NUMERIC, [Decimal("19.90"), Decimal("0.07"), None]),
        (objects(19.9, 1, Decimal("1.5"), None), NUMERIC, [Decimal("19.90"), Decimal("1.00"), Decimal("1.50"), None]),
        (objects("", "a", None), TEXT, ["", "a", None]),
        (objects(b"", bytearray(b"a"), None), BYTES, [b"", b"a", None]),
        (objects(DAY, NOON.replace(hour=0), pd.Timestamp(DAY), None), DATE, [DAY, DAY, DAY, None]),
        (pd.Series(pd.to_datetime([DAY, None])), DATE, [DAY, None]),
        (objects(NOON, pd.Timestamp(NOON), pd.NaT), LOCAL, [NOON, NOON, None]),
        (objects(NOON.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2)))), INSTANT, [NOON.replace(hour=10, tzinfo=UTC)]),
        (objects(datetime.time(12), None), CLOCK, [datetime.time(12), None]),
        (objects(datetime.timedelta(1), pd.Timedelta(1, "D"), None), LENGTH, [datetime.timedelta(1), datetime.timedelta(1), None]),
        (objects(None, float("nan"), pd.NA, pd.NaT), INTEGER, [None] * 4),
    ],
    ids=str,
)
def test_what_comes_back_the_same_is_converted(values: "pd.Series[Any]", type_: pa.DataType, stored: list[Any]) -> None:
    """A whole float is an integer, midnight a date, 19.9 is 19.90: values of another kind that say the same."""
    assert _arrow(values, type_).to_pylist() == stored


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_becomes_the_digits_that_it_is_printed_with(value: float) -> None:
    """A float is stored in a column of fixed digits when its own digits fit, and then with these; else it is refused."""
    try:
        (stored,) = _arrow(pd.Series([value]), pa.decimal128(38, 6)).to_pylist()
    except pa.ArrowException:
        digits = Decimal(repr(value)).normalize()
        assert digits.as_tuple().exponent < -6 or abs(digits) >= 10**32  # type: ignore[operator]
    else:
        assert stored == Decimal(repr(value))


@given(value=st.floats(allow_nan=False))
def test_a_double_that_a_real_prints_the_same_is_stored_as_real(value: float) -> None:
    """What is stored as real is read back with the digits that were delivered, or is refused."""
    try:
        array = _arrow(pd.Series([value]), REAL)
    except pa.ArrowException:
        return
    assert float(str(array.to_numpy()[0])) == value or float(array[0].as_py()) == value


@pytest.mark.parametrize(
    ("values", "type_"), [([1, 1.5], "bigint"), ([NOON, DAY], "date"), ([1e300, 1.0], "real"), ([NOON, NOON], "timestamp with time zone")]
)
def test_the_error_of_a_load_names_row_and_reason(postgres: PostgresResource, values: list[Any], type_: str) -> None:
    """Through the loader the error names column, row, value and what is wrong with it."""
    from etl_assets_tests.loading.test_writer import request

    with pytest.raises(UnstorableValueError, match=rf"column x, row \d: .* cannot be stored exactly as {type_} \("):
        postgres.write(pd.DataFrame({"x": objects(*values)}), request(type_))
