"""Reading MariaDB 10.11 and PostgreSQL 15: values, streams, sessions, only what is new.

Not here: errors and TLS (`test_database_errors.py`), loading (`test_database_loads.py`), what the embedded PostgreSQL 18, SQLite and
DuckDB answer (`../connectors/`).
"""

import contextlib
import datetime
import itertools
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from sqlalchemy.engine import make_url

from etl_assets.accounting import open_account
from etl_assets.connectors.incremental import Incremental, Window
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import (
    DatabaseRefusedError,
    DatabaseUnavailableError,
    EtlError,
    PermanentError,
    SourceFormatError,
    SourceUnavailableError,
)
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets.watermarks import Value, Watermark, from_text, to_text
from etl_assets_tests.acceptance.databases import TENS, Server
from etl_assets_tests.connectors.places import Place
from etl_assets_tests.connectors.sql_values import MARIADB, POSTGRESQL, Case, cells

UTC = datetime.UTC
WEST = datetime.timezone(datetime.timedelta(hours=-5))
# What is tried again waits so long that nobody takes it for an answer at once.
PATIENT = Retry(attempts=2, initial_seconds=10, maximum_seconds=10, jitter=False)


# -- values ------------------------------------------------------------------------------------------------------------

ALL = [pytest.param(name, case, id=f"{name}-{case.name}") for name, cases in (("mariadb", MARIADB), ("15", POSTGRESQL)) for case in cases]


@pytest.mark.parametrize(("name", "case"), ALL)
def test_a_column_arrives_exactly(matrix: Callable[[str], SqlResource], name: str, case: Case) -> None:
    """Each value arrives in its type with every digit, NULL beside it, in a dtype that can hold both."""
    column = matrix(name).read_query(f"SELECT v FROM {case.name} ORDER BY place")["v"]
    assert (str(column.dtype), cells(column)) == (case.dtype, case.shown)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_batches_are_the_whole_in_parts(matrix: Callable[[str], SqlResource], name: str, case: Case) -> None:
    """Small frames have the dtype of the whole, and together its cells."""
    frames = matrix(name).read_query_batches(f"SELECT v FROM {case.name} ORDER BY place", rows=1)
    columns = [frame["v"] for frame in frames]
    assert {str(column.dtype) for column in columns} == {case.dtype}
    assert cells(pd.concat(columns, ignore_index=True)) == case.shown


@pytest.mark.parametrize("condition", ["place = 2", "place < 0"], ids=["NULL only", "no rows"])
@pytest.mark.parametrize(("name", "case"), ALL)
def test_the_values_do_not_decide_the_dtype(matrix: Callable[[str], SqlResource], name: str, case: Case, condition: str) -> None:
    """A column of NULLs and one without rows have the dtype of one with values."""
    column = matrix(name).read_query(f"SELECT v FROM {case.name} WHERE {condition}")["v"]
    assert str(column.dtype) == case.dtype


@pytest.mark.parametrize("rows", [7, 1000])
def test_many_rows_come_in_order_and_in_frames_of_the_size(server: Server, rows: int) -> None:
    """Every frame but the last has the size that was asked for, and the rows keep their order."""
    frames = list(server.source().read_query_batches(server.numbers.format(rows=1003), rows=rows))
    whole, rest = divmod(1003, rows)
    assert [len(frame) for frame in frames] == [rows] * whole + [rest]
    assert pd.concat(frames)["n"].tolist() == list(range(1, 1004))


def test_mariadb_an_instant_is_told_from_a_local_time(maria: Server) -> None:
    """What a session five hours west of Greenwich wrote: a TIMESTAMP comes as the instant in UTC, a DATETIME as it was written."""
    maria.execute(
        "SET time_zone = '-05:00'",
        "CREATE TABLE t (at TIMESTAMP NULL, local DATETIME)",
        "INSERT INTO t VALUES ('2026-03-01 12:00:00', '2026-03-01 12:00:00')",
    )
    (row,) = maria.source().read_table("t").itertuples(index=False)
    assert tuple(row) == (pd.Timestamp("2026-03-01T17:00:00Z"), pd.Timestamp("2026-03-01 12:00:00"))


ZERO_DATES = [
    ("DATE", "0000-00-00", "0000-00-00"),
    ("DATETIME", "0000-00-00", "0000-00-00 00:00:00"),
    ("DATETIME(6)", "0000-00-00", "0000-00-00 00:00:00.000000"),
    ("TIMESTAMP NULL", "0000-00-00", "0000-00-00 00:00:00"),
    ("DATE", "2024-00-10", "2024-00-10"),
    ("DATETIME", "2024-02-00 01:02:03", "2024-02-00 01:02:03"),
]


@pytest.mark.parametrize(("type_", "value", "named"), ZERO_DATES)
def test_mariadb_a_zero_date_is_named(maria: Server, type_: str, value: str, named: str) -> None:
    """A date that is none is an error that names column and value, though it stands below others."""
    maria.execute("SET sql_mode = ''", f"CREATE TABLE t (id int, shipped {type_})", f"INSERT INTO t VALUES (1, NULL), (2, '{value}')")
    with pytest.raises(SourceFormatError, match=f"column 'shipped' holds {named}, which is no date"):
        maria.source().read_table("t")


@pytest.mark.parametrize(("picked", "expected"), [("NULLIF(shipped, 0)", [None]), ("CAST(shipped AS CHAR)", ["0000-00-00"])])
def test_mariadb_what_the_error_of_a_zero_date_says_helps(maria: Server, picked: str, expected: list[Any]) -> None:
    """A zero date can be read as NULL or as its text, in the two ways that the error tells."""
    maria.execute("SET sql_mode = ''", "CREATE TABLE t (shipped DATE)", "INSERT INTO t VALUES ('0000-00-00')")
    found = maria.source().read_query(f"SELECT {picked} AS v FROM t")["v"]
    assert [None if pd.isna(value) else value for value in found] == expected


def test_mariadb_a_query_with_a_float_keeps_its_order(maria: Server) -> None:
    """ORDER BY holds where a FLOAT is among the columns, which are read through a query around it."""
    maria.execute("CREATE TABLE t (id int, f FLOAT)", "INSERT INTO t VALUES (1, 0.3), (2, 0.1), (3, 0.2)")
    assert maria.source().read_query("SELECT id, f FROM t ORDER BY f -- ascending")["id"].tolist() == [2, 3, 1]


def test_mariadb_a_query_with_a_float_keeps_its_limit(maria: Server) -> None:
    """ORDER BY with a LIMIT of its own gives these rows in that order."""
    maria.execute("CREATE TABLE t (id int, f FLOAT)", "INSERT INTO t VALUES (1, 0.3), (2, 0.1), (3, 0.2)")
    assert maria.source().read_query("SELECT id, f FROM t ORDER BY f DESC LIMIT 2")["id"].tolist() == [1, 3]


PARAMETERS = [
    ("it's 100% :v \\ \"x\"\n", "CHAR", "it's 100% :v \\ \"x\"\n"),
    (2**64 - 1, "UNSIGNED", 2**64 - 1),
    (Decimal("0.1000000001"), "DECIMAL(38,10)", Decimal("0.1000000001")),
    (datetime.date(2026, 3, 1), "DATE", datetime.date(2026, 3, 1)),
    (datetime.datetime(2026, 3, 1, 12, 0, 0, 1), "DATETIME(6)", pd.Timestamp("2026-03-01 12:00:00.000001")),
    (datetime.datetime(2026, 3, 1, 12, tzinfo=WEST), "DATETIME", pd.Timestamp("2026-03-01 17:00")),
    (pd.Timestamp("2026-03-01 12:00", tz="America/New_York"), "DATETIME", pd.Timestamp("2026-03-01 17:00")),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_", "expected"), PARAMETERS, ids=repr)
def test_mariadb_a_parameter_is_bound(maria: Server, value: object, type_: str, expected: object) -> None:
    """A parameter arrives as the value it is; an instant as UTC, which is the zone of the session."""
    assert maria.source().read_query(f"SELECT CAST(:v AS {type_}) AS v", {"v": value})["v"].tolist() == [expected]


def test_mariadb_a_value_that_cannot_be_bound_is_permanent(maria: Server) -> None:
    """A value of a type that the driver does not know is an error of this project."""
    with pytest.raises(PermanentError, match="dict cannot be bound"):
        maria.source().read_query("SELECT :v AS v", {"v": {"a": 1}})


# -- streaming ---------------------------------------------------------------------------------------------------------

MEASURE = """
    import sys
    from pathlib import Path
    from etl_assets.retry_settings import NO_RETRY
    from etl_assets.connectors.sql import SqlResource

    url, rows = sys.argv[1], int(sys.argv[2])
    query = f"SELECT seq, REPEAT('x', 100) AS t FROM seq_1_to_{rows}"
    read = sum(map(len, SqlResource(url=url, retry=NO_RETRY).read_query_batches(query, rows=20_000)))
    assert read == rows, read
    # ru_maxrss would start with the size of the process that started this one.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(int(line.split()[1]) // 1024)
"""


def test_mariadb_memory_does_not_grow_with_the_rows(maria: Server) -> None:
    """Five times as many rows, 80 MiB more, take no more than 40 MiB more memory at the peak."""
    peaks = []
    for rows in (200_000, 1_000_000):
        command = [sys.executable, "-c", textwrap.dedent(MEASURE), maria.url, str(rows)]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 40


def test_an_early_end_does_not_read_on(server: Server) -> None:
    """Who stops after the first frame does not wait for the rest, which would take longer."""
    frames = server.source().read_query_batches(server.numbers.format(rows=server.many), rows=10)
    next(frames)
    started = time.monotonic()
    frames.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("end", ["close", "forget"])
def test_an_early_end_leaves_no_session(server: Server, end: str) -> None:
    """After an early end the server has no session of ours any more, whether the frames were closed or just dropped."""
    frames = server.source().read_query_batches(server.numbers.format(rows=server.many), rows=10)
    ours = int(next(frames)["session"][0])
    assert (ours,) in server.execute(server.sessions)
    if end == "close":
        frames.close()  # type: ignore[attr-defined]
    del frames
    # The server ends a session a little after the client has closed it.
    deadline = time.monotonic() + 20
    while (ours,) in server.execute(server.sessions):
        assert time.monotonic() < deadline


def test_an_early_end_reports_nothing(server: Server) -> None:
    """A read that was not finished is not in the account, so that no load passes for whole."""
    with open_account() as account:
        frames = server.source().read_query_batches(server.numbers.format(rows=100), incremental=Incremental(column="n"), rows=10)
        next(frames)
        frames.close()  # type: ignore[attr-defined]
    assert (account.reads, account.reached) == ([], {})


# -- sessions ----------------------------------------------------------------------------------------------------------

WRITES = {
    "mariadb": [
        "CREATE FUNCTION write_one() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO t VALUES (9); RETURN 1; END",
    ],
    "postgresql": ["CREATE FUNCTION write_one() RETURNS int LANGUAGE sql AS 'INSERT INTO public.t VALUES (9) RETURNING 1'"],
}


@pytest.fixture
def writable(server: Server) -> Server:
    """A database with a table that could be written."""
    server.execute("CREATE TABLE t (n int)", *WRITES[make_url(server.url).get_backend_name().replace("mysql", "mariadb")])
    return server


@pytest.mark.parametrize("query", ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1) RETURNING n", "DELETE FROM t", "DROP TABLE t"])
def test_a_statement_that_writes_is_refused_for_good(writable: Server, query: str) -> None:
    """A query that is no SELECT is one error that repeating does not help."""
    with pytest.raises(PermanentError):
        writable.source(retry=PATIENT).read_query(query)


def test_a_function_that_writes_is_refused_for_good(writable: Server) -> None:
    """A SELECT that writes is refused by the server, and the error says that a source is never written."""
    with pytest.raises(DatabaseRefusedError, match="a source is never written"):
        writable.source(retry=PATIENT).read_query("SELECT write_one() AS v")


@pytest.mark.parametrize("query", ["INSERT INTO t VALUES (1) RETURNING n", "SELECT write_one() AS v"])
def test_nothing_is_written(writable: Server, query: str) -> None:
    """The table is as it was after a query that tried to write."""
    with contextlib.suppress(EtlError):
        writable.source().read_query(query)
    assert writable.execute("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize(
    ("kind", "query", "error", "said"),
    [
        ("mariadb", "SELECT SLEEP(20) AS v", SourceUnavailableError, "max_statement_time exceeded"),
        ("postgresql 15", "SELECT pg_sleep(20)", DatabaseUnavailableError, "statement timeout"),
    ],
)
def test_a_slow_query_ends_at_its_limit(request: pytest.FixtureRequest, kind: str, query: str, error: type[EtlError], said: str) -> None:
    """A query that takes longer than allowed is ended by the server, which may not be so slow the next time."""
    url = request.getfixturevalue("mariadb_url" if kind == "mariadb" else "postgres_url")
    with pytest.raises(error, match=said):
        SqlResource(url=url, retry=NO_RETRY, statement_timeout_seconds=0.2).read_query(query)


# -- only what is new --------------------------------------------------------------------------------------------------


@pytest.fixture
def place(server: Server) -> Place:
    """A database of each, to be read by watermarks."""
    return Place(source=server.source(), execute=lambda *statements: server.execute(*statements) and None)


@pytest.fixture
def maria_place(maria: Server) -> Place:
    """A database of MariaDB, to be read by watermarks."""
    return Place(source=maria.source(), execute=lambda *statements: maria.execute(*statements) and None)


@pytest.mark.parametrize(
    ("committed", "incremental", "ids", "reached"),
    [
        (None, Incremental(column="n"), [1, 2, 3, 4, 5], 50),
        (None, Incremental(column="n", start=20, most_rows=2), [2, 3], 30),
        (30, Incremental(column="n"), [4, 5], 50),
        (30, Incremental(column="n", lag=10), [2, 3, 4, 5], 50),
        (50, Incremental(column="n"), [], 50),
        (50, Incremental(column="n", include_start=True), [5], 50),
    ],
    ids=str,
)
def test_rows_above_the_watermark_are_read(
    place: Place, committed: int | None, incremental: Incremental, ids: list[int], reached: int
) -> None:
    """Rows above the lower bound come, and the highest value read is the next watermark."""
    place.execute(*TENS)
    assert place.ids({} if committed is None else {"t by n": committed}, incremental) == (ids, {"t by n": reached})


def test_rows_without_a_value_stop_the_read(place: Place) -> None:
    """Rows that no watermark ever reaches are an error that counts them."""
    place.execute("CREATE TABLE t (id int, n int)", "INSERT INTO t VALUES (1, 10), (2, NULL)")
    with pytest.raises(SourceFormatError, match="1 rows have no n"):
        place.ids({}, Incremental(column="n"))


# Type, a value, and the next one that the type can tell from it.
NEIGHBOURS = [
    ("BIGINT", "9007199254740993", "9007199254740994"),
    ("BIGINT UNSIGNED", "18446744073709551614", "18446744073709551615"),
    ("DECIMAL(38,10)", "1234567890123456789012345678.0000000001", "1234567890123456789012345678.0000000002"),
    ("DOUBLE", "0.1", "0.10000000000000002"),
    ("FLOAT", "0.1", "0.10000001"),
    ("FLOAT", "16777216", "16777218"),
    ("VARCHAR(20)", "it''s 9", "it''s a"),
    ("DATE", "0001-01-01", "0001-01-02"),
    ("DATETIME(6)", "2026-03-01 12:00:00.000001", "2026-03-01 12:00:00.000002"),
    ("TIMESTAMP(6) NULL", "2026-03-01 12:00:00.000001", "2026-03-01 12:00:00.000002"),
    ("TIMESTAMP NULL", "2026-03-01 12:00:00", "2026-03-01 12:00:01"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "value", "following"), NEIGHBOURS)
def test_mariadb_a_value_tells_itself_from_the_next(maria_place: Place, type_: str, value: str, following: str) -> None:
    """Written as text and read back, the watermark lets through the next value that the type knows, and not itself."""
    maria_place.execute(f"CREATE TABLE t (id int, n {type_})", f"INSERT INTO t VALUES (1, '{value}')")
    first, reached = maria_place.ids({}, Incremental(column="n"))
    kept = {source: from_text(source, *to_text(Watermark(source=source, value=given))).value for source, given in reached.items()}
    maria_place.execute(f"INSERT INTO t VALUES (2, '{following}')")
    assert (first, maria_place.ids(kept, Incremental(column="n"))[0]) == ([1], [2])


def test_mariadb_text_is_compared_in_the_order_of_its_collation(maria_place: Place) -> None:
    """Where the collation orders text without case, so do the reads: each gives the rows that came since the last one."""
    maria_place.execute("CREATE TABLE t (id int, n varchar(9) COLLATE utf8mb4_general_ci)")
    committed: dict[str, Value] = {}
    reads = []
    # Bytes would be ordered B, C, a, d.
    for rows in ("(1, 'a'), (2, 'B')", "(3, 'C'), (4, 'd')", "(5, 'E')"):
        maria_place.execute(f"INSERT INTO t VALUES {rows}")
        ids, reached = maria_place.ids(committed, Incremental(column="n"))
        committed.update(reached)
        reads.append(ids)
    assert reads == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("most_rows", [1, 2])
def test_mariadb_texts_that_the_collation_takes_for_equal_come_together(maria_place: Place, most_rows: int) -> None:
    """Values that differ in case, accent or blanks at the end only are ties: none is lost between two reads."""
    maria_place.execute(
        "CREATE TABLE t (id int, n varchar(9) COLLATE utf8mb4_general_ci)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'A'), (3, 'á '), (4, 'b'), (5, 'B ')",
    )
    assert maria_place.all_ids(Incremental(column="n", most_rows=most_rows)) == [[1, 2, 3], [4, 5]]


INSTANTS = {"mariadb": "TIMESTAMP NULL", "postgresql": "timestamptz"}


@pytest.mark.parametrize("zone", [UTC, WEST], ids=str)
def test_windows_of_instants_hold_every_row_once(server: Server, zone: datetime.tzinfo) -> None:
    """Days side by side, of whatever zone, hold the rows of those days, midnight included, each once."""
    type_ = INSTANTS[make_url(server.url).get_backend_name().replace("mysql", "mariadb")]
    midnights = [datetime.datetime(2026, 3, 23 + day, tzinfo=zone) for day in range(4)]
    moments = [midnights[0] + datetime.timedelta(hours=4 * step) for step in range(-6, 24)]
    rows = ", ".join(f"({i}, '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}')" for i, moment in enumerate(moments))
    zoned = "SET time_zone = '+00:00'" if type_.endswith("NULL") else "SET TIME ZONE 'UTC'"
    server.execute(f"CREATE TABLE t (id int, at {type_})", zoned, f"INSERT INTO t VALUES {rows}")
    windows = [Window(column="at", start=start, end=end) for start, end in itertools.pairwise(midnights)]
    days = [sorted(server.source().read_table("t", window=window)["id"].tolist()) for window in windows]
    assert days == [[*range(6, 12)], [*range(12, 18)], [*range(18, 24)]]


@pytest.mark.parametrize(("start", "end", "ids"), [(Decimal("1.10"), Decimal("1.12"), [2, 3]), ("1.11", None, [3, 4])])
def test_a_window_of_decimals_is_exact(place: Place, start: Value, end: Value | None, ids: list[int]) -> None:
    """Bounds are compared as decimals: closed at the start, open at the end."""
    place.execute("CREATE TABLE t (id int, n decimal(5,2))", "INSERT INTO t VALUES (1, 1.09), (2, 1.10), (3, 1.11), (4, 1.12)")
    assert sorted(place.source.read_table("t", window=Window(column="n", start=start, end=end))["id"].tolist()) == ids
