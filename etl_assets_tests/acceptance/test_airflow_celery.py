"""The example of this project as DAGs, by Airflow's Celery executor with Redis and two workers: the same tables as Dagster makes.

Not here: projects that are not this one's (`test_airflow_equality.py`).
"""

import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from airflow_bridge.local_airflow import LocalAirflow, RunningAirflow
from etl_assets.local_postgres import LocalPostgres
from etl_assets.ports import free_port
from etl_assets_tests.acceptance.airflow_api import AirflowApi
from etl_assets_tests.end_to_end.conftest import CLI, ROOT, Home
from etl_assets_tests.end_to_end.test_demo import tables
from etl_assets_tests.httpbin_server import served, stop_server, temporary_folder

MONTHS = [f"2013-{month:02}-01" for month in range(1, 13)]
WORKERS = ["worker-1", "worker-2"]


@dataclass(frozen=True)
class Example:
    """The example in an Airflow with two workers.

    Attributes:
        home: In which Dagster made the tables.
        api: Of Airflow, whose tables go to the database `from_airflow`.
        airflow: That runs.
    """

    home: Home
    api: AirflowApi
    airflow: RunningAirflow

    def done_by(self, dag: str) -> dict[str, int]:
        """How many tasks of a DAG each worker has begun."""
        lines = {name: self.airflow.log(name).read_text(errors="replace").splitlines() for name in WORKERS}
        return {name: sum(f"dag_id='{dag}'" in line or f'"dag_id":"{dag}"' in line for line in told) for name, told in lines.items()}


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """Address of a Redis that asks for a password."""
    password = secrets.token_hex(16)
    with temporary_folder() as folder:
        settings = folder / "redis.conf"
        settings.write_text(f"bind 127.0.0.1\nrequirepass {password}\nsave ''\n")
        with served(
            lambda port: ["redis-server", str(settings), "--port", str(port)],
            lambda port: answers(port, password),
            folder=folder,
        ) as port:
            yield f"redis://:{password}@127.0.0.1:{port}/0"


def environment_of(process: "subprocess.Popen[bytes]") -> dict[str, str]:
    """What a process tells of its environment: variables that end with NUL, and two more at the end."""
    assert process.stdout is not None
    told = b""
    while not told.endswith(b"\0\0\0"):
        part = process.stdout.read1()
        assert part, "the example's sources did not start"
        told += part
    return dict(one.split("=", 1) for one in told.decode().split("\0") if "=" in one)


def answers(port: int, password: str) -> bool:
    """Whether it is this Redis that answers."""
    try:
        with redis.Redis(host="127.0.0.1", port=port, password=password) as client:
            return bool(client.ping())
    except redis.RedisError as error:
        raise OSError(str(error)) from error


@pytest.fixture(scope="module")
def example(broker: str, postgres_server: LocalPostgres) -> Iterator[Example]:
    """The example, made by Dagster, its sources, and an Airflow with two Celery workers and its DAGs."""
    with tempfile.TemporaryDirectory(prefix="etl-assets-celery-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        unmade = Home(folder / "home", subprocess.CompletedProcess([], 1))
        try:
            home = Home(unmade.path, unmade.run("demo"))
            assert home.demo.returncode == 0, home.demo.stderr
            home.run(
                "exec", "--", sys.executable, "-c", "from etl_assets.config import *; embedded_database(read_settings(), 'from_airflow')"
            )
            url = home.run("postgres", "url", "from_airflow").stdout.strip()
            sources = subprocess.Popen(
                [*CLI, "exec", "--", "sh", "-c", "env -0; printf '\\0\\0'; exec sleep 3600"],
                cwd=ROOT, env={**home.variables, "DATABASE_URL": url}, stdout=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            stack.enter_context(sources)
            stack.callback(stop_server, sources)
            variables = environment_of(sources)
            dags = folder / "dags"
            dags.mkdir()
            shutil.copy(ROOT / "docker" / "airflow" / "dags" / "asset_dags.py", dags)
            command = [sys.executable, "-m", "airflow_bridge", "export", "-m", "etl_assets.definitions", "-o", str(dags / "manifests")]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            postgres_server.create_database("celery_airflow")
            local = LocalAirflow(
                home=folder / "airflow",
                dags=dags,
                database_url=postgres_server.url("celery_airflow"),
                port=free_port(),
                slots=2,
                executor="CeleryExecutor",
                workers=2,
                variables={
                    **variables,
                    "PYTHONPATH": str(ROOT),
                    "AIRFLOW__CELERY__BROKER_URL": broker,
                    # A worker takes no more than it can begin: the other one is idle else.
                    "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
                },
            )
            with local.start() as running:
                running.wait_until_healthy()
                yield Example(home, AirflowApi(running), running)
        finally:
            unmade.run("postgres", "stop")


def test_the_same_tables_by_two_workers(example: Example) -> None:
    """The job and its twelve partitions end in the tables that Dagster made, and both workers did tasks of each."""
    run = example.api.trigger("nyc_flights")
    assert example.api.ended("nyc_flights", run, 400) == "success", example.api.states("nyc_flights", run)
    runs = [example.api.trigger("nyc_flights_by_month", partition_key=month) for month in MONTHS]
    assert [example.api.ended("nyc_flights_by_month", one, 400) for one in runs] == ["success"] * 12
    assert tables(example.home, "from_airflow") == tables(example.home)
    done = {dag: example.done_by(dag) for dag in ("nyc_flights", "nyc_flights_by_month")}
    assert all(count > 0 for counts in done.values() for count in counts.values()), done
