"""`airflow-bridge serve`, which `make airflow` calls: an Airflow of one's own, from its address to Ctrl-C.

Not here: what its DAGs do (`test_airflow.py`).
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from airflow_bridge.export import manifests_of, read_project, write
from etl_assets.local_postgres import LocalPostgres
from etl_assets.ports import free_port
from etl_assets_tests.acceptance.airflow_servers import ROOT

PROJECT = "etl_assets_tests.acceptance.airflow_project"


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the DAG file that is shipped, and manifests beside it."""
    folder = tmp_path_factory.mktemp("served") / "dags"
    write(manifests_of(read_project(PROJECT), ["chain"]), folder / "manifests")
    shutil.copy(ROOT / "docker" / "airflow" / "dags" / "asset_dags.py", folder)
    return folder


@contextlib.contextmanager
def serving(dags: Path, url: str, port: int) -> Iterator["subprocess.Popen[str]"]:
    """The command, stopped with all that it has started."""
    command = [
        sys.executable,
        "-m",
        "airflow_bridge",
        "serve",
        "--dags",
        str(dags),
        "--home",
        str(dags.parent / "home"),
        "--port",
        str(port),
    ]
    environment = {**os.environ, "AIRFLOW_DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def test_from_the_address_to_the_end(postgres_server: LocalPostgres, dags: Path) -> None:
    """It prints address and login, which work; the DAGs of the file are there; Ctrl-C stops all of it."""
    postgres_server.create_database("served_airflow")
    port = free_port()
    with serving(dags, postgres_server.url("served_airflow"), port) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in iter(process.stdout.readline, ""):
            lines.append(line)
            if line.startswith("Airflow: "):
                break
        found = re.match(r"Airflow: (\S+)   user (\S+), password (\S+)   \(Ctrl-C stops it\)", lines[-1])
        assert found is not None, lines
        address, user, password = found.groups()
        token = requests.post(f"{address}/auth/token", json={"username": user, "password": password}, timeout=30).json()["access_token"]
        refused = requests.post(f"{address}/auth/token", json={"username": user, "password": "another"}, timeout=30)
        for _ in range(60):
            listed = requests.get(f"{address}/api/v2/dags", headers={"Authorization": f"Bearer {token}"}, timeout=30).json()["dags"]
            if listed:
                break
            time.sleep(1)
        taken = subprocess.run(
            process.args, env={**os.environ, "AIRFLOW_DATABASE_URL": "postgresql://x"}, capture_output=True, text=True, check=False
        )
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert ([one["dag_id"] for one in listed], refused.status_code) == (["chain"], 401)
        assert f"error: port {port} is taken. Next: " in taken.stderr
        assert (process.wait(60), "Airflow is stopped." in rest) == (0, True)
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=5)


def test_a_database_that_is_not_there(dags: Path) -> None:
    """A database that cannot be reached, or is not named, is an error with the next step."""
    with serving(dags, "postgresql://nobody@127.0.0.1:1/none", free_port()) as process:
        said = process.communicate(timeout=120)[0]
        assert (
            process.returncode,
            "error: `airflow db migrate` failed: " in said,
            "Next: correct the address of the database." in said,
        ) == (1, True, True)
    with serving(dags, "", free_port()) as process:
        assert "error: variable AIRFLOW_DATABASE_URL is not set. Next: " in process.communicate(timeout=120)[0]
