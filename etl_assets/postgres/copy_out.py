"""Read a PostgreSQL query into a frame exactly: `COPY TO STDOUT` parsed by pyarrow with the column types of the query itself.

Exact means: big integers beside NULLs stay integers (Int64), numeric stays Decimal, '' and NULL stay distinct, a timestamp with
time zone keeps its instant (as UTC). NULL and NaN of a float column both read as NaN, as pandas has it. Types that Arrow's parser
does not know come as PostgreSQL's own text.
"""

import functools
import itertools
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.csv
from sqlalchemy.engine import Connection

from etl_assets.errors import SourceFormatError
from etl_assets.frames import arrow_to_series, decimals, in_tables
from etl_assets.postgres import arrays
from etl_assets.postgres.types import arrow_type_for_reading
from etl_assets.progress import watched
from etl_assets.threads import ahead, results

_BUFFER_BYTES = 2**20
_BLOCKS_AHEAD = 32
_BLOCK_BYTES = 2**19  # larger ones are not faster, and take more memory


def read_query(
    connection: Connection, query: str, parameters: Mapping[str, Any] | None = None, *, where: str, lists: bool = False
) -> pd.DataFrame:
    """All rows of a query in one frame; see `stream_query`."""
    (frame,) = stream_query(connection, query, parameters, rows=None, where=where, lists=lists)
    return frame


def read_arrow(connection: Connection, query: str, *, where: str) -> pa.Table:
    """All rows of a query as an Arrow table; see `stream_query`. A type without an exact Arrow counterpart is PostgreSQL's text."""
    ((columns, types),) = _stream_columns(connection, query, None, rows=None, where=where)
    for place, (_, type_name) in enumerate(types):
        if type_name == "bytea":
            texts = columns[place].to_pylist()
            columns[place] = pa.array([None if t is None else bytes.fromhex(t[2:]) for t in texts], pa.large_binary())
    return pa.table(columns, names=[name for name, _ in types])


def stream_query(
    connection: Connection,
    query: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    rows: int | None,
    where: str,
    lists: bool = False,
) -> Iterator[pd.DataFrame]:
    """The rows of a query, frame by frame, as the server sends them: memory does not grow with their number.

    Args:
        connection: A SQLAlchemy connection on psycopg2; its transaction and snapshot are used, and nothing else until the end.
        query: One SELECT; parameters written as `%(name)s`. Without parameters `%` stands for itself.
        parameters: Bound values.
        rows: Rows of a frame at most; None for all rows in one frame.
        where: Asset or source, for errors.
        lists: Give arrays as lists, rather than as PostgreSQL's text.

    Yields:
        One row per row of the query, its columns in order; RangeIndex. At least one frame, an empty one for no rows.

    Raises:
        SourceFormatError: Two columns share a name, or a value lies outside what Arrow can hold (a date before year 1, infinity).
        sqlalchemy.exc.DBAPIError, psycopg2.Error: The server refused the query, or the connection broke.
    """
    for columns, types in _stream_columns(connection, query, parameters, rows=rows, where=where):
        yield _to_frame(columns, types, where, lists=lists)


def _stream_columns(
    connection: Connection, query: str, parameters: Mapping[str, Any] | None, *, rows: int | None, where: str
) -> Iterator[tuple[list[pa.ChunkedArray], list[tuple[str, str]]]]:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        bound = cursor.mogrify(query, parameters).decode(driver.encoding) if parameters else query
        types = _column_types(connection, bound)
        refuse_repeated_columns([name for name, _ in types], where)
        # The line break ends a comment in the last line.
        # Every value quoted, so that an unquoted empty field is NULL and a quoted one is ''.
        with _copied(cursor, f"COPY ({bound}\n) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE *)") as file:
            for table in _parse(file, types, rows, where):
                columns = list(table.columns)
                # Whoever takes a column away frees it.
                del table
                yield columns, types


@contextmanager
def _copied(cursor: Any, statement: str) -> Iterator[Any]:
    """What COPY sends, as a file: a thread writes into a pipe what the block reads.

    The database's error comes first: a broken COPY looks like an early end to the reader.
    """
    reading, writing = os.pipe()
    raised: list[BaseException] = []

    def copy() -> None:
        try:
            with os.fdopen(writing, "wb", buffering=_BUFFER_BYTES) as sink:
                cursor.copy_expert(statement, sink)
        except BaseException as error:  # handed to the reading thread below
            raised.append(error)

    thread = threading.Thread(target=copy, name="copy to stdout", daemon=True)
    thread.start()
    left_early = True
    try:
        with os.fdopen(reading, "rb", buffering=_BUFFER_BYTES) as file:
            yield file
            left_early = bool(file.read(1))
    finally:
        # The reading end is closed by now: a COPY that is still running breaks off at its next write.
        thread.join()
        if raised and (isinstance(raised[0], psycopg2.Error) or not left_early):
            raise raised[0]


def refuse_repeated_columns(names: Sequence[str], where: str) -> None:
    """Refuse a result whose columns a frame could not tell apart.

    Raises:
        SourceFormatError: Two columns share a name; the message lists which.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SourceFormatError(where, f"the query returns several columns named {repeated}.", "give each an alias with AS.")


def _column_types(connection: Connection, bound: str) -> list[tuple[str, str]]:
    """Name and `format_type` of each column, without running the query."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({bound}\n) AS described LIMIT 0")
        described = [(column.name, column.type_code, _modifier(column)) for column in cursor.description]
        if not described:
            return []
        cursor.execute(
            "SELECT format_type(oid, nullif(modifier, -1)) "
            "FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY AS t(oid, modifier, place) ORDER BY place",
            ([oid for _, oid, _ in described], [modifier for _, _, modifier in described]),
        )
        return [(name, formatted) for (name, _, _), (formatted,) in zip(described, cursor.fetchall(), strict=True)]


def _modifier(column: Any) -> int:
    # psycopg2 hides the type modifier, but for numeric it tells precision and scale, which make it up.
    if column.precision is not None and column.scale is not None and column.precision <= 1000:
        return int((column.precision << 16) | (column.scale & 0x7FF)) + 4
    return -1


def _parse(file: Any, types: Sequence[tuple[str, str]], rows: int | None, where: str) -> Iterator[pa.Table]:
    names = [name for name, _ in types]
    if not names or not file.peek(1):
        yield pa.table({name: pa.array([], arrow_type_for_reading(type_name)) for name, type_name in types})
        return
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(names) > 1)
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: arrow_type_for_reading(type_name) for name, type_name in types},
        null_values=[""],
        quoted_strings_can_be_null=False,
        strings_can_be_null=True,
        true_values=["t"],
        false_values=["f"],
    )

    def parsed(records: bytes) -> pa.Table:
        read = pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(records) + 1)
        return pyarrow.csv.read_csv(pa.BufferReader(records), read, parse, convert)

    parsing = results(functools.partial(parsed, records) for records in _whole_records(file))
    try:
        if rows is None:
            yield pa.concat_tables(list(watched(parsing, f"reading {where}", len)))
        else:
            # Whoever loads one frame meanwhile finds most of the next one there.
            tables = watched(ahead(parsing, _BLOCKS_AHEAD), f"reading {where}", len)
            yield from in_tables(itertools.chain.from_iterable(table.to_batches() for table in tables), rows)
    except pa.ArrowInvalid as error:
        raise SourceFormatError(
            where, f"a value cannot be held exactly ({error}).", "select that column cast to text, as in `SELECT valid_to::text`."
        ) from error


def _whole_records(file: Any) -> Iterator[bytes]:
    """What COPY sends, in blocks that end where a record does: at a line end with as many opening as closing quotes before it."""
    held = b""
    while block := file.read(_BLOCK_BYTES):
        held += block
        end = len(held)
        is_inside = held.count(b'"') % 2 == 1
        while (newline := held.rfind(b"\n", 0, end)) >= 0:
            is_inside ^= held.count(b'"', newline, end) % 2 == 1
            if not is_inside:
                yield held[: newline + 1]
                held = held[newline + 1 :]
                break
            end = newline
    if held:
        yield held


def _to_frame(columns: list[pa.ChunkedArray], types: Sequence[tuple[str, str]], where: str, *, lists: bool) -> pd.DataFrame:
    """The columns as a frame; each is taken out of the list, so that not all are there twice."""
    rows = len(columns[0]) if columns else 0
    series: dict[str, Any] = {}
    for name, type_name in types:
        column = columns.pop(0)
        if type_name.startswith("numeric") and not type_name.endswith("[]") and not pa.types.is_decimal(column.type):
            series[name] = decimals(column)
        elif type_name == "bytea":
            series[name] = pd.Series([None if text is None else bytes.fromhex(text[2:]) for text in column.to_pylist()], dtype=object)
        elif lists and type_name.endswith("[]"):
            series[name] = _lists(column, type_name, f"{where}, column {name}")
        else:
            series[name] = arrow_to_series(column)
    return pd.DataFrame(series, columns=[name for name, _ in types], index=pd.RangeIndex(rows), copy=False)


def _lists(texts: pa.ChunkedArray, type_name: str, where: str) -> "pd.Series[Any]":
    read = arrays.reader(type_name)
    try:
        return pd.Series([None if text is None else read(text) for text in texts.to_pylist()], dtype=object)
    except ValueError as error:
        raise SourceFormatError(where, f"a value cannot be held exactly ({error}).", "select that column cast to text.") from error


__all__ = ["read_arrow", "read_query", "refuse_repeated_columns", "stream_query"]
