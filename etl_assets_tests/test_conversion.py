"""Conversion of cells: what each type takes, what it refuses, and that both paths agree."""

import datetime
import decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets import conversion
from etl_assets.conversion import Target, anything, convert
from etl_assets.frames import TEXT

NEW_YORK = ZoneInfo("America/New_York")
TARGETS: dict[str, Target] = {
    "int64": conversion.integer(),
    "int8": conversion.integer(8),
    "uint8": conversion.integer(8, signed=False),
    "uint64": conversion.integer(64, signed=False),
    "float64": conversion.floating(),
    "float32": conversion.floating("float32"),
    "boolean": conversion.boolean(),
    "text": conversion.text(),
    "instant": conversion.timestamp(pd.DatetimeTZDtype("us", "UTC")),
    "instant_new_york": conversion.timestamp(pd.DatetimeTZDtype("us", "America/New_York")),
    "local_time": conversion.timestamp(np.dtype("M8[us]")),
    "local_seconds": conversion.timestamp(np.dtype("M8[s]")),
    "local_nanoseconds": conversion.timestamp(np.dtype("M8[ns]")),
    "date": conversion.date(),
    "decimal": conversion.exact_decimal(5, 2),
    "category": conversion.category(pd.CategoricalDtype(["a", "b"])),
}
quick = settings(max_examples=80, deadline=None, database=None, derandomize=True)


def column(*cells: Any, dtype: Any = object) -> "pd.Series[Any]":
    return pd.Series(list(cells), dtype=dtype)


def utc(*parts: int) -> pd.Timestamp:
    return pd.Timestamp(datetime.datetime(*parts, tzinfo=datetime.UTC))  # type: ignore[arg-type, misc]


# -- what converts ----------------------------------------------------------------------------------------------------

TEXT_THAT_CONVERTS = [
    ("int64", "517", 517),
    ("int64", "+5", 5),
    ("int64", "-5", -5),
    ("int64", "-0", 0),
    ("int64", "007", 7),
    ("int64", "9007199254740993", 2**53 + 1),
    ("int64", "9223372036854775807", 2**63 - 1),
    ("int64", "-9223372036854775808", -(2**63)),
    ("int64", "00000000000000000000000517", 517),
    ("int8", "127", 127),
    ("int8", "-128", -128),
    ("uint8", "255", 255),
    ("uint64", "18446744073709551615", 2**64 - 1),
    ("float64", "1e5", 100000.0),
    ("float64", "517.0", 517.0),
    ("float64", "-0.25", -0.25),
    ("float64", ".5", 0.5),
    ("float64", "5.", 5.0),
    ("float64", "+1", 1.0),
    ("float64", "0.1", 0.1),
    ("float64", "9007199254740992", 2.0**53),
    ("float64", "1.7976931348623157e308", 1.7976931348623157e308),
    ("float32", "1.5", 1.5),
    ("boolean", "true", True),
    ("boolean", "false", False),
    ("text", "a", "a"),
    ("text", "", ""),
    ("text", " a ", " a "),
    ("text", "NULL", "NULL"),
    ("instant", "2013-01-01T05:00Z", utc(2013, 1, 1, 5)),
    ("instant", "2013-01-01 05:00:30.25Z", utc(2013, 1, 1, 5, 0, 30, 250000)),
    ("instant", "2013-01-01T05:00:00.000001+00:00", utc(2013, 1, 1, 5, 0, 0, 1)),
    # 01:00 four hours behind Greenwich is 05:00, five hours behind it is 06:00
    ("instant", "2013-11-03T01:00-04:00", utc(2013, 11, 3, 5)),
    ("instant", "2013-11-03T01:00-0500", utc(2013, 11, 3, 6)),
    ("instant", "0001-01-01T00:00Z", utc(1, 1, 1)),
    ("instant", "9999-12-31T23:59:59.999999Z", utc(9999, 12, 31, 23, 59, 59, 999999)),
    ("instant_new_york", "2013-11-03T01:00-05:00", utc(2013, 11, 3, 6)),
    ("local_time", "2013-03-10T02:30", pd.Timestamp(2013, 3, 10, 2, 30)),
    ("local_time", "0001-01-01 00:00:00", pd.Timestamp("0001-01-01")),
    ("local_time", "9999-12-31T23:59:59.999999", pd.Timestamp("9999-12-31T23:59:59.999999")),
    ("local_seconds", "2013-01-01T05:00:30", pd.Timestamp(2013, 1, 1, 5, 0, 30)),
    ("local_nanoseconds", "2013-01-01T05:00", pd.Timestamp(2013, 1, 1, 5)),
    ("date", "2013-01-31", datetime.date(2013, 1, 31)),
    ("date", "2012-02-29", datetime.date(2012, 2, 29)),
    ("date", "0001-01-01", datetime.date(1, 1, 1)),
    ("date", "9999-12-31", datetime.date(9999, 12, 31)),
    ("decimal", "999.99", decimal.Decimal("999.99")),
    ("decimal", "-0.5", decimal.Decimal("-0.50")),
    ("decimal", "1.500", decimal.Decimal("1.50")),
    ("decimal", "1e2", decimal.Decimal("100.00")),
    ("category", "a", "a"),
]


@pytest.mark.parametrize("dtype", [object, TEXT], ids=["objects", "text"])
@pytest.mark.parametrize(("target", "cell", "expected"), TEXT_THAT_CONVERTS)
def test_text_converts(target: str, cell: str, expected: Any, dtype: Any) -> None:
    """Text in the notation of its type converts to exactly the value it names."""
    assert convert(column(cell, dtype=dtype), TARGETS[target]).values.tolist() == [expected]


@pytest.mark.parametrize("dtype", [object, TEXT], ids=["objects", "text"])
@pytest.mark.parametrize(("target", "cell", "expected"), TEXT_THAT_CONVERTS)
def test_converting_text_has_not_failed(target: str, cell: str, expected: Any, dtype: Any) -> None:
    """Text that converts is not marked as failed."""
    assert convert(column(cell, dtype=dtype), TARGETS[target]).failed.tolist() == [False]


@pytest.mark.parametrize(
    ("target", "cell", "expected"),
    [
        ("int64", 517, 517),
        ("int64", 517.0, 517),
        ("int64", np.float32(517.0), 517),
        ("int64", 2.0**53, 2**53),
        ("int64", 2**63 - 1, 2**63 - 1),
        ("int64", np.int16(5), 5),
        ("int64", decimal.Decimal("5.0"), 5),
        ("int64", decimal.Decimal(2**53 + 1), 2**53 + 1),
        ("uint64", 2**63, 2**63),
        ("float64", 517, 517.0),
        ("float64", 2**53, 2.0**53),
        ("float64", 0.1, 0.1),
        ("float64", float("inf"), float("inf")),
        ("float64", np.float32(0.5), 0.5),
        ("float64", decimal.Decimal("0.25"), 0.25),
        ("boolean", True, True),
        ("boolean", np.False_, False),
        ("text", np.str_("a"), "a"),
        ("instant", datetime.datetime(2013, 1, 1, tzinfo=NEW_YORK), utc(2013, 1, 1, 5)),
        ("instant", pd.Timestamp("2013-01-01T05:00Z"), utc(2013, 1, 1, 5)),
        ("local_time", datetime.datetime(2013, 1, 1), pd.Timestamp(2013, 1, 1)),
        ("date", datetime.date(2013, 1, 1), datetime.date(2013, 1, 1)),
        ("decimal", decimal.Decimal("1.5"), decimal.Decimal("1.50")),
        ("decimal", 3, decimal.Decimal("3.00")),
        ("decimal", np.int64(3), decimal.Decimal("3.00")),
    ],
)
def test_typed_value_converts(target: str, cell: Any, expected: Any) -> None:
    """A value that has a type already converts where nothing is lost."""
    assert convert(column(cell), TARGETS[target]).values.tolist() == [expected]


@pytest.mark.parametrize(
    ("target", "values", "expected"),
    [
        ("int64", pd.Series([1, 2]), [1, 2]),
        ("int64", pd.Series([1.0, 2.0]), [1, 2]),
        ("int64", pd.Series([2**53 + 1, -(2**63)]), [2**53 + 1, -(2**63)]),
        ("int64", pd.Series([7, 8], dtype="uint64"), [7, 8]),
        ("int64", pd.Series([7, 8], dtype="int64[pyarrow]"), [7, 8]),
        ("int64", pd.Series(["7", "8"], dtype="string[pyarrow]"), [7, 8]),
        ("int64", pd.Series(["7", "8"], dtype="category"), [7, 8]),
        ("uint8", pd.Series([0, 255]), [0, 255]),
        ("float64", pd.Series([1, 2]), [1.0, 2.0]),
        ("boolean", pd.Series([True, False]), [True, False]),
        ("instant", pd.Series(pd.to_datetime(["2013-11-03T05:00Z", "2013-11-03T06:00Z"])), [utc(2013, 11, 3, 5), utc(2013, 11, 3, 6)]),
        ("category", pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
    ],
)
def test_typed_column_converts(target: str, values: "pd.Series[Any]", expected: list[Any]) -> None:
    """A column that has a type already converts where nothing is lost."""
    assert convert(values, TARGETS[target]).values.tolist() == expected


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_column_of_other_zone_keeps_its_instants(zone: str | None) -> None:
    """Both hours named 01:00 of a clock change stay distinct when a column moves to another zone."""
    local = pd.Series(pd.to_datetime(["2013-11-03T05:00Z", "2013-11-03T06:00Z"])).dt.tz_convert("America/New_York")
    values = local if zone is None else local.astype(object)
    assert convert(values, TARGETS["instant"]).values.tolist() == [utc(2013, 11, 3, 5), utc(2013, 11, 3, 6)]


def test_clock_change_in_text() -> None:
    """The two hours named 01:00 of a clock change stay distinct instants when text gives their offset."""
    values = column("2013-11-03T01:00-04:00", "2013-11-03T01:00-05:00", dtype=TEXT)
    assert convert(values, TARGETS["instant_new_york"]).values.tolist() == [utc(2013, 11, 3, 5), utc(2013, 11, 3, 6)]


def test_clock_change_in_datetimes() -> None:
    """The two hours named 01:00 of a clock change stay distinct instants when `fold` tells them apart."""
    first = datetime.datetime(2013, 11, 3, 1, 0, tzinfo=NEW_YORK, fold=0)
    values = column(first, first.replace(fold=1))
    assert convert(values, TARGETS["instant"]).values.tolist() == [utc(2013, 11, 3, 5), utc(2013, 11, 3, 6)]


def test_equal_numbers_keep_their_sign() -> None:
    """Zero and negative zero in one column stay what they are."""
    assert np.signbit(convert(column(0.0, -0.0), TARGETS["float64"]).values.to_numpy()).tolist() == [False, True]


def test_decimals_have_the_declared_scale() -> None:
    """A decimal is kept with as many decimals as declared."""
    assert [str(value) for value in convert(column("1", "1.5", "1e2"), TARGETS["decimal"]).values] == ["1.00", "1.50", "100.00"]


# -- what does not convert --------------------------------------------------------------------------------------------

TEXT_THAT_FAILS = [
    *((name, cell) for name in TARGETS if name not in ("text", "category") for cell in ["", " ", "x", "NA", "None"]),
    *((name, cell) for name in ("int64", "float64", "decimal") for cell in [" 5", "5 ", "5\n", "\t5", "٣", "1_0", "--5", "1,000", "0x1F"]),
    *((name, cell) for name in ("float64", "float32", "decimal") for cell in ["nan", "NaN", "inf", "-inf", "Infinity", "1e", "."]),
    ("int64", "1e5"),
    ("int64", "517.0"),
    ("int64", "517."),
    ("int64", "true"),
    ("int64", "9223372036854775808"),
    ("int64", "-9223372036854775809"),
    ("int64", "12345678901234567890"),
    ("int64", "1" * 5000),
    ("int8", "128"),
    ("int8", "-129"),
    ("uint8", "-1"),
    ("uint8", "256"),
    ("uint64", "-1"),
    ("uint64", "18446744073709551616"),
    ("boolean", "True"),
    ("boolean", "TRUE"),
    ("boolean", "1"),
    ("boolean", "yes"),
    ("boolean", " true"),
    ("instant", "2013-01-01T05:00"),
    ("instant", "2013-01-01"),
    ("instant", "2013-02-30T05:00Z"),
    ("instant", "2013-01-01T24:00Z"),
    ("instant", "2013-01-01T23:59:60Z"),
    ("instant", "2013-01-01T05:00:00.1234567Z"),
    ("instant", "2013-01-01T05:00 America/New_York"),
    ("instant", "2013-01-01T05:00+24:00"),
    ("instant", " 2013-01-01T05:00Z"),
    ("instant", "2013-01-01T05:00Z\n"),
    ("instant", "0000-01-01T00:00Z"),
    ("instant_new_york", "2013-01-01T05:00"),
    ("local_time", "2013-01-01T05:00Z"),
    ("local_time", "2013-01-01T05:00-05:00"),
    ("local_time", "2013-02-30T05:00"),
    ("local_time", "20130101T0500"),
    ("local_time", "0000-01-01T00:00"),
    ("local_seconds", "2013-01-01T05:00:00.5"),
    ("local_nanoseconds", "9999-12-31T00:00"),
    ("date", "2013-02-30"),
    ("date", "2013-02-29"),
    ("date", "2013-1-1"),
    ("date", "20130101"),
    ("date", "2013-W01-1"),
    ("date", "01/31/2013"),
    ("date", "2013-01-01T00:00"),
    ("date", " 2013-01-01"),
    ("date", "2013-01-01\n"),
    ("date", "0000-01-01"),
    ("date", "10000-01-01"),
    ("decimal", "1000"),
    ("decimal", "1000.00"),
    ("decimal", "1.005"),
    ("decimal", "1e99999999999999999999"),
    ("category", "c"),
    ("category", ""),
    ("category", "A"),
]


@pytest.mark.parametrize("dtype", [object, TEXT], ids=["objects", "text"])
@pytest.mark.parametrize(("target", "cell"), TEXT_THAT_FAILS)
def test_text_fails(target: str, cell: str, dtype: Any) -> None:
    """Text in any other notation, or of no such value, is marked as failed."""
    assert convert(column(cell, dtype=dtype), TARGETS[target]).failed.tolist() == [True]


@pytest.mark.parametrize(("target", "cell"), [("float64", "1e400"), ("float64", "-1e400"), ("float32", "1e300")])
def test_text_beyond_a_float_fails(target: str, cell: str) -> None:
    """Text of a number that is too large for a float does not become infinity."""
    assert convert(column(cell), TARGETS[target]).failed.tolist() == [True]


@pytest.mark.parametrize(
    ("target", "cell"), [("float64", decimal.Decimal("1e400")), ("float64", 10**400), ("float32", 1e300)], ids=["decimal", "int", "float"]
)
def test_number_beyond_a_float_fails(target: str, cell: Any) -> None:
    """A number that is too large for a float does not become infinity."""
    assert convert(column(cell), TARGETS[target]).failed.tolist() == [True]


@pytest.mark.parametrize(
    ("target", "cell"),
    [
        ("int64", 517.5),
        ("int64", True),
        ("int64", np.True_),
        ("int64", 2**63),
        ("int64", 2.0**53 + 2),
        ("int64", float("inf")),
        ("int64", decimal.Decimal("5.5")),
        ("int64", b"5"),
        ("int64", datetime.date(2013, 1, 1)),
        ("float64", 2**53 + 1),
        ("float32", 2**24 + 1),
        ("float64", True),
        ("float64", b"5"),
        ("boolean", 1),
        ("boolean", 0.0),
        ("text", 5),
        ("text", 5.0),
        ("text", b"a"),
        ("text", True),
        ("text", datetime.date(2013, 1, 1)),
        ("instant", datetime.datetime(2013, 1, 1)),
        ("instant", datetime.date(2013, 1, 1)),
        ("instant", 1356998400),
        ("local_time", datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)),
        ("local_time", datetime.date(2013, 1, 1)),
        ("local_time", pd.Timestamp("2013-01-01T00:00:00.000000001")),
        ("date", datetime.datetime(2013, 1, 1)),
        ("date", pd.Timestamp("2013-01-01")),
        ("date", 20130101),
        ("decimal", 1.5),
        ("decimal", True),
        ("decimal", decimal.Decimal("1.005")),
        ("decimal", decimal.Decimal("Infinity")),
        ("category", 1),
    ],
)
def test_typed_value_fails(target: str, cell: Any) -> None:
    """A typed value that would lose something, or is of another kind, is marked as failed."""
    assert convert(column(cell), TARGETS[target]).failed.tolist() == [True]


@pytest.mark.parametrize(
    ("target", "values", "failed"),
    [
        ("int64", pd.Series([True, False]), [True, True]),
        ("int64", pd.Series([1.0, 1.5, np.inf]), [False, True, True]),
        ("int64", pd.Series([1, 2**63], dtype="uint64"), [False, True]),
        ("int8", pd.Series([127, 128, -128, -129]), [False, True, False, True]),
        ("uint8", pd.Series([-1.0, 0.0, 255.0, 256.0]), [True, False, False, True]),
        ("float64", pd.Series([2**53, 2**53 + 1]), [False, True]),
        ("boolean", pd.Series([0, 1]), [True, True]),
        ("text", pd.Series([1, 2]), [True, True]),
        ("instant", pd.Series(pd.to_datetime(["2013-01-01"])), [True]),
        ("local_time", pd.Series(pd.to_datetime(["2013-01-01T00:00Z"])), [True]),
        ("date", pd.Series(pd.to_datetime(["2013-01-01"])), [True]),
        ("category", pd.Series(["a", "c"], dtype="category"), [False, True]),
    ],
)
def test_typed_column_fails_by_cell(target: str, values: "pd.Series[Any]", failed: list[bool]) -> None:
    """In a typed column just the cells that do not fit are marked as failed."""
    assert convert(values, TARGETS[target]).failed.tolist() == failed


@pytest.mark.parametrize("cell", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-05:00"])
def test_instant_outside_the_calendar_fails(cell: str) -> None:
    """An instant whose year in its column's zone is not 1 to 9999 is marked as failed."""
    assert convert(column(cell, dtype=TEXT), TARGETS["instant"]).failed.tolist() == [True]


@pytest.mark.parametrize("cell", ["0001-01-01T00:00Z", "9999-12-31T23:59-12:00"])
def test_edge_of_the_calendar_leaves_other_cells_alone(cell: str) -> None:
    """An instant at the edge of the calendar does not keep the cell after it from being judged."""
    assert convert(column(cell, "2013-01-01T00:00Z", dtype=object), TARGETS["instant_new_york"]).failed.tolist()[1] is False


@pytest.mark.parametrize("cell", [[1], {"a": 1}], ids=["list", "dict"])
@pytest.mark.parametrize("target", TARGETS)
def test_nested_value_fails(target: str, cell: Any) -> None:
    """A nested value is no value of any type here, so it is marked as failed."""
    assert convert(column(cell), TARGETS[target]).failed.tolist() == [True]


def test_tuple_of_lists_fails() -> None:
    """A tuple that cannot be hashed is marked as failed like any other nested value."""
    assert convert(column(([],)), TARGETS["text"]).failed.tolist() == [True]


def test_text_without_encoding_fails() -> None:
    """Half of a surrogate pair, which no encoding can store, is marked as failed."""
    assert convert(column("a", "\ud800"), TARGETS["text"]).failed.tolist() == [False, True]


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("text", "category")])
def test_failed_cell_is_null(target: str) -> None:
    """A cell that does not convert is NULL in the values."""
    assert convert(column("x"), TARGETS[target]).values.isna().tolist() == [True]


def test_a_bad_cell_stays_alone() -> None:
    """Cells around one that does not convert keep their values."""
    assert convert(column("1", "x", "3", dtype=TEXT), TARGETS["int64"]).values.dropna().tolist() == [1, 3]


# -- NULL, shape and type ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("null", [None, float("nan"), pd.NA, pd.NaT], ids=["None", "nan", "NA", "NaT"])
@pytest.mark.parametrize("target", TARGETS)
def test_null_stays_null(target: str, null: Any) -> None:
    """NULL in any spelling of pandas is NULL afterwards."""
    assert convert(column(null), TARGETS[target]).values.isna().tolist() == [True]


@pytest.mark.parametrize("null", [None, float("nan"), pd.NA, pd.NaT], ids=["None", "nan", "NA", "NaT"])
@pytest.mark.parametrize("target", TARGETS)
def test_null_has_not_failed(target: str, null: Any) -> None:
    """NULL is not marked as failed."""
    assert convert(column(null), TARGETS[target]).failed.tolist() == [False]


@pytest.mark.parametrize("target", [name for name in TARGETS if TARGETS[name].arrow])
def test_null_between_text_is_null(target: str) -> None:
    """NULL in a column of clean text is NULL at its place and only there."""
    clean = next(cell for name, cell, _ in TEXT_THAT_CONVERTS if name == target)
    assert convert(column(clean, None, clean, dtype=TEXT), TARGETS[target]).values.isna().tolist() == [False, True, False]


@pytest.mark.parametrize("cells", [[], [None], ["x"]], ids=["empty", "NULL", "failed"])
@pytest.mark.parametrize("dtype", [object, TEXT], ids=["objects", "text"])
@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("text", "category")])
def test_dtype_is_the_declared_one(target: str, cells: list[Any], dtype: Any) -> None:
    """The converted column has the declared dtype whatever its cells were."""
    assert convert(column(*cells, dtype=dtype), TARGETS[target]).values.dtype == TARGETS[target].dtype


@pytest.mark.parametrize("cells", [["1", "2"], ["1", "x"]], ids=["whole column", "cell by cell"])
def test_index_is_kept(cells: list[str]) -> None:
    """The converted column has the labels of the given one, repeated ones included."""
    values = pd.Series(cells, index=[7, 7], dtype=TEXT)
    assert convert(values, TARGETS["int64"]).values.index.tolist() == [7, 7]


def test_anything_keeps_values() -> None:
    """A column without a declared type keeps its cells as they are."""
    cells = [1, "x", None, [1]]
    assert convert(column(*cells), anything(np.dtype(object))).values.tolist() == cells


def test_anything_never_fails() -> None:
    """In a column without a declared type no cell is marked as failed."""
    assert not convert(column(1, "x", None, [1]), anything(np.dtype(object))).failed.any()


def test_given_column_is_not_changed() -> None:
    """Conversion leaves the given column as it was."""
    values = column("1", "x", None)
    convert(values, TARGETS["int64"])
    assert values.tolist() == ["1", "x", None]


hashable_cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(width=32),
    st.text(max_size=6),
    st.binary(max_size=3),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**6), max_value=10**6, places=3),
    st.dates(),
    st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 12, 31), timezones=st.none() | st.just(datetime.UTC)),
    st.sampled_from([cell for _, cell, _ in TEXT_THAT_CONVERTS]),
)


@pytest.mark.parametrize("target", TARGETS)
@given(cells=st.lists(hashable_cells, max_size=8))
@settings(quick, max_examples=25)
def test_length_is_kept(target: str, cells: list[Any]) -> None:
    """Values and marks are as many as the cells given."""
    converted = convert(column(*cells), TARGETS[target])
    assert (len(converted.values), len(converted.failed)) == (len(cells), len(cells))


@pytest.mark.parametrize("target", TARGETS)
@given(cells=st.lists(hashable_cells, max_size=8))
@settings(quick, max_examples=25)
def test_null_means_null_or_failed(target: str, cells: list[Any]) -> None:
    """A converted cell is NULL exactly where NULL was given or the conversion failed."""
    given_cells = column(*cells)
    converted = convert(given_cells, TARGETS[target])
    assert converted.values.isna().tolist() == (given_cells.isna() | converted.failed).tolist()


# -- both paths give the same -----------------------------------------------------------------------------------------

years = st.integers(2, 9998).map("{:04}".format)
two_digits = st.integers(0, 62).map("{:02}".format)
offsets = st.sampled_from(["", "Z", "+00:00", "-05:00", "+0530", "+14:00", "-12:00"])
times = st.builds(
    lambda year, month, day, between, hour, minute, rest, offset: f"{year}-{month}-{day}{between}{hour}:{minute}{rest}{offset}",
    years, two_digits, two_digits, st.sampled_from("T "), two_digits, two_digits,
    st.sampled_from(["", ":00", ":59", ":60", ":30.5", ":30.123456", ":30.1234567"]), offsets,
)  # fmt: skip
good_days = st.dates(datetime.date(2, 1, 1), datetime.date(9998, 12, 31)).map(datetime.date.isoformat)
local_times = st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 12, 31)).map(datetime.datetime.isoformat)
noise = st.sampled_from(["", " ", "x", "1 ", " 1", "1\n", "٣", "nan", "inf", "1_0", "+", "1e5", "517.0", "True", "Z"])
NOTATIONS: dict[str, tuple[st.SearchStrategy[str], st.SearchStrategy[str]]] = {
    "int64": (
        st.integers(-(10**17), 10**17).map(str) | st.sampled_from(["-0", "007", "-007"]),
        st.integers(-(10**20), 10**20).map(str) | st.just("+5"),
    ),
    "float64": (
        st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.decimals(-1000, 1000, places=4).map(str),
        st.sampled_from(["+1", ".5", "5.", "1E5", "1e-7", "1e+22", "123456789012345678", "0.1000000000000000055511151231257827"]),
    ),
    "boolean": (st.sampled_from(["true", "false"]), st.sampled_from(["True", "1"])),
    "instant": (
        st.builds("{}{}".format, local_times, st.sampled_from(["Z", "+00:00", "-05:00", "+0530", "+14:00", "-12:00"])),
        times,
    ),
    "local_time": (local_times, times),
    "date": (good_days, st.builds("{}-{}-{}".format, years, two_digits, two_digits)),
}


def assert_paths_agree(values: "pd.Series[Any]", target: Target) -> None:
    """Whenever the whole column converts at once, cell by cell gives the same and marks nothing."""
    whole = conversion._convert_whole(values, target)
    if whole is not None:
        each = conversion._convert_each(values, target)
        assert not each.failed.any()
        # Without NULL a column may keep its plain form.
        pd.testing.assert_series_equal(whole.astype(each.values.dtype), each.values, check_exact=True, check_names=False)


@pytest.mark.parametrize("target", NOTATIONS)
@given(data=st.data())
@quick
def test_paths_agree_on_text(target: str, data: st.DataObject) -> None:
    """Whenever the whole column of text converts at once, cell by cell gives the same."""
    clean, odd = NOTATIONS[target]
    # Mostly columns of clean cells, which the fast path answers; sometimes one that may not convert.
    cells = (
        data.draw(st.lists(clean | st.none(), max_size=6)) + data.draw(st.lists(odd, max_size=1)) + data.draw(st.lists(noise, max_size=1))
    )
    assert_paths_agree(column(*cells, dtype=TEXT), TARGETS[target])


@pytest.mark.parametrize("target", NOTATIONS)
@given(cell=st.data())
@quick
def test_paths_agree_on_one_cell(target: str, cell: st.DataObject) -> None:
    """Whenever a single cell of text converts at once, cell by cell gives the same."""
    assert_paths_agree(column(cell.draw(st.one_of(*NOTATIONS[target], noise)), dtype=TEXT), TARGETS[target])


@pytest.mark.parametrize("target", ["int64", "int8", "uint8", "uint64"])
@given(
    values=st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300), max_size=5).map(lambda n: pd.Series(n, dtype="int64")),
        st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=5).map(lambda n: pd.Series(n, dtype="uint64")),
        st.lists(st.integers(-300, 300) | st.none(), max_size=5).map(lambda n: pd.Series(n, dtype="Int16")),
        st.lists(st.floats() | st.integers(-300, 300).map(float) | st.just(2.0**53), max_size=5).map(
            lambda n: pd.Series(n, dtype="float64")
        ),
        st.lists(st.integers(-300, 300).map(float) | st.none(), max_size=5).map(lambda n: pd.Series(n, dtype="Float64")),
    )
)
@quick
def test_paths_agree_on_numbers(target: str, values: "pd.Series[Any]") -> None:
    """Whenever a column of numbers converts to integers at once, cell by cell gives the same."""
    assert_paths_agree(values, TARGETS[target])


@pytest.mark.parametrize("cell", ["0000-01-01T00:00", "0000-12-31T23:59:59.999999"])
@pytest.mark.parametrize(("target", "offset"), [("local_time", ""), ("instant", "Z"), ("instant", "-05:00")])
def test_paths_agree_on_year_zero(target: str, offset: str, cell: str) -> None:
    """The year zero, which Python's calendar lacks, is treated alike on both paths."""
    assert_paths_agree(column(cell + offset, dtype=TEXT), TARGETS[target])


@pytest.mark.parametrize("target", [name for name in TARGETS if TARGETS[name].arrow])
def test_clean_text_takes_the_fast_path(target: str) -> None:
    """A column of clean text converts at once, so that the comparison of both paths compares something."""
    clean = next(cell for name, cell, _ in TEXT_THAT_CONVERTS if name == target)
    assert conversion._convert_whole(column(clean, None, dtype=TEXT), TARGETS[target]) is not None


OBJECTS = st.one_of(
    st.none(),
    st.dates(),
    st.datetimes(),
    st.decimals(allow_nan=True, allow_infinity=True).filter(lambda number: not number.is_snan()),
    st.decimals(min_value=-(10**12), max_value=10**12, places=2),
    st.integers(-(10**20), 10**20),
    st.booleans(),
    st.text(max_size=3),
)


@pytest.mark.parametrize(
    "target", [conversion.date(), conversion.exact_decimal(10, 2), conversion.exact_decimal(38, 0), conversion.exact_decimal(40, 2)]
)
@given(kind=st.sampled_from(range(4)), data=st.data())
@quick
def test_paths_agree_on_objects(target: Target, kind: int, data: st.DataObject) -> None:
    """Whenever a column of objects converts at once, cell by cell gives the same; a datetime among dates is not cut off."""
    cells = [OBJECTS, st.one_of(st.none(), st.dates()), st.one_of(st.dates(), st.datetimes()), st.decimals(-(10**9), 10**9, places=2)][kind]
    assert_paths_agree(pd.Series(data.draw(st.lists(cells, max_size=6)), dtype=object), target)


@pytest.mark.parametrize(
    "given_dtype", ["datetime64[s]", "datetime64[us]", "datetime64[ns]", "datetime64[us, UTC]", "datetime64[ns, Europe/Berlin]"]
)
@pytest.mark.parametrize(
    "wanted", ["datetime64[s]", "datetime64[us]", "datetime64[ns]", "datetime64[us, UTC]", "datetime64[us, America/New_York]"]
)
@given(data=st.data())
@quick
def test_paths_agree_on_times(given_dtype: str, wanted: str, data: st.DataObject) -> None:
    """Whenever a column of times converts at once, cell by cell gives the same: no part of a second is lost, no zone made up."""
    limits = {"min_value": datetime.datetime(1700, 1, 1), "max_value": datetime.datetime(2250, 1, 1)}
    cells = data.draw(st.lists(st.one_of(st.none(), st.datetimes(**limits)), max_size=5))
    dtype = pd.api.types.pandas_dtype(given_dtype)
    values = pd.Series(pd.to_datetime(pd.Series(cells, dtype="datetime64[us]"), utc=getattr(dtype, "tz", None) is not None)).astype(dtype)
    assert_paths_agree(values, conversion.timestamp(pd.api.types.pandas_dtype(wanted)))
