"""How a manifest becomes a DAG: the options of a DAG, and those of single tasks.

Not here: what they do (`dags.py`).
"""

import dataclasses
import datetime
import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_bridge.alerts import Alert, alerts_of
from airflow_bridge.launcher import Launcher
from airflow_bridge.manifest import Manifest, ManifestError, Step
from airflow_bridge.selection import matching

MODES = ("steps", "watch", "asset_runs")
OUTLETS = ("exported", "all", "none")
_SECONDS = ("retry_delay", "max_retry_delay", "execution_timeout")
_CALLBACKS = ("on_execute_callback", "on_failure_callback", "on_retry_callback", "on_skipped_callback", "on_success_callback")
# Options of tasks that are whole numbers, with the least that they can be; and those that are texts.
_WHOLE = {"max_active_tis_per_dag": 1, "pool_slots": 1, "priority_weight": -(10**9), "retries": 0}
_TEXTS = ("doc_md", "executor", "owner", "pool", "queue", "weight_rule")
TASK_OPTIONS = (
    *_CALLBACKS, *_SECONDS, "doc_md", "executor", "executor_config", "launcher", "max_active_tis_per_dag", "owner", "pool", "pool_slots",
    "priority_weight", "queue", "retries", "retry_exponential_backoff", "weight_rule",
)  # fmt: skip
"""What may be set for single tasks: arguments of Airflow's operators, and `launcher`. Times are seconds or timedelta, callbacks are
functions or their import paths."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a manifest becomes a DAG.

    Attributes:
        mode: "steps": one Dagster run, a task per step. "watch": one task runs the job, the others watch it without a worker.
            "asset_runs": a Dagster run per task, by Dagster's public API only.
        launcher: How tasks reach Dagster; in their own process when None.
        select: Which steps are tasks (`selection.py`); empty for all.
        exclude: Which are not.
        overrides: Options of single tasks, by selection; later ones win over earlier ones, and all over the asset's metadata.
        outlets: Which assets are Airflow Assets: "exported" those that no other step of the job reads or that another job reads, "all", or
            "none".
        groups: A TaskGroup per asset group.
        pools: Tasks take the Airflow pools named like their Dagster pools, which must exist (`airflow pools import`). Dagster's own limits
            hold in any case.
        alerts: Who is told of failures, retries, successes and missed deadlines.
        dagster_url: Address of the Dagster UI, for links; the variable DAGSTER_URL when None.
        deadline: Time after which a DAG run that has not ended is told by `alerts`; None for the job's freshness policies.
        run_config: Dagster's run config; may hold Jinja templates. What the DAG run's parameter says wins.
        timeout: Longest time of one task; None for no limit.
    """

    mode: str = "steps"
    launcher: Launcher | None = None
    select: str | Sequence[str] = ()
    exclude: str | Sequence[str] = ()
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outlets: str = "exported"
    groups: bool = True
    pools: bool = False
    alerts: Sequence[Alert] = ()
    dagster_url: str | None = None
    deadline: datetime.timedelta | None = None
    run_config: Mapping[str, Any] = field(default_factory=dict)
    timeout: datetime.timedelta | None = datetime.timedelta(hours=24)


_NOT_EMPTY = ("mode", "outlets", "groups", "pools", "timeout")
"""Options for which None is no other word for their default."""


def _is_selection(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value))


def _is_launcher(value: Any) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "launch", None)) and callable(getattr(value, "stop", None))


_FORMS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "launcher": (_is_launcher, "a launcher, such as SubprocessLauncher()"),
    "select": (_is_selection, "a selection, or a list of them"),
    "exclude": (_is_selection, "a selection, or a list of them"),
    "overrides": (lambda value: isinstance(value, Mapping), "a mapping of selections to options, or the path of a YAML file with one"),
    "groups": (lambda value: isinstance(value, bool), "True or False"),
    "pools": (lambda value: isinstance(value, bool), "True or False"),
    "alerts": (lambda value: isinstance(value, list | tuple), "a list of alerts"),
    "dagster_url": (lambda value: isinstance(value, str), "the address of the Dagster UI"),
    "run_config": (lambda value: isinstance(value, Mapping), "a mapping"),
}


def options_of(where: str | Path, given: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """Split what a DAG was given into the options of the bridge and the arguments of Airflow's DAG.

    What YAML cannot say of the latter may be said as for tasks: times as seconds, callbacks by import path, dates without a time (UTC).

    Raises:
        ManifestError: There is no such option, or it has a value that it cannot have.
    """
    names = {one.name for one in dataclasses.fields(Options)}
    own = {name: value for name, value in given.items() if name in names and (value is not None or name in _NOT_EMPTY)}
    rest = {name: value for name, value in given.items() if name not in names}
    known = names | _dag_arguments()
    for name in rest:
        if name not in known:
            raise ManifestError(f"{where}: there is no option {name!r}{_close(name, known)}. Next: correct it.")
    for name, allowed in (("mode", MODES), ("outlets", OUTLETS)):
        if name in own and own[name] not in allowed:
            raise ManifestError(f"{where}: {name}={own[name]!r} is unknown; known: {', '.join(allowed)}. Next: correct it.")
    for name in ("timeout", "deadline"):
        if name in own:
            own[name] = _duration(where, name, own[name])
    if isinstance(own.get("overrides"), str | Path):
        # Airflow's working directory says nothing, so a relative path lies beside the manifest.
        own["overrides"] = read_yaml(Path(where).parent / own["overrides"])
    if "select" in own and not own["select"]:
        raise ManifestError(f"{where}: select is empty. Next: leave it out for all steps, or name some.")
    for name, (fits, form) in _FORMS.items():
        if name in own and not fits(own[name]):
            raise ManifestError(f"{where}: {name}={own[name]!r} cannot be. Next: give {form}.")
    if "alerts" in own:
        own["alerts"] = alerts_of(where, own["alerts"])
    return Options(**own), {name: _dag_argument(where, name, value) for name, value in rest.items()}


@functools.cache
def _dag_arguments() -> frozenset[str]:
    """What Airflow's DAG takes beside its id."""
    return frozenset(inspect.signature(DAG).parameters) - {"dag_id"}


def task_options(manifest: Manifest, options: Options, where: str | Path) -> dict[str, dict[str, Any]]:
    """The options of single tasks by step key, from the assets' metadata and from `overrides`.

    Raises:
        ManifestError: There is no such option, or a selection finds nothing.
    """
    result = {step.key: _from_metadata(step, where) for step in manifest.steps if step.airflow}
    for selection, given in options.overrides.items():
        if not isinstance(given, Mapping):
            raise ManifestError(f"{where}: the override of {selection!r} is no mapping of options. Next: write it as {{'retries': 3}}.")
        cleaned = {name: _task_option(f"{where}: override of {selection!r}", name, value) for name, value in given.items()}
        if not isinstance(selection, str):
            raise ManifestError(f"{where}: the override of {selection!r} names no asset. Next: write it as text.")
        for key in matching(manifest, selection):
            result.setdefault(key, {}).update(cleaned)
    return result


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        ManifestError: It is missing, or not that.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: it cannot be read ({error.strerror}). Next: correct the path.") from error
    except yaml.YAMLError as error:
        raise ManifestError(f"{path}: it is no YAML ({error}). Next: correct it.") from error
    if not isinstance(content, dict):
        raise ManifestError(f"{path}: it holds no mapping. Next: write name: value pairs.")
    return content


def _from_metadata(step: Step, where: str | Path) -> dict[str, Any]:
    # These two are read elsewhere: the URI of the Airflow Asset, and what Dagster's op tags say to Kubernetes.
    given = {name: value for name, value in step.airflow.items() if name not in ("uri", "k8s_config")}
    return {name: _task_option(f"{where}: metadata of step {step.key}", name, value) for name, value in given.items()}


def _task_option(where: str, name: str, value: Any) -> Any:
    if name not in TASK_OPTIONS:
        said = f"{_close(name, TASK_OPTIONS)}; known: {', '.join(sorted(TASK_OPTIONS))}"
        raise ManifestError(f"{where}: there is no option {name!r}{said}. Next: correct it.")
    if name in _SECONDS:
        return _duration(where, name, value)
    least = _WHOLE.get(name)
    if least is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ManifestError(f"{where}: {name}={value!r} cannot be. Next: give a whole number of at least {least}.")
    if name in _TEXTS and value is not None and not isinstance(value, str):
        raise ManifestError(f"{where}: {name}={value!r} cannot be. Next: give a text.")
    if name == "launcher" and value is not None and not _is_launcher(value):
        raise ManifestError(f"{where}: launcher={value!r} cannot be. Next: give {_FORMS['launcher'][1]}.")
    return _callbacks(where, name, value) if name in _CALLBACKS else value


def _dag_argument(where: str | Path, name: str, value: Any) -> Any:
    if name == "default_args" and isinstance(value, Mapping):
        return {key: _callbacks(where, key, one) if key in _CALLBACKS else one for key, one in value.items()}
    if name == "dagrun_timeout":
        return _duration(where, name, value)
    if name in ("start_date", "end_date") and isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return datetime.datetime.combine(value, datetime.time(), tzinfo=datetime.UTC)
    return _callbacks(where, name, value) if name in _CALLBACKS else value


def _close(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), sorted(known), n=3)
    return f" (close: {', '.join(close)})" if close else ""


def _duration(where: str | Path, name: str, value: Any) -> datetime.timedelta | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, datetime.timedelta) else value
    fits = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    # Only the wait before a retry may be none.
    if not fits or not (0 < seconds <= datetime.timedelta.max.total_seconds() or (seconds == 0 and name == "retry_delay")):
        raise ManifestError(f"{where}: {name}={value!r} is no time. Next: give seconds or a timedelta.")
    return datetime.timedelta(seconds=seconds)


def _callbacks(where: str | Path, name: str, value: Any) -> Any:
    """One callback, or a list of them, those that are import paths imported."""
    if isinstance(value, list | tuple):
        return [_callbacks(where, name, one) for one in value]
    found = _imported(where, name, value) if isinstance(value, str) else value
    if found is not None and not callable(found):
        raise ManifestError(f"{where}: {name}={value!r} is no function. Next: give one, or name module.function.")
    return found


def _imported(where: str | Path, name: str, path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ManifestError(f"{where}: {name}={path!r} cannot be imported ({error}). Next: name module.function.") from error


__all__ = ["MODES", "OUTLETS", "TASK_OPTIONS", "Options", "options_of", "read_yaml", "task_options"]
