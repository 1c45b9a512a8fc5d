"""A manifest to a DAG: reads one JSON file, imports neither dagster nor pandas.

    # airflow dag
    from airflow_bridge.dags import dags_from_folder
    globals().update(dags_from_folder("/path/to/manifests"))

Airflow parses the file again for every task; then only the running task is built.

Not here: its tasks (`tasks.py`).
"""

import contextlib
import datetime
import gc
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, TaskGroup, get_parsing_context

from airflow_bridge.alerts import deadline_arguments
from airflow_bridge.compat import (
    a_run_per_partition,
    airflow_asset,
    cron_trigger,
    deadline,
    partitions_at_runtime,
    running_task,
    when_assets_change,
)
from airflow_bridge.manifest import Manifest, ManifestError, load
from airflow_bridge.operators import PARTITION, RUN_CONFIG
from airflow_bridge.options import Options, options_of, read_yaml
from airflow_bridge.tasks import Tasks
from airflow_bridge.time_limit import TimedOut

DAGSTER = "dagster"
"""The schedule that the job has in Dagster."""
ASSETS = "assets"
"""Run when all assets that the job reads and does not make were made again."""
_EXAMPLES = 100
# A fixed date: a moving one would make a new DAG version at every parse.
_START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def dag_from_manifest(path: str | Path, *, dag_id: str | None = None, **settings: Any) -> DAG:
    """The DAG of one manifest: a task per step, a TaskGroup per asset group, and a last task that closes the Dagster run.

    Args:
        path: The manifest.
        dag_id: Name of the DAG; the job's name when None. Several DAGs may come from one manifest.
        settings: Those of `Options`, such as `mode`, `select`, `overrides` and `alerts`; everything else goes to Airflow's `DAG`, such as
            `start_date`, `default_args`, `tags`, and `schedule`. That is None by default: never the same job in two schedulers. DAGSTER
            stands for the schedule of the Dagster job, and of a job partitioned by time for a run per partition once it is over; ASSETS for
            a run whenever what it reads has changed.

    Raises:
        ManifestError: The manifest or a setting cannot be used; Airflow shows it as an import error.
    """
    with _without_collection():
        return _dag(path, dag_id, settings)


def _dag(path: str | Path, dag_id: str | None, settings: Mapping[str, Any]) -> DAG:
    manifest = load(Path(path))
    name = dag_id or manifest.job
    options, arguments = options_of(path, settings)
    only = running_task(name)
    tasks = Tasks(manifest, options, path, dag_id=name)
    scheduled = arguments.get("schedule")
    defaults: dict[str, Any] = {
        "start_date": _start(manifest),
        "catchup": False,
        "doc_md": _documentation(manifest),
        "tags": _tags(manifest),
    }
    if scheduled == DAGSTER:
        defaults["end_date"] = _end(manifest)
        defaults["is_paused_upon_creation"] = not any(one.running for one in manifest.schedules)
    if manifest.max_runtime_seconds is not None:
        defaults["dagrun_timeout"] = datetime.timedelta(seconds=manifest.max_runtime_seconds)
    alert = _deadline(manifest, options, name)
    if alert is not None:
        defaults["deadline"] = alert
    tags = arguments.get("tags") or ()
    if isinstance(tags, str):
        raise ManifestError(f"{path}: tags={tags!r} is a text, not a list. Next: write tags=[{tags!r}].")
    arguments = {**defaults, **arguments, "tags": sorted({*defaults["tags"], *tags})}
    arguments["schedule"] = _schedule(manifest, tasks, scheduled, path)
    if arguments.get("dagrun_timeout") is not None:
        before = arguments.get("on_failure_callback") or []
        limit = TimedOut(tasks.bond, options.alerts)
        arguments["on_failure_callback"] = [*(before if isinstance(before, list) else [before]), limit]
    with DAG(name, **arguments) as dag:
        tasks.add(only)
    _add_parameters(dag, manifest)
    return dag


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """While many small objects are made: a collection would walk all that Airflow has imported, for nothing."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def task_group_from_manifest(path: str | Path, *, group_id: str | None = None, **settings: Any) -> TaskGroup:
    """The tasks of one manifest as a TaskGroup of the DAG that is open, beside tasks of other kinds.

    Args:
        path: The manifest.
        group_id: Name of the group; the job's name when None. Ids of its tasks begin with it.
        settings: Those of `Options`; `groups` and `deadline` have no effect.

    Raises:
        ManifestError: The manifest or a setting cannot be used, or no DAG is open.
    """
    manifest = load(Path(path))
    options, rest = options_of(path, {**settings, "groups": False})
    if rest:
        raise ManifestError(f"{path}: a TaskGroup knows no {', '.join(sorted(rest))}. Next: give that to the DAG around it.")
    group = TaskGroup(group_id or manifest.job, tooltip=manifest.description or f"Dagster job {manifest.job}")
    dag = group.dag
    if dag is None:
        raise ManifestError(f"{path}: there is no DAG around the TaskGroup. Next: call it inside `with DAG(...):`.")
    only = running_task(dag.dag_id)
    tasks = Tasks(manifest, options, path, dag_id=dag.dag_id, group=str(group.group_id))
    with group:
        tasks.add(only if only is not None and only.startswith(f"{group.group_id}.") else None)
    _add_parameters(dag, manifest)
    return group


def dags_from_folder(folder: str | Path, *, file: str | Path | None = None, **settings: Any) -> dict[str, DAG]:
    """One DAG per manifest in a folder, by DAG id. A relative folder lies beside the calling file.

    Args:
        folder: Of manifests.
        file: YAML file with settings: `defaults` for all DAGs, and `dags` by DAG id, each with `job` where that is not its name. Jobs that
            it does not name have a DAG of their name; `only_named: true` leaves them out. Relative to the folder.
        settings: As in `dag_from_manifest`; those of the file win.

    Raises:
        ManifestError: The folder holds no manifest, one cannot be used, or the file is wrong.
    """
    # Airflow's working directory says nothing, so a relative folder lies beside the DAG file that calls.
    folder = (Path(sys._getframe(1).f_globals.get("__file__", "")).parent / folder).absolute()
    paths = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if not paths:
        raise ManifestError(f"{folder}: there is no manifest in this folder. Next: run `airflow-bridge export -m MODULE -o {folder}`.")
    wanted = _wanted(folder / file, paths, settings) if file is not None else {name: (name, settings) for name in paths}
    running = get_parsing_context().dag_id
    if running in wanted:
        wanted = {running: wanted[running]}
    return {name: dag_from_manifest(paths[job], dag_id=name, **given) for name, (job, given) in wanted.items()}


def _wanted(file: Path, paths: dict[str, Path], settings: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Jobs and settings of the DAGs of a settings file, by DAG id."""
    content = read_yaml(file)
    unknown = sorted(str(name) for name in content if name not in ("defaults", "dags", "only_named"))
    if unknown:
        raise ManifestError(f"{file}: {', '.join(unknown)} is unknown; known: dags, defaults, only_named. Next: correct it.")
    common = {**settings, **_mapping(file, "defaults", content.get("defaults"))}
    wanted: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, given in _mapping(file, "dags", content.get("dags")).items():
        own = _mapping(file, f"DAG {name}", given)
        job = own.pop("job", name)
        if "dag_id" in own:
            raise ManifestError(f"{file}: DAG {name} has a dag_id; its name is its id. Next: leave dag_id out.")
        if job not in paths:
            raise ManifestError(
                f"{file}: DAG {name} is of job {job!r}, which has no manifest; there are {', '.join(paths)}. Next: correct `job`."
            )
        wanted[str(name)] = (job, {**common, **own})
    if not isinstance(content.get("only_named", False), bool):
        raise ManifestError(f"{file}: only_named={content['only_named']!r} is neither true nor false. Next: correct it.")
    if not content.get("only_named"):
        named = {job for job, _ in wanted.values()}
        wanted |= {name: (name, common) for name in paths if name not in named and name not in wanted}
    return wanted


def _mapping(file: Path, name: str, given: Any) -> dict[str, Any]:
    """A part of a settings file; nothing is an empty one."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ManifestError(f"{file}: {name} is no mapping. Next: write name: value pairs.")
    return dict(given)


def _schedule(manifest: Manifest, tasks: Tasks, given: Any, path: str | Path) -> Any:
    """The schedule of a DAG: partitions get a timetable that knows their keys."""
    if given is None:
        return partitions_at_runtime() if manifest.partitions else None
    if given == ASSETS:
        keys = sorted({key for step in tasks.steps for key in step.external})
        if not keys:
            raise ManifestError(f'{path}: job {manifest.job} reads no asset of another job. Next: give another schedule, such as "@daily".')
        return when_assets_change([airflow_asset(key) for key in keys], partitioned=bool(manifest.partitions))
    if isinstance(given, str) and given != DAGSTER and given.isidentifier():
        raise ManifestError(
            f'{path}: there is no schedule {given!r}. Next: give "{DAGSTER}", "{ASSETS}", a cron expression, or a preset such as "@daily".'
        )
    if given != DAGSTER:
        return given
    if len(manifest.partitions) == 1 and manifest.partitions[0].kind == "time":
        one = manifest.partitions[0]
        return a_run_per_partition(str(one.cron), str(one.timezone), str(one.format), one.offset)
    if manifest.partitions:
        raise ManifestError(
            f"{path}: the partitions of job {manifest.job} are not by time alone, so no schedule follows from them. "
            "Next: leave schedule out and trigger the DAG with a partition key, or give a timetable of your own."
        )
    if not manifest.schedules:
        raise ManifestError(f'{path}: job {manifest.job} has no schedule in Dagster. Next: give one, such as schedule="@daily".')
    zones = sorted({one.timezone for one in manifest.schedules})
    if len(zones) > 1:
        raise ManifestError(
            f"{path}: job {manifest.job} has schedules in several time zones ({', '.join(zones)}). "
            "Next: make a DAG for each with dag_id and schedule."
        )
    return cron_trigger([cron for one in manifest.schedules for cron in one.cron], zones[0])


def _start(manifest: Manifest) -> datetime.datetime:
    times = [datetime.datetime.fromisoformat(one.start) for one in manifest.partitions if one.start is not None]
    return max(times, default=_START)


def _end(manifest: Manifest) -> datetime.datetime | None:
    """When the last partition is over."""
    times = [datetime.datetime.fromisoformat(one.end) for one in manifest.partitions if one.end is not None]
    return min(times, default=None)


def _deadline(manifest: Manifest, options: Options, dag_id: str) -> Any:
    fresh = datetime.timedelta(seconds=manifest.fresh_seconds) if manifest.fresh_seconds is not None else None
    interval = options.deadline or fresh
    if interval is None or not any("deadline" in alert.on for alert in options.alerts):
        return None
    return deadline(interval, "airflow_bridge.alerts.deadline_missed", deadline_arguments(options.alerts, dag_id, interval))


def _add_parameters(dag: Any, manifest: Manifest) -> None:
    """Give a DAG its parameters, after its tasks: Airflow copies those that are there before into every task."""
    for name, parameter in _parameters(manifest).items():
        if name not in dag.params:
            dag.params[name] = parameter


def _parameters(manifest: Manifest) -> dict[str, Any]:
    """The parameter that names the partition of a run, where its key does not, and the one with its run config."""
    parameters: dict[str, Any] = {}
    if manifest.partitions:
        names = ", ".join(one.name or one.kind for one in manifest.partitions)
        says = f'Partition key ({names}), or a range "first...last"; not needed where the run has a partition key of its own.'
        only = manifest.partitions[0].keys[:_EXAMPLES] if len(manifest.partitions) == 1 else ()
        examples: dict[str, Any] = {"examples": list(only)} if only else {}
        parameters[PARTITION] = Param(None, type=["null", "string"], description=says, **examples)
    if manifest.config:
        schema = {**manifest.config, "type": ["null", "object"]}
        parameters[RUN_CONFIG] = Param(None, description="Dagster's run config for this run.", **schema)
    return parameters


def _tags(manifest: Manifest) -> list[str]:
    kinds = {kind for step in manifest.steps for kind in step.kinds}
    own = {f"{name}={value}" if value else name for name, value in manifest.tags.items()}
    # Airflow keeps at most 100 characters of a tag.
    return ["dagster", *sorted(tag for tag in kinds | own if len(tag) <= 100)]


def _documentation(manifest: Manifest) -> str:
    lines = [manifest.description or "", "", f"Dagster job `{manifest.job}` of `{manifest.code.module}`, one Dagster run per DAG run."]
    if manifest.environment:
        lines += ["", f"Variables it reads: {', '.join(f'`{name}`' for name in manifest.environment)}."]
    told = [remark for remark in manifest.remarks if remark.level != "note"]
    if told:
        lines += ["", "Not as in Dagster:", "", *(f"- {remark.subject}: {remark.reason}" for remark in told)]
    return "\n".join(lines).strip()


__all__ = ["ASSETS", "DAGSTER", "dag_from_manifest", "dags_from_folder", "task_group_from_manifest"]
