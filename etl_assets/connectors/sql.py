"""Tables and queries of relational databases, with the types of the database.

    PostgreSQL      COPY TO STDOUT, exact and fast
    MySQL, MariaDB  PyMySQL, streamed and typed by the result's metadata
    SQLite          ADBC, or the standard library where a column holds values of several kinds
    DuckDB          its native client
    others          whatever SQLAlchemy has a dialect and an installed driver for

Sessions are read-only where the database can do that. Not here: how each database is read (`databases/`), which rows are new
(`incremental.py`), loading.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.engine import URL

from etl_assets.accounting import committed_watermarks, record_read, record_watermark
from etl_assets.connectors.databases.plain import PlainDatabase
from etl_assets.connectors.databases.postgresql import PostgresqlDatabase
from etl_assets.connectors.databases.session import Database, Session, SessionSettings
from etl_assets.connectors.incremental import Incremental, Window, highest, without_value
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError
from etl_assets.loading.table import TableSpec
from etl_assets.postgres.connection import normalise_url, show_url
from etl_assets.retry_settings import DATABASE_RETRY, Retry
from etl_assets.secrets import SECRET
from etl_assets.tls import CA_FILE_SAYS, TLS_SAYS, Tls, TlsSettings

logger = logging.getLogger(__name__)

# SQLAlchemy's false() is a bare 0 in Oracle, which knows no such condition.
_NEVER: sa.ColumnElement[bool] = sa.literal_column("1", sa.Integer) == sa.literal_column("0", sa.Integer)


class SqlResource(dg.ConfigurableResource["SqlResource"]):
    """One relational database to read from."""

    url: str = Field(
        description="dialect://user:password@host:port/database; give it as EnvVar, it holds the password.",
        json_schema_extra=SECRET,
    )
    application_name: str = Field(default="etl_assets", description="Shown by the server as the client's name.")
    statement_timeout_seconds: float = Field(default=600.0, description="Longest time of one query; 0 for no limit.")
    tls: Tls = Field(default="verified_remote", description=TLS_SAYS)
    tls_ca_file: str | None = Field(default=None, description=CA_FILE_SAYS)
    retry: Retry = Field(default=DATABASE_RETRY, description="How a query is tried again when the database is unreachable.")

    def read_table(
        self,
        table: str,
        *,
        schema: str | None = None,
        columns: Sequence[str] | None = None,
        incremental: Incremental | None = None,
        window: Window | None = None,
    ) -> pd.DataFrame:
        """The rows of a table, or of some of its columns.

        Args:
            table: Its name, as it is stored.
            schema: Its schema; None for the database's default.
            columns: Names of the columns to read; None for all.
            incremental: Only rows above the watermark committed with the last load of this asset.
            window: Only rows inside a window.

        Returns and raises: as `read_query`.
        """
        return self._read(self._table(table, schema, columns), incremental, window)

    def read_query(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        incremental: Incremental | None = None,
        window: Window | None = None,
    ) -> pd.DataFrame:
        """The rows of a query.

        Args:
            query: One SELECT; parameters written as `:name`.
            parameters: Their values, always bound.
            incremental: Only rows above the watermark committed with the last load of this asset.
            window: Only rows inside a window.

        Returns:
            One row per row of the query; integers beside NULLs as Int64, numeric as Decimal, text as `str`; RangeIndex.

        Raises:
            SourceUnavailableError, DatabaseUnavailableError: The database is unreachable after all attempts.
            AuthenticationError: The credentials were refused.
            ConfigurationError: Unknown dialect, host or database, a certificate that is not trusted; a parameter without value, or a
                value without parameter.
            SourceNotFoundError, SourceFormatError, DatabaseRefusedError: The query cannot be answered; the message says why.
        """
        return self._read(self._query(query, parameters), incremental, window)

    def read_table_batches(
        self,
        table: str,
        *,
        schema: str | None = None,
        columns: Sequence[str] | None = None,
        incremental: Incremental | None = None,
        window: Window | None = None,
        rows: int = 50_000,
    ) -> Iterator[pd.DataFrame]:
        """The rows of a table in frames of at most `rows` rows, all of the same types; memory does not grow with the table.

        At least one frame comes, an empty one for no rows. A failure before the first frame is tried again; one after it is raised,
        because rows have been handed out. Otherwise as `read_table`.
        """
        return self._read_batches(self._table(table, schema, columns), incremental, window, rows)

    def read_query_batches(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        incremental: Incremental | None = None,
        window: Window | None = None,
        rows: int = 50_000,
    ) -> Iterator[pd.DataFrame]:
        """The rows of a query in frames, as `read_table_batches` gives them."""
        return self._read_batches(self._query(query, parameters), incremental, window, rows)

    def columns(self, table: str, *, schema: str | None = None) -> TableSpec:
        """The columns of a table, as the catalog of its database has them.

        Args:
            table: Its name, as it is stored.
            schema: Its schema; None for the database's default.

        Returns:
            The columns in order, with whether they may be NULL, the comments, the primary key; in PostgreSQL types that hold the values
            exactly as `read_table` reads them.

        Raises:
            SourceNotFoundError: There is no such table.
            ConfigurationError: No PostgreSQL type is known for a column; the message names it.
            EtlError: As `read_query`.
        """
        reading = self._reading(self._table(table, schema, None), None, None)

        def look() -> TableSpec:
            with reading.errors(), reading.database.open() as session:
                return session.columns(table, schema, reading.where)

        return self.retry.policy().call(look, doing=f"looking at {reading.where}")

    # -- what is asked for ------------------------------------------------------------------------------------------

    def _table(self, table: str, schema: str | None, columns: Sequence[str] | None) -> "_Source":
        picked: list[Any] = [sa.column(name) for name in columns] if columns is not None else [sa.text("*")]
        return _Source(name=f"{schema}.{table}" if schema else table, picked=picked, origin=sa.table(table, schema=schema))

    def _query(self, query: str, parameters: Mapping[str, Any] | None) -> "_Source":
        try:
            # As a subquery it must not end with a semicolon, and the line break ends a comment in its last line.
            text = sa.text(query.rstrip("; \t\r\n") + "\n").bindparams(
                # Unique, so that a name goes together with those of bounds and limits.
                *(sa.bindparam(name, value, unique=True) for name, value in (parameters or {}).items())
            )
        except sa.exc.ArgumentError as error:
            raise ConfigurationError("query", f"{error.args[0]}.", "write it as `:name` in the query, or leave out its value.") from error
        return _Source(name="query", picked=[sa.text("*")], text=text)

    # -- reading ----------------------------------------------------------------------------------------------------

    def _read(self, source: "_Source", incremental: Incremental | None, window: Window | None) -> pd.DataFrame:
        reading = self._reading(source, incremental, window)

        def read() -> pd.DataFrame:
            with reading.errors(), reading.database.open() as session:
                (frame,) = session.frames(reading.plan(session), rows=None, where=reading.where)
                return frame

        frame = self.retry.policy().call(read, doing=f"reading {reading.where}")
        reading.report(len(frame))
        return frame

    def _read_batches(self, source: "_Source", incremental: Incremental | None, window: Window | None, rows: int) -> Iterator[pd.DataFrame]:
        if rows < 1:
            raise ConfigurationError(source.name, f"a batch has at least one row; given: rows={rows}.", "correct it.")
        reading = self._reading(source, incremental, window)

        def batches() -> Iterator[pd.DataFrame]:
            with reading.errors(), reading.database.open() as session:
                yield from session.frames(reading.plan(session), rows=rows, where=reading.where)

        def start() -> tuple[pd.DataFrame, Iterator[pd.DataFrame]]:
            opened = batches()
            return next(opened), opened

        first, rest = self.retry.policy().call(start, doing=f"reading {reading.where}")
        return _counted(reading, first, rest)

    def _reading(self, source: "_Source", incremental: Incremental | None, window: Window | None) -> "_Reading":
        url = normalise_url(self.url)
        where = f"{source.name} in {show_url(url)}"
        settings = SessionSettings(
            application_name=self.application_name,
            statement_timeout_seconds=self.statement_timeout_seconds,
            tls=TlsSettings(tls=self.tls, ca_file=self.tls_ca_file),
        )
        return _Reading(source, _database(url, settings, where), where, incremental, window)


class _Source:
    """A table or a query, and what is picked of it."""

    def __init__(self, *, name: str, picked: list[Any], origin: Any = None, text: Any = None) -> None:
        self.name = name
        self._picked = picked
        self._origin = origin
        self._text = text

    @property
    def origin(self) -> Any:
        """What conditions are put on: the table, or the query as a subquery."""
        return self._origin if self._text is None else self._text.columns().subquery("source")

    def statement(self, conditions: Sequence[sa.ColumnElement[bool]]) -> Any:
        """The statement that reads the rows that keep the conditions."""
        if self._text is not None and not conditions:
            return self._text
        return sa.select(*self._picked).select_from(self.origin).where(*conditions)


class _Reading:
    """One read of a source: which rows, from which database, and how far it got."""

    def __init__(self, source: _Source, database: Database, where: str, incremental: Incremental | None, window: Window | None) -> None:
        self.database = database
        self.where = where
        self._source = source
        self._incremental = incremental
        self._window = window
        self._committed = committed_watermarks().get(self._watermark) if incremental is not None else None
        self._reached: Any = None

    @property
    def _watermark(self) -> str:
        assert self._incremental is not None
        return self._incremental.name or f"{self._source.name} by {self._incremental.column}"

    @contextmanager
    def errors(self) -> Iterator[None]:
        """A block whose driver errors are this project's."""
        try:
            yield
        except EtlError:
            raise
        except Exception as error:
            raise self.database.explain(error, self.where) from error

    def plan(self, session: Session) -> Any:
        """The statement to run, after a look at how far it reaches."""
        conditions = [self._window.inside()] if self._window is not None else []
        incremental = self._incremental
        if incremental is None:
            return self._source.statement(conditions)
        origin, column, committed = self._source.origin, incremental.column, self._committed
        found: sa.ColumnClause[Any] = sa.column(column)
        if incremental.nulls == "fail":
            missing = session.value(without_value(origin, column, conditions))
            if missing:
                raise SourceFormatError(
                    self.where, f"{missing} rows have no {column}, so no watermark ever reaches them.",
                    'choose another column, or say nulls="skip" or nulls="include".',
                )  # fmt: skip
        above = incremental.above(incremental.lower(committed), committed=committed is not None)
        # What is read again counts for nothing here: only rows beyond the watermark move it.
        beyond = above if committed is None else [found > committed]
        reached = session.value(highest(origin, column, [*conditions, *beyond], incremental.most_rows))
        self._reached = committed if reached is None else reached
        new: sa.ColumnElement[bool] = _NEVER if self._reached is None else sa.and_(found <= self._reached, *above)
        if incremental.nulls == "include":
            new = sa.or_(new, found.is_(None))
        return self._source.statement([*conditions, new])

    def report(self, rows: int) -> None:
        """Tell the account what was read, and up to where."""
        record_read(self.where, rows)
        if self._incremental is not None and self._reached is not None:
            # Also one that stays: it says that the load only adds.
            record_watermark(self._watermark, self._reached)


def _counted(reading: _Reading, first: pd.DataFrame, rest: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    count = len(first)
    yield first
    for frame in rest:
        count += len(frame)
        yield frame
    reading.report(count)


def _database(url: URL, settings: SessionSettings, where: str) -> Database:
    # Clients that take long to import, 0.2 s of them in each process of each step, come only where they are needed.
    backend = url.get_backend_name()
    if backend == "postgresql":
        return PostgresqlDatabase(url, settings)
    if backend in ("mysql", "mariadb"):
        from etl_assets.connectors.databases.mysql import MysqlDatabase

        return MysqlDatabase(url, settings)
    if backend == "sqlite":
        from etl_assets.connectors.databases.sqlite import SqliteDatabase

        return SqliteDatabase(url, where)
    if backend == "duckdb":
        from etl_assets.connectors.databases.duckdb import DuckdbDatabase

        return DuckdbDatabase(url, where)
    return PlainDatabase(url)


__all__ = ["SqlResource"]
