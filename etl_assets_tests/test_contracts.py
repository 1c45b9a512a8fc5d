"""Contracts: what a model says, and how a frame parts into rows that keep it and rows that go to the quarantine."""

import contextlib
import datetime
import json
import re
import tracemalloc
from collections.abc import Sequence
from typing import Annotated, Any, Optional

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.typing import DataFrame, Series

from etl_assets.contracts import Contract, Split
from etl_assets.errors import ContractDefinitionError, ContractViolationError
from etl_assets.gate import Parted
from etl_assets.rules import Severity

quick = settings(max_examples=40, deadline=None, database=None, derandomize=True)
Model = type[pa.DataFrameModel]
Instant = Annotated[pd.DatetimeTZDtype, "us", "UTC"]


class Readings(pa.DataFrameModel):
    """Readings of a gauge, one row per reading.

    Source: a test. Key: id.
    """

    id: int = pa.Field(ge=1, le=20, description="Number of the reading")
    visits: pd.Int64Dtype = pa.Field(nullable=True, ge=0)
    station: str = pa.Field(str_length={"max_value": 4})
    level_m: float = pa.Field(nullable=True, ge=-5, le=5)
    read_on: datetime.date = pa.Field(nullable=True, ge=datetime.date(2000, 1, 1))

    class Config:
        unique = ["id"]
        metadata = {"primary_key": ["id"]}


def model_of(column: Any, *, config: dict[str, Any] | None = None, **field: Any) -> Model:
    """A model with one column named x."""
    return models_of({"x": (column, pa.Field(**field))}, config=config)


def models_of(columns: dict[str, tuple[Any, Any]], *, config: dict[str, Any] | None = None, **members: Any) -> Model:
    """A model with columns from name to annotation and field."""
    body: dict[str, Any] = {
        "__module__": __name__,
        "__annotations__": {name: annotation for name, (annotation, _) in columns.items()},
        **{name: field for name, (_, field) in columns.items()},
        **members,
    }
    if config:
        body["Config"] = type("Config", (), config)
    return type("Made", (pa.DataFrameModel,), body)


def split(model: Model, **columns: Sequence[Any]) -> Split:
    """Split a frame of untyped cells."""
    return Contract.of(model).split(
        pd.DataFrame({name: pd.Series(list(cells), dtype=object) for name, cells in columns.items()}), where="a"
    )


def broken(parted: Split) -> list[tuple[str | None, tuple[str, ...]]]:
    """Position and broken rules of each rejected row."""
    return [(row.position, row.rules) for row in parted.rejected]


def counts(parted: Split) -> dict[str, int]:
    """Rows that broke each broken rule."""
    return {outcome.rule.name: outcome.failed_rows for outcome in parted.outcomes if outcome.failed_rows}


# -- every row is somewhere -------------------------------------------------------------------------------------------

cells = {
    "id": st.integers(-2, 25) | st.integers(1, 20).map(str) | st.sampled_from(["x", "", "1e5", 3.0, 3.5, True, 2**63, None]),
    "visits": st.integers(-2, 9) | st.integers(0, 9).map(str) | st.sampled_from([None, pd.NA, float("nan"), "5.0", 4.0, [1]]),
    "station": st.text(max_size=6) | st.sampled_from([None, 7, b"a"]),
    "level_m": st.floats(-8, 8) | st.sampled_from(["1.5", "-9", "high", None, float("inf"), True, 2**53 + 1]),
    "read_on": st.dates(datetime.date(1990, 1, 1), datetime.date(2030, 1, 1)).map(str)
    | st.dates()
    | st.sampled_from([None, "2013-02-30", "31.01.2013", datetime.datetime(2013, 1, 1)]),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames of the right columns with any cells, in any order of columns, under labels that repeat."""
    rows = draw(st.lists(st.fixed_dictionaries(cells), max_size=8))
    labels = draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    names = draw(st.permutations(list(cells)))
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in names})
    # pandas' own choice of dtypes is what sources often deliver.
    return (frame.infer_objects() if draw(st.booleans()) else frame).set_axis(labels)


@given(frame=frames())
@quick
def test_no_row_vanishes(frame: pd.DataFrame) -> None:
    """Valid and rejected rows together are as many as the rows given."""
    parted = Contract.of(Readings).split(frame, where="clean/readings")
    assert len(parted.valid) + len(parted.rejected) == len(frame)


@given(frame=frames())
@quick
def test_rejected_rows_have_a_reason(frame: pd.DataFrame) -> None:
    """Each rejected row names at least one rule."""
    assert all(row.rules for row in Contract.of(Readings).split(frame, where="clean/readings").rejected)


@given(frame=frames())
@quick
def test_valid_rows_satisfy_pandera(frame: pd.DataFrame) -> None:
    """What is valid here is valid to pandera's own validation."""
    Readings.validate(Contract.of(Readings).split(frame, where="clean/readings").valid)


@given(frame=frames())
@quick
def test_counts_are_those_of_the_rows(frame: pd.DataFrame) -> None:
    """The outcome of each rule counts exactly the rejected rows that name it."""
    parted = Contract.of(Readings).split(frame, where="clean/readings")
    named = {outcome.rule.name: sum(outcome.rule.name in row.rules for row in parted.rejected) for outcome in parted.outcomes}
    assert {outcome.rule.name: outcome.failed_rows for outcome in parted.outcomes} == named


@given(frame=frames())
@quick
def test_splitting_again_rejects_nothing(frame: pd.DataFrame) -> None:
    """Rows that kept the contract keep it when they are split again."""
    valid = Contract.of(Readings).split(frame, where="clean/readings").valid
    assert not Contract.of(Readings).split(valid, where="clean/readings").rejected


@given(frame=frames())
@quick
def test_given_frame_is_not_changed(frame: pd.DataFrame) -> None:
    """Splitting leaves the given frame as it was."""
    before = frame.copy(deep=True)
    Contract.of(Readings).split(frame, where="clean/readings")
    pd.testing.assert_frame_equal(frame, before)


def test_rows_go_where_they_belong() -> None:
    """Each row is rejected for exactly the rules it broke, the others are valid."""
    parted = split(
        Readings,
        id=["1", "x", "3", None, "21"],
        visits=["1", "2", "-1", None, None],
        station=["AB", "AB", "ABCDE", "AB", None],
        level_m=["1.5", None, "6", "0", "0"],
        read_on=["2013-01-01", "2013-02-30", None, None, "1999-12-31"],
    )
    assert broken(parted) == [
        ("row 2", ("id_type", "read_on_type")),
        ("row 3", ("visits_ge", "station_str_length", "level_m_le")),
        ("row 4", ("id_not_null",)),
        ("row 5", ("id_le", "station_not_null", "read_on_ge")),
    ]


def test_valid_rows_are_typed() -> None:
    """Valid rows have the declared columns in the declared order and types."""
    parted = split(Readings, read_on=["2013-01-01"], level_m=["1"], station=["AB"], visits=[None], id=["1"])
    assert list(zip(parted.valid.columns, map(str, parted.valid.dtypes), strict=True)) == [
        ("id", "int64"),
        ("visits", "Int64"),
        ("station", "str"),
        ("level_m", "float64"),
        ("read_on", "object"),
    ]


def test_valid_rows_are_numbered_anew() -> None:
    """Valid rows have a RangeIndex, whatever labels and rejected rows there were."""
    frame = pd.DataFrame({"x": ["1", "bad", "3"]}, index=[7, 7, 9])
    assert Contract.of(model_of(int)).split(frame, where="a").valid.index.equals(pd.RangeIndex(2))


@pytest.mark.parametrize("dtype", [object, "str"])
def test_empty_frame_is_typed(dtype: Any) -> None:
    """A frame without rows gives a frame without rows in the declared types."""
    frame = pd.DataFrame({name: pd.Series([], dtype=dtype) for name in cells})
    valid = Contract.of(Readings).split(frame, where="a").valid
    assert (len(valid), [str(dtype) for dtype in valid.dtypes]) == (0, ["int64", "Int64", "str", "float64", "object"])


def test_frame_of_bad_rows_only_is_typed() -> None:
    """When every row is rejected, the valid frame still has the declared types."""
    assert str(split(model_of(int), x=["a", "b"]).valid["x"].dtype) == "int64"


# -- severities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "valid", "rejected", "failed_rules"),
    [("warn", [1, -1], 0, ()), ("quarantine", [1], 1, ()), ("fail", [1], 1, ("x_ge",)), (Severity.FAIL, [1], 1, ("x_ge",))],
)
def test_severity(severity: str, valid: list[int], rejected: int, failed_rules: tuple[str, ...]) -> None:
    """A broken rule of severity warn keeps the row, quarantine rejects it, and fail rejects it and is named."""
    parted = split(model_of(int, ge=0, metadata={"severity": severity}), x=["1", "-1"])
    named = Parted.of(parted, 2).failed_rules
    assert (parted.valid["x"].tolist(), len(parted.rejected), named) == (valid, rejected, failed_rules)


def test_default_severity() -> None:
    """Rules are of severity quarantine when nothing else is declared."""
    assert {rule.severity for rule in Contract.of(Readings).rules} == {Severity.QUARANTINE}


def test_warnings_are_counted() -> None:
    """A broken rule of severity warn is counted."""
    assert counts(split(model_of(int, ge=0, metadata={"severity": "warn"}), x=["1", "-1", "-2"])) == {"x_ge": 2}


@pytest.mark.parametrize("cell", ["bad", None])
def test_unstorable_cells_are_rejected_under_warn(cell: str | None) -> None:
    """A cell that cannot be stored is rejected even where the column only warns."""
    assert split(model_of(int, metadata={"severity": "warn"}), x=["1", cell]).valid["x"].tolist() == [1]


def test_fail_counts_only_when_broken() -> None:
    """A rule of severity fail that every row keeps is not named."""
    parted = split(model_of(int, ge=0, metadata={"severity": "fail"}), x=["1"])
    assert Parted.of(parted, 1).failed_rules == ()


class Warned(pa.DataFrameModel):
    """One check that pandera itself calls a warning."""

    x: int

    @pa.check("x", raise_warning=True)
    def small(cls, x: Series[int]) -> Series[bool]:
        return x < 10


def test_pandera_warning_is_warn() -> None:
    """A check with pandera's `raise_warning` keeps the row."""
    assert split(Warned, x=["11"]).valid["x"].tolist() == [11]


# -- keys -------------------------------------------------------------------------------------------------------------


def keyed(**config: Any) -> Model:
    """A model with the key x and a number y of at least 0."""
    columns = {"x": (pd.Int64Dtype, pa.Field(nullable=True)), "y": (int, pa.Field(ge=0))}
    return models_of(columns, config=config)


@pytest.mark.parametrize(("keep", "valid"), [("all", [3]), ("exclude_first", [1, 3]), ("exclude_last", [2, 3])])
def test_report_duplicates(keep: str, valid: list[int]) -> None:
    """`report_duplicates` of the schema decides which copy of a key is kept: none, the first or the last."""

    class Kept(keyed(metadata={"primary_key": ["x"]})):  # type: ignore[misc]
        """pandera's Config lacks the option, its schema has it."""

        @classmethod
        def to_schema(cls) -> pa.DataFrameSchema:
            schema = super().to_schema()
            schema.report_duplicates = keep
            return schema

    assert split(Kept, x=["1", "1", "2"], y=["1", "2", "3"]).valid["y"].tolist() == valid


@pytest.mark.parametrize("config", [{"metadata": {"primary_key": ["x"]}}, {"unique": ["x"]}, {"unique": "x"}])
def test_ways_to_declare_a_key(config: dict[str, Any]) -> None:
    """Repeated keys are rejected whether they are declared as primary key or as unique."""
    assert split(keyed(**config), x=["1", "1", "2"], y=["1", "2", "3"]).valid["y"].tolist() == [3]


@pytest.mark.parametrize("config", [{"metadata": {"primary_key": ["x", "y"]}}, {"unique": ["x", "y"]}])
def test_keys_are_compared_together(config: dict[str, Any]) -> None:
    """A key of two columns is repeated only where both are."""
    assert split(keyed(**config), x=["1", "1", "1"], y=["1", "2", "2"]).valid["y"].tolist() == [1]


def test_keys_are_compared_after_conversion() -> None:
    """Two spellings of one number are one key."""
    assert [rules for _, rules in broken(split(keyed(unique=["x"]), x=["7", "007"], y=["1", "2"]))] == [("x_unique",), ("x_unique",)]


@pytest.mark.parametrize("bad", ["-1", "x", None])
def test_bad_copy_does_not_drag_a_good_row_along(bad: str | None) -> None:
    """A row that breaks another rule is no duplicate of a row that keeps them all."""
    assert split(keyed(unique=["x"]), x=["1", "1"], y=["1", bad]).valid["y"].tolist() == [1]


def test_warned_copy_is_a_duplicate() -> None:
    """A row that is loaded with a warning counts when keys are compared."""
    columns = {"x": (int, pa.Field(unique=True)), "y": (int, pa.Field(ge=0, metadata={"severity": "warn"}))}
    assert len(split(models_of(columns), x=["1", "1"], y=["1", "-1"]).rejected) == 2


def test_null_keys_are_no_duplicates() -> None:
    """Rows whose unique columns hold NULL do not repeat one another."""
    assert not split(keyed(unique=["x", "y"]), x=[None, None], y=["1", "1"]).rejected


def test_primary_key_is_not_null() -> None:
    """NULL in a primary key breaks the rule that the column is present, even where the column is nullable."""
    assert broken(split(keyed(metadata={"primary_key": ["x"]}), x=[None], y=["1"])) == [("row 1", ("x_not_null",))]


def test_repeated_keys_are_all_named() -> None:
    """Every copy of a repeated primary key is rejected under the rule of the key."""
    parted = split(keyed(metadata={"primary_key": ["x"]}), x=["1", "1", "2"], y=["1", "2", "3"])
    assert broken(parted) == [("row 1", ("primary_key_unique",)), ("row 2", ("primary_key_unique",))]


def test_labels_do_not_matter_to_keys() -> None:
    """Repeated index labels do not make rows duplicates."""
    frame = pd.DataFrame({"x": ["1", "2"], "y": ["1", "2"]}, index=[0, 0])
    assert not Contract.of(keyed(unique=["x"])).split(frame, where="a").rejected


# -- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["clean/made", "missing ['x']", "undeclared ['z']", "Declared: ['x', 'y']", "returned: ['y', 'z']"])
def test_wrong_columns_are_named_both_ways(part: str) -> None:
    """Missing and undeclared columns are named, together with all that were declared and returned."""
    with pytest.raises(ContractViolationError, match=re.escape(part)):
        Contract.of(keyed()).split(pd.DataFrame({"y": ["1"], "z": ["1"]}), where="clean/made")


def test_repeated_columns_are_named() -> None:
    """A column that comes twice is named."""
    frame = pd.DataFrame([["1", "2", "3"]], columns=["x", "y", "y"])
    with pytest.raises(ContractViolationError, match=re.escape("repeated ['y']")):
        Contract.of(keyed()).split(frame, where="clean/made")


def test_wrong_columns_of_an_empty_frame() -> None:
    """A frame without rows must have the declared columns too, once it has any."""
    with pytest.raises(ContractViolationError, match="missing"):
        Contract.of(keyed()).split(pd.DataFrame({"other": []}), where="clean/made")


@pytest.mark.parametrize("nothing", [pd.DataFrame(), pd.DataFrame({"source_position": pd.Series([], dtype="str")})])
def test_no_records_make_an_empty_typed_table(nothing: pd.DataFrame) -> None:
    """A source that sent no record tells no columns, which is no violation: the table is empty and typed."""
    contract = Contract.of(keyed())
    valid = contract.split(nothing, where="clean/made").valid
    assert (len(valid), list(valid.columns)) == (0, [column.name for column in contract.columns])


class WithOptional(pa.DataFrameModel):
    """Columns that a frame may lack."""

    x: int
    count: Optional[Series[int]]  # noqa: UP045 - pandera reads Optional only
    is_open: Optional[Series[bool]]  # noqa: UP045
    note: Optional[Series[str]]  # noqa: UP045
    seen: Optional[Series[pd.Int64Dtype]]  # noqa: UP045


@pytest.mark.parametrize("name", ["note", "seen", "count", "is_open"])
def test_missing_optional_column_is_null(name: str) -> None:
    """An optional column that the frame lacks is filled with NULL, whatever its dtype."""
    columns = {"x": ["1"], "count": ["1"], "is_open": ["true"], "note": ["a"], "seen": ["1"]}
    del columns[name]
    assert split(WithOptional, **columns).valid[name].isna().tolist() == [True]


def test_optional_column_that_is_there() -> None:
    """An optional column that the frame has is converted like any other."""
    assert split(WithOptional, x=["1"], count=["2"], is_open=["true"], note=["a"], seen=["3"]).valid["count"].tolist() == [2]


@pytest.mark.parametrize(("annotation", "cell", "value"), [(int, "1", 1), (bool, "true", True)])
def test_null_in_a_nullable_plain_column(annotation: Any, cell: str, value: Any) -> None:
    """A column whose plain dtype has no NULL takes one where the model says nullable."""
    valid = split(model_of(annotation, nullable=True), x=[cell, None]).valid["x"]
    assert (valid.iat[0], valid.isna().tolist()) == (value, [False, True])


def test_alias_names_the_column() -> None:
    """A column is looked up by its alias."""
    assert split(model_of(int, alias="Flight No"), **{"Flight No": ["1"]}).valid["Flight No"].tolist() == [1]


def test_source_position_may_come_along() -> None:
    """An undeclared `source_position` is accepted and left out of the valid rows."""
    assert list(split(model_of(int), x=["1"], source_position=["a.csv line 2"]).valid.columns) == ["x"]


def test_source_position_is_the_position() -> None:
    """A rejected row is found by its `source_position`."""
    assert broken(split(model_of(int), x=["a"], source_position=["a.csv line 2"]))[0][0] == "a.csv line 2"


def test_position_in_samples() -> None:
    """A sample is found by its `source_position` too."""
    outcome = split(model_of(int), x=["a"], source_position=["a.csv line 2"]).outcomes[0]
    assert [sample.position for sample in outcome.samples] == ["a.csv line 2"]


@pytest.mark.parametrize("columns", [{"x": ["1", "a"]}, {"x": ["1", "a"], "source_position": [None, None]}])
def test_position_without_a_source(columns: dict[str, list[Any]]) -> None:
    """Without a known `source_position` the number of the row in its frame is its position."""
    assert broken(split(model_of(int), **columns))[0][0] == "row 2"


def test_declared_source_position_is_kept() -> None:
    """A `source_position` that the contract declares is a column of the valid rows."""
    model = models_of({"x": (int, pa.Field()), "source_position": (str, pa.Field())})
    assert split(model, x=["1"], source_position=["line 2"]).valid["source_position"].tolist() == ["line 2"]


# -- checks -----------------------------------------------------------------------------------------------------------


class Ordered(pa.DataFrameModel):
    """Two nullable numbers, the first not above the second."""

    low: pd.Int64Dtype = pa.Field(nullable=True)
    high: pd.Int64Dtype = pa.Field(nullable=True)

    @pa.dataframe_check(description="low <= high")
    def low_to_high(cls, rows: DataFrame["Ordered"]) -> Series[bool]:
        return rows["low"] <= rows["high"]


class OrderedFloats(pa.DataFrameModel):
    """As above, as floats."""

    low: float = pa.Field(nullable=True)
    high: float = pa.Field(nullable=True)

    @pa.dataframe_check
    def low_to_high(cls, rows: DataFrame["OrderedFloats"]) -> Series[bool]:
        return rows["low"] <= rows["high"]


class Known(Ordered):
    """As above, and the first is known."""

    @pa.dataframe_check(ignore_na=False)
    def low_is_known(cls, rows: DataFrame["Ordered"]) -> Series[bool]:
        return rows["low"].notna()


class Checked(pa.DataFrameModel):
    """Checks of a column by cell and as a whole, one that sees NULL, and one of rows by row."""

    x: pd.Int64Dtype = pa.Field(nullable=True)

    @pa.check("x", element_wise=True)
    def odd(cls, value: int) -> bool:
        return value % 2 == 1

    @pa.check("x", ignore_na=False)
    def known(cls, x: Series[pd.Int64Dtype]) -> Series[bool]:
        return x.notna()

    @pa.dataframe_check(element_wise=True)
    def not_five(cls, row: Any) -> bool:
        return row["x"] is pd.NA or row["x"] != 5


class Total(pa.DataFrameModel):
    """A check that judges all rows at once."""

    x: int

    @pa.check("x")
    def sum_below_ten(cls, x: Series[int]) -> bool:
        return bool(x.sum() < 10)


class Raising(pa.DataFrameModel):
    """Checks that cannot be carried out."""

    x: int

    @pa.check("x")
    def impossible(cls, x: Series[int]) -> Series[bool]:
        raise KeyError("elsewhere")


class RaisingRows(pa.DataFrameModel):
    """A check of whole rows that names a column which is not there."""

    x: int

    @pa.dataframe_check
    def refers(cls, rows: DataFrame["RaisingRows"]) -> Series[bool]:
        return rows["elsewhere"] > 0


def test_row_check_with_nullable_columns() -> None:
    """A check of whole rows rejects the rows that break it; where NULL leaves it open, the row is kept."""
    assert broken(split(Ordered, low=["1", "2", None, "4"], high=["2", "1", "1", None])) == [("row 2", ("low_to_high",))]


def test_row_check_that_asks_for_null() -> None:
    """A check of whole rows can reject NULL."""
    assert broken(split(Known, low=["1", None], high=["2", "1"])) == [("row 2", ("low_is_known",))]


def test_unconverted_cell_breaks_its_type_only() -> None:
    """A cell that does not convert breaks the rule of its type and no check of its column."""
    assert broken(split(Checked, x=["a"])) == [("row 1", ("x_type",))]


def test_check_by_cell() -> None:
    """A check of single cells rejects those that break it."""
    assert broken(split(Checked, x=["1", "2"])) == [("row 2", ("x_odd",))]


def test_check_that_sees_null() -> None:
    """A check with `ignore_na=False` can reject NULL in a nullable column."""
    assert broken(split(Checked, x=["1", None])) == [("row 2", ("x_known",))]


def test_row_check_by_row() -> None:
    """A check of single rows rejects those that break it."""
    assert broken(split(Checked, x=["1", "5"])) == [("row 2", ("not_five",))]


def test_null_breaks_no_comparison() -> None:
    """NULL in a nullable column breaks no comparison."""
    assert not split(model_of(float, nullable=True, ge=0, le=1, ne=0.5), x=[None]).rejected


@pytest.mark.parametrize(("cells", "rejected"), [(["1", "2"], 0), (["4", "6"], 2)])
def test_check_of_the_whole_column(cells: list[str], rejected: int) -> None:
    """A check that judges a column at once rejects every row or none."""
    assert len(split(Total, x=cells).rejected) == rejected


@pytest.mark.parametrize(("model", "named"), [(Raising, "x_impossible"), (RaisingRows, "refers")])
def test_check_that_raises(model: Model, named: str) -> None:
    """A check that cannot be carried out ends in an error that names its rule."""
    with pytest.raises(ContractViolationError, match=rf"\b{named}\b.*elsewhere"):
        split(model, x=["1"])


@pytest.mark.parametrize("model", [Raising, RaisingRows])
def test_check_is_not_called_without_rows(model: Model) -> None:
    """A frame without rows breaks no rule."""
    assert not counts(split(model, x=[]))


@pytest.mark.parametrize("model", [Ordered, OrderedFloats])
def test_unconverted_cell_breaks_no_row_check(model: Model) -> None:
    """A cell that does not convert breaks no check of whole rows, whatever the dtype of its column."""
    assert broken(split(model, low=["x"], high=["1"])) == [("row 1", ("low_type",))]


# -- what people see --------------------------------------------------------------------------------------------------


def test_record_keeps_the_text() -> None:
    """The record of a rejected row holds every column as it was before conversion."""
    row = split(keyed(), x=["007"], y=["1,5"]).rejected[0]
    assert json.loads(row.record) == {"x": "007", "y": "1,5"}


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (None, None),
        (float("nan"), None),
        (pd.NaT, None),
        (1.5, 1.5),
        (float("inf"), "inf"),
        (2**70, 2**70),
        (True, True),
        (datetime.date(2013, 1, 1), "2013-01-01"),
        ("Žluťoučký 🐎", "Žluťoučký 🐎"),
        ('"quoted"\n', '"quoted"\n'),
        ({"a": [1]}, {"a": [1]}),
        ({"a": datetime.date(2013, 1, 1)}, {"a": "2013-01-01"}),
        ({"a": float("nan")}, {"a": None}),
    ],
)
def test_record_is_json(cell: Any, shown: Any) -> None:
    """Any cell is written into the record so that JSON reads it back."""
    columns = {"x": (int, pa.Field()), "extra": (object, pa.Field(nullable=True, metadata={"postgres_type": "jsonb"}))}
    row = split(models_of(columns), x=["bad"], extra=[cell]).rejected[0]
    assert json.loads(row.record, parse_constant=lambda name: f"{name} is no JSON") == {"x": "bad", "extra": shown}


def test_record_leaves_out_the_position() -> None:
    """`source_position` is not repeated in the record."""
    assert json.loads(split(model_of(int), x=["a"], source_position=["line 2"]).rejected[0].record) == {"x": "a"}


@pytest.mark.parametrize("part", ["id <= 20", "id=21", "station is present"])
def test_message_says_rule_and_value(part: str) -> None:
    """The message of a rejected row says each broken rule and the value that broke it."""
    row = split(Readings, id=["21"], visits=[None], station=[None], level_m=[None], read_on=[None]).rejected[0]
    assert part in row.message


def test_samples_are_capped() -> None:
    """Of many rows that broke a rule, five are shown."""
    assert len(split(model_of(int, ge=0), x=["-1"] * 7).outcomes[-1].samples) == 5


def test_counts_are_not_capped() -> None:
    """Of many rows that broke a rule, all are counted."""
    assert counts(split(model_of(int, ge=0), x=["-1"] * 7 + ["1"])) == {"x_ge": 7}


def test_sample_shows_the_given_value() -> None:
    """A sample shows the value as it was before conversion."""
    assert [sample.value for sample in split(model_of(int, ge=0), x=["-007"]).outcomes[-1].samples] == ["x=-007"]


def test_long_values_are_cut_in_samples() -> None:
    """A very long value is cut in a sample."""
    assert len(split(model_of(int), x=["y" * 10_000]).outcomes[0].samples[0].value) <= 200


def test_outcomes_follow_the_rules() -> None:
    """There is one outcome per rule, in the order of the rules, broken or not."""
    parted = split(Readings, id=["1"], visits=["1"], station=["AB"], level_m=["1"], read_on=["2013-01-01"])
    assert tuple(outcome.rule for outcome in parted.outcomes) == Contract.of(Readings).rules


def test_outcomes_count_the_rows_judged() -> None:
    """Each outcome says on how many rows its rule was evaluated."""
    assert {outcome.rows for outcome in split(model_of(int, ge=0), x=["1", "a", None]).outcomes} == {3}


# -- rules have names -------------------------------------------------------------------------------------------------


class Numbered(pa.DataFrameModel):
    """Two checks of one name, and one whose name is what numbering makes of the second."""

    x: int

    @pa.check("x", name="size")
    def above_one(cls, x: Series[int]) -> Series[bool]:
        return x > 1

    @pa.check("x", name="size")
    def above_two(cls, x: Series[int]) -> Series[bool]:
        return x > 2

    @pa.check("x", name="size_2")
    def above_nothing(cls, x: Series[int]) -> Series[bool]:
        return x > -5


ODD_NAMES = models_of(
    {
        name: (int, pa.Field(alias=name, ge=0, le=9))
        for name in ["größe", "gr__e", "Flight No", "Flight-No", "日本", "é", "1st", "_", "x_ge"]
    }
)


@pytest.mark.parametrize("model", [Readings, Numbered, ODD_NAMES, Checked])
def test_rule_names_are_unique(model: Model) -> None:
    """No two rules of a contract have one name."""
    names = [rule.name for rule in Contract.of(model).rules]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("model", [Readings, Numbered, ODD_NAMES, Checked])
def test_rule_names_are_plain(model: Model) -> None:
    """Rule names hold letters, digits and underscores of ASCII only, whatever the columns are called."""
    assert all(re.fullmatch("[A-Za-z0-9_]+", rule.name) for rule in Contract.of(model).rules)


def test_rules_of_one_name_are_all_enforced() -> None:
    """A row that breaks only the second of two checks of one name is rejected."""
    assert split(Numbered, x=["2", "3"]).valid["x"].tolist() == [3]


# -- the table --------------------------------------------------------------------------------------------------------


def arrow(type_: pyarrow.DataType) -> dict[str, Any]:
    return {"dtype_kwargs": {"pyarrow_dtype": type_}}


@pytest.mark.parametrize(
    ("annotation", "field", "expected"),
    [
        (int, {}, "bigint"),
        (float, {}, "double precision"),
        (bool, {}, "boolean"),
        (str, {}, "text"),
        (datetime.date, {}, "date"),
        (datetime.datetime, {}, "timestamp without time zone"),
        (np.int8, {}, "smallint"),
        (np.int16, {}, "smallint"),
        (np.int32, {}, "integer"),
        (np.int64, {}, "bigint"),
        (np.uint8, {}, "smallint"),
        (np.uint16, {}, "integer"),
        (np.uint32, {}, "bigint"),
        (np.uint64, {}, "numeric(20,0)"),
        (np.float32, {}, "real"),
        (np.float64, {}, "double precision"),
        (pd.Int8Dtype, {}, "smallint"),
        (pd.Int16Dtype, {}, "smallint"),
        (pd.Int32Dtype, {}, "integer"),
        (pd.Int64Dtype, {}, "bigint"),
        (pd.UInt8Dtype, {}, "smallint"),
        (pd.UInt16Dtype, {}, "integer"),
        (pd.UInt32Dtype, {}, "bigint"),
        (pd.UInt64Dtype, {}, "numeric(20,0)"),
        (pd.Float32Dtype, {}, "real"),
        (pd.Float64Dtype, {}, "double precision"),
        (pd.BooleanDtype, {}, "boolean"),
        (pd.StringDtype, {}, "text"),
        (pd.CategoricalDtype, {"dtype_kwargs": {"categories": ["a"]}}, "text"),
        (Instant, {}, "timestamp with time zone"),
        (pa.Date, {}, "date"),
        (pa.Decimal, {"dtype_kwargs": {"precision": 12, "scale": 2}}, "numeric(12,2)"),
        (pd.ArrowDtype, arrow(pyarrow.int64()), "bigint"),
        (pd.ArrowDtype, arrow(pyarrow.float64()), "double precision"),
        (pd.ArrowDtype, arrow(pyarrow.bool_()), "boolean"),
        (pd.ArrowDtype, arrow(pyarrow.string()), "text"),
        (object, {"metadata": {"postgres_type": "jsonb"}}, "jsonb"),
        (str, {"metadata": {"postgres_type": "varchar(3)"}}, "character varying(3)"),
        (int, {"metadata": {"postgres_type": "int4"}}, "integer"),
    ],
)
def test_postgres_type(annotation: Any, field: dict[str, Any], expected: str) -> None:
    """A column is stored in the PostgreSQL type that holds its dtype exactly, or in the one its metadata names."""
    assert Contract.of(model_of(annotation, **field)).table.columns[0].type == expected


@pytest.mark.parametrize(
    "type_", [pyarrow.date32(), pyarrow.timestamp("us"), pyarrow.timestamp("us", tz="UTC"), pyarrow.duration("us")], ids=str
)
def test_arrow_type_is_known_or_refused(type_: pyarrow.DataType) -> None:
    """A contract with an Arrow dtype is either read or refused as a contract that cannot work."""
    with contextlib.suppress(ContractDefinitionError):
        Contract.of(model_of(pd.ArrowDtype, **arrow(type_)))


def test_bad_cell_of_an_arrow_decimal_is_rejected() -> None:
    """A cell that is no decimal goes to the quarantine where the dtype is Arrow's decimal."""
    model = model_of(pd.ArrowDtype, **arrow(pyarrow.decimal128(5, 2)))
    assert len(split(model, x=["1.50", "bad"]).rejected) == 1


def test_table_key() -> None:
    """The table has the primary key that the contract declares."""
    assert Contract.of(Readings).table.primary_key == ("id",)


def test_key_is_no_further_unique_constraint() -> None:
    """Columns that are the primary key are not declared unique once more."""
    assert Contract.of(Readings).table.unique == ()


def test_table_unique() -> None:
    """Columns that are unique together or alone are so in the table."""
    columns = {"x": (int, pa.Field()), "y": (int, pa.Field(unique=True))}
    assert Contract.of(models_of(columns, config={"unique": ["x", "y"]})).table.unique == (("x", "y"), ("y",))


def test_table_nullable() -> None:
    """Columns of the table are nullable where the contract says so."""
    assert [column.name for column in Contract.of(Readings).table.columns if column.nullable] == ["visits", "level_m", "read_on"]


def test_key_column_is_not_nullable() -> None:
    """A column of the primary key is never nullable in the table."""
    assert not Contract.of(keyed(metadata={"primary_key": ["x"]})).table.columns[0].nullable


def test_optional_column_is_nullable() -> None:
    """An optional column is nullable in the table."""
    assert [column.name for column in Contract.of(WithOptional).table.columns if not column.nullable] == ["x"]


def test_table_comment() -> None:
    """The first paragraph of the model's docstring is the comment of the table."""
    assert Contract.of(Readings).table.comment == "Readings of a gauge, one row per reading."


def test_column_comment() -> None:
    """The description of a field is the comment of its column."""
    assert Contract.of(Readings).table.columns[0].comment == "Number of the reading"


# -- contracts that cannot work ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (model_of(int, metadata={"severity": "loud"}), r"Made\.x: severity 'loud'.*'warn', 'quarantine', 'fail'"),
        (model_of(object), r"Made\.x: .*object.*postgres_type"),
        (model_of(complex), r"Made\.x: .*complex128"),
        (model_of(datetime.timedelta), r"Made\.x: .*timedelta64"),
        (model_of(int, config={"metadata": {"primary_key": ["y"]}}), r"Made: the primary key names \['y'\]; columns: \['x'\]"),
        (model_of("no_such_type"), "Made"),
    ],
    ids=["severity", "object", "complex", "timedelta", "key", "annotation"],
)
def test_impossible_contract_is_refused(model: Model, named: str) -> None:
    """A contract that cannot work is refused with an error that names model, column and what was given."""
    with pytest.raises(ContractDefinitionError, match=named):
        Contract.of(model)


def test_contract_is_read_once() -> None:
    """The contract of a model is the same object each time."""
    assert Contract.of(Readings) is Contract.of(Readings)


def test_misspelt_metadata_is_refused() -> None:
    """A key of metadata that nearly is one of ours is refused instead of ignored; others are the user's own."""

    class Misspelt(pa.DataFrameModel):
        a: int = pa.Field(metadata={"severty": "warn", "owner": "me"})

    with pytest.raises(ContractDefinitionError, match="'severty', close to 'severity'"):
        Contract.of(Misspelt)


def test_decimal_without_digits_is_refused() -> None:
    """A decimal that does not say its digits is refused: pandera would take none after the point."""

    class Plain(pa.DataFrameModel):
        a: pa.Decimal

    with pytest.raises(ContractDefinitionError, match="digits"):
        Contract.of(Plain)


# -- limits of single rules ----------------------------------------------------------------------------------------------


class Limited(pa.DataFrameModel):
    """A rule with a share, one with a number, one with none."""

    share: int = pa.Field(ge=0, metadata={"most_failed": 0.25})
    number: int = pa.Field(ge=0, metadata={"most_failed": 1, "severity": "warn"})
    free: int = pa.Field(ge=0)

    class Config:
        metadata = {"rules": {"rows_sum": {"severity": "fail", "most_failed": 0}}}

    @pa.dataframe_check
    def rows_sum(cls, frame: DataFrame) -> Series[bool]:
        return frame["share"] + frame["number"] + frame["free"] > -100


@pytest.mark.parametrize(
    ("column", "bad", "over"),
    [
        ("share", 1, []),  # 1 of 4 is a quarter
        ("share", 2, ["share_ge"]),
        ("number", 1, []),
        ("number", 2, ["number_ge"]),
        ("free", 4, []),
    ],
)
def test_a_rule_has_its_own_limit(column: str, bad: int, over: list[str]) -> None:
    """A rule is over its limit when more rows break it than its share or its number allows."""
    frame = pd.DataFrame({"share": [1] * 4, "number": [1] * 4, "free": [1] * 4})
    frame.loc[: bad - 1, column] = -1
    split = Contract.of(Limited).split(frame, where="clean/made")
    assert [outcome.rule.name for outcome in split.outcomes if outcome.over_limit] == over


def test_a_rule_by_its_name_has_another_severity() -> None:
    """Config.metadata gives a rule about whole rows a severity and a limit."""
    (rule,) = [rule for rule in Contract.of(Limited).rules if rule.name == "rows_sum"]
    assert (rule.severity, rule.most_failed) == (Severity.FAIL, 0)


@pytest.mark.parametrize("most", [-1, 1.5, True, "1%"])
def test_a_limit_that_is_none_is_refused(most: object) -> None:
    """A limit is a share below 1 or a whole number of rows."""

    class Wrong(pa.DataFrameModel):
        x: int = pa.Field(ge=0, metadata={"most_failed": most})

    with pytest.raises(ContractDefinitionError, match="most_failed"):
        Contract(Wrong)


@pytest.mark.parametrize("rules", [{"y_ge": {}}, {"x_ge": {"sevrity": "warn"}}])
def test_settings_of_an_unknown_rule_are_refused(rules: dict[str, object]) -> None:
    """A misspelt rule or setting would be ignored without a word."""

    class Wrong(pa.DataFrameModel):
        x: int = pa.Field(ge=0)

        class Config:
            metadata = {"rules": rules}

    with pytest.raises(ContractDefinitionError, match="y_ge|sevrity"):
        Contract(Wrong)


def test_rejected_rows_are_made_when_asked_for() -> None:
    """Two million rejected rows cost no memory of their own before they are looked at, and each is right."""
    frame = pd.DataFrame({"x": np.arange(2_000_000) - 2_000_000})

    class Positive(pa.DataFrameModel):
        x: int = pa.Field(ge=0)

    contract = Contract(Positive)
    tracemalloc.start()
    split = contract.split(frame, where="clean/made")
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(split.rejected) == 2_000_000
    assert held < 100 * 2**20
    assert (split.rejected[0].record, split.rejected[-1].record) == ('{"x": -2000000}', '{"x": -1}')
    assert [row.record for row in split.rejected[10_000:10_002]] == ['{"x": -1990000}', '{"x": -1989999}']
