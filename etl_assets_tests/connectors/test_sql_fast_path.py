"""The fast ways out of SQLite and PostgreSQL give what the slow ones give, cell by cell, for whatever a table holds."""

import contextlib
import datetime
import math
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2 import sql
from sqlalchemy.engine import make_url

from etl_assets.connectors.databases import sqlite_arrow
from etl_assets.connectors.databases.sqlite import SqliteDatabase
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import SourceFormatError
from etl_assets.local_postgres import LocalPostgres
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.connectors.sql_values import cells, shown

Row = tuple[Any, ...]

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
INTEGERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0]))
# Surrogates are no characters, and PostgreSQL's text has no NUL.
CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.one_of(st.text(CHARACTERS, max_size=20), st.sampled_from(["", "\\N", '"', "\r\n", "NULL", "1", "😀"]))


# -- SQLite ------------------------------------------------------------------------------------------------------------

DECLARED = ["", "INTEGER", "REAL", "TEXT", "BLOB", "NUMERIC", "DECIMAL(10,2)", "BOOLEAN", "DATE", "TIMESTAMP", "VARCHAR(5)"]
NAMES = ["a", 'b"c', "Mixed Case", "é", "%s", ":d", "select", "?"]
FLOATS = st.one_of(st.floats(allow_nan=False), st.sampled_from([0.0, -0.0, 5e-324, 1e308, math.inf, 2.0**53, 1.0]))
KINDS = [INTEGERS, FLOATS, TEXTS, st.binary(max_size=8), st.integers(-3, 3), st.one_of(st.integers(-3, 3), FLOATS)]
MIXED = st.one_of(INTEGERS, FLOATS, TEXTS, st.binary(max_size=8))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[tuple[str, str]], list[Row]]:
    """Columns with their declared types, and rows; a column keeps to one kind, or changes it at a row of its own."""
    columns = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(DECLARED)), min_size=1, max_size=4, unique_by=lambda c: c[0]))
    length = draw(st.integers(0, 12))
    values = []
    for _ in columns:
        kind = draw(st.sampled_from([*KINDS, MIXED]))
        values.append([draw(st.one_of(st.none(), kind)) for _ in range(length)])
    return columns, list(zip(*values, strict=True)) if length else []


def written(file: Path, columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> str:
    """The URL of a file with table `t`, made anew."""
    file.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        quoted = ", ".join('"{}" {}'.format(name.replace('"', '""'), declared) for name, declared in columns)
        connection.execute(f"CREATE TABLE t ({quoted})")
        connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(columns))})", rows)
    return f"sqlite:///{file}"


def stored(file: Path) -> list[list[Any]]:
    """The columns as the standard library reads them."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        cursor = connection.execute("SELECT * FROM t")
        rows = cursor.fetchall()
        return [[row[place] for row in rows] for place in range(len(cursor.description))]


def expected(values: Sequence[Any]) -> tuple[str, list[str]]:
    """What a column of such values shall be: integers and floats together are floats where no integer would change."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float} and all(abs(value) <= 2**53 for value in values if type(value) is int):
        values, kinds = [None if value is None else float(value) for value in values], {float}
    dtype = {"int": "Int64", "float": "float64", "str": "str"}[next(iter(kinds)).__name__] if kinds in ({int}, {float}, {str}) else "object"
    if not kinds:
        dtype = "str"
    return dtype, shown(values, dtype)


def found(frame: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Dtype and cells of each column."""
    return [(str(frame[name].dtype), cells(frame[name])) for name in frame.columns]


def by_arrow(file: Path, text: str, rows: int | None = None) -> list[pd.DataFrame] | None:
    """What the fast path gives for a query; None where it declines."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        fast = sqlite_arrow.frames_by_arrow(connection, f"{file.as_uri()}?mode=ro", text, [], rows)
        return None if fast is None else list(fast)


@EXAMPLES
@given(table=tables())
def test_sqlite_a_table_arrives_as_the_standard_library_reads_it(tmp_path: Path, table: tuple[list[tuple[str, str]], list[Row]]) -> None:
    """Every cell of any table is the one that Python's own sqlite3 reads, in a dtype that fits all values of the column."""
    url = written(tmp_path / "t.db", *table)
    frame = SqlResource(url=url, retry=NO_RETRY).read_table("t")
    assert found(frame) == [expected(values) for values in stored(tmp_path / "t.db")]


@EXAMPLES
@given(table=tables(), rows=st.sampled_from([None, 1, 5]))
def test_sqlite_the_fast_path_gives_what_the_plain_path_gives(
    tmp_path: Path, table: tuple[list[tuple[str, str]], list[Row]], rows: int | None
) -> None:
    """Where ADBC answers, its frames are those of the standard library, whole and in batches."""
    written(tmp_path / "t.db", *table)
    with SqliteDatabase(make_url(f"sqlite:///{tmp_path / 't.db'}"), "test").open() as session:
        fast = by_arrow(tmp_path / "t.db", "SELECT * FROM t", rows)
        plain = list(session._plain("SELECT * FROM t", [], rows, "test"))  # type: ignore[attr-defined]
        assert fast is None or list(map(found, fast)) == list(map(found, plain))


@pytest.mark.parametrize("values", [[1, None], [0.5, None], ["a", None], [b"a", None], [1, 0.5], [None, None], []], ids=repr)
def test_sqlite_columns_of_one_kind_take_the_fast_path(tmp_path: Path, values: list[Any]) -> None:
    """The fast path is the usual one: it declines no column whose values are of one kind."""
    written(tmp_path / "t.db", [("v", "")], [(value,) for value in values])
    assert by_arrow(tmp_path / "t.db", "SELECT * FROM t") is not None


@pytest.mark.parametrize("place", [0, 1023, 1024, 1025, 4000], ids="row {}".format)
@pytest.mark.parametrize(
    ("usual", "odd"), [(1, "x"), (1, 0.5), (1, 2.5e18), (0.5, 2**53 + 1), ("x", b"x"), (None, "x"), (None, 0.5), (1, None)], ids=repr
)
def test_sqlite_one_value_of_another_kind_is_kept_wherever_it_stands(tmp_path: Path, usual: object, odd: object, place: int) -> None:
    """ADBC decides by the first 1,024 rows; a value that differs before, at or after that border arrives as it is."""
    url = written(tmp_path / "t.db", [("v", "")], [(odd if row == place else usual,) for row in range(4001)])
    (column,) = stored(tmp_path / "t.db")
    frames = list(SqlResource(url=url, retry=NO_RETRY).read_table_batches("t", rows=1500))
    assert found(pd.concat(frames, ignore_index=True)) == [expected(column)]


def test_sqlite_text_that_is_no_unicode_is_an_error(tmp_path: Path) -> None:
    """Bytes stored as text that are no UTF-8 are an error, never other characters."""
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as connection, connection:
        connection.execute("CREATE TABLE t AS SELECT CAST(x'61ff' AS TEXT) AS v")
    with pytest.raises(SourceFormatError, match="UTF-8"):
        SqlResource(url=f"sqlite:///{tmp_path / 't.db'}", retry=NO_RETRY).read_table("t")


@EXAMPLES
@given(table=tables(), gone=st.sets(st.integers(1, 12)), moved=st.integers(-(2**40), 2**40))
def test_sqlite_two_halves_are_the_whole(
    tmp_path: Path, table: tuple[list[tuple[str, str]], list[Row]], gone: set[int], moved: int
) -> None:
    """A long table is read as two halves, whatever the numbers of its rows are and whatever a half looks like by itself."""
    url = written(tmp_path / "t.db", *table)
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as connection, connection:
        connection.executemany("DELETE FROM t WHERE rowid = ?", [(number,) for number in gone])
        connection.execute("UPDATE t SET rowid = rowid * 1000 + ?", [moved])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_arrow, "_LONG", 1)
        frame = SqlResource(url=url, retry=NO_RETRY).read_table("t")
    assert found(frame) == [expected(values) for values in stored(tmp_path / "t.db")]


@pytest.mark.parametrize(
    ("make", "query", "halves"),
    [
        ("CREATE TABLE t (v)", "SELECT * FROM t", True),
        ('CREATE TABLE "a ""b" (v)', 'SELECT v, "rowid" FROM "a ""b" ;', True),
        ("CREATE TABLE t (v INTEGER PRIMARY KEY)", "select t.v from T", True),
        ("CREATE TABLE t (v, rowid)", "SELECT * FROM t", True),
        ("CREATE TABLE t (v, rowid, _rowid_, OID)", "SELECT * FROM t", False),
        ("CREATE TABLE t (v PRIMARY KEY) WITHOUT ROWID", "SELECT * FROM t", False),
        ("CREATE TABLE s (v); CREATE VIEW t AS SELECT v FROM s ORDER BY v DESC", "SELECT * FROM t", False),
        ("CREATE VIRTUAL TABLE t USING fts5(v)", "SELECT * FROM t", False),
        ("CREATE TABLE t (v)", "SELECT * FROM t WHERE v > 1", False),
        ("CREATE TABLE t (v, w REAL)", "SELECT v AS w FROM t", False),
        ("CREATE TABLE t (v)", "SELECT * FROM t ORDER BY v", False),
        ("CREATE TABLE t (v)", "SELECT count(*) FROM t", False),
        ("CREATE TABLE t (v)", "SELECT DISTINCT v FROM t", False),
        ("CREATE TABLE t (v)", "SELECT t.v FROM t, t AS u", False),
        ("CREATE TABLE t (v)", "SELECT v FROM t LIMIT 3", False),
    ],
)
def test_sqlite_only_a_whole_table_is_halved(tmp_path: Path, make: str, query: str, halves: bool) -> None:
    """Any other query is asked as it is; both give what the standard library gives, in its order."""
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as connection, connection:
        connection.executescript(make)
        name = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 't_%'").fetchone()[0]
        quoted = '"{}"'.format(name.replace('"', '""'))
        connection.executemany(f"INSERT INTO {quoted} (v) VALUES (?)", [(number,) for number in range(10)])
        rows = connection.execute(query).fetchall()
        connection.commit()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite_arrow, "_LONG", 5)
            assert (sqlite_arrow._halves(connection, query) is not None) is halves
            (frame,) = by_arrow(tmp_path / "t.db", query) or [pd.DataFrame()]
    assert found(frame) == [expected(values) for values in zip(*rows, strict=True)]


@pytest.mark.parametrize("name", ["true", "false", "Ä"])
@pytest.mark.parametrize(("usual", "odd"), [("x", 5), (0.5, 2**53 + 1), ("x", b"x"), (1, "x")], ids=repr)
@pytest.mark.parametrize("rows", [None, 1500])
def test_sqlite_columns_that_a_query_would_rename(tmp_path: Path, name: str, usual: object, odd: object, rows: int | None) -> None:
    """Columns whose names SQLite changes in a query around theirs, or that differ in the case of other letters than those of ASCII."""
    values = [*[usual] * 20_000, odd]
    url = written(tmp_path / "t.db", [(name, ""), (name.lower() + " ", "TEXT"), ("ä", "TEXT")], [(value, "a", "a") for value in values])
    source = SqlResource(url=url, retry=NO_RETRY)
    frames = [source.read_table("t")] if rows is None else list(source.read_table_batches("t", rows=rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_arrow, "_LONG", 1)
        halved = source.read_table("t")
    assert found(pd.concat(frames, ignore_index=True))[0] == found(halved)[0] == expected(values)


def test_sqlite_columns_that_differ_by_case(tmp_path: Path) -> None:
    """x and X are two columns of a query."""
    written(tmp_path / "t.db", [("a", ""), ("b", "")], [*[("x", "y")] * 20_000, ("x", 5)])
    frame = SqlResource(url=f"sqlite:///{tmp_path / 't.db'}", retry=NO_RETRY).read_query("SELECT a AS x, b AS X FROM t")
    assert found(frame)[1] == expected([*["y"] * 20_000, 5])


@pytest.mark.parametrize("query", ["SELECT * FROM t", "SELECT a, b, b || '1' AS c, b || '2' AS d, b || '3' AS e FROM t WHERE b > ''"])
def test_sqlite_a_connection_is_not_closed_while_a_thread_reads(tmp_path: Path, query: str) -> None:
    """One connection stops at once at a value of another kind while the other one goes on for long: the process lives, the value stays."""
    file = tmp_path / "t.db"
    rows = [("x" if number == 20_000 else number, "y" * 50) for number in range(600_000)]
    written(file, [("a", ""), ("b", "")], rows)
    code = (
        "from etl_assets.connectors.sql import SqlResource\n"
        f"frame = SqlResource(url='sqlite:///{file}').read_query({query!r})\n"
        "print(len(frame), frame.iloc[20_000, 0], frame.iloc[20_001, 0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["600000", "x", "20001"]), done.stderr[-2000:]


def test_sqlite_halves_of_two_moments_are_not_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody writes while the halves begin, the table is read by one connection: rows of one moment."""
    written(tmp_path / "t.db", [("v", "")], [(number,) for number in range(10)])
    monkeypatch.setattr(sqlite_arrow, "_LONG", 5)
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        begin = sqlite_arrow._Reading.__init__

        def begin_and_write(self: Any, *given: Any, **named: Any) -> None:
            begin(self, *given, **named)
            writer.execute("UPDATE t SET v = v + 100")

        monkeypatch.setattr(sqlite_arrow._Reading, "__init__", begin_and_write)
        (frame,) = by_arrow(tmp_path / "t.db", "SELECT * FROM t") or [pd.DataFrame()]
    assert list(frame["v"]) == [number + 200 for number in range(10)]


# -- PostgreSQL --------------------------------------------------------------------------------------------------------

PRINTABLE = TEXTS.filter(lambda text: "\0" not in text)
MICROSECONDS = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999))
COLUMNS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "big": ("bigint", INTEGERS),
    "small": ("smallint", st.integers(-(2**15), 2**15 - 1)),
    "number": ("numeric", st.decimals(allow_infinity=False, places=None)),
    "money": ("numeric(38,10)", st.decimals(-(10**27), 10**27, allow_nan=False, places=10)),
    "double": ("double precision", st.floats(allow_nan=False)),
    "single": ("real", st.floats(allow_nan=False, width=32, allow_subnormal=False)),
    "flag": ("boolean", st.booleans()),
    "note": ("text", PRINTABLE),
    "raw": ("bytea", st.binary(max_size=12)),
    "day": ("date", st.dates()),
    "clock": ("time", st.times()),
    "local": ("timestamp", MICROSECONDS),
    "instant": ("timestamptz", MICROSECONDS.map(lambda at: at.replace(tzinfo=datetime.UTC))),
}
COLUMN_ROWS = st.lists(st.tuples(*(st.one_of(st.none(), strategy) for _, strategy in COLUMNS.values())), max_size=8)


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> Iterator[tuple[str, Any]]:
    """URL of a database with the table `public.t`, and a psycopg2 connection to it."""
    postgres_server.create_database("test_sql_fast_path")
    url = postgres_server.url("test_sql_fast_path")
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(address, options="-c TimeZone=UTC")) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE public.t ({', '.join(f'{name} {type_}' for name, (type_, _) in COLUMNS.items())})")
        yield url, connection


def exchanged(connection: Any, rows: Sequence[Row]) -> list[list[Any]]:
    """Put the rows into `public.t`, alone; its columns as psycopg2 reads them, one row after the other."""
    with connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE public.t")
        statement = sql.SQL("INSERT INTO public.t VALUES ({})").format(sql.SQL(", ").join(sql.Placeholder() * len(COLUMNS)))
        for row in rows:
            cursor.execute(statement, row)
        # A real is printed in digits that only a real reads back.
        cursor.execute(f"SELECT {', '.join(f'{name}::float8' if name == 'single' else name for name in COLUMNS)} FROM public.t")
        read = [[bytes(value) if isinstance(value, memoryview) else value for value in row] for row in cursor.fetchall()]
    return [[row[place] for row in read] for place in range(len(COLUMNS))]


@settings(EXAMPLES, max_examples=40)
@given(rows=COLUMN_ROWS, size=st.sampled_from([None, 1, 3]))
def test_postgresql_copy_gives_what_psycopg2_reads(database: tuple[str, Any], rows: list[Row], size: int | None) -> None:
    """Every cell that comes by COPY is the one that psycopg2 fetches, whole and in batches."""
    url, connection = database
    plain = exchanged(connection, rows)
    source = SqlResource(url=url, retry=NO_RETRY)
    frames = [source.read_table("t", schema="public")] if size is None else list(source.read_table_batches("t", schema="public", rows=size))
    copied = pd.concat(frames, ignore_index=True)
    for name, values in zip(COLUMNS, plain, strict=True):
        as_pandas = [pd.Timestamp(value) if isinstance(value, datetime.datetime) else value for value in values]
        assert cells(copied[name]) == shown(as_pandas, str(copied[name].dtype)), name


def test_postgresql_every_type_of_that_table_is_fast(database: tuple[str, Any]) -> None:
    """The dtypes of the table are the exact ones, so that no column came as text."""
    url, connection = database
    exchanged(connection, [])
    frame = SqlResource(url=url, retry=NO_RETRY).read_table("t", schema="public")
    assert dict(frame.dtypes.astype(str)) == {
        "big": "Int64", "small": "Int16", "number": "object", "money": "object", "double": "float64", "single": "float32",
        "flag": "boolean", "note": "str", "raw": "object", "day": "object", "clock": "object", "local": "datetime64[us]",
        "instant": "datetime64[us, UTC]",
    }  # fmt: skip
