"""Parquet: each type arrives exactly, in any number of row groups, batches and files."""

import datetime
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.accounting import Read
from etl_assets.connectors.files import FilesResource
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets_tests.connectors.file_reading import accounted, positions_of, put

NOON = datetime.datetime(2026, 1, 2, 12, 0, 0, 123456)
# Microseconds since 1970: pandera, once imported, makes pyarrow ignore the offset of a datetime of Python.
BERLIN_NOON = 1_767_351_600_123_456


@pytest.fixture
def files(tmp_path: Path) -> FilesResource:
    """Files below an empty folder."""
    return FilesResource(base_folder=str(tmp_path))


def write(folder: Path, columns: dict[str, Any], name: str = "a.parquet", **options: Any) -> None:
    """Write a Parquet file of named arrays."""
    pyarrow.parquet.write_table(pa.table(columns), folder / name, **options)


def values(column: "pd.Series[Any]") -> list[Any]:
    """The values, with None for NULL."""
    return [None if value is None or value is pd.NA or value is pd.NaT or value != value else value for value in column]


# -- types -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "given_", "expected", "dtype"),
    [
        (pa.int8(), [-128, None, 127], [-128, None, 127], "Int16"),
        (pa.int16(), [-(2**15), None], [-(2**15), None], "Int16"),
        (pa.int32(), [-(2**31), None], [-(2**31), None], "Int32"),
        (pa.int64(), [2**53 + 1, None, -(2**63), 2**63 - 1], [2**53 + 1, None, -(2**63), 2**63 - 1], "Int64"),
        (pa.uint8(), [255, None], [255, None], "Int64"),
        (pa.uint16(), [65535, None], [65535, None], "Int64"),
        (pa.uint32(), [2**32 - 1, None], [2**32 - 1, None], "Int64"),
        (pa.uint64(), [2**64 - 1, None, 2**53 + 1], [2**64 - 1, None, 2**53 + 1], "UInt64"),
        (pa.float64(), [0.1, None, 1e308, float("inf")], [0.1, None, 1e308, float("inf")], "float64"),
        (pa.float32(), [1.5, None], [1.5, None], "float32"),
        (pa.float16(), [1.5, None], [1.5, None], "float16"),
        (pa.bool_(), [True, None, False], [True, None, False], "boolean"),
        (pa.string(), ["00501", None, "", "NA", "ß😀"], ["00501", None, "", "NA", "ß😀"], "str"),
        (pa.large_string(), ["NA", None], ["NA", None], "str"),
        (pa.string_view(), ["NA", None], ["NA", None], "str"),
        (pa.dictionary(pa.int32(), pa.string()), ["x", None, "x"], ["x", None, "x"], "str"),
        (pa.dictionary(pa.int8(), pa.int64()), [2**53 + 1, None], [2**53 + 1, None], "Int64"),
        (pa.binary(), [b"\0\xff", None, b""], [b"\0\xff", None, b""], "object"),
        (pa.binary(2), [b"\0\xff", None], [b"\0\xff", None], "object"),
        (pa.decimal128(5, 2), [Decimal("1.10"), None], [Decimal("1.10"), None], "object"),
        (pa.decimal128(38, 0), [Decimal("9" * 38), None], [Decimal("9" * 38), None], "object"),
        (pa.decimal256(60, 10), [Decimal("1" * 50 + ".0000000001")], [Decimal("1" * 50 + ".0000000001")], "object"),
        (pa.date32(), [datetime.date(9999, 12, 31), None, datetime.date(1, 1, 1)],
         [datetime.date(9999, 12, 31), None, datetime.date(1, 1, 1)], "object"),
        (pa.time32("s"), [datetime.time(1, 2, 3), None], [datetime.time(1, 2, 3), None], "object"),
        (pa.time32("ms"), [datetime.time(1, 2, 3, 4000)], [datetime.time(1, 2, 3, 4000)], "object"),
        (pa.time64("us"), [datetime.time(1, 2, 3, 4)], [datetime.time(1, 2, 3, 4)], "object"),
        (pa.timestamp("s"), [datetime.datetime(9999, 12, 31), None], [pd.Timestamp("9999-12-31"), None], "datetime64[ms]"),
        (pa.timestamp("ms"), [datetime.datetime(1, 1, 1), None], [pd.Timestamp("0001-01-01"), None], "datetime64[ms]"),
        (pa.timestamp("us"), [NOON, None], [pd.Timestamp(NOON), None], "datetime64[us]"),
        (pa.timestamp("ns"), [1, None], [pd.Timestamp(1, unit="ns"), None], "datetime64[ns]"),
        (pa.timestamp("us", "UTC"), [NOON], [pd.Timestamp(NOON, tz="UTC")], "datetime64[us, UTC]"),
        (pa.timestamp("us", "Europe/Berlin"), [BERLIN_NOON, None], [pd.Timestamp(NOON, tz="Europe/Berlin"), None],
         "datetime64[us, Europe/Berlin]"),
        (pa.timestamp("ns", "+02:00"), [7_200_000_000_001], [pd.Timestamp("1970-01-01T04:00:00.000000001+02:00")],
         "datetime64[ns, UTC+02:00]"),
        (pa.duration("us"), [datetime.timedelta(hours=26), None], [pd.Timedelta(hours=26), None], "timedelta64[us]"),
        (pa.null(), [None, None], [None, None], "str"),
        (pa.uuid(), [uuid.UUID(int=7).bytes], [uuid.UUID(int=7)], "object"),
        (pa.list_(pa.int64()), [[2**53 + 1, None], [], None], ["[9007199254740993, null]", "[]", None], "str"),
        (pa.list_(pa.float64()), [[0.5, float("nan"), float("-inf")]], ['[0.5, "NaN", "-Infinity"]'], "str"),
        (pa.list_(pa.binary()), [[b"\0a"]], ['["\\\\x0061"]'], "str"),
        (pa.list_(pa.timestamp("us")), [[datetime.datetime(2026, 1, 2, 3)]], ['["2026-01-02T03:00:00"]'], "str"),
        (pa.list_(pa.string()), [["é", '"']], ['["é", "\\""]'], "str"),
        (pa.struct({"x": pa.int64(), "y": pa.date32()}), [{"x": 1, "y": datetime.date(2026, 1, 2)}, None],
         ['{"x": 1, "y": "2026-01-02"}', None], "str"),
        (pa.map_(pa.string(), pa.int64()), [[("k", 1)]], ['[["k", 1]]'], "str"),
        (pa.list_(pa.struct({"d": pa.decimal128(5, 2)})), [[{"d": Decimal("1.10")}]], ['[{"d": "1.10"}]'], "str"),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
)  # fmt: skip
def test_each_type_arrives_exactly(
    files: FilesResource, tmp_path: Path, type_: pa.DataType, given_: list[Any], expected: list[Any], dtype: str
) -> None:
    """Values and NULLs are those of the file, in a dtype of pandas that holds them all."""
    write(tmp_path, {"a": pa.array(given_, type_)})
    column = files.read_parquet("a.parquet")["a"]
    assert (values(column), str(column.dtype)) == (expected, dtype)


@settings(max_examples=50, deadline=None)
@given(
    numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1),
    decimals=st.lists(st.none() | st.decimals("-1e20", "1e20", places=6), min_size=1),
)
def test_integers_and_decimals_beside_nulls_are_exact(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int | None], decimals: list[Decimal | None]
) -> None:
    """Any integers and decimals arrive as they are, NULLs beside them or not."""
    folder = tmp_path_factory.getbasetemp()
    length = min(len(numbers), len(decimals))
    write(folder, {"n": pa.array(numbers[:length], pa.int64()), "d": pa.array(decimals[:length], pa.decimal128(30, 6))})
    frame = FilesResource(base_folder=str(folder)).read_parquet("a.parquet")
    assert (values(frame["n"]), values(frame["d"])) == (numbers[:length], decimals[:length])


# -- columns -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [["b"], ["c", "a"], ["c", "b", "a"], []])
def test_columns_are_read_as_they_are_asked_for(files: FilesResource, tmp_path: Path, columns: list[str]) -> None:
    """Only the columns asked for, in that order, and the position."""
    write(tmp_path, {"a": [1, 2], "b": ["x", "y"], "c": [[1], [2]]})
    frame = files.read_parquet("a.parquet", columns=columns)
    assert (list(frame.columns), positions_of(frame)) == ([*columns, "source_position"], ["a.parquet row 1", "a.parquet row 2"])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["a", "nope"], r"it has no columns \['nope'\]; present: \['a', 'b'\]. Next: correct `columns`"),
        (["a", "a"], r"the columns \['a'\] are named more than once"),
    ],
)
def test_columns_that_cannot_be_read_are_named(files: FilesResource, tmp_path: Path, columns: list[str], said: str) -> None:
    """A missing column, and one asked for twice, is an error that names it."""
    write(tmp_path, {"a": [1], "b": [2]})
    with pytest.raises(SourceFormatError, match=said):
        files.read_parquet("a.parquet", columns=columns)


def test_columns_are_a_list(files: FilesResource, tmp_path: Path) -> None:
    """One text in place of a list is refused: its letters would be columns."""
    write(tmp_path, {"a": [1], "b": [2], "ab": [3]})
    with pytest.raises(ConfigurationError, match="'ab' is one text, not several"):
        files.read_parquet("a.parquet", columns="ab")


def test_a_file_that_repeats_a_column_is_refused(files: FilesResource, tmp_path: Path) -> None:
    """Parquet may name two columns alike; a frame would lose one."""
    pyarrow.parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(SourceFormatError, match=r"the columns \['a'\] are named more than once"):
        files.read_parquet("a.parquet")


def test_the_reserved_name_is_refused(files: FilesResource, tmp_path: Path) -> None:
    """A column named like the position is not overwritten."""
    write(tmp_path, {"source_position": ["mine"]})
    with pytest.raises(SourceFormatError, match="source_position"):
        files.read_parquet("a.parquet")


def test_the_reserved_name_may_be_left_out(files: FilesResource, tmp_path: Path) -> None:
    """Where it is not asked for, it is in nobody's way."""
    write(tmp_path, {"source_position": ["mine"], "a": [1]})
    assert files.read_parquet("a.parquet", columns=["a"])["source_position"].tolist() == ["a.parquet row 1"]


# -- row groups and batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 7, 10, 11, 1000])
def test_batches_are_the_whole(files: FilesResource, tmp_path: Path, rows: int) -> None:
    """Batches of any size, over row groups and files, give the rows, types and positions of a whole read."""
    for number in (1, 2):
        numbers = [None if place % 4 == 0 else 2**60 + place + number for place in range(20)]
        write(tmp_path, {"n": numbers, "s": list("abcdefghijklmnopqrst"), "l": [[1]] * 20}, f"{number}.parquet", row_group_size=7)
    whole, expected = accounted(lambda: files.read_parquet("*.parquet"))
    frames: list[pd.DataFrame] = []
    _, account = accounted(lambda: frames.extend(files.read_parquet_batches("*.parquet", rows=rows)))
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)
    assert (max(map(len, frames)) <= rows, account.reads) == (True, expected.reads)


def test_rows_and_row_groups_are_told(files: FilesResource, tmp_path: Path) -> None:
    """The account has the rows and the notes what the file says."""
    write(tmp_path, {"a": list(range(10))}, row_group_size=4)
    _, account = accounted(lambda: files.read_parquet("a.parquet"))
    assert account.reads == [Read(source=str(tmp_path / "a.parquet"), rows=10, notes="10 rows in 3 row groups")]


@pytest.mark.parametrize("read", ["read_parquet", "read_parquet_batches"])
def test_a_file_without_rows_keeps_its_columns(files: FilesResource, tmp_path: Path, read: str) -> None:
    """An empty file gives its columns in their types, in batches too."""
    write(tmp_path, {"n": pa.array([], pa.int64()), "s": pa.array([], pa.dictionary(pa.int32(), pa.string()))})
    found = getattr(files, read)("a.parquet")
    frame = found if read == "read_parquet" else next(found)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {"n": "Int64", "s": "str", "source_position": "str"}


# -- several files -----------------------------------------------------------------------------------------------------

Two = tuple[pa.Array, pa.Array]


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (pa.array([1], pa.int8()), pa.array([2**53 + 1], pa.int64()), [1, 2**53 + 1]),
        (pa.array([1], pa.uint32()), pa.array([None], pa.int64()), [1, None]),
        (pa.array([2**53 + 1]), pa.nulls(1), [2**53 + 1, None]),
        (pa.nulls(1), pa.array([2**53 + 1]), [None, 2**53 + 1]),
        (pa.array(["x"]), pa.array(["y"]).dictionary_encode(), ["x", "y"]),
        (pa.array(["x"]), pa.array(["y"], pa.large_string()), ["x", "y"]),
        (pa.array([1.5], pa.float32()), pa.array([0.1]), [1.5, 0.1]),
        (pa.array([Decimal("1.10")]), pa.array([Decimal("12.345")]), [Decimal("1.10"), Decimal("12.345")]),
    ],
    ids=["small and big", "unsigned", "then NULLs", "NULLs first", "categories", "large text", "floats", "decimals"],
)  # fmt: skip
def test_files_of_one_kind_are_one_table(files: FilesResource, tmp_path: Path, one: pa.Array, two: pa.Array, expected: list[Any]) -> None:
    """Types that one column can hold exactly may differ between files."""
    write(tmp_path, {"a": one, "b": [1]}, "1.parquet")
    write(tmp_path, {"b": [2], "a": two}, "2.parquet")
    frame = files.read_parquet("*.parquet")
    assert (values(frame["a"]), values(frame["b"])) == (expected, [1, 2])


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (pa.array([2**53 + 1]), pa.array([1.5])),
        (pa.array([2**53 + 1]), pa.array([2**63 + 1], pa.uint64())),
        (pa.array([1]), pa.array(["1"])),
        (pa.array([True]), pa.array([1])),
        (pa.array([1.5]), pa.array([Decimal("1.5")])),
        (pa.array([1], pa.timestamp("ns")), pa.array([10**12], pa.timestamp("ms"))),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
        (pa.array([1], pa.date32()), pa.array([1], pa.timestamp("us"))),
    ],
    ids=["floats", "uint64", "text", "booleans", "decimals", "units", "zones", "dates"],
)
def test_files_of_other_types_are_refused(files: FilesResource, tmp_path: Path, one: pa.Array, two: pa.Array) -> None:
    """Where one column of pandas would round or mix values, the message names the files, the column and both types."""
    write(tmp_path, {"a": one}, "1.parquet")
    write(tmp_path, {"a": two}, "2.parquet")
    with pytest.raises(SourceFormatError, match=r"2.parquet: its column 'a' is .*, that of 1.parquet is .*. Next: read such files apart"):
        files.read_parquet("*.parquet")


def test_types_are_compared_beyond_a_file_of_nulls(files: FilesResource, tmp_path: Path) -> None:
    """A file whose column is NULL throughout hides no difference between the others."""
    write(tmp_path, {"a": pa.nulls(1)}, "1.parquet")
    write(tmp_path, {"a": [1]}, "2.parquet")
    write(tmp_path, {"a": [1.5]}, "3.parquet")
    with pytest.raises(SourceFormatError, match="3.parquet: its column 'a' is double, that of 2.parquet is int64"):
        list(files.read_parquet_batches("*.parquet"))


def test_files_of_other_columns_are_refused(files: FilesResource, tmp_path: Path) -> None:
    """A file with other columns is an error that names the difference."""
    write(tmp_path, {"a": [1], "b": [1]}, "1.parquet")
    write(tmp_path, {"a": [1], "c": [1]}, "2.parquet")
    with pytest.raises(SourceFormatError, match=r"2.parquet: its columns differ from those of 1.parquet: missing \['b'\], extra \['c'\]"):
        files.read_parquet("*.parquet")


def test_columns_asked_for_must_agree_alone(files: FilesResource, tmp_path: Path) -> None:
    """Columns that are not read may differ."""
    write(tmp_path, {"a": [1], "b": [1]}, "1.parquet")
    write(tmp_path, {"a": [2], "b": ["x"], "c": [1]}, "2.parquet")
    assert values(files.read_parquet("*.parquet", columns=["a"])["a"]) == [1, 2]


# -- what is none ------------------------------------------------------------------------------------------------------


def _parquet() -> bytes:
    buffer = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table({"a": ["x" * 50] * 100, "b": list(range(100))}), buffer, use_dictionary=False)
    return bytes(buffer.getvalue().to_pybytes())


@pytest.mark.parametrize(
    "content",
    [b"", b"a,b\n1,2\n", b"PAR1", b"PAR1PAR1", b"PAR1" + bytes(100) + b"PAR1", _parquet()[:-1], _parquet()[:200], _parquet()[4:]],
    ids=["empty", "CSV", "start only", "no content", "zeros", "last byte missing", "cut", "start missing"],
)
def test_what_is_no_parquet_file_is_refused(files: FilesResource, tmp_path: Path, content: bytes) -> None:
    """A file of another format, and a cut one, is a format error."""
    put(tmp_path, "a.parquet", content)
    with pytest.raises(SourceFormatError, match="this is no readable Parquet file"):
        files.read_parquet("a.parquet")


def test_a_value_that_pandas_cannot_hold_exactly_is_refused(files: FilesResource, tmp_path: Path) -> None:
    """A time of day with nanoseconds is an error, not cut."""
    write(tmp_path, {"a": pa.array([1], pa.time64("ns"))})
    with pytest.raises(SourceFormatError, match="nanoseconds"):
        files.read_parquet("a.parquet")
