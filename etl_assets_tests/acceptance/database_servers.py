"""Databases with TLS for the acceptance tests: each is a context manager, runs on a free port of loopback, and is stopped at the end.

`packages.sh` installs them. Not here: HTTP servers (`servers.py`), fixtures (`conftest.py`), how a server is started
(`httpbin_server.py`).
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pymysql

from etl_assets.local_postgres import LocalPostgres
from etl_assets.postgres.cluster import Account, unprivileged_account
from etl_assets_tests.httpbin_server import RunningServer, ServerNotStartedError, start_server, stop_server, temporary_folder

HOST = "127.0.0.1"
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """What a server with TLS needs, and what its clients do.

    Attributes:
        authority: PEM file of the authority that signed the server's certificate.
        stranger: PEM file of another authority, which signed nothing.
        certificate: PEM file of the server, valid for `localhost` and `127.0.0.1`.
        key: Private key of the server.
    """

    authority: Path
    stranger: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Two authorities and a server's certificate signed by the first, valid for two days."""

    def run(*arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerNotStartedError(f"openssl {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")

    # A configuration of our own: the machine's may add extensions.
    (folder / "openssl.cnf").write_text(
        "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = set by -subj\n"
        "[authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n"
        "[server]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = serverAuth\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\nsubjectAltName = DNS:localhost, IP:127.0.0.1\n"
    )
    new = ("req", "-new", "-config", "openssl.cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256")
    for name in ("authority", "stranger"):
        run(*new, "-x509", "-days", "2", "-extensions", "authority", "-subj", f"/CN=etl-assets test {name}",
            "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
    run(*new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    run("x509", "-req", "-in", "server.csr", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2", "-sha256",
        "-extfile", "openssl.cnf", "-extensions", "server", "-out", "server.pem")  # fmt: skip
    return Certificates(
        authority=folder / "authority.pem", stranger=folder / "stranger.pem", certificate=folder / "server.pem", key=folder / "server.key"
    )


class MariaDb:
    """A MariaDB server with TLS on, on a port of its own; root has a password, and there is no other user.

    Attributes:
        host: 127.0.0.1.
        user: root.
        password: Another one for every server.
        certificates: What a client needs to verify the server.
        socket: Unix socket of the server.
    """

    host = HOST
    user = "root"

    def __init__(self, folder: Path, account: Account | None) -> None:
        self.password = secrets.token_urlsafe(16)
        self.certificates = make_certificates(folder)
        self.socket = folder / "socket"
        self._folder = folder
        self._as_account: dict[str, Any] = {}
        if account is not None:
            self._as_account = {"user": account.uid, "group": account.gid, "extra_groups": []}
            os.chown(self.certificates.key, account.uid, account.gid)
        self._running: RunningServer | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """TCP port; stays the same over a restart."""
        assert self._port is not None
        return self._port

    @property
    def pid(self) -> int:
        """Process id of the server that was started last."""
        assert self._running is not None
        return self._running.process.pid

    def url(self, database: str = "test", *, host: str = HOST, password: str | None = None) -> str:
        """SQLAlchemy URL of a database; `test` exists and is empty."""
        word = quote(self.password if password is None else password, safe="")
        return f"mysql+pymysql://{self.user}:{word}@{host}:{self.port}/{database}"

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as root in `test`; the rows of the last one."""
        connection = self._connect(self.port)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                rows = list(cursor.fetchall())
            connection.commit()
            return rows
        finally:
            connection.close()

    def create(self) -> None:
        """Make the data folder: system tables, root with its password, and the empty database `test`."""
        accounts = self._folder / "accounts.sql"
        accounts.write_text(
            "FLUSH PRIVILEGES;\n"
            "DELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys';\n"
            "FLUSH PRIVILEGES;\n"
            + "".join(
                f"CREATE USER root@'{host}' IDENTIFIED BY '{self.password}';\nGRANT ALL ON *.* TO root@'{host}' WITH GRANT OPTION;\n"
                for host in ("localhost", HOST)
            )
            + "CREATE DATABASE test;\n"
        )
        done = subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={self._folder / 'data'}", "--auth-root-authentication-method=normal",
             "--skip-test-db", "--skip-name-resolve", f"--extra-file={accounts}"],
            cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            **self._as_account,
        )  # fmt: skip
        if done.returncode != 0:
            raise ServerNotStartedError(f"mariadb-install-db made no data folder. It said:\n{done.stdout[-3000:]}")

    def start(self) -> None:
        """Start the server, again on the same port and data; does nothing when it runs.

        Raises:
            ServerNotStartedError: It did not start.
        """
        if self._running is not None and self._running.process.poll() is None:
            return
        self._running = start_server(self._command, self._answers, folder=self._folder, port=self._port, **self._as_account)
        self._port = self._running.port

    def kill(self) -> None:
        """End the server as a power cut would, and wait until it is gone; `start` then recovers its data."""
        assert self._running is not None
        self._running.process.kill()
        self._running.process.wait()

    def stop(self) -> None:
        """Stop the server; does nothing when it does not run, or was killed."""
        if self._running is not None:
            stop_server(self._running.process)

    def _command(self, port: int) -> list[str]:
        tls = self.certificates
        return [
            "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self._folder / 'data'}", f"--tmpdir={self._folder}",
            f"--socket={self.socket}", f"--port={port}", f"--bind-address={HOST}", f"--pid-file={self._folder / 'pid'}",
            f"--ssl-ca={tls.authority}", f"--ssl-cert={tls.certificate}", f"--ssl-key={tls.key}",
            # As Debian's configuration does.
            "--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--skip-name-resolve",
        ]  # fmt: skip

    def _answers(self, port: int) -> bool:
        try:
            # The password is this server's alone.
            self._connect(port).close()
        except pymysql.MySQLError:
            return False
        return True

    def _connect(self, port: int) -> "pymysql.Connection[Any]":
        return pymysql.connect(
            host=HOST, port=port, user=self.user, password=self.password, database="test", connect_timeout=5, charset="utf8mb4"
        )


@contextmanager
def mariadb() -> Iterator[MariaDb]:
    """A running MariaDB; as root it runs as an unprivileged account."""
    account = unprivileged_account()
    with temporary_folder(owner=None if account is None else (account.uid, account.gid)) as folder:
        server = MariaDb(folder, account)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@dataclass(frozen=True, kw_only=True)
class Postgres15:
    """A PostgreSQL 15 of the system.

    Attributes:
        server: Its life cycle.
        certificates: What a client needs to verify it; None without TLS.
    """

    server: LocalPostgres
    certificates: Certificates | None

    def url(self, database: str = "postgres", *, host: str = HOST, **parameters: str) -> str:
        """SQLAlchemy URL of a database, with parameters of libpq such as `sslmode` and `sslrootcert`."""
        url = self.server.url(database).replace(f"@{HOST}:", f"@{host}:")
        return f"{url}?{urlencode(parameters)}" if parameters else url


@contextmanager
def postgres15(*, tls: bool = False) -> Iterator[Postgres15]:
    """A running PostgreSQL 15; with `tls` it takes connections with and without TLS."""
    with temporary_folder() as folder:
        server = LocalPostgres(folder / "postgres", binaries=POSTGRES_15)
        try:
            data = server.start().data
            certificates = None
            if tls:
                certificates = make_certificates(folder)
                # These are the names where PostgreSQL looks, and it demands that its account owns the key.
                for source, name in ((certificates.certificate, "server.crt"), (certificates.key, "server.key")):
                    shutil.copy(source, data / name)
                    os.chown(data / name, data.stat().st_uid, data.stat().st_gid)
                    (data / name).chmod(0o600)
                with (data / "postgresql.auto.conf").open("a") as configuration:
                    configuration.write("ssl = on\n")
                server.stop()
                server.start()
            yield Postgres15(server=server, certificates=certificates)
        finally:
            server.remove()


__all__ = ["Certificates", "MariaDb", "Postgres15", "make_certificates", "mariadb", "postgres15"]
