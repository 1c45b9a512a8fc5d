"""Every type: what was loaded is what is read back, with its dtype, by each way of loading and reading; what would change is refused.

Not here: PostgreSQL 15 (`acceptance/test_type_matrix_15.py`), conversion to an Arrow type alone (`test_exact.py`).
"""

import datetime
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.errors import UnstorableValueError
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.loading.type_matrix import ASSET, CASES, CHECKSUM, REFUSED, Case, Refused, cells, frame_of, name_of, request_of
from etl_assets_tests.statements import run

EITHER_WAY = pytest.mark.parametrize("by_csv", [False, True], ids=["alone", "beside a type without binary form"])
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=name_of)
EVERY_REFUSAL = pytest.mark.parametrize("case", REFUSED, ids=name_of)


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_type_matrix")
    return PostgresResource(url=postgres_server.url("test_type_matrix"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database without tables; the ledger stays, because making it anew for each test would take most of the time."""
    run(database.url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


def load(postgres: PostgresResource, case: Case, *, by_csv: bool = False) -> pd.DataFrame:
    """Load a case; the rows that were delivered."""
    if case.setup:
        run(postgres.url, *case.setup)
    frame = frame_of(case.given, case.given_dtype, by_csv=by_csv)
    postgres.write(frame, request_of(case.type, by_csv=by_csv))
    return frame


@EITHER_WAY
@EVERY_CASE
def test_what_was_loaded_is_read_back(postgres: PostgresResource, case: Case, by_csv: bool) -> None:
    """Every value comes back with its Python type and every digit, in a column of the dtype that the type has."""
    load(postgres, case, by_csv=by_csv)
    column = postgres.read_table("matrix")["v"]
    assert (str(column.dtype), cells(column)) == (case.dtype, case.cells)


@EVERY_CASE
def test_both_ways_of_copy_store_the_same(postgres: PostgresResource, case: Case) -> None:
    """Binary COPY and CSV COPY leave rows of the same text in the table."""
    load(postgres, case)
    by_binary = run(postgres.url, CHECKSUM)
    postgres.write(frame_of(case.given, case.given_dtype, by_csv=True), request_of(case.type, by_csv=True))
    assert run(postgres.url, CHECKSUM) == by_binary


@EVERY_CASE
def test_what_was_read_back_is_stored_the_same(postgres: PostgresResource, case: Case) -> None:
    """A second load, of the frame that was read, leaves the same rows."""
    load(postgres, case)
    before = run(postgres.url, CHECKSUM)
    postgres.write(postgres.read_table("matrix"), request_of(case.type, by_csv=False))
    assert run(postgres.url, CHECKSUM) == before


@EVERY_CASE
def test_batches_hold_the_same(postgres: PostgresResource, case: Case) -> None:
    """Read in frames of two rows, each frame has the dtype, and all together the values."""
    load(postgres, case)
    batches = list(postgres.read_table_batches("matrix", rows=2))
    assert {str(batch["v"].dtype) for batch in batches} == {case.dtype}
    assert [cell for batch in batches for cell in cells(batch["v"])] == case.cells


@EVERY_CASE
def test_arrow_holds_the_same(postgres: PostgresResource, case: Case) -> None:
    """Read as Arrow, a type that Arrow has comes as that one, any other as the text that PostgreSQL prints."""
    load(postgres, case)
    column = postgres.read_table_arrow("matrix")["v"]
    if pa.types.is_large_string(column.type):
        printed = "SELECT CASE WHEN v IS NOT NULL THEN format('%s', v) END FROM public.matrix ORDER BY n"
        expected = [text for (text,) in run(postgres.url, printed)]
    else:
        # Arrow tells NULL from NaN, and a NaN of pandas was stored as NULL.
        expected = [None if isinstance(value, float) and value != value else value for value in case.expected]
    assert (str(column.type), column.to_pylist()) == (case.arrow, expected)


# -- what is refused ------------------------------------------------------------------------------------------------------


def refusal(postgres: PostgresResource, case: Refused, *, by_csv: bool) -> UnstorableValueError:
    """The error of a load whose third row has the bad value, after a load of good ones."""
    if case.setup:
        run(postgres.url, *case.setup)
    postgres.write(frame_of((case.good,), case.given_dtype, by_csv=by_csv), request_of(case.type, by_csv=by_csv))
    with pytest.raises(UnstorableValueError) as caught:
        postgres.write(frame_of(case.given, case.given_dtype, by_csv=by_csv), request_of(case.type, by_csv=by_csv))
    return caught.value


@EITHER_WAY
@EVERY_REFUSAL
def test_what_would_change_is_refused(postgres: PostgresResource, case: Refused, by_csv: bool) -> None:
    """A value that a type does not hold is an error with the reason, whichever way the rows go."""
    assert re.search(case.says, refusal(postgres, case, by_csv=by_csv).cause)


@EITHER_WAY
@EVERY_REFUSAL
def test_the_refusal_names_column_and_row(postgres: PostgresResource, case: Refused, by_csv: bool) -> None:
    """The error says where the value is: asset, column and row."""
    assert refusal(postgres, case, by_csv=by_csv).where == f"{ASSET}, column v, row 3"


@EVERY_REFUSAL
def test_a_refusal_leaves_the_table(postgres: PostgresResource, case: Refused) -> None:
    """The rows of the load before stay, and the ledger has the failure."""
    refusal(postgres, case, by_csv=False)
    assert run(postgres.url, "SELECT n FROM public.matrix") == [(1,)]
    assert run(postgres.url, "SELECT status FROM etl.loads ORDER BY recorded_at DESC LIMIT 2") == [("failed",), ("succeeded",)]


@pytest.mark.parametrize("case", [case for case in REFUSED if case.says == "cannot be stored exactly as"], ids=name_of)
def test_the_refusal_shows_the_value(postgres: PostgresResource, case: Refused) -> None:
    """What the loader itself refuses is shown, with its Python type."""
    said = refusal(postgres, case, by_csv=False).cause
    value = pd.Series([case.value], dtype=case.given_dtype).array[0]
    assert said.startswith(f"{str(value)[:80]!r} ({type(value).__name__}) cannot be stored exactly as {case.type} ")


# -- without a shape ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (pd.Series(["a", "b"], dtype="category"), "text"),
        (pd.Series([1, 2], dtype="category"), "bigint"),
        (pd.Series([[1, 2], None], dtype=object), "jsonb"),
        (pd.Series([datetime.timedelta(1)], dtype=object), "interval"),
        (pd.Series([2**63 - 1, None], dtype="Int64"), "bigint"),
        (pd.Series([2**64 - 1], dtype="uint64"), "numeric(20,0)"),
        (pd.Series([2**70, None], dtype=object), "numeric"),
        (pd.Series([True, None], dtype=object), "boolean"),
        (pd.Series([b"a", None], dtype=object), "bytea"),
        (pd.Series([datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)], dtype=object), "timestamp with time zone"),
        (pd.Series([None, None], dtype=object), "text"),
    ],
    ids=["text categories", "whole categories", "lists", "timedelta", "Int64", "uint64", "beyond 64 bits", "booleans", "bytes", "instants",
         "nothing but NULL"],
)  # fmt: skip
def test_a_frame_without_a_shape_takes_types_that_hold_it(postgres: PostgresResource, values: "pd.Series[Any]", type_: str) -> None:
    """Where no contract speaks, the column takes a type that holds the values of the dtype, and holds them."""
    result = postgres.load(pd.DataFrame({"v": values}), table="plain")
    assert ([column.type for column in result.columns], result.rows_loaded) == ([type_], len(values))


# -- any frame ------------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Callable[[list[Any]], "pd.Series[Any]"]]] = {
    "bigint": (st.integers(-(2**63), 2**63 - 1), lambda values: pd.Series(values, dtype="Int64")),
    "smallint": (st.integers(-(2**15), 2**15 - 1), lambda values: pd.Series(values, dtype="Int16")),
    "double precision": (st.floats(allow_nan=False), lambda values: pd.Series(values, dtype="float64")),
    "text": (TEXT, lambda values: pd.Series(values, dtype="str")),
    "boolean": (st.booleans(), lambda values: pd.Series(values, dtype="boolean")),
    "numeric(20,4)": (st.decimals(-(10**15), 10**15, places=4), lambda values: pd.Series(values, dtype=object)),
    "date": (st.dates(), lambda values: pd.Series(values, dtype=object)),
    "timestamp without time zone": (st.datetimes(), lambda values: pd.Series(values, dtype="datetime64[us]")),
    "bytea": (st.binary(max_size=20), lambda values: pd.Series(values, dtype=object)),
    "text[]": (st.lists(st.none() | TEXT, max_size=4), lambda values: pd.Series(values, dtype=object)),
    "bigint[]": (st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4), lambda values: pd.Series(values, dtype=object)),
    "numeric": (st.decimals(allow_nan=False, allow_infinity=False, places=12), lambda values: pd.Series(values, dtype=object)),
}


@st.composite
def frames(draw: st.DrawFn) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Types, and a frame of a column of each."""
    types = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=5))
    rows = draw(st.integers(0, 6))
    columns = {}
    for place, type_ in enumerate(types):
        values, column = COLUMNS[type_]
        columns[f"c{place}"] = column(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)))
    return tuple(types), pd.DataFrame(columns)


def comparable(frame: pd.DataFrame) -> Iterator[list[Any]]:
    """The columns as plain values, numbers of fixed digits by their value."""
    for name in frame:
        yield [None if not isinstance(value, list | Decimal) and pd.isna(value) else value for value in frame[name].tolist()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_=frames())
def test_any_frame_comes_back(database: PostgresResource, given_: tuple[tuple[str, ...], pd.DataFrame]) -> None:
    """A frame of any of these types, NULLs and no rows included, is read back as it was loaded."""
    import dataclasses

    from etl_assets.loading.table import ColumnSpec, TableRef, TableSpec

    types, frame = given_
    spec = TableSpec(columns=tuple(ColumnSpec(name=f"c{place}", type=type_) for place, type_ in enumerate(types)))
    database.write(frame, dataclasses.replace(request_of("text", by_csv=False), target=TableRef(schema="public", table="mixed"), spec=spec))
    read = database.read_table("mixed")
    assert list(map(str, read.dtypes)) == list(map(str, frame.dtypes))
    assert list(comparable(read)) == list(comparable(frame))
