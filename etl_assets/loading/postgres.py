"""The PostgreSQL database that tables are kept in, as a Dagster resource usable in plain Python too.

Not here: how a load works (`writer.py`).
"""

import dataclasses
import functools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import dagster as dg
import pandas as pd
import psycopg2
import pyarrow as pa
import sqlalchemy as sa
from psycopg2 import sql
from pydantic import Field
from sqlalchemy.engine import Connection, Engine

from etl_assets.errors import ConfigurationError, EtlError
from etl_assets.loading import session
from etl_assets.loading.given import Frames, as_frames
from etl_assets.loading.ledger import read_watermarks
from etl_assets.loading.options import WriteDisposition, WriteOptions, read_disposition
from etl_assets.loading.partitions import Partition
from etl_assets.loading.preparation import Plan, planned, prepare
from etl_assets.loading.rows import KeptRefusals, Rows
from etl_assets.loading.selection import Selection
from etl_assets.loading.sql import BROKEN_RULES, LAST_LOAD
from etl_assets.loading.table import LoadIdentity, LoadRequest, LoadResult, TableRef, TableSpec
from etl_assets.loading.writer import Patience, record_failure, spec_of_frame, write
from etl_assets.postgres.connection import explain_error, make_engine, normalise_url
from etl_assets.postgres.copy_out import read_arrow, read_query, stream_query
from etl_assets.retry_settings import LOAD_RETRY, Retry
from etl_assets.secrets import SECRET
from etl_assets.tls import CA_FILE_SAYS, TLS_SAYS, Tls, TlsSettings
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
    lock_timeout_seconds: float = Field(
        default=60.0, description="Longest wait for a lock that a reader holds on the table; 0 for no limit."
    )
    queue_timeout_seconds: float = Field(
        default=3600.0, description="Longest wait for another load of the same table to end; 0 for no limit."
    )
    tls: Tls = Field(default="verified_remote", description=TLS_SAYS)
    tls_ca_file: str | None = Field(default=None, description=CA_FILE_SAYS)
    retry: Retry = Field(default=LOAD_RETRY, description="How a transaction is tried again when PostgreSQL is unreachable or asks to.")

    def load(
        self,
        rows: Frames,
        *,
        table: str,
        schema: str = "public",
        disposition: WriteDisposition | str | None = None,
        primary_key: Sequence[str] = (),
        partition: Partition | Mapping[str, Any] | None = None,
        options: WriteOptions | None = None,
        watermarks: Mapping[str, Value] | None = None,
        most_quarantined: float = 0.0,
        load_id: uuid.UUID | None = None,
    ) -> LoadResult:
        """Bring rows into a table, in one transaction with their ledger row and watermarks.

        Args:
            rows: A frame, an Arrow table, or several of either: a list, or a function that makes an iterator. Columns take the
                PostgreSQL types of the first one's dtypes. An iterator that can be read only once cannot be loaded again after a
                transient failure.
            table: Name of the table.
            schema: Its schema, made when missing.
            disposition: "replace", "append", "merge" or "replace_partition"; None for "replace".
            primary_key: Key columns; a merge needs them.
            partition: Rows that a replace_partition replaces: values by column or expression, such as `{"day": "2013-01-01"}`.
            options: Everything about how rows are written, instead of `disposition` and `primary_key`: `WriteOptions(...)`.
            watermarks: How far sources were read, for the asset `schema/table`: the next `watermarks()` returns them.
            most_quarantined: Largest share of rows, 0 to 1, that may go to the quarantine because PostgreSQL cannot store them.
            load_id: Of this delivery; a second call with it finds the first one's rows and loads nothing. None for a new one.

        Raises:
            ConfigurationError: An option is unknown, or contradicts another.
            EtlError: As `writer.write`; the table is then as it was.
        """
        asset = f"{schema}/{table}"
        if options is not None and (disposition is not None or primary_key or not isinstance(options, WriteOptions)):
            raise ConfigurationError(
                asset, "options are WriteOptions, and say disposition and primary_key themselves.",
                'write options=WriteOptions(disposition="append", ...), or leave options out.',
            )  # fmt: skip
        chosen = read_disposition(disposition or WriteDisposition.REPLACE, asset)
        given = options or WriteOptions(disposition=chosen, primary_key=tuple(primary_key))
        given.refuse_contradictions(asset)
        if isinstance(most_quarantined, bool) or not 0 <= most_quarantined <= 1:
            raise ConfigurationError(asset, f"most_quarantined is a share from 0 to 1; given: {most_quarantined!r}.", "write 0.01 for 1 %.")
        replaced = partition if isinstance(partition, Partition) or partition is None else Partition.of(partition, where=asset)
        if (replaced is not None) != (given.disposition is WriteDisposition.REPLACE_PARTITION):
            raise ConfigurationError(
                asset, f"the disposition is {given.disposition.value}, and {'a' if replaced else 'no'} partition is named.",
                'say disposition="replace_partition" together with partition={"day": "2013-01-01"}.',
            )  # fmt: skip
        first, frames = as_frames(rows, asset)
        kept = KeptRefusals(frames, most=most_quarantined, where=asset)
        request = LoadRequest(
            target=TableRef(schema=schema, table=table),
            identity=LoadIdentity(
                load_id=load_id or uuid.uuid4(),
                asset=asset,
                partition=replaced.key if replaced else None,
                partition_keys=(replaced.key,) if replaced else (),
            ),
            spec=dataclasses.replace(spec_of_frame(first, where=asset), primary_key=given.primary_key),
            write=given,
            partition=replaced,
            watermarks=tuple(Watermark(source=source, value=value) for source, value in (watermarks or {}).items()),
        )
        return self.write(Rows(kept.frames, reception=kept) if most_quarantined else Rows(frames), request)

    def write(self, rows: Rows | pd.DataFrame, request: LoadRequest) -> LoadResult:
        """Bring rows into a table as a request says; without a shape it is that of the frame. Errors as `load`."""
        if isinstance(rows, pd.DataFrame):
            frame = rows
            if request.spec is None:
                request = dataclasses.replace(request, spec=spec_of_frame(frame, where=request.identity.asset))
            rows = Rows(lambda: [frame])
        patience = Patience(lock_seconds=self.lock_timeout_seconds, queue_seconds=self.queue_timeout_seconds, retry=self.retry.policy())
        with self._engine() as engine:
            return write(engine, request, rows, patience=patience)

    def plan(self, table: TableRef, spec: TableSpec, options: WriteOptions, *, where: str) -> Plan:
        """What a load would do to a table; changes nothing. Errors as `load`."""

        def read(connection: Connection) -> Plan:
            cursor = session.cursor(connection)
            exists = session.state(cursor, table) is not None
            prepared = prepare(cursor, table, spec, options, where=where)
            made = [] if session.has_schema(cursor, table.schema) else [sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(table.schema))]
            statements = tuple(statement.as_string(cursor) for statement in [*made, *planned(table, prepared, options)])
            return Plan(exists=exists, strategy=prepared.strategy, says=prepared.says, notes=prepared.notes, statements=statements)

        return self._read(read, str(table), role="target")

    def watermarks(self, asset: str) -> dict[str, Value]:
        """How far each source of an asset such as "raw/orders" has been read and loaded; empty before the first load.

        Raises:
            EtlError: PostgreSQL cannot be reached or refuses.
        """
        with self._engine() as engine:
            return self.retry.policy().call(lambda: read_watermarks(engine, asset), doing=f"reading watermarks of {asset}")

    def rows_loaded(self, asset: str, partition: str | None = None) -> int | None:
        """Rows of the last successful load of an asset, or of its partition; None before the first. Errors as `read_query`."""
        if not self.has_table("loads", schema="etl"):
            return None
        found = self.read_rows(LAST_LOAD, {"asset": asset, "partition": partition})
        return int(found[0][0]) if found else None

    def broken_rules(self, load_id: uuid.UUID) -> dict[str, int]:
        """Rows that a load put into the quarantine, by the rule they break. Errors as `read_query`."""
        return {str(rule): int(rows) for rule, rows in self.read_rows(BROKEN_RULES, {"load_id": str(load_id)})}

    def reject(self, request: LoadRequest, error: EtlError) -> None:
        """Record a load that a contract's gate refused, with its rejected rows; the table is not touched."""
        with self._engine() as engine:
            record_failure(engine, request, error, seconds=0.0, keep_rejected=True)

    def read_table(
        self,
        table: str,
        *,
        schema: str = "public",
        columns: Sequence[str] | None = None,
        partition: Partition | None = None,
        only_current: bool = False,
    ) -> pd.DataFrame:
        """The rows of a table, exactly; see `postgres.copy_out.read_query` for types.

        Args:
            table: Its name.
            schema: Its schema.
            columns: Names of the columns to read; None for all.
            partition: Only rows of this partition.
            only_current: Only versions that hold, of a table that keeps all (scd2), without their times.

        Raises:
            EtlError: The table or a column does not exist, or PostgreSQL cannot be reached.
        """
        selected = Selection(columns=columns, partition=partition, only_current=only_current)
        return self._read_selected(functools.partial(read_query, lists=True), selected, TableRef(schema=schema, table=table))

    def read_table_arrow(
        self,
        table: str,
        *,
        schema: str = "public",
        columns: Sequence[str] | None = None,
        partition: Partition | None = None,
        only_current: bool = False,
    ) -> pa.Table:
        """The rows of a table as an Arrow table, exactly; types without an Arrow counterpart as PostgreSQL's text. As `read_table`."""
        selected = Selection(columns=columns, partition=partition, only_current=only_current)
        return self._read_selected(read_arrow, selected, TableRef(schema=schema, table=table))

    def read_table_batches(
        self,
        table: str,
        *,
        schema: str = "public",
        columns: Sequence[str] | None = None,
        partition: Partition | None = None,
        only_current: bool = False,
        rows: int = 50_000,
    ) -> Iterator[pd.DataFrame]:
        """The rows of a table in frames of at most `rows`; memory does not grow with it. Otherwise as `read_table`."""
        where = f"{schema}.{table}"
        selected = Selection(columns=columns, partition=partition, only_current=only_current)
        with self._engine() as engine:
            try:
                with engine.connect() as connection:
                    query = selected.query(connection, TableRef(schema=schema, table=table), where)
                    yield from stream_query(connection, query, rows=rows, where=where, lists=True)
            except EtlError:
                raise
            except (sa.exc.SQLAlchemyError, psycopg2.Error) as error:
                raise explain_error(error, where=where, role="source") from error

    def read_query(self, query: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """All rows of a query, exactly; parameters are written `%(name)s`.

        Raises:
            EtlError: PostgreSQL cannot answer the query or cannot be reached.
        """
        return self._read(lambda connection: read_query(connection, query, parameters, where="query", lists=True), "query")

    def read_composed(self, query: sql.Composed) -> pd.DataFrame:
        """All rows of a query whose names were quoted by `psycopg2.sql`; errors as `read_query`."""
        return self._read(
            lambda connection: read_query(connection, query.as_string(_driver(connection)), where="query", lists=True), "query"
        )

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

    def _read_selected(self, read: Callable[..., Result], selected: Selection, table: TableRef) -> Result:
        where = str(table)
        return self._read(lambda connection: read(connection, selected.query(connection, table, where), where=where), where)

    def _read(self, read: Callable[[Connection], Result], where: str, *, role: Literal["source", "target"] = "source") -> Result:
        def attempt() -> Result:
            try:
                with engine.connect() as connection:
                    return read(connection)
            except Exception as error:
                explained = explain_error(error, where=where, role=role)
                if explained is error:
                    raise
                raise explained from error

        with self._engine() as engine:
            return self.retry.policy().call(attempt, doing=f"reading {where}")

    @contextmanager
    def _engine(self) -> Iterator[Engine]:
        url = TlsSettings(tls=self.tls, ca_file=self.tls_ca_file).for_libpq(normalise_url(self.url))
        engine = make_engine(url, application_name=self.application_name, statement_timeout_seconds=self.statement_timeout_seconds)
        try:
            yield engine
        finally:
            engine.dispose()


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


__all__ = ["PostgresResource"]
