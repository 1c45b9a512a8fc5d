"""What would keep converted DAGs from working well on this machine: settings of Airflow, of Dagster, and manifests. Each half is looked at
where it is installed.

Not here: what a DAG cannot have of a job (`remarks.py`).
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_bridge.manifest import Manifest, ManifestError, Remark, load
from airflow_bridge.preload import WARM

_LIMIT_SECONDS = 120
_QUEUE = "QUEUED_RUN_COORDINATOR"
# As the scheduler and a Celery worker do at their start.
_START = """
import json, os, resource, sys, time
variable, sys.path[:0] = json.loads(sys.argv.pop())
begun = time.process_time()
try:
    import airflow_local_settings
    found = airflow_local_settings.__file__
except ModuleNotFoundError as error:
    if error.name != "airflow_local_settings":
        raise
    found = ""
print(json.dumps({
    "file": found, "warm": os.environ.get(variable, ""), "seconds": time.process_time() - begun,
    "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "dagster": "dagster" in sys.modules,
    "refused": sys.modules["airflow_bridge.kept"].outdated() if "airflow_bridge.kept" in sys.modules else "",
}))
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the doctor has to know of an Airflow.

    Attributes:
        home: Its folder.
        executor: Its executors, separated by commas.
        new_interpreter: Every task starts an interpreter of its own.
        slots: Tasks that may run at the same time.
    """

    home: Path
    executor: str
    new_interpreter: bool
    slots: int


def examine(folder: Path | None = None, module: str | None = None, attribute: str = "defs", location: str | None = None) -> list[Remark]:
    """All that is to be said of this machine.

    Args:
        folder: Of the manifests; None to leave them out.
        module: The project, to see whether the manifests are stale; None where it is not installed here.
        attribute: Name of the Definitions in it.
        location: Name of the code location that the manifests were exported with.
    """
    found: list[Remark] = []
    manifests = list(_manifests(folder, found)) if folder is not None else []
    setting = airflow_setting()
    if setting is None:
        found.append(
            Remark(
                level="note",
                code="no-airflow",
                subject="airflow",
                reason="it is not installed here, so nothing is said of it.",
                next_step="run this where its scheduler or workers run, too.",
            )
        )
    else:
        found += of_starts(setting)
    found += of_dagster(setting.slots if setting is not None else 1)
    found += of_environment(manifests)
    found += [remark for manifest in manifests for remark in manifest.remarks if remark.level == "error"]
    if folder is not None and module is not None:
        found += _stale(folder, module, attribute, location)
    return sorted(found, key=lambda one: one.rank)


def airflow_setting() -> Setting | None:
    """That of the Airflow that is installed here; None where there is none."""
    if importlib.util.find_spec("airflow") is None:
        return None
    configuration: Any = importlib.import_module("airflow.configuration")
    conf = configuration.conf
    return Setting(
        home=Path(configuration.AIRFLOW_HOME),
        executor=conf.get("core", "executor"),
        new_interpreter=conf.getboolean("core", "execute_tasks_new_python_interpreter", fallback=False),
        slots=conf.getint("core", "parallelism", fallback=32),
    )


def of_starts(setting: Setting) -> Iterator[Remark]:
    """Whether tasks start warm, tried as the scheduler and a Celery worker would start."""
    for kind, arguments in (("LocalExecutor", ["scheduler"]), ("CeleryExecutor", ["celery", "worker"])):
        if kind not in setting.executor:
            continue
        if setting.new_interpreter:
            yield _cold(kind, "core.execute_tasks_new_python_interpreter is set", "set it to False.")
            continue
        places = json.dumps([WARM, [str(setting.home / "config"), *sys.path]])
        try:
            done = subprocess.run(
                [sys.executable, "-c", _START, *arguments, places], capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
            )
            answer = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else None
        except subprocess.TimeoutExpired:
            answer, done = None, None
        if answer is None:
            said = (done.stderr.strip().splitlines() or ["no reason"])[-1] if done is not None else f"it takes over {_LIMIT_SECONDS} s"
            yield _cold(kind, f"airflow_local_settings.py cannot be imported ({said})", "correct it.")
        elif not answer["file"]:
            yield _cold(kind, "there is no airflow_local_settings.py", f"write one into {setting.home / 'config'}, see preload.")
        elif not answer["warm"]:
            yield _cold(kind, f"{answer['file']} does not call warm()", "call airflow_bridge.preload.warm() in it.")
        else:
            cost = f"{answer['seconds']:.1f} s CPU and {answer['megabytes']:.0f} MB per {arguments[-1]}"
            without = "" if answer["dagster"] else ", without dagster, which is not installed here"
            yield Remark(
                level="note",
                code="warm-start",
                subject=kind,
                reason=f"tasks start warm, for {cost}{without}.",
                next_step="none is needed.",
            )
            if answer["refused"]:
                yield Remark(
                    level="warning",
                    code="definitions-not-kept",
                    subject=kind,
                    reason=f"every task starts a new interpreter: {answer['refused']}",
                    next_step="mend the import, or correct or leave out the name in what warm() keeps or AIRFLOW_BRIDGE_DEFINITIONS.",
                )
    if "Kubernetes" in setting.executor:
        yield Remark(
            level="note",
            code="cold-start",
            subject="KubernetesExecutor",
            reason="every task is a pod, and imports all that it needs.",
            next_step='for many small assets, mode="watch" needs one pod for all of them.',
        )


def _cold(kind: str, why: str, next_step: str) -> Remark:
    return Remark(
        level="warning",
        code="cold-start",
        subject=kind,
        reason=f"every task imports dagster and the libraries of the project anew, some seconds each: {why}.",
        next_step=next_step,
    )


def of_dagster(slots: int) -> Iterator[Remark]:
    """The Dagster instance that tasks of this machine would use.

    Args:
        slots: Tasks that may run at the same time.
    """
    if importlib.util.find_spec("dagster") is None:
        yield Remark(
            level="note",
            code="no-dagster",
            subject="dagster",
            reason="it is not installed here, so tasks need SubprocessLauncher, DockerLauncher or KubernetesLauncher.",
            next_step="run this with the interpreter of the project, too.",
        )
        return
    import dagster as dg

    from airflow_bridge.runner import TESTED

    if not dg.__version__.startswith(TESTED):
        yield Remark(
            level="error",
            code="dagster-version",
            subject=f"dagster {dg.__version__}",
            reason=f"the bridge is tested with {', '.join(TESTED)}, and tasks refuse others.",
            next_step='install that, or use mode="asset_runs".',
        )
    if not os.environ.get("DAGSTER_HOME"):
        yield Remark(
            level="error",
            code="no-dagster-home",
            subject="DAGSTER_HOME",
            reason="it is not set, so tasks would not find Dagster's storage.",
            next_step="set it to the folder of dagster.yaml, for scheduler, workers and triggerer.",
        )
        return
    try:
        with dg.DagsterInstance.get() as instance:
            yield from _of_instance(instance, slots)
    except Exception as error:
        # Whatever keeps the instance from loading would keep every task from running.
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield Remark(
            level="error",
            code="dagster-storage",
            subject=os.environ["DAGSTER_HOME"],
            reason=f"Dagster's instance cannot be used: {said}",
            next_step="correct dagster.yaml, or start its database.",
        )


def _of_instance(instance: Any, slots: int) -> Iterator[Remark]:
    instance.get_runs_count()
    if "sqlite" in type(instance.event_log_storage).__module__ and slots > 1:
        yield Remark(
            level="warning",
            code="sqlite-storage",
            subject=instance.root_directory,
            reason=f"Dagster's storage is SQLite, on one machine only, and {slots} tasks at the same time wait for its lock or fail.",
            next_step="give dagster.yaml a `storage: postgres` with `scheme: postgresql+psycopg2`.",
        )
    if _QUEUE in instance.get_required_daemon_types():
        status = instance.get_daemon_statuses([_QUEUE])[_QUEUE]
        if not status.healthy:
            yield Remark(
                level="warning",
                code="queue-without-daemon",
                subject="dagster-daemon",
                reason="it does not run, so what somebody executes again in Dagster's UI stays queued for ever; DAG runs do not need it.",
                next_step="start `dagster-daemon run` with the same DAGSTER_HOME.",
            )
    if instance.run_monitoring_enabled:
        if instance.run_launcher.supports_check_run_worker_health:
            yield Remark(
                level="error",
                code="run-monitoring",
                subject=type(instance.run_launcher).__name__,
                reason="Dagster's run monitoring asks it for the worker of each run; those of DAG runs have none, so it calls them failed.",
                next_step="switch run_monitoring off in dagster.yaml, or keep DAG runs in an instance of their own.",
            )
        longest = instance.run_monitoring_max_runtime_seconds
        if longest:
            yield Remark(
                level="note",
                code="max-runtime",
                subject="dagster.yaml",
                reason=f"Dagster's run monitoring calls a DAG run failed that takes more than {longest} s.",
                next_step="give longer jobs the tag dagster/max_runtime, which becomes the time limit of the DAG run, too.",
            )


def of_environment(manifests: Sequence[Manifest]) -> Iterator[Remark]:
    """Variables that the resources of the jobs read and that are not set here."""
    jobs: dict[str, list[str]] = {}
    for manifest in manifests:
        for name in manifest.environment:
            if name not in os.environ:
                jobs.setdefault(name, []).append(manifest.job)
    for name, users in sorted(jobs.items()):
        yield Remark(
            level="warning",
            code="variable",
            subject=name,
            reason=f"it is not set here, and jobs {', '.join(users)} may read it.",
            next_step="set it where tasks run, if they run in this environment.",
        )


def _manifests(folder: Path, found: list[Remark]) -> Iterator[Manifest]:
    paths = sorted(folder.glob("*.json"))
    if not paths:
        reason = f"there is no manifest in this folder. Next: airflow-bridge export -m MODULE -o {folder}"
        found.append(_error("manifest", str(folder), reason))
    for path in paths:
        try:
            yield load(path)
        except ManifestError as error:
            found.append(_error("manifest", path.name, str(error).removeprefix(f"{path}: ")))


def _stale(folder: Path, module: str, attribute: str, location: str | None) -> Iterator[Remark]:
    from airflow_bridge.export import ExportError, export_again, location_of, manifests_of, read_project, stale

    location = location or location_of(folder, module)
    try:
        manifests = manifests_of(read_project(module, attribute=attribute, location=location))
    except ExportError as error:
        yield _error("project", module, str(error))
        return
    for said in stale(manifests, folder, everything=True):
        yield _error("stale", module, f"{said} Next: {export_again(module, folder, location)}")


def _error(code: str, subject: str, said: str) -> Remark:
    """What an error says, as a remark: its cause, and after "Next:" the next step."""
    reason, _, next_step = said.partition(" Next: ")
    return Remark(level="error", code=code, subject=subject, reason=reason, next_step=next_step)


__all__ = ["Setting", "airflow_setting", "examine", "of_dagster", "of_environment", "of_starts"]
