"""PostgreSQL, Arrow and pandas types."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

from etl_assets.local_postgres import LocalPostgres
from etl_assets.postgres.connection import make_engine
from etl_assets.postgres.types import arrow_type, arrow_type_for_reading, canonical_name, from_pandas_dtype


@pytest.fixture(scope="module")
def connection(postgres_server: LocalPostgres) -> Iterator[sa.Connection]:
    """A connection to ask PostgreSQL for the name of a type."""
    engine = make_engine(postgres_server.url("postgres"), application_name="test_types")
    with engine.connect() as one:
        yield one
    engine.dispose()


def printed(connection: sa.Connection, type_name: str) -> str:
    """The name that PostgreSQL prints for a column declared with this type."""
    try:
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE declared (v {type_name})")
        query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'declared'::regclass AND attname = 'v'"
        return str(connection.exec_driver_sql(query).scalar_one())
    finally:
        connection.rollback()


@pytest.mark.parametrize(
    "written",
    [
        "int2", "int4", "int", "int8", "INTEGER", " bigint ", "smallint", "float4", "float8",
        "real", "double precision", "bool", "text", "varchar", "varchar(20)", "character varying( 20 )", "VARCHAR (20)", "char(5)",
        "decimal", "decimal(12,2)", "numeric(12, 2)", "numeric ( 12 , 2 )", "NUMERIC(10)",
        "decimal(10)", "numeric", "timestamp", "timestamptz",
        "timestamp with time zone", "timestamp(3)", "timestamptz(3)", "time", "time(3)", "timetz", "date", "uuid", "json",
        "jsonb", "bytea", "interval", "int4[]", "text[]", "varchar(5)[]", "float",
        "char", "character", "bpchar", "bpchar(5)", '"char"', "char(5)[]", "int4[3][]", "numeric(10)[]", "timestamptz(3)[]",
        "timestamp (3) with time zone", "timestamp(3) without time zone", "timetz(3)", "time with time zone", "double  precision",
        "float(24)", "float(25)", "bit", "bit(3)", "bit varying(3)", "interval(3)", "numeric(3, -2)",
    ],
)  # fmt: skip
def test_a_written_type_is_named_as_postgresql_names_it(connection: sa.Connection, written: str) -> None:
    """The canonical name is what format_type prints."""
    assert canonical_name(written) == printed(connection, written)


@pytest.mark.parametrize("name", ["geometry(Point,4326)", "mood", "hstore"])
def test_an_unknown_type_keeps_its_name(name: str) -> None:
    """A name that nobody knows stays, in lower case."""
    assert canonical_name(name) == name.lower()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smallint", pa.int16()),
        ("integer", pa.int32()),
        ("bigint", pa.int64()),
        ("real", pa.float32()),
        ("double precision", pa.float64()),
        ("boolean", pa.bool_()),
        ("text", pa.large_string()),
        ("character varying", pa.large_string()),
        ("character varying(20)", pa.large_string()),
        ("character(5)", pa.large_string()),
        ('"char"', pa.large_string()),
        ("name", pa.large_string()),
        ("citext", pa.large_string()),
        ("json", pa.large_string()),
        ("jsonb", pa.large_string()),
        ("bytea", pa.large_binary()),
        ("uuid", pa.large_binary()),
        ("date", pa.date32()),
        ("time without time zone", pa.time64("us")),
        ("timestamp without time zone", pa.timestamp("us")),
        ("timestamp with time zone", pa.timestamp("us", tz="UTC")),
        ("interval", pa.duration("us")),
        ("numeric(12,2)", pa.decimal128(12, 2)),
        ("numeric(38,38)", pa.decimal128(38, 38)),
        ("numeric", None),
        ("numeric(39,2)", None),
        ("numeric(5,-2)", None),
        ("numeric(3,5)", None),
        ("integer[]", None),
        ("time with time zone", None),
        ("inet", None),
    ],
)
def test_the_arrow_type_of_a_type(name: str, expected: pa.DataType | None) -> None:
    """A type has the Arrow type that carries it exactly, or none."""
    assert arrow_type(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bigint", pa.int64()),
        ("numeric(12,2)", pa.decimal128(12, 2)),
        ("timestamp with time zone", pa.timestamp("us", tz="UTC")),
        ("uuid", pa.large_string()),
        ("bytea", pa.large_string()),
        ("interval", pa.large_string()),
        ("json", pa.large_string()),
        ("jsonb", pa.large_string()),
        ("numeric", pa.large_string()),
        ("integer[]", pa.large_string()),
        ("inet", pa.large_string()),
    ],
)
def test_the_arrow_type_for_reading_a_type(name: str, expected: pa.DataType) -> None:
    """A type whose text form Arrow does not parse exactly is read as text."""
    assert arrow_type_for_reading(name) == expected


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.dtype("int8"), "smallint"),
        (np.dtype("int16"), "smallint"),
        (np.dtype("int32"), "integer"),
        (np.dtype("int64"), "bigint"),
        (np.dtype("uint8"), "smallint"),
        (np.dtype("uint16"), "integer"),
        (np.dtype("uint32"), "bigint"),
        (np.dtype("uint64"), "numeric(20,0)"),
        (np.dtype("float32"), "real"),
        (np.dtype("float64"), "double precision"),
        (np.dtype("bool"), "boolean"),
        (np.dtype("datetime64[ns]"), "timestamp without time zone"),
        (np.dtype("timedelta64[ns]"), "interval"),
        (np.dtype("object"), None),
        (np.dtype("complex128"), None),
        (pd.Int8Dtype(), "smallint"),
        (pd.Int64Dtype(), "bigint"),
        (pd.UInt64Dtype(), "numeric(20,0)"),
        (pd.Float32Dtype(), "real"),
        (pd.Float64Dtype(), "double precision"),
        (pd.BooleanDtype(), "boolean"),
        (pd.StringDtype(), "text"),
        (pd.StringDtype(na_value=np.nan), "text"),
        (pd.CategoricalDtype(["a"]), "text"),
        (pd.DatetimeTZDtype(tz="UTC"), "timestamp with time zone"),
        (pd.ArrowDtype(pa.int64()), "bigint"),
        (pd.ArrowDtype(pa.large_string()), "text"),
        (pd.ArrowDtype(pa.string()), "text"),
        (pd.ArrowDtype(pa.bool_()), "boolean"),
        (pd.ArrowDtype(pa.date32()), "date"),
        (pd.ArrowDtype(pa.decimal128(12, 2)), "numeric(12,2)"),
        (pd.ArrowDtype(pa.timestamp("ns")), "timestamp without time zone"),
        (pd.ArrowDtype(pa.timestamp("us", tz="Europe/Berlin")), "timestamp with time zone"),
        (pd.ArrowDtype(pa.list_(pa.int64())), None),
    ],
    ids=str,
)
def test_the_type_of_a_pandas_dtype(dtype: Any, expected: str | None) -> None:
    """A dtype has the PostgreSQL type that stores it exactly, or none when it does not say."""
    assert from_pandas_dtype(dtype) == expected
