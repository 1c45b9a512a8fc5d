"""A frame as a COPY stream, encoded from the types of the target table.

Binary COPY is not checked by PostgreSQL where widths agree, so every column is first cast to the Arrow type of its target column,
safely: a value that does not fit exactly is an error with column, row and value. Tables with a type that has no binary form here
(unconstrained numeric, arrays, inet ...) go by CSV COPY as a whole, which is exact too and about half as fast.

Not here: transactions (`writer.py`), which types columns have (`postgres/types.py`).
"""

import decimal
import functools
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pgpq
import pgpq.encoders
import pgpq.schema
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg2 import sql

from etl_assets.errors import DatabaseRefusedError, EtlError, UnstorableValueError
from etl_assets.frames import exact_decimals, in_one
from etl_assets.loading.exact import exact
from etl_assets.loading.table import ColumnSpec
from etl_assets.loading.texts import as_json, longest, refuse_long, text_writer
from etl_assets.postgres import arrays as arrays_
from etl_assets.postgres.types import arrow_type
from etl_assets.progress import Progress

BATCH_ROWS = 10_000
_READ_BYTES = 256 * 1024


def copy_frame(
    cursor: Any, table: sql.Composable, columns: Sequence[ColumnSpec], frame: pd.DataFrame, *, where: str, progress: Progress | None = None
) -> int:
    """Append all rows of a frame to a table by COPY.

    Args:
        cursor: psycopg2 cursor inside the caller's transaction.
        table: Quoted name.
        columns: Columns of the table as its catalog has them, each present in the frame.
        frame: Any index; errors name its labels.
        where: Asset, for errors.
        progress: Told of the rows as they go; None for nobody.

    Returns:
        Rows that PostgreSQL counted, equal to the rows of the frame.

    Raises:
        UnstorableValueError: A value does not fit its column exactly.
        DatabaseRefusedError: PostgreSQL counted other rows than were sent.
    """
    binary = all(arrow_type(column.type) is not None and not _is_interval_as_text(column, frame[column.name]) for column in columns)
    chunks = (_binary if binary else _csv)(columns, _parts(frame, progress), where)
    statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT {})").format(
        table, sql.SQL(", ").join(sql.Identifier(column.name) for column in columns), sql.SQL("binary" if binary else "csv")
    )
    copy_chunks(cursor, statement, chunks)
    if cursor.rowcount != len(frame):
        raise DatabaseRefusedError(
            where, f"{len(frame)} rows were sent, PostgreSQL counted {cursor.rowcount}.", "look for a trigger on the table that drops rows."
        )
    return int(cursor.rowcount)


def copy_chunks(cursor: Any, statement: Any, chunks: Iterator[bytes]) -> None:
    """Run a COPY FROM STDIN with what an iterator yields; an error of the iterator comes out as it was raised."""
    stream = _Stream(chunks)
    with _own_error_first(stream):
        cursor.copy_expert(statement, stream, size=_READ_BYTES)


@contextmanager
def _own_error_first(stream: "_Stream") -> Iterator[None]:
    """PostgreSQL only sees the stream break off; what broke is on our side and says more."""
    broken = False
    try:
        yield
    except Exception:
        broken = stream.error is not None
        if not broken:
            raise
    if broken and stream.error is not None:
        raise stream.error


class _Stream(io.RawIOBase):
    """A readable file over an iterator of chunks; an empty chunk is not the end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            try:
                chunk = next(self._chunks, None)
            except Exception as error:
                self.error = error
                raise
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


def _parts(frame: pd.DataFrame, progress: Progress | None) -> Iterator[pd.DataFrame]:
    for start in range(0, len(frame), BATCH_ROWS):
        part = frame.iloc[start : start + BATCH_ROWS]
        yield part
        if progress is not None:
            progress.add(len(part))


def _binary(columns: Sequence[ColumnSpec], parts: Iterator[pd.DataFrame], where: str) -> Iterator[bytes]:
    schema = pa.schema([pa.field(column.name, arrow_type(column.type)) for column in columns])
    encoders = {column.name: _encoder(column, field) for column, field in zip(columns, schema, strict=True)}
    encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(schema, encoders)
    yield encoder.write_header()
    for part in parts:
        arrays = [_array(part[column.name], column, field.type, where) for column, field in zip(columns, schema, strict=True)]
        yield encoder.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    yield encoder.finish()


def _encoder(column: ColumnSpec, field: pa.Field) -> Any:
    if column.type == "jsonb":
        return pgpq.encoders.LargeStringEncoderBuilder.new_with_output(field, pgpq.schema.Jsonb())
    return pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field)


def _csv(columns: Sequence[ColumnSpec], parts: Iterator[pd.DataFrame], where: str) -> Iterator[bytes]:
    for part in parts:
        arrays = []
        for column in columns:
            type_ = arrow_type(column.type)
            if column.type.endswith("[]"):
                element = column.type.removesuffix("[]")
                write = functools.partial(arrays_.to_text, element=element, write=text_writer(element))
                arrays.append(_each(part[column.name], column, pa.large_string(), write, where))
            elif type_ is None or column.type in ("interval", "bytea", "uuid"):
                arrays.append(_each(_plain_values(part[column.name]), column, pa.large_string(), text_writer(column.type), where))
            else:
                arrays.append(_without_nul(_array(part[column.name], column, type_, where), part[column.name], column, where))
        yield as_csv(arrays)


def _without_nul(array: pa.Array, values: "pd.Series[Any]", column: ColumnSpec, where: str) -> pa.Array:
    """Of a line of CSV PostgreSQL does not say in which column it met a NUL."""
    if pa.types.is_large_string(array.type) and pc.any(pc.match_substring(array, "\0")).as_py():
        raise _first_unstorable(values, column, _refuse_nul, ValueError("it holds a NUL"), where)
    return array


def _refuse_nul(value: Any) -> None:
    if "\0" in str(value):
        raise ValueError("it holds a NUL")


def as_csv(arrays: Sequence[pa.Array]) -> bytes:
    """Columns of one length as CSV without a header, as COPY reads it: NULL is an empty field, '' is quoted."""
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_arrays(arrays, names=[str(place) for place in range(len(arrays))])
    pyarrow.csv.write_csv(batch, sink, pyarrow.csv.WriteOptions(include_header=False))
    return bytes(sink.getvalue())


def _array(values: "pd.Series[Any]", column: ColumnSpec, type_: pa.DataType, where: str) -> pa.Array:
    """The column as Arrow, cast without loss."""
    values = _plain_values(values)
    dtype = values.dtype
    if pa.types.is_timestamp(type_):
        has_zone, wants_zone = isinstance(dtype, pd.DatetimeTZDtype), type_.tz is not None
        if getattr(dtype, "kind", "O") == "M" and has_zone != wants_zone:
            given, wanted = ("with", "without") if has_zone else ("without", "with")
            raise UnstorableValueError(
                f"{where}, column {column.name}", f"the values are times {given} zone, the column is {wanted} zone.",
                "localize or convert them in the asset.",
            )  # fmt: skip
    if column.type in ("json", "jsonb") and pd.api.types.is_object_dtype(dtype):
        return _each(values, column, type_, as_json, where)
    if column.type == "uuid":
        return _each(values, column, type_, lambda value: uuid.UUID(str(value)).bytes, where)
    if pa.types.is_boolean(type_) and getattr(dtype, "kind", "O") in "iuf" and not pd.api.types.is_bool_dtype(dtype):
        raise UnstorableValueError(f"{where}, column {column.name}", f"{dtype} values are no booleans.", "convert them in the asset.")
    if (pa.types.is_integer(type_) or pa.types.is_floating(type_)) and pd.api.types.is_bool_dtype(dtype):
        raise UnstorableValueError(f"{where}, column {column.name}", "boolean values are no numbers.", "convert them in the asset.")
    most = longest(column.type)
    try:
        array = _arrow(values, type_)
        if most is not None and (pc.max(pc.utf8_length(array)).as_py() or 0) > most:
            raise _first_unstorable(values, column, lambda value: refuse_long(value, most), ValueError("it is too long"), where)
        return array
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        raise _first_unstorable(
            values, column, lambda value: _arrow(pd.Series([value], dtype=values.dtype), type_), error, where
        ) from error


def _plain_values(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Categories as their values; whole numbers beside NULL have no dtype of numpy."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return values
    return values.astype(object if values.hasnans else values.dtype.categories.dtype)


def _arrow(values: "pd.Series[Any]", type_: pa.DataType) -> pa.Array:
    if values.dtype == object and pa.types.is_decimal(type_):
        array = exact_decimals(values, type_)
        if array is not None:
            return array
    values = exact(values, type_)
    array = pa.array(values, from_pandas=True) if values.dtype != object else pa.array(values, type=type_, from_pandas=True)
    array = in_one(array)
    if array.type == type_:
        return array
    if pa.types.is_string(array.type) and not pa.types.is_large_string(type_):
        raise pa.ArrowInvalid("text is not converted")
    if pa.types.is_large_string(array.type):
        raise pa.ArrowInvalid("text is not converted")
    if pa.types.is_large_string(type_) and not pa.types.is_string(array.type) and not pa.types.is_null(array.type):
        raise pa.ArrowInvalid("only text is stored as text")
    return array.cast(type_, safe=True)


def _each(values: "pd.Series[Any]", column: ColumnSpec, type_: pa.DataType, convert: Callable[[Any], Any], where: str) -> pa.Array:
    missing = _is_missing(values)
    try:
        return pa.array([None if gone else convert(value) for value, gone in zip(values.array, missing, strict=True)], type=type_)
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        raise _first_unstorable(values, column, lambda value: pa.array([convert(value)], type=type_), error, where) from error


def _is_missing(values: "pd.Series[Any]") -> Sequence[bool]:
    # A list is a value, whatever is in it.
    missing: list[bool] = values.isna().tolist()
    # NaN of a Decimal is a value that numeric knows; pandas takes it for missing.
    return [gone and not isinstance(value, decimal.Decimal) for value, gone in zip(values.array, missing, strict=True)]


def _is_interval_as_text(column: ColumnSpec, values: "pd.Series[Any]") -> bool:
    # Months and days have no length, so an interval is read as text and goes back as text.
    return column.type == "interval" and any(isinstance(value, str) for value in values.array)


def _first_unstorable(values: "pd.Series[Any]", column: ColumnSpec, store: Callable[[Any], Any], error: Exception, where: str) -> EtlError:
    for place, (value, gone) in enumerate(zip(values.array, _is_missing(values), strict=True)):
        if gone:
            continue
        try:
            store(value)
        except (pa.ArrowException, OverflowError, ValueError, TypeError) as reason:
            return UnstorableValueError(
                f"{where}, column {column.name}, row {int(values.index[place]) + 1}",
                f"{str(value)[:80]!r} ({type(value).__name__}) cannot be stored exactly as {column.type} ({str(reason).splitlines()[0]}).",
                "convert it in the asset, or choose a type in the contract that holds it.",
                row=int(values.index[place]),
                column=column.name,
            )
    return UnstorableValueError(
        f"{where}, column {column.name}", f"the values cannot be stored as {column.type} ({error}).", "convert them."
    )


__all__ = ["BATCH_ROWS", "as_csv", "copy_chunks", "copy_frame"]
