"""The PostgreSQL database that tables are kept in, as a Dagster resource usable in plain Python too.

Not here: how a load works (`writer.py`).
"""

import dataclasses
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg
import pandas as pd
import psycopg2
import sqlalchemy as sa
from psycopg2 import sql
from pydantic import Field
from sqlalchemy.engine import Connection, Engine

from etl_assets.errors import EtlError
from etl_assets.loading import session
from etl_assets.loading.dispositions import difference
from etl_assets.loading.ledger import read_watermarks
from etl_assets.loading.rows import Batches
from etl_assets.loading.sql import LAST_LOAD
from etl_assets.loading.table import LoadIdentity, LoadRequest, LoadResult, TableRef, TableSpec, WriteDisposition, read_disposition
from etl_assets.loading.writer import record_failure, spec_of_frame, write, write_batches
from etl_assets.postgres.connection import explain_error, make_engine
from etl_assets.postgres.copy_out import read_query, read_table, stream_table
from etl_assets.retry import RetryPolicy
from etl_assets.secrets import SECRET
from etl_assets.watermarks import Value, Watermark

Result = TypeVar("Result")


class PostgresResource(dg.ConfigurableResource["PostgresResource"]):
    """One PostgreSQL database to load into and to read from."""

    url: str = Field(
        description="postgresql://user:password@host:port/database; give it as EnvVar, it holds the password.",
        json_schema_extra=SECRET,
    )
    application_name: str = Field(default="etl_assets", description="Shown in pg_stat_activity.")
    statement_timeout_seconds: float = Field(default=3600.0, description="Longest time of one statement; 0 for no limit.")
    attempts: int = Field(default=4, description="Transactions tried in all, when PostgreSQL is unreachable or asks to retry.")

    def load(
        self,
        frame: pd.DataFrame,
        *,
        table: str,
        schema: str = "public",
        disposition: WriteDisposition | str = WriteDisposition.REPLACE,
        primary_key: Sequence[str] = (),
        watermarks: Mapping[str, Value] | None = None,
    ) -> LoadResult:
        """Bring the rows of a frame into a table, in one transaction with its ledger row and watermarks.

        Args:
            frame: The rows; the columns take the PostgreSQL types of their dtypes.
            table: Name of the table.
            schema: Its schema, made when missing.
            disposition: "replace", "append" or "merge".
            primary_key: Key columns; a merge needs them.
            watermarks: How far sources were read, for the asset `schema/table`: the next `watermarks()` returns them.

        Raises:
            ConfigurationError: The disposition is unknown.
            EtlError: As `writer.write`; the table is then as it was.
        """
        asset = f"{schema}/{table}"
        spec = dataclasses.replace(spec_of_frame(frame, where=asset), primary_key=tuple(primary_key))
        request = LoadRequest(
            target=TableRef(schema=schema, table=table),
            identity=LoadIdentity(load_id=uuid.uuid4(), asset=asset),
            spec=spec,
            disposition=read_disposition(disposition, asset),
            watermarks=tuple(Watermark(source=source, value=value) for source, value in (watermarks or {}).items()),
        )
        return self.write(frame, request)

    def write(self, frame: pd.DataFrame, request: LoadRequest) -> LoadResult:
        """Bring rows into a table as a request says; errors as `load`."""
        with self._engine() as engine:
            return write(engine, request, frame, policy=RetryPolicy(attempts=self.attempts))

    def write_batches(self, batches: Batches, request: LoadRequest) -> LoadResult:
        """Bring rows into a table batch by batch, in one transaction; errors as `load`."""
        with self._engine() as engine:
            return write_batches(engine, request, batches, policy=RetryPolicy(attempts=self.attempts))

    def watermarks(self, asset: str) -> dict[str, Value]:
        """How far each source of an asset such as "raw/orders" has been read and loaded; empty before the first load.

        Raises:
            EtlError: PostgreSQL cannot be reached or refuses.
        """
        with self._engine() as engine:
            return RetryPolicy(attempts=self.attempts).call(lambda: read_watermarks(engine, asset), doing=f"reading watermarks of {asset}")

    def rows_loaded(self, asset: str) -> int | None:
        """Rows of the last successful load of an asset; None before the first. Errors as `read_query`."""
        if not self.has_table("loads", schema="etl"):
            return None
        found = self.read_rows(LAST_LOAD, {"asset": asset})
        return int(found[0][0]) if found else None

    def difference(self, table: TableRef, spec: TableSpec) -> str:
        """How a table differs from a shape, in words; "" when it does not, or is not there. Errors as `read_query`."""

        def read(connection: Connection) -> str:
            existing = session.columns(session.cursor(connection), table)
            return "" if existing is None else difference(existing, spec)

        return self._read(read, str(table))

    def reject(self, request: LoadRequest, error: EtlError) -> None:
        """Record a load that a contract's gate refused, with its rejected rows; the table is not touched."""
        with self._engine() as engine:
            record_failure(engine, request, error, seconds=0.0, keep_rejected=True)

    def read_table(self, table: str, *, schema: str = "public", columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows of a table, exactly; see `postgres.copy_out.read_query` for types.

        Raises:
            EtlError: The table or a column does not exist, or PostgreSQL cannot be reached.
        """
        where = f"{schema}.{table}"
        return self._read(lambda connection: read_table(connection, schema, table, columns, where=where), where)

    def read_table_batches(
        self, table: str, *, schema: str = "public", columns: Sequence[str] | None = None, rows: int = 50_000
    ) -> Iterator[pd.DataFrame]:
        """All rows of a table in frames of at most `rows`; memory does not grow with it. Errors as `read_table`."""
        where = f"{schema}.{table}"
        with self._engine() as engine:
            try:
                with engine.connect() as connection:
                    yield from stream_table(connection, schema, table, columns, rows=rows, where=where)
            except EtlError:
                raise
            except (sa.exc.SQLAlchemyError, psycopg2.Error) as error:
                raise explain_error(error, where=where, role="source") from error

    def read_query(self, query: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """All rows of a query, exactly; parameters are written `%(name)s`.

        Raises:
            EtlError: PostgreSQL cannot answer the query or cannot be reached.
        """
        return self._read(lambda connection: read_query(connection, query, parameters, where="query"), "query")

    def read_composed(self, query: sql.Composed) -> pd.DataFrame:
        """All rows of a query whose names were quoted by `psycopg2.sql`; errors as `read_query`."""
        return self._read(lambda connection: read_query(connection, query.as_string(_driver(connection)), where="query"), "query")

    def read_rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
        """The rows of a small query as the driver gives them; parameters are written `%(name)s`. Errors as `read_query`."""

        def read(connection: Connection) -> list[Any]:
            with _driver(connection).cursor() as cursor:
                cursor.execute(query, parameters)
                return list(cursor.fetchall())

        return self._read(read, "query")

    def has_table(self, table: str, *, schema: str = "public") -> bool:
        """Whether a table is there; errors as `read_query`."""
        (row,) = self.read_rows(
            "SELECT to_regclass(quote_ident(%(schema)s) || '.' || quote_ident(%(table)s)) IS NOT NULL", {"schema": schema, "table": table}
        )
        return bool(row[0])

    def _read(self, read: Callable[[Connection], Result], where: str) -> Result:
        def attempt() -> Result:
            try:
                with engine.connect() as connection:
                    return read(connection)
            except Exception as error:
                explained = explain_error(error, where=where, role="source")
                if explained is error:
                    raise
                raise explained from error

        with self._engine() as engine:
            return RetryPolicy(attempts=self.attempts).call(attempt, doing=f"reading {where}")

    @contextmanager
    def _engine(self) -> Iterator[Engine]:
        engine = make_engine(self.url, application_name=self.application_name, statement_timeout_seconds=self.statement_timeout_seconds)
        try:
            yield engine
        finally:
            engine.dispose()


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


__all__ = ["PostgresResource"]
