"""What differs between versions of Airflow, in one place: timetables, partitions, retries, deadlines, and states of other tasks.

Before Airflow 3.3 a run has no partition key (its parameter names the partition), a retry waits as Airflow computes it, and no task can
watch without a worker. Before 3.1 there are no deadlines. In Airflow 2 assets have no names, links of tasks need a plugin, a schedule is
one cron expression, and a worker needs the whole DAG.

Not here: which schedule a DAG gets (`dags.py`).
"""

import datetime
import importlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import Asset, get_parsing_context

_KEY = "dagster_asset"
_AIRFLOW_3 = hasattr(Asset, "name")


def _found(name: str, *modules: str) -> Any:
    """Something of Airflow's, wherever this version keeps it; None where it has none of that name."""
    for module in modules:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue
        if found is not None:
            return found
    return None


def _timetable(name: str) -> Any:
    return _found(name, "airflow.sdk", "airflow.timetables.trigger")


def running_task(dag_id: str) -> str | None:
    """The one task that this process needs of a DAG; None for all of them.

    A worker of Airflow 2 needs them all: it also schedules what comes after its task, and takes for removed what its DAG has not.
    """
    context = get_parsing_context()
    return context.task_id if context.dag_id == dag_id and _AIRFLOW_3 else None


def cron_trigger(crons: Sequence[str], timezone: str) -> Any:
    """A run at each time of the cron schedules, without a data interval.

    Raises:
        RuntimeError: There are several, and this Airflow takes one.
    """
    if len(crons) == 1:
        return _timetable("CronTriggerTimetable")(crons[0], timezone=timezone)
    timetable = _timetable("MultipleCronTriggerTimetable")
    if timetable is None:
        raise RuntimeError(
            f"this Airflow takes one cron schedule, not {', '.join(crons)}. Next: install Airflow 3, or make a DAG for each with dag_id "
            "and schedule."
        )
    return timetable(*crons, timezone=timezone)


def partitions_at_runtime() -> Any:
    """Runs are triggered with a partition key; None where Airflow knows no keys."""
    timetable = _timetable("PartitionedAtRuntime")
    return timetable() if timetable is not None else None


def a_run_per_partition(cron: str, timezone: str, key_format: str, offset: int) -> Any:
    """A run per partition.

    Args:
        cron: When a partition ends.
        timezone: IANA name.
        key_format: Of the partition keys.
        offset: How many partitions beyond the last one that is over have their run: 0 for none.

    Raises:
        RuntimeError: This Airflow knows no partition keys.
    """
    timetable = _timetable("CronPartitionTimetable")
    if timetable is None:
        raise RuntimeError("this Airflow has no partition keys. Next: install Airflow 3.3, or trigger the DAG with its parameter.")
    return timetable(cron, timezone=timezone, run_offset=offset - 1, key_format=key_format)


def when_assets_change(assets: Sequence[Any], *, partitioned: bool) -> Any:
    """A run when all of the assets were made again; of the same partition where they have any."""
    timetable = _timetable("PartitionedAssetTimetable") if partitioned else None
    if timetable is None:
        return list(assets)
    condition = _found("AssetAll", "airflow.sdk")(*assets) if len(assets) > 1 else assets[0]
    return timetable(assets=condition)


def retry_policy(wait_of: Any) -> Any:
    """A policy that waits as long as `wait_of(exception)` says, in seconds, and as Airflow does where it says None; None before 3.3."""
    parent = _found("RetryPolicy", "airflow.sdk")
    if parent is None:
        return None
    decision = _found("RetryDecision", "airflow.sdk")

    class DagsterRetryPolicy(parent):  # type: ignore[misc, valid-type]
        """Waits as Dagster's retry policy says."""

        def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> Any:
            seconds = wait_of(exception)
            if seconds is None:
                return decision.default()
            return decision.retry(delay=datetime.timedelta(seconds=seconds), reason=f"Dagster's retry policy waits {seconds:.1f} s")

    return DagsterRetryPolicy()


def deadline(interval: datetime.timedelta, callback: str, arguments: Mapping[str, Any]) -> Any:
    """Calls a coroutine in the triggerer when a DAG run has not ended this long after it was queued; None before Airflow 3.1."""
    alert = _found("DeadlineAlert", "airflow.sdk", "airflow.sdk.definitions.deadline")
    if alert is None:
        return None
    reference = _found("DeadlineReference", "airflow.sdk", "airflow.sdk.definitions.deadline").DAGRUN_QUEUED_AT
    return alert(reference=reference, interval=interval, callback=_found("AsyncCallback", "airflow.sdk")(callback, dict(arguments)))


def clear_number(context: Mapping[str, Any]) -> int:
    """How often tasks of the DAG run were cleared."""
    return int(getattr(context["dag_run"], "clear_number", 0) or 0)


def task_states(context: Mapping[str, Any], task_ids: Sequence[str]) -> dict[str, str | None]:
    """The states of other tasks of this DAG run; None for one that has not begun."""
    ti = context["ti"]
    ask = getattr(ti, "get_task_states", None)
    if ask is not None:
        found = ask(dag_id=ti.dag_id, task_ids=list(task_ids), run_ids=[ti.run_id]).get(ti.run_id, {})
        return {name: _plain(found.get(name)) for name in task_ids}
    # Airflow 2: the task reads the database.
    instances = {one.task_id: one.state for one in context["dag_run"].get_task_instances()}
    return {name: _plain(instances.get(name)) for name in task_ids}


def _plain(state: Any) -> str | None:
    return None if state is None else str(getattr(state, "value", state))


def airflow_asset(key: str, uri: str | None = None) -> Any:
    """The Airflow Asset of a Dagster asset: the same one in every DAG, so that one can wait for another."""
    # Of a scheme without x- Airflow asks every provider, in every process that parses the file.
    uri = uri or f"x-dagster:{key}"
    # A Dataset of Airflow 2 has no name, and keeps the key beside its URI.
    return Asset(name=key, uri=uri) if _AIRFLOW_3 else Asset(uri, extra={_KEY: key})


def asset_key(outlet: Any) -> str | None:
    """Key of the Dagster asset that an outlet of a task stands for; None for an outlet of another kind."""
    if not isinstance(outlet, Asset):
        return None
    found = getattr(outlet, "name", None) or (outlet.extra or {}).get(_KEY)
    return None if found is None else str(found)


def add_partitions(event: Any, keys: Sequence[str]) -> None:
    """Name the partitions that an asset event is about, where Airflow knows partitions."""
    add = getattr(event, "add_partitions", None)
    if add is not None and keys:
        add(list(keys))


def run_page(dag_id: str, run_id: str) -> str:
    """Path of a DAG run in Airflow's UI."""
    dag, run = urllib.parse.quote(dag_id), urllib.parse.quote(run_id)
    return f"/dags/{dag}/runs/{run}" if _AIRFLOW_3 else f"/dags/{dag}/grid?dag_run_id={run}"


def can_link() -> bool:
    """Tasks have links without a plugin of Airflow's (Airflow 3)."""
    return _AIRFLOW_3


def can_watch() -> bool:
    """Tasks can start in the triggerer and share what they poll (Airflow 3.3)."""
    return hasattr(_found("BaseEventTrigger", "airflow.triggers.base"), "open_shared_stream")


__all__ = [
    "a_run_per_partition", "add_partitions", "airflow_asset", "asset_key", "can_link", "can_watch", "clear_number", "cron_trigger",
    "deadline", "partitions_at_runtime", "retry_policy", "run_page", "running_task", "task_states", "when_assets_change",
]  # fmt: skip
