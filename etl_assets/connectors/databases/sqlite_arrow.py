"""SQLite by ADBC, where that is exact; a whole table is read as two halves at once.

ADBC decides by the first rows of a column what it is, and would change some values that come later, so a query looks for them in the same
snapshot.

Not here: which rows are asked for (`sql.py`), the plain way (`sqlite.py`).
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import adbc_driver_manager
import adbc_driver_sqlite
import adbc_driver_sqlite.dbapi
import pandas as pd
import pyarrow as pa

from etl_assets.frames import arrow_to_frame, in_tables

# What says that the plain way has to be taken, which then says why.
_UNSUITED = (adbc_driver_manager.Error, sqlite3.Error, OSError, pa.ArrowException, UnicodeDecodeError)
_BATCH_ROWS = adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value
_FEW, _MANY = 16_384, 65_536  # rows that the driver holds at once: where frames are streamed, and where all rows are held anyway
_LONG = 50_000  # rows; for fewer a second connection costs more than it saves
# What ADBC would turn into the type of an Arrow column. Numbers come before text and text before blobs, whatever they are: a comparison
# takes a third of the time of typeof.
_WOULD_CHANGE = {
    "int64": "0",
    "double": "({0} > 9007199254740992 OR {0} < -9007199254740992) AND typeof({0}) = 'integer'",
    "string": "{0} < '' OR {0} >= x''",
    "binary": "{0} < x''",
}
# The same where a column is declared so, and turns what is stored in it into its type: no number stays in a text column, no integer in one
# of floats.
_WOULD_CHANGE_DECLARED = {("double", "REAL"): "0", ("string", "TEXT"): "{0} >= x''"}
# At these it stops by itself, which is too late for rows that were handed on before.
_WOULD_STOP = {
    "int64": "typeof({0}) NOT IN ('integer', 'null')",
    "double": "typeof({0}) NOT IN ('real', 'integer', 'null')",
    "string": "0",
    "binary": "0",
}
# A query of all rows of one table, column by column: two queries of half the rows each give the same.
_NAME = r"""(?:"(?:[^"]|"")+"|[A-Za-z_]\w*)"""
_COLUMN = rf"(?:{_NAME}\.)?{_NAME}"
_WHOLE_TABLE = re.compile(rf"\s*SELECT\s+(?:\*|{_COLUMN}(?:\s*,\s*{_COLUMN})*)\s+FROM\s+(?P<table>{_NAME})\s*;?\s*", re.IGNORECASE)
_ROW_IDS = ("rowid", "_rowid_", "oid")


def frames_by_arrow(
    connection: sqlite3.Connection, address: str, text: str, values: Sequence[Any], rows: int | None
) -> Iterator[pd.DataFrame] | None:
    """The result of a query; None where ADBC cannot answer, or not exactly.

    Args:
        connection: To the same file; it only tells about the table, and whether somebody has written.
        address: Of the file, as a URI.
        text, values: The query and what is bound in it.
        rows: Of each frame; None for one frame of all.
    """
    try:
        if rows is not None:
            return _batches(_Reading(address, text, values, batch=_FEW), rows)
        table = _whole(connection, address, text, values)
        return None if table is None else iter([_frame(table)])
    except _UNSUITED:
        return None


def _batches(reading: "_Reading", rows: int) -> Iterator[pd.DataFrame] | None:
    with contextlib.ExitStack() as opened:
        opened.enter_context(closing(reading))
        if reading.would_change() or reading.would_stop():
            return None
        empty = reading.without_values()
        return _stream(reading, empty, rows, opened.pop_all())


def _stream(reading: "_Reading", empty: set[str], rows: int, opened: contextlib.ExitStack) -> Iterator[pd.DataFrame]:
    with opened:
        none = True
        for table in in_tables(reading.reader, rows):
            none = False
            table.validate(full=True)
            yield _frame(table, empty)
        if none:
            yield _frame(reading.reader.schema.empty_table(), empty)


def _whole(connection: sqlite3.Connection, address: str, text: str, values: Sequence[Any]) -> pa.Table | None:
    """All rows: two halves of a table at once, of another query its rows and the look at them; None where they would not be exact."""
    version = _version(connection)
    halves = _halves(connection, text)
    with contextlib.ExitStack() as opened:
        begun: list[Future[_Reading]] = []
        opened.callback(_close, begun)  # after the threads have ended: a connection must not be closed while one reads
        threads = opened.enter_context(ThreadPoolExecutor(max_workers=2, thread_name_prefix="sqlite"))
        queries, declared = (halves.queries, halves.declared) if halves else ((text, text), {})
        # Of a query in one piece the second connection only looks, and its rows are not read.
        for query, batch in zip(queries, (_MANY, _MANY if halves else 1), strict=True):
            begun.append(threads.submit(_Reading, address, query, values, declared, batch=batch))
        first, second = (one.result() for one in begun)
        # Two connections see the same when nobody has written between the beginning and now.
        if _version(connection) == version:
            if halves:
                return _together(list(threads.map(_Reading.exact, (first, second))))
            look = threads.submit(second.finds, first.changes)
            table = first.read_all()
            return None if look.result() else table
    with closing(_Reading(address, text, values)) as reading:
        return reading.exact()


def _close(begun: "Sequence[Future[_Reading]]") -> None:
    for one in begun:
        if one.exception() is None:
            one.result().close()


def _together(halves: Sequence[pa.Table | None]) -> pa.Table | None:
    """The rows of both; None where one is missing or a column is of different kinds."""
    tables = [half for half in halves if half is not None]
    if len(tables) < len(halves):
        return None
    fields = []
    for place, field in enumerate(tables[0].schema):
        columns = [table.column(place) for table in tables]
        kinds = {column.type for column in columns if not _is_empty(column)} or {field.type}
        if kinds == {pa.int64(), pa.float64()}:
            kinds = {pa.float64()}  # the cast stops at an integer that would change
        if len(kinds) > 1:
            return None
        fields.append(pa.field(field.name, kinds.pop()))
    schema = pa.schema(fields)
    return pa.concat_tables([_as(table, schema) for table in tables])


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        column if column.type == field.type else pa.nulls(len(column), field.type) if _is_empty(column) else column.cast(field.type)
        for column, field in zip(table.columns, schema, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _is_empty(column: pa.ChunkedArray) -> bool:
    """All NULL, which ADBC takes for integers."""
    return bool(pa.types.is_int64(column.type) and column.null_count == len(column))


class _Reading:
    """A query that has begun: the driver's own transaction makes its rows and what is asked about them one snapshot.

    Attributes:
        reader: Its rows.
        changes: The query that finds a value which ADBC would change; None where columns cannot be told apart, or are of unknown types.
    """

    def __init__(
        self, address: str, text: str, values: Sequence[Any], declared: Mapping[str, str] | None = None, *, batch: int = _MANY
    ) -> None:
        self._text = text
        self.values = values
        self._connection = adbc_driver_sqlite.dbapi.connect(address)
        self._cursor = self._connection.cursor(adbc_stmt_kwargs={_BATCH_ROWS: batch})
        try:
            self._cursor.execute(text, values or None)
            self.reader = self._cursor.fetch_record_batch()
        except BaseException:
            self.close()
            raise
        schema = self.reader.schema
        changes = [self._change(place, field, declared or {}) for place, field in enumerate(schema) if str(field.type) in _WOULD_CHANGE]
        told_apart = len(changes) == len(schema) == len(set(schema.names))
        self.changes = self._found(" OR ".join(changes)) if told_apart else None

    @staticmethod
    def _change(place: int, field: pa.Field, declared: Mapping[str, str]) -> str:
        type_ = str(field.type)
        found = _WOULD_CHANGE_DECLARED.get((type_, declared.get(folded(field.name), "")), _WOULD_CHANGE[type_])
        return found.format(by_place(place))

    def close(self) -> None:
        self._cursor.close()
        self._connection.close()

    def would_change(self) -> bool:
        """Whether a value is there which ADBC would change."""
        return self.finds(self.changes)

    def finds(self, changes: str | None) -> bool:
        """Whether a query of changes, of this reading or of another one of the same rows, finds any."""
        return changes is None or self._exists(changes)

    def would_stop(self) -> bool:
        """Whether a value is there at which ADBC stops."""
        stops = (_WOULD_STOP[str(field.type)].format(by_place(place)) for place, field in enumerate(self.reader.schema))
        return self._exists(self._found(" OR ".join(stops)))

    def without_values(self) -> set[str]:
        """Columns that are all NULL."""
        integers = [(place, field.name) for place, field in enumerate(self.reader.schema) if str(field.type) == "int64"]
        return {name for place, name in integers if not self._exists(self._found(f"{by_place(place)} IS NOT NULL"))}

    def read_all(self) -> pa.Table:
        """All rows; text that is no UTF-8 would only show when it is used."""
        table = self.reader.read_all()
        table.validate(full=True)
        return table

    def exact(self) -> pa.Table | None:
        """All rows; None where a value would be changed."""
        table = self.read_all()
        return None if self.would_change() else table

    def _found(self, condition: str) -> str:
        return f"{named_by_place(self._text, len(self.reader.schema))} SELECT EXISTS (SELECT 1 FROM q WHERE {condition})"

    def _exists(self, query: str) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute(query, self.values or None)
            return bool(cursor.fetchone() == (1,))


def _version(connection: sqlite3.Connection) -> int:
    """Changes with each commit of somebody else."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


@dataclass(frozen=True, kw_only=True)
class _Halves:
    """A query of a whole long table as two, in the order of its rows.

    Attributes:
        queries: Both.
        declared: SQLite's affinity of each column by its folded name.
    """

    queries: tuple[str, str]
    declared: Mapping[str, str]


def _halves(connection: sqlite3.Connection, text: str) -> _Halves | None:
    """The halves of a query; None for one that is not of a whole long table."""
    found = _WHOLE_TABLE.fullmatch(text)
    if found is None:
        return None
    table = found["table"]
    name = table[1:-1].replace('""', '"') if table.startswith('"') else table
    # A view and a virtual table have no root page, and what they call rowid may be anything.
    kept = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND lower(name) = lower(?)", [name])
    if kept.fetchone() is None:
        return None
    columns = connection.execute("SELECT name, type FROM pragma_table_xinfo(?)", [name])
    declared = {folded(str(column)): _affinity(str(type_)) for column, type_ in columns}
    # A column may have the name of the number, and is something else then.
    number = next((one for one in _ROW_IDS if one not in declared), None)
    if number is None:
        return None
    try:
        first, last = connection.execute(f"SELECT min({number}), max({number}) FROM {table}").fetchone()
    except sqlite3.OperationalError:
        return None  # a table without rowid
    if first is None or last - first < _LONG:
        return None
    query, middle = text.strip().removesuffix(";"), (first + last) // 2
    queries = f"{query} WHERE {table}.{number} <= {middle}", f"{query} WHERE {table}.{number} > {middle}"
    return _Halves(queries=queries, declared=declared)


def folded(name: str) -> str:
    """A name as SQLite compares it: of letters only those of ASCII have no case."""
    return "".join(one.lower() if one.isascii() else one for one in name)


def by_place(place: int) -> str:
    """A column of `named_by_place`."""
    return f"c{place}"


def named_by_place(text: str, columns: int) -> str:
    """The query as `q` with columns named by place: SQLite renames those of a query that differ by case only, or are called true."""
    return f"WITH q({', '.join(map(by_place, range(columns)))}) AS ({text}\n)"


def _affinity(declared: str) -> str:
    """What SQLite makes of a declared type (https://sqlite.org/datatype3.html, 3.1)."""
    type_ = declared.upper()
    if "INT" in type_:
        return "INTEGER"
    if any(word in type_ for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in type_ or not type_:
        return "BLOB"
    return "REAL" if any(word in type_ for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def _frame(table: pa.Table, empty: set[str] | None = None) -> pd.DataFrame:
    """The rows as a frame; columns that are all NULL are named where the table is only some of the rows."""
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if _is_empty(column) if empty is None else name in empty:
            table = table.set_column(place, name, pa.nulls(table.num_rows))
    return arrow_to_frame(table)


__all__ = ["by_place", "folded", "frames_by_arrow", "named_by_place"]
