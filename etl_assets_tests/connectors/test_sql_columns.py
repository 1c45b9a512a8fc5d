"""The columns of a source's table: as its catalog has them, and so that its rows can be stored in PostgreSQL exactly.

Not here: types of databases that do not run here (`test_dialects.py`).
"""

import contextlib
import sqlite3
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import ConfigurationError, SourceNotFoundError, UnstorableValueError
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import ColumnSpec, LoadIdentity, LoadRequest, TableRef, TableSpec
from etl_assets.local_postgres import LocalPostgres
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.connectors.sql_values import DUCKDB, POSTGRESQL, SQLITE, Case, shown, table_of

LOCAL, INSTANT = "timestamp without time zone", "timestamp with time zone"
# By name of the case; what is missing has the same name on both sides.
POSTGRESQL_TYPES = {
    "unsigned": "numeric(20,0)", "money_like": "numeric(38,10)", "unconstrained": "numeric", "double": "double precision", "single": "real",
    "flag": "boolean", "note": "text", "short": "character varying(3)", "padded": "character(3)", "day": "date", "local": LOCAL,
    "instant": INSTANT, "clock": "time without time zone", "zoned_clock": "time with time zone", "span": "interval", "raw": "bytea",
    "numbers": "integer[]", "words": "text[]", "json_text": "json", "json_binary": "jsonb", "key": "uuid", "mood_of": "text",
    "positive_of": "integer", "address": "inet", "bits": "bit(3)",
}  # fmt: skip
SQLITE_TYPES = {
    "unsigned": "bigint", "unsigned_text": "text", "money_like": "numeric", "whole_money": "numeric", "digits": "text",
    "double": "double precision", "minus_zero": "bytea", "flag": "bigint", "note": "text", "nul_byte": "text", "day": "text",
    "local": "text", "raw": "bytea",
    "json_text": "text",
}  # fmt: skip
DUCKDB_TYPES = {
    "tinyint": "smallint", "unsigned": "numeric(20,0)", "unsigned_integer": "bigint", "unsigned_tinyint": "smallint",
    "huge": "numeric(39,0)", "unsigned_huge": "numeric(39,0)", "money_like": "numeric(38,10)", "small_money": "numeric(4,1)",
    "double": "double precision", "single": "real", "flag": "boolean", "note": "text", "day": "date", "local": LOCAL,
    "local_seconds": LOCAL, "local_nanoseconds": LOCAL, "instant": INSTANT, "clock": "time without time zone",
    "zoned_clock": "time with time zone", "span": "interval", "raw": "bytea", "numbers": "json", "pairs": "json", "words": "json",
    "structured": "json", "mapped": "json", "either": "json", "json_text": "json", "key": "uuid", "mood_of": "text", "bits": "bit varying",
}  # fmt: skip
# SQLite: no type was declared; or the values are of another kind than the declared type, or of none that PostgreSQL can store.
UNTYPED = {"undeclared", "whole_and_broken", "large_and_broken", "all_kinds"}
OTHER_KIND = {("sqlite", "unsigned"), ("sqlite", "minus_zero"), ("sqlite", "nul_byte"), ("duckdb", "local_nanoseconds")}
CASES = [
    pytest.param(kind, case, types.get(case.name, case.name), id=f"{kind}-{case.name}")
    for kind, cases, types in (
        ("postgresql", POSTGRESQL, POSTGRESQL_TYPES), ("sqlite", SQLITE, SQLITE_TYPES), ("duckdb", DUCKDB, DUCKDB_TYPES),
    )
    for case in cases
    if not (kind == "sqlite" and case.name in UNTYPED)
]  # fmt: skip
STORABLE = [case for case in CASES if (case.values[0], case.values[1].name) not in OTHER_KIND]

NAME = 'Odd % "Name"'
QUOTED = '"Odd % ""Name"""'
COMMENTS = [f"COMMENT ON TABLE other.{QUOTED} IS 'It''s odd'", f"COMMENT ON COLUMN other.{QUOTED}.b IS 'B: 100 %'"]
KEY = 'PRIMARY KEY ("A %", b)'
REST = "c {} DEFAULT 0, twice int GENERATED ALWAYS AS (b * 2)"
DESCRIBED = {
    "postgresql": [
        "CREATE DOMAIN code AS varchar(3) NOT NULL",
        "CREATE SCHEMA other",
        f'CREATE TABLE other.{QUOTED} (b int, "A %" code, d code, {REST.format("numeric(9,2)")} STORED, {KEY})',
        *COMMENTS,
    ],
    "sqlite": [
        f'CREATE TABLE {QUOTED} (b int NOT NULL, "A %" varchar(3) NOT NULL, d varchar(3) NOT NULL, '
        f"{REST.format('numeric(9,2)')} STORED, {KEY})",
    ],
    "duckdb": [
        "CREATE SCHEMA other",
        f'CREATE TABLE other.{QUOTED} (b int, "A %" varchar, d varchar NOT NULL, {REST.format("decimal(9,2)")}, {KEY})',
        *COMMENTS,
    ],
}


@pytest.fixture(scope="module")
def source_of(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], SqlResource]:
    """The three databases, each with a table per case and an odd one."""
    folder = tmp_path_factory.mktemp("columns")
    postgres_server.create_database("test_sql_columns")
    urls = {
        "postgresql": postgres_server.url("test_sql_columns"),
        "sqlite": f"sqlite:///{folder}/columns.db",
        "duckdb": f"duckdb:///{folder}/columns.duckdb",
    }
    address = make_url(urls["postgresql"]).set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
        _fill(cursor.execute, POSTGRESQL, DESCRIBED["postgresql"])
    with contextlib.closing(sqlite3.connect(folder / "columns.db")) as connection, connection:
        _fill(connection.execute, SQLITE, DESCRIBED["sqlite"])
    with duckdb.connect(str(folder / "columns.duckdb")) as connection:
        _fill(connection.execute, DUCKDB, DESCRIBED["duckdb"])
    return lambda kind: SqlResource(url=urls[kind], retry=NO_RETRY)


def _fill(execute: Callable[[str], Any], cases: tuple[Case, ...], more: list[str]) -> None:
    for statement in [*(statement for case in cases for statement in table_of(case)), *more]:
        execute(statement)


@pytest.fixture(scope="module")
def target(postgres_server: LocalPostgres) -> PostgresResource:
    """A PostgreSQL database to load into."""
    postgres_server.create_database("test_sql_columns_target")
    return PostgresResource(url=postgres_server.url("test_sql_columns_target"))


@pytest.mark.parametrize(("kind", "case", "type_"), CASES)
def test_a_column_has_the_type_that_holds_it(source_of: Callable[[str], SqlResource], kind: str, case: Case, type_: str) -> None:
    """Each type of a source is the PostgreSQL type that its values fit in; what only the source knows is text."""
    assert source_of(kind).columns(case.name).columns[1] == ColumnSpec(name="v", type=type_)


@pytest.mark.parametrize(("kind", "case", "type_"), STORABLE)
def test_rows_are_stored_in_those_columns(
    source_of: Callable[[str], SqlResource], target: PostgresResource, kind: str, case: Case, type_: str
) -> None:
    """What the connector reads, the loader stores in a table of these columns, and the values read back are the same."""
    source, name = source_of(kind), f"{kind}_{case.name}"
    load = LoadRequest(
        target=TableRef(schema="public", table=name),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset=f"public/{name}"),
        spec=source.columns(case.name),
    )
    target.write(source.read_table(case.name), load)
    # Arrays as text, as the connector gives them; the loader's own reading makes lists of them.
    text = "::text" if kind == "postgresql" and type_.endswith("[]") else ""
    back = target.read_query(f'SELECT v{text} AS v FROM public."{name}" ORDER BY place')["v"]
    if case.name == "span":  # PostgreSQL has words of its own for the same length of time
        assert as_stored(back) == SPAN.shown
    else:
        assert as_stored(back) == as_stored(source.read_query(f"SELECT v FROM {case.name} ORDER BY place")["v"])


(SPAN,) = [case for case in POSTGRESQL if case.name == "span"]


def as_stored(column: "pd.Series[Any]") -> list[str]:
    """The values of a column, numbers as decimals whatever type they have."""
    values = column.tolist()
    numbers = [isinstance(value, Decimal | int | float) and not isinstance(value, bool) and value == value for value in values]
    cells = zip(shown(values, str(column.dtype)), values, numbers, strict=True)
    return [str(Decimal(str(value))) if is_number else text.replace("float nan", "NULL") for text, value, is_number in cells]


@pytest.mark.parametrize(("kind", "name"), sorted(OTHER_KIND))
def test_rows_that_do_not_fit_are_refused(source_of: Callable[[str], SqlResource], target: PostgresResource, kind: str, name: str) -> None:
    """Values of another kind than the declared type, NUL in a text, and nanoseconds are an error of the load, never other values."""
    source = source_of(kind)
    load = LoadRequest(
        target=TableRef(schema="public", table=f"refused_{kind}_{name}"),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset="public/refused"),
        spec=source.columns(name),
    )
    with pytest.raises(UnstorableValueError):
        target.write(source.read_table(name), load)


@pytest.mark.parametrize("name", sorted(UNTYPED))
def test_a_column_without_a_type_is_refused(source_of: Callable[[str], SqlResource], name: str) -> None:
    """A column that SQLite may put anything into has no type: the error names it."""
    with pytest.raises(ConfigurationError, match="column v, sqlite type"):
        source_of("sqlite").columns(name)


ODD = TableSpec(
    columns=(
        ColumnSpec(name="b", type="integer", nullable=False, comment="B: 100 %"),
        ColumnSpec(name="A %", type="character varying(3)", nullable=False),
        ColumnSpec(name="d", type="character varying(3)", nullable=False),
        ColumnSpec(name="c", type="numeric(9,2)"),
        ColumnSpec(name="twice", type="integer"),
    ),
    primary_key=("A %", "b"),
    comment="It's odd",
)
EXPECTED = {
    "postgresql": ODD,
    "sqlite": TableSpec(
        columns=(
            ColumnSpec(name="b", type="bigint", nullable=False),
            ColumnSpec(name="A %", type="text", nullable=False),
            ColumnSpec(name="d", type="text", nullable=False),
            ColumnSpec(name="c", type="numeric"),
            ColumnSpec(name="twice", type="bigint"),
        ),
        primary_key=("A %", "b"),
    ),
    "duckdb": TableSpec(
        columns=(
            ODD.columns[0],
            ColumnSpec(name="A %", type="text", nullable=False),
            ColumnSpec(name="d", type="text", nullable=False),
            *ODD.columns[3:],
        ),
        primary_key=ODD.primary_key,
        comment=ODD.comment,
    ),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_table_is_described_as_its_catalog_has_it(source_of: Callable[[str], SqlResource], kind: str) -> None:
    """Order, NOT NULL, key in its own order, comments and computed columns are those of the table, whatever its name."""
    schema = None if kind == "sqlite" else "other"
    assert source_of(kind).columns(NAME, schema=schema) == EXPECTED[kind]


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_columns_are_those_that_are_read(source_of: Callable[[str], SqlResource], kind: str) -> None:
    """The names stand in the order of a read of the table."""
    source, schema = source_of(kind), None if kind == "sqlite" else "other"
    described = [column.name for column in source.columns(NAME, schema=schema).columns]
    assert described == list(source.read_table(NAME, schema=schema).columns)


@pytest.mark.parametrize("schema", [None, "nowhere"])
@pytest.mark.parametrize("kind", ["postgresql", "duckdb"])
def test_a_missing_table_is_an_error(source_of: Callable[[str], SqlResource], kind: str, schema: str | None) -> None:
    """A table that is not there, or whose schema is not, is an error."""
    with pytest.raises(SourceNotFoundError, match="there is no such table"):
        source_of(kind).columns("absent", schema=schema)


def test_sqlite_a_missing_table_is_an_error(source_of: Callable[[str], SqlResource]) -> None:
    """The same in SQLite, which has no schemas."""
    with pytest.raises(SourceNotFoundError, match="there is no such table"):
        source_of("sqlite").columns("absent")


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_view_has_columns_too(source_of: Callable[[str], SqlResource], kind: str, tmp_path: Path) -> None:
    """A view is described like a table, without a key."""
    if kind == "postgresql":
        url = source_of(kind).url
        address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with contextlib.closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE OR REPLACE VIEW a_view AS SELECT place, v FROM bigint")
    elif kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'a.db'}"
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
            connection.execute("CREATE TABLE bigint (place INTEGER PRIMARY KEY, v BIGINT)")
            connection.execute("CREATE VIEW a_view AS SELECT place, v FROM bigint")
    else:
        url = f"duckdb:///{tmp_path / 'a.duckdb'}"
        with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
            connection.execute("CREATE TABLE bigint (place INTEGER PRIMARY KEY, v BIGINT)")
            connection.execute("CREATE VIEW a_view AS SELECT place, v FROM bigint")
    described = SqlResource(url=url, retry=NO_RETRY).columns("a_view")
    assert ([column.name for column in described.columns], described.primary_key) == (["place", "v"], ())
