"""The hand-over from Dagster to Airflow: what a job consists of, as one JSON file. Standard library only.

A manifest holds names and numbers, never a secret, a value of a variable or an absolute path. Equal definitions give equal bytes.

Not here: how it is made (`export.py`), what becomes of it (`dags.py`).
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 2
_EXPORT_AGAIN = "run `airflow-bridge export` again"


class ManifestError(Exception):
    """A manifest cannot be used; the message names the file, the cause and the next step."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often a step is tried again, in Dagster's terms.

    Attributes:
        max_retries: Attempts after the first one.
        delay_seconds: Base of the wait.
        backoff: "constant", "linear" (n x delay) or "exponential" ((2^n - 1) x delay).
        jitter: "none", "full" or "plus_minus".
    """

    max_retries: int
    delay_seconds: float
    backoff: str
    jitter: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the job, one task of the DAG.

    Attributes:
        key: Dagster's step key; also the task id.
        assets: Keys of the assets it materialises, such as "clean/flights".
        checks: Asset checks it evaluates, as "asset key:check name".
        upstream: Keys of the steps it waits for.
        group: Asset group; None for steps without an asset.
        description: Of the asset, for the task's documentation.
        owners: Of the assets.
        kinds: Of the assets.
        pool: Dagster pool; None for none.
        retry: None when the step is not tried again.
    """

    key: str
    assets: tuple[str, ...]
    checks: tuple[str, ...]
    upstream: tuple[str, ...]
    group: str | None
    description: str | None
    owners: tuple[str, ...]
    kinds: tuple[str, ...]
    pool: str | None
    retry: Retry | None


@dataclass(frozen=True, kw_only=True)
class Code:
    """Where the definitions are found at run time.

    Attributes:
        module: Importable module.
        attribute: Name of the Definitions in it.
        location: Name of the code location in Dagster's workspace, so that its UI can run a DAG's run again.
    """

    module: str
    attribute: str
    location: str


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When Dagster would run the job.

    Attributes:
        cron: Five fields.
        timezone: IANA name.
    """

    cron: str
    timezone: str


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One dimension of a job's partitions.

    Attributes:
        name: Its name; "" where it is the only one.
        kind: "time", "static" or "dynamic".
        keys: Of static partitions.
        dynamic: Name of dynamic partitions, whose keys are in Dagster's storage.
        cron: Of time partitions: when one ends and the next begins.
        timezone: Of time partitions, IANA name.
        format: Of time partitions: the key of one, as strftime writes it.
        start: Of time partitions: start of the first one, ISO 8601.
        end: Of time partitions: end of the last one; None for no end.
    """

    name: str
    kind: str
    keys: tuple[str, ...] = ()
    dynamic: str | None = None
    cron: str | None = None
    timezone: str | None = None
    format: str | None = None
    start: str | None = None
    end: str | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One job.

    Attributes:
        version: Of this format.
        job: Name of the Dagster job.
        description: Of the job.
        code: Where its definitions are.
        schedule: Its schedule in Dagster; None for none.
        partitions: Dimensions of its partitions, in the order of their names; empty for a job without.
        steps: In an order in which each follows its upstream.
        fingerprint: SHA-256 over everything else.
    """

    version: int
    job: str
    description: str | None
    code: Code
    schedule: Schedule | None
    partitions: tuple[Dimension, ...]
    steps: tuple[Step, ...]
    fingerprint: str = ""


def dump(manifest: Manifest) -> str:
    """The manifest as JSON: keys sorted, fingerprint filled in, a newline at the end."""
    content = dataclasses.asdict(manifest)
    content["fingerprint"] = _fingerprint(content)
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def load(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        ManifestError: The file is missing, truncated, edited, of another version, or describes steps that cannot be a DAG.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"{path}: there is no readable manifest ({error.strerror}). Next: {_EXPORT_AGAIN}.") from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"{path}: the file is no JSON, perhaps cut off ({error}). Next: {_EXPORT_AGAIN}.") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        version = content.get("version") if isinstance(content, dict) else None
        raise ManifestError(
            f"{path}: version {version!r} of the format, this package reads version {VERSION}. "
            f"Next: install one version of etl-assets on both sides, then {_EXPORT_AGAIN}."
        )
    if content.get("fingerprint") != _fingerprint(content):
        raise ManifestError(f"{path}: the content does not match its fingerprint; it was edited or damaged. Next: {_EXPORT_AGAIN}.")
    try:
        manifest = _manifest(content)
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{path}: a field is missing or of the wrong kind ({error}). Next: {_EXPORT_AGAIN}.") from error
    _check_graph(manifest, path)
    return manifest


def _fingerprint(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != "fingerprint"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _manifest(content: Mapping[str, Any]) -> Manifest:
    steps = tuple(_step(step) for step in content["steps"])
    schedule = Schedule(**content["schedule"]) if content["schedule"] else None
    partitions = tuple(Dimension(**{**one, "keys": tuple(one["keys"])}) for one in content["partitions"])
    return Manifest(**{**content, "code": Code(**content["code"]), "schedule": schedule, "partitions": partitions, "steps": steps})


def _step(content: Mapping[str, Any]) -> Step:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    return Step(**{**fields, "retry": Retry(**fields["retry"]) if fields["retry"] else None})


def _check_graph(manifest: Manifest, path: Path) -> None:
    seen: set[str] = set()
    for step in manifest.steps:
        if step.key in seen:
            raise ManifestError(f"{path}: two steps are named {step.key!r}. Next: rename one of the assets, then {_EXPORT_AGAIN}.")
        waiting = [name for name in step.upstream if name not in seen]
        if waiting:
            raise ManifestError(
                f"{path}: step {step.key!r} waits for {waiting}, which do not come before it: a cycle or a gap. Next: {_EXPORT_AGAIN}."
            )
        seen.add(step.key)


__all__ = ["VERSION", "Code", "Dimension", "Manifest", "ManifestError", "Retry", "Schedule", "Step", "dump", "load"]
