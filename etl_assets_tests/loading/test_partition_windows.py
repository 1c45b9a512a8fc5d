"""Partitions that are windows of time: in a frame, in SQL, and where the clocks change.

Not here: partitions of values (`test_partitions.py`), Dagster's windows (`test_dagster_partitions.py`).
"""

import contextlib
import datetime
import itertools
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from etl_assets.errors import ConfigurationError, UnstorableValueError
from etl_assets.loading.partitions import Partition, Slice, outside
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import LoadResult
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

NEW_YORK = ZoneInfo("America/New_York")
DAY, NEXT = datetime.date(2013, 1, 1), datetime.date(2013, 1, 2)


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_partition_windows")
    return PostgresResource(url=postgres_server.url("test_partition_windows"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied: a new one for each test would take most of the time."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


def load(postgres: PostgresResource, rows: pd.DataFrame, partition: Partition) -> LoadResult:
    """Replace a partition of `public.t`."""
    return postgres.load(rows, table="t", disposition="replace_partition", partition=partition)


def stored(postgres: PostgresResource) -> list[Any]:
    """The rows of `public.t`, in order."""
    return run(postgres.url, "SELECT id, at FROM public.t ORDER BY 1, 2")


def window(expression: str, start: datetime.datetime, end: datetime.datetime) -> Partition:
    """The rows of a window of time."""
    return Partition(key=start.isoformat(), alternatives=((Slice(expression=expression, start=start, end=end),),))


def at(text: str, zone: datetime.tzinfo = datetime.UTC, *, fold: int = 0) -> datetime.datetime:
    """A moment of a time zone."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


# -- in a frame -------

_WALL = ["2012-12-31 23:59:59", "2013-01-01 00:00:00", "2013-01-01 23:59:59.999999", "2013-01-02 00:00:00"]
_UTC = ["2013-01-01 04:59:59", "2013-01-01 05:00:00", "2013-01-02 04:59:59", "2013-01-02 05:00:00"]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("datetime64[us]", _WALL),
        ("timestamp[us][pyarrow]", _WALL),
        ("datetime64[us, UTC]", _UTC),
        ("timestamp[us, tz=UTC][pyarrow]", _UTC),
    ],
)
def test_windows_in_a_frame(dtype: str, values: list[str]) -> None:
    """A window ends before its end: as the zone's wall clock without a zone, as an instant with one; a missing value is outside."""
    moments = pd.to_datetime(pd.Series([*values, None]), format="ISO8601", utc=values is _UTC)
    frame = pd.DataFrame({"at": moments.astype(dtype)})  # type: ignore[call-overload]
    inside = [False, True, True, False, False]
    wrong = outside(window("at", at("2013-01-01", NEW_YORK), at("2013-01-02", NEW_YORK)), frame)
    assert wrong is not None
    assert (~wrong).tolist() == inside


@pytest.mark.parametrize("dtype", ["object", "date32[pyarrow]"])
def test_whole_days_in_a_frame(dtype: str) -> None:
    """Dates are judged by windows of whole days, whatever holds them."""
    frame = pd.DataFrame({"day": pd.Series([DAY, NEXT, None], dtype=dtype)})
    wrong = outside(window("day", at("2013-01-01", NEW_YORK), at("2013-01-02", NEW_YORK)), frame)
    assert wrong is not None
    assert wrong.tolist() == [False, True, True]


def test_a_window_of_a_number_is_refused(postgres: PostgresResource) -> None:
    """A window is nothing for a number: the error names expression and type, and what to write."""
    run(postgres.url, "CREATE TABLE public.t (number integer)")
    with pytest.raises(ConfigurationError, match=r'public.t: .*number is of type integer.*"number::date"'):
        postgres.read_table("t", partition=window("number", at("2013-01-01"), at("2013-01-02")))


def test_hours_of_a_date_are_refused(postgres: PostgresResource) -> None:
    """A date holds no hours."""
    run(postgres.url, "CREATE TABLE public.t (day date)")
    with pytest.raises(ConfigurationError, match="day holds whole days"):
        postgres.read_table("t", partition=window("day", at("2013-01-01 01:00"), at("2013-01-01 02:00")))


# -- windows of time in the database -----------------------------------------------------------------------------------------------

# Hours of the nights in which the clocks of New York change, as instants: the hour from 01:00 comes twice, that from 02:00 never.
FALL = [at(f"2013-11-03 {hour}:00").astimezone(NEW_YORK) for hour in ("04", "05", "06", "07", "08")]
SPRING = [at(f"2013-03-10 {hour}:00").astimezone(NEW_YORK) for hour in ("05", "06", "07", "08", "09")]


def hours(moments: list[datetime.datetime]) -> Iterator[tuple[Partition, pd.Timestamp]]:
    """Each hour as a partition, with an instant inside."""
    for start, end in itertools.pairwise(moments):
        yield window("at", start, end), pd.Timestamp(start).tz_convert("UTC") + pd.Timedelta(minutes=30)


@pytest.mark.parametrize("night", [FALL, SPRING], ids=["fall", "spring"])
def test_hours_of_a_clock_change_are_exact(postgres: PostgresResource, night: list[datetime.datetime]) -> None:
    """A timestamp with time zone is of its own hour alone, also where the wall clock shows an hour twice."""
    for count in (1, 2):
        for partition, moment in hours(night):
            load(postgres, pd.DataFrame({"id": [count], "at": [moment]}), partition)
    expected = [(2, moment.to_pydatetime()) for _, moment in hours(night)]
    assert stored(postgres) == expected
    for (partition, _), row in zip(hours(night), expected, strict=True):
        assert postgres.read_table("t", partition=partition)["at"].tolist() == [pd.Timestamp(row[1])]


@pytest.mark.parametrize("night", [FALL, SPRING], ids=["fall", "spring"])
def test_wall_clocks_of_a_clock_change_lose_nothing(postgres: PostgresResource, night: list[datetime.datetime]) -> None:
    """Without a time zone an hour that comes twice cannot be told apart: it is refused, or stays; no row is lost or doubled silently."""
    delivered = []
    for number, (partition, moment) in enumerate(hours(night)):
        wall = moment.tz_convert(NEW_YORK).tz_localize(None)
        with contextlib.suppress(UnstorableValueError):
            load(postgres, pd.DataFrame({"id": [number], "at": [wall]}), partition)
            delivered.append((number, wall.to_pydatetime()))
    assert stored(postgres) == delivered


@pytest.mark.parametrize(
    ("column", "expression"),
    [
        ("datetime64[us]", "at"),
        ("datetime64[us]", "at::date"),
        ("datetime64[us]", "date_trunc('day', at)"),
        ("datetime64[us, UTC]", "at AT TIME ZONE 'America/New_York'"),
        ("datetime64[us, UTC]", "(at AT TIME ZONE 'America/New_York')::date"),
        ("datetime64[us, UTC]", "at"),
    ],
)
def test_a_day_by_any_expression(postgres: PostgresResource, column: str, expression: str) -> None:
    """A day of New York is compared as the type of the expression wants it, and replaces its own rows only."""
    walls = pd.to_datetime(pd.Series(["2013-01-01 00:30", "2013-01-01 23:30", "2013-01-02 00:30"]))
    moments = walls if "UTC" not in column else walls.dt.tz_localize(NEW_YORK).dt.tz_convert("UTC")
    frame = pd.DataFrame({"id": [1, 2, 3], "at": moments})
    postgres.load(frame, table="t")
    load(postgres, frame[:1].assign(id=4), window(expression, at("2013-01-01", NEW_YORK), at("2013-01-02", NEW_YORK)))
    assert [number for number, _ in stored(postgres)] == [3, 4]
