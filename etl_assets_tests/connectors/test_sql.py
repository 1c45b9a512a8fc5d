"""Tables and queries of PostgreSQL and SQLite."""

import contextlib
import datetime
import socket
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import pytest
from sqlalchemy.engine import URL, make_url

from etl_assets.accounting import Read, open_account
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseUnavailableError,
    EtlError,
    PermanentError,
    SourceFormatError,
    SourceNotFoundError,
)
from etl_assets.local_postgres import LocalPostgres
from etl_assets.retry_settings import NO_RETRY, Retry

SETUP = """
CREATE TABLE flights (id bigint, fare numeric, tail text, leaves timestamptz, late boolean);
INSERT INTO flights VALUES
    (9007199254740993, 1.50, '', '2013-01-01 05:00:00-05', true),
    (NULL, 12345678901234567890.123456789, NULL, NULL, NULL);
CREATE SCHEMA "Sel%";
CREATE TABLE "Sel%"."a%b" ("a""b" int, "select" int, "a%b" int, "Mixed Case" int, "x:y" int, "a%(z)s" int);
INSERT INTO "Sel%"."a%b" VALUES (1, 2, 3, 4, 5, 6);
CREATE TABLE written (n int);
CREATE FUNCTION write_one() RETURNS int LANGUAGE sql AS 'INSERT INTO written VALUES (1) RETURNING n';
CREATE ROLE sql_guest LOGIN PASSWORD 'sesame';
CREATE ROLE sql_asleep PASSWORD 'sesame';
"""


@pytest.fixture(scope="module")
def url(postgres_server: LocalPostgres) -> str:
    """A PostgreSQL database to read from."""
    postgres_server.create_database("test_sql")
    address = postgres_server.url("test_sql")
    execute(address, SETUP)
    return address


@pytest.fixture
def source(url: str) -> SqlResource:
    """The database as a resource that does not retry."""
    return SqlResource(url=url, retry=NO_RETRY)


@pytest.fixture
def alter(url: str) -> Callable[[Callable[[URL], URL]], SqlResource]:
    """The resource with a changed URL."""

    def change(step: Callable[[URL], URL]) -> SqlResource:
        return SqlResource(url=step(make_url(url)).render_as_string(hide_password=False), retry=NO_RETRY)

    return change


def execute(url: str, statements: str) -> None:
    """Run statements, each call in one transaction."""
    with contextlib.closing(
        psycopg2.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    ) as connection:
        with connection.cursor() as cursor:
            cursor.execute(statements)
        connection.commit()


def refused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- PostgreSQL: values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("id", [9007199254740993, None]),
        ("fare", [Decimal("1.50"), Decimal("12345678901234567890.123456789")]),
        ("tail", ["", None]),
        ("leaves", [pd.Timestamp("2013-01-01T10:00:00Z"), None]),
        ("late", [True, None]),
    ],
)
def test_a_column_arrives_exactly(source: SqlResource, column: str, expected: list[object]) -> None:
    """Big integers beside NULL, Decimal, '' apart from NULL, instants and booleans arrive as they are stored."""
    values = source.read_table("flights")[column]
    assert [None if pd.isna(value) else value for value in values] == expected


def test_a_big_integer_beside_null_is_int64(source: SqlResource) -> None:
    """An integer column with NULL is no float."""
    assert str(source.read_table("flights")["id"].dtype) == "Int64"


def test_columns_are_selected_in_order(source: SqlResource) -> None:
    """Only the named columns come, in the order in which they were named."""
    assert list(source.read_table("flights", columns=["tail", "id"]).columns) == ["tail", "id"]


@pytest.mark.parametrize("name", ['a"b', "select", "a%b", "Mixed Case", "x:y", "a%(z)s"])
def test_any_identifier_can_be_read(source: SqlResource, name: str) -> None:
    """Names are quoted, whatever characters and key words they are made of."""
    assert list(source.read_table("a%b", schema="Sel%", columns=[name]).columns) == [name]


def test_all_columns_keep_their_names(source: SqlResource) -> None:
    """Without a selection all columns come under their own names."""
    frame = source.read_table("a%b", schema="Sel%")
    assert frame.to_dict("list") == {'a"b': [1], "select": [2], "a%b": [3], "Mixed Case": [4], "x:y": [5], "a%(z)s": [6]}


@pytest.mark.parametrize(
    "value",
    [
        "it's 100% \"sure\"", "%s %(v)s %%", ":v ::text", "\\", "'; DROP TABLE flights; --", "line\nbreak",
        "é😀", "", None, 9007199254740993,
        Decimal("1.50"), datetime.date(2013, 1, 31),
    ],
    ids=repr,
)  # fmt: skip
def test_a_parameter_is_bound(source: SqlResource, value: object) -> None:
    """A parameter arrives as the value it is, whatever characters it holds."""
    cast = {int: "bigint", Decimal: "numeric", datetime.date: "date"}.get(type(value), "text")
    found = source.read_query(f"SELECT CAST(:v AS {cast}) AS v", {"v": value})["v"][0]
    assert (None if pd.isna(found) else found) == value


@pytest.mark.parametrize(
    ("query", "parameters", "expected"),
    [
        ("SELECT '10%' AS v", None, "10%"),
        ("SELECT '10%' AS v WHERE 1 = :one", {"one": 1}, "10%"),
        ("SELECT '%(one)s' AS v WHERE 1 = :one", {"one": 1}, "%(one)s"),
        ("SELECT 7 % 4 AS v", None, 3),
        ("SELECT '12:30'::time AS v", None, datetime.time(12, 30)),
        ('SELECT "a%b" AS v FROM "Sel%"."a%b" WHERE "a%b" = :v', {"v": 3}, 3),
        ("WITH x AS (SELECT 1 AS v) SELECT v FROM x", None, 1),
        ("SELECT 1 AS v -- the last line is a comment", None, 1),
        ("VALUES (1)", None, 1),
    ],
)
def test_a_query_means_what_it_says(source: SqlResource, query: str, parameters: dict[str, Any] | None, expected: object) -> None:
    """Percent signs, colons and comments of a query mean what they mean to PostgreSQL."""
    assert source.read_query(query, parameters).iloc[0, 0] == expected


def test_a_colon_inside_quotes_is_not_replaced(source: SqlResource) -> None:
    """Text that only looks like a parameter is kept, or the missing parameter is an error; it never becomes NULL."""
    with contextlib.suppress(PermanentError):
        assert source.read_query("SELECT 'at :noon' AS v")["v"].tolist() == ["at :noon"]


def test_a_missing_parameter_is_an_error(source: SqlResource) -> None:
    """A parameter without a value is an error, not NULL."""
    with pytest.raises(PermanentError, match="noon"):
        source.read_query("SELECT 1 AS v WHERE 1 = :noon")


def test_an_unknown_parameter_is_an_error_of_this_project(source: SqlResource) -> None:
    """A value for a parameter that the query does not have is explained."""
    with pytest.raises(PermanentError, match="noon"):
        source.read_query("SELECT 1 AS v", {"noon": 12})


def test_a_value_that_cannot_be_bound_is_permanent(source: SqlResource) -> None:
    """A value of a type that the driver does not know is not taken for an unreachable database."""
    with pytest.raises(PermanentError):
        source.read_query("SELECT CAST(:v AS text) AS v", {"v": {"a": 1}})


def test_rows_are_reported(source: SqlResource) -> None:
    """One read with its number of rows reaches the account, its source without the password."""
    address = make_url(source.url)
    with open_account() as account:
        source.read_table("flights", schema="public")
    assert account.reads == [Read(source=f"public.flights in {address.render_as_string(hide_password=True)}", rows=2)]


# -- PostgreSQL: read only ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO written VALUES (1) RETURNING n",
        "WITH x AS (INSERT INTO written VALUES (1) RETURNING n) SELECT n FROM x",
        "SELECT write_one()",
        "DELETE FROM flights",
    ],
)
def test_a_write_is_refused_for_good(source: SqlResource, query: str) -> None:
    """A query that writes is an error that repeating does not help."""
    with pytest.raises(PermanentError):
        source.read_query(query)


def test_nothing_is_written(source: SqlResource) -> None:
    """A function that writes leaves its table as it was."""
    with contextlib.suppress(EtlError):
        source.read_query("SELECT write_one()")
    assert len(source.read_table("written")) == 0


# -- PostgreSQL: errors ------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[URL], URL], str, type[EtlError], str]] = {
    "wrong password": (lambda url: url.set(password="sesame-wrong"), "SELECT 1", AuthenticationError, "password authentication failed"),
    "unknown user": (lambda url: url.set(username="nobody"), "SELECT 1", AuthenticationError, "password authentication failed"),
    "no login": (lambda url: url.set(username="sql_asleep", password="sesame"), "SELECT 1", PermanentError, "not permitted to log in"),
    "refused port": (lambda url: url.set(port=refused_port()), "SELECT 1", DatabaseUnavailableError, "Connection refused"),
    "unknown host": (lambda url: url.set(host="no.such.host.invalid"), "SELECT 1", ConfigurationError, "no.such.host.invalid"),
    "port out of range": (lambda url: url.set(port=99999), "SELECT 1", ConfigurationError, "invalid port number"),
    "unknown option": (lambda url: url.update_query_dict({"colour": "red"}), "SELECT 1", ConfigurationError, "colour"),
    "no SSL there": (lambda url: url.update_query_dict({"sslmode": "require"}), "SELECT 1", PermanentError, "SSL"),
    "unknown database": (lambda url: url.set(database="nowhere"), "SELECT 1", ConfigurationError, 'database "nowhere" does not exist'),
    "unknown table": (lambda url: url, "SELECT 1 FROM nowhere", SourceNotFoundError, 'relation "nowhere" does not exist'),
    "unknown column": (lambda url: url, "SELECT nothing FROM flights", SourceNotFoundError, 'column "nothing" does not exist'),
    "unknown schema": (lambda url: url, "SELECT 1 FROM nowhere.flights", SourceNotFoundError, 'relation "nowhere.flights" does not exist'),
    "no privilege": (
        lambda url: url.set(username="sql_guest", password="sesame"), "SELECT 1 FROM flights", PermanentError, "permission denied",
    ),
    "syntax": (lambda url: url, "SELEC 1", PermanentError, "syntax error"),
    "two columns of a name": (lambda url: url, "SELECT 1 AS a, 2 AS a", SourceFormatError, r"several columns named \['a'\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_failure_is_classed_by_what_recovers_it(alter: Callable[[Callable[[URL], URL]], SqlResource], name: str) -> None:
    """Each failure is the error whose recovery fits, in the server's words."""
    step, query, error, said = WRONG[name]
    with pytest.raises(error, match=said):
        alter(step).read_query(query)


@pytest.mark.parametrize("name", WRONG)
def test_a_message_holds_place_cause_and_next_step(alter: Callable[[Callable[[URL], URL]], SqlResource], name: str) -> None:
    """Every message names the database, says what happened and what to do."""
    step, query, _, _ = WRONG[name]
    with pytest.raises(EtlError) as caught:
        alter(step).read_query(query)
    error = caught.value
    assert ("query in postgresql" in error.where, str(error)) == (True, f"{error.where}: {error.cause} Next: {error.next_step}")


@pytest.mark.parametrize("name", WRONG)
def test_a_message_never_holds_the_password(alter: Callable[[Callable[[URL], URL]], SqlResource], name: str) -> None:
    """No message holds the password of the URL."""
    step, query, _, _ = WRONG[name]
    source = alter(step)
    with pytest.raises(EtlError) as caught:
        source.read_query(query)
    assert str(make_url(source.url).password) not in str(caught.value)


def test_a_password_among_the_options_is_hidden(alter: Callable[[Callable[[URL], URL]], SqlResource]) -> None:
    """A password given as ?password= appears in no message."""
    source = alter(lambda url: url.update_query_dict({"password": "sesame"}))
    with pytest.raises(AuthenticationError) as caught:
        source.read_query("SELECT 1")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("option", ["password", "passfile", "sslpassword"])
def test_an_option_that_holds_a_secret_is_hidden(option: str) -> None:
    """An option that may hold a password is not shown, the others are."""
    with pytest.raises(EtlError) as caught:
        SqlResource(url=f"postgresql://user@127.0.0.1:1/db?{option}=sesame&sslmode=disable", retry=NO_RETRY).read_query("SELECT 1")
    assert ("sesame" in str(caught.value), "sslmode=disable" in caught.value.where) == (False, True)


@pytest.mark.parametrize(("option", "said"), [("nonsense", "keyword argument 'nonsense'"), ("connect_timeout", "of another form")])
def test_an_option_that_the_mysql_driver_refuses(option: str, said: str) -> None:
    """An option that PyMySQL does not know, or whose value it does not take, is one error without the value."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        SqlResource(url=f"mysql://user@127.0.0.1:1/db?{option}=sesame", retry=NO_RETRY).read_query("SELECT 1")
    assert "sesame" not in "".join(traceback.format_exception(caught.value.with_traceback(None)))


def test_an_unescaped_password_is_hidden() -> None:
    """A password with an @ that was not percent-encoded appears in no message, not even its end."""
    with pytest.raises(EtlError) as caught:
        SqlResource(url="postgresql://user:open@sesame@127.0.0.1:1/db", retry=NO_RETRY).read_query("SELECT 1")
    assert "sesame" not in str(caught.value)


def test_a_slow_query_ends_at_its_limit(url: str) -> None:
    """A query that takes longer than allowed is ended by the server."""
    with pytest.raises(DatabaseUnavailableError, match="statement timeout"):
        SqlResource(url=url, retry=Retry(attempts=1), statement_timeout_seconds=0.1).read_query("SELECT pg_sleep(20)")


def test_an_unreachable_database_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """Attempts count all calls, and the wait between them is logged without the password."""
    with pytest.raises(DatabaseUnavailableError):
        SqlResource(url=f"postgresql://user:sesame@127.0.0.1:{refused_port()}/db", retry=Retry(attempts=2)).read_query("SELECT 1")
    assert ("attempt 1 of 2" in caplog.text, "sesame" in caplog.text) == (True, False)


@pytest.mark.parametrize(
    "address",
    [
        "nosuch://user:sesame@host/db", "mysql+nosuch://user:sesame@host/db", "postgresql+nosuch://user:sesame@host/db", "not a url", "",
        "postgresql://user:sesame@host:port/db",
    ],
)  # fmt: skip
def test_a_url_that_cannot_work_is_an_error_of_configuration(address: str) -> None:
    """Unknown dialects and drivers and text that is no URL are errors of configuration."""
    with pytest.raises(ConfigurationError):
        SqlResource(url=address, retry=NO_RETRY).read_query("SELECT 1")


# -- SQLite ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    """A SQLite file with one table."""
    file = tmp_path / "a b#%?.db"
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE t (i INTEGER, r REAL, s TEXT, b BLOB, big TEXT, unset TEXT)")
        connection.execute("INSERT INTO t VALUES (9007199254740993, 1.5, '', x'00ff', '12345678901234567890', NULL)")
        connection.execute("INSERT INTO t VALUES (NULL, NULL, NULL, NULL, NULL, NULL)")
    return file


@pytest.fixture
def sqlite(sqlite_file: Path) -> SqlResource:
    """The SQLite file as a resource."""
    return SqlResource(url=URL.create("sqlite", database=str(sqlite_file)).render_as_string(), retry=NO_RETRY)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("i", [9007199254740993, None]),
        ("r", [1.5, None]),
        ("s", ["", None]),
        ("b", [b"\x00\xff", None]),
        ("big", ["12345678901234567890", None]),
        ("unset", [None, None]),
    ],
)
def test_sqlite_a_column_arrives_exactly(sqlite: SqlResource, column: str, expected: list[object]) -> None:
    """Integers beside NULL, numbers, text, bytes and a 20-digit integer kept as text arrive as they are stored."""
    assert [None if pd.isna(value) else value for value in sqlite.read_table("t")[column]] == expected


@pytest.mark.parametrize(("column", "dtype"), [("i", "Int64"), ("r", "float64"), ("s", "str"), ("b", "object"), ("unset", "str")])
def test_sqlite_a_column_has_the_type_of_its_values(sqlite: SqlResource, column: str, dtype: str) -> None:
    """The dtype follows the values, NULL beside them or not."""
    assert str(sqlite.read_table("t")[column].dtype) == dtype


def test_sqlite_values_of_several_types_stay_as_they_are(sqlite: SqlResource) -> None:
    """A column that mixes types, as SQLite allows, keeps each value."""
    frame = sqlite.read_query("SELECT 1 AS v UNION ALL SELECT 'a' UNION ALL SELECT 1.5")
    assert sorted(map(repr, frame["v"])) == ["'a'", "1", "1.5"]


def test_sqlite_columns_are_selected(sqlite: SqlResource) -> None:
    """Only the named columns come, in the order in which they were named."""
    assert list(sqlite.read_table("t", columns=["s", "i"]).columns) == ["s", "i"]


def test_sqlite_a_parameter_is_bound(sqlite: SqlResource) -> None:
    """A parameter arrives as the value it is."""
    assert sqlite.read_query("SELECT :v AS v", {"v": "it's 100% :v"})["v"].tolist() == ["it's 100% :v"]


def test_sqlite_no_rows_keep_the_columns(sqlite: SqlResource) -> None:
    """A query without rows gives its columns."""
    assert sqlite.read_query("SELECT i, s FROM t WHERE 0").shape == (0, 2)


def test_sqlite_rows_are_reported(sqlite: SqlResource) -> None:
    """One read with its number of rows reaches the account."""
    with open_account() as account:
        sqlite.read_table("t")
    assert [read.rows for read in account.reads] == [2]


@pytest.mark.parametrize("statement", ["DELETE FROM t", "INSERT INTO t (i) VALUES (1) RETURNING i", "DROP TABLE t", "CREATE TABLE u (a)"])
def test_sqlite_a_write_is_refused(sqlite: SqlResource, statement: str) -> None:
    """The file is opened for reading only."""
    with pytest.raises(PermanentError, match="readonly database"):
        sqlite.read_query(statement)


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        ("SELECT 1 FROM nowhere", SourceNotFoundError, "no such table: nowhere"),
        ("SELECT absent FROM t", SourceFormatError, "no such column: absent"),
        ("SELEC 1", SourceFormatError, "syntax error"),
        ("SELECT 1 AS v WHERE 1 = :noon", ConfigurationError, "noon"),
        ("SELECT 1 AS a, 2 AS a", SourceFormatError, "several columns named"),
    ],
)
def test_sqlite_a_failure_is_classed(sqlite: SqlResource, query: str, error: type[EtlError], said: str) -> None:
    """Unknown tables, other mistakes and two columns of one name are told apart, in SQLite's words."""
    with pytest.raises(error, match=said):
        sqlite.read_query(query)


def test_sqlite_a_missing_file_is_not_found(tmp_path: Path) -> None:
    """A missing file is an error."""
    with pytest.raises(SourceNotFoundError, match="there is no such database file"):
        SqlResource(url=f"sqlite:///{tmp_path}/nope.db", retry=NO_RETRY).read_table("t")


def test_sqlite_a_missing_file_is_not_made(tmp_path: Path) -> None:
    """Reading a missing file leaves the folder as it was."""
    with contextlib.suppress(EtlError):
        SqlResource(url=f"sqlite:///{tmp_path}/nope.db", retry=NO_RETRY).read_table("t")
    assert list(tmp_path.iterdir()) == []


def test_sqlite_what_is_no_database_is_a_format_error(tmp_path: Path) -> None:
    """A text file is no database."""
    (tmp_path / "a.db").write_text("no database " * 100)
    with pytest.raises(SourceFormatError, match="file is not a database"):
        SqlResource(url=f"sqlite:///{tmp_path}/a.db", retry=NO_RETRY).read_table("t")


@pytest.mark.parametrize(
    ("module", "clients"),
    [
        ("sql", ("adbc_driver_sqlite", "authlib", "duckdb", "pymysql")),
        ("files", ("authlib", "requests")),
        ("excel", ("authlib", "requests")),
    ],
)
def test_clients_are_imported_when_they_are_needed(module: str, clients: Sequence[str]) -> None:
    """Each process of each step imports the connectors, so none brings a client that only another source needs."""
    code = f"import sys, etl_assets.connectors.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(clients) & set(done.stdout.split()) == set()
