"""A manifest to a DAG: reads one JSON file, imports neither dagster nor pandas.

    # airflow dag
    from airflow_bridge.dags import dags_from_folder
    globals().update(dags_from_folder("/path/to/manifests"))

Airflow parses the file again for every task; then only the running task is built.

Not here: what the tasks do (`operators.py`).
"""

import datetime
import sys
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, TaskGroup, get_parsing_context

from airflow_bridge.compat import a_run_per_partition, cron_trigger, partitions_at_runtime
from airflow_bridge.launcher import Launcher
from airflow_bridge.manifest import Manifest, ManifestError, Step, load
from airflow_bridge.operators import PARTITION, FinishOperator, StepOperator

FINISH = "finish"
DAGSTER = "dagster"
"""The schedule that the job has in Dagster."""
# A fixed date: a moving one would make a new DAG version at every parse.
_START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def dag_from_manifest(path: str | Path, *, dag_id: str | None = None, launcher: Launcher | None = None, **options: Any) -> DAG:
    """The DAG of one manifest: a task per step, a TaskGroup per asset group, and a last task that closes the Dagster run.

    Args:
        path: The manifest.
        dag_id: Name of the DAG; the job's name when None.
        launcher: How tasks reach the runner; in their own process when None.
        options: Everything else that `DAG` takes, such as `start_date`, `default_args`, `tags`, and `schedule`. That is None by default:
            never the same job in two schedulers. DAGSTER stands for the schedule of the Dagster job, and of a job partitioned by time for
            a run per partition once it is over.

    Raises:
        ManifestError: The manifest cannot be used; Airflow shows it as an import error.
    """
    manifest = load(Path(path))
    context = get_parsing_context()
    name = dag_id or manifest.job
    only = context.task_id if context.dag_id == name else None
    options = {"start_date": _start(manifest), "catchup": False, "doc_md": _documentation(manifest), **options}
    if options.get("schedule") == DAGSTER:
        options.setdefault("end_date", _end(manifest))
    options["schedule"] = _schedule(manifest, options.get("schedule"), path)
    options["params"] = {**_parameters(manifest), **(options.get("params") or {})}
    options.setdefault("tags", ["dagster"])
    with DAG(name, **options) as dag:
        _add_tasks(manifest, launcher, only)
    return dag


def dags_from_folder(folder: str | Path, **options: Any) -> dict[str, DAG]:
    """One DAG per manifest in a folder, by DAG id; options as in `dag_from_manifest`. A relative folder lies beside the calling file.

    Raises:
        ManifestError: The folder holds no manifest, or one cannot be used.
    """
    # Airflow's working directory says nothing, so a relative folder lies beside the DAG file that calls.
    folder = (Path(sys._getframe(1).f_globals.get("__file__", "")).parent / folder).absolute()
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ManifestError(f"{folder}: there is no manifest in this folder. Next: run `airflow-bridge export -m MODULE -o {folder}`.")
    running = get_parsing_context().dag_id
    wanted = [path for path in paths if running in (None, path.stem)] or paths
    return {dag.dag_id: dag for dag in (dag_from_manifest(path, **options) for path in wanted)}


def _schedule(manifest: Manifest, given: Any, path: str | Path) -> Any:
    """The schedule of a DAG: partitions get a timetable that knows their keys."""
    if given is None:
        return partitions_at_runtime() if manifest.partitions else None
    if given != DAGSTER:
        return given
    if len(manifest.partitions) == 1 and manifest.partitions[0].kind == "time":
        one = manifest.partitions[0]
        return a_run_per_partition(str(one.cron), str(one.timezone), str(one.format))
    if manifest.partitions:
        raise ManifestError(
            f"{path}: the partitions of job {manifest.job} are not by time alone, so no schedule follows from them. "
            "Next: leave schedule out and trigger the DAG with a partition key, or give a timetable of your own."
        )
    if manifest.schedule is None:
        raise ManifestError(f'{path}: job {manifest.job} has no schedule in Dagster. Next: give one, such as schedule="@daily".')
    return cron_trigger(manifest.schedule.cron, manifest.schedule.timezone)


def _start(manifest: Manifest) -> datetime.datetime:
    times = [datetime.datetime.fromisoformat(one.start) for one in manifest.partitions if one.start is not None]
    return max(times, default=_START)


def _end(manifest: Manifest) -> datetime.datetime | None:
    """When the last partition is over."""
    times = [datetime.datetime.fromisoformat(one.end) for one in manifest.partitions if one.end is not None]
    return min(times, default=None)


def _parameters(manifest: Manifest) -> dict[str, Any]:
    """The parameter that names the partition of a run, where its key does not."""
    if not manifest.partitions:
        return {}
    names = ", ".join(one.name or one.kind for one in manifest.partitions)
    says = f'Partition key ({names}), or a range "first...last"; not needed where the run has a partition key of its own.'
    return {PARTITION: Param(None, type=["null", "string"], description=says)}


def _add_tasks(manifest: Manifest, launcher: Launcher | None, only: str | None) -> None:
    shared: dict[str, Any] = {"code": manifest.code, "job": manifest.job, "launcher": launcher}
    groups: dict[str, TaskGroup] = {}
    tasks: dict[str, StepOperator] = {}
    for step in manifest.steps:
        if only not in (None, step.key):
            continue
        if step.group is not None and step.group not in groups:
            # Ids without the group's prefix stay the same when an asset moves to another group.
            groups[step.group] = TaskGroup(f"group_{step.group}", prefix_group_id=False, tooltip=f"asset group {step.group}")
        tasks[step.key] = StepOperator(
            task_id=step.key,
            step=step.key,
            task_group=groups.get(step.group) if step.group is not None else None,
            doc_md=step.description,
            **_owner(step),
            **_retries(step),
            **shared,
        )
    if only is None:
        for step in manifest.steps:
            for upstream in step.upstream:
                tasks[upstream].set_downstream(tasks[step.key])
    if only in (None, FINISH):
        steps = tuple(step.key for step in manifest.steps)
        finish = FinishOperator(task_id=FINISH, steps=steps, trigger_rule="all_done", retries=2, **shared)
        leaves = [task for task in tasks.values() if not task.downstream_list]
        if leaves:
            finish.set_upstream(leaves)


def _owner(step: Step) -> dict[str, str]:
    return {"owner": step.owners[0]} if step.owners else {}


def _retries(step: Step) -> dict[str, Any]:
    if step.retry is None:
        return {"retries": 0}
    return {
        "retries": step.retry.max_retries,
        "retry_delay": datetime.timedelta(seconds=step.retry.delay_seconds),
        "retry_exponential_backoff": step.retry.backoff == "exponential",
    }


def _documentation(manifest: Manifest) -> str:
    lines = [manifest.description or "", "", f"Dagster job `{manifest.job}` of `{manifest.code.module}`, one Dagster run per DAG run."]
    return "\n".join(lines).strip()


__all__ = ["DAGSTER", "dag_from_manifest", "dags_from_folder"]
