"""The runner against a real Dagster instance; these are the contract tests for what Dagster does not publish."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from airflow_bridge import runner
from airflow_bridge.launcher import FinishRequest, LaunchError, StepRequest, SubprocessLauncher, run_id_for
from airflow_bridge.plan import plan_of

MODULE = "etl_assets_tests.airflow_bridge.project"
STEPS = ("numbers", "flaky", "total")


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of its own, and the variables of the project."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "flaky").write_text("0")
    for name, value in {
        "DAGSTER_HOME": str(home), "PROJECT_FILES": str(tmp_path / "files"), "PROJECT_PASSWORD": "x", "FLAKY_FILE": str(tmp_path / "flaky"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as found:
        yield found


def request(step: str, *, job: str = "sums", **fields: Any) -> StepRequest:
    return StepRequest(module=MODULE, attribute="defs", location="here", job=job, step=step, dag_id="d", dag_run_id="r1", **fields)


def finish(*, job: str = "sums", **fields: Any) -> FinishRequest:
    return FinishRequest(module=MODULE, attribute="defs", location="here", job=job, dag_id="d", dag_run_id="r1", **fields)


def test_steps_share_one_run(instance: dg.DagsterInstance) -> None:
    """All steps of a DAG run are steps of one Dagster run, which ends when it is finished."""
    answers = [runner.handle(request(step)) for step in STEPS]
    assert [answer.success for answer in answers] == [True] * 3
    assert instance.get_runs_count() == 1
    assert runner.handle(finish()).success
    run = instance.get_run_by_id(answers[0].run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS


def test_answer_carries_rows_and_checks(instance: dg.DagsterInstance) -> None:
    """The answer names materialised assets with row counts, and checks that did not pass."""
    answers = [runner.handle(request(step)) for step in STEPS]
    (made,) = answers[-1].materializations
    assert (made.asset, made.row_count) == ("total", 6)
    assert [(str(check), check.passed) for check in answers[-1].checks] == [("total:is_positive", False)]


def test_a_check_on_its_own_runs_as_a_step(instance: dg.DagsterInstance) -> None:
    """A check that is a function of its own reads its asset, and its verdict is in the answer."""
    steps = ("counted", "counted_is_small")
    answers = [runner.handle(request(step, job="checked")) for step in steps]
    assert [answer.success for answer in answers] == [True, True]
    assert [(str(check), check.passed) for check in answers[-1].checks] == [("counted:is_small", False)]
    assert runner.handle(finish(job="checked")).success


def test_run_is_tagged_with_the_airflow_run(instance: dg.DagsterInstance) -> None:
    """The Dagster run tells which Airflow run it belongs to, and can be executed again from the UI."""
    run = instance.get_run_by_id(runner.handle(request("numbers")).run_id)
    assert run is not None
    assert (run.tags["airflow/dag_id"], run.tags["airflow/dag_run_id"]) == ("d", "r1")
    assert run.remote_job_origin is not None
    assert run.remote_job_origin.repository_origin.code_location_origin.location_name == "here"


def test_retries_follow_dagsters_policy(instance: dg.DagsterInstance) -> None:
    """A step that fails may be tried again as often as its policy says; the attempts are those of one step."""
    Path(os.environ["FLAKY_FILE"]).write_text("5")
    runner.handle(request("numbers"))
    answers = [runner.handle(request("flaky", attempt=attempt, retries=2)) for attempt in range(3)]
    assert [(answer.success, answer.retry) for answer in answers] == [(False, True), (False, True), (False, False)]
    assert "not yet" in answers[-1].message
    (stats,) = [s for s in instance.get_run_step_stats(answers[0].run_id) if s.step_key == "flaky"]
    assert stats.attempts == 3


def test_step_succeeds_after_a_retry(instance: dg.DagsterInstance) -> None:
    """A step that failed once and then succeeds leaves a successful run."""
    Path(os.environ["FLAKY_FILE"]).write_text("1")
    runner.handle(request("numbers"))
    runner.handle(request("flaky", retries=1))
    assert runner.handle(request("flaky", attempt=1, retries=1)).success
    runner.handle(request("total"))
    assert runner.handle(finish()).success


def test_failure_without_retries_is_final(instance: dg.DagsterInstance) -> None:
    """Dagster's Failure(allow_retries=False) is not retried, and its words arrive."""
    answer = runner.handle(request("hopeless", job="failing"))
    assert (answer.success, answer.retry, answer.message) == (False, False, "there is no hope")


def test_finish_names_what_did_not_succeed(instance: dg.DagsterInstance) -> None:
    """A run with a failed or missing step ends as failed, and the answer names the steps."""
    runner.handle(request("numbers"))
    answer = runner.handle(finish())
    assert (answer.success, answer.message) == (False, "these steps did not succeed: flaky, total.")
    run = instance.get_run_by_id(answer.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_finish_without_a_run(instance: dg.DagsterInstance) -> None:
    """When no step ran there is no run to finish, and the answer says so."""
    assert "no step ran" in runner.handle(finish()).message


def test_cancelled_run_starts_no_step(instance: dg.DagsterInstance) -> None:
    """A run that was cancelled in Dagster stops the DAG."""
    answer = runner.handle(request("numbers"))
    run = instance.get_run_by_id(answer.run_id)
    assert run is not None
    instance.report_run_canceling(run)
    assert "was cancelled in Dagster" in runner.handle(request("flaky")).message


def test_first_tasks_at_once_make_one_run(instance: dg.DagsterInstance) -> None:
    """Two first tasks at the same moment find or make the same run."""
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(SubprocessLauncher().launch(request("numbers")).success)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers, instance.get_runs_count()) == ([True, True], 1)


PARTITIONED = [
    ("days", "by_day", "2026-01-31", "2026-01-31"),
    ("days", "by_day", "2026-01-30...2026-01-31", "2026-01-30,2026-01-31"),
    ("both", "by_both", "2026-01-02|us", "2026-01-02|us"),
    ("customers", "by_customer", "ann", "ann"),
]


@pytest.mark.parametrize(("job", "step", "partition", "seen"), PARTITIONED, ids=[case[2] for case in PARTITIONED])
def test_a_run_of_a_partition(instance: dg.DagsterInstance, tmp_path: Path, job: str, step: str, partition: str, seen: str) -> None:
    """A step knows the partition of its DAG run, one or a range, and Dagster's materialisation is of that partition."""
    (tmp_path / "files").mkdir(exist_ok=True)
    instance.add_dynamic_partitions("customers", ["ann"])
    answer = runner.handle(request(step, job=job, partition=partition))
    assert (answer.success, answer.message) == (True, "")
    # Airflow can send nothing but plain text.
    assert {type(key) for one in answer.materializations for key in one.partitions} == {str}
    assert (tmp_path / "files" / "partitions").read_text().splitlines() == [seen]
    assert sorted(instance.get_materialized_partitions(dg.AssetKey(step))) == seen.split(",")


@pytest.mark.parametrize(
    ("job", "step", "partition", "said"),
    [
        ("days", "by_day", None, "job days has partitions, and the DAG run names none"),
        ("days", "by_day", "2026-02-01", "'2026-02-01' is no partition of job days"),
        ("days", "by_day", "2026-01-30...2026-02-30", "'2026-02-30' is no partition of job days"),
        ("days", "by_day", "2026-01-09...2026-01-02", "'2026-01-09...2026-01-02' is no range of partitions of job days"),
        ("days", "by_day", "2026-01-01...2026-01-02...2026-01-03", "'2026-01-01...2026-01-02...2026-01-03' is no range"),
        ("both", "by_both", "2026-01-02|mars", "'2026-01-02|mars' is no partition of job both"),
        ("customers", "by_customer", "bob", "'bob' is no partition of job customers"),
        ("sums", "numbers", "2026-01-01", "job sums has no partitions, and '2026-01-01' was asked for"),
    ],
)
def test_a_partition_that_cannot_be(instance: dg.DagsterInstance, job: str, step: str, partition: str | None, said: str) -> None:
    """A missing or wrong partition fails without a retry and with the next step, before there is a Dagster run."""
    answer = runner.handle(request(step, job=job, partition=partition))
    assert (answer.success, answer.retry, instance.get_runs_count()) == (False, False, 0)
    assert answer.message.startswith(said)
    assert "Next:" in answer.message


def test_without_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DAGSTER_HOME the answer says what to set."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert "DAGSTER_HOME is not set" in runner.handle(request("numbers")).message


def test_dagster_is_missing() -> None:
    """Where dagster cannot be imported, the launcher of tasks in their own process says so, and what to do."""
    code = (
        "import sys\nsys.modules['dagster'] = None\nfrom airflow_bridge.launcher import FinishRequest, InlineLauncher\n"
        "InlineLauncher().launch(FinishRequest(module='m', attribute='defs', location='m', job='j', dag_id='d', dag_run_id='r'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()[-1]
    assert "LaunchError: dagster cannot be imported in this Airflow worker" in said
    assert "Next: install it beside Airflow, or give SubprocessLauncher" in said


def test_other_interpreter(instance: dg.DagsterInstance) -> None:
    """A step runs the same through another interpreter, whatever the project prints."""
    answer = SubprocessLauncher(python=sys.executable).launch(request("numbers"))
    assert (answer.success, answer.run_id) == (True, run_id_for("d", "r1"))


def test_interpreter_that_is_missing() -> None:
    """An interpreter that does not exist is named."""
    with pytest.raises(LaunchError, match="/no/python cannot be started"):
        SubprocessLauncher(python="/no/python").launch(request("numbers"))


def test_interpreter_that_breaks_off() -> None:
    """An interpreter that ends without an answer is an error with its exit code."""
    with pytest.raises(LaunchError, match="ended with code 0 and no response"):
        SubprocessLauncher(python="/bin/true").launch(request("numbers"))


def test_plan_has_every_step_after_its_upstream(instance: dg.DagsterInstance) -> None:
    """The plan names steps, assets and order."""
    from etl_assets_tests.airflow_bridge.project import defs

    plan = plan_of(defs.resolve_job_def("sums"))
    assert json.dumps([(s.key, s.upstream) for s in plan]) == '[["numbers", []], ["flaky", ["numbers"]], ["total", ["flaky"]]]'
