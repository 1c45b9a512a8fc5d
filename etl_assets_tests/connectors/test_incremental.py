"""Reading only what is new: which rows a watermark lets through, and which watermark they leave.

Not here: values of many kinds (`test_incremental_values.py`), that watermarks commit with the rows (`test_incremental_loads.py`).
"""

import datetime
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.accounting import open_account
from etl_assets.connectors.incremental import Incremental, Window
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets.local_postgres import LocalPostgres
from etl_assets.watermarks import Value
from etl_assets_tests.connectors.places import Place, empty

UTC = datetime.UTC


@pytest.fixture(scope="module")
def reader(postgres_server: LocalPostgres) -> str:
    """URL of a PostgreSQL database of this file."""
    postgres_server.create_database("test_incremental")
    return postgres_server.url("test_incremental")


@pytest.fixture(params=["postgresql", "sqlite", "duckdb"])
def place(request: pytest.FixtureRequest, reader: str, tmp_path: Path) -> Place:
    """An empty database of each kind."""
    return empty(request.param, reader, tmp_path)


@pytest.fixture
def postgresql(reader: str, tmp_path: Path) -> Place:
    """An empty PostgreSQL database."""
    return empty("postgresql", reader, tmp_path)


@pytest.fixture
def sqlite(reader: str, tmp_path: Path) -> Place:
    """An empty SQLite file."""
    return empty("sqlite", reader, tmp_path)


# -- bounds ------------------------------------------------------------------------------------------------------------

TENS = ("CREATE TABLE t (id int, n int)", "INSERT INTO t VALUES (1, 10), (2, 20), (3, 30), (4, 40), (5, 50)")


@pytest.mark.parametrize(
    ("committed", "incremental", "ids"),
    [
        (None, Incremental(column="n"), [1, 2, 3, 4, 5]),
        (None, Incremental(column="n", start=20), [2, 3, 4, 5]),
        (None, Incremental(column="n", start=21), [3, 4, 5]),
        (30, Incremental(column="n"), [4, 5]),
        (30, Incremental(column="n", start=10), [4, 5]),
        (30, Incremental(column="n", include_start=True), [3, 4, 5]),
        (30, Incremental(column="n", lag=10), [2, 3, 4, 5]),
        (30, Incremental(column="n", lag=9), [3, 4, 5]),
        (30, Incremental(column="n", lag=0), [3, 4, 5]),
        (30, Incremental(column="n", most_rows=1), [4]),
        (50, Incremental(column="n"), []),
        (50, Incremental(column="n", include_start=True), [5]),
        (50, Incremental(column="n", lag=10), [4, 5]),
        (70, Incremental(column="n"), []),
    ],
    ids=str,
)
def test_rows_above_the_lower_bound_are_read(place: Place, committed: int | None, incremental: Incremental, ids: list[int]) -> None:
    """The start is a closed bound, a watermark an open one unless its rows shall come again, and a lag lowers it."""
    place.execute(*TENS)
    assert place.ids({} if committed is None else {"t by n": committed}, incremental)[0] == ids


@pytest.mark.parametrize(
    ("committed", "incremental", "reached"),
    [
        (None, Incremental(column="n"), {"t by n": 50}),
        (None, Incremental(column="n", most_rows=2), {"t by n": 20}),
        (None, Incremental(column="n", start=60), {}),
        (30, Incremental(column="n"), {"t by n": 50}),
        (50, Incremental(column="n"), {"t by n": 50}),
        (70, Incremental(column="n"), {"t by n": 70}),
        (70, Incremental(column="n", lag=30), {"t by n": 70}),
        (30, Incremental(column="n", lag=20, most_rows=1), {"t by n": 40}),
        (None, Incremental(column="n", name="tens"), {"tens": 50}),
    ],
    ids=str,
)
def test_the_highest_value_read_is_the_next_watermark(
    place: Place, committed: int | None, incremental: Incremental, reached: dict[str, Value]
) -> None:
    """A watermark goes to the highest value, never back, and stays where there is nothing new."""
    place.execute(*TENS)
    assert place.ids({} if committed is None else {"t by n": committed}, incremental)[1] == reached


def test_no_rows_reach_nothing(place: Place) -> None:
    """An empty table has no watermark."""
    place.execute("CREATE TABLE t (id int, n int)")
    assert place.ids({}, Incremental(column="n")) == ([], {})


def test_the_watermark_column_need_not_be_among_the_columns(place: Place) -> None:
    """Columns that are picked need not hold the one that the rows are chosen by."""
    place.execute(*TENS)
    assert place.ids({"t by n": 30}, Incremental(column="n"), columns=["id"])[0] == [4, 5]


def test_batches_reach_the_watermark_with_the_last_frame(place: Place) -> None:
    """A read in batches gives the same rows, and reports its watermark at the end of them."""
    place.execute(*TENS)
    with open_account(lambda: {"t by n": 20}) as account:
        frames = place.source.read_table_batches("t", incremental=Incremental(column="n"), rows=2)
        before = [dict(account.reached), sorted(row for frame in frames for row in frame["id"])]
    assert (before, account.reached) == ([{}, [3, 4, 5]], {"t by n": 50})


@pytest.mark.parametrize("end", ["", ";\n", " -- the end", "\n"])
def test_a_query_with_parameters_is_read_incrementally(place: Place, end: str) -> None:
    """Parameters and bounds hold together, however the query ends."""
    place.execute(*TENS)
    query = f"SELECT id, n FROM t WHERE n > :least{end}"
    with open_account(lambda: {"query by n": 30}) as account:
        frame = place.source.read_query(query, {"least": 20}, incremental=Incremental(column="n"))
    assert (sorted(frame["id"].tolist()), account.reached) == ([4, 5], {"query by n": 50})


@pytest.mark.parametrize("name", ["n_1", "n_2", "param_1"])
def test_a_parameter_may_have_any_name(place: Place, name: str) -> None:
    """Names of parameters do not collide with those of the bounds."""
    place.execute(*TENS)
    query = f"SELECT id, n FROM t WHERE n > :{name}"
    with open_account(lambda: {"query by n": 30}):
        frame = place.source.read_query(query, {name: 20}, incremental=Incremental(column="n", most_rows=1))
    assert frame["id"].tolist() == [4]


def test_a_window_and_a_watermark_hold_together(place: Place) -> None:
    """Rows inside the window and above the watermark are read, and the watermark ends where the window does."""
    place.execute(*TENS)
    read = place.ids({"t by n": 20}, Incremental(column="n"), window=Window(column="n", start=0, end=50))
    assert read == ([3, 4], {"t by n": 40})


# -- how far below ------------------------------------------------------------------------------------------------------

NOON = datetime.datetime(2026, 3, 1, 12)


@pytest.mark.parametrize(
    ("committed", "lag", "lower"),
    [
        (10, 3, 7),
        (2**60 + 1, 0.5, 2**60),
        (1.5, 1, 0.5),
        (Decimal("1.5"), 1, Decimal("0.5")),
        (Decimal("1.50"), 0.1, Decimal("1.40")),
        (NOON, datetime.timedelta(hours=1), NOON.replace(hour=11)),
        (NOON.replace(tzinfo=UTC), datetime.timedelta(hours=1), NOON.replace(hour=11, tzinfo=UTC)),
        (datetime.date(2026, 3, 1), datetime.timedelta(days=1), datetime.date(2026, 2, 28)),
        (datetime.date(2026, 3, 1), datetime.timedelta(hours=1), datetime.date(2026, 3, 1)),
        (datetime.datetime.min, datetime.timedelta(days=1), None),
        (10, None, 10),
        (None, 3, 5),
    ],
)
def test_a_lag_lowers_the_watermark(committed: Value | None, lag: Any, lower: Value | None) -> None:
    """Times less a length of time, numbers less a number, without losing a digit; before the first load the start counts."""
    assert Incremental(column="n", lag=lag, start=5).lower(committed) == lower


@pytest.mark.parametrize("lower", [Incremental(column="n", lag=0.5).lower(2**60 + 1)])
def test_a_lag_leaves_an_integer_an_integer(lower: Value) -> None:
    """A big integer less a broken number is still exact."""
    assert type(lower) is int


@pytest.mark.parametrize(
    ("committed", "lag"),
    [("a", 1), ("a", datetime.timedelta(1)), (1, datetime.timedelta(1)), (NOON, 1), (datetime.date(2026, 3, 1), 1)],
    ids=str,
)
def test_a_lag_of_another_kind_is_refused(committed: Value, lag: Any) -> None:
    """A lag that cannot be taken off the watermark is an error that says which kind fits."""
    with pytest.raises(ConfigurationError, match="give a timedelta for times, a number for numbers"):
        Incremental(column="n", lag=lag).lower(committed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lag": -1}, "a lag is at least 0"),
        ({"lag": datetime.timedelta(seconds=-1)}, "a lag is at least 0"),
        ({"most_rows": 0}, "most_rows is at least 1"),
        ({"nulls": "drop"}, "nulls is 'fail', 'skip' or 'include'"),
    ],
    ids=str,
)
def test_a_setting_that_would_lose_rows_is_refused(options: dict[str, Any], said: str) -> None:
    """A negative lag would skip rows, no rows at a time never end, an unknown policy says nothing: errors at once."""
    with pytest.raises(ConfigurationError, match=said):
        Incremental(column="n", **options)


# -- NULL ---------------------------------------------------------------------------------------------------------------

WITH_NULLS = ("CREATE TABLE t (id int, n int)", "INSERT INTO t VALUES (1, 10), (2, NULL), (3, 30), (4, NULL)")


def test_rows_without_a_value_stop_the_read(place: Place) -> None:
    """Rows that no watermark ever reaches are an error that counts them."""
    place.execute(*WITH_NULLS)
    with pytest.raises(SourceFormatError, match="2 rows have no n"):
        place.ids({}, Incremental(column="n"))


def test_rows_without_a_value_outside_the_window_stop_nothing(place: Place) -> None:
    """Only rows that would be read count."""
    place.execute(*WITH_NULLS)
    assert place.ids({}, Incremental(column="n"), window=Window(column="id", start=3, end=4))[0] == [3]


@pytest.mark.parametrize(("nulls", "first", "second"), [("skip", [1, 3], []), ("include", [1, 2, 3, 4], [2, 4])])
def test_rows_without_a_value_are_skipped_or_come_every_time(place: Place, nulls: Any, first: list[int], second: list[int]) -> None:
    """They can be left out, or be read again with each read."""
    place.execute(*WITH_NULLS)
    committed: dict[str, Value] = {}
    reads = []
    for _ in range(2):
        ids, reached = place.ids(committed, Incremental(column="n", nulls=nulls))
        committed.update(reached)
        reads.append(ids)
    assert (reads, committed) == ([first, second], {"t by n": 30})


def test_rows_without_a_value_come_even_when_nothing_else_does(place: Place) -> None:
    """They are included too where no row has a value, and no watermark is made of them."""
    place.execute("CREATE TABLE t (id int, n int)", "INSERT INTO t VALUES (1, NULL)")
    assert place.ids({}, Incremental(column="n", nulls="include")) == ([1], {})


# -- at most so many rows -----------------------------------------------------------------------------------------------

TIES = [1, 1, 1, 1, 1, 2, 3, 3, 4, 5, 5, 5, 6]


@pytest.mark.parametrize("most_rows", [1, 2, 3, 5, 6, 12, 13, 14])
def test_reads_of_at_most_some_rows_lose_none(place: Place, most_rows: int) -> None:
    """Read after read gives every row once, also where more rows share a value than are read at a time."""
    place.execute("CREATE TABLE t (id int, n int)", f"INSERT INTO t VALUES {', '.join(f'({i}, {n})' for i, n in enumerate(TIES))}")
    reads = place.all_ids(Incremental(column="n", most_rows=most_rows))
    assert [i for read in reads for i in read] == list(range(len(TIES)))


def test_a_read_ends_with_the_value_that_fills_it(place: Place) -> None:
    """At least so many rows come as were asked for, and those that share the last value with them."""
    place.execute("CREATE TABLE t (id int, n int)", f"INSERT INTO t VALUES {', '.join(f'({i}, {n})' for i, n in enumerate(TIES))}")
    assert [len(read) for read in place.all_ids(Incremental(column="n", most_rows=3))] == [5, 3, 4, 1]


@pytest.mark.parametrize("options", [{"lag": 50}, {"include_start": True}])
def test_rows_read_again_do_not_hold_up_new_ones(place: Place, options: dict[str, Any]) -> None:
    """Rows that come again do not count: the reads go on to the end, though more rows come again than are read at a time."""
    place.execute("CREATE TABLE t (id int, n int)", f"INSERT INTO t VALUES {', '.join(f'({i}, {i // 20})' for i in range(200))}")
    reads = place.all_ids(Incremental(column="n", most_rows=10, **options))
    assert {i for read in reads for i in read} == set(range(200))


# -- windows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "ids"),
    [(20, 40, [2, 3]), (None, 30, [1, 2]), (30, None, [3, 4, 5]), (None, None, [1, 2, 3, 4, 5]), (20, 20, []), (51, 60, [])],
)
def test_a_window_is_closed_at_its_start_and_open_at_its_end(place: Place, start: int | None, end: int | None, ids: list[int]) -> None:
    """The start belongs to the window, the end to the next one; None is no bound."""
    place.execute(*TENS)
    assert sorted(place.source.read_table("t", window=Window(column="n", start=start, end=end))["id"].tolist()) == ids


def test_windows_side_by_side_hold_every_row_once(postgresql: Place) -> None:
    """The days of a week hold the rows of the week, midnight and the last microsecond included, each once."""
    postgresql.execute(
        "CREATE TABLE t (id int, at timestamptz)",
        "INSERT INTO t SELECT g, timestamptz '2026-03-23 00:00+00' + g * interval '11 hours 59 minutes 59.999999 seconds' "
        "FROM generate_series(0, 13) AS g",
    )
    midnights = [datetime.datetime(2026, 3, 23, tzinfo=UTC) + datetime.timedelta(days=day) for day in range(8)]
    windows = [Window(column="at", start=start, end=end) for start, end in itertools.pairwise(midnights)]
    assert [i for window in windows for i in postgresql.source.read_table("t", window=window)["id"]] == list(range(14))


def test_a_window_reaches_no_watermark(place: Place) -> None:
    """A window alone says nothing about what was read before."""
    place.execute(*TENS)
    with open_account() as account:
        place.source.read_table("t", window=Window(column="n", start=10, end=30))
    assert account.reached == {}


# -- names --------------------------------------------------------------------------------------------------------------


def test_two_reads_of_one_name_are_an_error(place: Place) -> None:
    """Two reads that would move the same watermark cannot both be right."""
    place.execute(*TENS)
    with open_account():
        place.source.read_table("t", incremental=Incremental(column="n"))
        with pytest.raises(ConfigurationError, match="two reads of one asset share this watermark"):
            place.source.read_table("t", incremental=Incremental(column="n"))


def test_two_reads_with_names_have_a_watermark_each(place: Place) -> None:
    """With names of their own, two reads move two watermarks."""
    place.execute(*TENS)
    with open_account(lambda: {"second": 40}) as account:
        for name in ("first", "second"):
            place.source.read_table("t", incremental=Incremental(column="n", name=name))
    assert account.reached == {"first": 50, "second": 50}


def test_without_an_account_everything_is_read(place: Place) -> None:
    """Where nobody keeps watermarks, a read starts from the beginning."""
    place.execute(*TENS)
    assert len(place.source.read_table("t", incremental=Incremental(column="n"))) == 5


# -- the promise --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_arrives_between_reads_every_row_is_read_once(sqlite: Place, data: st.DataObject) -> None:
    """A key that grows: the rows of all reads together are the rows of the table, none twice, however many come in between."""
    sqlite.execute("DROP TABLE IF EXISTS t", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    committed: dict[str, Value] = {}
    highest, seen = 0, list[int]()
    for _ in range(data.draw(st.integers(1, 5))):
        for step in data.draw(st.lists(st.integers(1, 10**9), max_size=6)):
            highest += step
            sqlite.execute(f"INSERT INTO t VALUES ({highest})")
        most_rows = data.draw(st.one_of(st.none(), st.integers(1, 4)))
        ids, reached = sqlite.ids(committed, Incremental(column="id", most_rows=most_rows))
        committed.update(reached)
        seen += ids
    seen += [i for read in sqlite.all_ids(Incremental(column="id"), committed) for i in read]
    assert seen == sorted(sqlite.source.read_table("t")["id"].tolist())
