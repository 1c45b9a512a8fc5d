"""What acceptance tests may use beside the fixtures of all tests: servers that other people wrote, one of each for the whole session.

Not here: how they start and stop (`servers.py`, `database_servers.py`, `httpbin_server.py`).
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Page

from etl_assets.connectors.sql import SqlResource
from etl_assets.loading.postgres import PostgresResource
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.acceptance import database_servers, servers
from etl_assets_tests.acceptance.browser import chromium
from etl_assets_tests.acceptance.databases import Server, mariadb_in, postgres_in
from etl_assets_tests.connectors.places import executed
from etl_assets_tests.connectors.sql_values import MARIADB, POSTGRESQL, table_of
from etl_assets_tests.httpbin_server import serve_httpbin


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page in the system's Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[database_servers.MariaDb]:
    """A MariaDB 10.11; a test that stops or kills it asks for `mariadb`."""
    with database_servers.mariadb() as server:
        yield server


@pytest.fixture
def mariadb(mariadb_server: database_servers.MariaDb) -> Iterator[database_servers.MariaDb]:
    """The running MariaDB, which a test may stop or kill."""
    mariadb_server.start()
    yield mariadb_server
    mariadb_server.start()


@pytest.fixture
def mariadb_url(mariadb: database_servers.MariaDb) -> str:
    """SQLAlchemy URL of a new, empty database in MariaDB."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    mariadb.execute(f"CREATE DATABASE {name}")
    return mariadb.url(name)


@pytest.fixture(scope="session")
def postgres15() -> Iterator[database_servers.Postgres15]:
    """A PostgreSQL 15 of the system, without TLS."""
    with database_servers.postgres15() as server:
        yield server


@pytest.fixture(scope="session")
def postgres15_tls() -> Iterator[database_servers.Postgres15]:
    """A PostgreSQL 15 of the system that offers TLS."""
    with database_servers.postgres15(tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_database(postgres15: database_servers.Postgres15) -> Server:
    """A database of PostgreSQL 15 for the tests that want an empty one."""
    postgres15.server.create_database("test_databases")
    return postgres_in(postgres15.url("test_databases"))


@pytest.fixture
def maria(mariadb: database_servers.MariaDb, mariadb_url: str) -> Server:
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


@pytest.fixture(scope="session")
def matrix(mariadb_server: database_servers.MariaDb, postgres15: database_servers.Postgres15) -> Callable[[str], SqlResource]:
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


@pytest.fixture(scope="session")
def serve_json() -> Iterator[Callable[[Mapping[str, Any]], str]]:
    """Starts a json-server over a database and gives its base URL; all end with the session."""
    with contextlib.ExitStack() as stack:
        yield lambda database: stack.enter_context(servers.json_server(database))


@pytest.fixture(scope="session")
def prism() -> Iterator[str]:
    """Base URL of a Prism that asks for credentials of every kind, as `servers.OPENAPI` says."""
    with servers.prism() as url:
        yield url


@pytest.fixture(scope="session")
def azurite() -> Iterator[servers.AzuriteTables]:
    """Azure's table service; each test makes tables of its own."""
    with servers.azurite_tables() as tables:
        yield tables


@pytest.fixture(scope="session")
def httpbin() -> Iterator[str]:
    """Base URL of httpbin."""
    with serve_httpbin() as url:
        yield url
