"""What MariaDB 10.11 and PostgreSQL 15 refuse, how a lost connection is survived, and whose certificate is trusted.

Not here: what they answer (`test_databases.py`).
"""

import contextlib
import functools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pymysql
import pytest
from sqlalchemy.engine import make_url

from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    EtlError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from etl_assets.loading.postgres import PostgresResource
from etl_assets.retry_settings import Retry
from etl_assets_tests.acceptance.database_servers import MariaDb, Postgres15
from etl_assets_tests.acceptance.databases import TENS, Server, postgres_in

# What is tried again waits so long that nobody takes it for an answer at once.
PATIENT = Retry(attempts=2, initial_seconds=10, maximum_seconds=10, jitter=False)
AT_ONCE_SECONDS = 5
EAGER = Retry(attempts=100, deadline_seconds=60, initial_seconds=0.1, maximum_seconds=0.1, jitter=False)
GUEST = "guest-word"


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
