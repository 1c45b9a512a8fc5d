"""Which rows a partition is, in a frame and in SQL, and loads that replace one partition of a table.

Not here: windows of time (`test_partition_windows.py`), partitions of Dagster (`test_dagster_partitions.py`), reading one back
(`test_reading_back.py`).
"""

import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.errors import ConfigurationError, EtlError, UnstorableValueError
from etl_assets.loading.options import WriteDisposition, WriteOptions
from etl_assets.loading.partitions import Partition, Slice, outside
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import LoadResult
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

DAY, NEXT = datetime.date(2013, 1, 1), datetime.date(2013, 1, 2)
START, END = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC), datetime.datetime(2013, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_partitions")
    return PostgresResource(url=postgres_server.url("test_partitions"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied: a new one for each test would take most of the time."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


def sales(*rows: tuple[int, str | None]) -> pd.DataFrame:
    """Rows of the columns `id` and `region`."""
    return pd.DataFrame(
        {"id": pd.array([i for i, _ in rows], dtype="int64"), "region": pd.Series([region for _, region in rows], dtype="str")}
    )


def load(postgres: PostgresResource, rows: Any, partition: Partition | Mapping[str, Any], **more: Any) -> LoadResult:
    """Replace a partition of `public.t`."""
    how = {} if "options" in more else {"disposition": "replace_partition"}
    return postgres.load(rows, table="t", partition=partition, **how, **more)


def stored(postgres: PostgresResource, columns: str = "id, region") -> list[Any]:
    """The rows of `public.t`, in order."""
    return run(postgres.url, f"SELECT {columns} FROM public.t ORDER BY 1, 2")


# -- values ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"values": ("a",), "start": START, "end": END},
        {"start": START},
        {"values": ("a",), "end": END},
    ],
    ids=["neither", "both", "without an end", "values and an end"],
)
def test_a_slice_is_values_or_a_window(wrong: dict[str, Any]) -> None:
    """A slice that is neither values nor a whole window is refused."""
    with pytest.raises(ConfigurationError, match="day: a slice has values, or a start and an end"):
        Slice(expression="day", **wrong)


def test_a_window_needs_a_time_zone() -> None:
    """Moments without a zone say no instant."""
    with pytest.raises(ConfigurationError, match="without a time zone says no instant"):
        Slice(expression="at", start=datetime.datetime(2013, 1, 1), end=datetime.datetime(2013, 1, 2))


@pytest.mark.parametrize(
    ("values", "key", "texts"),
    [
        ({"region": "us"}, "us", [("us",)]),
        ({"day": DAY}, "2013-01-01", [("2013-01-01",)]),
        ({"number": 7}, "7", [("7",)]),
        ({"day": DAY, "region": ["us", "eu"]}, "2013-01-01|us,eu", [("2013-01-01",), ("us", "eu")]),
    ],
    ids=["text", "date", "number", "several"],
)
def test_a_partition_of_values(values: dict[str, Any], key: str, texts: list[tuple[str, ...]]) -> None:
    """Values by column are one slice each, and are named by a bar."""
    partition = Partition.of(values)
    assert (partition.key, [one.values for one in partition.alternatives[0]]) == (key, texts)


@pytest.mark.parametrize("nothing", [{}, {"region": []}, {"region": None}], ids=["no column", "no value", "None"])
def test_a_partition_of_nothing_is_refused(postgres: PostgresResource, nothing: dict[str, Any]) -> None:
    """A partition that says no value is an error before the database is asked, and never the text of None."""
    with pytest.raises(ConfigurationError):
        load(postgres, sales((1, "us")), nothing)


@pytest.mark.parametrize(
    ("column", "values", "inside"),
    [
        ("text", ["us", "US", None, ""], [True, False, False, False]),
        ("integer", [1, 2, 1, 3], [True, False, True, False]),
        ("date", [DAY, NEXT, DAY, None], [True, False, True, False]),
    ],
)
def test_values_in_a_frame(column: str, values: list[Any], inside: list[bool]) -> None:
    """Text, whole numbers and dates are judged in the frame; NULL is of no partition."""
    key = {"text": "us", "integer": 1, "date": DAY}[column]
    wrong = outside(Partition.of({"value": key}), pd.DataFrame({"value": values}))
    assert wrong is not None
    assert (~wrong).tolist() == inside


@pytest.mark.parametrize(
    ("frame", "expression"),
    [
        (pd.DataFrame({"value": [1.0, 2.0]}), "value"),
        (pd.DataFrame({"value": [True, False]}), "value"),
        (pd.DataFrame({"value": [Decimal(1), Decimal("1.0")]}), "value"),
        (pd.DataFrame({"value": ["us"]}), "lower(value)"),
    ],
    ids=["float", "boolean", "decimal", "expression"],
)
def test_only_the_server_can_tell(frame: pd.DataFrame, expression: str) -> None:
    """What PostgreSQL compares otherwise than Python compares texts is left to it."""
    assert outside(Partition.of({expression: "1"}), frame) is None


# -- loads that replace a partition ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "left"),
    [
        ([(1, "us"), (4, "us"), (5, "us")], [(1, "us"), (3, "eu"), (4, "us"), (5, "us")]),
        ([(1, "us")], [(1, "us"), (3, "eu")]),
        ([], [(3, "eu")]),
    ],
    ids=["more rows", "fewer rows", "no rows"],
)
def test_only_the_partition_is_replaced(postgres: PostgresResource, again: list[tuple[int, str]], left: list[Any]) -> None:
    """The partition holds the rows of its last load, the others those they had."""
    load(postgres, sales((1, "us"), (2, "us")), {"region": "us"})
    load(postgres, sales((3, "eu")), {"region": "eu"})
    load(postgres, sales(*again), {"region": "us"})
    assert stored(postgres) == left


def test_counts_of_a_partition(postgres: PostgresResource) -> None:
    """Rows loaded are those delivered, rows changed those deleted and added; the ledger names partition and disposition."""
    load(postgres, sales((1, "us"), (2, "us")), {"region": "us"})
    result = load(postgres, sales((3, "us")), {"region": "us"})
    assert (result.rows_loaded, result.rows_changed) == (1, 3)
    ledger = run(postgres.url, "SELECT partition, disposition, rows_loaded, rows_changed FROM etl.loads ORDER BY recorded_at")
    assert ledger == [("us", "replace_partition", 2, 2), ("us", "replace_partition", 1, 3)]


def test_several_values_are_one_partition(postgres: PostgresResource) -> None:
    """All values of a list are replaced together, also those that the load no longer brings."""
    load(postgres, sales((1, "us"), (2, "eu"), (3, "as")), {"region": ["us", "eu", "as"]})
    load(postgres, sales((4, "us")), {"region": ["us", "eu"]})
    assert stored(postgres) == [(3, "as"), (4, "us")]


def test_all_columns_of_a_partition_must_match(postgres: PostgresResource) -> None:
    """With two columns a row is of the partition when both have its values."""
    frame = pd.DataFrame({"id": [1, 2, 3], "region": ["us", "us", "eu"], "number": [1, 2, 1]})
    postgres.load(frame, table="t")
    load(postgres, frame[:0], {"region": "us", "number": 1})
    assert stored(postgres, "id, number") == [(2, 2), (3, 1)]


@pytest.mark.parametrize(
    "value",
    ["o'x", "50%", "%s", "a%(b)s", "{}", '"', "a\\b", "a,b", "{a,b}", " us ", "", "NULL", "ü", "1::int", "'; DROP TABLE t; --", "a\nb"],
)
def test_any_text_is_a_value(postgres: PostgresResource, value: str) -> None:
    """A value with signs that mean something in SQL, Python or an array is that text, and nothing else."""
    load(postgres, sales((1, "us"), (2, None)), {"region": "us"}, most_quarantined=0.5)
    load(postgres, sales((3, value)), {"region": value})
    load(postgres, sales((4, value)), {"region": value})
    assert stored(postgres) == [(1, "us"), (4, value)]
    assert postgres.read_table("t", partition=Partition.of({"region": value}))["id"].tolist() == [4]


@pytest.mark.parametrize(
    ("type_", "values", "key"),
    [
        ("date", [DAY, NEXT], "2013-01-01"),
        ("date", [DAY, NEXT], DAY),
        ("timestamp", pd.to_datetime(["2013-01-01", "2013-01-02"]), "2013-01-01"),
        ("timestamptz", pd.to_datetime(["2013-01-01", "2013-01-02"]).tz_localize("UTC"), "2012-12-31 19:00-05:00"),
        ("integer", pd.array([1, 2], dtype="int32"), "1"),
        ("bigint", [2**53 + 1, 2**53], 2**53 + 1),
        ("integer, written with a zero", [1, 12], "01"),
        ("numeric", [Decimal("1.5"), Decimal("2.5")], "1.50"),
        ("boolean", [True, False], True),
        ("text", ["a", "b"], "a"),
        ("double precision", [0.5, 1.5], "0.5"),
    ],
)
def test_values_of_any_type(postgres: PostgresResource, type_: str, values: Any, key: Any) -> None:
    """A value counts as the column's type reads it, in the first load as in the next."""
    frame = pd.DataFrame({"id": [1, 2], "value": values})
    postgres.load(frame, table="t")
    load(postgres, frame[:1].assign(id=3), {"value": key})
    assert [row[0] for row in stored(postgres, "id, value")] == [2, 3], type_


@pytest.mark.parametrize("column", ["Region", "the region", "order", "user", 'a"b', "50%"])
def test_any_column_may_be_the_partition(postgres: PostgresResource, column: str) -> None:
    """A column is meant by its name, also where SQL would read the name as something else."""
    frame = pd.DataFrame({"id": [1, 2], column: ["us", "eu"]})
    load(postgres, frame[:1], {column: "us"})
    load(postgres, frame[1:], {column: "eu"})
    load(postgres, frame[:1].assign(id=3), {column: "us"})
    assert run(postgres.url, "SELECT id FROM public.t ORDER BY 1") == [(2,), (3,)]


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("lower(region)", ["US", "eu"]),
        ("left(region, 2)::char(2)", ["us-east", "eu-west"]),
        ("CASE WHEN region LIKE 'u%' THEN 'us' ELSE 'eu' END", ["u1", "e1"]),
    ],
)
def test_an_expression_tells_the_partition(postgres: PostgresResource, expression: str, values: list[str]) -> None:
    """An SQL expression over the columns is compared with the value."""
    load(postgres, sales((1, values[0])), {expression: "us"})
    load(postgres, sales((2, values[1])), {expression: "eu"})
    load(postgres, sales((3, values[0])), {expression: "us"})
    assert stored(postgres) == [(2, values[1]), (3, values[0])]


def test_a_column_called_user_keeps_its_rows(postgres: PostgresResource) -> None:
    """A partition named as the role that loads is a value of the column `user`, and not the role that every row would have."""
    ((role,),) = run(postgres.url, "SELECT current_user::text")
    frame = pd.DataFrame({"id": [1, 2], "user": [role, "other"]})
    postgres.load(frame, table="t")
    load(postgres, frame[:1].assign(id=3), {"user": role})
    assert run(postgres.url, 'SELECT id, "user" FROM public.t ORDER BY 1') == [(2, "other"), (3, role)]


def test_frames_one_by_one(postgres: PostgresResource) -> None:
    """Several frames replace a partition together."""
    load(postgres, sales((1, "us")), {"region": "us"})
    load(postgres, [sales((2, "us")), sales((3, "us")), sales()], {"region": "us"})
    assert stored(postgres) == [(2, "us"), (3, "us")]


# -- rows and settings that are wrong --------------------------------------------------------------------------------------------


def failing(postgres: PostgresResource, rows: Any, partition: Any, **more: Any) -> EtlError:
    """The error of a load that must leave rows, quarantine and ledger of the first load as they were."""
    load(postgres, sales((1, "us")), {"region": "us"})
    load(postgres, sales((2, "eu")), {"region": "eu"})
    with pytest.raises(EtlError) as caught:
        load(postgres, rows, partition, **more)
    assert stored(postgres) == [(1, "us"), (2, "eu")]
    assert run(postgres.url, "SELECT count(*) FROM etl.quarantine") == [(0,)]
    assert run(postgres.url, "SELECT status FROM etl.loads ORDER BY recorded_at") == [("succeeded",), ("succeeded",), ("failed",)]
    return caught.value


@pytest.mark.parametrize("value", ["eu", "US", None], ids=["another", "another case", "NULL"])
def test_a_row_outside_is_named(postgres: PostgresResource, value: str | None) -> None:
    """A row of another partition is an error that names the row and its value, and loads nothing."""
    error = failing(postgres, sales((3, "us"), (4, value)), {"region": "us"})
    assert isinstance(error, UnstorableValueError)
    assert error.where == "public/t, row 2"
    assert "region is " in error.cause
    assert "outside of partition us" in error.cause


def test_rows_outside_of_an_expression_are_counted(postgres: PostgresResource) -> None:
    """Where only the server can tell, the error counts the rows, and loads nothing."""
    error = failing(postgres, sales((3, "US"), (4, "eu"), (5, "as")), {"lower(region)": "us"})
    assert "3 rows were loaded, and the table has 1 of partition us: 2 lie outside of it by lower(region)" in error.cause


def test_some_rows_outside_may_be_quarantined(postgres: PostgresResource) -> None:
    """A caller who allows it keeps rows of other partitions in the quarantine, by the rule in_partition and with the partition."""
    load(postgres, sales((3, "us"), (4, "eu")), {"region": "us"}, most_quarantined=0.5)
    assert stored(postgres) == [(3, "us")]
    assert run(postgres.url, "SELECT partition, source_position, record->>'id', rules FROM etl.quarantine") == [
        ("us", "row 2", "4", ["in_partition"])
    ]


def test_too_many_rows_outside_load_nothing(postgres: PostgresResource) -> None:
    """Above the share that is allowed the load fails with counts and the first row."""
    error = failing(postgres, sales((3, "us"), (4, "eu"), (5, "as")), {"region": "us"}, most_quarantined=0.5)
    assert "2 of 3 rows cannot be stored (at most 50.0% may), the first at row 2: region is eu, outside of partition us" in error.cause


@pytest.mark.parametrize("expression", ["regoin", "lower(", "region; DROP TABLE t", "nothing(region)", "id, region", "count(*)"])
def test_an_expression_that_is_none(postgres: PostgresResource, expression: str) -> None:
    """An expression that PostgreSQL does not understand, or that is no value of a row, is named with the next step."""
    error = failing(postgres, sales((3, "us")), {expression: "us"})
    assert isinstance(error, ConfigurationError)
    assert f"{expression!r} cannot be used" in error.cause


@pytest.mark.parametrize("value", ["x", "1.5", "99999999999999999999", ""])
@pytest.mark.parametrize("rows", [1, 0], ids=["a row", "no rows"])
def test_a_value_that_is_none_of_the_type(postgres: PostgresResource, value: str, rows: int) -> None:
    """A value that the column's type cannot read is an error that names it and the column, with rows as without."""
    error = failing(postgres, sales((3, "us"))[:rows], {"id": value})
    assert isinstance(error, ConfigurationError)
    assert f"the partition {value!r} is no value of id" in error.cause


def test_a_type_without_equality(postgres: PostgresResource) -> None:
    """A column whose type cannot be compared is a wrong setting that names the column."""
    run(postgres.url, "CREATE TABLE public.t (id bigint, region text, doc json)")
    with pytest.raises(EtlError, match="doc") as caught:
        load(postgres, sales(), {"doc": "1"})
    assert "partition" in str(caught.value)


def test_no_partition_is_named(postgres: PostgresResource) -> None:
    """To replace a partition without saying which is an error."""
    with pytest.raises(ConfigurationError, match="replace_partition, and no partition is named"):
        postgres.load(sales((1, "us")), table="t", disposition="replace_partition")


@pytest.mark.parametrize("disposition", ["replace", "append", "merge"])
def test_a_partition_of_another_disposition_is_refused(postgres: PostgresResource, disposition: str) -> None:
    """A partition means nothing to the other dispositions: taken for a whole table, its load would drop the other partitions."""
    postgres.load(sales((1, "us"), (2, "eu")), table="t", primary_key=["id"])
    with pytest.raises(ConfigurationError, match="replace_partition"):
        postgres.load(sales((3, "us")), table="t", disposition=disposition, partition={"region": "us"}, primary_key=["id"])
    assert stored(postgres) == [(1, "us"), (2, "eu")]


def test_a_key_of_another_partition(postgres: PostgresResource) -> None:
    """A primary key holds in the whole table: a row whose key another partition has is named, and both partitions stay."""
    load(postgres, sales((1, "us")), {"region": "us"}, options=_keyed())
    load(postgres, sales((2, "eu")), {"region": "eu"}, options=_keyed())
    with pytest.raises(UnstorableValueError, match="row 2.*t_pkey"):
        load(postgres, sales((3, "eu"), (1, "eu")), {"region": "eu"}, options=_keyed())
    assert stored(postgres) == [(1, "us"), (2, "eu")]


def _keyed() -> WriteOptions:
    return WriteOptions(disposition=WriteDisposition.REPLACE_PARTITION, primary_key=("id",))


def test_a_new_column_comes_with_a_partition(postgres: PostgresResource) -> None:
    """A column that a partition brings is NULL in the rows of the others."""
    load(postgres, sales((1, "us")), {"region": "us"})
    load(postgres, sales((2, "eu")).assign(note="n"), {"region": "eu"})
    assert stored(postgres, "id, region, note") == [(1, "us", None), (2, "eu", "n")]


# -- any rows, any partitions --------------------------------------------------------------------------------------------------------

_VALUES = ["a", "A", "o'x", "%s", "", " "]
_LOADS = st.lists(
    st.tuples(st.lists(st.sampled_from(_VALUES), min_size=1, max_size=3, unique=True), st.lists(st.integers(0, 2), max_size=4)),
    min_size=1,
    max_size=6,
)


@given(loads=_LOADS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_partitions_are_a_dictionary(database: PostgresResource, loads: list[tuple[list[str], list[int]]]) -> None:
    """After any loads the table holds what a dictionary from partition to rows would."""
    run(database.url, "DROP TABLE IF EXISTS public.t")
    expected: dict[str, list[tuple[int, str]]] = {}
    for number, (keys, places) in enumerate(loads):
        rows = [(number, keys[place % len(keys)]) for place in places]
        load(database, sales(*rows), {"region": keys})
        expected |= {key: [row for row in rows if row[1] == key] for key in keys}
    held = sorted(row for rows in expected.values() for row in rows)
    assert sorted(stored(database)) == held
