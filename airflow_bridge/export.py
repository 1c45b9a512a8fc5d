"""Dagster definitions to manifests: a build step, run where the project is installed.

Not here: anything of Airflow; how a plan is read (`runner.py`).
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from airflow_bridge.manifest import VERSION, Code, Dimension, Manifest, Retry, Schedule, Step, dump
from airflow_bridge.runner import PlannedStep, plan_of


class ExportError(Exception):
    """A job cannot be exported; the message names it, the cause and the next step."""


def export(module: str, folder: Path, *, attribute: str = "defs", jobs: Sequence[str] = (), location: str | None = None) -> list[Path]:
    """Write one manifest per job.

    Args:
        module: Importable module that holds the definitions.
        folder: Where `<job>.json` goes; made when missing.
        attribute: Name of the Definitions in the module.
        jobs: Names of the jobs; empty for all of them.
        location: Name of the code location in Dagster's workspace; the module's name when None.

    Returns:
        The files, in order of job names.

    Raises:
        ExportError: No such module, attribute or job, or a job that cannot run step by step.
    """
    definitions = _definitions(module, attribute)
    known = {job.name: job for job in definitions.get_repository_def().get_all_jobs() if not job.name.startswith("__")}
    unknown = sorted(set(jobs) - set(known))
    if unknown:
        raise ExportError(f"{module}: there are no jobs {unknown}; known: {sorted(known)}. Next: correct --job.")
    if not known:
        raise ExportError(f"{module}: the definitions hold no job. Next: add one with dagster.define_asset_job.")
    folder.mkdir(parents=True, exist_ok=True)
    code = Code(module=module, attribute=attribute, location=location or module)
    written = []
    for name in sorted(jobs or known):
        manifest = _manifest(definitions, known[name], code)
        path = folder / f"{name}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(dump(manifest), encoding="utf-8")
        partial.replace(path)
        written.append(path)
    return written


def _definitions(module: str, attribute: str) -> dg.Definitions:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        loaded: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ExportError(f"{module}: {error}. Next: name an importable module with -m, and its Definitions with -a.") from error
    if callable(loaded):
        loaded = loaded()
    if not isinstance(loaded, dg.Definitions):
        raise ExportError(f"{module}.{attribute} is a {type(loaded).__name__}, not Definitions. Next: name them with -a.")
    return loaded


def _manifest(definitions: dg.Definitions, job: dg.JobDefinition, code: Code) -> Manifest:
    specs = {spec.key: spec for assets in definitions.assets or [] if isinstance(assets, dg.AssetsDefinition) for spec in assets.specs}
    steps = tuple(_step(planned, specs) for planned in plan_of(job))
    return Manifest(
        version=VERSION,
        job=job.name,
        description=job.description,
        code=code,
        schedule=_schedule(definitions, job.name),
        partitions=_partitions(job),
        steps=steps,
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
        )
    if isinstance(definition, dg.StaticPartitionsDefinition):
        return Dimension(name=name, kind="static", keys=tuple(definition.get_partition_keys()))
    if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name is not None:
        return Dimension(name=name, kind="dynamic", dynamic=definition.name)
    raise ExportError(f"job {job}: partitions of the kind {type(definition).__name__} are not converted. Next: leave it out by --job.")


def _step(planned: PlannedStep, specs: dict[dg.AssetKey, dg.AssetSpec]) -> Step:
    own = [specs[key] for key in planned.assets if key in specs]
    # A step that only checks stands in the group of the asset it checks.
    about = own or [specs[key] for key, _ in planned.checks if key in specs]
    return Step(
        key=planned.key,
        assets=tuple(key.to_user_string() for key in planned.assets),
        checks=tuple(f"{key.to_user_string()}:{name}" for key, name in planned.checks),
        upstream=planned.upstream,
        group=about[0].group_name if about else None,
        description=own[0].description if own else None,
        owners=tuple(sorted({owner for spec in own for owner in spec.owners})),
        kinds=tuple(sorted({kind for spec in own for kind in spec.kinds})),
        pool=planned.pool,
        retry=_retry(planned.retry_policy),
    )


def _retry(policy: dg.RetryPolicy | None) -> Retry | None:
    if policy is None:
        return None
    return Retry(
        max_retries=policy.max_retries,
        delay_seconds=float(policy.delay or 0),
        backoff=policy.backoff.value.lower() if policy.backoff else "constant",
        jitter=policy.jitter.value.lower() if policy.jitter else "none",
    )


def _schedule(definitions: dg.Definitions, job: str) -> Schedule | None:
    for schedule in definitions.get_repository_def().schedule_defs:
        if schedule.job_name == job and isinstance(schedule.cron_schedule, str):
            return Schedule(cron=schedule.cron_schedule, timezone=schedule.execution_timezone or "UTC")
    return None


__all__ = ["ExportError", "export"]
