"""A database of either server, as the tests see it.

Not here: starting the servers (`database_servers.py`), fixtures (`conftest.py`).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy.engine import make_url

from etl_assets.connectors.sql import SqlResource
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets_tests.acceptance.database_servers import MariaDb

TENS = ("CREATE TABLE t (id int, n int)", "INSERT INTO t VALUES (1, 10), (2, 20), (3, 30), (4, 40), (5, 50)")


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


__all__ = ["TENS", "Server", "mariadb_in", "postgres_in"]
