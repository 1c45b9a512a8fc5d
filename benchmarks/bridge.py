"""The bridge against what people would write instead, on a real Airflow: `python -m benchmarks parse run cpu`.

    parse   DAG files of 1,000 tasks: hand-written EmptyOperators, importing the definitions, Cosmos' manifest mode; each in a new process
    run     60 and 200 assets in an Airflow with 4 slots, all on PostgreSQL, against empty PythonOperators
    cpu     what their tasks cost, against cold starts and a launch per asset by GraphQL

Not here: the page (`report.py`).
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from airflow_bridge.local_airflow import LocalAirflow, RunningAirflow
from benchmarks.bridge_project import upstream_of, width_of
from benchmarks.harness import PEERS
from benchmarks.report import Row, medians
from etl_assets.local_postgres import LocalPostgres
from etl_assets.ports import free_port
from etl_assets_tests.acceptance.airflow_api import AirflowApi
from etl_assets_tests.httpbin_server import get, start_server, stop_server

ROOT = Path(__file__).parents[1]
MODULE = "benchmarks.bridge_project"
REPEATS = int(os.environ.get("BENCHMARK_REPEATS", "5"))
LARGE, SMALL, RUNNING = 1000, 60, 60
# What an ETL project imports beside dagster; with it come pandas, pandera and pyarrow.
IMPORTS = "etl_assets.assets"
PACKAGES = ("apache-airflow", "dagster", "dagster-postgres", "psycopg2-binary")

# What a process has imported before it reads the file: preload does so, and any local settings can.
PRELOADED = {
    "bridge": "airflow_bridge.dags", "tenth": "airflow_bridge.dags", "small": "airflow_bridge.dags", "all outlets": "airflow_bridge.dags",
    "cosmos": "cosmos", "by hand": "airflow.providers.standard.operators.empty",
}  # fmt: skip

BRIDGE = """# airflow dag
from airflow_bridge.dags import dag_from_manifest
dag = dag_from_manifest("{folder}/{count}/all_assets.json", dag_id="all_assets"{more})
"""
BY_HAND = """# airflow dag
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
COUNT, WIDTH = {count}, {width}
with DAG("all_assets", schedule=None) as dag:
    tasks = [EmptyOperator(task_id=f"asset_{{number:04}}") for number in range(COUNT)]
    for number in range(WIDTH, COUNT):
        first = number - WIDTH
        for upstream in {{first, max(0, first - 1)}}:
            tasks[upstream] >> tasks[number]
"""
DEFINITIONS = """# airflow dag
import os
os.environ["BENCHMARK_ASSETS"] = "{count}"
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from benchmarks.bridge_project import defs
graph = defs.get_job_def("all_assets").asset_layer.asset_graph
with DAG("all_assets", schedule=None) as dag:
    tasks = {{key: EmptyOperator(task_id=key.to_python_identifier()) for key in graph.get_all_asset_keys()}}
    for key, task in tasks.items():
        for parent in graph.get(key).parent_keys:
            tasks[parent] >> task
"""
COSMOS = """# airflow dag
import sys
sys.path.append("{peers}")
from cosmos import DbtDag, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import LoadMode, TestBehavior
dag = DbtDag(
    dag_id="all_assets", schedule=None,
    project_config=ProjectConfig(manifest_path="{folder}/manifest.json", project_name="benchmark"),
    profile_config=ProfileConfig(profile_name="benchmark", target_name="dev", profiles_yml_filepath="{folder}/profiles.yml"),
    execution_config=ExecutionConfig(dbt_project_path="{folder}", dbt_executable_path="{folder}/dbt"),
    render_config=RenderConfig(load_method=LoadMode.DBT_MANIFEST, test_behavior=TestBehavior.NONE),
)
"""
CONVERTED = """# airflow dag
from airflow_bridge.dags import dag_from_manifest
dag = dag_from_manifest("{folder}/{count}/all_assets.json", dag_id="{mode}_{count}", mode="{mode}", default_args={{"retries": 0}})
"""
EMPTY = """# airflow dag
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

def nothing():
    return None

COUNT, WIDTH = {count}, {width}
with DAG("empty_{count}", schedule=None, default_args={{"retries": 0}}) as dag:
    tasks = [PythonOperator(task_id=f"asset_{{number:04}}", python_callable=nothing) for number in range(COUNT)]
    for number in range(WIDTH, COUNT):
        first = number - WIDTH
        for upstream in {{first, max(0, first - 1)}}:
            tasks[upstream] >> tasks[number]
"""
# As the proxy operators of dagster-airlift do: launch a run of the asset, and look every second whether it is over.
LAUNCHES = """# airflow dag
import json, time, urllib.request
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

def ask(query, variables):
    body = json.dumps({{"query": query, "variables": variables}}).encode()
    request = urllib.request.Request("{url}/graphql", body, {{"Content-Type": "application/json"}})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]

def launch(name):
    selector = {{
        "repositoryLocationName": "{location}", "repositoryName": "__repository__", "pipelineName": "__ASSET_JOB",
        "assetSelection": [{{"path": [name]}}], "assetCheckSelection": [],
    }}
    done = ask(
        "mutation($given: ExecutionParams!) {{ launchPipelineExecution(executionParams: $given) {{ __typename"
        " ... on LaunchRunSuccess {{ run {{ runId }} }} ... on PythonError {{ message }} }} }}",
        {{"given": {{"mode": "default", "selector": selector, "runConfigData": {{"execution": {{"config": {{"in_process": {{}}}}}}}}}}}},
    )["launchPipelineExecution"]
    run = done["run"]["runId"]
    while True:
        status = ask("query($id: ID!) {{ runOrError(runId: $id) {{ ... on Run {{ status }} }} }}", {{"id": run}})["runOrError"]["status"]
        if status in ("SUCCESS", "FAILURE", "CANCELED"):
            assert status == "SUCCESS"
            return
        time.sleep(1)

with DAG("launches", schedule=None, default_args={{"retries": 0}}) as dag:
    for number in range({count}):
        PythonOperator(task_id=f"asset_{{number:04}}", python_callable=launch, op_args=[f"asset_{{number:04}}"])
"""


def parse() -> list[Row]:
    """Rows about DAG files of 1,000 tasks."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        for count in (LARGE, LARGE // 10, SMALL, 8):
            export(folder / str(count), count)
        texts = {
            "bridge": BRIDGE.format(folder=folder, count=LARGE, more=""),
            "tenth": BRIDGE.format(folder=folder, count=LARGE // 10, more=""),
            "small": BRIDGE.format(folder=folder, count=8, more=""),
            "all outlets": BRIDGE.format(folder=folder, count=LARGE, more=', outlets="all"'),
            "by hand": BY_HAND.format(count=LARGE, width=width_of(LARGE)),
            "definitions": DEFINITIONS.format(count=LARGE),
            "cosmos": COSMOS.format(peers=next((PEERS.parents[1] / "lib").glob("python3*/site-packages")), folder=folder),
        }
        dbt_project(folder, LARGE)
        environment = {**os.environ, "AIRFLOW_HOME": str(folder / "airflow"), "PYTHONPATH": str(ROOT)}
        for key, text in texts.items():
            (folder / key).mkdir()
            (folder / key / "dag.py").write_text(text)

        def measured(what: str, key: str, *task: str, warm: bool = True) -> dict[str, Any]:
            command = [
                sys.executable,
                "-m",
                "benchmarks.bridge_parse",
                what,
                str(folder / key / "dag.py"),
                PRELOADED.get(key, "") if warm else "",
                *task,
            ]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{key}: {done.stderr[-2000:]}")
            found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
            return found

        measured("parse", "bridge")
        task = "asset_0500"
        found = medians(
            {
                "bridge": lambda: measured("parse", "bridge")["seconds"],
                "tenth": lambda: measured("parse", "tenth")["seconds"],
                "by hand": lambda: measured("parse", "by hand")["seconds"],
                "definitions": lambda: measured("parse", "definitions")["seconds"],
                "cosmos": lambda: measured("parse", "cosmos")["seconds"],
                "worker": lambda: measured("parse", "bridge", task)["seconds"],
                "worker cold": lambda: measured("parse", "bridge", task, warm=False)["seconds"],
                "worker small": lambda: measured("parse", "small", "asset_0004", warm=False)["seconds"],
                "worker cosmos": lambda: measured("parse", "cosmos", task)["seconds"],
                "export": lambda: exporting(LARGE),
                "import": lambda: importing(LARGE),
            },
            REPEATS,
        )
        heavy = measured("parse", "bridge")["heavy"]
        if heavy:
            raise RuntimeError(f"parsing a DAG file imports {heavy}")
        sizes = {key: float(measured("bytes", key)["bytes"]) for key in ("bridge", "all outlets", "by hand")}
        cpu, imported = "s CPU", {"importing the definitions": found["definitions"]}
        return [
            Row("T1: parse 1,000 assets", found["bridge"], {"EmptyOperators by hand": found["by hand"]}, cpu, 1.25, 1.1),
            Row("T2: parse 1,000 assets", found["bridge"], {"Cosmos, manifest": found["cosmos"]}, cpu, 0.2, 0.18),
            Row("T3: a worker parses its task of 1,000", found["worker"], {"Cosmos": found["worker cosmos"]}, cpu, 0.02, 0.01),
            Row(
                "T3: the same, of Airflow alone imported before",
                found["worker cold"],
                {"its task of 8": found["worker small"]},
                cpu,
                2,
                1.3,
            ),
            Row("T4: parse 1,000 assets, without dagster and pandas", found["bridge"], imported, cpu, 0.08, 0.06),
            Row("growth: parse ten times the assets", found["bridge"], {"a tenth": found["tenth"]}, cpu, 11, 10),
            Row("T10: serialised DAG of 1,000 assets", sizes["bridge"], {"EmptyOperators by hand": sizes["by hand"]}, "bytes", 1.1, 0.96),
            Row("T10: with all assets as outlets", sizes["all outlets"], {"EmptyOperators by hand": sizes["by hand"]}, "bytes", 1.8, 1.73),
            Row("T11: export 1,000 assets", found["export"], {"importing the definitions": found["import"]}, cpu, 1.5, 1.3),
        ]


def export(folder: Path, count: int) -> None:
    """Write the manifest of a project of so many assets."""
    environment = {**os.environ, "BENCHMARK_ASSETS": str(count), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "airflow_bridge", "export", "-m", MODULE, "-o", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def _seconds(code: str, count: int) -> float:
    """CPU seconds of a new process."""
    environment = {**os.environ, "BENCHMARK_ASSETS": str(count), "PYTHONPATH": str(ROOT)}
    whole = f"import time, sys\n{code}\nsys.stdout.write(str(time.process_time()))"
    done = subprocess.run([sys.executable, "-c", whole], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def exporting(count: int) -> float:
    """CPU seconds of an export."""
    with tempfile.TemporaryDirectory() as folder:
        code = "from pathlib import Path\nfrom airflow_bridge.export import manifests_of, read_project, write\n"
        return _seconds(f"{code}write(manifests_of(read_project({MODULE!r})), Path({folder!r}))", count)


def importing(count: int) -> float:
    """CPU seconds of importing the definitions, with the job that they hold."""
    return _seconds(f"from {MODULE} import defs\ndefs.get_job_def('all_assets')", count)


def dbt_project(folder: Path, count: int) -> None:
    """A dbt project of so many models, as Cosmos reads one."""
    (folder / "dbt_project.yml").write_text("name: benchmark\nprofile: benchmark\nversion: '1'\n")
    (folder / "profiles.yml").write_text(
        "benchmark: {target: dev, outputs: {dev: {type: postgres, host: x, user: x, password: x, port: 1, dbname: x, schema: x}}}\n"
    )
    dbt = folder / "dbt"
    dbt.write_text("#!/bin/sh\n")
    dbt.chmod(0o755)
    nodes = {}
    for number in range(count):
        model, key = f"asset_{number:04}", f"model.benchmark.asset_{number:04}"
        nodes[key] = {
            "resource_type": "model", "package_name": "benchmark", "name": model, "alias": model, "unique_id": key,
            "original_file_path": f"models/{model}.sql", "path": f"{model}.sql", "fqn": ["benchmark", model], "tags": [],
            "depends_on": {"nodes": [f"model.benchmark.{one}" for one in upstream_of(number, count)]},
            "config": {"materialized": "table", "tags": [], "meta": {}},
        }  # fmt: skip
    (folder / "manifest.json").write_text(
        json.dumps({"metadata": {"project_name": "benchmark"}, "nodes": nodes, "sources": {}, "exposures": {}})
    )


def project(folder: Path, count: int) -> dict[str, str]:
    """The environment of a project of so many assets that runs."""
    home = str(folder / "dagster")
    return {"DAGSTER_HOME": home, "PYTHONPATH": str(ROOT), "BENCHMARK_ASSETS": str(count), "BENCHMARK_IMPORTS": IMPORTS}


@contextlib.contextmanager
def served(
    folder: Path, postgres: LocalPostgres, name: str, dags: Mapping[str, str], *, warm: bool = True, keeps: bool = False
) -> Iterator[tuple[AirflowApi, RunningAirflow]]:
    """An Airflow with 4 slots, its metadata and Dagster's storage in PostgreSQL; warm with the libraries, or with the definitions too."""
    home = folder / name
    (home / "dags").mkdir(parents=True)
    for file, text in dags.items():
        (home / "dags" / f"{file}.py").write_text(text)
    postgres.create_database(name)
    local = LocalAirflow(
        home=home / "airflow",
        dags=home / "dags",
        database_url=postgres.url(name),
        port=free_port(),
        slots=4,
        warm=warm,
        variables={**project(folder, RUNNING), "AIRFLOW_BRIDGE_PRELOAD": IMPORTS, "AIRFLOW_BRIDGE_DEFINITIONS": MODULE if keeps else ""},
    )
    with local.start() as running:
        running.wait_until_healthy()
        api = AirflowApi(running)
        api.until("a DAG", lambda: api.import_errors() or api.call("GET", "dags")["total_entries"])
        if api.import_errors():
            raise RuntimeError(str(api.import_errors()))
        yield api, running


def tree(pid: int) -> float:
    """CPU seconds of a process and of all that it has started, those that have ended too."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def workers(running: RunningAirflow) -> float:
    """CPU seconds of all tasks that have ended: what the executor's workers have waited for."""
    total = 0.0
    for process in psutil.Process(running.processes["scheduler"].pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.children_user + times.children_system
    return total


def wall(api: AirflowApi, dag: str) -> float:
    """Seconds from the start of a DAG run's first task to the end of its last one."""
    run = api.trigger(dag)
    if api.ended(dag, run, 900) != "success":
        raise RuntimeError(f"{dag}: {api.states(dag, run)}")
    # Seconds of the run itself; the queue before it is the scheduler's.
    found = api.run(dag, run)
    return float(found["duration"])


def cpu_per_task(api: AirflowApi, running: RunningAirflow, dag: str, tasks: int) -> float:
    """CPU seconds of one task's process."""
    before = workers(running)
    wall(api, dag)
    time.sleep(1)
    return (workers(running) - before) / tasks


@contextlib.contextmanager
def prepared(counts: Sequence[int]) -> Iterator[tuple[Path, LocalPostgres, dict[str, str]]]:
    """A folder with manifests and a Dagster instance, PostgreSQL, and the DAG files by their names."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = LocalPostgres(folder / "postgres")
        postgres.start()
        stack.callback(postgres.stop)
        postgres.create_database("dagster")
        (folder / "dagster").mkdir()
        url = postgres.url("dagster")
        settings = (
            "telemetry: {enabled: false}\nrun_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}\n"
            "compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}\n"
            "storage: {postgres: {postgres_url: 'URL', should_autocreate_tables: MAKE}}\n"
        ).replace("URL", url)
        dagster_yaml = folder / "dagster" / "dagster.yaml"
        dagster_yaml.write_text(settings.replace("MAKE", "true"))
        with dg.DagsterInstance.from_config(str(folder / "dagster")) as instance:
            instance.get_runs_count()
        # The tables are there: docs/airflow/modes.md says what that saves.
        dagster_yaml.write_text(settings.replace("MAKE", "false"))
        files = {}
        for count in counts:
            export(folder / str(count), count)
            files[f"empty_{count}"] = EMPTY.format(count=count, width=width_of(count))
            files |= {f"{mode}_{count}": CONVERTED.format(folder=folder, count=count, mode=mode) for mode in ("steps", "watch")}
        yield folder, postgres, files


def run() -> list[Row]:
    """Rows about how long DAG runs take."""
    with prepared((RUNNING, 200)) as (folder, postgres, files), served(folder, postgres, "kept", files, keeps=True) as (api, _):
        for dag in (f"steps_{RUNNING}", f"empty_{RUNNING}", f"watch_{RUNNING}"):
            wall(api, dag)
        found = medians(
            {f"{kind}_{RUNNING}": lambda kind=kind: wall(api, f"{kind}_{RUNNING}") for kind in ("steps", "empty", "watch")}, REPEATS
        )
        found |= medians({f"{kind}_200": lambda kind=kind: wall(api, f"{kind}_200") for kind in ("empty", "watch")}, min(3, REPEATS))
    empty = {"empty PythonOperators": found["empty_60"]}
    return [
        Row("T7: 60 assets, steps", found["steps_60"], empty, "s", 1.5, 1.2),
        Row("T8: 60 assets, watch", found["watch_60"], empty, "s", 0.9, 0.8),
        Row("T8: 200 assets, watch", found["watch_200"], {"empty PythonOperators": found["empty_200"]}, "s", 0.75, 0.65),
    ]


def cpu() -> list[Row]:
    """Rows about the CPU that tasks take: their processes, from the fork to the end."""
    steps, empty, repeats = f"steps_{RUNNING}", f"empty_{RUNNING}", min(3, REPEATS)
    with prepared((RUNNING,)) as (folder, postgres, files):
        with served(folder, postgres, "kept", files, keeps=True) as (api, running):
            for dag in (steps, empty):
                wall(api, dag)
            kept = medians(
                {
                    "steps": lambda: cpu_per_task(api, running, steps, RUNNING + 1),
                    "empty": lambda: cpu_per_task(api, running, empty, RUNNING),
                    "watch": lambda: cpu_per_task(api, running, f"watch_{RUNNING}", 1),
                },
                repeats,
            )
        with served(folder, postgres, "warm", files) as (api, running):
            wall(api, steps)
            warm = medians({"steps": lambda: cpu_per_task(api, running, steps, RUNNING + 1)}, min(2, REPEATS))["steps"]
        port = free_port()
        files["launches"] = LAUNCHES.format(url=f"http://127.0.0.1:{port}", location=MODULE, count=12)
        with served(folder, postgres, "cold", files, warm=False) as (api, running):
            cold = medians({"steps": lambda: cpu_per_task(api, running, steps, RUNNING + 1)}, min(2, REPEATS))["steps"]
            launched = launching(api, running, folder, port)
    task, alone, none = "s CPU per task", kept["steps"] - kept["empty"], kept["empty"]
    return [
        Row("T5: steps, warm, definitions kept", alone, {"steps, cold": cold - none}, task, 0.1, 0.05),
        Row("T5: steps, warm with libraries only", warm - none, {"steps, cold": cold - none}, task, None, None),
        Row("T5: the whole task, with Airflow's part", kept["steps"], {"steps, cold": cold, "an empty task": none}, task, None, None),
        Row("T6: steps, warm, definitions kept", alone, {"a launch per asset by GraphQL": launched}, task, 0.05, 0.03),
        Row("T9: 60 assets, watch: all worker processes", kept["watch"], {"60 empty tasks": none * RUNNING}, "s CPU", 0.5, 0.35),
    ]


def launching(api: AirflowApi, running: RunningAirflow, folder: Path, port: int) -> float:
    """CPU seconds per asset that is launched by GraphQL as a run of its own: the task, and what Dagster starts."""
    environment = {**os.environ, **project(folder, 12)}
    command = [sys.executable, "-m", "dagster_webserver", "-m", MODULE, "-h", "127.0.0.1", "-p", str(port)]
    server = start_server(
        lambda _: command, lambda port: get(f"http://127.0.0.1:{port}/server_info").ok, folder=folder, port=port, env=environment
    )
    try:
        before = tree(server.process.pid) + workers(running)
        wall(api, "launches")
        time.sleep(2)
        return (tree(server.process.pid) + workers(running) - before) / 12
    finally:
        stop_server(server.process)
