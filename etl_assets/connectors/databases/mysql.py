"""MySQL and MariaDB through PyMySQL: rows are streamed and typed by the metadata of their result, so that a frame of NULLs has the
types of one with values.

FLOAT columns are asked for as DOUBLE, because the server prints six digits of them. TIMESTAMP is an instant and comes as UTC,
DATETIME has no zone; a bound instant is written in UTC. A zero date such as 0000-00-00 is no date: an error that says so.

Not here: which rows are asked for (`sql.py`).
"""

import contextlib
import datetime
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa
import pymysql
import sqlalchemy as sa
from pymysql import converters
from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.cursors import SSCursor
from sqlalchemy.engine import URL

from etl_assets.connectors.databases.reflection import reflected
from etl_assets.connectors.databases.session import Session, SessionSettings, compile_statement, typed_frame
from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseRefusedError,
    EtlError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from etl_assets.loading.table import TableSpec
from etl_assets.postgres.connection import create_engine, redact_url
from etl_assets.postgres.copy_out import refuse_repeated_columns

_INTEGERS = {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.INT24, FIELD_TYPE.LONGLONG, FIELD_TYPE.YEAR}
_ARROW: dict[int, pa.DataType] = {
    FIELD_TYPE.FLOAT: pa.float64(),
    FIELD_TYPE.DOUBLE: pa.float64(),
    FIELD_TYPE.DATE: pa.date32(),
    FIELD_TYPE.DATETIME: pa.timestamp("us"),
    FIELD_TYPE.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    FIELD_TYPE.TIME: pa.duration("us"),
}
_DATES = {FIELD_TYPE.DATE, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP}
_BINARY_CHARSET = 63
_BYTES_OR_TEXT = {
    FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB,
    FIELD_TYPE.BLOB, FIELD_TYPE.ENUM, FIELD_TYPE.SET,
}  # fmt: skip
_WHOLE_FETCH = 10_000
# Numbers of the server and, from 2000 on, of the client library.
_REFUSED = {1045, 1698, 1227}
_MISSING = {1146, 1054, 1051}
_UNKNOWN_DATABASE = {1049}
_FORBIDDEN = {1044, 1142, 1143, 1370}
_READ_ONLY = {1290, 1792, 1836}
_TRANSIENT = {1040, 1053, 1152, 1159, 1161, 1203, 1205, 1213, 1226, 1317, 1927, 2002, 2003, 2006, 2013, 2055, 3024, 1969}
_ORDER = re.compile(r"\border\s+by\b", re.IGNORECASE)
_ALL_ROWS = "LIMIT 18446744073709551615"


def _escape_moment(value: datetime.datetime, mapping: Any = None) -> str:
    # PyMySQL would leave the zone out; the session's is UTC.
    return str(converters.escape_datetime(value if value.tzinfo is None else value.astimezone(datetime.UTC)))


def _escape_other(value: Any, mapping: Any = None) -> str:
    # PyMySQL asks the encoder of `str` for each class that it does not know, such as pandas' Timestamp.
    return _escape_moment(value) if isinstance(value, datetime.datetime) else str(converters.escape_str(value))


def _refuse_value(value: Any, mapping: Any = None) -> str:
    raise pymysql.ProgrammingError(f"a {type(value).__name__} cannot be bound")


_CONVERSIONS = {**converters.conversions, datetime.datetime: _escape_moment, str: _escape_other, dict: _refuse_value}


@contextmanager
def _options_understood() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        # The driver's own words: of a TypeError the name of an option, of a ValueError its value, which may be a secret.
        cause = str(error).rpartition("() ")[2] if isinstance(error, TypeError) else "one has a value of another form than it asks for"
        raise ConfigurationError(
            "url", f"the driver refuses the options behind the ? ({cause}).", "correct those options, or leave them out."
        ) from None


class MysqlDatabase:
    """A MySQL or MariaDB database."""

    def __init__(self, url: URL, settings: SessionSettings) -> None:
        self._settings = settings
        self._url = url.set(drivername=f"{url.drivername}+pymysql") if url.drivername in ("mysql", "mariadb") else url

    @contextmanager
    def open(self) -> Iterator[Session]:
        """See `Database`."""
        with _options_understood():
            engine = create_engine(self._url, pool_pre_ping=True, connect_args=self._connect_arguments())
        sa.event.listen(engine, "connect", self._set_up)
        try:
            with _options_understood():
                opened = engine.connect()
            with opened as connection:
                yield _MysqlSession(connection)
        finally:
            engine.dispose()

    def _connect_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {"program_name": self._settings.application_name, "connect_timeout": 10, "charset": "utf8mb4"}
        arguments["conv"] = _CONVERSIONS
        # Anything the URL says about TLS itself stands.
        if self._settings.tls.verifies_any(self._url) and not any(name.startswith("ssl") for name in self._url.query):
            try:
                arguments["ssl"] = ssl.create_default_context(cafile=self._settings.tls.ca_file)
            except OSError as error:
                raise ConfigurationError(
                    "tls_ca_file", f"it cannot be read ({error.strerror or error}).", "name a PEM file with the authority's certificate."
                ) from error
        return arguments

    def _set_up(self, driver: Any, _record: Any) -> None:
        milliseconds = int(self._settings.statement_timeout_seconds * 1000)
        with driver.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute("SET SESSION time_zone = '+00:00'")
            cursor.execute("SELECT VERSION()")
            is_mariadb = "mariadb" in cursor.fetchone()[0].lower()
            if is_mariadb:
                cursor.execute("SET SESSION max_statement_time = %s", (milliseconds / 1000,))
            else:
                cursor.execute("SET SESSION max_execution_time = %s", (milliseconds,))

    def explain(self, error: BaseException, where: str) -> EtlError:
        """See `Database`."""
        if isinstance(error, EtlError):
            return error
        original = getattr(error, "orig", None) or error
        if not isinstance(original, pymysql.MySQLError | sa.exc.SQLAlchemyError):
            raise error
        return _explain(original, where)


class _MysqlSession:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def frames(self, statement: Any, *, rows: int | None, where: str) -> Iterator[pd.DataFrame]:
        text, bound = compile_statement(statement, self._connection.dialect, where)
        text = self._with_exact_floats(text, bound, where)
        driver: Any = self._connection.connection.driver_connection
        cursor = driver.cursor(SSCursor)
        ended = False
        try:
            cursor.execute(text, bound or None)
            yield from _frames(cursor, rows, where)
            ended = True
        finally:
            if ended:
                cursor.close()
            else:
                self._break_off(cursor)

    def value(self, statement: Any) -> Any:
        result: Any = self._connection.execute(statement)
        type_code = result.cursor.description[0][1]
        value = result.scalar_one_or_none()
        if type_code == FIELD_TYPE.FLOAT:
            # Six digits are printed of a FLOAT, and those are another number.
            (found,) = statement.subquery("found").columns
            value = self._connection.execute(sa.select(found + sa.literal_column("0e0"))).scalar_one_or_none()
        return value

    def columns(self, table: str, schema: str | None, where: str) -> TableSpec:
        return reflected(self._connection, table, schema, where)

    def _break_off(self, cursor: Any) -> None:
        """Close the connection: the client would read on to the last row, or read from a connection that is lost."""
        if cursor._result is not None:
            cursor._result.unbuffered_active = False
        cursor.connection = None
        self._connection.invalidate()

    def _with_exact_floats(self, text: str, bound: Any, where: str) -> str:
        """The statement with FLOAT columns as DOUBLE; unchanged when it has none."""
        names, fields = self._described(text, bound)
        refuse_repeated_columns(names, where)
        if not any(field.type_code == FIELD_TYPE.FLOAT for field in fields):
            return text
        if _ORDER.search(text):
            # A subquery without a limit has no order. A statement that has one takes no second.
            with contextlib.suppress(pymysql.ProgrammingError):
                self._described(f"{text}\n{_ALL_ROWS}", bound)
                text = f"{text}\n{_ALL_ROWS}"
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        # A percent sign in a name must reach a driver that formats.
        quoted = [quote(name) if bound else quote(name).replace("%%", "%") for name in names]
        picked = [
            f"{name} + 0e0 AS {name}" if field.type_code == FIELD_TYPE.FLOAT else name for name, field in zip(quoted, fields, strict=True)
        ]
        return f"SELECT {', '.join(picked)} FROM ({text}\n) AS exact"

    def _described(self, text: str, bound: Any) -> tuple[list[str], Sequence[Any]]:
        driver: Any = self._connection.connection.driver_connection
        with driver.cursor() as cursor:
            cursor.execute(f"SELECT * FROM ({text}\n) AS described LIMIT 0", bound or None)
            return _described(cursor)


def _frames(cursor: Any, rows: int | None, where: str) -> Iterator[pd.DataFrame]:
    names, fields = _described(cursor)
    types = [_arrow_type(field) for field in fields]
    whole: list[Any] = []
    first = True
    while True:
        fetched = [_plain_row(row, fields) for row in cursor.fetchmany(rows or _WHOLE_FETCH)]
        if rows is None and fetched:
            whole += fetched
            continue
        if rows is None or fetched or first:
            found = whole if rows is None else fetched
            try:
                frame = typed_frame(names, found, types, where)
            except SourceFormatError:
                _refuse_zero_dates(names, fields, found, where)
                raise
            yield frame
        first = False
        if rows is None or len(fetched) < rows:
            return


def _refuse_zero_dates(names: Sequence[str], fields: Sequence[Any], rows: Sequence[Sequence[Any]], where: str) -> None:
    """An error that names the first value that is no date; the driver leaves those as text."""
    for place, field in enumerate(fields):
        zero = next((row[place] for row in rows if isinstance(row[place], str)), None) if field.type_code in _DATES else None
        if zero is not None:
            raise SourceFormatError(
                where, f"column {names[place]!r} holds {zero}, which is no date.",
                "select NULLIF(column, 0) for zero dates, or the column cast to text, in a query.",
            )  # fmt: skip


def _described(cursor: Any) -> tuple[list[str], Sequence[Any]]:
    # The description leaves out flags and character set, which tell unsigned from signed and bytes from text.
    return [column[0] for column in cursor.description], cursor._result.fields


def _arrow_type(field: Any) -> pa.DataType | None:
    if field.type_code == FIELD_TYPE.BIT:
        return pa.uint64() if field.length > 63 else pa.int64()
    if field.type_code in _INTEGERS:
        return pa.uint64() if field.type_code == FIELD_TYPE.LONGLONG and field.flags & FLAG.UNSIGNED else pa.int64()
    if field.type_code in _BYTES_OR_TEXT:
        return pa.large_binary() if field.charsetnr == _BINARY_CHARSET else pa.large_string()
    if field.type_code == FIELD_TYPE.JSON:
        return pa.large_string()
    return _ARROW.get(field.type_code)  # decimals and geometries stay as the driver gives them


def _plain_row(row: Sequence[Any], fields: Sequence[Any]) -> Sequence[Any]:
    bits = [place for place, field in enumerate(fields) if field.type_code == FIELD_TYPE.BIT]
    if not bits:
        return row
    values = list(row)
    for place in bits:
        if values[place] is not None:
            values[place] = int.from_bytes(values[place], "big")
    return values


def _explain(error: BaseException, where: str) -> EtlError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = redact_url(str(error.args[1] if len(error.args) > 1 else error)).splitlines()[0].rstrip(".")
    numbered = f"{said} (error {number})" if number else said
    if number in _REFUSED:
        return AuthenticationError(where, f"the database refused the credentials ({numbered}).", "check user and password of the URL.")
    if number in _UNKNOWN_DATABASE:
        return ConfigurationError(where, f"{numbered}.", "correct the database in the URL.")
    if number in _MISSING:
        return SourceNotFoundError(where, f"{numbered}.", "correct the name of the table or column.")
    if number in _FORBIDDEN:
        return DatabaseRefusedError(where, f"the source database answered: {numbered}.", "grant SELECT to the user of the URL.")
    if number in _READ_ONLY:
        return DatabaseRefusedError(
            where, f"the source database answered: {numbered}.", "make the query read only; a source is never written."
        )
    lowered = said.lower()
    if "certificate verify failed" in lowered or "hostname mismatch" in lowered or "ssl is required" in lowered or "support ssl" in lowered:
        return ConfigurationError(
            where, f"the server's certificate is not trusted ({said}).",
            'set tls_ca_file to the authority that signed it, or tls="unverified" where the network is trusted.',
        )  # fmt: skip
    if number in {2003, 2005} and any(words in lowered for words in ("name or service not known", "nodename nor servname", "no address")):
        return ConfigurationError(where, f"the host is not known ({said}).", "correct the host in the URL.")
    if number in _TRANSIENT or isinstance(error, pymysql.InterfaceError | sa.exc.TimeoutError):
        return SourceUnavailableError(where, f"{numbered}.", "check that the server runs and that host and port of the URL are right.")
    return SourceFormatError(where, f"the query cannot be answered ({numbered}).", "correct the query or the table.")


__all__ = ["MysqlDatabase"]
