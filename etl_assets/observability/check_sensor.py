"""A sensor that tells of asset checks that found something.

A check that fails without blocking lets its run succeed, so Dagster's run failure sensors never fire for it. This one looks at every
run that ended since its last tick, and sends one message per run. Where a message does not arrive the tick fails, and the next one
starts at the same run: a message may come twice, none is lost. What an alert of Airflow has told of already is not told again.

Not here: how a message is sent (`notifications.py`).
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg

from etl_assets.errors import ConfigurationError
from etl_assets.observability.notifications import Notifier

logger = logging.getLogger(__name__)

_ENDS: Any = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)
_RUNS_PER_TICK = 50
# On runs of converted DAGs: the events that Airflow itself tells of.
_AIRFLOW_ALERTS = "airflow/alerts"
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class CheckFailure:
    """One check that found something.

    Attributes:
        asset: Asset key.
        check: Name of the check.
        severity: "WARN" or "ERROR".
        failed_rows: How many rows; None where the check counts none.
        description: What it says; "" for nothing.
        blocked: It made its step fail, and kept what comes after the asset from running.
    """

    asset: str
    check: str
    severity: str
    failed_rows: int | None
    description: str
    blocked: bool = False

    def __str__(self) -> str:
        counted = f", {self.failed_rows} rows" if self.failed_rows is not None else ""
        said = f": {self.description}" if self.description else ""
        return f"{self.severity} {self.asset} {self.check}{counted}{said}"


def check_failure_sensor(
    name: str = "check_failures",
    *,
    notifier: str = "notifier",
    severity: Literal["WARN", "ERROR"] = "WARN",
    base_url: str | None = None,
    minimum_interval_seconds: int = 60,
) -> dg.SensorDefinition:
    """Make the sensor; it runs once the daemon does, and only tells of runs that end from then on.

    Args:
        name: Of the sensor.
        notifier: Key of the resource that tells, such as a `WebhookNotifier` or an `EmailNotifier`.
        severity: "WARN" tells of every check that found something, "ERROR" of the serious ones only.
        base_url: Address of the Dagster UI, for a link to the run; None for none.
        minimum_interval_seconds: Seconds between two looks.

    Raises:
        ConfigurationError: Another severity.
    """
    if severity not in ("WARN", "ERROR"):
        raise ConfigurationError(name, f"severity {severity!r} is unknown; known: WARN, ERROR.", "correct it.")

    @dg.sensor(
        name=name,
        description="Tells of asset checks that found something.",
        minimum_interval_seconds=minimum_interval_seconds,
        required_resource_keys={notifier},
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        teller: Notifier = getattr(context.resources, notifier)
        cursors: dict[str, str | None] = json.loads(context.cursor) if context.cursor else {}
        told = 0
        for kind in _ENDS:
            if kind.value not in cursors:
                # Whatever ended before the first tick is history.
                cursors[kind.value] = _newest(context.instance, kind)
                continue
            for run_id, cursor in _ended(context.instance, kind, cursors[kind.value]):
                found = _untold(context.instance, run_id, list(failures_of(context.instance, run_id, severity)))
                if found:
                    teller.send(*_message(context.instance, run_id, found, base_url))
                    told += 1
                cursors[kind.value] = cursor
                context.update_cursor(json.dumps(cursors))
        context.update_cursor(json.dumps(cursors))
        return dg.SkipReason(f"{told} messages sent" if told else "no check found anything")

    return sensor


def failures_of(instance: dg.DagsterInstance, run_id: str, severity: Literal["WARN", "ERROR"] = "WARN") -> Iterator[CheckFailure]:
    """The checks of a run that found something, at least of this severity."""
    cursor = None
    while True:
        records = instance.get_records_for_run(run_id, cursor=cursor, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        for record in records.records:
            event = record.event_log_entry.dagster_event
            evaluation: Any = event.event_specific_data if event is not None else None
            if not isinstance(evaluation, dg.AssetCheckEvaluation) or evaluation.passed:
                continue
            if severity == "ERROR" and evaluation.severity is not dg.AssetCheckSeverity.ERROR:
                continue
            counted = evaluation.metadata.get("failed_rows")
            yield CheckFailure(
                asset=evaluation.asset_key.to_user_string(),
                check=evaluation.check_name,
                severity=evaluation.severity.value,
                failed_rows=int(str(counted.value)) if counted is not None else None,
                description=evaluation.description or "",
                blocked=bool(evaluation.blocking) and evaluation.severity is dg.AssetCheckSeverity.ERROR,
            )
        if not records.has_more:
            return
        cursor = records.cursor


def _untold(instance: dg.DagsterInstance, run_id: str, found: list[CheckFailure]) -> list[CheckFailure]:
    """Without those that made a task of Airflow fail, where Airflow tells of failed tasks."""
    run = instance.get_run_by_id(run_id)
    events = run.tags.get(_AIRFLOW_ALERTS, "").split(",") if run is not None else []
    return [one for one in found if not one.blocked] if "failure" in events else found


def _newest(instance: dg.DagsterInstance, kind: Any) -> str | None:
    found = instance.fetch_run_status_changes(kind, limit=1)
    if not found.records:
        return None
    # The cursor of an ascending read that ends with the newest record.
    after = dg.RunStatusChangeRecordsFilter(event_type=kind, after_storage_id=found.records[0].storage_id - 1)
    return instance.fetch_run_status_changes(after, limit=1, ascending=True).cursor


def _ended(instance: dg.DagsterInstance, kind: Any, cursor: str | None) -> Iterator[tuple[str, str]]:
    """Runs that ended so since the cursor, each with the cursor after it."""
    for _ in range(_RUNS_PER_TICK):
        found = instance.fetch_run_status_changes(kind, limit=1, cursor=cursor, ascending=True)
        if not found.records:
            return
        cursor = found.cursor
        yield found.records[0].run_id, found.cursor


def _message(instance: dg.DagsterInstance, run_id: str, found: Sequence[CheckFailure], base_url: str | None) -> tuple[str, str]:
    run = instance.get_run_by_id(run_id)
    job = run.job_name if run is not None else "a job"
    serious = sum(failure.severity == "ERROR" for failure in found)
    subject = f"{job}: {len(found)} checks found something" + (f", {serious} of them errors" if serious else "")
    lines = [str(failure) for failure in found[:_SHOWN]]
    lines += [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    lines.append(f"{base_url.rstrip('/')}/runs/{run_id}" if base_url else f"run {run_id}")
    return subject, "\n".join(lines)


__all__ = ["CheckFailure", "check_failure_sensor", "failures_of"]
