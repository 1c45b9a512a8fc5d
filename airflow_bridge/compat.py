"""What differs between versions of Airflow, in one place: timetables, and what knows of partitions.

Before Airflow 3.3 a run has no partition key; its parameter names the partition. Not here: which schedule a DAG gets (`dags.py`).
"""

import importlib
from typing import Any


def _timetable(name: str) -> Any:
    """A timetable, wherever this version keeps it; None where it has none of that name."""
    for module in ("airflow.sdk", "airflow.timetables.trigger"):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue
        if found is not None:
            return found
    return None


def cron_trigger(cron: str, timezone: str) -> Any:
    """A run at each time of a cron schedule, without a data interval."""
    return _timetable("CronTriggerTimetable")(cron, timezone=timezone)


def partitions_at_runtime() -> Any:
    """Runs are triggered with a partition key; None where Airflow knows no keys."""
    timetable = _timetable("PartitionedAtRuntime")
    return timetable() if timetable is not None else None


def a_run_per_partition(cron: str, timezone: str, key_format: str) -> Any:
    """A run per partition, once it is over.

    Raises:
        RuntimeError: This Airflow knows no partition keys.
    """
    timetable = _timetable("CronPartitionTimetable")
    if timetable is None:
        raise RuntimeError("this Airflow has no partition keys. Next: install Airflow 3.3, or trigger the DAG with its parameter.")
    return timetable(cron, timezone=timezone, run_offset=-1, key_format=key_format)


__all__ = ["a_run_per_partition", "cron_trigger", "partitions_at_runtime"]
