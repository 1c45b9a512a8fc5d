"""One request, one response: executes a step of a Dagster run that belongs to an Airflow run, or closes that run.

All tasks of one DAG run share one Dagster run, whose id follows from the Airflow ids, so that every task can find or create it.
The status lives in Dagster's event log only.

The ONLY module that touches what Dagster does not publish (execution plans, reconstruction, origins); contract tests guard it
against a new Dagster release. Imports no airflow.
"""

import contextlib
import dataclasses
import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.errors import DagsterRunAlreadyExists
from dagster._core.events import DagsterEvent
from dagster._core.execution.api import create_execution_plan, execute_plan_iterator
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from airflow_bridge.launcher import FinishRequest, Response, StepRequest

_NAMESPACE = uuid.UUID("0b8f2a4e-6c1d-5e3f-9a7b-2d4c6e8f0a1b")
# As Dagster writes a range of partitions.
_RANGE = "..."
_CANCELED = {dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED}
_VERDICTS = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_SKIPPED}


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step of a job's execution plan.

    Attributes:
        key: Step key.
        assets: Keys of the assets it materialises.
        checks: Asset key and name of the checks it evaluates.
        upstream: Keys of the steps it waits for.
        pool: Its pool; None for none.
        retry_policy: Dagster's policy; None for none.
    """

    key: str
    assets: tuple[dg.AssetKey, ...]
    checks: tuple[tuple[dg.AssetKey, str], ...]
    upstream: tuple[str, ...]
    pool: str | None
    retry_policy: dg.RetryPolicy | None


def plan_of(job: dg.JobDefinition) -> list[PlannedStep]:
    """The steps of a job, each after its upstream; resources are left out, so that no variable has to be set."""
    without_config = {
        key: dg.IOManagerDefinition.hardcoded_io_manager(_NoStorage())
        if isinstance(resource, dg.IOManagerDefinition)
        else dg.ResourceDefinition.hardcoded_resource(None)
        for key, resource in job.resource_defs.items()
    }
    plan = create_execution_plan(job.with_top_level_resources(without_config))
    upstream = plan.get_all_step_deps()
    planned = []
    for step in plan.get_all_steps_in_topo_order():
        outputs = [output.properties for output in step.step_outputs]
        definition: Any = job.get_node(step.node_handle.root).definition
        planned.append(
            PlannedStep(
                key=step.key,
                assets=tuple(o.asset_key for o in outputs if o.asset_key is not None and o.asset_check_key is None),
                checks=tuple((o.asset_check_key.asset_key, o.asset_check_key.name) for o in outputs if o.asset_check_key is not None),
                upstream=tuple(sorted(upstream.get(step.key, ()))),
                pool=step.pool,
                retry_policy=getattr(definition, "retry_policy", None),
            )
        )
    return planned


class _NoStorage(dg.IOManager):
    """Stands where an IO manager would, while a plan is looked at and nothing runs."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise NotImplementedError

    def load_input(self, context: dg.InputContext) -> object:
        raise NotImplementedError


def run_id_for(dag_id: str, dag_run_id: str) -> str:
    """The Dagster run that belongs to an Airflow run."""
    return str(uuid.uuid5(_NAMESPACE, f"{dag_id}\n{dag_run_id}"))


def handle(request: StepRequest | FinishRequest) -> Response:
    """Carry out a request; a failure of the step is a response, not an exception."""
    run_id = run_id_for(request.dag_id, request.dag_run_id)
    if not os.environ.get("DAGSTER_HOME"):
        return Response(
            run_id=run_id, success=False,
            message="DAGSTER_HOME is not set for this task. Next: set it to the folder of dagster.yaml in the worker's environment.",
        )  # fmt: skip
    with _instance() as instance:
        if isinstance(request, FinishRequest):
            return _finish(instance, request, run_id)
        return _execute(instance, request, run_id)


def _execute(instance: dg.DagsterInstance, request: StepRequest, run_id: str) -> Response:
    repository = ReconstructableRepository.for_module(request.module, request.attribute, str(Path.cwd()))
    job = repository.get_reconstructable_job(request.job)
    wrong = _wrong_partition(instance, job.get_definition(), request.partition)
    if wrong:
        return Response(run_id=run_id, success=False, message=wrong)
    run = _find_or_create(instance, job, request, run_id)
    if run.status in _CANCELED:
        return Response(run_id=run_id, success=False, message=f"Dagster run {run_id} was cancelled in Dagster. Next: clear the DAG run.")
    known = KnownExecutionState(previous_retry_attempts={request.step: request.attempt} if request.attempt else {})
    plan = create_execution_plan(job, run_config=run.run_config, step_keys_to_execute=[request.step], known_state=known)
    events = list(execute_plan_iterator(plan, job, run, instance, run_config=run.run_config, retry_mode=RetryMode.DEFERRED))
    rows: dict[str, int | None] = {}
    failed_checks = []
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
            metadata = event.step_materialization_data.materialization.metadata
            count: Any = metadata.get("dagster/row_count") or metadata.get("dagster/partition_row_count")
            rows[event.asset_key.to_user_string()] = int(count.value) if count is not None else None
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                failed_checks.append(f"{evaluation.asset_key.to_user_string()}:{evaluation.check_name}")
    failures = [event for event in events if event.is_step_failure]
    again = any(event.is_step_up_for_retry for event in events)
    skipped = any(event.event_type is dg.DagsterEventType.STEP_SKIPPED for event in events)
    done = any(event.is_step_success for event in events) and not failures and not skipped
    message = "" if done else _why(failures, again=again, step=request.step)
    return Response(run_id=run_id, success=done, retry=again, message=message, materializations=rows, failed_checks=tuple(failed_checks))


def _finish(instance: dg.DagsterInstance, request: FinishRequest, run_id: str) -> Response:
    """Give the run its end: success when the last verdict of every step is success."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return Response(run_id=run_id, success=False, message="no step ran, so there is no Dagster run. Next: see the first failed task.")
    last: dict[str, str] = {}
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=_VERDICTS)
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event is not None and event.step_key is not None:
                last[event.step_key] = event.event_type_value
        cursor = page.cursor
        if not page.has_more:
            break
    bad = [step for step in request.steps if last.get(step) != dg.DagsterEventType.STEP_SUCCESS.value]
    if run.status is dg.DagsterRunStatus.STARTED:
        kind = dg.DagsterEventType.RUN_FAILURE if bad else dg.DagsterEventType.RUN_SUCCESS
        _report(instance, run, kind, f"Airflow finished the DAG run {request.dag_run_id}")
    return Response(run_id=run_id, success=not bad, message=f"these steps did not succeed: {', '.join(bad)}." if bad else "")


def _find_or_create(instance: dg.DagsterInstance, job: Any, request: StepRequest, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    if run is not None:
        return run
    definition = job.get_definition()
    # With its origin the run can be executed again from Dagster's UI.
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(request.location), "__repository__")
    try:
        run = instance.create_run_for_job(
            job_def=definition,
            run_id=run_id,
            tags={
                **request.tags,
                **_partition_tags(definition, request.partition),
                "airflow/dag_id": request.dag_id,
                "airflow/dag_run_id": request.dag_run_id,
            },
            status=dg.DagsterRunStatus.NOT_STARTED,
            remote_job_origin=RemoteJobOrigin(repository, definition.name),
            job_code_origin=job.get_python_origin(),
        )
    except DagsterRunAlreadyExists:
        # Two first tasks at the same moment; the other one reports the start.
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run
    _report(instance, run, dg.DagsterEventType.RUN_START, f"Airflow started the DAG run {request.dag_run_id}")
    started = instance.get_run_by_id(run_id)
    assert started is not None
    return started


def _wrong_partition(instance: dg.DagsterInstance, job: dg.JobDefinition, partition: str | None) -> str:
    """Why a run of the job cannot have this partition; "" when it can."""
    definition = job.partitions_def
    if definition is None:
        return f"job {job.name} has no partitions, and {partition!r} was asked for. Next: trigger it without." if partition else ""
    if not partition:
        return (
            f"job {job.name} has partitions, and the DAG run names none. Next: trigger it with a partition key, or with the parameter "
            '{"partition": "..."}; a range is "first...last".'
        )
    for key in partition.split(_RANGE):
        with dg.partition_loading_context(dynamic_partitions_store=instance):
            known = definition.has_partition_key(key)
        if not known:
            return f"{key!r} is no partition of job {job.name}. Next: trigger it with one that is."
    return ""


def _partition_tags(job: dg.JobDefinition, partition: str | None) -> dict[str, str]:
    """What tells Dagster which partition a run is of."""
    if not partition:
        return {}
    first, _, last = partition.partition(_RANGE)
    if last:
        return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    tags = {"dagster/partition": partition}
    if isinstance(job.partitions_def, dg.MultiPartitionsDefinition):
        parts = job.partitions_def.get_partition_key_from_str(partition).keys_by_dimension
        tags |= {f"dagster/partition/{name}": key for name, key in parts.items()}
    return tags


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType, message: str) -> None:
    event = DagsterEvent(event_type_value=kind.value, job_name=run.job_name, message=message)
    instance.report_dagster_event(event, run.run_id)


def _why(failures: list[DagsterEvent], *, again: bool, step: str) -> str:
    for event in failures:
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            return str(data.user_failure_data.description)
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return f"step {step} failed: {error.message.strip()}"
    return f"step {step} asks to be tried again." if again else f"step {step} did not succeed."


@contextlib.contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        # Keeps connections to its storage open: a step makes about 20 calls.
        instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=5)
        yield instance


def _request_of(content: Mapping[str, Any]) -> StepRequest | FinishRequest:
    fields = {name: value for name, value in content.items() if name != "kind"}
    if content["kind"] == "step":
        return StepRequest(**fields)
    return FinishRequest(**{**fields, "steps": tuple(fields["steps"])})


def main() -> None:
    """Read one request from standard input, write one response as the last line of standard output."""
    response = handle(_request_of(json.load(sys.stdin)))
    sys.stdout.write(f"\n{json.dumps(dataclasses.asdict(response))}\n")


if __name__ == "__main__":
    main()

__all__ = ["PlannedStep", "handle", "main", "plan_of", "run_id_for"]
