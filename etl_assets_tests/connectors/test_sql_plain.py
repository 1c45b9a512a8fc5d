"""The plain path, which SQL Server and Oracle take, run here with SQLite's driver: rows as the driver gives them, errors by their words."""

import contextlib
import datetime
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from etl_assets.connectors.databases.plain import PlainDatabase, explain_by_words
from etl_assets.connectors.databases.session import typed_frame
from etl_assets.errors import AuthenticationError, EtlError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets_tests.connectors.sql_values import cells


def frames_of(folder: Path, values: list[Any], rows: int | None) -> list[pd.DataFrame]:
    """The frames of a table with these values in one column, in their order."""
    with contextlib.closing(sqlite3.connect(folder / "t.db")) as connection, connection:
        connection.execute("CREATE TABLE t (v)")
        connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
    with PlainDatabase(make_url(f"sqlite:///{folder / 't.db'}")).open() as session:
        return list(session.frames(sa.text("SELECT v FROM t"), rows=rows, where="test"))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, None, 2**63 - 1], "Int64"), ([0.5, None, 1], "float64"), (["a", None, ""], "str"), ([None, None], "str"), ([], "str"),
        ([b"a", None], "object"), ([1, "a"], "object"), ([0.5, 2**53 + 1], "object"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_column_has_the_type_of_its_values(tmp_path: Path, values: list[Any], dtype: str) -> None:
    """Values of one kind give a dtype that holds them all, others stay as they are."""
    (frame,) = frames_of(tmp_path, values, None)
    assert str(frame["v"].dtype) == dtype


def test_an_instant_keeps_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instant with an offset is the same moment, also in a list, and under the setting of Arrow that pandera makes."""
    monkeypatch.setenv("PYARROW_IGNORE_TIMEZONE", "1")
    noon = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    instants = pa.timestamp("us", "UTC")
    frame = typed_frame(["one", "several"], [(noon, [noon]), (None, None)], [instants, pa.list_(instants)], "test")
    assert frame["one"][0] == noon
    assert pd.Timestamp(frame["several"][0][0], tz="UTC") == noon


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
@pytest.mark.parametrize("values", [[1, None, 3], [0.5, 1.5, None], ["a", None, "b"], [], [1, 2, 3, 4]], ids=repr)
def test_batches_are_the_whole_in_parts(tmp_path: Path, values: list[Any], rows: int) -> None:
    """Frames of any size hold the cells of the whole, in the dtype of the first one."""
    frames = frames_of(tmp_path, values, rows)
    together = pd.concat([frame["v"] for frame in frames], ignore_index=True)
    whole = pd.Series(values, dtype=frames[0]["v"].dtype)
    assert cells(together) == cells(whole)


@pytest.mark.parametrize(
    ("first", "later"),
    [(1, 1.5), (1, "a"), (1, 2**62 * 1.0), ("a", 1), ("a", b"b"), (0.5, 2**53 + 1), (0.5, "a"), (None, 1)],
    ids=repr,
)
def test_a_later_value_of_another_kind_is_an_error(tmp_path: Path, first: Any, later: Any) -> None:
    """The first frame decides: a value of another kind in a later one is refused, never made to fit."""
    with pytest.raises(SourceFormatError, match="column 'v' holds a value that is no"):
        frames_of(tmp_path, [first, later], 1)


MESSAGES = [
    ("Login failed for user 'etl'. (18456)", AuthenticationError),
    ("ORA-01017: invalid username/password; logon denied", AuthenticationError),
    ("ORA-00942: table or view does not exist", SourceNotFoundError),
    ("[42S02] Invalid object name 'orders'", SourceNotFoundError),
    ("[08S01] Communication link failure", SourceUnavailableError),
    ("[08001] Login timeout expired", SourceUnavailableError),
    ("ORA-12541: TNS:no listener", SourceUnavailableError),
    ("ORA-03113: end-of-file on communication channel", SourceUnavailableError),
    ("Database is not currently available (40613)", SourceUnavailableError),
    ("Incorrect syntax near 'FORM'", SourceFormatError),
    ("ORA-00904: \"X\": invalid identifier", SourceFormatError),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), MESSAGES)
def test_an_error_is_classed_by_its_words(message: str, expected: type[EtlError]) -> None:
    """The drivers of SQL Server and Oracle say in their text what recovers an error."""
    assert type(explain_by_words(sa.exc.OperationalError("SELECT 1", {}, Exception(message)), "orders")) is expected


def test_a_message_holds_no_password() -> None:
    """A URL that a driver quotes is shown without its password."""
    error = sa.exc.OperationalError("SELECT 1", {}, Exception("cannot connect to mssql://etl:sesame@host/db"))
    assert "sesame" not in str(explain_by_words(error, "orders"))


def test_an_error_of_nobody_stays_as_it_is() -> None:
    """What is no error of a database is not made one."""
    with pytest.raises(KeyError):
        explain_by_words(KeyError("x"), "orders")
