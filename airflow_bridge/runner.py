"""One request, one response: executes steps of the Dagster run that belongs to an Airflow run, or closes that run.

All tasks of one DAG run share one Dagster run, for ever: its id follows from the Airflow ids, so that every task can find or create it.
It starts with its first step, `finish` ends it, and tasks that are cleared afterwards open it again. The status of a step lives in
Dagster's event log only.

Beside `plan.py` the only module that touches what Dagster does not publish (execution plans, origins, run events); contract tests guard it
against a new Dagster release. Imports no airflow.

Not here: runs of a single asset, by what Dagster publishes (`asset_runs.py`).
"""

import contextlib
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy.exc
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.errors import DagsterExecutionInterruptedError, DagsterRunAlreadyExists
from dagster._core.events import DagsterEvent
from dagster._core.execution.api import ExecuteRunWithPlanIterable, create_execution_plan
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from airflow_bridge import asset_runs, kept
from airflow_bridge.launcher import (
    RESPONSE,
    AssetsRequest,
    CheckResult,
    FinishRequest,
    JobRequest,
    Request,
    Response,
    StepRequest,
    request_of,
)  # fmt: skip

TESTED = ("1.13",)
"""Releases of Dagster that the contract tests have passed with."""
# As Dagster writes a range of partitions.
_RANGE = "..."
_ROUND = "airflow/clear_number"
_CANCELED = {dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED}
_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
_WAS_CANCELED = "Dagster run {} was cancelled in Dagster. Next: clear the DAG run."
_INTERRUPTED = "it was stopped by a signal. Next: see in Airflow who stopped the task, and clear it to go on."
_KIND = dg.DagsterEventType
_VERDICTS = {_KIND.STEP_SUCCESS, _KIND.STEP_FAILURE, _KIND.STEP_SKIPPED}
_FINE = {_KIND.STEP_SUCCESS.value, _KIND.STEP_SKIPPED.value}


def handle(request: Request) -> Response:
    """Carry out a request; whatever goes wrong is a response, not an exception."""
    run_id = request.run_id
    if not os.environ.get("DAGSTER_HOME"):
        return _refusal(
            run_id, "DAGSTER_HOME is not set for this task. Next: set it to the folder of dagster.yaml in the worker's environment."
        )
    try:
        if isinstance(request, AssetsRequest):
            return asset_runs.materialize(request)
        if not dg.__version__.startswith(TESTED):
            return _refusal(
                run_id,
                f"dagster {dg.__version__} is installed, and the bridge is tested with {', '.join(TESTED)}. Next: install that, or use "
                'mode="asset_runs", which needs nothing that Dagster does not publish.',
            )
        with _instance() as instance:
            if isinstance(request, FinishRequest):
                return _finish(instance, request, run_id)
            return _execute(instance, request, run_id)
    except dg.DagsterInvalidConfigError as error:
        wrong = " ".join(_without_trace(one.message) for one in error.errors)
        return _refusal(
            run_id,
            f"the config of job {request.job} does not do: {wrong} Next: set what is missing in the worker's environment, or correct "
            "run_config; then clear the task.",
        )
    except DagsterExecutionInterruptedError:
        return Response(run_id=run_id, success=False, retry=True, interrupted=True, message=_INTERRUPTED)
    except (dg.DagsterError, ImportError) as error:
        return _refusal(
            run_id, f"job {request.job} of {request.module} cannot run: {error} Next: correct it, export again, clear the task."
        )
    except Exception as error:
        # Dagster wraps what a database says in exceptions of its own.
        reason = _of_database(error)
        if reason is None:
            raise
        return dataclasses.replace(
            _refusal(run_id, f"Dagster's storage does not answer: {reason}. Next: start it again; the task is repeated, or clear it then."),
            retry=True,
        )


def _of_database(error: BaseException | None) -> str | None:
    """What a database said, in an exception or in one that caused it."""
    while error is not None:
        if isinstance(error, sqlalchemy.exc.DBAPIError):
            return str(error.orig).strip().splitlines()[0] if error.orig is not None else type(error).__name__
        error = error.__cause__ or error.__context__
    return None


def _without_trace(message: str) -> str:
    """One line, without the traceback that Dagster adds to some."""
    kept = message.partition("Stack Trace:")[0]
    return " ".join(kept.rpartition("PostProcessingError:")[2].split())


def _refusal(run_id: str, message: str) -> Response:
    return Response(run_id=run_id, success=False, message=message)


class _Job(InMemoryJob):
    """A job with the repository it stands in."""

    def __init__(self, definition: dg.JobDefinition, repository: dg.RepositoryDefinition) -> None:
        super().__init__(definition)
        self._repository = repository

    def get_repository_definition(self) -> dg.RepositoryDefinition:
        return self._repository


def _load(request: Request) -> tuple[_Job, Any]:
    """The job, and its code origin."""
    pointer = ReconstructableRepository.for_module(request.module, request.attribute, str(Path.cwd()))
    repository = kept.repository(request.module, request.attribute) or pointer.get_definition()
    if not repository.has_job(request.job):
        raise dg.DagsterInvariantViolationError(f"{request.module} has no job {request.job} any more.")
    return _Job(repository.get_job(request.job), repository), pointer.get_reconstructable_job(request.job).get_python_origin()


def _execute(instance: dg.DagsterInstance, request: Request, run_id: str) -> Response:
    job, origin = _load(request)
    definition = job.get_definition()
    wrong = asset_runs.wrong_partition(instance, definition, request.partition)
    if wrong:
        return _refusal(run_id, wrong)
    run = _find_or_create(instance, job, origin, request, run_id)
    if _cancelled(instance, run):
        return _refusal(run_id, _WAS_CANCELED.format(run_id))
    chosen = _chosen(request)
    granted: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if isinstance(request, StepRequest):
        known = KnownExecutionState(previous_retry_attempts={request.step: request.attempt} if request.attempt else {})
        granted, mode = _granted(definition, request.retries), RetryMode.DEFERRED
    else:
        known, mode = KnownExecutionState(), RetryMode.ENABLED
    plan = create_execution_plan(job, run_config=run.run_config, step_keys_to_execute=chosen, known_state=known)
    if isinstance(request, StepRequest) and _nothing_to_read(instance, plan, run_id, request.step):
        _report(instance, run, _KIND.STEP_SKIPPED, "what it reads was not made", step=request.step)
        return _close_too(instance, request, run_id, Response(run_id=run_id, success=False, skipped=True))
    events: list[DagsterEvent] = []
    with InstanceConcurrencyContext(instance, run) as concurrency, granted:
        steps = ExecuteRunWithPlanIterable(
            execution_plan=plan,
            iterator=functools.partial(_steps, concurrency=concurrency, several=isinstance(request, JobRequest)),
            execution_context_manager=PlanExecutionContextManager(
                job=job, retry_mode=mode, execution_plan=plan, run_config=run.run_config, dagster_run=run, instance=instance
            ),
        )
        try:
            events.extend(steps)
        except _CancelledError:
            return _refusal(run_id, _WAS_CANCELED.format(run_id))
    return _close_too(instance, request, run_id, _response(run_id, events, request))


class _CancelledError(Exception):
    """The run was cancelled in Dagster between two of its steps."""


def _steps(job_context: Any, execution_plan: Any, *, concurrency: InstanceConcurrencyContext, several: bool) -> Iterator[DagsterEvent]:
    """Execute steps; waits for their pools, as Dagster's own executors do, and begins none after the run was cancelled."""
    begin = job_context.for_step

    def for_step(*arguments: Any, **named: Any) -> Any:
        if _cancelled(job_context.instance, _run(job_context.instance, job_context.run_id)):
            raise _CancelledError
        return begin(*arguments, **named)

    if several:
        job_context.for_step = for_step
    yield from inner_plan_execution_iterator(job_context, execution_plan, instance_concurrency_context=concurrency)


def _chosen(request: Request) -> list[str] | None:
    if isinstance(request, StepRequest):
        return [request.step]
    only = request.only if isinstance(request, JobRequest) else ()
    return list(only or request.steps) or None


@contextlib.contextmanager
def _granted(job: dg.JobDefinition, retries: int) -> Iterator[None]:
    """Let Dagster retry as often as Airflow does, so that both agree on which attempt is the last one."""
    of_dagster = job.get_retry_policy_for_handle

    def policy(handle: Any) -> dg.RetryPolicy | None:
        own = of_dagster(handle)
        if own is None:
            return dg.RetryPolicy(max_retries=retries) if retries else None
        return dg.RetryPolicy(max_retries=retries, delay=own.delay, backoff=own.backoff, jitter=own.jitter)

    job.get_retry_policy_for_handle = policy  # type: ignore[method-assign]
    try:
        yield
    finally:
        # Another request in this process may be about the same definition.
        job.get_retry_policy_for_handle = of_dagster  # type: ignore[method-assign]


def _response(run_id: str, events: list[DagsterEvent], request: Request) -> Response:
    made, checks = [], []
    for event in events:
        if event.event_type is _KIND.ASSET_MATERIALIZATION and event.asset_key is not None:
            made.append(asset_runs.materialization_of(event.step_materialization_data.materialization))
        if event.event_type is _KIND.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            checks.append(
                CheckResult(
                    asset=found.asset_key.to_user_string(), name=found.check_name, passed=bool(found.passed), severity=found.severity.value
                )
            )
    failures = [event for event in events if event.is_step_failure]
    again = [event for event in events if event.is_step_up_for_retry]
    skipped = any(event.event_type is _KIND.STEP_SKIPPED for event in events)
    verdict = {event.step_key: event.event_type for event in events if event.event_type in _VERDICTS}
    if isinstance(request, StepRequest):
        done = verdict.get(request.step) is _KIND.STEP_SUCCESS
    else:
        done, skipped, again = not failures, False, []
    waits = [event.step_retry_data.seconds_to_wait for event in again]
    # With a retry policy Dagster wraps the interruption.
    interrupted = any(_interrupted(event.step_retry_data.error) for event in again)
    return Response(
        run_id=run_id,
        success=done,
        failed=tuple(str(event.step_key) for event in failures),
        skipped=skipped and not failures,
        retry=bool(again),
        # Without a policy in Dagster there is no wait, and Airflow has its own.
        wait_seconds=next((float(seconds) for seconds in waits if seconds), None),
        interrupted=interrupted,
        message="" if done else _INTERRUPTED if interrupted else asset_runs.cause_of(failures or again),
        materializations=tuple({one.asset: one for one in made}.values()),
        checks=tuple(checks),
    )


def _interrupted(error: Any) -> bool:
    """A signal is at the bottom of an error."""
    while error is not None:
        if error.cls_name == DagsterExecutionInterruptedError.__name__:
            return True
        error = error.cause
    return False


def _nothing_to_read(instance: dg.DagsterInstance, plan: Any, run_id: str, step_key: str) -> bool:
    """An optional output that this step reads was not made, the last time its step ran in this run."""
    step = plan.get_step_by_key(step_key)
    wanted = [list(given.get_step_output_handle_dependencies()) for given in step.step_inputs]
    optional = {handle for handles in wanted for handle in handles if not plan.get_step_output(handle).is_required}
    if not optional:
        return False
    ran: set[str] = set()
    made: set[Any] = set()
    kinds = {_KIND.STEP_START, _KIND.STEP_RESTARTED, _KIND.STEP_SKIPPED, _KIND.STEP_OUTPUT}
    for event in _events(instance, run_id, kinds):
        key = str(event.step_key)
        if event.event_type is _KIND.STEP_OUTPUT:
            made.add(event.step_output_data.step_output_handle)
        else:
            ran.add(key)
            made = {handle for handle in made if handle.step_key != key}
    return any(
        handles and all(handle in optional and handle.step_key in ran and handle not in made for handle in handles) for handles in wanted
    )


def _close_too(instance: dg.DagsterInstance, request: Request, run_id: str, response: Response) -> Response:
    if isinstance(request, StepRequest) and request.close and not response.retry:
        run = _run(instance, run_id)
        assert run is not None
        _close(instance, run, _bad(instance, run_id, request.steps or _steps_of(run), {}), request.dag_run_id)
    return response


def _finish(instance: dg.DagsterInstance, request: FinishRequest, run_id: str) -> Response:
    """Give the run its end: success when the last verdict of every step is success."""
    run = _run(instance, run_id)
    if run is None:
        return _refusal(run_id, "no step ran, so there is no Dagster run. Next: see the first failed task.")
    if _cancelled(instance, run):
        return _refusal(run_id, _WAS_CANCELED.format(run_id))
    bad = _bad(instance, run_id, request.steps or _steps_of(run), request.states)
    _close(instance, run, bad, request.dag_run_id)
    return Response(run_id=run_id, success=not bad, message=f"these steps did not succeed: {', '.join(bad)}." if bad else "")


def _steps_of(run: dg.DagsterRun) -> tuple[str, ...]:
    return tuple(run.step_keys_to_execute or ())


def _bad(instance: dg.DagsterInstance, run_id: str, steps: Iterable[str], states: Mapping[str, str | None]) -> list[str]:
    """The steps that keep the run from being a success; what was marked by hand in Airflow counts as it was marked."""
    last = {str(event.step_key): event.event_type_value for event in _events(instance, run_id, _VERDICTS)}
    bad = []
    for step in steps:
        marked = states.get(step)
        fine = last.get(step) in _FINE if marked not in ("success", "failed") else marked == "success"
        if not fine and marked != "skipped":
            bad.append(step)
    return bad


def _close(instance: dg.DagsterInstance, run: dg.DagsterRun, bad: list[str], dag_run_id: str) -> None:
    wanted = dg.DagsterRunStatus.FAILURE if bad else dg.DagsterRunStatus.SUCCESS
    if run.status is not wanted:
        kind = _KIND.RUN_FAILURE if bad else _KIND.RUN_SUCCESS
        said = f"; these steps did not succeed: {', '.join(bad)}" if bad else ""
        _report(instance, run, kind, f"Airflow finished the DAG run {dag_run_id}{said}")
    # A task that was killed still holds its places in Dagster's pools.
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _cancelled(instance: dg.DagsterInstance, run: dg.DagsterRun | None) -> bool:
    """The run was cancelled in Dagster; no process of Dagster's own will say that it has stopped, so this one does."""
    if run is not None and run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "Airflow starts no further step of it")
    return run is not None and run.status in _CANCELED


def _run(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun | None:
    # get_run_by_id looks up which columns the table has, each time, a sixth of the CPU of a step.
    return next(iter(instance.get_runs(dg.RunsFilter(run_ids=[run_id]), limit=1)), None)


def _find_or_create(instance: dg.DagsterInstance, job: _Job, origin: Any, request: Request, run_id: str) -> dg.DagsterRun:
    run = _run(instance, run_id)
    if run is not None:
        return _open_again(instance, run, request)
    definition = job.get_definition()
    # With its origin the run can be executed again from Dagster's UI.
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(request.location), "__repository__")
    tags = {
        **definition.run_tags,
        **request.tags,
        **_partition_tags(definition, request.partition),
        "airflow/dag_id": request.dag_id,
        "airflow/dag_run_id": request.dag_run_id,
        _ROUND: str(request.round),
    }
    config: Any = dict(request.run_config)
    plan = create_execution_plan(job, run_config=config, step_keys_to_execute=list(request.steps) or None)
    try:
        run = instance.create_run_for_job(
            job_def=definition,
            execution_plan=plan,
            run_id=run_id,
            run_config=config,
            tags=tags,
            status=dg.DagsterRunStatus.NOT_STARTED,
            remote_job_origin=RemoteJobOrigin(repository, definition.name),
            job_code_origin=origin,
        )
    except DagsterRunAlreadyExists:
        # Two first tasks at the same moment; the other one reports the start.
        run = _run(instance, run_id)
        assert run is not None
        return run
    return _start(instance, run, f"Airflow started the DAG run {request.dag_run_id}")


def _open_again(instance: dg.DagsterInstance, run: dg.DagsterRun, request: Request) -> dg.DagsterRun:
    """A run that has ended goes on when tasks were cleared since; one that was cancelled needs that."""
    newer = request.round > int(run.tags.get(_ROUND, "0"))
    if newer:
        instance.add_run_tags(run.run_id, {_ROUND: str(request.round)})
        # Its end first, and then its new start.
        _cancelled(instance, run)
    ended = run.status in _ENDED or run.status is dg.DagsterRunStatus.CANCELING
    if ended and (newer or run.status not in _CANCELED):
        return _start(instance, run, f"tasks of the DAG run {request.dag_run_id} were cleared in Airflow")
    return run


def _start(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> dg.DagsterRun:
    _report(instance, run, _KIND.RUN_START, why)
    started = _run(instance, run.run_id)
    assert started is not None
    return started


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


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: Any, message: str, *, step: str | None = None) -> None:
    event = DagsterEvent(event_type_value=kind.value, job_name=run.job_name, message=message, step_key=step)
    instance.report_dagster_event(event, run.run_id)


def _events(instance: dg.DagsterInstance, run_id: str, kinds: Any) -> Iterator[DagsterEvent]:
    """The events of a run, oldest first."""
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=kinds)
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event is not None:
                yield event
        if not page.has_more:
            return
        cursor = page.cursor


@contextlib.contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        # Keeps connections to its storage open: a step makes about 20 calls.
        instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=5)
        yield instance


def main() -> None:
    """Read one request, from the only argument or else from standard input; write one response as a line of standard output."""
    response = json.dumps(dataclasses.asdict(handle(request_of(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read()))))
    sys.stdout.write(f"\n{response}\n")
    if os.environ.get(RESPONSE):
        Path(os.environ[RESPONSE]).write_text(response)


if __name__ == "__main__":
    main()

__all__ = ["TESTED", "handle", "main"]
