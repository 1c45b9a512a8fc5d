"""SQLite: ADBC where all values of a column are of one kind, else the standard library; cell by cell the same.

SQLite types values, not columns: a column may hold 1, 1.5 and 'x'. ADBC decides by the first rows and would change some of the
others, so a query looks first for what it would change, in the same snapshot. A column of one kind is typed; a column of several
keeps its values as objects.

Not here: which rows are asked for (`sql.py`).
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_sqlite
import adbc_driver_sqlite.dbapi
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL

from etl_assets.connectors.databases.reflection import reflected
from etl_assets.connectors.databases.session import Session, compile_statement, typed_frame
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets.frames import arrow_to_frame, in_tables
from etl_assets.loading.table import TableSpec
from etl_assets.postgres.copy_out import refuse_repeated_columns

_DIALECT: Any = sqlite.dialect()
_quoted: Callable[[str], str] = _DIALECT.identifier_preparer.quote_identifier
_BINDABLE = (int, float, str, bytes)
_UNSUITED = (adbc_driver_manager.Error, sqlite3.Error, OSError, pa.ArrowException, UnicodeDecodeError)
_WAIT_SECONDS = 5
_BATCH_ROWS, _ROWS_OF_BATCH = adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value, 16_384
_FITS_FLOAT = "typeof({0}) = 'integer' AND {0} BETWEEN -9007199254740992 AND 9007199254740992"
# What an Arrow column of ADBC shall hold; anything else it would turn into that type, or stop at.
_WOULD_CHANGE = {
    "int64": "typeof({0}) NOT IN ('integer', 'null')",
    "double": f"typeof({{0}}) NOT IN ('real', 'null') AND NOT ({_FITS_FLOAT})",
    "string": "typeof({0}) NOT IN ('text', 'null')",
    "binary": "typeof({0}) NOT IN ('blob', 'null')",
}
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
        fast = self._fast(text, values, rows)
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
            kinds = ", ".join(_KINDS.format(_quoted(name)) for name in names)
            found = self._connection.execute(f"SELECT {kinds} FROM ({text}\n)", values).fetchone()
            types = [_TYPE_OF_KINDS.get(kind or 0) for kind in found]
            fetched = cursor.fetchall() if rows is None else cursor.fetchmany(rows)
            yield typed_frame(names, fetched, types, where)
            while rows is not None and len(fetched) == rows and (fetched := cursor.fetchmany(rows)):
                yield typed_frame(names, fetched, types, where)
        finally:
            self._connection.execute("ROLLBACK")

    def _fast(self, text: str, values: Sequence[Any], rows: int | None) -> Iterator[pd.DataFrame] | None:
        """The result by ADBC; None where it would not be exact, or where ADBC cannot answer: the plain path then says why."""
        connection = cursor = None
        version = self._version()
        try:
            # The driver's own transaction makes the look and the rows one snapshot.
            connection = adbc_driver_sqlite.dbapi.connect(self._address)
            cursor = connection.cursor(adbc_stmt_kwargs={_BATCH_ROWS: _ROWS_OF_BATCH})
            cursor.execute(text, values or None)
            reader = cursor.fetch_record_batch()
            changes = _changes(text, reader.schema)
            if changes is None:
                return None
            if rows is None:
                return self._whole(connection, reader, changes, values, version)
            if not _exists(connection, changes, values):
                empty = _without_values(connection, text, values, reader.schema)
                streamed = _stream(connection, cursor, reader, empty, rows)
                connection = cursor = None  # closed by the stream
                return streamed
        except _UNSUITED:
            pass
        finally:
            _close(cursor, connection)
        return None

    def _whole(self, connection: Any, reader: Any, changes: str, values: Sequence[Any], version: int) -> Iterator[pd.DataFrame] | None:
        """All rows, read while another connection looks whether they are exact."""
        with closing(sqlite3.connect(self._address, uri=True, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN")
            other.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
            if self._version() != version:  # somebody has written: two connections need not see the same
                return None if _exists(connection, changes, values) else iter([_frame(reader.read_all())])
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite") as thread:
                look = thread.submit(lambda: other.execute(changes, values).fetchone() == (1,))
                try:
                    table = reader.read_all()
                    return None if look.result() else iter([_frame(table)])
                finally:
                    other.interrupt()  # when the rows cannot be read, nobody waits for the look

    def _version(self) -> int:
        """Changes with each commit of somebody else."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def _compiled(statement: Any, where: str) -> tuple[str, list[Any]]:
    text, bound = compile_statement(statement, _DIALECT, where)
    for value in bound.values():
        if value is not None and not isinstance(value, _BINDABLE):
            raise ConfigurationError(
                where, f"SQLite knows no {type(value).__name__} values; given: {value!r}.",
                "give text in the form that the database has it, or a number.",
            )  # fmt: skip
    return text, list(bound.values())


def _changes(text: str, schema: pa.Schema) -> str | None:
    """The query that finds a value which ADBC would change; None where its columns cannot be told apart, or are of unknown types."""
    changes = [_WOULD_CHANGE[str(field.type)].format(_quoted(field.name)) for field in schema if str(field.type) in _WOULD_CHANGE]
    if len(changes) < len(schema) or len(set(schema.names)) < len(schema):
        return None
    return _found(text, " OR ".join(changes))


def _without_values(connection: Any, text: str, values: Sequence[Any], schema: pa.Schema) -> set[str]:
    """Columns that are all NULL, which ADBC takes for integers."""
    integers = [field.name for field in schema if str(field.type) == "int64"]
    return {name for name in integers if not _exists(connection, _found(text, f"{_quoted(name)} IS NOT NULL"), values)}


def _found(text: str, condition: str) -> str:
    return f"SELECT EXISTS (SELECT 1 FROM ({text}\n) WHERE {condition})"


def _exists(connection: Any, query: str, values: Sequence[Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return bool(cursor.fetchone() == (1,))


def _stream(connection: Any, cursor: Any, reader: Any, empty: set[str], rows: int) -> Iterator[pd.DataFrame]:
    try:
        none = True
        for table in in_tables(reader, rows):
            none = False
            yield _frame(table, empty)
        if none:
            yield _frame(reader.schema.empty_table(), empty)
    finally:
        _close(cursor, connection)


def _close(*opened: Any) -> None:
    for one in opened:
        if one is not None:
            one.close()


def _frame(table: pa.Table, empty: set[str] | None = None) -> pd.DataFrame:
    """The rows as a frame; columns that are all NULL are named where the table is only some of the rows."""
    table.validate(full=True)  # text that is no UTF-8 would only show when it is used
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        is_empty = column.null_count == len(table) and pa.types.is_int64(column.type) if empty is None else name in empty
        if is_empty:
            table = table.set_column(place, name, pa.nulls(table.num_rows))
    return arrow_to_frame(table)


__all__ = ["SqliteDatabase"]
