"""What a DAG cannot have of a Dagster job, or has otherwise, by name and with the reason. Imports dagster, never airflow.

Not here: what a manifest says of a job (`job_manifest.py`).
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from airflow_bridge.manifest import Remark
from airflow_bridge.plan import PlannedStep

_ON_THIS_MACHINE = (dg.FilesystemIOManager,)


def remarks_of(definitions: dg.Definitions, job: dg.JobDefinition, planned: Sequence[PlannedStep]) -> list[Remark]:
    """The remarks of a job, errors first."""
    repository = definitions.get_repository_def()
    found = [
        *_values_between_steps(job, planned),
        *_dynamic(planned),
        *_schedules(repository, job),
        *_sensors(repository, job),
        *_assets(job),
        *_hooks(job),
    ]
    return sorted(found, key=lambda one: one.rank)


def _values_between_steps(job: dg.JobDefinition, planned: Sequence[PlannedStep]) -> Iterator[Remark]:
    """Steps run in processes of their own, so what goes between them has to be stored."""
    if any(step.dynamic for step in planned) and job.executor_def is dg.in_process_executor:
        # One task runs the whole job in one process.
        return
    local: dict[str, int] = {}
    for step in planned:
        for edge in step.edges:
            if edge.depends_only:
                continue
            kind = _io_manager(job.resource_defs.get(edge.io_manager))
            if kind is not None and issubclass(kind, dg.InMemoryIOManager):
                yield Remark(
                    level="error",
                    code="in-memory-io",
                    subject=f"{edge.upstream} -> {step.key}",
                    reason=f"IO manager {edge.io_manager!r} keeps the value in memory, and every task is a process of its own.",
                    next_step="store it with an IO manager that keeps it, such as FilesystemIOManager or a database's.",
                )
            elif kind is not None and issubclass(kind, _ON_THIS_MACHINE):
                local[edge.io_manager] = local.get(edge.io_manager, 0) + 1
    for name, count in sorted(local.items()):
        yield Remark(
            level="note",
            code="local-io",
            subject=name,
            reason=f"it keeps {count} values between steps in files.",
            next_step="give workers on several machines a folder in common, or an IO manager that keeps values in a database or a store.",
        )


def _io_manager(resource: Any) -> type | None:
    """The class behind an IO manager; None where it cannot be told before it is made."""
    if resource is dg.mem_io_manager:
        return dg.InMemoryIOManager
    function = getattr(resource, "resource_fn", None)
    if function is dg.fs_io_manager.resource_fn or getattr(function, "__name__", "").startswith("default_job_io_manager"):
        # The latter is what Dagster takes where a project names none.
        return dg.FilesystemIOManager
    if isinstance(_closure(function).get("value"), dg.IOManager):
        # IOManagerDefinition.hardcoded_io_manager, which Dagster puts around an IO manager that is given as such.
        return type(_closure(function)["value"])
    found = getattr(resource, "_configurable_resource_cls", None)
    return found if isinstance(found, type) else None


def _dynamic(planned: Sequence[PlannedStep]) -> Iterator[Remark]:
    for step in planned:
        if step.dynamic:
            yield Remark(
                level="warning",
                code="dynamic-steps",
                subject=step.key,
                reason="how often it runs is only known while the job runs, so one task runs the whole job.",
                next_step="none is needed; without DynamicOut every step is a task.",
            )
            return


def _schedules(repository: dg.RepositoryDefinition, job: dg.JobDefinition) -> Iterator[Remark]:
    for schedule in repository.schedule_defs:
        if schedule.job_name != job.name:
            continue
        if schedule.default_status is dg.DefaultScheduleStatus.RUNNING:
            yield Remark(
                level="warning",
                code="schedule-running",
                subject=schedule.name,
                reason="it is switched on in Dagster by default, so a DAG with a schedule would run the job twice.",
                next_step="set default_status=DefaultScheduleStatus.STOPPED, or leave the DAG without a schedule.",
            )
        if any(not one.__module__.startswith("dagster.") for one in _functions(_as_written(schedule))):
            yield Remark(
                level="warning",
                code="schedule-function",
                subject=schedule.name,
                reason="it computes whether, with which config or with which tags the job runs; only its times are converted.",
                next_step="give the DAG its config as run_config, or leave this schedule in Dagster.",
            )
        elif _config(_as_written(schedule)):
            yield Remark(
                level="warning",
                code="schedule-config",
                subject=schedule.name,
                reason="it has a run config of its own; only its times are converted.",
                next_step="give the DAG the same run_config, or give it to the job.",
            )


def _as_written(schedule: dg.ScheduleDefinition) -> dg.ScheduleDefinition:
    """The schedule that the project made: with resources, Dagster makes another one of it, which only calls what the first one calls."""
    first = _closure(getattr(schedule, "_execution_fn", None)).get("self")
    return _as_written(first) if isinstance(first, dg.ScheduleDefinition) and first is not schedule else schedule


def _functions(schedule: dg.ScheduleDefinition) -> list[Any]:
    """What a schedule calls at every tick."""
    executed = getattr(schedule, "_execution_fn", None)
    decorated = getattr(executed, "decorated_fn", executed)
    others = [getattr(schedule, name, None) for name in ("_run_config_fn", "_should_execute", "_tags_fn")]
    return [one for one in (decorated, *others) if one is not None]


def _config(schedule: dg.ScheduleDefinition) -> Any:
    """The run config that the schedule was given; None for none."""
    return _closure(getattr(schedule, "_run_config_fn", None)).get("run_config")


def _closure(function: Any) -> Mapping[str, Any]:
    """What a function took along from where it was made, by name."""
    return inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}


def _sensors(repository: dg.RepositoryDefinition, job: dg.JobDefinition) -> Iterator[Remark]:
    for sensor in repository.sensor_defs:
        if any(target.job_name == job.name for target in sensor.targets):
            yield Remark(
                level="warning",
                code="sensor",
                subject=sensor.name,
                reason="what starts the job is a function that Dagster's daemon calls; Airflow cannot.",
                next_step="leave it in Dagster, or give the DAG a schedule of Airflow Assets.",
            )


def _assets(job: dg.JobDefinition) -> Iterator[Remark]:
    graph = job.asset_layer.asset_graph
    for key in sorted(job.asset_layer.selected_asset_keys):
        node: Any = graph.get(key)
        if node.automation_condition is not None:
            yield Remark(
                level="warning",
                code="automation-condition",
                subject=key.to_user_string(),
                reason="when it is made is decided by Dagster's daemon, not by the job.",
                next_step="give the DAG a schedule, or schedule it by the Airflow Assets that it reads.",
            )
        policy = node.backfill_policy if node.partitions_def is not None else None
        if policy is not None and policy.max_partitions_per_run is None:
            yield Remark(
                level="note",
                code="single-run-backfill",
                subject=key.to_user_string(),
                reason="Dagster makes many partitions of it in one run; Airflow's backfill makes a run for each.",
                next_step='trigger the DAG with a range as partition: "first...last".',
            )


def _hooks(job: dg.JobDefinition) -> Iterator[Remark]:
    graph = job.asset_layer.asset_graph
    of_assets: list[Any] = [graph.get(key) for key in job.asset_layer.selected_asset_keys]
    hooks = {*job.hook_defs, *(hook for node in of_assets for hook in node.assets_def.hook_defs)}
    hooks |= {hook for node in job.nodes for hook in node.hook_defs}
    for hook in sorted(hooks, key=lambda one: one.name):
        yield Remark(
            level="note",
            code="hook",
            subject=hook.name,
            reason="it runs in the task of each step, as it does in Dagster.",
            next_step="do not tell of the same failure by an alert of the DAG.",
        )


__all__ = ["remarks_of"]
