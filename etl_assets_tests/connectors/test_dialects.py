"""Statements and types at the level of a dialect: what SQL Server and Oracle would be asked, and where their columns would go.

Neither was ever run here; that their SQL is as expected is all these tests say. Not here: databases that run (`test_sql*.py`).
"""

import datetime
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle, postgresql, sqlite
from sqlalchemy.types import TypeEngine

from etl_assets.connectors.databases.types import postgresql_type, postgresql_type_of_duckdb
from etl_assets.connectors.incremental import Incremental, Window
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import ConfigurationError
from etl_assets.postgres.types import canonical_name

DIALECTS: dict[str, Callable[..., sa.Dialect]] = {
    "mssql": mssql.dialect, "oracle": oracle.dialect, "mysql": mysql.dialect, "sqlite": sqlite.dialect, "postgresql": postgresql.dialect,
}  # fmt: skip
PARAMSTYLES = {"mssql": "qmark", "oracle": "named", "mysql": "format", "sqlite": "qmark", "postgresql": "pyformat"}


class Asked:
    """A session of no database that notes what it is asked: the highest value is 9, and no row is without one."""

    def __init__(self, dialect: str) -> None:
        self._dialect = DIALECTS[dialect](paramstyle=PARAMSTYLES[dialect])
        self.asked: list[str] = []

    def note(self, statement: Any) -> None:
        text = str(statement.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True}))
        self.asked.append(" ".join(text.split()))

    def value(self, statement: Any) -> Any:
        self.note(statement)
        return 0 if "count" in self.asked[-1] else 9


def statements(
    dialect: str, source: Callable[[SqlResource], Any], incremental: Incremental | None = None, window: Window | None = None
) -> list[str]:
    """The statements of one read, in their order."""
    resource = SqlResource(url="duckdb:///:memory:")
    session = Asked(dialect)
    reading = resource_reading(resource, source(resource), incremental, window)
    session.note(reading.plan(session))
    return session.asked


def resource_reading(resource: SqlResource, source: Any, incremental: Incremental | None, window: Window | None) -> Any:
    """What the resource makes of a source, without a database."""
    from etl_assets.connectors.sql import _Reading

    return _Reading(source, None, "test", incremental, window)  # type: ignore[arg-type]


def a_table(resource: SqlResource) -> Any:
    return resource._table("Order Lines", "shop", ["id", "Unit Price"])


def a_whole_table(resource: SqlResource) -> Any:
    return resource._table("orders", None, None)


def a_query(resource: SqlResource) -> Any:
    return resource._query("SELECT id FROM orders WHERE kind = :kind -- of a kind", {"kind": "a"})


DAY = Window(column="at", start=datetime.date(2026, 3, 1), end=datetime.date(2026, 3, 2))
BY_ID = Incremental(column="id", start=5)
SOME = Incremental(column="id", most_rows=3, nulls="skip")
EXPECTED: list[tuple[str, Any, Incremental | None, Window | None, dict[str, list[str]]]] = [
    (
        "a table", a_table, None, None,
        {
            "mssql": ["SELECT id, [Unit Price] FROM shop.[Order Lines]"],
            "oracle": ['SELECT id, "Unit Price" FROM shop."Order Lines"'],
            "mysql": ["SELECT id, `Unit Price` FROM shop.`Order Lines`"],
            "sqlite": ['SELECT id, "Unit Price" FROM shop."Order Lines"'],
            "postgresql": ['SELECT id, "Unit Price" FROM shop."Order Lines"'],
        },
    ),
    (
        "a window", a_whole_table, None, DAY,
        {
            "mssql": ["SELECT * FROM orders WHERE at >= ? AND at < ?"],
            "oracle": ["SELECT * FROM orders WHERE at >= :at_1 AND at < :at_2"],
            "mysql": ["SELECT * FROM orders WHERE at >= %s AND at < %s"],
            "sqlite": ["SELECT * FROM orders WHERE at >= ? AND at < ?"],
            "postgresql": ["SELECT * FROM orders WHERE at >= %(at_1)s::DATE AND at < %(at_2)s::DATE"],
        },
    ),
    (
        "what is new", a_whole_table, BY_ID, None,
        {
            "mssql": [
                "SELECT count(*) AS count_1 FROM orders WHERE id IS NULL",
                "SELECT TOP 1 id FROM orders WHERE id IS NOT NULL AND id >= ? ORDER BY id DESC",
                "SELECT * FROM orders WHERE id <= ? AND id >= ?",
            ],
            "oracle": [
                "SELECT count(*) AS count_1 FROM orders WHERE id IS NULL",
                "SELECT id FROM orders WHERE id IS NOT NULL AND id >= :id_1 ORDER BY id DESC FETCH FIRST 1 ROWS ONLY",
                "SELECT * FROM orders WHERE id <= :id_1 AND id >= :id_2",
            ],
            "mysql": [
                "SELECT count(*) AS count_1 FROM orders WHERE id IS NULL",
                "SELECT id FROM orders WHERE id IS NOT NULL AND id >= %s ORDER BY id DESC LIMIT %s",
                "SELECT * FROM orders WHERE id <= %s AND id >= %s",
            ],
        },
    ),
    (
        "some of what is new, of a query", a_query, SOME, None,
        {
            "mssql": [
                "SELECT TOP 1 first_rows.id FROM (SELECT TOP 3 id FROM (SELECT id FROM orders WHERE kind = ? -- of a kind ) AS source "
                "WHERE id IS NOT NULL ORDER BY id) AS first_rows ORDER BY first_rows.id DESC",
                "SELECT * FROM (SELECT id FROM orders WHERE kind = ? -- of a kind ) AS source WHERE id <= ?",
            ],
            "oracle": [
                "SELECT first_rows.id FROM (SELECT id FROM (SELECT id FROM orders WHERE kind = :kind_1 -- of a kind ) source "
                "WHERE id IS NOT NULL ORDER BY id FETCH FIRST 3 ROWS ONLY) first_rows ORDER BY first_rows.id DESC FETCH FIRST 1 ROWS ONLY",
                "SELECT * FROM (SELECT id FROM orders WHERE kind = :kind_1 -- of a kind ) source WHERE id <= :id_1",
            ],
            "sqlite": [
                "SELECT first_rows.id FROM (SELECT id FROM (SELECT id FROM orders WHERE kind = ? -- of a kind ) AS source "
                "WHERE id IS NOT NULL ORDER BY id LIMIT ? OFFSET ?) AS first_rows ORDER BY first_rows.id DESC LIMIT ? OFFSET ?",
                "SELECT * FROM (SELECT id FROM orders WHERE kind = ? -- of a kind ) AS source WHERE id <= ?",
            ],
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "incremental", "window", "dialect", "expected"),
    [
        pytest.param(source, incremental, window, dialect, asked, id=f"{name}-{dialect}")
        for name, source, incremental, window, texts in EXPECTED
        for dialect, asked in texts.items()
    ],
)
def test_a_read_asks_in_the_words_of_the_dialect(
    source: Any, incremental: Incremental | None, window: Window | None, dialect: str, expected: list[str]
) -> None:
    """Names are quoted, limits and bounds written and values bound as the dialect has it."""
    assert statements(dialect, source, incremental, window) == expected


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_read_of_nothing_new_is_a_condition_that_every_dialect_knows(dialect: str) -> None:
    """Where there is no value at all, no row is asked for by a comparison: not every database has a literal for false."""
    session = Asked(dialect)
    session.value = lambda _: None  # type: ignore[method-assign]
    reading = resource_reading(SqlResource(url=""), a_whole_table(SqlResource(url="")), Incremental(column="id", nulls="skip"), None)
    session.note(reading.plan(session))
    assert session.asked == ["SELECT * FROM orders WHERE 1 = 0"]


# -- types --------------------------------------------------------------------------------------------------------------

LOCAL, INSTANT = "timestamp without time zone", "timestamp with time zone"
TYPES: dict[str, list[tuple[TypeEngine[Any], str]]] = {
    "mssql": [
        (mssql.BIT(), "boolean"),
        (mssql.TINYINT(), "smallint"),
        (sa.SMALLINT(), "smallint"),
        (sa.INTEGER(), "integer"),
        (sa.BIGINT(), "bigint"),
        (sa.DECIMAL(38, 10), "numeric(38,10)"),
        (sa.NUMERIC(18, 0), "numeric(18,0)"),
        (mssql.MONEY(), "numeric(19,4)"),
        (mssql.SMALLMONEY(), "numeric(10,4)"),
        (sa.FLOAT(53), "double precision"),
        (sa.FLOAT(24), "real"),
        (mssql.REAL(), "real"),
        (mssql.DOUBLE_PRECISION(), "double precision"),
        (sa.DATE(), "date"),
        (mssql.TIME(7), "time without time zone"),
        (sa.DATETIME(), LOCAL),
        (mssql.DATETIME2(7), LOCAL),
        (mssql.SMALLDATETIME(), LOCAL),
        (mssql.DATETIMEOFFSET(7), INSTANT),
        (sa.CHAR(3), "text"),
        (sa.VARCHAR(10), "text"),
        (sa.NVARCHAR(None), "text"),
        (sa.NCHAR(3), "text"),
        (sa.TEXT(), "text"),
        (mssql.NTEXT(), "text"),
        (mssql.XML(), "text"),
        (sa.BINARY(3), "bytea"),
        (mssql.VARBINARY("max"), "bytea"),
        (mssql.IMAGE(), "bytea"),
        (mssql.TIMESTAMP(), "bytea"),
        (mssql.ROWVERSION(), "bytea"),
        (mssql.UNIQUEIDENTIFIER(), "uuid"),
    ],
    "oracle": [
        (oracle.NUMBER(), "numeric"),
        (oracle.NUMBER(4, 0), "smallint"),
        (oracle.NUMBER(9, 0), "integer"),
        (oracle.NUMBER(18, 0), "bigint"),
        (oracle.NUMBER(19, 0), "numeric(19,0)"),
        (oracle.NUMBER(12, 2), "numeric(12,2)"),
        (oracle.NUMBER(5, -2), "numeric(7,0)"),
        (oracle.NUMBER(3, 5), "numeric(5,5)"),
        (sa.INTEGER(), "numeric(38,0)"),
        (oracle.FLOAT(binary_precision=100), "numeric"),
        (sa.DOUBLE_PRECISION(), "numeric"),
        (sa.REAL(), "numeric"),
        (oracle.BINARY_FLOAT(), "real"),
        (oracle.BINARY_DOUBLE(), "double precision"),
        (oracle.DATE(), LOCAL),
        (oracle.TIMESTAMP(), LOCAL),
        (oracle.TIMESTAMP(timezone=True), INSTANT),
        (oracle.TIMESTAMP(local_timezone=True), INSTANT),
        (oracle.INTERVAL(day_precision=2), "interval"),
        (sa.VARCHAR(10), "text"),
        (sa.NVARCHAR(10), "text"),
        (sa.CHAR(3), "text"),
        (sa.CLOB(), "text"),
        (oracle.NCLOB(), "text"),
        (oracle.LONG(), "text"),
        (oracle.RAW(16), "bytea"),
        (sa.BLOB(), "bytea"),
        (oracle.ROWID(), "text"),
        (sa.BOOLEAN(), "boolean"),
    ],
    "mysql": [
        (mysql.TINYINT(1), "smallint"),
        (mysql.TINYINT(unsigned=True), "smallint"),
        (mysql.SMALLINT(), "smallint"),
        (mysql.SMALLINT(unsigned=True), "integer"),
        (mysql.MEDIUMINT(unsigned=True), "integer"),
        (mysql.INTEGER(), "integer"),
        (mysql.INTEGER(unsigned=True), "bigint"),
        (mysql.BIGINT(), "bigint"),
        (mysql.BIGINT(unsigned=True), "numeric(20,0)"),
        (mysql.DECIMAL(65, 30), "numeric(65,30)"),
        (mysql.FLOAT(), "real"),
        (mysql.DOUBLE(), "double precision"),
        (mysql.BIT(1), "bigint"),
        (mysql.BIT(64), "numeric(20,0)"),
        (sa.DATE(), "date"),
        (mysql.DATETIME(fsp=6), LOCAL),
        (mysql.TIMESTAMP(fsp=6), INSTANT),
        (mysql.TIME(fsp=6), "interval"),
        (mysql.YEAR(), "smallint"),
        (mysql.CHAR(3), "text"),
        (mysql.VARCHAR(10), "text"),
        (mysql.LONGTEXT(), "text"),
        (mysql.ENUM("a", "b"), "text"),
        (mysql.SET("a", "b"), "text"),
        (mysql.JSON(), "json"),
        (sa.BINARY(3), "bytea"),
        (sa.VARBINARY(3), "bytea"),
        (sa.BLOB(), "bytea"),
        (mysql.LONGBLOB(), "bytea"),
        (sa.UUID(), "uuid"),
    ],
    "sqlite": [
        (sa.INTEGER(), "bigint"),
        (sa.SMALLINT(), "bigint"),
        (sa.BOOLEAN(), "bigint"),
        (sa.NUMERIC(10, 2), "numeric"),
        (sa.DECIMAL(), "numeric"),
        (sa.REAL(), "double precision"),
        (sa.FLOAT(), "double precision"),
        (sa.TEXT(), "text"),
        (sa.VARCHAR(10), "text"),
        (sa.DATE(), "text"),
        (sa.TIMESTAMP(), "text"),
        (sa.TIME(), "text"),
        (sqlite.JSON(), "text"),
        (sa.BLOB(), "bytea"),
    ],
    "": [
        (sa.SmallInteger(), "smallint"),
        (sa.Integer(), "bigint"),
        (sa.Boolean(), "boolean"),
        (sa.Numeric(12, 2), "numeric(12,2)"),
        (sa.Numeric(12), "numeric(12,0)"),
        (sa.Numeric(), "numeric"),
        (sa.Float(), "double precision"),
        (sa.Float(24), "real"),
        (sa.Double(), "double precision"),
        (sa.REAL(), "double precision"),
        (sa.String(5), "text"),
        (sa.UnicodeText(), "text"),
        (sa.Enum("a", "b"), "text"),
        (sa.Date(), "date"),
        (sa.DateTime(), LOCAL),
        (sa.DateTime(timezone=True), INSTANT),
        (sa.Time(), "time without time zone"),
        (sa.Time(timezone=True), "time with time zone"),
        (sa.Interval(), "interval"),
        (sa.LargeBinary(), "bytea"),
        (sa.Uuid(), "uuid"),
        (sa.JSON(), "json"),
    ],
}
TYPES["mariadb"] = TYPES["mysql"]
OF_DIALECTS = [pytest.param(dialect, *case, id=f"{dialect}-{case[0]!r}") for dialect, cases in TYPES.items() for case in cases]


@pytest.mark.parametrize(("dialect", "type_", "expected"), OF_DIALECTS)
def test_a_type_goes_where_its_values_fit(dialect: str, type_: TypeEngine[Any], expected: str) -> None:
    """Each type of a dialect has the PostgreSQL type that holds all its values: no number is cut, no time loses its zone or its date."""
    assert postgresql_type(type_, dialect) == expected


@pytest.mark.parametrize("name", sorted({case[1] for cases in TYPES.values() for case in cases}))
def test_a_type_is_named_as_postgresql_prints_it(name: str) -> None:
    """The names are those of `format_type`, with which tables are compared."""
    assert canonical_name(name) == name


@pytest.mark.parametrize(
    ("dialect", "type_"),
    [
        ("mssql", mssql.SQL_VARIANT()),
        ("oracle", oracle.BFILE()),
        ("oracle", oracle.VECTOR()),
        ("mysql", sa.types.NullType()),
        ("sqlite", sa.types.NullType()),
        ("", sa.ARRAY(sa.Integer())),
        ("", postgresql.INET()),
    ],
    ids=repr,
)
def test_a_type_that_is_not_known_is_refused(dialect: str, type_: TypeEngine[Any]) -> None:
    """Where no PostgreSQL type is known to hold the values, the error names the type."""
    with pytest.raises(ConfigurationError, match=type(type_).__name__):
        postgresql_type(type_, dialect)


@pytest.mark.parametrize("name", ["GEOMETRY", "TIMESTAMP_PS", "DECIMAL", ""])
def test_a_duckdb_type_that_is_not_known_is_refused(name: str) -> None:
    """The same for types of DuckDB."""
    with pytest.raises(ConfigurationError, match="no PostgreSQL type is known"):
        postgresql_type_of_duckdb(name)
