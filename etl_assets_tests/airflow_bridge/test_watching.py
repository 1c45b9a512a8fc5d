"""What becomes of a task that watches a step, by how its Dagster run and the task that runs the job are going.

Not here: triggers in a real triggerer (`acceptance/test_airflow.py`).
"""

import io
import json
import time
from dataclasses import replace
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
    ("events", "producer", "event"),
    [
        ([("STEP_SUCCESS", "a", 12.0)], "running", TaskSuccessEvent),
        ([("STEP_FAILURE", "a", 12.0)], "running", TaskFailedEvent),
        ([("STEP_SKIPPED", "a", 12.0)], "running", TaskSkippedEvent),
        ([("STEP_FAILURE", "a", 11.0), ("STEP_SUCCESS", "a", 12.0)], "running", TaskSuccessEvent),
        ([("STEP_SUCCESS", "b", 12.0)], "running", None),
        ([("PIPELINE_CANCELED", None, 12.0)], "running", TaskFailedEvent),
        ([("PIPELINE_CANCELING", None, 12.0)], "failed", TaskFailedEvent),
        ([("PIPELINE_CANCELED", None, 12.0), ("PIPELINE_START", None, 13.0)], "running", None),
        ([("STEP_SUCCESS", "a", 12.0)], "success", TaskSuccessEvent),
        ([], "running", None),
        ([], "up_for_retry", None),
        ([], None, None),
    ],
)
def test_a_watcher(events: list[tuple[str, str | None, float]], producer: str | None, event: type | None) -> None:
    """A watcher ends as its step ends, fails when the run is cancelled, and else goes on watching."""
    found = decide(Snapshot(producer=producer).after(events), "a", 10.0)
    assert found is None if event is None else type(found) is event


@pytest.mark.parametrize("producer", ["success", "failed", "skipped", "upstream_failed", "removed"])
def test_nobody_runs_the_step(producer: str) -> None:
    """When the task that runs the job is over, a step that has no verdict goes to a worker, with the reason."""
    found: Any = decide(Snapshot(producer=producer), "a", 10.0)
    assert found.payload == {"why": f"the task that runs the job is {producer}, and the step has not run"}


@pytest.mark.parametrize("kind", ["STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED", "PIPELINE_CANCELED"])
def test_what_was_before_a_clear_does_not_count(kind: str) -> None:
    """After the DAG run was cleared the watcher waits for what happens then, or runs the step when the job is over."""
    before = Snapshot(producer="running").after([(kind, "a" if kind.startswith("STEP") else None, 9.0)])
    assert decide(before, "a", 10.0) is None
    found: Any = decide(replace(before, producer="success"), "a", 10.0)
    assert "why" in found.payload


def test_what_the_reader_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader answers a line per look: what happened since the last one, and when; nothing of a run that is not there."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    for name, value in {"DAGSTER_HOME": tmp_path, "PROJECT_FILES": tmp_path, "PROJECT_PASSWORD": "x", "FLAKY_FILE": tmp_path / "f"}.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "f").write_text("0")
    request = JobRequest(module=MODULE, attribute="defs", location="here", job="sums", dag_id="d", dag_run_id="r", round=3)
    begun = time.time()
    assert runner.handle(request).success
    asked = [{"run_id": "00000000-0000-0000-0000-000000000000", "cursor": None}, {"run_id": request.run_id, "cursor": None}]
    answers = io.StringIO()
    reader.serve(io.StringIO("".join(f"{json.dumps(one)}\n" for one in asked)), answers)
    missing, found = (json.loads(line) for line in answers.getvalue().splitlines())
    assert missing["events"] == []
    assert [kind for kind, _, _ in found["events"]] == ["PIPELINE_START", "STEP_SUCCESS", "STEP_SUCCESS", "STEP_SUCCESS"]
    assert all(begun <= at <= time.time() for _, _, at in found["events"])
    with dg.DagsterInstance.get() as instance:
        assert reader.look(instance, request.run_id, found["cursor"])["events"] == []
