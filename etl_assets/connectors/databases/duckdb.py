"""DuckDB through its native client, Arrow all the way: its SQLAlchemy dialect does not work with SQLAlchemy 2.1.

Types that Arrow or pandas would change come as text (intervals, bits, times with zone) or as JSON text (lists, structs, maps);
128-bit integers come as Decimal. The file is opened read-only, and nothing outside it can be read or loaded.

Not here: which rows are asked for (`sql.py`).
"""

import datetime
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
from sqlalchemy.dialects.postgresql.base import PGDialect, PGIdentifierPreparer
from sqlalchemy.engine import URL

from etl_assets.connectors.databases.reflection import of_duckdb
from etl_assets.connectors.databases.session import Session, compile_statement
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets.frames import arrow_to_series, decimals, in_tables
from etl_assets.loading.table import TableSpec
from etl_assets.postgres.copy_out import refuse_repeated_columns


class _Preparer(PGIdentifierPreparer):
    """Every name in quotes: DuckDB has reserved words of its own."""

    def _requires_quotes(self, value: str) -> bool:
        return True


class _Dialect(PGDialect):
    """DuckDB's SQL follows PostgreSQL's. No casts are written as for drivers of PostgreSQL: DuckDB's own types have other sizes."""

    preparer = _Preparer
    supports_statement_cache = True


# Its client binds by position.
_DIALECT: Any = _Dialect(paramstyle="qmark")  # type: ignore[no-untyped-call]
_BATCH_ROWS = 50_000
_AS_TEXT = ("INTERVAL", "BIT", "TIME WITH TIME ZONE", "TIME_NS", "BIGNUM", "VARINT")
_AS_NUMBER = ("HUGEINT", "UHUGEINT")
_AS_JSON = ("STRUCT", "MAP", "UNION", "VARIANT")


class DuckdbDatabase:
    """A DuckDB file."""

    def __init__(self, url: URL, where: str) -> None:
        self._file = Path(str(url.database)).absolute()
        if url.database in (None, "", ":memory:") or not self._file.is_file():
            raise SourceNotFoundError(where, "there is no such database file.", "correct the path, written duckdb:////absolute/file.")

    @contextmanager
    def open(self) -> Iterator[Session]:
        """See `Database`."""
        connection = duckdb.connect(str(self._file), read_only=True, config={"enable_external_access": "false"})
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield _DuckdbSession(connection)
        finally:
            connection.close()

    def explain(self, error: BaseException, where: str) -> EtlError:
        """See `Database`."""
        if isinstance(error, EtlError):
            return error
        # Arrow wraps what DuckDB says while rows are read.
        if not isinstance(error, duckdb.Error | pa.ArrowException | OSError):
            raise error
        said = str(error).splitlines()[0].rstrip(".")
        if isinstance(error, duckdb.IOException) and "lock" in said.lower():
            return SourceUnavailableError(where, f"another process writes the file ({said}).", "wait until it is closed, or read a copy.")
        if isinstance(error, duckdb.CatalogException):
            return SourceNotFoundError(where, f"{said}.", "correct the name of the table.")
        if isinstance(error, duckdb.IOException | duckdb.SerializationException):
            return SourceFormatError(where, f"the file cannot be read ({said}).", "check that it is a DuckDB file of a version known here.")
        if isinstance(error, duckdb.PermissionException | duckdb.InvalidInputException):
            return ConfigurationError(where, f"DuckDB refused ({said}).", "a source is only read; correct the query.")
        return SourceFormatError(where, f"the query cannot be answered ({said}).", "correct the query or the table.")


class _DuckdbSession:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def frames(self, statement: Any, *, rows: int | None, where: str) -> Iterator[pd.DataFrame]:
        text, bound = compile_statement(statement, _DIALECT, where)
        values = list(bound.values())
        described = self._connection.execute(f"DESCRIBE {text}", values).fetchall()
        types = {str(name): str(type_) for name, type_, *_ in described}
        refuse_repeated_columns([str(name) for name, *_ in described], where)
        result = self._connection.sql(_exact(text, types), params=values)
        reader = result.to_arrow_reader(rows or _BATCH_ROWS)
        if rows is None:
            yield _frame(reader.read_all(), types, where)
            return
        empty = True
        for table in in_tables(reader, rows):
            empty = False
            yield _frame(table, types, where)
        if empty:
            yield _frame(reader.schema.empty_table(), types, where)

    def value(self, statement: Any) -> Any:
        text, bound = compile_statement(statement, _DIALECT, "query")
        shown = f"SELECT value, CAST(value AS VARCHAR) FROM ({text}\n) AS found(value)"
        row = self._connection.execute(shown, list(bound.values())).fetchone()
        return None if row is None else _exact_value(*row)

    def columns(self, table: str, schema: str | None, where: str) -> TableSpec:
        return of_duckdb(self._connection, table, schema, where)


def _exact_value(value: Any, shown: str | None) -> Any:
    """What the client made of a value, refused where it is not the value: it makes 9999-12-31 of infinity and cuts nanoseconds."""
    if isinstance(value, uuid.UUID):
        return shown
    if isinstance(value, datetime.date) and shown is not None:
        fraction = shown.partition(".")[2]
        if "infinity" in shown or len(fraction.partition("+")[0].rstrip("0")) > 6:
            raise SourceFormatError(
                "watermark", f"the highest value is {shown}, which is no date that a watermark can hold.",
                "leave such rows out with a query, cast the column to TIMESTAMP, or choose another one.",
            )  # fmt: skip
    return value


def _exact(text: str, types: dict[str, str]) -> str:
    """The query with those columns cast that Arrow would change."""
    casts = []
    for name, type_ in types.items():
        quoted = _DIALECT.identifier_preparer.quote_identifier(name)
        if type_.endswith("]") or type_.startswith(_AS_JSON):
            casts.append(f"CAST(to_json({quoted}) AS VARCHAR) AS {quoted}")
        elif type_.startswith(_AS_TEXT + _AS_NUMBER):
            casts.append(f"CAST({quoted} AS VARCHAR) AS {quoted}")
    return f"SELECT * REPLACE ({', '.join(casts)}) FROM ({text}\n) AS source" if casts else text


def _frame(table: pa.Table, types: dict[str, str], where: str) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_dictionary(column.type) or pa.types.is_null(column.type):
            column = column.cast(pa.large_string())
        try:
            if types[name].startswith(_AS_NUMBER):
                columns[name] = decimals(column)
            else:
                columns[name] = arrow_to_series(column)
        except (pa.ArrowException, OverflowError, ValueError) as error:
            raise SourceFormatError(
                where,
                f"column {name!r} holds a value that pandas cannot hold exactly ({error}).",
                "cast that column to VARCHAR, in a query.",
            ) from error
    return pd.DataFrame(columns, columns=table.column_names, index=pd.RangeIndex(table.num_rows))


__all__ = ["DuckdbDatabase"]
