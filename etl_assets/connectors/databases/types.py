"""Which PostgreSQL type stores a column of another database: the one that the loader can put the connector's values into, exactly.

The same name means another thing in each database: INTEGER has 32 bits in SQL Server, 64 in SQLite, 38 digits in Oracle; DATE has a
time in Oracle; a date is text in SQLite. Hence the dialect. Digits of a second beyond the sixth are cut by the drivers of SQL Server
and Oracle, and PostgreSQL keeps six.

Not here: reading the columns of a table (`reflection.py`).
"""

import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle
from sqlalchemy.types import TypeEngine

from etl_assets.errors import ConfigurationError

_Rule = str | Callable[[Any], str]
_LOCAL = "timestamp without time zone"
_INSTANT = "timestamp with time zone"


def _digits(type_: Any) -> str:
    if type_.precision is None:
        return "numeric"
    scale = type_.scale or 0
    # Digits before the point that are always zero, or behind it where there are more of those than digits.
    precision = type_.precision - scale if scale < 0 else max(type_.precision, scale)
    return f"numeric({precision},{max(scale, 0)})"


def _oracle_number(type_: Any) -> str:
    if type_.precision is not None and type_.scale == 0 and type_.precision <= 18:
        return "smallint" if type_.precision <= 4 else "integer" if type_.precision <= 9 else "bigint"
    return _digits(type_)


def _bits(type_: Any) -> str:
    return "real" if type_.precision is not None and type_.precision <= 24 else "double precision"


def _zoned(type_: Any) -> str:
    return _INSTANT if type_.timezone or getattr(type_, "local_timezone", False) else _LOCAL


def _clock(type_: Any) -> str:
    return "time with time zone" if type_.timezone else "time without time zone"


def _signed(signed: str, unsigned: str) -> Callable[[Any], str]:
    return lambda type_: unsigned if type_.unsigned else signed


def _mysql_bits(type_: Any) -> str:
    return "bigint" if (type_.length or 1) < 64 else "numeric(20,0)"


# By class, the nearest one of a type's own counts. What is the same everywhere comes first.
_GENERIC: dict[type[TypeEngine[Any]], _Rule] = {
    sa.SmallInteger: "smallint",
    sa.Integer: "bigint",
    sa.BigInteger: "bigint",
    sa.Boolean: "boolean",
    sa.Numeric: _digits,
    sa.Float: _bits,
    sa.Double: "double precision",
    sa.REAL: "double precision",
    sa.String: "text",
    sa.Enum: "text",
    sa.Date: "date",
    sa.DateTime: _zoned,
    sa.Time: _clock,
    sa.Interval: "interval",
    sa.LargeBinary: "bytea",
    sa.BINARY: "bytea",
    sa.VARBINARY: "bytea",
    sa.Uuid: "uuid",
    sa.JSON: "json",
}
_OF_DIALECT: dict[str, dict[type[TypeEngine[Any]], _Rule]] = {
    # A type binds no value, so these are what the connector reads where all values are of the usual kind.
    "sqlite": {
        sa.Integer: "bigint", sa.SmallInteger: "bigint", sa.Boolean: "bigint", sa.Numeric: "numeric", sa.Float: "double precision",
        sa.Date: "text", sa.DateTime: "text", sa.Time: "text", sa.JSON: "text",
    },
    "mysql": {
        mysql.TINYINT: "smallint",
        mysql.SMALLINT: _signed("smallint", "integer"),
        mysql.MEDIUMINT: "integer",
        mysql.INTEGER: _signed("integer", "bigint"),
        mysql.BIGINT: _signed("bigint", "numeric(20,0)"),
        mysql.BIT: _mysql_bits,
        mysql.YEAR: "smallint",
        mysql.FLOAT: "real",
        mysql.DOUBLE: "double precision",
        mysql.DATETIME: _LOCAL,
        mysql.TIMESTAMP: _INSTANT,
        mysql.TIME: "interval",
        mysql.TINYBLOB: "bytea",
        mysql.MEDIUMBLOB: "bytea",
        mysql.LONGBLOB: "bytea",
    },
    "mssql": {
        mssql.BIT: "boolean",
        mssql.TINYINT: "smallint",
        sa.Integer: "integer",
        sa.SmallInteger: "smallint",
        sa.BigInteger: "bigint",
        mssql.MONEY: "numeric(19,4)",
        mssql.SMALLMONEY: "numeric(10,4)",
        mssql.REAL: "real",
        mssql.DATETIMEOFFSET: _INSTANT,
        mssql.TIME: "time without time zone",
        mssql.TIMESTAMP: "bytea",
        mssql.ROWVERSION: "bytea",
        mssql.XML: "text",
    },
    "oracle": {
        oracle.NUMBER: _oracle_number,
        sa.Integer: "numeric(38,0)",
        # FLOAT and its kin are decimal numbers there.
        sa.Float: "numeric",
        sa.Double: "numeric",
        sa.REAL: "numeric",
        oracle.BINARY_FLOAT: "real",
        oracle.BINARY_DOUBLE: "double precision",
        oracle.DATE: _LOCAL,
        oracle.INTERVAL: "interval",
        oracle.RAW: "bytea",
        oracle.ROWID: "text",
    },
}  # fmt: skip
_OF_DIALECT["mariadb"] = _OF_DIALECT["mysql"]
_UNKNOWN: tuple[type[TypeEngine[Any]], ...] = (oracle.BFILE, oracle.VECTOR, mssql.SQL_VARIANT, sa.ARRAY)

_DUCKDB = {
    "TINYINT": "smallint", "SMALLINT": "smallint", "UTINYINT": "smallint", "INTEGER": "integer", "USMALLINT": "integer",
    "BIGINT": "bigint", "UINTEGER": "bigint", "UBIGINT": "numeric(20,0)", "HUGEINT": "numeric(39,0)", "UHUGEINT": "numeric(39,0)",
    "BIGNUM": "numeric", "VARINT": "numeric", "FLOAT": "real", "DOUBLE": "double precision", "BOOLEAN": "boolean", "VARCHAR": "text",
    "BLOB": "bytea", "BIT": "bit varying", "UUID": "uuid", "DATE": "date", "TIME": "time without time zone",
    "TIME WITH TIME ZONE": "time with time zone", "TIME_NS": "text", "TIMESTAMP": _LOCAL, "TIMESTAMP_S": _LOCAL, "TIMESTAMP_MS": _LOCAL,
    "TIMESTAMP_NS": _LOCAL, "TIMESTAMP WITH TIME ZONE": _INSTANT, "INTERVAL": "interval", "JSON": "json", "VARIANT": "json",
}  # fmt: skip


def postgresql_type(type_: TypeEngine[Any], dialect: str = "") -> str:
    """The PostgreSQL type for a type that SQLAlchemy reflected, as `format_type` prints it.

    Args:
        type_: The type.
        dialect: Name of the dialect that reflected it; without one the widest type counts that it may mean.

    Raises:
        ConfigurationError: No PostgreSQL type is known to store its values exactly.
    """
    rules = {**_GENERIC, **_OF_DIALECT.get(dialect, {})}
    for class_ in type(type_).__mro__:
        if class_ in _UNKNOWN:
            break
        rule = rules.get(class_)
        if rule is not None:
            return rule if isinstance(rule, str) else rule(type_)
    raise _unknown(f"{dialect or 'SQL'} type {type_!r}")


def postgresql_type_of_duckdb(name: str) -> str:
    """The PostgreSQL type for a type of DuckDB, named as DuckDB prints it; lists and structures are read as JSON.

    Raises:
        ConfigurationError: It is unknown.
    """
    if name.endswith("]") or name.startswith(("STRUCT", "MAP", "UNION")):
        return "json"
    if name.startswith("ENUM"):
        return "text"
    decimal = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", name)
    found = f"numeric({decimal[1]},{decimal[2]})" if decimal else _DUCKDB.get(name)
    if found is None:
        raise _unknown(f"DuckDB type {name}")
    return found


def _unknown(shown: str) -> ConfigurationError:
    return ConfigurationError(
        shown, "no PostgreSQL type is known that stores its values exactly.", "name the columns, or cast that one to text in a query."
    )


__all__ = ["postgresql_type", "postgresql_type_of_duckdb"]
