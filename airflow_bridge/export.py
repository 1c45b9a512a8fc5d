"""Manifests of a Dagster project's jobs, written, held against the project, and compared: a build step, run where the project is installed.

Not here: what a manifest says of a job (`job_manifest.py`); anything of Airflow.
"""

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from airflow_bridge.job_manifest import ExportError, Project
from airflow_bridge.manifest import Code, Manifest, ManifestError, dump, load


def read_project(module: str, *, attribute: str = "defs", location: str | None = None) -> Project:
    """Import a project.

    Args:
        module: Importable module that holds the definitions; the working directory is looked at too.
        attribute: Name of the Definitions in it, or of a function that returns them.
        location: Name of the code location in Dagster's workspace; the module's name when None.

    Raises:
        ExportError: No such module or attribute, or definitions that do not load.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ExportError(f"{module}: {error}. Next: name an importable module with -m, and its Definitions with -a.") from error
    if callable(found):
        found = found()
    if not isinstance(found, dg.Definitions):
        raise ExportError(f"{module}.{attribute} is a {type(found).__name__}, not Definitions. Next: name them with -a.")
    try:
        return Project(found, Code(module=module, attribute=attribute, location=location or module))
    except dg.DagsterError as error:
        raise ExportError(f"{module}.{attribute} does not load: {error}. Next: `dagster definitions validate -m {module}`.") from error


def manifests_of(project: Project, jobs: Sequence[str] = ()) -> list[Manifest]:
    """The manifests of these jobs, of all jobs when there are none named, in order of their names.

    Raises:
        ExportError: There is no such job, or one cannot be converted.
    """
    module = project.code.module
    unknown = sorted(set(jobs) - set(project.jobs))
    if unknown:
        raise ExportError(f"{module}: there are no jobs {unknown}; known: {sorted(project.jobs)}. Next: correct --job.")
    if not project.jobs:
        raise ExportError(f"{module}: the definitions hold no job. Next: add one with dagster.define_asset_job.")
    return [project.manifest(name) for name in sorted(set(jobs) or project.jobs)]


def write(manifests: Sequence[Manifest], folder: Path) -> list[Path]:
    """Write `<job>.json` for each; a file is there whole or as it was. The folder is made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for manifest in manifests:
        path = folder / f"{manifest.job}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(dump(manifest), encoding="utf-8")
        partial.replace(path)
        written.append(path)
    return written


def write_pools(manifests: Sequence[Manifest], path: Path, slots: Mapping[str, int], otherwise: int) -> int:
    """Write a file for `airflow pools import`, and return how many pools it has.

    Args:
        manifests: Whose pools.
        path: JSON file.
        slots: Of a pool by its name.
        otherwise: Slots of the others.
    """
    names = sorted({pool for manifest in manifests for pool in manifest.pools})
    content = {
        name: {"slots": slots.get(name, otherwise), "description": f"Dagster pool {name}", "include_deferred": False} for name in names
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return len(names)


def location_of(folder: Path, module: str) -> str | None:
    """The code location that the manifests of a module were exported with; None where that cannot be told."""
    for path in sorted(folder.glob("*.json")):
        try:
            code = load(path).code
        except ManifestError:
            continue
        if code.module == module:
            return code.location
    return None


def export_again(module: str, folder: Path, location: str | None) -> str:
    """The command that brings a folder of manifests up to date."""
    return f"airflow-bridge export -m {module} -o {folder}{f' --location {location}' if location not in (None, module) else ''}"


def stale(manifests: Sequence[Manifest], folder: Path, *, everything: bool) -> list[str]:
    """What a folder says otherwise than the project, a sentence each.

    Args:
        manifests: Of the project as it is.
        folder: Of the manifests that were exported.
        everything: The manifests are those of all jobs, so that a file of another job is left over.
    """
    said = []
    for manifest in manifests:
        path = folder / f"{manifest.job}.json"
        if not path.exists():
            said.append(f"{path} is missing: job {manifest.job} was not exported.")
            continue
        try:
            exported = load(path)
        except ManifestError as error:
            # Who asks names the next step for all of them.
            said.append(str(error).partition(" Next: ")[0])
            continue
        if dump(exported) != dump(manifest):
            said.append(f"{path} is stale: job {manifest.job} has changed since.")
    known = {manifest.job for manifest in manifests}
    if everything:
        said += [f"{path} is left over: there is no such job." for path in sorted(folder.glob("*.json")) if path.stem not in known]
    return said


__all__ = ["ExportError", "export_again", "location_of", "manifests_of", "read_project", "stale", "write", "write_pools"]
