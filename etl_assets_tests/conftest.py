"""What every test may use: a real PostgreSQL in a temporary folder, one empty database per test that asks for it."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres

# DAGSTER_HOME or a database of the machine's user must never be touched by a test.
# Nor may a proxy of theirs stand before servers on loopback.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
for name in (*PROXIES, "DAGSTER_HOME", "DATABASE_URL", "ETL_HOME", "ETL_ENVIRONMENT", "ETL_POSTGRES_BIN", "ETL_POSTGRES_PORT"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[LocalPostgres]:
    """A running embedded server; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="etl-assets-tests-") as folder:
        # The account that runs the server under root must be able to enter.
        Path(folder).chmod(0o755)
        server = LocalPostgres(Path(folder) / "postgres")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def database_url(postgres_server: LocalPostgres) -> str:
    """URL of a new, empty database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres_server.create_database(name)
    return postgres_server.url(name)


@pytest.fixture
def postgres(database_url: str) -> PostgresResource:
    """The resource for a new, empty database."""
    return PostgresResource(url=database_url)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    """In CI a skipped test is a failed one."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
