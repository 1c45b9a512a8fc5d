"""A real Airflow for the acceptance tests: its metadata and Dagster's storage in PostgreSQL, an SMTP server that keeps what it gets.

Not here: the API of Airflow (`airflow_api.py`), what is tested with it (`test_airflow.py`).
"""

import os
import socketserver
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import dagster as dg

from airflow_bridge.export import manifests_of, read_project, write
from airflow_bridge.launcher import run_id_for
from airflow_bridge.local_airflow import LocalAirflow
from etl_assets.local_postgres import LocalPostgres
from etl_assets.ports import free_port
from etl_assets_tests.acceptance.airflow_api import AirflowApi

ROOT = Path(__file__).parents[2]


class SmtpSink(socketserver.ThreadingTCPServer):
    """An SMTP server on loopback that delivers nothing."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.messages: list[Message] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server: SmtpSink

    def handle(self) -> None:
        self._say("220 sink")
        while line := self.rfile.readline():
            command = line.strip().upper().partition(b" ")[0]
            if command in (b"EHLO", b"HELO"):
                self._say("250 sink")
            elif command == b"DATA":
                self._say("354 go on")
                lines = []
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(part.removeprefix(b"."))
                self.server.messages.append(message_from_bytes(b"".join(lines)))
                self._say("250 kept")
            elif command == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@dataclass
class Trial:
    """A running Airflow with a Dagster project.

    Attributes:
        api: Of Airflow.
        folder: Where everything lies.
        variables: Of the project.
        sink: Where e-mails go.
    """

    api: AirflowApi
    folder: Path
    variables: Mapping[str, str]
    sink: SmtpSink = field(default_factory=SmtpSink)

    @property
    def files(self) -> Path:
        return Path(self.variables["TRIAL_FILES"])

    def ask(self, **actions: list[str] | str) -> None:
        """What assets have to do in their next attempts; what they did before is forgotten."""
        for path in self.files.iterdir():
            path.unlink()
        for name, lines in actions.items():
            (self.files / f"{name}.todo").write_text("\n".join([lines] if isinstance(lines, str) else lines))

    def ran(self, name: str) -> list[list[str]]:
        """Time, process id and partition of each start of an asset."""
        path = self.files / f"{name}.ran"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def until_ran(self, name: str, times: int = 1) -> list[list[str]]:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if len(found := self.ran(name)) >= times:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{name} did not run {times} times in time")

    @contextmanager
    def dagster(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance of the project."""
        with dg.DagsterInstance.from_config(self.variables["DAGSTER_HOME"]) as instance:
            yield instance

    def dagster_run(self, dag: str, run_id: str) -> dg.DagsterRun:
        with self.dagster() as instance:
            run = instance.get_run_by_id(run_id_for(dag, run_id))
            assert run is not None
            return run

    def attempts(self, dag: str, run_id: str) -> dict[str, int]:
        """Attempts by step of the Dagster run."""
        with self.dagster() as instance:
            return {one.step_key: one.attempts or 0 for one in instance.get_run_step_stats(run_id_for(dag, run_id))}

    def events(self, dag: str, run_id: str, kind: dg.DagsterEventType) -> list[Any]:
        with self.dagster() as instance:
            records = instance.get_records_for_run(run_id_for(dag, run_id), of_type={kind}).records
            return [record.event_log_entry.dagster_event for record in records]

    def materialized(self, dag: str, run_id: str) -> list[str]:
        """Keys of the assets that the run made, in their order, as often as it made them."""
        found = self.events(dag, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
        return [event.asset_key.to_user_string() for event in found]


DAGSTER_YAML = """telemetry: {enabled: false}
nux: {enabled: false}
storage: {postgres: {postgres_url: {env: TRIAL_STORAGE}}}
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""


@contextmanager
def airflow(
    server: LocalPostgres, folder: Path, dag_file: str, projects: Mapping[str, list[str]], *, name: str, sink: SmtpSink | None = None,
    variables: Mapping[str, str] | None = None, **settings: Any,
) -> Iterator[Trial]:  # fmt: skip
    """An Airflow whose DAGs come from the jobs of Dagster projects.

    Args:
        server: PostgreSQL.
        folder: For everything that is made.
        dag_file: Text of the DAG file; MANIFESTS in it is the folder of the manifests.
        projects: Jobs by module, or by `module:attribute` where the definitions are not called defs; no names for all of them.
        name: Of the databases.
        sink: Where e-mails go.
        variables: Of the project, beside those of every trial.
        settings: Of LocalAirflow.
    """
    for database in (f"{name}_airflow", f"{name}_dagster"):
        server.create_database(database)
    for one in ("dags", "dagster", "files", "values"):
        (folder / one).mkdir(parents=True, exist_ok=True)
    (folder / "dagster" / "dagster.yaml").write_text(DAGSTER_YAML)
    own = {
        "DAGSTER_HOME": str(folder / "dagster"),
        "PYTHONPATH": str(ROOT),
        "TRIAL_FILES": str(folder / "files"),
        "TRIAL_VALUES": str(folder / "values"),
        "TRIAL_STORAGE": server.url(f"{name}_dagster"),
        # Changed DAG files are seen soon, and no task waits for long.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # What a killed scheduler or task leaves behind is found in seconds.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        **(variables or {}),
    }
    os.environ["TRIAL_STORAGE"] = own["TRIAL_STORAGE"]
    with dg.DagsterInstance.from_config(own["DAGSTER_HOME"]) as instance:
        # The tables are made before tasks run at the same time.
        instance.get_runs_count()
    for project, jobs in projects.items():
        module, _, attribute = project.partition(":")
        write(manifests_of(read_project(module, attribute=attribute or "defs"), jobs), folder / "manifests")
    (folder / "dags" / "trial.py").write_text(dag_file.replace("MANIFESTS", str(folder / "manifests")))
    local = LocalAirflow(
        home=folder / "airflow",
        dags=folder / "dags",
        database_url=server.url(f"{name}_airflow"),
        port=free_port(),
        variables=own,
        python=sys.executable,
        **settings,
    )
    with local.start() as running:
        running.wait_until_healthy()
        api = AirflowApi(running)
        api.until("a DAG", lambda: api.import_errors() or api.call("GET", "dags")["total_entries"])
        assert api.import_errors() == {}
        yield Trial(api, folder, own, *([sink] if sink is not None else []))
