"""What changes in the DAGs when one export follows another. Standard library only.

Not here: whether an export is stale (`export.py`).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_bridge.manifest import Manifest, ManifestError, Step, load


def differences(old: Path, new: Path) -> list[str]:
    """What differs, a sentence each; empty when nothing does.

    Args:
        old: A manifest, or a folder of manifests.
        new: The same kind as `old`.

    Raises:
        ManifestError: One of them is missing or cannot be used.
    """
    before, after = _read(old), _read(new)
    said = [f"DAG {name} is gone." for name in sorted(before.keys() - after.keys())]
    said += [f"DAG {name} is new, with {len(after[name].steps)} tasks." for name in sorted(after.keys() - before.keys())]
    for name in sorted(before.keys() & after.keys()):
        said += [f"DAG {name}: {change}" for change in _of_a_job(before[name], after[name])]
    return said


def _read(path: Path) -> Mapping[str, Manifest]:
    if path.is_dir():
        paths = sorted(path.glob("*.json"))
        if not paths:
            raise ManifestError(f"{path}: there is no manifest in this folder. Next: run `airflow-bridge export -m MODULE -o {path}`.")
        manifests = [load(one) for one in paths]
    else:
        manifests = [load(path)]
    return {manifest.job: manifest for manifest in manifests}


def _of_a_job(old: Manifest, new: Manifest) -> Iterator[str]:
    before = {step.key: step for step in old.steps}
    after = {step.key: step for step in new.steps}
    gone, made = before.keys() - after.keys(), after.keys() - before.keys()
    for key in sorted(gone):
        # The same assets under another key: Airflow shows a new task, and the history stays with the old one.
        heir = next((name for name in sorted(made) if before[key].assets and after[name].assets == before[key].assets), None)
        yield f"task {key} is gone." if heir is None else f"task {key} is called {heir} now; its history stays with the old name."
    heirs = {name for name in made for key in gone if before[key].assets and after[name].assets == before[key].assets}
    for key in sorted(made - heirs):
        yield f"task {key} is new."
    for key in sorted(before.keys() & after.keys()):
        yield from (f"task {key}: {change}" for change in _of_a_step(before[key], after[key]))
    for field in dataclasses.fields(Manifest):
        if field.name in ("job", "steps", "fingerprint", "version", "remarks", "config"):
            continue
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was != now and field.name == "description":
            yield "its description has changed."
        elif was != now:
            yield f"{field.name.replace('_', ' ')}: {_text(was)} -> {_text(now)}."
    if old.config != new.config:
        yield "the schema of its run config has changed."
    for remark in (one for one in new.remarks if one not in old.remarks):
        yield f"new {remark}"
    for remark in (one for one in old.remarks if one not in new.remarks):
        yield f"no longer so: {remark.level} {remark.code}: {remark.subject}."


def _of_a_step(old: Step, new: Step) -> Iterator[str]:
    for field in dataclasses.fields(Step):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was == now:
            continue
        if field.name == "upstream":
            less, more = sorted(set(was) - set(now)), sorted(set(now) - set(was))
            if less:
                yield f"no longer waits for {', '.join(less)}."
            if more:
                yield f"now waits for {', '.join(more)}."
        elif field.name == "description":
            yield "its description has changed."
        else:
            yield f"{field.name.replace('_', ' ')}: {_text(was)} -> {_text(now)}."


def _text(value: Any) -> str:
    """A value as people write it."""
    if value is None or value in ((), {}):
        return "none"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ", ".join(f"{name} {_text(one)}" for name, one in dataclasses.asdict(value).items() if one not in (None, "", (), {}))
    if isinstance(value, tuple):
        return ", ".join(_text(one) if dataclasses.is_dataclass(one) else str(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    return str(value)


__all__ = ["differences"]
