"""One Dagster run for one DAG run, whatever happens to its tasks: cleared, marked, cancelled, skipped; and what stands in the way of a run.

Not here: the same in a real Airflow (`acceptance/test_airflow.py`); the first round of a run (`test_runner.py`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from airflow_bridge import runner
from airflow_bridge.launcher import AssetsRequest, FinishRequest, JobRequest, Request, Response, StepRequest, SubprocessLauncher

MODULE = "etl_assets_tests.acceptance.airflow_project"
CHAIN = ("first", "middle", "guarded", "last")
STATUS = dg.DagsterRunStatus
EVENT = dg.DagsterEventType
FEW = "concurrency: {pools: {default_limit: 1, granularity: op}}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DAGSTER_HOME, with the files and values of the project beside it."""
    for name in ("home", "files", "values"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRIAL_FILES", str(tmp_path / "files"))
    monkeypatch.setenv("TRIAL_VALUES", str(tmp_path / "values"))
    (tmp_path / "home" / "dagster.yaml").write_text(FEW)
    return tmp_path / "home"


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance."""
    with dg.DagsterInstance.get() as found:
        yield found


def where(**fields: Any) -> dict[str, Any]:
    return {"module": MODULE, "attribute": "defs", "location": MODULE, "job": "chain", "dag_id": "d", "dag_run_id": "r", **fields}


def step(name: str, **fields: Any) -> Response:
    return runner.handle(StepRequest(**where(**fields), step=name))


def steps(*names: str, **fields: Any) -> list[bool]:
    """Execute steps one after the other; whether each succeeded."""
    return [step(name, **fields).success for name in names]


def finish(**fields: Any) -> Response:
    return runner.handle(FinishRequest(**where(**fields)))


def ask(home: Path, name: str, *lines: str) -> None:
    """What an asset has to do in its next attempts."""
    (home.parent / "files" / f"{name}.todo").write_text("\n".join(lines))


def started(home: Path, name: str) -> Path:
    """The file that an asset writes when it begins."""
    return home.parent / "files" / f"{name}.ran"


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """Wait up to a minute for what must come."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, f"not within a minute: {what}"
        time.sleep(0.05)


def run_of(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """The only run there is."""
    (run,) = instance.get_runs()
    return run


def count(instance: dg.DagsterInstance, kind: dg.DagsterEventType) -> int:
    return len(instance.get_records_for_run(run_of(instance).run_id, of_type={kind}).records)


def test_a_run_that_failed_goes_on(home: Path, instance: dg.DagsterInstance) -> None:
    """Steps that are executed again after a failed run open it again, and it ends as a success."""
    ask(home, "middle", "give up")
    assert steps("first", "middle") == [True, False]
    assert (finish().success, run_of(instance).status) == (False, STATUS.FAILURE)
    assert steps("middle", "guarded", "last", round=1) == [True] * 3
    assert run_of(instance).status is STATUS.STARTED
    assert (finish(round=1).success, run_of(instance).status) == (True, STATUS.SUCCESS)
    assert (count(instance, EVENT.RUN_START), run_of(instance).tags["airflow/clear_number"]) == (2, "1")


def test_a_step_that_nothing_closes_after(home: Path, instance: dg.DagsterInstance) -> None:
    """A step that is executed alone after the end opens the run, and closes it as its own end is."""
    assert all(steps(*CHAIN))
    finish()
    ask(home, "middle", "give up")
    step("middle", round=1, close=True, steps=CHAIN)
    assert run_of(instance).status is STATUS.FAILURE
    assert step("middle", round=2, close=True, steps=CHAIN).success
    assert run_of(instance).status is STATUS.SUCCESS


def test_a_step_that_may_be_tried_again_does_not_close(home: Path, instance: dg.DagsterInstance) -> None:
    """While another attempt is granted the run stays open."""
    assert all(steps(*CHAIN))
    finish()
    ask(home, "middle", "fail")
    assert step("middle", round=1, close=True, retries=1, steps=CHAIN).retry
    assert run_of(instance).status is STATUS.STARTED


def test_a_cancelled_run_needs_a_clear(instance: dg.DagsterInstance) -> None:
    """A run that was cancelled in Dagster refuses every step of that round, and goes on in the next one."""
    step("first")
    instance.report_run_canceling(run_of(instance))
    assert "was cancelled in Dagster. Next: clear the DAG run." in step("middle").message
    assert run_of(instance).status is STATUS.CANCELED
    assert "was cancelled" in finish().message
    assert count(instance, EVENT.RUN_CANCELED) == 1
    assert all(steps("middle", "guarded", "last", round=1))
    assert (finish(round=1).success, run_of(instance).status) == (True, STATUS.SUCCESS)


def test_a_run_that_is_being_cancelled_and_cleared(instance: dg.DagsterInstance) -> None:
    """Cleared before anybody said that it has stopped, a cancelled run ends first, and then goes on."""
    step("first")
    instance.report_run_canceling(run_of(instance))
    assert all(steps("middle", "guarded", "last", round=1))
    assert (finish(round=1).success, run_of(instance).status, count(instance, EVENT.RUN_CANCELED)) == (True, STATUS.SUCCESS, 1)


@pytest.mark.parametrize(
    ("states", "success"),
    [
        ({"middle": "success", "guarded": "success", "last": "success"}, True),
        ({"middle": "success", "guarded": "success", "last": "skipped"}, True),
        ({"middle": "success", "guarded": "success", "last": "failed"}, False),
        ({"first": "failed", "middle": "success", "guarded": "success", "last": "success"}, False),
        ({"middle": "success", "guarded": "success", "last": None}, False),
        ({"middle": "success", "guarded": "success", "last": "upstream_failed"}, False),
    ],
)
def test_marks_count(instance: dg.DagsterInstance, states: dict[str, str | None], success: bool) -> None:
    """What Airflow says of a task that somebody marked counts more than what Dagster saw of its step; else Dagster's word counts."""
    step("first")
    assert (finish(steps=CHAIN, states=states).success, run_of(instance).status is STATUS.SUCCESS) == (success, success)


def test_finish_twice_is_told_once(instance: dg.DagsterInstance) -> None:
    """Closing a run that is closed changes nothing."""
    assert all(steps(*CHAIN))
    assert (finish().success, finish().success, count(instance, EVENT.RUN_SUCCESS)) == (True, True, 1)


def test_a_skip(home: Path, instance: dg.DagsterInstance) -> None:
    """A step whose optional input was not made is skipped, in Dagster too; made in a later round, it is read."""
    ask(home, "sometimes", "check fails")
    assert step("sometimes", job="optional").success
    after = step("after_sometimes", job="optional")
    assert (after.success, after.skipped) == (False, True)
    assert (finish(job="optional").success, count(instance, EVENT.STEP_SKIPPED)) == (True, 1)
    assert steps("sometimes", "after_sometimes", job="optional", round=1) == [True, True]


def test_whole_jobs_and_parts_of_them(home: Path, instance: dg.DagsterInstance) -> None:
    """Several steps in one process are steps of the same run, with Dagster's own retries; only what is asked for is executed."""
    ask(home, "middle", "fail")
    response = runner.handle(JobRequest(**where()))
    assert (response.success, [one.asset for one in response.materializations]) == (True, list(CHAIN))
    (stats,) = instance.get_run_step_stats(response.run_id, ["middle"])
    assert stats.attempts == 2
    again = runner.handle(JobRequest(**where(round=1), only=("guarded", "last")))
    assert [one.asset for one in again.materializations] == ["guarded", "last"]


def test_a_failed_job_names_its_steps(home: Path, instance: dg.DagsterInstance) -> None:
    """When a step fails the others that do not need it are executed, and the response names it and its cause."""
    ask(home, "guarded", "give up")
    response = runner.handle(JobRequest(**where()))
    assert (response.success, response.failed, response.message) == (False, ("guarded",), "guarded was asked to give up")


def test_a_job_that_is_cancelled(home: Path, instance: dg.DagsterInstance) -> None:
    """A run that is cancelled in Dagster while its job is executed stops after the step that runs."""
    ask(home, "middle", "wait go")
    found: list[Response] = []
    thread = threading.Thread(target=lambda: found.append(SubprocessLauncher().launch(JobRequest(**where()))))
    thread.start()
    wait_until("middle begins", started(home, "middle").exists)
    instance.report_run_canceling(run_of(instance))
    (home.parent / "files" / "go").touch()
    thread.join()
    assert "was cancelled in Dagster" in found[0].message
    assert not started(home, "guarded").exists()
    assert (count(instance, EVENT.STEP_SUCCESS), count(instance, EVENT.STEP_FAILURE)) == (2, 0)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_step_that_is_stopped(home: Path, instance: dg.DagsterInstance, retries: int) -> None:
    """A step whose task is stopped by Airflow ends at once, as an attempt that failed, and may be tried again."""
    ask(home, "first", "sleep 60")
    launcher, found = SubprocessLauncher(), []
    thread = threading.Thread(target=lambda: found.append(launcher.launch(StepRequest(**where(), step="first", retries=retries))))
    thread.start()
    wait_until("first begins", started(home, "first").exists)
    launcher.stop()
    thread.join(20)
    assert [(one.success, one.retry, one.interrupted) for one in found] == [(False, True, True)]
    assert "it was stopped by a signal. Next: " in found[0].message
    assert step("first", attempt=1).success


def test_a_run_of_ones_own(home: Path, instance: dg.DagsterInstance) -> None:
    """Assets materialised by what Dagster publishes are a run of their own for each try, with their checks and the run's tags."""
    first = runner.handle(AssetsRequest(**where(), task="first", try_number=1, assets=("first",)))
    middle = runner.handle(AssetsRequest(**where(), task="middle", try_number=1, assets=("middle",)))
    guarded = AssetsRequest(**where(), task="guarded", try_number=1, assets=("guarded",), checks=("guarded:is_good",))
    made = runner.handle(guarded)
    assert (first.success, middle.success, made.materializations[0].row_count) == (True, True, 30)
    assert [(str(check), check.passed) for check in made.checks] == [("guarded:is_good", True)]
    assert len({first.run_id, middle.run_id, made.run_id}) == 3
    run = instance.get_run_by_id(made.run_id)
    assert run is not None
    assert (run.tags["airflow/task_id"], run.tags["airflow/try_number"], run.tags["airflow/dag_run_id"]) == ("guarded", "1", "r")


def test_a_failed_run_of_ones_own(home: Path, instance: dg.DagsterInstance) -> None:
    """Its failure has the cause in its own words, and another try is another run."""
    ask(home, "first", "give up")
    request: Any = {"task": "first", "assets": ("first",)}
    failed = runner.handle(AssetsRequest(**where(), **request, try_number=1))
    again = runner.handle(AssetsRequest(**where(), **request, try_number=2))
    assert (failed.success, failed.message, again.success) == (False, "first was asked to give up", True)
    assert failed.run_id != again.run_id


def test_a_partition_of_a_run_of_ones_own_that_cannot_be(home: Path, instance: dg.DagsterInstance) -> None:
    """A partition that the job has not, or a range backwards, fails before any asset is touched, here too."""
    for partition, said in (("2025-01-01", "is no partition of job days"), ("2026-01-03...2026-01-01", "is no range of partitions")):
        given = where(job="days", partition=partition)
        response = runner.handle(AssetsRequest(**given, task="by_day", try_number=1, assets=("by_day",)))
        assert (response.success, said in response.message) == (False, True)
    assert not started(home, "by_day").exists()


def test_pools_hold_across_tasks(home: Path, instance: dg.DagsterInstance) -> None:
    """Two steps of one pool with one place, in processes of their own, run one after the other."""
    ask(home, "pooled_one", "wait go")
    one, two = (StepRequest(**where(job="pooled"), step=name) for name in ("pooled_one", "pooled_two"))
    with ThreadPoolExecutor() as threads:
        try:
            found = [threads.submit(SubprocessLauncher().launch, one)]
            # SQLite, which this instance is kept in, lets two claims of one moment pass: the second asks when the first has its place.
            wait_until("pooled_one begins", started(home, "pooled_one").exists)
            found.append(threads.submit(SubprocessLauncher().launch, two))
            wait_until("pooled_two asks", lambda: instance.event_log_storage.get_concurrency_info("narrow").pending_step_count == 1)
            assert not started(home, "pooled_two").exists()
        finally:
            (home.parent / "files" / "go").touch()
    assert [each.result().success for each in found] == [True, True]
    assert started(home, "pooled_two").exists()


@pytest.mark.parametrize("request_", [StepRequest(**where(), step="first"), JobRequest(**where())])
def test_a_variable_that_is_missing(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, request_: Request) -> None:
    """A variable that a resource reads and that is not set is a failure that names it, in one line, and no attempt."""
    monkeypatch.delenv("TRIAL_VALUES")
    said = runner.handle(request_)
    assert (said.success, said.retry) == (False, False)
    assert 'environment variable "TRIAL_VALUES" which is not set' in said.message
    assert ("Next: set what is missing" in said.message, "\n" in said.message, "Traceback" in said.message) == (True, False, False)


def test_a_wrong_run_config(instance: dg.DagsterInstance) -> None:
    """A run config that the job does not take is a failure that says what is wrong."""
    said = step("greeted", job="configured", run_config={"ops": {"greeted": {"config": {"nam": "Ada"}}}})
    assert (said.success, '"nam"' in said.message, " Next: " in said.message) == (False, True, True)


def test_storage_that_does_not_answer(home: Path) -> None:
    """While Dagster's database is down a step fails in a way that may be tried again, with the cause."""
    (home / "dagster.yaml").write_text("storage: {postgres: {postgres_url: 'postgresql+psycopg2://a:b@127.0.0.1:1/c'}}\n")
    said = step("first")
    assert (said.success, said.retry) == (False, True)
    assert "Dagster's storage does not answer: " in said.message
    assert "Next: start it again" in said.message
    assert "a:b" not in said.message


def test_another_release_of_dagster(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that the bridge was not tested with is refused, save in the mode that needs nothing unpublished."""
    monkeypatch.setattr(dg, "__version__", "1.99.0")
    assert "dagster 1.99.0 is installed" in step("first").message
    assert runner.handle(AssetsRequest(**where(), task="first", try_number=1, assets=("first",))).success


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"job": "gone"}, "has no job gone any more"),
        ({"module": "does_not_exist"}, "No module named 'does_not_exist'"),
        ({"attribute": "nothing"}, "nothing"),
    ],
)
def test_code_that_has_changed(instance: dg.DagsterInstance, fields: dict[str, str], said: str) -> None:
    """What was exported and is there no more is a failure that names it."""
    response = step("first", **fields)
    assert (response.success, said in response.message, " Next: " in response.message) == (False, True, True)


def test_a_step_that_is_gone(instance: dg.DagsterInstance) -> None:
    """A step that the job has no more is a failure that names it and asks for an export."""
    response = step("renamed")
    assert (response.success, "renamed" in response.message, "export again" in response.message) == (False, True, True)
