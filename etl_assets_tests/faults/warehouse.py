"""The server under test, and what can be done to it.

Not here: when it is done (`kinds.py`).
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy.engine import make_url

from etl_assets.errors import LocalServerError
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.faults.deliveries import SUMS, Sums, Table

DATABASE = "faults"
MOST_CONNECTIONS = 40
_TABLE = "(number bigint NOT NULL, part bigint NOT NULL, id bigint NOT NULL, v bigint NOT NULL, note text)"


class Warehouse:
    """A PostgreSQL of its own with the tables of the suite.

    Args:
        folder: Where it is kept.
        binaries: Folder of another PostgreSQL than the embedded one.
    """

    def __init__(self, folder: Path, binaries: Path | None = None) -> None:
        self.server = LocalPostgres(folder / "postgres", binaries=binaries)
        self.server.start()
        self.server.create_database(DATABASE)
        self._url = make_url(self.server.url(DATABASE))
        self.execute(f"ALTER SYSTEM SET max_connections = {MOST_CONNECTIONS}", "ALTER SYSTEM SET deadlock_timeout = '100ms'")
        self.server.stop()
        self.server.start()
        self._url = make_url(self.server.url(DATABASE))
        self.port: int = self._url.port or 0
        # Without a key, so that nothing but the loader keeps rows from being there twice.
        self.execute(f"CREATE TABLE appended {_TABLE}", f"CREATE TABLE parted {_TABLE}", "CREATE INDEX ON parted (part)")

    @property
    def version(self) -> str:
        """Of the server."""
        ((version,),) = self.execute("SHOW server_version")
        return str(version)

    def url(self, port: int | None = None) -> str:
        """Address of the database, straight or through a proxy."""
        return self._url.set(port=port or self.port).render_as_string(hide_password=False)

    @contextmanager
    def session(self, *, autocommit: bool = True) -> Iterator[Any]:
        """A cursor of the administrator."""
        url = self._url
        connection = psycopg2.connect(
            host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database, connect_timeout=10
        )  # fmt: skip
        connection.autocommit = autocommit
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; rows of the last one."""
        with self.session() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def sums(self, table: Table) -> Sums:
        """What a table comes to; of `versioned` the rows that hold."""
        if not self.execute(f"SELECT to_regclass('{table}') IS NOT NULL")[0][0]:
            return Sums(rows=0, keys=0, checksum=0)
        only = "WHERE valid_to IS NULL" if table == "versioned" else ""
        ((rows, keys, checksum),) = self.execute(SUMS.format(table=table, only=only))
        return Sums(rows=rows, keys=keys, checksum=checksum)

    # -- what is done to it ---------------------------------------------------------------------------------------------

    def kill(self) -> bool:
        """kill -9 of the postmaster."""
        pid = self.server.status().pid
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def start(self, *, seconds: float = 40.0) -> None:
        """Start it again; processes of a killed server take a moment to go away."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.server.start()
                return
            except LocalServerError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def restart(self) -> None:
        """Stop it while loads are going on, and start it."""
        self.server.stop()
        self.start()

    def terminate_loaders(self) -> int:
        """End the sessions of loaders; how many."""
        ((count,),) = self.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'etl_assets'")
        return int(count)

    @contextmanager
    def database_setting(self, name: str, value: str) -> Iterator[None]:
        """A setting that new sessions have."""
        self.execute(f"ALTER DATABASE {DATABASE} SET {name} = {value}")
        try:
            yield
        finally:
            self.execute(f"ALTER DATABASE {DATABASE} RESET {name}")

    @contextmanager
    def small_disk(self, megabytes: int) -> Iterator[str]:
        """A tablespace on a disk of a few megabytes; gives its name. Root only."""
        with tempfile.TemporaryDirectory(prefix="etl-assets-disk-") as folder:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", folder], check=True)
            place = Path(folder) / "space"
            place.mkdir()
            owner = (self.server.status().data).stat()
            os.chown(place, owner.st_uid, owner.st_gid)
            Path(folder).chmod(0o777)
            try:
                self.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
                yield "small"
            finally:
                with contextlib.suppress(psycopg2.Error):
                    self.execute("DROP TABLESPACE small")
                subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def warehouse(binaries: Path | None = None) -> Iterator[Warehouse]:
    """A server of its own; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="etl-assets-faults-") as folder:
        Path(folder).chmod(0o755)
        made = Warehouse(Path(folder), binaries)
        try:
            yield made
        finally:
            made.server.remove()


__all__ = ["DATABASE", "MOST_CONNECTIONS", "Warehouse", "warehouse"]
