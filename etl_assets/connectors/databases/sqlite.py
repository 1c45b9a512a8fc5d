"""SQLite: ADBC where all values of a column are of one kind, else the standard library; cell by cell the same.

SQLite types values, not columns: a column may hold 1, 1.5 and 'x'. A column of one kind is typed; a column of several keeps its values
as objects.

Not here: which rows are asked for (`sql.py`), ADBC (`sqlite_arrow.py`).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_manager
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL

from etl_assets.connectors.databases.reflection import reflected
from etl_assets.connectors.databases.session import Session, compile_statement, typed_frame
from etl_assets.connectors.databases.sqlite_arrow import by_place, frames_by_arrow, named_by_place
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets.loading.table import TableSpec
from etl_assets.postgres.copy_out import refuse_repeated_columns

_DIALECT: Any = sqlite.dialect()
_BINDABLE = (int, float, str, bytes)
_WAIT_SECONDS = 5
_FITS_FLOAT = "typeof({0}) = 'integer' AND {0} BETWEEN -9007199254740992 AND 9007199254740992"
# The kinds of value in a column, as a sum of bits.
_KINDS = (
    f"max(typeof({{0}}) = 'integer' AND NOT ({_FITS_FLOAT})) * 16 + max(typeof({{0}}) = 'integer') * 8 + max(typeof({{0}}) = 'real') * 4 "
    "+ max(typeof({0}) = 'text') * 2 + max(typeof({0}) = 'blob')"
)
_TYPE_OF_KINDS: dict[int, pa.DataType] = {
    0: pa.large_string(), 1: pa.large_binary(), 2: pa.large_string(), 4: pa.float64(), 8: pa.int64(), 24: pa.int64(), 12: pa.float64(),
}  # fmt: skip


class SqliteDatabase:
    """An SQLite file, opened read-only."""

    def __init__(self, url: URL, where: str) -> None:
        file = Path(str(url.database)).absolute()
        if url.database in (None, "", ":memory:") or not file.is_file():
            # SQLite would make an empty database and then miss the table.
            raise SourceNotFoundError(where, "there is no such database file.", "correct the path in the URL.")
        self._address = f"{file.as_uri()}?mode=ro"

    @contextmanager
    def open(self) -> Iterator[Session]:
        """See `Database`."""
        with closing(sqlite3.connect(self._address, uri=True, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
            yield _SqliteSession(connection, self._address)

    def explain(self, error: BaseException, where: str) -> EtlError:
        """See `Database`."""
        if isinstance(error, EtlError):
            return error
        if not isinstance(error, sqlite3.Error | OverflowError | adbc_driver_manager.Error | pa.ArrowException | OSError):
            raise error
        said = str(error).rstrip(".")
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return SourceUnavailableError(where, f"the database is locked ({said}).", "wait until its writer is done.")
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return SourceFormatError(where, f"the file is no readable database ({said}).", "have it delivered again.")
        if "no such table" in said:
            return SourceNotFoundError(where, f"{said}.", "correct the name of the table.")
        return SourceFormatError(where, f"the query cannot be answered ({said}).", "correct the query or the table.")


class _SqliteSession:
    def __init__(self, connection: sqlite3.Connection, address: str) -> None:
        self._connection = connection
        self._address = address

    def frames(self, statement: Any, *, rows: int | None, where: str) -> Iterator[pd.DataFrame]:
        text, values = _compiled(statement, where)
        fast = frames_by_arrow(self._connection, self._address, text, values, rows)
        yield from self._plain(text, values, rows, where) if fast is None else fast

    def value(self, statement: Any) -> Any:
        row = self._connection.execute(*_compiled(statement, "query")).fetchone()
        return None if row is None else row[0]

    def columns(self, table: str, schema: str | None, where: str) -> TableSpec:
        engine = sa.create_engine("sqlite://", creator=lambda: self._connection, poolclass=sa.StaticPool)
        with engine.connect() as connection:
            return reflected(connection, table, schema, where)

    def _plain(self, text: str, values: Sequence[Any], rows: int | None, where: str) -> Iterator[pd.DataFrame]:
        self._connection.execute("BEGIN")  # kinds and rows from one snapshot
        try:
            cursor = self._connection.execute(text, values)
            names = [column[0] for column in cursor.description or ()]
            refuse_repeated_columns(names, where)
            kinds = ", ".join(_KINDS.format(by_place(place)) for place in range(len(names)))
            found = self._connection.execute(f"{named_by_place(text, len(names))} SELECT {kinds} FROM q", values).fetchone()
            types = [_TYPE_OF_KINDS.get(kind or 0) for kind in found]
            fetched = cursor.fetchall() if rows is None else cursor.fetchmany(rows)
            yield typed_frame(names, fetched, types, where)
            while rows is not None and len(fetched) == rows and (fetched := cursor.fetchmany(rows)):
                yield typed_frame(names, fetched, types, where)
        finally:
            self._connection.execute("ROLLBACK")


def _compiled(statement: Any, where: str) -> tuple[str, list[Any]]:
    text, bound = compile_statement(statement, _DIALECT, where)
    for value in bound.values():
        if value is not None and not isinstance(value, _BINDABLE):
            raise ConfigurationError(
                where, f"SQLite knows no {type(value).__name__} values; given: {value!r}.",
                "give text in the form that the database has it, or a number.",
            )  # fmt: skip
    return text, list(bound.values())


__all__ = ["SqliteDatabase"]
