"""Where benchmarks run: a PostgreSQL of their own and a folder of files, both gone afterwards.

fsync, synchronous_commit and full_page_writes are on as PostgreSQL has them; checkpoints come when a measurement asks for one, and
autovacuum is off, so that neither falls into some measurements and not into others.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg2

_SETTINGS = ("max_wal_size = '8GB'", "checkpoint_timeout = '30min'", "maintenance_work_mem = '512MB'", "autovacuum = off")


@dataclass(frozen=True)
class Place:
    """A server and a folder.

    Attributes:
        folder: For files; the server can read it.
        url: Of the database, for SQLAlchemy.
        postmaster: Process id of the server.
        psql: The client.
    """

    folder: Path
    url: str
    postmaster: int
    psql: Path

    @staticmethod
    def read(folder: Path) -> "Place":
        """The place that `opened` made."""
        noted = json.loads((folder / "place.json").read_text())
        return Place(**{**noted, "folder": Path(noted["folder"]), "psql": Path(noted["psql"])})

    @property
    def libpq_url(self) -> str:
        """The address without a driver, for libpq and what is built on it."""
        return self.url.replace("+psycopg2", "")

    def run(self, *statements: str) -> Any:
        """Run statements, each by itself; rows of the last one."""
        with contextlib.closing(psycopg2.connect(self.libpq_url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else None

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self.run(f"SELECT count(*) FROM {table}")[0][0])

    def server_cpu(self) -> float:
        """CPU seconds of the server so far: the postmaster, its children that ended, and those that run."""
        children = Path(f"/proc/{self.postmaster}/task/{self.postmaster}/children").read_text().split()
        total = 0
        for pid in [str(self.postmaster), *children]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a backend that ended meanwhile
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += sum(map(int, fields[11:15] if pid == str(self.postmaster) else fields[11:13]))
        return total / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def opened() -> Iterator[Place]:
    """A new server and an empty folder."""
    from etl_assets.local_postgres import LocalPostgres
    from etl_assets.postgres.cluster import find_binaries

    with tempfile.TemporaryDirectory(prefix="etl_benchmarks_", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = LocalPostgres(folder / "server")
        server.start()
        try:
            server.create_database("benchmarks")
            pid = server.status().pid
            assert pid is not None
            place = Place(folder=folder, url=server.url("benchmarks"), postmaster=pid, psql=find_binaries() / "psql")
            place.run(*(f"ALTER SYSTEM SET {setting}" for setting in _SETTINGS), "SELECT pg_reload_conf()")
            (folder / "place.json").write_text(json.dumps(asdict(place), default=str))
            yield place
        finally:
            server.remove()
