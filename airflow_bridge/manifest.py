"""The hand-over from Dagster to Airflow: what a job consists of, as one JSON file. Standard library only.

A manifest holds names and numbers, never a secret, a value of a variable or an absolute path. Equal definitions give equal bytes.

Not here: how it is made (`export.py`), what becomes of it (`dags.py`).
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = 4
LONGEST_TASK_ID = 250
"""Characters that Airflow allows in the id of a task."""
_SIGNED = '"fingerprint": "{}"'
_UNSIGNED = _SIGNED.format("")
_EXPORT_AGAIN = "run `airflow-bridge export` again"
_TASK_ID = re.compile(r"[\w.-]+", re.ASCII)


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
class Check:
    """An asset check that a step evaluates.

    Attributes:
        asset: Key of the asset it is about.
        name: Of the check.
        blocking: What comes after the asset waits for it, and does not run when it fails.
    """

    asset: str
    name: str
    blocking: bool

    def __str__(self) -> str:
        return f"{self.asset}:{self.name}"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the job, one task of the DAG.

    Attributes:
        key: Dagster's step key; also the task id.
        node: The asset, graph asset or op it belongs to; several steps of a graph asset share one.
        assets: Keys of the assets it materialises, such as "clean/flights".
        checks: Asset checks it evaluates.
        upstream: Keys of the steps it waits for.
        external: Keys of the assets it reads that this job does not make.
        outlets: Keys of its assets that no other step of the job reads, or that another job reads.
        group: Asset group; None for steps without an asset.
        description: Of the asset, for the task's documentation.
        owners: Of the assets.
        kinds: Of the assets.
        tags: Of the assets.
        code_version: Of the asset; None for none.
        pool: Dagster pool; None for none.
        priority: Dagster's `dagster/priority`; higher ones come first.
        retry: None when the step is not tried again.
        airflow: What the asset's metadata asks of Airflow, `airflow/<name>` by name.
    """

    key: str
    node: str
    assets: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    upstream: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    outlets: tuple[str, ...] = ()
    group: str | None = None
    description: str | None = None
    owners: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    code_version: str | None = None
    pool: str | None = None
    priority: int = 0
    retry: Retry | None = None
    airflow: Mapping[str, Any] = field(default_factory=dict)

    @property
    def only_checks(self) -> bool:
        """It evaluates checks and makes nothing."""
        return bool(self.checks) and not self.assets


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
        name: Of the schedule.
        cron: Cron expressions; the job runs at the times of each.
        timezone: IANA name.
        running: It is switched on by default.
    """

    name: str
    cron: tuple[str, ...]
    timezone: str
    running: bool


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
        offset: Of time partitions: how many there are beyond the last one that is over.
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
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something of the job that a DAG cannot have, or has otherwise.

    Attributes:
        level: "error": the DAG cannot work; "warning": something is missing in it; "note": it differs.
        code: Short name, such as "in-memory-io".
        subject: Asset, schedule, sensor or step.
        reason: What is so.
        next_step: What to do about it.
    """

    level: str
    code: str
    subject: str
    reason: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.level} {self.code}: {self.subject}: {self.reason} Next: {self.next_step}"

    @property
    def rank(self) -> tuple[int, str, str]:
        """Errors come first."""
        return ("error", "warning", "note").index(self.level), self.code, self.subject


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One job.

    Attributes:
        version: Of this format.
        job: Name of the Dagster job.
        code: Where its definitions are.
        description: Of the job.
        tags: Of the job.
        schedules: That run it in Dagster.
        partitions: Dimensions of its partitions, in the order of their names; empty for a job without.
        steps: In an order in which each follows its upstream.
        whole: Its steps are only known while it runs, so one task runs all of it.
        config: JSON schema of its run config.
        environment: Names of the variables that its resources read.
        max_runtime_seconds: Dagster's `dagster/max_runtime`; None for no limit.
        fresh_seconds: The shortest time within which one of its assets has to be made again; None for none.
        remarks: What differs in Airflow.
        fingerprint: SHA-256 over everything else.
    """

    version: int
    job: str
    code: Code
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    schedules: tuple[Schedule, ...] = ()
    partitions: tuple[Dimension, ...] = ()
    steps: tuple[Step, ...] = ()
    whole: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: tuple[str, ...] = ()
    max_runtime_seconds: float | None = None
    fresh_seconds: float | None = None
    remarks: tuple[Remark, ...] = ()
    fingerprint: str = ""

    @property
    def pools(self) -> tuple[str, ...]:
        """The Dagster pools of its steps."""
        return tuple(sorted({step.pool for step in self.steps if step.pool is not None}))


def dump(manifest: Manifest) -> str:
    """The manifest as JSON: keys sorted, what a step does not have left out, fingerprint filled in, a newline at the end."""
    content = {**dataclasses.asdict(manifest), "fingerprint": "", "steps": [_told(step) for step in manifest.steps]}
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return text.replace(_UNSIGNED, _SIGNED.format(_fingerprint(text)), 1)


def _told(step: Step) -> dict[str, Any]:
    """The fields of a step that say something: thousands of empty ones would have to be read for every task."""
    return {name: value for name, value in dataclasses.asdict(step).items() if value not in (None, (), {}, 0)}


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
    signed = str(content.get("fingerprint"))
    if signed != _fingerprint(text.replace(_SIGNED.format(signed), _UNSIGNED, 1)):
        raise ManifestError(f"{path}: the content does not match its fingerprint; it was edited or damaged. Next: {_EXPORT_AGAIN}.")
    try:
        manifest = _manifest(content)
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{path}: a field is missing or of the wrong kind ({error}). Next: {_EXPORT_AGAIN}.") from error
    _check_graph(manifest, path)
    return manifest


def _fingerprint(unsigned: str) -> str:
    return hashlib.sha256(unsigned.encode()).hexdigest()


def _manifest(content: Mapping[str, Any]) -> Manifest:
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    return Manifest(
        **{
            **given,
            "code": Code(**given["code"]),
            "schedules": tuple(Schedule(**{**one, "cron": tuple(one["cron"])}) for one in given["schedules"]),
            "partitions": tuple(Dimension(**{**one, "keys": tuple(one["keys"])}) for one in given["partitions"]),
            "steps": tuple(_step(one) for one in given["steps"]),
            "remarks": tuple(Remark(**one) for one in given["remarks"]),
        }
    )


def _step(content: Mapping[str, Any]) -> Step:
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    if "checks" in given:
        given["checks"] = tuple(Check(**one) for one in given["checks"])
    if "retry" in given:
        given["retry"] = Retry(**given["retry"])
    return Step(**given)


def _check_graph(manifest: Manifest, path: Path) -> None:
    seen: set[str] = set()
    for step in manifest.steps:
        if step.key in seen:
            raise ManifestError(f"{path}: two steps are named {step.key!r}. Next: rename one of the assets, then {_EXPORT_AGAIN}.")
        # Steps of a job that one task runs are no tasks.
        if not manifest.whole and (len(step.key) > LONGEST_TASK_ID or not _TASK_ID.fullmatch(step.key)):
            raise ManifestError(
                f"{path}: step {step.key[:80]!r} cannot be the id of a task: at most {LONGEST_TASK_ID} letters, digits, '_', '-' and '.'. "
                f"Next: rename the asset, then {_EXPORT_AGAIN}."
            )
        waiting = [name for name in step.upstream if name not in seen]
        if waiting:
            raise ManifestError(
                f"{path}: step {step.key!r} waits for {waiting}, which do not come before it: a cycle or a gap. Next: {_EXPORT_AGAIN}."
            )
        seen.add(step.key)


__all__ = [
    "LONGEST_TASK_ID", "VERSION", "Check", "Code", "Dimension", "Manifest", "ManifestError", "Remark", "Retry", "Schedule", "Step", "dump",
    "load",
]  # fmt: skip
