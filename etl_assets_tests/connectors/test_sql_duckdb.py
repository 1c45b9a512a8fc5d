"""DuckDB: names, parameters and errors. Values are in `test_sql_matrix.py`."""

import contextlib
import datetime
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from etl_assets.accounting import Read, open_account
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import ConfigurationError, EtlError, PermanentError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets.retry_settings import NO_RETRY

# Reserved in DuckDB, but not in PostgreSQL, or in both; and names with characters of their own.
NAMES = [
    "pivot", "qualify", "lambda", "summarize", "describe", "show", "unpivot", "anti", "semi", "asof", "positional", "at", "select", "user",
    'a"b', "a%b", "Mixed Case", "x:y", "?", "$1", "é",
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A DuckDB file with a few tables."""
    made = tmp_path / "a b#%.duckdb"
    with duckdb.connect(str(made)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, note VARCHAR)")
        connection.execute("INSERT INTO t VALUES (1, 'a'), (2, NULL)")
        columns = ", ".join('"{}" INTEGER'.format(name.replace('"', '""')) for name in NAMES)
        connection.execute(f"CREATE TABLE named ({columns})")
        connection.execute(f"INSERT INTO named VALUES ({', '.join(map(str, range(len(NAMES))))})")
        connection.execute('CREATE SCHEMA "Sel%"')
        connection.execute('CREATE TABLE "Sel%"."qualify" AS SELECT 7 AS n')
    return made


@pytest.fixture
def source(file: Path) -> SqlResource:
    """The file as a resource that does not retry."""
    return at(file)


def at(file: Path) -> SqlResource:
    """A file as a resource."""
    return SqlResource(url=f"duckdb:///{str(file).replace('%', '%25').replace('#', '%23')}", retry=NO_RETRY)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_read(source: SqlResource, name: str) -> None:
    """Names are quoted, whatever words and characters they are made of."""
    assert source.read_table("named", columns=[name])[name].tolist() == [NAMES.index(name)]


def test_all_names_can_be_read(source: SqlResource) -> None:
    """Without a selection all columns come under their names."""
    assert list(source.read_table("named").columns) == NAMES


def test_a_table_of_another_schema_can_be_read(source: SqlResource) -> None:
    """Schema and table may have names that need quotes."""
    assert source.read_table("qualify", schema="Sel%")["n"].tolist() == [7]


@pytest.mark.parametrize(
    "value",
    [
        "it's 100% :v ? $1", "", None, True, 1, 2**40, 2**70, -(2**127), 0.1, 5e-324, float("inf"),
        Decimal("1.123456"), Decimal("12345678901234567890.0123456789"),
        datetime.date(1, 1, 1), datetime.datetime(2026, 3, 1, 12, 0, 0, 1), datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC),
    ],
    ids=repr,
)  # fmt: skip
def test_a_parameter_is_bound_as_it_is(source: SqlResource, value: Any) -> None:
    """No digit of a number is lost, and no text is taken for SQL."""
    found = source.read_query("SELECT :v AS v", {"v": value})["v"][0]
    assert (None if found is None or found is pd.NaT or found != found else found) == value


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS v -- a comment", "SELECT 1 AS v;", "FROM (SELECT 1 AS v)", "WITH x AS (SELECT 1 AS v) SELECT v FROM x",
        "SELECT [1][1] AS v", "SELECT 1 AS v WHERE '10%' LIKE '1%'", "SELECT 1::INTEGER AS v", "SELECT 5 % 4 AS v",
    ],
)  # fmt: skip
def test_a_query_means_what_it_says(source: SqlResource, query: str) -> None:
    """Percent signs, casts, brackets and comments mean what they mean to DuckDB."""
    assert source.read_query(query)["v"].tolist() == [1]


def test_rows_are_reported(source: SqlResource) -> None:
    """One read with its number of rows reaches the account."""
    with open_account() as account:
        source.read_table("t")
    assert account.reads == [Read(source=f"t in {source.url}", rows=2)]


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        ("SELECT 1 FROM nowhere", SourceNotFoundError, "nowhere"),
        ("SELECT absent FROM t", SourceFormatError, "absent"),
        ("SELEC 1", SourceFormatError, "syntax error"),
        ("SELECT CAST(note AS INTEGER) FROM t", SourceFormatError, "Could not convert"),
        ("SELECT 1 AS v WHERE 1 = :noon", ConfigurationError, "noon"),
        ("SELECT 1 AS a, 2 AS a", SourceFormatError, "several columns named"),
        ("SELECT error('boom') AS v", EtlError, "boom"),
    ],
)
def test_a_failure_is_classed(source: SqlResource, query: str, error: type[EtlError], said: str) -> None:
    """What is missing, what is wrong and what cannot be computed are told apart, in DuckDB's words."""
    with pytest.raises(error, match=said):
        source.read_query(query)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM t", "DROP TABLE t", "CREATE TABLE u (a INTEGER)", "INSERT INTO t VALUES (3, 'c') RETURNING id",
        "SELECT * FROM read_text('/etc/hostname')", "COPY t TO '/tmp/never.csv'", "ATTACH '/tmp/never.duckdb'", "INSTALL httpfs",
        "SET enable_external_access = true",
    ],
)  # fmt: skip
def test_a_source_is_only_read(source: SqlResource, query: str) -> None:
    """Nothing is written, and nothing outside the file is read, written or loaded."""
    with pytest.raises(PermanentError):
        source.read_query(query)


def test_nothing_is_written(source: SqlResource) -> None:
    """A query that would write leaves the table as it was."""
    with contextlib.suppress(EtlError):
        source.read_query("INSERT INTO t VALUES (3, 'c') RETURNING id")
    assert len(source.read_table("t")) == 2


@pytest.mark.parametrize("url", ["duckdb:////no/such.duckdb", "duckdb:///:memory:", "duckdb://"])
def test_a_missing_file_is_not_found(url: str) -> None:
    """There must be a file, which is never made."""
    with pytest.raises(SourceNotFoundError, match="there is no such database file"):
        SqlResource(url=url, retry=NO_RETRY).read_table("t")


def test_what_is_no_database_is_a_format_error(tmp_path: Path) -> None:
    """A text file is no database."""
    (tmp_path / "a.duckdb").write_text("no database " * 1000)
    with pytest.raises(SourceFormatError):
        at(tmp_path / "a.duckdb").read_table("t")


WRITER = "import duckdb, sys; connection = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


def test_a_file_that_another_process_writes_is_unavailable(file: Path) -> None:
    """While another process holds the file, reading it is a transient error."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(SourceUnavailableError, match="another process writes the file"):
            at(file).read_table("t")
        writer.communicate(timeout=20)
