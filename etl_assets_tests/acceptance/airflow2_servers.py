"""A real Airflow 2.11, in an environment of its own: its scheduler with LocalExecutor, driven by its command line.

The project runs in that environment too; its storage and Airflow's metadata are in PostgreSQL.

Not here: Airflow 3 (`airflow_servers.py`), what is tested (`test_airflow2.py`).
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from airflow_bridge.export import manifests_of, read_project, write
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.acceptance.airflow_api import OVER
from etl_assets_tests.acceptance.airflow_servers import DAGSTER_YAML, ROOT, SmtpSink, Trial

# Of a venv of its own, which the Makefile makes: Airflow 2 does not go together with what etl_assets needs.
PYTHON = Path(sys.prefix) / "airflow2" / "bin" / "python"
_STOP_SECONDS = 20
_COMMANDS = """
import contextlib, io, json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from airflow.cli.cli_parser import get_parser
parser = get_parser()
for line in sys.stdin:
    said, error = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(said):
            chosen = parser.parse_args(json.loads(line))
            chosen.func(chosen)
    except (Exception, SystemExit) as raised:
        error = f"{type(raised).__name__}: {raised}"
    answers.write(json.dumps([said.getvalue(), error]) + "\\n")
    answers.flush()
"""
_PRELOAD = "from airflow_bridge.preload import warm\n\nwarm()\n"


@dataclass
class CommandLine:
    """Airflow's commands, with the words of `AirflowApi`; one process answers them, since each would import Airflow for five seconds.

    Attributes:
        process: That answers.
    """

    process: "subprocess.Popen[str]"
    _runs: int = 0

    def command(self, *arguments: str) -> str:
        """What a command of `airflow` says; one that logs an error has failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(arguments)}\n")
        self.process.stdin.flush()
        said, error = json.loads(self.process.stdout.readline())
        if error or " ERROR - " in said:
            raise AssertionError(f"airflow {' '.join(arguments)}: {error or said}")
        return str(said)

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """The rows that a command shows."""
        found: list[dict[str, Any]] = json.loads(self.command(*arguments, "--output", "json").strip().splitlines()[-1])
        return found

    def until(self, what: str, look: Callable[[], Any], limit_seconds: float = 120) -> Any:
        """Wait for something that is true."""
        end = time.monotonic() + limit_seconds
        last: Any = None
        while time.monotonic() < end:
            try:
                last = look()
            except AssertionError as error:
                last = error
            else:
                if last:
                    return last
            time.sleep(0.5)
        raise AssertionError(f"{what} did not come in {limit_seconds} s; last: {last}")

    def trigger(self, dag: str, *, conf: Mapping[str, Any] | None = None) -> str:
        """Start a DAG run; returns its id."""
        self._runs += 1
        run_id = f"trial:{self._runs}"
        self.command("dags", "trigger", dag, "--run-id", run_id, "--conf", json.dumps(conf or {}))
        return run_id

    def runs(self, dag: str) -> dict[str, dict[str, Any]]:
        """Runs of a DAG by id."""
        return {one["run_id"]: one for one in self.rows("dags", "list-runs", "--dag-id", dag)}

    def ended(self, dag: str, run_id: str, limit_seconds: float = 120) -> str:
        """State of the DAG run when it is over."""

        def look() -> str | None:
            state = str(self.runs(dag)[run_id]["state"])
            return state if state in OVER else None

        return str(self.until(f"the end of {dag} {run_id}", look, limit_seconds))

    def states(self, dag: str, run_id: str) -> dict[str, str | None]:
        """States of tasks by task id."""
        return {one["task_id"]: one["state"] for one in self.rows("tasks", "states-for-dag-run", dag, run_id)}

    def clear_failed(self, dag: str, run_id: str) -> None:
        """Clear what did not succeed in a run."""
        at = str(self.runs(dag)[run_id]["execution_date"])
        self.command("tasks", "clear", dag, "--yes", "--only-failed", "--start-date", at, "--end-date", at)


@dataclass
class Trial2(Trial):
    """A running Airflow 2 with a Dagster project.

    Attributes:
        metadata_url: Of Airflow's database.
    """

    api: CommandLine  # type: ignore[assignment]
    metadata_url: str = ""

    def dataset_events(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        """URI and extra of the Dataset events of a DAG run, which no command shows."""
        asked = sa.text(
            "SELECT uri, event.extra FROM dataset_event event JOIN dataset ON dataset.id = dataset_id "
            "WHERE source_dag_id = :dag AND source_run_id = :run"
        )
        engine = sa.create_engine(self.metadata_url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(asked, {"dag": dag, "run": run_id}).mappings()]

    def script(self, text: str, *arguments: str | Path) -> Any:
        """The last line, as JSON, that a script writes in the environment of Airflow 2, beside the Airflow that runs."""
        apart = {"AIRFLOW_HOME": str(self.folder / "apart"), "TMPDIR": str(self.folder / "apart")}
        (self.folder / "apart").mkdir(exist_ok=True)
        done = subprocess.run(
            [PYTHON, "-W", "ignore", "-c", text, *arguments], env={**os.environ, **self.variables, **apart}, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"it ended with {done.returncode}: {done.stderr[-3000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def airflow2(
    server: LocalPostgres, folder: Path, dag_files: Mapping[str, str], settings: str, *, project: str, dags: Sequence[str], sink: SmtpSink
) -> Iterator[Trial2]:
    """An Airflow 2.11 whose DAGs come from the jobs of a Dagster project.

    Args:
        server: PostgreSQL.
        folder: For everything that is made.
        dag_files: Texts of the DAG files by name; MANIFESTS in them is the folder of the manifests.
        settings: Text of `dags.yaml` in that folder.
        project: Module of the project.
        dags: Ids of DAGs that have to be there before it is used.
        sink: Where e-mails go.
    """
    for database in ("trial2_airflow", "trial2_dagster"):
        server.create_database(database)
    for one in ("airflow/config", "dags", "dagster", "files", "manifests", "values"):
        (folder / one).mkdir(parents=True, exist_ok=True)
    (folder / "airflow" / "config" / "airflow_local_settings.py").write_text(_PRELOAD)
    (folder / "dagster" / "dagster.yaml").write_text(DAGSTER_YAML)
    project_variables = {
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "DAGSTER_HOME": str(folder / "dagster"),
        "PYTHONPATH": str(ROOT),
        "TRIAL_FILES": str(folder / "files"),
        "TRIAL_VALUES": str(folder / "values"),
        "TRIAL_STORAGE": server.url("trial2_dagster"),
    }
    os.environ["TRIAL_STORAGE"] = project_variables["TRIAL_STORAGE"]
    with dg.DagsterInstance.from_config(project_variables["DAGSTER_HOME"]) as instance:
        # The tables are made before tasks run at the same time.
        instance.get_runs_count()
    write(manifests_of(read_project(project)), folder / "manifests")
    (folder / "manifests" / "dags.yaml").write_text(settings)
    for name, text in dag_files.items():
        (folder / "dags" / name).write_text(text.replace("MANIFESTS", str(folder / "manifests")))
    metadata_url = server.url("trial2_airflow")
    variables = {
        **os.environ,
        **project_variables,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata_url,
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    python = [str(PYTHON), "-W", "ignore"]
    subprocess.run([*python, "-m", "airflow", "db", "migrate"], env=variables, check=True, capture_output=True)
    scheduling = _process([*python, "-m", "airflow", "scheduler", "--skip-serve-logs"], variables, folder / "scheduler.log", talks=False)
    with scheduling as scheduler, _process([*python, "-c", _COMMANDS], variables, folder / "commands.log", talks=True) as commands:
        api = CommandLine(commands)

        def ready() -> bool:
            return scheduler.poll() is not None or all(api.runs(dag) == {} for dag in dags)

        api.until("the DAGs", ready)
        assert scheduler.poll() is None, (folder / "scheduler.log").read_text()[-3000:]
        yield Trial2(api, folder, project_variables, sink, metadata_url)


@contextmanager
def _process(command: Sequence[str], variables: Mapping[str, str], log: Path, *, talks: bool) -> "Iterator[subprocess.Popen[str]]":
    """A process that is ended with all that it has started; one that talks is asked by its input and answers by its output."""
    with log.open("w") as file:
        streams: dict[str, Any] = {"stdin": subprocess.PIPE if talks else subprocess.DEVNULL, "stdout": subprocess.PIPE if talks else file}
        with subprocess.Popen(command, env=variables, cwd=log.parent, text=True, stderr=file, start_new_session=True, **streams) as process:
            try:
                yield process
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_SECONDS)
                # Airflow 2 gives its tasks process groups of their own.
                for one in _session(process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)


def _session(leader: int) -> list[int]:
    """Processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(path.name)) == leader:
                found.append(int(path.name))
    return found
