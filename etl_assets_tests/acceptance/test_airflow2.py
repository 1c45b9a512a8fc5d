"""Converted DAGs in a real Airflow 2.11: scheduler and LocalExecutor, two tasks at a time; and DAGs of Airflow 2 in Dagster.

Not here: Airflow 3, where they can do more (`test_airflow.py`).
"""

import itertools
import time
from collections.abc import Iterator

import dagster as dg
import pytest

from airflow_bridge.launcher import run_id_for
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.acceptance.airflow2_servers import Trial2, airflow2
from etl_assets_tests.acceptance.airflow_servers import SmtpSink

DAGS = """# airflow dag
from airflow_bridge.dags import dags_from_folder
globals().update(dags_from_folder("MANIFESTS", file="dags.yaml"))
"""
SHORT = """# airflow dag
import datetime
from airflow_bridge.dags import dag_from_manifest
short = dag_from_manifest("MANIFESTS/chain.json", dag_id="short", dagrun_timeout=datetime.timedelta(seconds=6), default_args={"retries": 0})
"""
SETTINGS = """
defaults:
  dagster_url: http://dagster.example.com
  default_args: {retries: 0}
  alerts:
  - email:
      {host: 127.0.0.1, port: SMTP_PORT, tls: none, sender: airflow@example.com, recipients: [team@example.com], "on": [failure, retry]}
dags:
  chain: {}
  runs: {job: chain, mode: asset_runs}
  following: {schedule: assets, is_paused_upon_creation: true}
  days: {}
  optional: {}
  configured: {}
only_named: true
"""
# Fails where the DAG file imports dagster or pandas, or has Airflow ask its providers, of which dagster-airflow is one.
PARSE = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("dagster", "pandas"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from airflow.models import DagBag
bag = DagBag(sys.argv[1], include_examples=False)
print()
dags = {name: {task.task_id: [sorted(task.downstream_task_ids), task.retries] for task in dag.tasks} for name, dag in bag.dags.items()}
print(json.dumps([[bag.import_errors[name] for name in sorted(bag.import_errors)], dags]))
"""
REFUSED_FILE = """# airflow dag
from airflow_bridge.compat import cron_trigger
from airflow_bridge.dags import DAGSTER, dag_from_manifest
dag = dag_from_manifest("MANIFESTS/days.json", SETTING)
"""
REFUSED = {
    'mode="watch"': 'mode="watch" needs Airflow 3.3. Next: use mode="steps".',
    "schedule=DAGSTER": "this Airflow has no partition keys. Next: install Airflow 3.3, or trigger the DAG with its parameter.",
    'schedule=cron_trigger(["0 6 * * *", "0 9 1 * *"], "UTC")': "takes one cron schedule, not 0 6 * * *, 0 9 1 * *. Next: ",
}
OLD = """
import datetime, os
from airflow import DAG
from airflow.operators.bash import BashOperator
from airflow.operators.python import PythonOperator

def extract(ds):
    with open(os.path.join(os.environ["TRIAL_FILES"], "extract.ran"), "a") as file:
        file.write(ds + chr(10))

with DAG("old", start_date=datetime.datetime(2026, 1, 1), schedule="@daily", catchup=False) as dag:
    first = PythonOperator(task_id="extract", python_callable=extract)
    last = BashOperator(task_id="load", bash_command="echo {{ ds }} >> $TRIAL_FILES/load.ran", append_env=True)
    first >> BashOperator(task_id="clean", bash_command="true") >> last
"""
SHOWN = """
import json, sys
import dagster as dg
from airflow.models import DagBag
from dagster_airflow import load_assets_from_airflow_dag, make_ephemeral_airflow_db_resource

keys = {dg.AssetKey("extracted"): {"extract"}, dg.AssetKey("loaded"): {"load"}}
assets = load_assets_from_airflow_dag(DagBag(sys.argv[1], include_examples=False).dags["old"], task_ids_by_asset_key=keys)
(shown,) = assets
with dg.DagsterInstance.get() as instance:
    resources = {"airflow_db": make_ephemeral_airflow_db_resource()}
    success = dg.materialize(assets, instance=instance, resources=resources, partition_key="2026-01-05T00:00:00").success
print()
print(json.dumps([success, {key.to_user_string(): [one.to_user_string() for one in deps] for key, deps in shown.asset_deps.items()}]))
"""
ROUND_TRIP = """
import json, sys
import dagster as dg
from dagster_airflow import make_dagster_definitions_from_airflow_dags_path

job = make_dagster_definitions_from_airflow_dags_path(sys.argv[1]).resolve_job_def("chain")
with dg.DagsterInstance.get() as instance:
    done = job.execute_in_process(instance=instance, tags={"airflow_execution_date": "2026-01-05T00:00:00"})
print()
print(json.dumps([done.success, [event.step_key for event in done.all_events if event.is_step_success]]))
"""
PROJECT = "etl_assets_tests.acceptance.airflow_project"
CHAIN = ["first", "middle", "guarded", "last"]
ALL = [*CHAIN, "finish"]
STATUS = dg.DagsterRunStatus


@pytest.fixture(scope="module")
def running(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial2]:
    """An Airflow 2 with the DAGs above."""
    sink = SmtpSink()
    folder = tmp_path_factory.mktemp("trial2")
    files = {"trial.py": DAGS, "short.py": SHORT}
    settings = SETTINGS.replace("SMTP_PORT", str(sink.port))
    with airflow2(postgres_server, folder, files, settings, project=PROJECT, dags=("chain", "short"), sink=sink) as found:
        yield found


@pytest.fixture
def trial(running: Trial2) -> Trial2:
    """The running Airflow, with assets that do nothing but succeed."""
    running.ask()
    running.sink.messages.clear()
    return running


def over(trial: Trial2, dag: str, **conf: object) -> tuple[str, str]:
    """Trigger a DAG; its run and the state in which it ended."""
    run = trial.api.trigger(dag, conf=conf)
    return run, trial.api.ended(dag, run)


def subjects(trial: Trial2, count: int) -> list[str]:
    """Subjects of the e-mails, when there are as many."""
    end = time.monotonic() + 30
    while len(trial.sink.messages) < count and time.monotonic() < end:
        time.sleep(0.2)
    # One too many would come right after.
    time.sleep(1)
    return sorted(str(message["Subject"]) for message in trial.sink.messages)


def test_a_dag_file_of_three_lines(trial: Trial2) -> None:
    """The DAG file needs neither dagster nor pandas, and has the tasks of the manifests in their order, with Dagster's retries."""
    errors, dags = trial.script(PARSE, trial.folder / "dags" / "trial.py")
    chain = {"first": [["middle"], 0], "middle": [["guarded"], 2], "guarded": [["last"], 0], "last": [["finish"], 0], "finish": [[], 3]}
    runs = {"first": [["middle"], 0], "middle": [["guarded"], 0], "guarded": [["last"], 0], "last": [[], 0]}
    assert (errors, dags.pop("chain"), dags.pop("runs")) == ([], chain, runs)
    assert {name: sorted(tasks) for name, tasks in dags.items()} == {
        "following": ["finish", "follower"],
        "days": ["after_day", "by_day", "finish"],
        "optional": ["after_sometimes", "finish", "sometimes"],
        "configured": ["finish", "greeted"],
    }


def test_what_airflow_2_cannot_is_an_import_error(trial: Trial2) -> None:
    """What needs a later Airflow is an import error that says so, with the next step."""
    folder = trial.folder / "refused"
    folder.mkdir()
    for number, setting in enumerate(REFUSED):
        text = REFUSED_FILE.replace("SETTING", setting).replace("MANIFESTS", str(trial.folder / "manifests"))
        (folder / f"{number}.py").write_text(text)
    errors, _ = trial.script(PARSE, folder)
    assert [said in error for said, error in zip(REFUSED.values(), errors, strict=True)] == [True] * len(REFUSED), errors


def test_a_dag_run_is_one_dagster_run(trial: Trial2) -> None:
    """A DAG run makes each asset once, in order, in one Dagster run that ends as it does and knows its page in Airflow."""
    run, state = over(trial, "chain")
    assert (state, trial.api.states("chain", run)) == ("success", dict.fromkeys(ALL, "success"))
    found = trial.dagster_run("chain", run)
    assert (trial.materialized("chain", run), found.status) == (CHAIN, STATUS.SUCCESS)
    assert trial.attempts("chain", run) == dict.fromkeys(CHAIN, 1)
    assert found.tags["airflow/dag_run_url"] == f"http://localhost:8080/dags/chain/grid?dag_run_id={run.replace(':', '%3A')}"


def test_retries_are_as_many_as_those_of_dagster(trial: Trial2) -> None:
    """A step that fails is tried again as often as its policy says, and not sooner; Dagster shows the attempts of one step."""
    trial.ask(middle=["fail", "fail"])
    run, state = over(trial, "chain")
    times = [float(one[0]) for one in trial.ran("middle")]
    assert (state, trial.attempts("chain", run)["middle"], len(times)) == ("success", 3, 3)
    assert all(later - earlier > 2.9 for earlier, later in itertools.pairwise(times))
    assert subjects(trial, 2) == ["chain.middle will be tried again"] * 2


def test_a_failure_and_its_clear(trial: Trial2) -> None:
    """A failed step fails both runs and is told of once; cleared, it goes on in the same Dagster run, and nothing else is repeated."""
    trial.ask(guarded="give up")
    run, state = over(trial, "chain")
    assert (state, trial.api.states("chain", run)["last"], trial.ran("last")) == ("failed", "upstream_failed", [])
    assert (trial.dagster_run("chain", run).status, subjects(trial, 1)) == (STATUS.FAILURE, ["chain.guarded failed"])
    trial.api.clear_failed("chain", run)
    assert trial.api.ended("chain", run) == "success"
    assert (trial.dagster_run("chain", run).status, trial.materialized("chain", run)) == (STATUS.SUCCESS, CHAIN)
    assert [len(trial.ran(name)) for name in CHAIN] == [1, 1, 2, 1]


def test_a_dagster_run_per_task(trial: Trial2) -> None:
    """In mode asset_runs each task is a Dagster run."""
    run, state = over(trial, "runs")
    with trial.dagster() as instance:
        found = [instance.get_run_by_id(run_id_for("runs", run, task=task, try_number=1)) for task in CHAIN]
    assert (state, [one is not None and one.status for one in found]) == ("success", [STATUS.SUCCESS] * 4)


def test_a_dag_waits_for_assets_of_another(trial: Trial2) -> None:
    """A job that reads an asset of another job runs when that was made."""
    trial.api.command("dags", "unpause", "following")
    over(trial, "runs")
    (run,) = trial.api.until("a run of following", lambda: trial.api.runs("following"))
    assert (trial.api.ended("following", run), len(trial.ran("follower"))) == ("success", 1)
    trial.api.command("dags", "pause", "following")


def test_a_partition(trial: Trial2) -> None:
    """A DAG run makes the partition that its parameter names, and its Dataset event says so."""
    run, state = over(trial, "days", partition="2026-02-03")
    assert (state, [one[2] for one in trial.ran("by_day")]) == ("success", ["2026-02-03"])
    found = trial.dagster_run("days", run)
    assert found.tags["dagster/partition"] == "2026-02-03"
    (event,) = trial.dataset_events("days", run)
    assert (event["uri"], event["extra"]["dagster_run_id"]) == ("x-dagster:after_day", found.run_id)
    assert event["extra"]["partitions"] == ["2026-02-03"]


def test_run_config(trial: Trial2) -> None:
    """A DAG run takes Dagster's run config as a parameter, checked before it starts."""
    _, state = over(trial, "configured", run_config={"ops": {"greeted": {"config": {"name": "Ada", "times": 2}}}})
    assert (state, trial.ran("greeted")[0][2]) == ("success", "Ada*2")
    with pytest.raises(AssertionError, match="'name' is a required property"):
        trial.api.trigger("configured", conf={"run_config": {"ops": {"greeted": {"config": {"times": 2}}}}})


def test_what_reads_nothing_is_skipped(trial: Trial2) -> None:
    """A step whose optional input was not made is skipped on both sides, and the runs succeed."""
    trial.ask(sometimes="check fails")
    run, state = over(trial, "optional")
    assert (state, trial.api.states("optional", run)["after_sometimes"]) == ("success", "skipped")
    assert trial.dagster_run("optional", run).status is STATUS.SUCCESS


def test_a_run_that_takes_too_long(trial: Trial2) -> None:
    """A DAG run beyond its time limit is stopped, and its Dagster run is closed as a failure."""
    trial.ask(middle="sleep 120")
    run, state = over(trial, "short")
    trial.api.until("the end of the Dagster run", lambda: trial.dagster_run("short", run).status is STATUS.FAILURE, 60)
    assert (state, trial.ran("guarded")) == ("failed", [])


def test_a_dag_of_airflow_2_as_assets(trial: Trial2) -> None:
    """dagster-airflow shows tasks of an existing DAG as assets that depend on each other, and Dagster materialises a day of them."""
    file = trial.folder / "old.py"
    file.write_text(OLD)
    success, depends = trial.script(SHOWN, file)
    assert (success, depends) == (True, {"extracted": [], "loaded": ["extracted"]})
    assert [trial.ran(name) for name in ("extract", "load")] == [[["2026-01-05"]]] * 2
    with trial.dagster() as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("loaded")) == {"2026-01-05T00:00:00"}


def test_a_converted_dag_read_back(trial: Trial2) -> None:
    """dagster-airflow reads a converted DAG as a job with its tasks as steps; run in Dagster, it makes the assets in the run of its own."""
    success, steps = trial.script(ROUND_TRIP, trial.folder / "dags" / "trial.py")
    assert (success, steps) == (True, [f"chain__{task}" for task in ALL])
    run = "manual__2026-01-05T00:00:00+00:00"
    assert (trial.dagster_run("chain", run).status, trial.materialized("chain", run)) == (STATUS.SUCCESS, CHAIN)
