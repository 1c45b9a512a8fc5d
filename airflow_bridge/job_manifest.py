"""What a Dagster job consists of, as a manifest. Imports dagster, never airflow.

Not here: which jobs, and where the files go (`export.py`); what a DAG cannot have of a job (`remarks.py`).
"""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from airflow_bridge.config_schema import config_schema
from airflow_bridge.manifest import VERSION, Check, Code, Dimension, Manifest, Retry, Schedule, Step
from airflow_bridge.plan import PlannedStep, plan_of
from airflow_bridge.remarks import remarks_of

_KIND_TAG = "dagster/kind/"
_PREFIX = "airflow/"


class ExportError(Exception):
    """A job cannot be exported; the message names it, the cause and the next step."""


class Project:
    """A project's definitions, and what several of its jobs need to know of each other.

    Attributes:
        definitions: Of the project.
        code: Where they are found at run time.
        jobs: Jobs by name, those that Dagster makes by itself and those without any step left out.
    """

    def __init__(self, definitions: dg.Definitions, code: Code) -> None:
        self.definitions = definitions
        self.code = code
        self.repository = definitions.get_repository_def()
        self.jobs = {job.name: job for job in self.repository.get_all_jobs() if not job.name.startswith("__") and job.nodes}
        self._reads = {name: set(_external(job)) for name, job in self.jobs.items()}

    def manifest(self, name: str) -> Manifest:
        """The manifest of one job.

        Raises:
            ExportError: The job has something that a manifest cannot say.
        """
        job = self.jobs[name]
        planned = plan_of(job)
        read_elsewhere = set().union(*(keys for other, keys in self._reads.items() if other != name))
        whole = any(step.dynamic for step in planned)
        resources = set(job.resource_defs)
        variables = {name for name, users in self.repository.get_env_vars_by_top_level_resource().items() if users & resources}
        return Manifest(
            version=VERSION,
            job=name,
            code=self.code,
            description=job.description,
            tags={key: value for key, value in sorted(job.tags.items()) if not key.startswith("dagster/")},
            schedules=tuple(_schedules(self.repository, name)),
            partitions=_partitions(job),
            steps=tuple(_steps(job, planned, read_elsewhere)),
            whole=whole,
            config=config_schema(job),
            environment=tuple(sorted(variables)),
            max_runtime_seconds=_number(job.tags.get("dagster/max_runtime")),
            fresh_seconds=_fresh(job),
            remarks=tuple(remarks_of(self.definitions, job, planned)),
        )  # fmt: skip


def _selected(job: dg.JobDefinition) -> list[Any]:
    """The nodes of the job's assets."""
    graph = job.asset_layer.asset_graph
    return [graph.get(key) for key in sorted(job.asset_layer.selected_asset_keys)]


def _external(job: dg.JobDefinition) -> Iterator[dg.AssetKey]:
    """Keys of the assets that a job reads and does not make."""
    own = job.asset_layer.selected_asset_keys
    for node in _selected(job):
        yield from (key for key in node.parent_keys if key not in own)


def _steps(job: dg.JobDefinition, planned: list[PlannedStep], read_elsewhere: set[dg.AssetKey]) -> Iterator[Step]:
    graph = job.asset_layer.asset_graph
    own = job.asset_layer.selected_asset_keys
    made_by = {key: step.key for step in planned for key in step.assets}
    read_by_steps: dict[dg.AssetKey, set[str]] = {}
    for key, step in made_by.items():
        for parent in graph.get(key).parent_keys:
            if made_by.get(parent) != step:
                read_by_steps.setdefault(parent, set()).add(step)
    of_node: dict[str, list[Any]] = {}
    for one in planned:
        of_node.setdefault(one.node, []).extend(graph.get(key) for key in one.assets)
    for one in planned:
        nodes = [graph.get(key) for key in one.assets]
        # A step that only checks stands in the group of the asset it checks, a step inside a graph asset in the group of that one.
        about = nodes or [graph.get(key) for key, _ in one.checks] or of_node[one.node]
        outside = {parent for node in nodes for parent in node.parent_keys if parent not in own}
        yield Step(
            key=one.key,
            node=one.node,
            assets=tuple(key.to_user_string() for key in one.assets),
            checks=tuple(
                Check(asset=key.to_user_string(), name=name, blocking=graph.get(dg.AssetCheckKey(key, name)).blocking)
                for key, name in one.checks
            ),
            upstream=one.upstream,
            external=tuple(sorted(key.to_user_string() for key in outside)),
            outlets=tuple(key.to_user_string() for key in one.assets if key in read_elsewhere or not read_by_steps.get(key)),
            group=about[0].group_name if about else None,
            description=_description(job, one, nodes),
            owners=tuple(dict.fromkeys(owner for node in nodes for owner in node.owners)),
            kinds=tuple(sorted({kind for node in nodes for kind in node.kinds})),
            tags={
                key: value for node in nodes for key, value in sorted(node.tags.items()) if not key.startswith(_KIND_TAG)
            },
            code_version=next((node.code_version for node in nodes if node.code_version is not None), None),
            pool=one.pool,
            priority=int(_number(one.tags.get("dagster/priority")) or 0),
            retry=_retry(one.retry_policy),
            airflow=_for_airflow(one, nodes),
        )  # fmt: skip


def _description(job: dg.JobDefinition, one: PlannedStep, nodes: list[Any]) -> str | None:
    told = [node.description for node in nodes if node.description]
    if told:
        return "\n\n".join(dict.fromkeys(told))
    for key, name in one.checks:
        described: Any = job.asset_layer.asset_graph.get(dg.AssetCheckKey(key, name)).description
        if described:
            return str(described)
    return None


def _for_airflow(step: PlannedStep, nodes: list[Any]) -> dict[str, Any]:
    """What the metadata says to Airflow, as JSON."""
    found: dict[str, Any] = {}
    for node in nodes:
        for name, value in node.metadata.items():
            if name.startswith(_PREFIX):
                plain = value.value if isinstance(value, dg.MetadataValue) else value
                try:
                    json.dumps(plain)
                except (TypeError, ValueError) as error:
                    raise ExportError(
                        f"asset {node.key.to_user_string()}: metadata {name!r} is a {type(plain).__name__}, which JSON cannot hold. "
                        "Next: give text, numbers, lists or dicts."
                    ) from error
                found[name.removeprefix(_PREFIX)] = plain
    for name, value in step.tags.items():
        if name == "dagster-k8s/config":
            found.setdefault("k8s_config", json.loads(value))
    return dict(sorted(found.items()))


def _retry(policy: dg.RetryPolicy | None) -> Retry | None:
    if policy is None:
        return None
    return Retry(
        max_retries=policy.max_retries,
        delay_seconds=float(policy.delay or 0),
        backoff=policy.backoff.value.lower() if policy.backoff else "constant",
        jitter=policy.jitter.value.lower() if policy.jitter else "none",
    )


def _schedules(repository: dg.RepositoryDefinition, job: str) -> Iterator[Schedule]:
    for schedule in sorted(repository.schedule_defs, key=lambda one: one.name):
        if schedule.job_name != job:
            continue
        crons = schedule.cron_schedule
        yield Schedule(
            name=schedule.name,
            cron=(crons,) if isinstance(crons, str) else tuple(crons),
            timezone=schedule.execution_timezone or "UTC",
            running=schedule.default_status is dg.DefaultScheduleStatus.RUNNING,
        )


def _partitions(job: dg.JobDefinition) -> tuple[Dimension, ...]:
    definition = job.partitions_def
    if definition is None:
        return ()
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return tuple(_dimension(one.name, one.partitions_def, job.name) for one in definition.partitions_defs)
    return (_dimension("", definition, job.name),)


def _dimension(name: str, definition: dg.PartitionsDefinition, job: str) -> Dimension:
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return Dimension(
            name=name,
            kind="time",
            cron=definition.cron_schedule,
            timezone=definition.timezone,
            format=definition.fmt,
            start=definition.start.isoformat(),
            end=definition.end.isoformat() if definition.end is not None else None,
            offset=definition.end_offset,
        )
    if isinstance(definition, dg.StaticPartitionsDefinition):
        return Dimension(name=name, kind="static", keys=tuple(definition.get_partition_keys()))
    if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name is not None:
        return Dimension(name=name, kind="dynamic", dynamic=definition.name)
    raise ExportError(f"job {job}: partitions of the kind {type(definition).__name__} are not converted. Next: leave it out by --job.")


def _fresh(job: dg.JobDefinition) -> float | None:
    """The shortest time within which one of the job's assets has to be made again."""
    windows = [node.freshness_policy for node in _selected(job) if node.freshness_policy is not None]
    seconds = [one.fail_window.to_timedelta().total_seconds() for one in windows if hasattr(one, "fail_window")]
    return min(seconds, default=None)


def _number(text: Any) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


__all__ = ["ExportError", "Project"]
