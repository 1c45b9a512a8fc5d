"""The only reader of environment variables: which environment this is, where things are kept, which database is used.

    ETL_ENVIRONMENT     local (default), test or production; production never starts a server by itself
    ETL_HOME            folder for everything that is made here: embedded server, sources of the example; default .etl
    DATABASE_URL        PostgreSQL that tables are loaded into; without it local and test use the embedded server
    ETL_POSTGRES_BIN    bin folder of a PostgreSQL installation, instead of the embedded wheel
    ETL_POSTGRES_PORT   port of the embedded server; default: the one of its last start, or a free one

Imported by `definitions.py`, `cli.py` and tests only. Not here: what the settings are used for.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import dagster as dg

from etl_assets.errors import ConfigurationError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets.postgres.connection import normalise_url

WAREHOUSE, DAGSTER = "warehouse", "dagster"


class Environment(StrEnum):
    """Where the code runs."""

    LOCAL = "local"
    TEST = "test"
    PRODUCTION = "production"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment variables say.

    Attributes:
        environment: Where the code runs.
        home: Folder for everything made on this machine, absolute.
        database_url: PostgreSQL to load into; None for the embedded server.
        postgres_binaries: bin folder of a PostgreSQL installation; None to find one.
        postgres_port: TCP port of the embedded server; None to choose.
    """

    environment: Environment
    home: Path
    database_url: str | None
    postgres_binaries: Path | None
    postgres_port: int | None

    @property
    def local_postgres(self) -> LocalPostgres:
        """The embedded server of these settings, not started."""
        return LocalPostgres(self.home / "postgres", binaries=self.postgres_binaries, port=self.postgres_port)


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from environment variables.

    Raises:
        ConfigurationError: A value is not allowed; the message names the variable and what is.
    """
    given = os.environ if variables is None else variables
    name = given.get("ETL_ENVIRONMENT") or Environment.LOCAL.value
    if name not in set(Environment):
        raise ConfigurationError("ETL_ENVIRONMENT", f"{name!r} is unknown; known: {[e.value for e in Environment]}.", "correct it.")
    port = given.get("ETL_POSTGRES_PORT")
    if port and not (port.isdigit() and 1024 <= int(port) <= 65535):
        raise ConfigurationError("ETL_POSTGRES_PORT", f"{port!r} is no port; allowed: 1024 to 65535.", "correct it.")
    binaries = given.get("ETL_POSTGRES_BIN")
    return Settings(
        environment=Environment(name),
        home=Path(given.get("ETL_HOME") or ".etl").absolute(),
        database_url=given.get("DATABASE_URL") or None,
        postgres_binaries=Path(binaries) if binaries else None,
        postgres_port=int(port) if port else None,
    )


def resources() -> dict[str, Any]:
    """The resources that every pipeline may use. Values of variables are read when a run starts, not here."""
    postgres = PostgresResource(url=dg.EnvVar("DATABASE_URL"))
    return {"postgres": postgres, "io_manager": PostgresIOManager(postgres=postgres)}


def warehouse_url(settings: Settings) -> str:
    """The database to load into, for a command of a person: DATABASE_URL, or the embedded server, started when needed.

    Raises:
        ConfigurationError: Production without DATABASE_URL.
        LocalServerError: The embedded server cannot be started.
    """
    if settings.database_url is not None:
        return normalise_url(settings.database_url).render_as_string(hide_password=False)
    return embedded_database(settings, WAREHOUSE)


def embedded_database(settings: Settings, name: str) -> str:
    """URL of a database of the embedded server; server and database are made when missing.

    Raises:
        ConfigurationError: This is production.
        LocalServerError: The server cannot be started.
    """
    if settings.environment is Environment.PRODUCTION:
        raise ConfigurationError(
            "DATABASE_URL", "it is not set, and production starts no server by itself.", "set DATABASE_URL to your PostgreSQL."
        )
    server = settings.local_postgres
    server.start()
    server.create_database(name)
    return server.url(name)


def dagster_variables(settings: Settings, dagster_home: Path) -> dict[str, str]:
    """The variables that `dagster.yaml` names: its home and its storage in the embedded server."""
    url = normalise_url(embedded_database(settings, DAGSTER))
    return {
        "DAGSTER_HOME": str(dagster_home),
        "DAGSTER_POSTGRES_HOST": str(url.host),
        "DAGSTER_POSTGRES_PORT": str(url.port),
        "DAGSTER_POSTGRES_DB": str(url.database),
        "DAGSTER_POSTGRES_USER": str(url.username),
        "DAGSTER_POSTGRES_PASSWORD": str(url.password),
        "DAGSTER_FILES": str(settings.home / "dagster"),
    }


__all__ = [
    "Environment", "Settings", "dagster_variables", "embedded_database", "read_settings", "resources", "warehouse_url",
]  # fmt: skip
