"""What a module of a database offers to `sql.py`, and what they share: settings, compiled statements, typed columns.

Not here: anything of one database.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError
from etl_assets.frames import arrow_to_series
from etl_assets.loading.table import TableSpec
from etl_assets.tls import TlsSettings


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """How a session behaves, in every database that knows the notion.

    Attributes:
        application_name: Shown by the server as the client's name.
        statement_timeout_seconds: Longest time of one statement; 0 for no limit.
        tls: Which certificates are verified.
    """

    application_name: str
    statement_timeout_seconds: float
    tls: TlsSettings


class Session(Protocol):
    """An open, read-only session."""

    def frames(self, statement: Any, *, rows: int | None, where: str) -> Iterator[pd.DataFrame]:
        """The result in frames of at most `rows` rows, all of the same types; one frame where `rows` is None, an empty one included."""

    def value(self, statement: Any) -> Any:
        """The single value of a statement that returns one."""

    def columns(self, table: str, schema: str | None, where: str) -> TableSpec:
        """The columns of a table in PostgreSQL types, its key and comments."""


class Database(Protocol):
    """A database to read from."""

    def open(self) -> AbstractContextManager[Session]:
        """Open a session; closed at the end of the block."""

    def explain(self, error: BaseException, where: str) -> EtlError:
        """This project's error for what the driver raised; what no driver raised is raised again."""


def compile_statement(statement: Any, dialect: sa.Dialect, where: str) -> tuple[str, Mapping[str, Any]]:
    """Text and bound values of a statement, in the paramstyle of the dialect.

    Raises:
        ConfigurationError: A parameter has no value.
    """
    compiled = statement.compile(dialect=dialect)
    try:
        bound: Mapping[str, Any] = compiled.construct_params(_check=True)
    except sa.exc.InvalidRequestError as error:
        raise ConfigurationError(
            where, f"{error.args[0]}.", "give the parameter a value; a colon that is text is written `\\:`."
        ) from error
    text = str(compiled)
    if dialect.paramstyle in ("format", "pyformat") and not bound:
        # The dialect doubles every % for the driver, which undoes it only when there are parameters.
        text = text % ()
    if compiled.positiontup is not None:
        bound = {str(place): bound[name] for place, name in enumerate(compiled.positiontup)}
    return text, bound


def typed_frame(names: Sequence[str], rows: Sequence[Sequence[Any]], types: Sequence[pa.DataType | None], where: str) -> pd.DataFrame:
    """Rows of Python values as a frame; a column of type None keeps its values as objects.

    Raises:
        SourceFormatError: A value is not of the type of its column; the message names both.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    series = {place: _series(names[place], columns[place], types[place], where) for place in range(len(names))}
    return pd.DataFrame(series, index=pd.RangeIndex(len(rows))).set_axis(list(names), axis=1)


# Python types whose values an Arrow type holds as they are; Arrow itself would cut 1.5 to 1.
_HELD: tuple[tuple[Callable[[pa.DataType], bool], set[type]], ...] = (
    (pa.types.is_integer, {int}),
    (pa.types.is_floating, {float, int}),
    (pa.types.is_large_string, {str}),
    (pa.types.is_large_binary, {bytes, bytearray}),
    (pa.types.is_boolean, {bool}),
)


def _series(name: str, values: Sequence[Any], type_: pa.DataType | None, where: str) -> "pd.Series[Any]":
    if type_ is None:
        return pd.Series(list(values), dtype=object)
    try:
        held = next((kinds for is_type, kinds in _HELD if is_type(type_)), None)
        others = set(map(type, values)) - held - {type(None)} if held is not None else ()
        if others:
            raise TypeError(", ".join(sorted(kind.__name__ for kind in others)))
        # Not the sequence itself: of a sequence Arrow drops the offsets of instants where PYARROW_IGNORE_TIMEZONE is set, and
        # pandera sets it.
        cells = pd.Series(list(values), dtype=object)
        return arrow_to_series(pa.chunked_array([pa.array(cells, type=type_, from_pandas=False)]))
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise SourceFormatError(
            where, f"column {name!r} holds a value that is no {type_} ({error}).", "select that column cast to text, in a query."
        ) from error


def inferred_types(columns: Sequence[Sequence[Any]]) -> list[pa.DataType | None]:
    """The Arrow type of each column whose values are all of one kind; None for others. A column of NULLs is text."""
    return [_inferred(column) for column in columns]


def _inferred(values: Sequence[Any]) -> pa.DataType | None:
    kinds = {type(value) for value in values if value is not None}
    if not kinds or kinds == {str}:
        return pa.large_string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64() if all(value is None or -(2**63) <= value < 2**63 for value in values) else None
    if kinds == {float} or (kinds == {int, float} and all(abs(value) <= 2**53 for value in values if type(value) is int)):
        return pa.float64()
    return None


__all__ = [
    "Database", "Session", "SessionSettings", "compile_statement", "inferred_types", "typed_frame",
]  # fmt: skip
