"""Exactness of `COPY TO STDOUT`: what PostgreSQL holds is what the frame holds."""

import datetime
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import psycopg2
import pytest
import sqlalchemy as sa

from etl_assets.errors import SourceFormatError
from etl_assets.loading.selection import Selection
from etl_assets.loading.table import TableRef
from etl_assets.local_postgres import LocalPostgres
from etl_assets.postgres.connection import make_engine
from etl_assets.postgres.copy_out import read_query, stream_query

TABLE = TableRef(schema="S%", table='t"%')


@pytest.fixture(scope="module")
def connection(postgres_server: LocalPostgres) -> Iterator[sa.Connection]:
    """A connection to a database that the tests only read."""
    postgres_server.create_database("test_copy_out")
    engine = make_engine(postgres_server.url("test_copy_out"), application_name="test_copy_out")
    with engine.connect() as one:
        with one.connection.cursor() as cursor:
            cursor.execute('CREATE SCHEMA "S%"; CREATE TABLE "S%"."t""%" ("a""b" int, "C %" text)')
            cursor.execute('INSERT INTO "S%"."t""%" VALUES (1, NULL), (NULL, \'\')')
        one.connection.commit()
        yield one
    engine.dispose()


@pytest.fixture(autouse=True)
def _no_transaction_left(connection: sa.Connection) -> Iterator[None]:
    yield
    connection.connection.rollback()


def missing(value: object) -> bool:
    """Whether a value means NULL; NaN of a Decimal does not."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ("9223372036854775807::bigint", "Int64", 9223372036854775807),
        ("(-9223372036854775808)::bigint", "Int64", -9223372036854775808),
        ("9007199254740993::bigint", "Int64", 9007199254740993),
        ("2147483647::integer", "Int32", 2147483647),
        ("(-32768)::smallint", "Int16", -32768),
        ("1.50::numeric(12,2)", "object", Decimal("1.50")),
        ("99999999999999999999999999999999999999::numeric(38,0)", "object", Decimal("9" * 38)),
        ("1.5::numeric(39,2)", "object", Decimal("1.50")),
        ("0.00123::numeric(3,5)", "object", Decimal("0.00123")),
        ("12345::numeric(5,-2)", "object", Decimal("12300")),
        ("1.50::numeric", "object", Decimal("1.50")),
        ("123456789012345678901234567890.123456789012345678901234567890::numeric", "object",
         Decimal("123456789012345678901234567890.123456789012345678901234567890")),
        ("'Infinity'::numeric", "object", Decimal("Infinity")),
        ("0.1::double precision", "float64", 0.1),
        ("1e-310::double precision", "float64", 1e-310),
        ("1.7976931348623157e308::double precision", "float64", 1.7976931348623157e308),
        ("'Infinity'::double precision", "float64", math.inf),
        ("'-Infinity'::double precision", "float64", -math.inf),
        ("'-Infinity'::real", "float32", -math.inf),
        ("1.5::real", "float32", 1.5),
        ("true", "boolean", True),
        ("false", "boolean", False),
        ("'2013-01-31'::date", "object", datetime.date(2013, 1, 31)),
        ("'0001-01-01'::date", "object", datetime.date(1, 1, 1)),
        ("'9999-12-31'::date", "object", datetime.date(9999, 12, 31)),
        ("'2013-01-31 04:05:06.000001'::timestamp", "datetime64[us]", pd.Timestamp("2013-01-31T04:05:06.000001")),
        ("'0001-01-01'::timestamp", "datetime64[us]", pd.Timestamp("0001-01-01")),
        ("'9999-12-31 23:59:59.999999'::timestamp", "datetime64[us]", pd.Timestamp("9999-12-31T23:59:59.999999")),
        ("'2013-01-31 04:05:06'::timestamp(0)", "datetime64[us]", pd.Timestamp("2013-01-31T04:05:06")),
        ("'2013-01-31 04:05:06-05'::timestamptz", "datetime64[us, UTC]", pd.Timestamp("2013-01-31T09:05:06Z")),
        ("'2013-07-01 00:00 America/New_York'::timestamptz", "datetime64[us, UTC]", pd.Timestamp("2013-07-01T04:00Z")),
        ("'04:05:06.000001'::time", "object", datetime.time(4, 5, 6, 1)),
        ("'04:05+02'::timetz", "str", "04:05:00+02"),
        (r"'\x00ff0a22'::bytea", "object", b'\x00\xff\n"'),
        ("''::bytea", "object", b""),
        ("""'{"b": 1.50, "a": [null, "é"]}'::jsonb""", "str", '{"a": [null, "é"], "b": 1.50}'),
        ("""'{"b":  1.50}'::json""", "str", '{"b":  1.50}'),
        ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "str", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("ARRAY[1,NULL,3]", "str", "{1,NULL,3}"),
        ("""ARRAY['a"b','c,d','']""", "str", r'{"a\"b","c,d",""}'),
        ("'1 year 2 days 03:04:05.6'::interval", "str", "1 year 2 days 03:04:05.6"),
        ("'x'::char(3)", "str", "x  "),
        ("'x'::varchar(3)", "str", "x"),
        ("'x'::name", "str", "x"),
        ("""'"'::"char\"""", "str", '"'),
        ("'[1,5)'::int4range", "str", "[1,5)"),
        ("'10.0.0.1/8'::inet", "str", "10.0.0.1/8"),
    ],
    ids=lambda value: value[:48] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_value_arrives_exactly(connection: sa.Connection, value: str, dtype: str, expected: object) -> None:
    """A value keeps its type and every digit, with a NULL beside it too."""
    # An outer join, because UNION with a NULL would drop precision and scale from the column.
    query = f"SELECT v FROM generate_series(1, 2) AS g LEFT JOIN (SELECT {value} AS v) AS given ON g = 1 ORDER BY g"
    column = read_query(connection, query, where="test")["v"]
    if dtype.startswith("float"):  # NULL of a float column reads as NaN, as the module says
        column = column[:1]
        assert (str(column.dtype), column.tolist()) == (dtype, [expected])
    else:
        assert (str(column.dtype), [None if missing(item) else item for item in column]) == (dtype, [expected, None])


@pytest.mark.parametrize(
    "text",
    [
        "", " ", '"', '""', "'", ",", "a,b", "\n", "\r\n", "\r", "a\n\n\nb", "ends\n",
        "\\N", "\\.", "\\", "\\n", "NULL", "NA", "nan", "t", "é",
        "😀", "\u2028", "\t", "\x01\x7f", "%", "%s",
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("columns", [1, 2], ids="{} columns".format)
def test_text_arrives_exactly(connection: sa.Connection, text: str, columns: int) -> None:
    """Any text survives, in a table of one column and of two."""
    names = ["v", "w"][:columns]
    query = f"SELECT {', '.join(f'CAST(%(text)s AS text) AS {name}' for name in names)} FROM generate_series(1, 2)"
    assert read_query(connection, query, {"text": text}, where="test").to_dict("list") == {name: [text, text] for name in names}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("(NULL::text)", [None]),
        ("(''::text)", [""]),
        ("(NULL::text), (NULL)", [None, None]),
        ("(NULL::text), (''), (NULL), ('x'), ('')", [None, "", None, "x", ""]),
        ("('x'::text), (NULL)", ["x", None]),
        ("(E'\\n'::text), (NULL), (E'\\n\\n')", ["\n", None, "\n\n"]),
        ("(NULL::int), (NULL), (1), (NULL)", [None, None, 1, None]),
        ("(NULL::bytea), ('')", [None, b""]),
    ],
)
def test_one_column_keeps_its_rows(connection: sa.Connection, rows: str, expected: list[object]) -> None:
    """A table of one column keeps the number of its rows, NULL apart from ''."""
    column = read_query(connection, f"SELECT * FROM (VALUES {rows}) AS t(v)", where="test")["v"]
    assert [None if missing(value) else value for value in column] == expected


def test_one_column_of_nulls_keeps_its_rows_across_blocks(connection: sa.Connection) -> None:
    """NULL and '' alternate over more than one block of the parser."""
    query = "SELECT CASE g % 2 WHEN 0 THEN repeat('x', 1000) WHEN 1 THEN NULL END AS v FROM generate_series(1, 40001) AS g"
    column = read_query(connection, query, where="test")["v"]
    assert (len(column), int(column.isna().sum())) == (40001, 20001)


def test_a_value_larger_than_a_block_arrives(connection: sa.Connection) -> None:
    """A text longer than the parser's block survives."""
    frame = read_query(connection, "SELECT repeat('x', 9 * 1024 * 1024) AS v FROM generate_series(1, 2)", where="test")
    assert frame["v"].str.len().tolist() == [9 * 1024 * 1024] * 2


@pytest.mark.parametrize("rows", [None, 2])
def test_a_long_value_full_of_quotes_and_line_breaks_arrives(connection: sa.Connection, rows: int | None) -> None:
    """Blocks end between records, wherever quotes and line breaks stand in a value longer than several of them."""
    query = """SELECT n, repeat(E'"\n,"\n\n', 200000) || n AS v, NULL::text AS w FROM generate_series(1, 5) AS n"""
    frame = pd.concat(list(stream_query(connection, query, rows=rows, where="test")), ignore_index=True)
    assert frame["v"].tolist() == ['"\n,"\n\n' * 200_000 + str(number) for number in range(1, 6)]
    assert (frame["n"].tolist(), frame["w"].isna().tolist()) == ([1, 2, 3, 4, 5], [True] * 5)


def test_nan_of_numeric_is_a_decimal(connection: sa.Connection) -> None:
    """NaN of a numeric without scale is a Decimal, not NULL."""
    value = read_query(connection, "SELECT 'NaN'::numeric AS v", where="test")["v"][0]
    assert (type(value), value.is_nan()) == (Decimal, True)


def test_nan_and_null_of_a_float_column_read_alike(connection: sa.Connection) -> None:
    """NULL and NaN of a float column both read as NaN, as pandas has it."""
    frame = read_query(connection, "SELECT * FROM (VALUES ('NaN'::float8), (NULL)) AS t(v)", where="test")
    assert (str(frame["v"].dtype), frame["v"].isna().tolist()) == ("float64", [True, True])


def test_minus_zero_keeps_its_sign(connection: sa.Connection) -> None:
    """Minus zero stays minus zero."""
    assert math.copysign(1, read_query(connection, "SELECT '-0'::float8 AS v", where="test")["v"][0]) == -1


@pytest.mark.parametrize(
    "value",
    ["'NaN'::numeric(10,2)", "'infinity'::date", "'0001-12-31 BC'::date", "'10000-01-01'::date", "'-infinity'::timestamp", "'24:00'::time"],
)
def test_what_cannot_be_held_is_refused(connection: sa.Connection, value: str) -> None:
    """A value outside what Arrow holds is an error that proposes text, never another value."""
    with pytest.raises(SourceFormatError, match="cannot be held exactly .* Next: select that column cast to text"):
        read_query(connection, f"SELECT {value} AS v", where="test")


@pytest.mark.parametrize("setting", ["bytea_output = 'escape'", "extra_float_digits = -5", "client_encoding = 'LATIN1'"])
def test_a_setting_of_the_database_changes_nothing(postgres_server: LocalPostgres, database_url: str, setting: str) -> None:
    """A database may set how values are printed; they arrive exactly all the same."""
    name = sa.make_url(database_url).database
    for_admin = make_engine(postgres_server.url("postgres"), application_name="test")
    with for_admin.begin() as admin:
        admin.exec_driver_sql(f"ALTER DATABASE {name} SET {setting}")
    for_admin.dispose()
    engine = make_engine(database_url, application_name="test")
    try:
        with engine.connect() as fresh:
            frame = read_query(fresh, r"SELECT '\x00ff'::bytea AS b, 0.1::float8 + 0.2::float8 AS f, chr(233) AS t", where="test")
    finally:
        engine.dispose()
    assert frame.values.tolist() == [[b"\x00\xff", 0.1 + 0.2, "é"]]


def test_a_database_of_another_encoding_is_read(postgres_server: LocalPostgres) -> None:
    """Text of a LATIN1 database arrives as the characters it means."""
    for_admin = make_engine(postgres_server.url("postgres"), application_name="test").execution_options(isolation_level="AUTOCOMMIT")
    with for_admin.connect() as admin:
        admin.exec_driver_sql("CREATE DATABASE test_latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    for_admin.dispose()
    engine = make_engine(postgres_server.url("test_latin"), application_name="test")
    try:
        with engine.connect() as latin:
            assert read_query(latin, "SELECT chr(233) AS v", where="test")["v"].tolist() == ["é"]
    finally:
        engine.dispose()


def test_no_rows_keep_columns_and_types(connection: sa.Connection) -> None:
    """A query without rows gives its columns with their types."""
    query = "SELECT 1::bigint AS a, 'x'::text AS b, 1.5::float8 AS c, true AS d, now() AS e, 1.5::numeric AS f WHERE false"
    frame = read_query(connection, query, where="test")
    assert [(name, str(dtype)) for name, dtype in frame.dtypes.items()] == [
        ("a", "Int64"), ("b", "str"), ("c", "float64"), ("d", "boolean"), ("e", "datetime64[us, UTC]"), ("f", "object"),
    ]  # fmt: skip


@pytest.mark.parametrize("query", ["SELECT 1 AS a, 2 AS a", "SELECT 1, 2", "SELECT * FROM (SELECT 1 AS a) x, (SELECT 2 AS a) y"])
def test_two_columns_of_a_name_are_refused(connection: sa.Connection, query: str) -> None:
    """Columns that share a name are an error, also when nobody named them."""
    with pytest.raises(SourceFormatError, match="several columns named"):
        read_query(connection, query, where="test")


@pytest.mark.parametrize(
    ("query", "parameters", "expected"),
    [
        ("SELECT 'a%s' AS v", None, "a%s"),
        ("SELECT 7 % 4 AS v", None, 3),
        ("SELECT %(v)s AS v", {"v": "it's %(v)s"}, "it's %(v)s"),
        ("SELECT '100%%' AS v WHERE %(one)s = 1", {"one": 1}, "100%"),
        ("SELECT 1 AS v -- a comment", None, 1),
        ("SELECT 1 AS v /* a comment */", None, 1),
        ("SELECT 1 AS v\n", None, 1),
        ("TABLE pg_catalog.pg_am LIMIT 0", None, None),
    ],
)
def test_a_query_means_what_it_says(connection: sa.Connection, query: str, parameters: dict[str, Any] | None, expected: object) -> None:
    """Percent signs, parameters and comments mean what they mean to psycopg2 and PostgreSQL."""
    frame = read_query(connection, query, parameters, where="test")
    assert (frame.iloc[0, 0] if len(frame) else None) == expected


def test_rows_keep_the_order_of_the_query(connection: sa.Connection) -> None:
    """ORDER BY holds, and the index counts from 0."""
    frame = read_query(connection, "SELECT g AS v FROM generate_series(1, 5) AS g ORDER BY g DESC", where="test")
    assert (frame["v"].tolist(), list(frame.index)) == ([5, 4, 3, 2, 1], [0, 1, 2, 3, 4])


def test_the_transaction_of_the_connection_is_read(connection: sa.Connection) -> None:
    """Rows that only this transaction sees are read."""
    connection.exec_driver_sql("CREATE TEMPORARY TABLE mine (v int) ON COMMIT DROP")
    connection.exec_driver_sql("INSERT INTO mine VALUES (1)")
    assert read_query(connection, "SELECT v FROM mine", where="test")["v"].tolist() == [1]


def test_a_refused_query_is_the_drivers_error(connection: sa.Connection) -> None:
    """What the server refuses is left to the caller to explain."""
    with pytest.raises(psycopg2.errors.UndefinedTable):
        read_query(connection, "SELECT 1 FROM nowhere", where="test")


def test_a_whole_table_is_read(connection: sa.Connection) -> None:
    """A table whose names need quoting comes with all its columns."""
    frame = read_query(connection, Selection().query(connection, TABLE, "test"), where="test")
    assert (list(frame.columns), len(frame)) == (['a"b', "C %"], 2)


def test_some_columns_of_a_table_are_read(connection: sa.Connection) -> None:
    """Only the named columns come, in the order in which they were named."""
    some = Selection(columns=["C %", 'a"b'])
    assert list(read_query(connection, some.query(connection, TABLE, "test"), where="test").columns) == ["C %", 'a"b']
