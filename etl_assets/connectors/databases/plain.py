"""Any database that SQLAlchemy has a dialect and a driver for: rows as the driver gives them, typed by their values.

SQL Server and Oracle come this way. That statements compile and types map for them is tested; they were never run here.

Not here: databases with a module of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from etl_assets.connectors.databases.reflection import reflected
from etl_assets.connectors.databases.session import Session, inferred_types, typed_frame
from etl_assets.errors import AuthenticationError, EtlError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets.loading.table import TableSpec
from etl_assets.postgres.connection import create_engine, redact_url
from etl_assets.postgres.copy_out import refuse_repeated_columns

_WHOLE_FETCH = 10_000
# Codes and words of SQL Server and Oracle, whose drivers put them into the text.
_LOST = ("40613", "40197", "08s01", "08001", "ora-03113", "ora-03114", "ora-12541", "ora-12170", "gone away", "connect", "locked")
_REFUSED = ("18456", "ora-01017", "access denied", "login failed")
_MISSING = ("ora-00942", "42s02", "invalid object name", "no such table", "doesn't exist")


class PlainDatabase:
    """A database reached through SQLAlchemy alone."""

    def __init__(self, url: URL) -> None:
        self._url = url

    @contextmanager
    def open(self) -> Iterator[Session]:
        """See `Database`."""
        engine: Engine = create_engine(self._url, pool_pre_ping=True)
        try:
            with engine.connect() as connection:
                yield PlainSession(connection)
        finally:
            engine.dispose()

    def explain(self, error: BaseException, where: str) -> EtlError:
        """See `Database`."""
        return explain_by_words(error, where)


class PlainSession:
    """Rows through a SQLAlchemy connection, streamed where the driver can."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def frames(self, statement: Any, *, rows: int | None, where: str) -> Iterator[pd.DataFrame]:
        """See `Session`; the types are those of the first frame, or of all rows where `rows` is None."""
        options = {"stream_results": rows is not None, "max_row_buffer": rows or _WHOLE_FETCH}
        with self._connection.execute(statement, execution_options=options) as result:
            names = list(result.keys())
            refuse_repeated_columns(names, where)
            types: Any = None
            while True:
                fetched = result.fetchmany(rows) if rows is not None else result.fetchall()
                if types is None:
                    types = inferred_types(list(zip(*fetched, strict=True)) or [()] * len(names))
                elif not fetched:
                    return
                yield typed_frame(names, fetched, types, where)
                if rows is None or len(fetched) < rows:
                    return

    def value(self, statement: Any) -> Any:
        """See `Session`."""
        return self._connection.execute(statement).scalar_one_or_none()

    def columns(self, table: str, schema: str | None, where: str) -> TableSpec:
        """See `Session`."""
        return reflected(self._connection, table, schema, where)


def explain_by_words(error: BaseException, where: str) -> EtlError:
    """An error by the words of its driver; what is not of SQLAlchemy or DB-API is raised again."""
    if isinstance(error, EtlError):
        return error
    if not isinstance(error, sa.exc.SQLAlchemyError):
        raise error
    said = redact_url(str(getattr(error, "orig", error)).splitlines()[0]).rstrip(".")
    lowered = said.lower()
    if any(words in lowered for words in _REFUSED):
        return AuthenticationError(where, f"the database refused the credentials ({said}).", "check user and password of the URL.")
    if any(words in lowered for words in _MISSING):
        return SourceNotFoundError(where, f"{said}.", "correct the name of the table.")
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) and any(words in lowered for words in _LOST):
        return SourceUnavailableError(where, f"{said}.", "check that the database runs and is reachable.")
    return SourceFormatError(where, f"the query cannot be answered ({said}).", "correct the query or the table.")


__all__ = ["PlainDatabase", "PlainSession", "explain_by_words"]
