"""What acceptance tests may use beside the fixtures of all tests: servers that other people wrote, one of each for the whole session.

Not here: how they start and stop (`servers.py`, `database_servers.py`, `httpbin_server.py`).
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from etl_assets_tests.acceptance import database_servers, servers
from etl_assets_tests.httpbin_server import serve_httpbin


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
