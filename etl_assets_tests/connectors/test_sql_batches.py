"""Reading in batches: flat memory, an early end that leaves nothing open, one error for a broken stream."""

import contextlib
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator

import duckdb
import pandas as pd
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from etl_assets.accounting import open_account
from etl_assets.connectors.incremental import Incremental
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import ConfigurationError, DatabaseUnavailableError, EtlError, PermanentError, TransientError
from etl_assets.local_postgres import LocalPostgres
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets_tests.tcp_proxy import proxy_to

Administer = Callable[[str], list[tuple[object, ...]]]

NAME = "test_sql_batches"
# Rows that come one after the other: a function in FROM would first be kept by the server as a whole.
NUMBERS = {
    "postgresql": "SELECT g, repeat('x', 100) AS t FROM (SELECT generate_series(1, {rows}) AS g) AS n",
    "sqlite": "WITH RECURSIVE n(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM n WHERE g < {rows}) "
    "SELECT g, printf('%.100c', 'x') AS t FROM n",
    "duckdb": "SELECT range + 1 AS g, repeat('x', 100) AS t FROM range({rows})",
}
# Row 50,001 cannot be computed.
BROKEN = {
    "postgresql": "SELECT g, 1 / (50001 - g) AS t FROM (SELECT generate_series(1, 100000) AS g) AS n",
    "sqlite": "WITH RECURSIVE n(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM n WHERE g < 100000) "
    "SELECT g, abs(CASE g WHEN 50001 THEN -9223372036854775807 - 1 ELSE g END) AS t FROM n",
    "duckdb": "SELECT range + 1 AS g, CASE range WHEN 50000 THEN error('no such value') ELSE 'x' END AS t FROM range(100000)",
}
SAID = {"postgresql": "division by zero", "sqlite": "integer overflow", "duckdb": "no such value"}


@pytest.fixture(scope="module")
def urls(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An empty database of each kind."""
    folder = tmp_path_factory.mktemp("batches")
    postgres_server.create_database(NAME)
    with contextlib.closing(sqlite3.connect(folder / "a.db")) as connection, connection:
        connection.execute("CREATE TABLE empty (v)")
    duckdb.connect(str(folder / "a.duckdb")).close()
    return {
        "postgresql": postgres_server.url(NAME),
        "sqlite": f"sqlite:///{folder / 'a.db'}",
        "duckdb": f"duckdb:///{folder / 'a.duckdb'}",
    }


@pytest.fixture
def administer(urls: dict[str, str]) -> Iterator[Administer]:
    """Runs a statement in the PostgreSQL database, beside what is read there."""
    address = make_url(urls["postgresql"]).set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(address)) as connection:
        connection.autocommit = True

        def run(statement: str) -> list[tuple[object, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()

        yield run


def source(url: str, retry: Retry = NO_RETRY) -> SqlResource:
    """The database as a resource whose sessions can be told from others."""
    return SqlResource(url=url, retry=retry, application_name=NAME)


# -- memory ------------------------------------------------------------------------------------------------------------

MEASURE = """
    import resource
    import sys
    from pathlib import Path
    from etl_assets.retry_settings import NO_RETRY
    from etl_assets.connectors.sql import SqlResource

    def peak_mib():
        if sys.platform != "linux":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20
        # There ru_maxrss starts with the size of the process that started this one.
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) // 1024

    url, query = sys.argv[1:]
    peaks = []
    for rows in (200_000, 2_000_000):
        read = sum(map(len, SqlResource(url=url, retry=NO_RETRY).read_query_batches(query.format(rows=rows), rows=20_000)))
        assert read == rows, read
        peaks.append(peak_mib())
    print(peaks[1] - peaks[0])
"""


@pytest.mark.parametrize("name", NUMBERS)
def test_memory_does_not_grow_with_the_rows(urls: dict[str, str], name: str) -> None:
    """Ten times as many rows, 200 MiB more, take no more than 60 MiB more memory at the peak."""
    measured = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), urls[name], NUMBERS[name]], capture_output=True, text=True, check=False
    )
    assert measured.returncode == 0, measured.stderr
    assert int(measured.stdout) < 60


# -- an early end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMBERS)
def test_an_early_end_does_not_read_on(urls: dict[str, str], name: str) -> None:
    """Who stops after the first frame does not wait for the rest: a hundred million rows would take a minute."""
    frames = source(urls[name]).read_query_batches(NUMBERS[name].format(rows=100_000_000 if name != "sqlite" else 1_000_000), rows=10)
    next(frames)
    started = time.monotonic()
    frames.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("end", ["close", "forget"])
def test_postgresql_an_early_end_leaves_no_connection(urls: dict[str, str], administer: Administer, end: str) -> None:
    """After an early end the server has no session of ours any more, whether the frames were closed or just dropped."""
    frames = source(urls["postgresql"]).read_query_batches(NUMBERS["postgresql"].format(rows=10_000_000), rows=10)
    next(frames)
    if end == "close":
        frames.close()  # type: ignore[attr-defined]
    del frames
    # The server ends a session a little after the client has closed it.
    deadline = time.monotonic() + 20
    while administer(f"SELECT pid FROM pg_stat_activity WHERE application_name = '{NAME}'"):
        assert time.monotonic() < deadline


def test_postgresql_an_early_end_leaves_no_thread(urls: dict[str, str]) -> None:
    """After an early end the thread that copies is gone."""
    before = threading.enumerate()
    frames = source(urls["postgresql"]).read_query_batches(NUMBERS["postgresql"].format(rows=10_000_000), rows=10)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert threading.enumerate() == before


def test_sqlite_an_early_end_leaves_no_lock(urls: dict[str, str]) -> None:
    """After an early end somebody else may write the file at once."""
    frames = source(urls["sqlite"]).read_query_batches("SELECT 1 AS v UNION ALL SELECT 2 FROM (SELECT count(*) FROM empty)", rows=1)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    file = make_url(urls["sqlite"]).database
    with contextlib.closing(sqlite3.connect(str(file), timeout=0)) as connection:
        assert connection.execute("BEGIN EXCLUSIVE").fetchone() is None


def test_duckdb_an_early_end_leaves_no_lock(urls: dict[str, str]) -> None:
    """After an early end somebody else may write the file at once."""
    frames = source(urls["duckdb"]).read_query_batches(NUMBERS["duckdb"].format(rows=1_000_000), rows=10)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    with duckdb.connect(str(make_url(urls["duckdb"]).database)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_early_end_reports_nothing(urls: dict[str, str]) -> None:
    """A read that was not finished is not in the account, so that no load passes for whole."""
    with open_account() as account:
        frames = source(urls["postgresql"]).read_query_batches(
            NUMBERS["postgresql"].format(rows=100), incremental=Incremental(column="g"), rows=10
        )
        next(frames)
        frames.close()  # type: ignore[attr-defined]
    assert (account.reads, account.reached) == ([], {})


def test_a_finished_read_is_reported_once(urls: dict[str, str]) -> None:
    """All frames together are one read of the account, with all their rows."""
    with open_account() as account:
        frames = list(source(urls["postgresql"]).read_query_batches(NUMBERS["postgresql"].format(rows=25), rows=10))
    assert ([len(frame) for frame in frames], [read.rows for read in account.reads]) == ([10, 10, 5], [25])


# -- a broken stream ---------------------------------------------------------------------------------------------------


def drained(frames: Iterator[pd.DataFrame]) -> tuple[int, EtlError | None]:
    """Rows that came, and the error that ended them."""
    rows = 0
    try:
        for frame in frames:
            rows += len(frame)
    except EtlError as error:
        return rows, error
    return rows, None


@pytest.mark.parametrize("name", BROKEN)
def test_an_error_in_the_middle_is_raised(urls: dict[str, str], name: str) -> None:
    """A row that cannot be computed is a permanent error in the database's words, after frames or before the first one."""
    with pytest.raises(EtlError, match=SAID[name]) as caught:
        for _ in source(urls[name]).read_query_batches(BROKEN[name], rows=1000):
            pass
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize("name", BROKEN)
def test_an_error_in_the_middle_is_raised_of_a_whole_read(urls: dict[str, str], name: str) -> None:
    """A row that cannot be computed leaves no frame at all when all rows are read at once."""
    with pytest.raises(EtlError, match=SAID[name]):
        source(urls[name]).read_query(BROKEN[name])


def test_rows_before_the_error_are_whole(urls: dict[str, str]) -> None:
    """What came before the error are the first rows of the result, each of them once, up to at most the broken one."""
    seen: list[int] = []
    with contextlib.suppress(EtlError):
        for frame in source(urls["postgresql"]).read_query_batches(BROKEN["postgresql"], rows=1000):
            seen += frame["g"].tolist()
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) <= 50_000


def test_a_session_that_is_ended_is_one_transient_error(urls: dict[str, str], administer: Administer) -> None:
    """A session that the server ends after the first frame is one transient error, and the stream never seems complete."""
    frames = source(urls["postgresql"]).read_query_batches(NUMBERS["postgresql"].format(rows=2_000_000), rows=1000)
    first = len(next(frames))
    administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{NAME}'")
    rows, error = drained(frames)
    assert (isinstance(error, DatabaseUnavailableError), first + rows < 2_000_000) == (True, True)


def test_after_the_error_nothing_comes(urls: dict[str, str]) -> None:
    """The error is raised once; then the frames are at their end."""
    frames = source(urls["postgresql"]).read_query_batches(BROKEN["postgresql"], rows=1000)
    drained(frames)
    assert next(frames, None) is None


def test_a_broken_stream_reports_nothing(urls: dict[str, str]) -> None:
    """A read that broke off is not in the account, and no watermark moves."""
    with open_account() as account:
        drained(source(urls["postgresql"]).read_query_batches(BROKEN["postgresql"], incremental=Incremental(column="g"), rows=1000))
    assert (account.reads, account.reached) == ([], {})


@pytest.mark.parametrize("rows", [0, -1])
def test_a_frame_has_rows(urls: dict[str, str], rows: int) -> None:
    """A size that no frame can have is refused."""
    with pytest.raises(ConfigurationError, match="at least one row"):
        source(urls["sqlite"]).read_table_batches("empty", rows=rows)


# -- trying again ------------------------------------------------------------------------------------------------------

AGAIN = Retry(attempts=3, initial_seconds=0)


def test_before_the_first_frame_it_is_tried_again(urls: dict[str, str]) -> None:
    """A database that refuses two connections is read at the third, every row once."""
    url = make_url(urls["postgresql"])
    assert url.port is not None
    with proxy_to(url.port) as proxy:
        proxy.refuse = 2
        behind = source(url.set(port=proxy.port).render_as_string(hide_password=False), AGAIN)
        read = [row for frame in behind.read_query_batches(NUMBERS["postgresql"].format(rows=30), rows=10) for row in frame["g"]]
    assert (read, proxy.connections) == (list(range(1, 31)), 3)


def test_after_the_first_frame_it_is_not_tried_again(urls: dict[str, str], administer: Administer) -> None:
    """Rows that have been handed out would come twice, so a stream that breaks after them is not opened again."""
    url = make_url(urls["postgresql"])
    assert url.port is not None
    with proxy_to(url.port) as proxy:
        behind = source(url.set(port=proxy.port).render_as_string(hide_password=False), AGAIN)
        frames = behind.read_query_batches(NUMBERS["postgresql"].format(rows=2_000_000), rows=1000)
        next(frames)
        administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{NAME}'")
        drained(frames)
        # One that reads, and the one that asks the server to stop.
        assert proxy.connections <= 2


def test_a_permanent_error_is_not_tried_again(urls: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """A query that cannot be answered is an error at once."""
    with pytest.raises(PermanentError):
        source(urls["postgresql"], AGAIN).read_query_batches("SELECT nothing FROM nowhere")
    assert "attempt" not in caplog.text
