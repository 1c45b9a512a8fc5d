"""Tells Airflow's triggerer how Dagster runs are going: one request and one answer per line, on standard input and output.

    {"run_id": ..., "cursor": ...}  ->  {"events": [[kind, step, time], ...], "cursor": ...}

A process of its own, so that the triggerer imports neither dagster nor pandas; one for all runs that it watches. Imports no airflow and
nothing of the project.

Not here: what the answers mean for a task (`watching.py`).
"""

import json
import sys
from typing import Any, TextIO

import dagster as dg

_KIND = dg.DagsterEventType
_KINDS: Any = {
    _KIND.RUN_START, _KIND.RUN_CANCELING, _KIND.RUN_CANCELED, _KIND.STEP_SUCCESS, _KIND.STEP_FAILURE, _KIND.STEP_SKIPPED,
}  # fmt: skip


def look(instance: dg.DagsterInstance, run_id: str, cursor: str | None) -> dict[str, Any]:
    """How a run is going.

    Returns:
        events: Kind, step and time (seconds since 1970) of starts and cancellations of the run and of the ends of its steps since the
            cursor, oldest first; none where there is no run yet.
        cursor: After the last of them.
    """
    events = []
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=_KINDS)
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event is not None:
                events.append([event.event_type_value, event.step_key, record.event_log_entry.timestamp])
        cursor = page.cursor
        if not page.has_more:
            return {"events": events, "cursor": cursor}


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer every line until there are no more; what goes wrong is an answer too."""
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(statement_timeout=20_000, pool_recycle=3600, max_overflow=2)
        for line in requests:
            request = json.loads(line)
            try:
                answer = look(instance, request["run_id"], request["cursor"])
            except Exception as error:
                # The storage may be back at the next request; the watcher has a deadline.
                answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"}
            answers.write(f"{json.dumps(answer)}\n")
            answers.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)

__all__ = ["look", "serve"]
