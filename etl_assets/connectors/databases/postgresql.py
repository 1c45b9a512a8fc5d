"""PostgreSQL: `COPY TO STDOUT`, typed by the query itself, in a read-only session.

Not here: how COPY is parsed (`postgres/copy_out.py`), what SQLSTATEs mean (`postgres/connection.py`).
"""

import contextlib
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions
from sqlalchemy.engine import URL

from etl_assets.connectors.databases.reflection import of_postgresql
from etl_assets.connectors.databases.session import Session, SessionSettings, compile_statement
from etl_assets.errors import EtlError, SourceFormatError
from etl_assets.loading.table import TableSpec
from etl_assets.postgres.connection import explain_error, make_engine
from etl_assets.postgres.copy_out import stream_query


class PostgresqlDatabase:
    """A PostgreSQL database."""

    def __init__(self, url: URL, settings: SessionSettings) -> None:
        self._settings = settings
        self._url = settings.tls.for_libpq(url)

    @contextmanager
    def open(self) -> Iterator[Session]:
        """See `Database`."""
        engine = make_engine(
            self._url,
            application_name=self._settings.application_name,
            statement_timeout_seconds=self._settings.statement_timeout_seconds,
            read_only=True,
        )
        try:
            with engine.connect() as connection:
                for type_ in _DATES:
                    extensions.register_type(type_, connection.connection.driver_connection)
                yield _PostgresqlSession(connection)
        finally:
            engine.dispose()

    def explain(self, error: BaseException, where: str) -> EtlError:
        """See `Database`."""
        return explain_error(error, where=where, role="source")


class _PostgresqlSession:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def frames(self, statement: Any, *, rows: int | None, where: str) -> Iterator[pd.DataFrame]:
        text, bound = compile_statement(statement, self._connection.dialect, where)
        ended = False
        try:
            yield from stream_query(self._connection, text, bound or None, rows=rows, where=where)
            ended = True
        finally:
            if not ended:
                # The server would go on to the last row, and the end of the transaction wait for it.
                driver: Any = self._connection.connection.driver_connection
                with contextlib.suppress(psycopg2.Error):
                    driver.cancel()

    def value(self, statement: Any) -> Any:
        result: Any = self._connection.execute(statement)
        type_code = result.cursor.description[0].type_code
        value = result.scalar_one_or_none()
        if type_code == _REAL and value is not None:
            # The shortest digits of a real are another number as double precision, which they are compared in.
            (value,) = struct.unpack("f", struct.pack("f", value))
        return str(value) if isinstance(value, uuid.UUID) else value

    def columns(self, table: str, schema: str | None, where: str) -> TableSpec:
        return of_postgresql(self._connection, table, schema, where)


def _exact(type_: Any) -> Any:
    """A reader of dates that refuses what Python has no date for; psycopg2 makes 9999-12-31 of infinity."""

    def read(text: Any, cursor: Any) -> Any:
        try:
            if text is None or not text.endswith("infinity"):
                return type_(text, cursor)
        except (ValueError, OverflowError, psycopg2.DataError):
            pass
        raise SourceFormatError(
            "watermark", f"the highest value is {text}, which is no date that a watermark can hold.",
            "leave such rows out with a query, or choose another column.",
        )  # fmt: skip

    return extensions.new_type(type_.values, "DATE", read)


_DATES = [_exact(type_) for type_ in (extensions.PYDATE, extensions.PYDATETIME, extensions.PYDATETIMETZ)]
_REAL = 700

__all__ = ["PostgresqlDatabase"]
