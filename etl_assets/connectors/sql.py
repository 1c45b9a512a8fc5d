"""Tables and queries of relational databases, with the types of the database.

PostgreSQL is read by `COPY TO STDOUT` (exact and fast), SQLite through SQLAlchemy; other dialects that SQLAlchemy has installed
take the same plain path. Sessions are read-only where the database can do that.

Not here: loading.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.engine import URL, Engine

from etl_assets.accounting import record_read
from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    EtlError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from etl_assets.frames import arrow_to_series
from etl_assets.postgres.connection import create_engine, explain_error, make_engine, normalise_url, redact_url, show_url
from etl_assets.postgres.copy_out import read_query, refuse_repeated_columns
from etl_assets.retry import RetryPolicy


class SqlResource(dg.ConfigurableResource["SqlResource"]):
    """One relational database to read from."""

    url: str = Field(
        description="dialect://user:password@host:port/database; give it as EnvVar, it holds the password.",
        json_schema_extra={"dagster__is_secret": True},
    )
    application_name: str = Field(default="etl_assets", description="Shown by the server as the client's name (PostgreSQL).")
    statement_timeout_seconds: float = Field(default=600.0, description="Longest time of one query (PostgreSQL); 0 for no limit.")
    attempts: int = Field(default=4, description="Calls of one query in all, when the database is unreachable.")

    def read_table(self, table: str, *, schema: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows of a table, or of some of its columns; see `read_query` for types and errors."""
        picked: list[Any] = [sa.column(name) for name in columns] if columns is not None else [sa.text("*")]
        return self._read(sa.select(*picked).select_from(sa.table(table, schema=schema)), source=f"{schema}.{table}" if schema else table)

    def read_query(self, query: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """All rows of a query.

        Args:
            query: One SELECT; parameters written as `:name`.
            parameters: Their values, always bound.

        Returns:
            One row per row of the query; integers beside NULLs as Int64, numeric as Decimal, text as `str`; RangeIndex.

        Raises:
            SourceUnavailableError, DatabaseUnavailableError: The database is unreachable after all attempts.
            AuthenticationError: The credentials were refused.
            ConfigurationError: Unknown dialect, host or database; a parameter without value, or a value without parameter.
            SourceNotFoundError, SourceFormatError, DatabaseRefusedError: The query cannot be answered; the message says why.
        """
        try:
            statement = sa.text(query).bindparams(**dict(parameters or {}))
        except sa.exc.ArgumentError as error:
            raise ConfigurationError("query", f"{error.args[0]}.", "write it as `:name` in the query, or leave out its value.") from error
        return self._read(statement, source="query")

    def _read(self, statement: Any, *, source: str) -> pd.DataFrame:
        url = normalise_url(self.url)
        where = f"{source} in {show_url(url)}"
        engine = self._engine(url, where)

        def read() -> pd.DataFrame:
            try:
                with engine.connect() as connection:
                    if url.get_backend_name() != "postgresql":
                        return _read_plain(connection, statement, where)
                    return _read_postgres(connection, statement, where)
            except Exception as error:
                raise _explain(error, url, where) from error

        try:
            frame = RetryPolicy(attempts=self.attempts).call(read, doing=f"reading {where}")
        finally:
            engine.dispose()
        record_read(where, len(frame))
        return frame

    def _engine(self, url: URL, where: str) -> Engine:
        backend = url.get_backend_name()
        if backend == "postgresql":
            return make_engine(
                url, application_name=self.application_name, statement_timeout_seconds=self.statement_timeout_seconds, read_only=True
            )
        if backend == "sqlite" and url.database not in (None, "", ":memory:"):
            file = Path(str(url.database)).absolute()
            if not file.is_file():
                # SQLite would make an empty database and then miss the table.
                raise SourceNotFoundError(where, "there is no such database file.", "correct the path in the URL.")
            return sa.create_engine(
                "sqlite://", creator=lambda: sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True), poolclass=sa.NullPool
            )
        return create_engine(url, pool_pre_ping=True)


def _read_postgres(connection: sa.Connection, statement: Any, where: str) -> pd.DataFrame:
    compiled = statement.compile(dialect=connection.dialect)
    try:
        bound: Mapping[str, Any] = compiled.construct_params(_check=True)
    except sa.exc.InvalidRequestError as error:
        raise ConfigurationError(
            where, f"{error.args[0]}.", "give the parameter a value; a colon that is text is written `\\:`."
        ) from error
    # The dialect doubles every % for psycopg2, which undoes it only when there are parameters.
    text = str(compiled) if bound else str(compiled) % ()
    return read_query(connection, text, bound or None, where=where)


def _read_plain(connection: sa.Connection, statement: Any, where: str) -> pd.DataFrame:
    result = connection.execute(statement)
    names = list(result.keys())
    refuse_repeated_columns(names, where)
    rows = result.fetchall()
    return pd.DataFrame(
        {place: _series([row[place] for row in rows]) for place in range(len(names))}, index=pd.RangeIndex(len(rows))
    ).set_axis(names, axis=1)


def _series(values: Sequence[Any]) -> pd.Series:
    """A typed column when all values are of one type, else the values as they are."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds == {bool} or kinds == {float} or kinds == {str}:
        try:
            array = pa.array(values, type=None if kinds else pa.large_string())
            return arrow_to_series(pa.chunked_array([array]))
        except (pa.ArrowInvalid, OverflowError):
            pass  # an integer beyond 64 bits stays a Python integer
    return pd.Series(list(values), dtype=object)


def _explain(error: Exception, url: URL, where: str) -> EtlError:
    if isinstance(error, EtlError):
        return error
    if url.get_backend_name() == "postgresql":
        return explain_error(error, where=where, role="source")
    said = redact_url(str(getattr(error, "orig", error)).splitlines()[0])
    lowered = said.lower()
    if "no such table" in lowered or "doesn't exist" in lowered:
        return SourceNotFoundError(where, f"{said}.", "correct the name of the table.")
    if "access denied" in lowered:
        return AuthenticationError(where, f"{said}.", "check user and password of the URL.")
    if isinstance(error, sa.exc.OperationalError) and ("locked" in lowered or "connect" in lowered or "gone away" in lowered):
        return SourceUnavailableError(where, f"{said}.", "check that the database runs and is reachable.")
    return SourceFormatError(where, f"the query cannot be answered ({said}).", "correct the query or the table.")


__all__ = ["SqlResource"]
