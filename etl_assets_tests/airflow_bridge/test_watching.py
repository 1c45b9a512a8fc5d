"""What becomes of a task that watches a step, by how its Dagster run and the task that runs the job are going.

Not here: triggers in a real triggerer (`acceptance/test_airflow.py`).
"""

import io
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent

from airflow_bridge import reader, runner
from airflow_bridge.launcher import JobRequest
from airflow_bridge.watching import Snapshot, decide

MODULE = "etl_assets_tests.airflow_bridge.project"


@pytest.mark.parametrize(
    ("given", "event"),
    [
        ({"verdicts": {"a": "STEP_SUCCESS"}, "producer": "running"}, TaskSuccessEvent),
        ({"verdicts": {"a": "STEP_FAILURE"}, "producer": "running"}, TaskFailedEvent),
        ({"verdicts": {"a": "STEP_SKIPPED"}, "producer": "running"}, TaskSkippedEvent),
        ({"verdicts": {"b": "STEP_SUCCESS"}, "producer": "running"}, None),
        ({"status": "CANCELED", "producer": "running"}, TaskFailedEvent),
        ({"verdicts": {"a": "STEP_SUCCESS"}, "producer": "success"}, TaskSuccessEvent),
        ({"producer": "running"}, None),
        ({"producer": "up_for_retry"}, None),
        ({"producer": None}, None),
    ],
)
def test_a_watcher(given: dict[str, Any], event: type | None) -> None:
    """A watcher ends as its step ends, fails when the run is cancelled, and else goes on watching."""
    found = decide(Snapshot(round=0, **given), "a", 0)
    assert found is None if event is None else type(found) is event


@pytest.mark.parametrize("producer", ["success", "failed", "skipped", "upstream_failed", "removed"])
def test_nobody_runs_the_step(producer: str) -> None:
    """When the task that runs the job is over, a step that has no verdict goes to a worker, with the reason."""
    found: Any = decide(Snapshot(round=0, producer=producer, status="STARTED"), "a", 0)
    assert found.payload == {"why": f"the task that runs the job is {producer}, and the step has not run"}


def test_verdicts_of_an_earlier_round_do_not_count() -> None:
    """After tasks were cleared the watcher waits for the run to go on, or runs the step when the job is over."""
    earlier = Snapshot(round=0, verdicts={"a": "STEP_FAILURE"}, status="FAILURE")
    assert decide(earlier, "a", 1) is None
    found: Any = decide(Snapshot(round=0, verdicts={"a": "STEP_FAILURE"}, producer="success"), "a", 1)
    assert "why" in found.payload


def test_what_the_reader_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader answers a line per look: status, round, verdicts since the last look; a run that is not there has no status."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    for name, value in {"DAGSTER_HOME": tmp_path, "PROJECT_FILES": tmp_path, "PROJECT_PASSWORD": "x", "FLAKY_FILE": tmp_path / "f"}.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "f").write_text("0")
    request = JobRequest(module=MODULE, attribute="defs", location="here", job="sums", dag_id="d", dag_run_id="r", round=3)
    assert runner.handle(request).success
    asked = [{"run_id": "00000000-0000-0000-0000-000000000000", "cursor": None}, {"run_id": request.run_id, "cursor": None}]
    answers = io.StringIO()
    reader.serve(io.StringIO("".join(f"{json.dumps(one)}\n" for one in asked)), answers)
    missing, found = (json.loads(line) for line in answers.getvalue().splitlines())
    assert (missing["status"], missing["events"]) == (None, [])
    assert (found["status"], found["round"]) == (dg.DagsterRunStatus.STARTED.value, 3)
    kinds = ["PIPELINE_START", "STEP_SUCCESS", "STEP_SUCCESS", "STEP_SUCCESS"]
    assert [kind for kind, _ in found["events"]] == kinds
    with dg.DagsterInstance.get() as instance:
        assert reader.look(instance, request.run_id, found["cursor"])["events"] == []
