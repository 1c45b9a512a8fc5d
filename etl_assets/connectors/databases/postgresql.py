"""PostgreSQL: `COPY TO STDOUT`, typed by the query itself, in a read-only session.

Not here: how COPY is parsed (`postgres/copy_out.py`), what SQLSTATEs mean (`postgres/connection.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import URL

from etl_assets.connectors.databases.session import Session, SessionSettings, compile_statement
from etl_assets.errors import EtlError
from etl_assets.postgres.connection import explain_error, make_engine
from etl_assets.postgres.copy_out import stream_query


class PostgresqlDatabase:
    """A PostgreSQL database."""

    def __init__(self, url: URL, settings: SessionSettings) -> None:
        self._settings = settings
        # Anything the URL says about TLS itself stands; without a word libpq would take an unverified or plain connection.
        if settings.verifies(url.host) and "sslmode" not in url.query:
            authorities = {} if "sslrootcert" in url.query else {"sslrootcert": settings.tls_ca_file or "system"}
            url = url.update_query_dict({"sslmode": "verify-full", **authorities})
        self._url = url

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
        return stream_query(self._connection, text, bound or None, rows=rows, where=where)

    def value(self, statement: Any) -> Any:
        return self._connection.execute(statement).scalar_one_or_none()


__all__ = ["PostgresqlDatabase"]
