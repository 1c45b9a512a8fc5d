"""Materialise a Dagster job in this process and show it to a person at a terminal: progress while it runs, a table at the end.

Not here: which job, and what it needs to run (`cli.py`).
"""

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import dagster as dg

from etl_assets.progress import listening

POLL_SECONDS = 0.3
_SHOWN = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
}


@dataclass(frozen=True, kw_only=True)
class TableLine:
    """One table of the summary; counts are rows.

    Attributes:
        table: Asset key.
        read: Rows the asset started from.
        loaded: Rows stored.
        quarantined: Rows that broke the contract.
        dropped: Rows that a declared rule dropped.
        seconds: Wall time of the step: computing, checking, loading.
    """

    table: str
    read: int
    loaded: int
    quarantined: int
    dropped: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a materialisation came to.

    Attributes:
        success: Every step succeeded.
        tables: One line per table that was stored, in order.
        warnings: Checks that did not pass, in words.
        failures: Why steps failed, in words.
    """

    success: bool
    tables: tuple[TableLine, ...]
    warnings: tuple[str, ...]
    failures: tuple[str, ...]

    def __add__(self, later: "Outcome") -> "Outcome":
        return Outcome(
            success=self.success and later.success,
            tables=self.tables + later.tables,
            warnings=self.warnings + later.warnings,
            failures=self.failures + later.failures,
        )


def materialise(job: dg.JobDefinition, instance: dg.DagsterInstance, out: TextIO, *, partitions: tuple[str, str] | None = None) -> Outcome:
    """Run a job in this process, one line per event on `out`.

    Args:
        job: The job.
        instance: Where the run is kept.
        out: Where progress goes.
        partitions: First and last partition, for a job that has some.
    """
    tags = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), partitions or (), strict=False))
    # As Dagster's own webserver does: keep connections to its storage open, instead of a new one for each of hundreds of events.
    instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=5)
    run_id = str(uuid.uuid4())
    with _progress(instance, run_id, out), listening(lambda report: print(f"      {report}", file=out, flush=True)):
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            raise_on_error=False,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    seconds = {stats.step_key: (stats.end_time or 0) - (stats.start_time or 0) for stats in instance.get_run_step_stats(run_id)}
    tables: dict[str, TableLine] = {}
    for event in result.get_asset_materialization_events():
        numbers = {name: value.value for name, value in event.materialization.metadata.items()}
        loaded = _whole(numbers.get("rows_loaded", numbers.get("dagster/row_count")))
        # One event per partition tells of the load of them all.
        table = event.materialization.asset_key.to_user_string()
        tables[table] = TableLine(
            table=table,
            read=_whole(numbers.get("rows_read", loaded)),
            loaded=loaded,
            quarantined=_whole(numbers.get("rows_quarantined")),
            dropped=_whole(numbers.get("rows_dropped")),
            seconds=seconds.get(event.step_key or "", 0.0),
        )
    warnings = tuple(
        f"{check.asset_key.to_user_string()}: {check.check_name}: {_failed_rows(check.metadata)}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    )
    failures = tuple(_why(event) for event in result.all_events if event.is_step_failure)
    return Outcome(success=result.success, tables=tuple(tables.values()), warnings=warnings, failures=failures)


def summary(tables: Sequence[TableLine]) -> str:
    """The lines as a table for a terminal."""
    header = ("table", "rows read", "loaded", "quarantined", "dropped", "seconds")
    rows = [(t.table, f"{t.read:,}", f"{t.loaded:,}", f"{t.quarantined:,}", f"{t.dropped:,}", f"{t.seconds:.2f}") for t in tables]
    widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


@contextmanager
def _progress(instance: dg.DagsterInstance, run_id: str, out: TextIO) -> Iterator[None]:
    """Print events of the run from its event log while the block runs, and the rest when it ends."""
    finished = threading.Event()
    failed: list[BaseException] = []

    def watch() -> None:
        cursor: str | None = None
        try:
            while True:
                last = finished.wait(POLL_SECONDS)
                if not instance.has_run(run_id):
                    if last:
                        return
                    continue
                while True:
                    page = instance.get_records_for_run(run_id, cursor=cursor, of_type=_SHOWN)
                    cursor = page.cursor
                    for record in page.records:
                        line = _line(record.event_log_entry.dagster_event)
                        if line:
                            print(line, file=out, flush=True)
                    if not page.has_more:
                        break
                if last:
                    return
        except BaseException as error:  # handed to the caller below
            failed.append(error)

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
    if failed:
        raise failed[0]


def _line(event: dg.DagsterEvent | None) -> str | None:
    if event is None:
        return None
    if event.event_type is dg.DagsterEventType.STEP_START:
        return f"  ... {_name(event.step_key)}"
    if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
        made = event.step_materialization_data.materialization
        if made.partition is not None:
            return f"  ok  {event.asset_key.to_user_string()} [{made.partition}]"
        rows = made.metadata.get("rows_loaded", made.metadata.get("dagster/row_count"))
        return f"  ok  {event.asset_key.to_user_string()}: {_whole(rows.value if rows else 0):,} rows"
    if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY:
        return f"  again {_name(event.step_key)}"
    return f"  FAILED {_name(event.step_key)}"


def _name(step_key: str | None) -> str:
    return (step_key or "?").replace("__", "/", 1)


def _whole(value: Any) -> int:
    return int(value) if value is not None else 0


def _failed_rows(metadata: Mapping[str, Any]) -> str:
    rows = metadata.get("failed_rows")
    return f"{_whole(rows.value):,} rows" if rows is not None else "failed"


def _why(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    said = error.message.strip().splitlines()[0] if error is not None else "no reason given"
    return f"{_name(event.step_key)}: {said} Next: run it again with `--traceback` before the command to see where."


__all__ = ["Outcome", "TableLine", "materialise", "summary"]
