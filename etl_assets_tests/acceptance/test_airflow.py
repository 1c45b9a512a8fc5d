"""Converted DAGs in a real Airflow 3.3: scheduler, dag-processor, triggerer, api-server, four tasks at a time, driven by its REST API.

Not here: other executors (`test_airflow_celery.py`), other versions (`test_airflow2.py`), equal tables (`test_airflow_equality.py`).
"""

import itertools
import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import dagster as dg
import pytest
import sqlalchemy as sa

from airflow_bridge.launcher import run_id_for
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.acceptance.airflow_servers import SmtpSink, Trial, airflow

DAGS = """# airflow dag
import datetime
from airflow_bridge.alerts import EmailAlert
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow_bridge.dags import ASSETS, DAGSTER, dag_from_manifest, task_group_from_manifest
from airflow_bridge.launcher import SubprocessLauncher

mail = EmailAlert(
    host="127.0.0.1", port=SMTP_PORT, tls="none", sender="airflow@example.com", recipients=("team@example.com",),
    on=("failure", "retry", "success", "deadline"),
)
manifests, url = "MANIFESTS", "http://dagster.example.com"
common = {"dagster_url": url, "default_args": {"retries": 0}, "alerts": [mail]}
chain = dag_from_manifest(f"{manifests}/chain.json", **common)
watched = dag_from_manifest(f"{manifests}/chain.json", dag_id="watched", mode="watch", **common)
runs = dag_from_manifest(f"{manifests}/chain.json", dag_id="runs", mode="asset_runs", **common)
patient = dag_from_manifest(f"{manifests}/chain.json", dag_id="patient", overrides={"*": {"retries": 2, "retry_delay": 1}}, **common)
elsewhere = dag_from_manifest(f"{manifests}/chain.json", dag_id="elsewhere", launcher=SubprocessLauncher(), **common)
late = dag_from_manifest(f"{manifests}/chain.json", dag_id="late", deadline=datetime.timedelta(seconds=2), **common)
short = dag_from_manifest(f"{manifests}/chain.json", dag_id="short", dagrun_timeout=datetime.timedelta(seconds=6), **common)
following = dag_from_manifest(f"{manifests}/following.json", schedule=ASSETS, **common)
days = dag_from_manifest(f"{manifests}/days.json", schedule=DAGSTER, is_paused_upon_creation=True, **common)
asked = dag_from_manifest(f"{manifests}/days.json", dag_id="asked", **common)
optional = dag_from_manifest(f"{manifests}/optional.json", **common)
with DAG("grouped", schedule=None, default_args={"retries": 0}) as grouped:
    group = task_group_from_manifest(f"{manifests}/chain.json", dagster_url=url)
    EmptyOperator(task_id="before") >> group >> EmptyOperator(task_id="after")
configured = dag_from_manifest(f"{manifests}/configured.json", **common)
"""
PROJECTS = {"etl_assets_tests.acceptance.airflow_project": ["chain", "following", "days", "optional", "configured"]}
PROJECT = "etl_assets_tests.acceptance.airflow_project"
CHAIN = ["first", "middle", "guarded", "last"]
EVENT = dg.DagsterEventType
STATUS = dg.DagsterRunStatus


@pytest.fixture(scope="module")
def running(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """An Airflow with the DAGs above."""
    sink = SmtpSink()
    dags = DAGS.replace("SMTP_PORT", str(sink.port))
    with airflow(postgres_server, tmp_path_factory.mktemp("trial"), dags, PROJECTS, name="trial", sink=sink) as found:
        yield found


@pytest.fixture
def trial(running: Trial) -> Trial:
    """The running Airflow, with assets that do nothing but succeed and no e-mail that is on its way."""
    running.ask()
    running.sink.messages.clear()
    return running


def subjects(trial: Trial, count: int) -> list[str]:
    """Subjects of the e-mails, when there are as many."""
    end = time.monotonic() + 60
    while len(trial.sink.messages) < count and time.monotonic() < end:
        time.sleep(0.2)
    # One too many would come right after.
    time.sleep(2)
    return sorted(str(message["Subject"]) for message in trial.sink.messages)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def closed(server: LocalPostgres, database: str) -> Iterator[None]:
    """A database that takes no connections, and whose connections are broken off."""

    def allow(allowed: bool) -> None:
        engine = sa.create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {str(allowed).lower()}"))
            if not allowed:
                connection.execute(
                    sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": database}
                )
        engine.dispose()

    allow(False)
    try:
        yield
    finally:
        allow(True)


def over(trial: Trial, dag: str, **given: Any) -> tuple[str, str]:
    """Trigger a DAG; its run and the state in which it ended."""
    run = trial.api.trigger(dag, **given)
    return run, trial.api.ended(dag, run)


def test_no_import_error(trial: Trial) -> None:
    """Every DAG of the file is there."""
    assert trial.api.import_errors() == {}


@pytest.mark.parametrize(("dag", "task"), [("chain", "first"), ("elsewhere", "first"), ("watched", "run_job")])
def test_the_log_of_a_step(trial: Trial, dag: str, task: str) -> None:
    """What Dagster logs for a step stands in the task's log, and not as errors."""
    run, _ = over(trial, dag)
    log = trial.api.call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/1", full_content="true")["content"]
    (found,) = [one for one in log if "first says hello to its log" in str(one.get("event"))]
    assert found["level"] == "info"


@pytest.mark.parametrize("dag", ["chain", "elsewhere", "watched"])
def test_a_dag_run_is_one_dagster_run(trial: Trial, dag: str) -> None:
    """A DAG run makes each asset once, in order, in one Dagster run that ends as it does."""
    run, state = over(trial, dag)
    assert (state, set(trial.api.states(dag, run).values())) == ("success", {"success"})
    assert (trial.materialized(dag, run), trial.dagster_run(dag, run).status) == (CHAIN, STATUS.SUCCESS)
    assert trial.attempts(dag, run) == dict.fromkeys(CHAIN, 1)


def test_a_dagster_run_per_task(trial: Trial) -> None:
    """In mode asset_runs each task is a Dagster run, which its link names."""
    run, state = over(trial, "runs")
    links = [str(trial.api.links("runs", run, task)["Dagster run"]) for task in CHAIN]
    with trial.dagster() as instance:
        found = [instance.get_run_by_id(link.rpartition("/")[2]) for link in links]
    assert (state, [one is not None and one.status for one in found]) == ("success", [STATUS.SUCCESS] * 4)


def test_a_job_inside_another_dag(trial: Trial) -> None:
    """A job that is a TaskGroup of a DAG is one Dagster run, between the other tasks; when it fails, what comes after does not run."""
    run, state = over(trial, "grouped")
    run_id = run_id_for("grouped", run, "chain")
    with trial.dagster() as instance:
        found = instance.get_run_by_id(run_id)
    assert (state, found is not None and found.status) == ("success", STATUS.SUCCESS)
    assert set(trial.api.states("grouped", run)) == {"before", *(f"chain.{name}" for name in (*CHAIN, "finish")), "after"}
    trial.ask(guarded="give up")
    run, state = over(trial, "grouped")
    with trial.dagster() as instance:
        found = instance.get_run_by_id(run_id_for("grouped", run, "chain"))
    assert (state, trial.api.states("grouped", run)["after"]) == ("failed", "upstream_failed")
    assert found is not None
    assert found.status is STATUS.FAILURE


def test_both_sides_know_each_other(trial: Trial) -> None:
    """The task links to its Dagster run and asset, the Dagster run to the DAG run, and the step's log is the task's log."""
    run, _ = over(trial, "chain")
    found = trial.dagster_run("chain", run)
    url = "http://dagster.example.com"
    assert trial.api.links("chain", run, "first") == {"Dagster run": f"{url}/runs/{found.run_id}", "Dagster asset": f"{url}/assets/first"}
    assert found.tags["airflow/dag_run_url"] == f"{trial.api.airflow.url}/dags/chain/runs/{quote(run)}"
    assert "first says hello to its log" in trial.api.log("chain", run, "first")


def test_asset_events_say_what_was_made(trial: Trial) -> None:
    """The assets that nothing in the job reads are Airflow Assets, with the Dagster run; row counts are the return value."""
    run, _ = over(trial, "chain")
    (event,) = trial.api.asset_events("chain", run)
    assert (event["name"], event["extra"]["dagster_run_id"]) == ("last", run_id_for("chain", run))
    assert trial.api.xcom("chain", run, "guarded") == {"guarded": 30}


def test_a_dag_waits_for_assets_of_another(trial: Trial) -> None:
    """A job that reads an asset of another job runs when that was made."""
    trial.api.call("PATCH", "dags/following", {"is_paused": False})
    before = {one["dag_run_id"] for one in trial.api.call("GET", "dags/following/dagRuns")["dag_runs"]}
    over(trial, "chain")

    def new() -> str | None:
        runs = trial.api.call("GET", "dags/following/dagRuns")["dag_runs"]
        return next((one["dag_run_id"] for one in runs if one["dag_run_id"] not in before), None)

    run = trial.api.until("a run of following", new)
    assert trial.api.ended("following", run) == "success"
    trial.api.call("PATCH", "dags/following", {"is_paused": True})
    assert len(trial.ran("follower")) == 1


def test_retries_are_those_of_dagster(trial: Trial) -> None:
    """A step that fails is tried again as often, and after as long, as its policy says; Dagster shows the attempts of one step."""
    trial.ask(middle=["fail", "fail"])
    run, state = over(trial, "chain")
    times = [float(one[0]) for one in trial.ran("middle")]
    assert (state, trial.attempts("chain", run)["middle"], len(times)) == ("success", 3, 3)
    assert all(2.9 < later - earlier < 12 for earlier, later in itertools.pairwise(times))
    assert subjects(trial, 3) == ["chain succeeded", "chain.middle will be tried again", "chain.middle will be tried again"]


def test_retries_end(trial: Trial) -> None:
    """When the last attempt fails the DAG run fails, what comes after does not run, and one e-mail tells of it."""
    trial.ask(middle=["fail", "fail", "fail", "fail"])
    run, state = over(trial, "chain")
    assert (state, len(trial.ran("middle")), trial.ran("guarded")) == ("failed", 3, [])
    assert trial.dagster_run("chain", run).status is STATUS.FAILURE
    assert subjects(trial, 3).count("chain.middle failed") == 1


def test_no_retry_where_the_step_says_so(trial: Trial) -> None:
    """Dagster's Failure(allow_retries=False) is not tried again, and one e-mail names the asset and the cause."""
    trial.ask(middle="give up")
    run, state = over(trial, "chain")
    assert (state, len(trial.ran("middle"))) == ("failed", 1)
    assert subjects(trial, 1) == ["chain.middle failed"]
    text = trial.sink.messages[0].get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert "assets: middle" in text
    assert "cause: middle was asked to give up" in text
    assert f"Dagster: http://dagster.example.com/runs/{run_id_for('chain', run)}" in text


@pytest.mark.parametrize("dag", ["chain", "watched", "runs"])
def test_a_blocking_check_stops_what_comes_after(trial: Trial, dag: str) -> None:
    """What comes after an asset whose blocking check fails does not run."""
    trial.ask(guarded="check fails")
    run, state = over(trial, dag)
    assert (state, trial.api.states(dag, run)["guarded"], trial.ran("last")) == ("failed", "failed", [])
    assert trial.api.states(dag, run)["last"] in ("upstream_failed", "failed")


@pytest.mark.parametrize("dag", ["chain", "watched"])
def test_clearing_what_failed_goes_on(trial: Trial, dag: str) -> None:
    """Failed tasks that are cleared go on in the same Dagster run, which ends as a success; what had succeeded is not repeated."""
    trial.ask(guarded="give up")
    run, state = over(trial, dag)
    assert (state, trial.dagster_run(dag, run).status) == ("failed", STATUS.FAILURE)
    # Slow enough for everybody to see how it was before.
    (trial.files / "guarded.todo").write_text("sleep 6")
    trial.api.clear(dag, run, only_failed=True)
    assert trial.api.ended(dag, run) == "success"
    assert trial.dagster_run(dag, run).status is STATUS.SUCCESS
    assert [len(trial.ran(name)) for name in CHAIN] == [1, 1, 2, 1]


def test_clearing_one_task_of_a_success(trial: Trial) -> None:
    """A task cleared alone runs again, and the Dagster run opens and closes again with it."""
    run, _ = over(trial, "chain")
    assert trial.api.clear("chain", run, "middle") == ["middle"]
    assert trial.api.ended("chain", run) == "success"
    assert (trial.materialized("chain", run), trial.dagster_run("chain", run).status) == ([*CHAIN, "middle"], STATUS.SUCCESS)
    assert len(trial.events("chain", run, EVENT.RUN_START)) == 2


@pytest.mark.parametrize("dag", ["chain", "watched"])
def test_clearing_a_whole_run(trial: Trial, dag: str) -> None:
    """A DAG run that is cleared makes all of it again, in the same Dagster run, with all its retries."""
    run, _ = over(trial, dag)
    trial.ask(first="sleep 6", middle=["fail", "fail"])
    trial.api.clear(dag, run)
    assert trial.api.ended(dag, run) == "success"
    assert (trial.materialized(dag, run), trial.dagster_run(dag, run).status) == ([*CHAIN, *CHAIN], STATUS.SUCCESS)
    assert len(trial.ran("middle")) == 3


def test_a_failed_task_marked_as_success(trial: Trial) -> None:
    """A failed task that somebody marks as a success counts as one: what comes after runs, and both runs succeed."""
    trial.ask(middle="give up")
    run, _ = over(trial, "chain")
    trial.api.mark("chain", run, "middle", "success")
    # What the first attempt would have stored is made by hand, too.
    (trial.folder / "values" / "middle").write_bytes(pickle.dumps(2))
    trial.api.clear("chain", run, only_failed=True)
    assert trial.api.ended("chain", run) == "success"
    assert (trial.dagster_run("chain", run).status, len(trial.ran("middle"))) == (STATUS.SUCCESS, 1)


def test_a_running_task_marked_as_failed(trial: Trial) -> None:
    """A running task that somebody marks as failed is stopped, and both runs fail."""
    trial.ask(middle="sleep 120")
    run = trial.api.trigger("chain")
    pid = int(trial.until_ran("middle")[0][1])
    trial.api.mark("chain", run, "middle", "failed")
    assert trial.api.ended("chain", run) == "failed"
    assert (trial.dagster_run("chain", run).status, trial.ran("guarded")) == (STATUS.FAILURE, [])
    trial.api.until("the end of the process", lambda: not alive(pid), 30)
    assert subjects(trial, 0) == []


def test_a_dag_run_marked_as_failed(trial: Trial) -> None:
    """A DAG run that somebody marks as failed stops, and the Dagster run does not stay open."""
    trial.ask(middle="sleep 120")
    run = trial.api.trigger("chain")
    pid = int(trial.until_ran("middle")[0][1])
    trial.api.call("PATCH", f"dags/chain/dagRuns/{run}", {"state": "failed"})
    trial.api.until("the end of the process", lambda: not alive(pid), 60)
    trial.api.until("the end of the Dagster run", lambda: trial.dagster_run("chain", run).status is STATUS.FAILURE, 60)


@pytest.mark.parametrize("dag", ["chain", "elsewhere"])
def test_a_killed_task_without_retries(trial: Trial, dag: str) -> None:
    """A task killed with -9 fails, and so do the DAG run and the Dagster run; cleared, it goes on."""
    trial.ask(guarded="sleep 120")
    run = trial.api.trigger(dag)
    os.kill(int(trial.until_ran("guarded")[0][1]), signal.SIGKILL)
    assert trial.api.ended(dag, run) == "failed"
    assert trial.dagster_run(dag, run).status is STATUS.FAILURE
    trial.api.clear(dag, run, only_failed=True)
    assert (trial.api.ended(dag, run), trial.materialized(dag, run)) == ("success", CHAIN)


def test_a_killed_task_is_tried_again(trial: Trial) -> None:
    """A task killed with -9 that has retries runs again; Dagster shows a second attempt, and each asset was made once."""
    trial.ask(guarded="sleep 120")
    run = trial.api.trigger("patient")
    os.kill(int(trial.until_ran("guarded")[0][1]), signal.SIGKILL)
    assert (trial.api.ended("patient", run), trial.materialized("patient", run)) == ("success", CHAIN)
    assert (trial.attempts("patient", run)["guarded"], trial.dagster_run("patient", run).status) == (2, STATUS.SUCCESS)


def test_a_killed_scheduler(trial: Trial) -> None:
    """A scheduler killed with -9 in the middle of a run, and started again, brings it to its end; what had been made is not repeated."""
    trial.ask(guarded="wait go")
    run = trial.api.trigger("patient")
    trial.until_ran("guarded")
    airflow = trial.api.airflow
    airflow.kill("scheduler")
    (trial.files / "go").touch()
    airflow.restart("scheduler")
    airflow.wait_until_healthy()
    assert trial.api.ended("patient", run, 600) == "success"
    assert trial.dagster_run("patient", run).status is STATUS.SUCCESS
    assert [len(trial.ran(name)) for name in ("first", "middle")] == [1, 1]


def test_a_killed_triggerer(trial: Trial) -> None:
    """A triggerer killed with -9 while it watches, and started again, goes on; the job is not disturbed."""
    trial.ask(guarded="wait go")
    run = trial.api.trigger("watched")
    trial.until_ran("guarded")
    airflow = trial.api.airflow
    airflow.kill("triggerer")
    (trial.files / "go").touch()
    airflow.restart("triggerer")
    airflow.wait_until_healthy()
    assert (trial.api.ended("watched", run, 400), trial.materialized("watched", run)) == ("success", CHAIN)


def test_a_killed_producer(trial: Trial) -> None:
    """When the task that runs a watched job is killed, workers run the steps that are left, and the Dagster run is a success."""
    trial.ask(guarded="sleep 120")
    run = trial.api.trigger("watched")
    pid = int(trial.until_ran("guarded")[0][1])
    os.kill(pid, signal.SIGKILL)
    trial.api.ended("watched", run, 300)
    states = trial.api.states("watched", run)
    assert {name: states[name] for name in CHAIN} == dict.fromkeys(CHAIN, "success")
    assert (states["run_job"], sorted(set(trial.materialized("watched", run)))) == ("failed", sorted(CHAIN))
    assert trial.dagster_run("watched", run).status is STATUS.SUCCESS


def test_retries_of_a_watched_job(trial: Trial) -> None:
    """Dagster's retries of a watched job happen in the task that runs it, and its watcher is green."""
    trial.ask(middle=["fail"])
    run, state = over(trial, "watched")
    assert (state, trial.attempts("watched", run)["middle"], trial.api.states("watched", run)["middle"]) == ("success", 2, "success")


def test_a_failure_of_a_watched_job_is_told_once(trial: Trial) -> None:
    """When a step of a watched job fails, one e-mail tells of it, by its watcher."""
    trial.ask(guarded="give up")
    _, state = over(trial, "watched")
    assert (state, subjects(trial, 1)) == ("failed", ["watched.guarded failed"])


@pytest.mark.parametrize("dag", ["chain", "watched"])
def test_a_run_cancelled_in_dagster(trial: Trial, dag: str) -> None:
    """A run that is cancelled in Dagster starts no further step, and the DAG run fails with the reason; cleared, it goes on."""
    trial.ask(middle="wait go")
    run = trial.api.trigger(dag)
    trial.until_ran("middle")
    with trial.dagster() as instance:
        instance.report_run_canceling(trial.dagster_run(dag, run))
    (trial.files / "go").touch()
    assert trial.api.ended(dag, run) == "failed"
    assert (trial.dagster_run(dag, run).status, trial.ran("guarded")) == (STATUS.CANCELED, [])
    task = "guarded" if dag == "chain" else "run_job"
    assert "was cancelled in Dagster. Next: clear the DAG run." in trial.api.log(dag, run, task)
    trial.api.clear(dag, run, only_failed=True)
    assert (trial.api.ended(dag, run), trial.dagster_run(dag, run).status) == ("success", STATUS.SUCCESS)


def test_dagsters_storage_goes_away(trial: Trial, postgres_server: LocalPostgres) -> None:
    """While Dagster's database is away a task fails with that reason, and its next try goes on in the same Dagster run."""
    trial.ask(middle="wait go")
    run = trial.api.trigger("patient")
    trial.until_ran("middle")
    with closed(postgres_server, "trial_dagster"):
        (trial.files / "go").touch()
        trial.api.until_task("patient", run, "middle", "up_for_retry", "failed")
    assert trial.api.ended("patient", run) == "success"
    assert "Dagster's storage does not answer: " in trial.api.log("patient", run, "middle")
    assert (trial.dagster_run("patient", run).status, sorted(set(trial.materialized("patient", run)))) == (STATUS.SUCCESS, sorted(CHAIN))


def test_a_dag_run_that_is_made_anew(trial: Trial) -> None:
    """A DAG run that is deleted and triggered again with the same id makes everything again, in the same Dagster run."""
    for _ in range(2):
        run = trial.api.trigger("chain", run_id="again")
        assert trial.api.ended("chain", run) == "success"
        # What the executor still reports of its tasks Airflow's scheduler would take for news of the new ones.
        time.sleep(8)
        trial.api.call("DELETE", f"dags/chain/dagRuns/{run}")
    assert (trial.materialized("chain", "again"), trial.dagster_run("chain", "again").status) == ([*CHAIN, *CHAIN], STATUS.SUCCESS)


def test_a_missed_deadline(trial: Trial) -> None:
    """A DAG run that has not ended in time is told of while it runs."""
    trial.ask(first="sleep 20")
    run = trial.api.trigger("late")
    assert subjects(trial, 1) == ["late missed its deadline"]
    assert trial.api.run("late", run)["state"] == "running"
    assert trial.api.ended("late", run) == "success"
    # Its end is told of too, a moment later, and shall not be taken for news of the next test's run.
    assert subjects(trial, 2) == ["late missed its deadline", "late succeeded"]


def test_a_run_that_takes_too_long(trial: Trial) -> None:
    """A DAG run beyond its time limit is stopped, its Dagster run is closed as a failure, and an e-mail tells of it."""
    trial.ask(middle="sleep 120")
    run, state = over(trial, "short")
    assert (state, subjects(trial, 1)) == ("failed", ["short failed"])
    trial.api.until("the end of the Dagster run", lambda: trial.dagster_run("short", run).status is STATUS.FAILURE, 60)


def test_a_partition_key(trial: Trial) -> None:
    """A DAG run with a partition key makes that partition, and its asset event names it."""
    run, state = over(trial, "asked", partition_key="2026-02-03")
    assert (state, [one[2] for one in trial.ran("by_day")]) == ("success", ["2026-02-03"])
    assert trial.dagster_run("asked", run).tags["dagster/partition"] == "2026-02-03"
    (event,) = trial.api.asset_events("asked", run)
    assert (event["name"], event["extra"]["partitions"]) == ("after_day", ["2026-02-03"])


def test_a_range_of_partitions(trial: Trial) -> None:
    """A DAG run with a range as parameter makes all its partitions in one Dagster run."""
    _, state = over(trial, "asked", conf={"partition": "2026-02-03...2026-02-05"})
    assert (state, trial.ran("by_day")[0][2]) == ("success", "2026-02-03,2026-02-04,2026-02-05")


def test_a_partition_that_is_none(trial: Trial) -> None:
    """A DAG run for a partition that the job has not fails with the reason, and no asset runs."""
    run, state = over(trial, "asked", conf={"partition": "2025-12-31"})
    assert (state, trial.ran("by_day")) == ("failed", [])
    assert "'2025-12-31' is no partition of job days. Next:" in trial.api.log("asked", run, "by_day")


def test_a_backfill(trial: Trial) -> None:
    """Airflow's backfill makes a DAG run for each partition of the job, by the keys that Dagster has, over the change of the clock."""
    trial.api.call("PATCH", "dags/days", {"is_paused": False})
    body = {"dag_id": "days", "from_date": "2026-03-29T00:00:00+01:00", "to_date": "2026-03-31T00:00:00+02:00", "max_active_runs": 2}
    backfill = trial.api.call("POST", "backfills", body)["id"]
    trial.api.until("the end of the backfill", lambda: trial.api.call("GET", f"backfills/{backfill}")["completed_at"], 240)
    # Switched on, the DAG also has its run for yesterday.
    keys = sorted(one[2] for one in trial.ran("by_day") if one[2] < "2026-04")
    with trial.dagster() as instance:
        known = set(instance.get_materialized_partitions(dg.AssetKey("after_day")))
    assert (keys, known >= set(keys)) == (["2026-03-29", "2026-03-30", "2026-03-31"], True)


def test_what_reads_nothing_is_skipped(trial: Trial) -> None:
    """A step whose optional input was not made is skipped on both sides, and the runs succeed."""
    trial.ask(sometimes="check fails")
    run, state = over(trial, "optional")
    assert (state, trial.api.states("optional", run)["after_sometimes"]) == ("success", "skipped")
    assert trial.dagster_run("optional", run).status is STATUS.SUCCESS


def test_run_config(trial: Trial) -> None:
    """A DAG run takes Dagster's run config as a parameter, checked before it starts."""
    config = {"ops": {"greeted": {"config": {"name": "Ada", "times": 2}}}}
    _, state = over(trial, "configured", conf={"run_config": config})
    assert (state, trial.ran("greeted")[0][2]) == ("success", "Ada*2")
    with pytest.raises(AssertionError, match="name"):
        trial.api.trigger("configured", conf={"run_config": {"ops": {"greeted": {"config": {"times": 2}}}}})


def test_a_broken_manifest_is_an_import_error(trial: Trial) -> None:
    """A manifest that is cut off is a readable import error in Airflow, with the next step."""
    manifest, text = trial.folder / "manifests" / "optional.json", (trial.folder / "manifests" / "optional.json").read_text()
    manifest.write_text(text[:500])
    (trial.folder / "dags" / "broken.py").write_text(
        f'# airflow dag\nfrom airflow_bridge.dags import dag_from_manifest\nbroken = dag_from_manifest("{manifest}", dag_id="broken")\n'
    )
    try:
        said = trial.api.until("an import error", lambda: trial.api.import_errors().get("broken.py"))
    finally:
        manifest.write_text(text)
        (trial.folder / "dags" / "broken.py").unlink()
    assert "the file is no JSON, perhaps cut off" in said
    assert "Next: run `airflow-bridge export` again." in said
