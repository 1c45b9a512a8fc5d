"""The SQL connector and the loader against servers of other versions and vendors: MariaDB 10.11 and PostgreSQL 15, both with TLS too.

Not here: what the embedded PostgreSQL 18, SQLite and DuckDB answer (`../connectors/`, `../loading/`).
"""

import contextlib
import datetime
import functools
import itertools
import logging
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import psycopg2
import pymysql
import pytest
from pandera.typing import DataFrame
from sqlalchemy.engine import make_url

from etl_assets.accounting import open_account
from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.connectors.incremental import Incremental, Window
from etl_assets.connectors.retrying import NO_RETRY, Retry
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    EtlError,
    PermanentError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
    UnstorableValueError,
)
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import ColumnSpec, LoadIdentity, LoadRequest, ReplaceStrategy, TableRef, TableSpec
from etl_assets.watermarks import Value, Watermark, from_text, to_text
from etl_assets_tests.acceptance.database_servers import MariaDb, Postgres15
from etl_assets_tests.connectors.places import Place, executed
from etl_assets_tests.connectors.sql_values import MARIADB, POSTGRESQL, Case, cells, table_of

UTC = datetime.UTC
WEST = datetime.timezone(datetime.timedelta(hours=-5))
# What is tried again waits so long that nobody takes it for an answer at once.
PATIENT = Retry(attempts=2, initial_seconds=10, maximum_seconds=10, jitter=False)
AT_ONCE_SECONDS = 5
EAGER = Retry(attempts=100, deadline_seconds=60, initial_seconds=0.1, maximum_seconds=0.1, jitter=False)
GUEST = "guest-word"


@dataclass(frozen=True, kw_only=True)
class Server:
    """What both servers offer to the tests.

    Attributes:
        url: Of an empty database.
        execute: Runs statements in it; the rows of the last one.
        numbers: A query of the integers from 1 to `{rows}`, with who answers as `session`; rows come one after the other.
        sessions: A query of the sessions that the server has.
        many: Rows that nobody reads within seconds.
    """

    url: str
    execute: Callable[..., list[tuple[Any, ...]]]
    numbers: str
    sessions: str
    many: int

    def source(self, *, retry: Retry = NO_RETRY, **options: Any) -> SqlResource:
        """The database as a resource."""
        return SqlResource(**{"url": self.url, "retry": retry, **options})

    def other(self, **changes: Any) -> str:
        """The URL with parts changed."""
        return make_url(self.url).set(**changes).render_as_string(hide_password=False)


def mariadb_in(server: MariaDb, url: str) -> Server:
    """A database of MariaDB."""
    name = make_url(url).database
    return Server(
        url=url,
        execute=lambda *statements: server.execute(f"USE {name}", *statements),
        numbers="SELECT seq AS n, CONNECTION_ID() AS session FROM seq_1_to_{rows}",
        sessions="SELECT id FROM information_schema.processlist",
        many=3_000_000,
    )


def postgres_in(url: str) -> Server:
    """A database of PostgreSQL 15."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    def execute(*statements: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    return Server(
        url=url,
        execute=execute,
        numbers="SELECT n, pg_backend_pid() AS session FROM (SELECT generate_series(1, {rows}) AS n) AS x",
        sessions="SELECT pid FROM pg_stat_activity",
        many=100_000_000,
    )


@pytest.fixture(scope="module")
def postgres_database(postgres15: Postgres15) -> Server:
    """A database of PostgreSQL 15 for the tests that want an empty one."""
    postgres15.server.create_database("test_databases")
    return postgres_in(postgres15.url("test_databases"))


@pytest.fixture
def maria(mariadb: MariaDb, mariadb_url: str) -> Server:
    """A new, empty database of MariaDB."""
    return mariadb_in(mariadb, mariadb_url)


@pytest.fixture
def postgres_url(postgres_database: Server) -> str:
    """URL of an empty database of PostgreSQL 15: emptied, because a new one for each test would take most of the time."""
    gone = [f"DROP SCHEMA IF EXISTS {schema} CASCADE" for schema in ("etl", "raw", "public")]
    postgres_database.execute(*gone, "CREATE SCHEMA public", "GRANT USAGE ON SCHEMA public TO PUBLIC")
    return postgres_database.url


@pytest.fixture
def target(postgres_url: str) -> PostgresResource:
    """An empty database of PostgreSQL 15 to load into."""
    return PostgresResource(url=postgres_url)


@pytest.fixture(params=["mariadb", "postgresql 15"])
def server(request: pytest.FixtureRequest) -> Server:
    """An empty database of each."""
    if request.param == "mariadb":
        return mariadb_in(request.getfixturevalue("mariadb"), request.getfixturevalue("mariadb_url"))
    return postgres_in(request.getfixturevalue("postgres_url"))


# -- values ------------------------------------------------------------------------------------------------------------

ALL = [pytest.param(name, case, id=f"{name}-{case.name}") for name, cases in (("mariadb", MARIADB), ("15", POSTGRESQL)) for case in cases]


@pytest.fixture(scope="module")
def matrix(mariadb_server: MariaDb, postgres15: Postgres15) -> Callable[[str], SqlResource]:
    """Both databases with a table per case."""
    mariadb_server.start()
    mariadb_server.execute("CREATE DATABASE matrix")
    for case in MARIADB:
        mariadb_server.execute("USE matrix", *table_of(case))
    postgres15.server.create_database("matrix")
    url = postgres15.url("matrix")
    executed(url, *(statement for case in POSTGRESQL for statement in table_of(case)))
    urls = {"mariadb": mariadb_server.url("matrix"), "15": url}
    return lambda name: SqlResource(url=urls[name], retry=NO_RETRY)


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
    from etl_assets.connectors.retrying import NO_RETRY
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


TENS = ("CREATE TABLE t (id int, n int)", "INSERT INTO t VALUES (1, 10), (2, 20), (3, 30), (4, 40), (5, 50)")


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


# -- errors ------------------------------------------------------------------------------------------------------------

Made = Callable[[Server], SqlResource]


def altered(**changes: Any) -> Made:
    """The database under a URL of other parts."""
    return lambda server: server.source(url=server.other(**changes), retry=PATIENT)


AS_GUEST = altered(username="guest", password=GUEST)
FOR_GOOD: dict[str, tuple[Made, str, type[EtlError], str]] = {
    "wrong password": (altered(password="sesame-wrong"), "t", AuthenticationError, "check user and password"),
    "unknown user": (altered(username="nobody"), "t", AuthenticationError, "check user and password"),
    "unknown database": (altered(database="nowhere"), "t", ConfigurationError, "nowhere"),
    "missing table": (altered(), "absent", SourceNotFoundError, "absent"),
    "missing schema": (altered(), "nowhere.t", SourceNotFoundError, "nowhere"),
    "missing column": (altered(), "t(absent)", SourceNotFoundError, "absent"),
    "no right to the table": (AS_GUEST, "t", DatabaseRefusedError, "grant"),
    "no right to the column": (AS_GUEST, "partly(hidden)", DatabaseRefusedError, "grant"),
}


@pytest.fixture
def guarded(server: Server) -> Iterator[Server]:
    """A database with two tables, and a user who may read one column of them."""
    server.execute("CREATE TABLE t (n int)", "CREATE TABLE partly (shown int, hidden int)")
    if server.url.startswith("mysql"):
        guest = "guest@'127.0.0.1'"
        server.execute(f"CREATE OR REPLACE USER {guest} IDENTIFIED BY '{GUEST}'", f"GRANT SELECT (shown) ON partly TO {guest}")
        yield server
        server.execute(f"DROP USER {guest}")
    else:
        server.execute(f"CREATE ROLE guest LOGIN PASSWORD '{GUEST}'", "GRANT SELECT (shown) ON partly TO guest")
        yield server
        server.execute("DROP OWNED BY guest", "DROP ROLE guest")


def read_of(source: SqlResource, asked: str) -> pd.DataFrame:
    """The table that is written as schema.table(column)."""
    table, _, column = asked.rstrip(")").partition("(")
    schema, _, name = table.rpartition(".")
    return source.read_table(name, schema=schema or None, columns=[column] if column else None)


@pytest.mark.parametrize("name", FOR_GOOD)
def test_what_waiting_does_not_help_is_said_at_once(guarded: Server, name: str) -> None:
    """Each failure is the error whose recovery fits, without the password in it, and nobody waits for another try."""
    made, asked, error, said = FOR_GOOD[name]
    source = made(guarded)
    started = time.monotonic()
    with pytest.raises(error, match=said) as caught:
        read_of(source, asked)
    assert time.monotonic() - started < AT_ONCE_SECONDS
    assert str(make_url(source.url).password) not in str(caught.value)


def test_an_unknown_host_is_an_error_of_configuration(server: Server) -> None:
    """A host that no name server knows is not tried again; how long the name server thinks about it is its own affair."""
    with pytest.raises(ConfigurationError, match="host is not known"):
        server.source(url=server.other(host="no.such.host.invalid")).read_query("SELECT 1 AS v")


def test_mariadb_a_database_without_any_right_is_no_matter_of_the_password(mariadb: MariaDb, maria: Server) -> None:
    """A user who may not enter a database learns that a right is missing, as in PostgreSQL."""
    user = f"outsider_{uuid.uuid4().hex[:8]}"
    mariadb.execute(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{GUEST}'")
    with pytest.raises(DatabaseRefusedError, match="grant SELECT"):
        maria.source(url=maria.other(username=user, password=GUEST), retry=PATIENT).read_query("SELECT 1 AS v")


class FailedOnce(logging.Handler):
    """What is logged before the waits of retries, and an event that is set once an attempt has failed."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        self.event.set()


@pytest.fixture
def failed_once() -> Iterator[FailedOnce]:
    """Tells when the first attempt of a read has failed."""
    handler = FailedOnce()
    logging.getLogger("etl_assets.retry").addHandler(handler)
    yield handler
    logging.getLogger("etl_assets.retry").removeHandler(handler)


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """A thread that reads while the test does something to the server."""
    # It is not the other way round, because a server ends with the thread that started it.
    with ThreadPoolExecutor(1) as pool:
        yield pool


def awaited(found: Callable[[], list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """What is found once there is something."""
    deadline = time.monotonic() + 20
    while not (rows := found()):
        assert time.monotonic() < deadline
    return rows


def test_mariadb_a_server_that_dies_amid_the_rows_is_one_error(mariadb: MariaDb, maria: Server) -> None:
    """After rows have been handed out a kill -9 is one transient error of this project, and nothing is tried again."""
    frames = maria.source(retry=EAGER).read_query_batches(maria.numbers.format(rows=10_000_000), rows=1000)
    next(frames)
    mariadb.kill()
    with pytest.raises(SourceUnavailableError, match="Lost connection") as caught:
        list(frames)
    assert isinstance(caught.value.__cause__, pymysql.MySQLError)


def test_postgresql_a_session_that_ends_amid_the_rows_is_one_error(postgres_url: str) -> None:
    """After rows have been handed out a session that the server ends is one transient error of this project."""
    here = postgres_in(postgres_url)
    frames = here.source(retry=EAGER).read_query_batches(here.numbers.format(rows=10_000_000), rows=1000)
    ours = int(next(frames)["session"][0])
    here.execute(f"SELECT pg_terminate_backend({ours})")
    with pytest.raises(DatabaseUnavailableError):
        list(frames)


def test_mariadb_a_server_that_is_back_in_time_is_read(
    mariadb: MariaDb, maria: Server, aside: ThreadPoolExecutor, failed_once: FailedOnce
) -> None:
    """A server that was killed and is started again while the read waits gives its rows."""
    maria.execute(*TENS)
    mariadb.kill()
    reading = aside.submit(maria.source(retry=EAGER).read_table, "t")
    assert failed_once.event.wait(20)
    mariadb.start()
    assert len(reading.result()) == 5


def test_mariadb_a_server_that_dies_before_the_first_row_is_asked_again(
    mariadb: MariaDb, maria: Server, aside: ThreadPoolExecutor, failed_once: FailedOnce
) -> None:
    """A kill -9 while the server still works on the query costs one attempt: a later one gives all rows, once."""
    query = "SELECT seq, SLEEP(0.2) AS slept FROM seq_1_to_5"
    reading = aside.submit(lambda: [frame["seq"].tolist() for frame in maria.source(retry=EAGER).read_query_batches(query, rows=2)])
    awaited(lambda: mariadb.execute("SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT seq, SLEEP%'"))
    mariadb.kill()
    assert failed_once.event.wait(20)
    mariadb.start()
    assert ("Lost connection" in failed_once.said[0], reading.result()) == (True, [[1, 2], [3, 4], [5]])


@pytest.fixture
def crowd(mariadb: MariaDb) -> Iterator[contextlib.ExitStack]:
    """Connections that leave no place in MariaDB; closing the stack makes room."""
    (limit,) = mariadb.execute("SELECT @@max_connections")[0]
    mariadb.execute("SET GLOBAL max_connections = 10")
    address = {"host": mariadb.host, "port": mariadb.port, "user": mariadb.user, "password": mariadb.password}
    with contextlib.ExitStack() as stack:
        # One more than the limit is kept for administrators such as root.
        for _ in range(10 + 1):
            stack.enter_context(contextlib.closing(pymysql.connect(**address)))
        yield stack
    mariadb.execute(f"SET GLOBAL max_connections = {limit}")


def test_mariadb_a_full_server_is_unavailable(maria: Server, crowd: contextlib.ExitStack) -> None:
    """A server without a place for another connection may have one later: a transient error in its words."""
    with pytest.raises(SourceUnavailableError, match="Too many connections"):
        maria.source().read_query("SELECT 1 AS v")


def test_mariadb_a_full_server_is_read_when_it_has_room(
    maria: Server, crowd: contextlib.ExitStack, aside: ThreadPoolExecutor, failed_once: FailedOnce
) -> None:
    """The read is tried again until a place is free."""
    reading = aside.submit(maria.source(retry=EAGER).read_query, "SELECT 1 AS v")
    assert failed_once.event.wait(20)
    crowd.close()
    assert ("Too many connections" in failed_once.said[0], reading.result()["v"].tolist()) == (True, [1])


def test_postgresql_a_full_server_is_unavailable(postgres_url: str) -> None:
    """The same in PostgreSQL."""
    role = f"lonely_{uuid.uuid4().hex[:8]}"
    here = postgres_in(postgres_url)
    here.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{GUEST}' CONNECTION LIMIT 0")
    with pytest.raises(DatabaseUnavailableError, match="too many connections"):
        here.source(url=here.other(username=role, password=GUEST)).read_query("SELECT 1 AS v")


def test_mariadb_a_query_that_somebody_ends_is_transient(mariadb: MariaDb, maria: Server, aside: ThreadPoolExecutor) -> None:
    """KILL QUERY, which an administrator may send to any query, is no mistake in the query."""
    query = "SELECT g.seq FROM seq_1_to_100000 AS g, seq_1_to_100000 AS h WHERE g.seq + h.seq = 0"
    reading = aside.submit(maria.source().read_query, query)
    ((session,),) = awaited(lambda: mariadb.execute("SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT g.seq %'"))
    mariadb.execute(f"KILL QUERY {session}")
    with pytest.raises(SourceUnavailableError, match="interrupted"):
        reading.result()


# -- TLS ---------------------------------------------------------------------------------------------------------------

CIPHER = {
    "mariadb": "SELECT variable_value AS v FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'",
    "postgresql 15": "SELECT coalesce(cipher, '') AS v FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
}


@dataclass(frozen=True, kw_only=True)
class TlsServer:
    """A server that offers TLS.

    Attributes:
        url: Its URL under a host.
        authority: File of the authority that signed its certificate.
        stranger: File of another one.
        cipher: A query for the cipher of the session.
        unnamed: A host that leads to it and that its certificate does not name.
    """

    url: Callable[..., str]
    authority: Path
    stranger: Path
    cipher: str
    unnamed: str

    def read(self, host: str, **options: Any) -> str:
        """The cipher that a read under this host has; "" for none."""
        (cipher,) = SqlResource(url=self.url(host=host), retry=PATIENT, **options).read_query(self.cipher)["v"]
        return str(cipher)


@pytest.fixture(params=["mariadb", "postgresql 15"])
def encrypted(request: pytest.FixtureRequest) -> TlsServer:
    """Each server with TLS."""
    if request.param == "mariadb":
        maria: MariaDb = request.getfixturevalue("mariadb")
        tls, url, unnamed = maria.certificates, maria.url, "127.1"
    else:
        postgres: Postgres15 = request.getfixturevalue("postgres15_tls")
        assert postgres.certificates is not None
        # libpq takes the address from here, and the name that it verifies from the host.
        tls, url, unnamed = postgres.certificates, functools.partial(postgres.url, hostaddr="127.0.0.1"), "db.example.com"
    return TlsServer(url=url, authority=tls.authority, stranger=tls.stranger, cipher=CIPHER[request.param], unnamed=unnamed)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_of_the_authority_is_trusted(encrypted: TlsServer, host: str) -> None:
    """A certificate for this name, signed by the authority of the file, makes an encrypted connection."""
    assert encrypted.read(host, tls="verified", tls_ca_file=str(encrypted.authority)) != ""


def refused_at_once(encrypted: TlsServer, host: str, **options: Any) -> ConfigurationError:
    """The error of a read that nobody waited for."""
    started = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        encrypted.read(host, **options)
    assert time.monotonic() - started < AT_ONCE_SECONDS
    return caught.value


def test_a_certificate_of_a_stranger_is_refused_at_once(encrypted: TlsServer) -> None:
    """A certificate that another authority signed is an error of configuration that is not tried again."""
    error = refused_at_once(encrypted, "localhost", tls="verified", tls_ca_file=str(encrypted.stranger))
    assert "certificate is not trusted" in error.cause


def test_a_certificate_that_the_system_does_not_know_is_refused_at_once(encrypted: TlsServer) -> None:
    """Without a file the authorities of the system count, and those did not sign it."""
    error = refused_at_once(encrypted, "localhost", tls="verified")
    assert "certificate is not trusted" in error.cause


def test_a_certificate_for_another_name_is_refused_at_once(encrypted: TlsServer) -> None:
    """The host must be one that the certificate names: another name of this machine is refused."""
    error = refused_at_once(encrypted, encrypted.unnamed, tls="verified", tls_ca_file=str(encrypted.authority))
    assert "certificate is not trusted" in error.cause


def test_a_file_of_authorities_that_is_missing_is_refused_at_once(encrypted: TlsServer) -> None:
    """A file that is not there is an error of configuration that names the setting."""
    error = refused_at_once(encrypted, "localhost", tls="verified", tls_ca_file="/no/such.pem")
    assert "tls_ca_file" in str(error)


@pytest.mark.parametrize("tls", ["unverified", "verified_remote"])
def test_this_machine_is_reached_unverified(encrypted: TlsServer, tls: str) -> None:
    """Nobody's certificate is verified where that is said, and this machine's is not by default; drivers encrypt all the same."""
    assert encrypted.read("localhost", tls=tls, tls_ca_file=str(encrypted.stranger)) != ""


def test_postgresql_a_server_without_tls_is_refused_when_it_must_be_verified(postgres15: Postgres15, postgres15_tls: Postgres15) -> None:
    """A server that offers no TLS proves nothing."""
    assert postgres15_tls.certificates is not None
    source = SqlResource(url=postgres15.url(), retry=PATIENT, tls="verified", tls_ca_file=str(postgres15_tls.certificates.authority))
    with pytest.raises(ConfigurationError, match="does not support SSL"):
        source.read_query("SELECT 1 AS v")


def test_postgresql_a_mode_in_the_url_is_kept(postgres15_tls: Postgres15) -> None:
    """`sslmode=verify-full` with `sslrootcert` in the URL works as the two settings do."""
    assert postgres15_tls.certificates is not None
    url = postgres15_tls.url(host="localhost", sslmode="verify-full", sslrootcert=str(postgres15_tls.certificates.authority))
    assert SqlResource(url=url, retry=PATIENT).read_query(CIPHER["postgresql 15"])["v"][0] != ""


def test_postgresql_loads_verify_as_the_url_says(postgres15_tls: Postgres15) -> None:
    """The loader takes TLS from its URL: a stranger's authority is an error of configuration."""
    assert postgres15_tls.certificates is not None
    url = postgres15_tls.url(host="localhost", sslmode="verify-full", sslrootcert=str(postgres15_tls.certificates.stranger))
    with pytest.raises(ConfigurationError, match="certificate is not trusted"):
        PostgresResource(url=url).load(pd.DataFrame({"id": [1]}), table="t")


# -- columns, and from one database into the other ---------------------------------------------------------------------

LOCAL, INSTANT = "timestamp without time zone", "timestamp with time zone"
MARIADB_TYPES = {
    "a_bigint": "bigint", "an_integer": "integer", "a_mediumint": "integer", "a_tinyint": "smallint", "a_flag": "smallint",
    "an_unsigned": "numeric(20,0)", "an_unsigned_integer": "bigint", "money_like": "numeric(38,10)", "widest": "numeric(65,0)",
    "a_double": "double precision", "a_float": "real", "a_note": "text", "a_nul_byte": "text", "a_short": "text", "a_latin": "text",
    "a_day": "date", "a_local": LOCAL, "a_local_second": LOCAL, "an_instant": INSTANT, "a_span": "interval", "a_year": "smallint",
    "a_blob": "bytea", "some_bits": "bigint", "all_bits": "numeric(20,0)", "a_json": "text", "a_mood": "text", "some_moods": "text",
}  # fmt: skip


@pytest.mark.parametrize("case", MARIADB, ids=lambda case: case.name)
def test_mariadb_a_column_has_the_type_that_holds_it(matrix: Callable[[str], SqlResource], case: Case) -> None:
    """Each type is the PostgreSQL type that its values fit in; JSON is text there."""
    assert matrix("mariadb").columns(case.name).columns[1] == ColumnSpec(name="v", type=MARIADB_TYPES[case.name])


def test_mariadb_a_table_is_described_as_its_catalog_has_it(maria: Server) -> None:
    """Order, NOT NULL, key in its own order, comments and computed columns are those of the table, whatever its name."""
    maria.execute(
        "CREATE TABLE `Odd % \"Name\"` (b int NOT NULL COMMENT 'B: 100 %', `A %` varchar(3) NOT NULL, c decimal(9,2) DEFAULT 0, "
        "twice int AS (b * 2) STORED, PRIMARY KEY (`A %`, b)) COMMENT 'It''s odd'"
    )
    assert maria.source().columns('Odd % "Name"') == TableSpec(
        columns=(
            ColumnSpec(name="b", type="integer", nullable=False, comment="B: 100 %"),
            ColumnSpec(name="A %", type="text", nullable=False),
            ColumnSpec(name="c", type="numeric(9,2)"),
            ColumnSpec(name="twice", type="integer"),
        ),
        primary_key=("A %", "b"),
        comment="It's odd",
    )


@pytest.mark.parametrize("schema", [None, "nowhere"])
def test_columns_of_a_missing_table_are_an_error(server: Server, schema: str | None) -> None:
    """A table that is not there, or whose schema is not, is an error."""
    with pytest.raises(SourceNotFoundError):
        server.source().columns("absent", schema=schema)


def test_mariadb_a_column_without_a_known_type_is_named(maria: Server) -> None:
    """A type that no PostgreSQL type is known for is an error that names the column."""
    maria.execute("CREATE TABLE t (id int, place geometry)")
    with pytest.raises(ConfigurationError, match="column place"):
        maria.source().columns("t")


@pytest.fixture(scope="module")
def warehouse(postgres15: Postgres15) -> PostgresResource:
    """A PostgreSQL 15 to load into, one for the cases of this module."""
    postgres15.server.create_database("warehouse")
    return PostgresResource(url=postgres15.url("warehouse"))


def moved(source: SqlResource, case: Case, warehouse: PostgresResource, table: str) -> pd.DataFrame:
    """The rows of a case, loaded into columns that the source describes and read back."""
    load = LoadRequest(
        target=TableRef(schema="public", table=table),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset=f"public/{table}"),
        spec=source.columns(case.name),
    )
    warehouse.write(source.read_table(case.name), load)
    return warehouse.read_table(table).sort_values("place", ignore_index=True)


def numbers_as_text(column: "pd.Series[Any]") -> list[str]:
    """The values of a column, numbers as decimals whatever type they have, lengths of time in seconds."""
    return [
        "NULL" if pd.isna(value) is True
        else str(Decimal(str(value))) if isinstance(value, int | float | Decimal)
        else repr(value)
        for value in column.tolist()
    ]  # fmt: skip


STORED_AS_THEY_ARE = [case for case in MARIADB if case.name not in ("a_nul_byte", "a_span")]


@pytest.mark.parametrize("case", STORED_AS_THEY_ARE, ids=lambda case: case.name)
def test_rows_of_mariadb_are_stored_in_postgresql_exactly(
    matrix: Callable[[str], SqlResource], warehouse: PostgresResource, case: Case
) -> None:
    """What is read from MariaDB and loaded into the columns that it describes is read back with the same values."""
    source = matrix("mariadb")
    back = moved(source, case, warehouse, f"m_{case.name}")["v"]
    expected = source.read_query(f"SELECT v FROM {case.name} ORDER BY place")["v"]
    if case.name == "a_float":  # the shortest digits of a real, which is the same number
        back, expected = back.astype("float32"), expected.astype("float32")
    assert numbers_as_text(back) == numbers_as_text(expected)


def test_times_of_mariadb_are_stored_in_postgresql_exactly(matrix: Callable[[str], SqlResource], warehouse: PostgresResource) -> None:
    """TIME, which may be negative and longer than a day, is stored as an interval of that length."""
    (case,) = [case for case in MARIADB if case.name == "a_span"]
    moved(matrix("mariadb"), case, warehouse, "m_a_span")
    seconds = warehouse.read_rows("SELECT extract(epoch FROM v) FROM public.m_a_span ORDER BY place")
    expected = matrix("mariadb").read_query("SELECT v FROM a_span ORDER BY place")["v"]
    microseconds = [None if pd.isna(value) else value // pd.Timedelta(microseconds=1) for value in expected]
    assert [None if found is None else int(found * 10**6) for (found,) in seconds] == microseconds


def test_a_nul_in_a_text_of_mariadb_is_refused(matrix: Callable[[str], SqlResource], warehouse: PostgresResource) -> None:
    """PostgreSQL has no text with a NUL in it: an error of the load, never another text."""
    (case,) = [case for case in MARIADB if case.name == "a_nul_byte"]
    with pytest.raises(UnstorableValueError):
        moved(matrix("mariadb"), case, warehouse, "m_a_nul_byte")


@pytest.mark.parametrize("case", POSTGRESQL, ids=lambda case: case.name)
def test_rows_of_postgresql_15_come_back_exactly(matrix: Callable[[str], SqlResource], warehouse: PostgresResource, case: Case) -> None:
    """Read, described, loaded into PostgreSQL 15 and read back, every value is the same."""
    back = moved(matrix("15"), case, warehouse, f"p_{case.name}")["v"]
    assert cells(back) == case.shown


# -- loads into PostgreSQL 15 ------------------------------------------------------------------------------------------


def orders(*rows: tuple[int, str | None]) -> pd.DataFrame:
    """Rows of the columns `id` and `note`."""
    return pd.DataFrame({"id": [i for i, _ in rows], "note": pd.Series([note for _, note in rows], dtype="str")})


FIRST = orders((1, "a"), (2, None))


def stored(target: PostgresResource, table: str = "public.t", columns: str = "id, note") -> list[tuple[Any, ...]]:
    """The rows of a table, in order."""
    return [tuple(row) for row in target.read_rows(f"SELECT {columns} FROM {table} ORDER BY 1, 2")]


@pytest.mark.parametrize(
    ("disposition", "key", "after"),
    [
        ("replace", ("id",), [(2, "b"), (3, "c")]),
        ("append", (), [(1, "a"), (2, "b"), (2, None), (3, "c")]),
        ("merge", ("id",), [(1, "a"), (2, "b"), (3, "c")]),
        ("insert", ("id",), [(1, "a"), (2, None), (3, "c")]),
    ],
)
def test_a_load_changes_the_table_as_it_says(
    target: PostgresResource, disposition: str, key: tuple[str, ...], after: list[tuple[Any, ...]]
) -> None:
    """Replace leaves the new rows, append adds them, merge replaces those of a key, insert keeps those."""
    for rows in (FIRST, orders((2, "b"), (3, "c"))):
        target.load(rows, table="t", disposition=disposition, primary_key=key)
    assert stored(target) == after


@pytest.mark.parametrize("disposition", ["replace", "merge", "insert"])
def test_a_repeated_key_leaves_the_table(target: PostgresResource, disposition: str) -> None:
    """Two rows of one key in a load are an error, and the table is as it was."""
    target.load(FIRST, table="t", primary_key=("id",))
    with pytest.raises(UnstorableValueError):
        target.load(orders((3, "c"), (3, "d")), table="t", disposition=disposition, primary_key=("id",))
    assert stored(target) == [(1, "a"), (2, None)]


def test_a_replace_swaps_the_table(target: PostgresResource) -> None:
    """Where nothing depends on the table a new one takes its place."""
    target.load(FIRST, table="t")
    assert target.load(FIRST, table="t").strategy is ReplaceStrategy.SWAP


def test_a_replace_under_a_view_keeps_the_table(target: PostgresResource) -> None:
    """Where a view depends on the table its rows are deleted and loaded anew, and the view shows the new ones."""
    target.load(FIRST, table="t")
    executed(target.url, "CREATE VIEW v AS SELECT * FROM t")
    strategy = target.load(orders((7, "g")), table="t").strategy
    assert (strategy, stored(target, "public.v")) == (ReplaceStrategy.DELETE, [(7, "g")])


def test_the_ledger_and_the_watermark_commit_with_the_rows(target: PostgresResource) -> None:
    """A load leaves one row in the ledger, and the watermark that it was given."""
    target.load(FIRST, table="t", disposition="append", watermarks={"orders by id": 2})
    ledger = stored(target, "etl.loads", "status, rows_loaded, target_table")
    assert (ledger, target.watermarks("public/t")) == ([("succeeded", 2, "public.t")], {"orders by id": 2})


def test_a_failed_load_is_in_the_ledger(target: PostgresResource) -> None:
    """A failed load leaves a ledger row with class and SQLSTATE."""
    with pytest.raises(UnstorableValueError):
        target.load(orders((1, "a"), (1, "b")), table="t", primary_key=("id",))
    assert stored(target, "etl.loads", "status, error_class, sqlstate") == [("failed", "UnstorableValueError", "23505")]


class Orders(pa.DataFrameModel):
    """Orders, one row per order."""

    id: int
    note: str = pa.Field(nullable=True)

    class Config:
        metadata = {"primary_key": ["id"]}


def orders_asset(write: str, **options: Any) -> dg.AssetsDefinition:
    """An asset that reads the orders of a shop in small batches."""

    @etl_asset(schema="raw", name="orders", write=write, rows=RowPolicy(most_quarantined=0.9))
    def asset(shop: SqlResource) -> Iterator[DataFrame[Orders]]:
        yield from shop.read_table_batches("orders", columns=["id", "note"], rows=2, **options)

    return asset


def materialised(asset: dg.AssetsDefinition, shop: SqlResource, target: PostgresResource) -> bool:
    """Whether the asset was read from the shop and stored."""
    resources = {"io_manager": PostgresIOManager(postgres=target), "shop": shop}
    return dg.materialize([asset], resources=resources, raise_on_error=False).success


@pytest.mark.parametrize("write", ["replace", "merge", "insert"])
def test_a_key_that_two_batches_share_goes_to_the_quarantine(maria: Server, target: PostgresResource, write: str) -> None:
    """From MariaDB into PostgreSQL 15 batch by batch: rows of a key that came twice are kept aside, all others are loaded."""
    maria.execute("CREATE TABLE orders (id int, note text)", "INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'c'), (1, 'd'), (4, NULL)")
    assert materialised(orders_asset(write), maria.source(), target)
    assert stored(target, "raw.orders") == [(2, "b"), (3, "c"), (4, None)]
    assert stored(target, "etl.quarantine", "record->>'id', record->>'note', rules") == [
        ("1", "a", ["primary_key_unique"]), ("1", "d", ["primary_key_unique"]),
    ]  # fmt: skip


def test_an_asset_that_merges_adds_what_is_new(maria: Server, target: PostgresResource) -> None:
    """The second run reads above the watermark of the first one, in batches, and merges by key."""
    asset = orders_asset("merge", incremental=Incremental(column="version"))
    maria.execute(
        "CREATE TABLE orders (id int, note text, version bigint)", "INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)"
    )
    first = materialised(asset, maria.source(), target)
    maria.execute("UPDATE orders SET note = 'B', version = 4 WHERE id = 2", "INSERT INTO orders VALUES (4, 'd', 5)")
    second = materialised(asset, maria.source(), target)
    reads = [row[0] for row in target.read_rows("SELECT rows_read FROM etl.loads ORDER BY recorded_at")]
    assert (first, second, reads) == (True, True, [3, 2])
    assert stored(target, "raw.orders") == [(1, "a"), (2, "B"), (3, "c"), (4, "d")]


def test_a_plain_load_comes_back_whole(server: Server, target: PostgresResource) -> None:
    """A frame that was read, loaded as it is and read back is the same frame."""
    server.execute(
        "CREATE TABLE t (id bigint, price decimal(12,2), note varchar(20), day date, at timestamp(6))",
        "INSERT INTO t VALUES (9007199254740993, 1.50, 'é😀', '2024-02-29', '2026-03-01 12:00:00.000001')",
    )
    frame = server.source().read_table("t")
    target.load(frame, table="moved")
    pd.testing.assert_frame_equal(target.read_table("moved"), frame)
