"""One request, one Dagster run of its own: materialises the assets of one task, by what Dagster publishes and nothing else.

For a release of Dagster that the contract tests of `runner.py` do not pass with. Imports no airflow.

Not here: steps of a shared run (`runner.py`).
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from airflow_bridge.launcher import AssetsRequest, CheckResult, Materialization, Response

_JOB = "airflow_task"
_RANGE = "..."


def materialize(request: AssetsRequest) -> Response:
    """Materialise the assets and evaluate the checks; retries of Dagster happen inside the run."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: Any = getattr(importlib.import_module(request.module), request.attribute)
    definitions: dg.Definitions = found() if callable(found) else found
    keys = [dg.AssetKey.from_user_string(key) for key in request.assets]
    checks = [
        dg.AssetCheckKey(dg.AssetKey.from_user_string(asset), name) for asset, _, name in (one.rpartition(":") for one in request.checks)
    ]
    selection = dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks)
    original = definitions.resolve_job_def(request.job)
    job = dg.define_asset_job(_JOB, selection=selection)
    # The name of the task's job stands in a definition of its own, beside all that the project defines.
    undeclared = "io_manager" not in (definitions.resources or {})
    # Without this, a run in this process would keep values in memory where Dagster otherwise keeps them in files.
    resources = {"io_manager": dg.fs_io_manager} if undeclared else {}
    extended = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job], resources=resources))
    tags = {
        **original.run_tags,
        **request.tags,
        "airflow/dag_id": request.dag_id,
        "airflow/dag_run_id": request.dag_run_id,
        "airflow/task_id": request.task,
        "airflow/try_number": str(request.try_number),
    }
    first, _, last = (request.partition or "").partition(_RANGE)
    if last:
        tags |= {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    ops = request.run_config.get("ops", {})
    chosen = extended.resolve_job_def(_JOB)
    names = {node.name for node in chosen.graph.nodes}
    config = {**request.run_config, **({"ops": {name: one for name, one in ops.items() if name in names}} if ops else {})}
    with dg.DagsterInstance.get() as instance:
        wrong = wrong_partition(instance, original, request.partition)
        if wrong:
            return Response(run_id=request.run_id, success=False, message=wrong)
        result = chosen.execute_in_process(
            instance=instance,
            run_id=request.run_id,
            run_config=config,
            partition_key=request.partition if first and not last else None,
            tags=tags,
            raise_on_error=False,
        )
    made = tuple(materialization_of(event.materialization) for event in result.get_asset_materialization_events())
    evaluated = tuple(
        CheckResult(asset=one.asset_key.to_user_string(), name=one.check_name, passed=bool(one.passed), severity=one.severity.value)
        for one in result.get_asset_check_evaluations()
    )
    return Response(
        run_id=result.run_id,
        success=result.success,
        message="" if result.success else cause_of(result.get_step_failure_events()),
        materializations=made,
        checks=evaluated,
    )


def wrong_partition(instance: dg.DagsterInstance, job: dg.JobDefinition, partition: str | None) -> str:
    """Why a run of the job cannot have this partition, or range of partitions; "" when it can."""
    definition = job.partitions_def
    if definition is None:
        return f"job {job.name} has no partitions, and {partition!r} was asked for. Next: trigger it without." if partition else ""
    if not partition:
        return (
            f"job {job.name} has partitions, and the DAG run names none. Next: trigger it with a partition key, or with the parameter "
            '{"partition": "..."}; a range is "first...last".'
        )
    keys = partition.split(_RANGE)
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        for key in keys:
            if not definition.has_partition_key(key):
                return f"{key!r} is no partition of job {job.name}. Next: trigger it with one that is."
        known = definition.get_partition_keys() if len(keys) == 2 else []
    if len(keys) > 2 or (known and known.index(keys[0]) > known.index(keys[1])):
        return f'{partition!r} is no range of partitions of job {job.name}. Next: write it as "first...last", the earlier one first.'
    return ""


def materialization_of(made: dg.AssetMaterialization) -> Materialization:
    """What a materialisation says, as the response has it."""
    count: Any = made.metadata.get("dagster/row_count") or made.metadata.get("dagster/partition_row_count")
    return Materialization(
        asset=made.asset_key.to_user_string(),
        row_count=int(count.value) if count is not None and count.value is not None else None,
        data_version=(made.tags or {}).get("dagster/data_version"),
        # A key of several dimensions is a str of Dagster's own, which Airflow cannot send.
        partitions=(str(made.partition),) if made.partition else (),
    )


def cause_of(events: Sequence[Any]) -> str:
    """The cause of the first failure among events of steps, in its own words."""
    for event in events:
        data: Any = event.event_specific_data
        told = getattr(data, "user_failure_data", None)
        if told is not None and told.description:
            return str(told.description)
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return f"step {event.step_key} failed: {error.message.strip()}"
    return "it did not succeed. Next: see the log above."


__all__ = ["cause_of", "materialization_of", "materialize", "wrong_partition"]
