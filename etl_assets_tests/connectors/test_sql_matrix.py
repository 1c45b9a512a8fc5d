"""Databases x values: what a database holds is what the frame holds, its Python type included, in one frame or in many."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from etl_assets.connectors.sql import SqlResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.connectors.sql_values import DUCKDB, POSTGRESQL, SQLITE, Case, cells, table_of

CASES = {"postgresql": POSTGRESQL, "sqlite": SQLITE, "duckdb": DUCKDB}
ALL = [pytest.param(name, case, id=f"{name}-{case.name}") for name, cases in CASES.items() for case in cases]
TYPED = [pytest.param(name, case, id=f"{name}-{case.name}") for name, cases in CASES.items() for case in cases if name != "sqlite"]


@pytest.fixture(scope="module")
def source_of(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], SqlResource]:
    """The three databases, each with a table per case."""
    folder = tmp_path_factory.mktemp("matrix")
    postgres_server.create_database("test_sql_matrix")
    urls = {
        "postgresql": postgres_server.url("test_sql_matrix"),
        "sqlite": f"sqlite:///{folder}/matrix.db",
        "duckdb": f"duckdb:///{folder}/matrix.duckdb",
    }
    _fill_postgresql(urls["postgresql"])
    _fill_sqlite(folder / "matrix.db")
    _fill_duckdb(folder / "matrix.duckdb")
    return lambda name: SqlResource(url=urls[name], retry=NO_RETRY)


def _fill_postgresql(url: str) -> None:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
        for case in POSTGRESQL:
            for statement in table_of(case):
                cursor.execute(statement)


def _fill_sqlite(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        for case in SQLITE:
            for statement in table_of(case):
                connection.execute(statement)


def _fill_duckdb(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        for case in DUCKDB:
            for statement in table_of(case):
                connection.execute(statement)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_a_column_arrives_exactly(source_of: Callable[[str], SqlResource], name: str, case: Case) -> None:
    """Each value arrives in its type with every digit, NULL beside it, in a dtype that can hold both."""
    column = source_of(name).read_query(f"SELECT v FROM {case.name} ORDER BY place")["v"]
    assert (str(column.dtype), cells(column)) == (case.dtype, case.shown)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("name", "case"), ALL)
def test_batches_are_the_whole_in_parts(source_of: Callable[[str], SqlResource], name: str, case: Case, rows: int) -> None:
    """Frames of any size have the dtype of the whole, and together its cells."""
    query = f"SELECT v FROM {case.name} ORDER BY place"
    columns = [frame["v"] for frame in source_of(name).read_query_batches(query, rows=rows)]
    dtypes = {str(column.dtype) for column in columns}
    assert (dtypes, cells(pd.concat(columns, ignore_index=True))) == ({case.dtype}, case.shown)


@pytest.mark.parametrize(("name", "case"), TYPED)
def test_a_column_of_nulls_keeps_its_dtype(source_of: Callable[[str], SqlResource], name: str, case: Case) -> None:
    """In a database with typed columns the values do not decide the dtype: one of NULLs alone has it too."""
    column = source_of(name).read_query(f"SELECT v FROM {case.name} WHERE place = 2")["v"]
    assert (str(column.dtype), len(column)) == (case.dtype, 1)


@pytest.mark.parametrize(("name", "case"), TYPED)
def test_no_rows_keep_their_dtype(source_of: Callable[[str], SqlResource], name: str, case: Case) -> None:
    """A result without rows has the dtypes of one with rows."""
    column = source_of(name).read_query(f"SELECT v FROM {case.name} WHERE place < 0")["v"]
    assert (str(column.dtype), len(column)) == (case.dtype, 0)


@pytest.mark.parametrize("rows", [1, 7, 1000, 50_000])
@pytest.mark.parametrize("name", CASES)
def test_many_rows_come_in_order_and_in_frames_of_the_size(source_of: Callable[[str], SqlResource], name: str, rows: int) -> None:
    """Every frame but the last has the size that was asked for, and the rows keep their order."""
    numbers = "WITH RECURSIVE n(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM n WHERE g < 1003) SELECT g FROM n ORDER BY g"
    frames = list(source_of(name).read_query_batches(numbers, rows=rows))
    whole, rest = divmod(1003, rows)
    assert [len(frame) for frame in frames] == [rows] * whole + [rest] * (rest > 0)
    assert pd.concat(frames)["g"].tolist() == list(range(1, 1004))


@pytest.mark.parametrize("name", CASES)
def test_every_frame_counts_from_zero(source_of: Callable[[str], SqlResource], name: str) -> None:
    """The index of each frame starts at 0, whatever part of the result it is."""
    frames = source_of(name).read_query_batches("SELECT v FROM bigint ORDER BY place", rows=4)
    assert [list(frame.index) for frame in frames] == [[0, 1, 2, 3], [0, 1]]


@pytest.mark.parametrize("name", CASES)
def test_no_rows_are_one_empty_frame(source_of: Callable[[str], SqlResource], name: str) -> None:
    """A result without rows is one frame without rows, so that its columns are known."""
    frames = list(source_of(name).read_query_batches("SELECT place, v FROM bigint WHERE place < 0"))
    assert [(list(frame.columns), len(frame)) for frame in frames] == [(["place", "v"], 0)]
