"""Tasks that watch the steps of a job that one task runs, without occupying a worker. Airflow 3.3.

    scheduler -> triggerer: a trigger per task, one look at Dagster's event log per run and second for all of them -> done

A watched step that nobody runs any more, because its producer was killed or only this task was cleared, goes to a worker in the same try.

Not here: the task that runs the job (`operators.JobOperator`); how the event log is read (`reader.py`).
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.triggers.base import BaseEventTrigger, StartTriggerArgs, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_bridge.launcher import JobRequest, SubprocessLauncher, run_id_for
from airflow_bridge.operators import BridgeOperator

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 1.0
_ANSWER_SECONDS = 60.0
_STARTED = "PIPELINE_START"
_OVER = ("success", "failed", "skipped", "upstream_failed", "removed")
_FAILURES_TOLD = 30


class WatchOperator(BridgeOperator):
    """Ends as its step ends in the Dagster run; its work is done by the producer, and only else by a worker."""

    template_fields = ("run_name", "since")

    def __init__(self, *, step: str, producer: str, dag_id: str, **options: Any) -> None:
        """Set up.

        Args:
            step: Key of the step.
            producer: Id of the task that runs the job.
            dag_id: Of the DAG.
            options: Of every task.
        """
        super().__init__(**options)
        self.step = step
        # Filled in by the triggerer: the serialised task has no other way to know its run, and when that began or was cleared last. How
        # often it was cleared Airflow does not tell a triggerer.
        self.run_name = "{{ run_id }}"
        self.since = "{{ dag_run.start_date.timestamp() }}"
        launcher = self.launcher
        limit = self.execution_timeout.total_seconds() if self.execution_timeout is not None else None
        self.start_from_trigger = True
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=f"{StepTrigger.__module__}.{StepTrigger.__qualname__}",
            trigger_kwargs={
                "dag_id": dag_id,
                "run_name": self.run_name,
                "since": self.since,
                "group": self.bond.group,
                "step": step,
                "producer": producer,
                "python": launcher.python if isinstance(launcher, SubprocessLauncher) else "",
                "limit_seconds": limit,
            },
            next_method="resume",
            next_kwargs=None,
            timeout=None,
        )

    def execute(self, context: Any) -> dict[str, int | None]:
        """Never called by a scheduler, which starts the task in the triggerer; `airflow tasks test` runs the step."""
        return self.resume(context)

    def resume(self, context: Any, event: Any = None) -> dict[str, int | None]:
        """Run the step here: nobody else will."""
        if event and event.get("failed"):
            raise AirflowFailException(str(event["failed"]))
        if event:
            self.log.info("step %s is executed here: %s", self.step, event.get("why"))
        response = self.ask(JobRequest(**self.where(context), only=(self.step,)))
        self.log.info("Dagster run %s, step %s", response.run_id, self.step)
        counts = self.made(context, response)
        if not response.success:
            raise AirflowFailException(response.message)
        return counts


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How a Dagster run is going.

    Attributes:
        producer: Airflow's state of the task that runs the job; None before it has one.
        cancelled: When the run was cancelled in Dagster, seconds since 1970; None where it goes on.
        verdicts: How and when steps ended the last time, by step key.
    """

    producer: str | None = None
    cancelled: float | None = None
    verdicts: Mapping[str, tuple[str, float]] = field(default_factory=dict)

    def after(self, events: Iterable[tuple[str, str | None, float]]) -> "Snapshot":
        """With what has happened since."""
        cancelled, verdicts = self.cancelled, dict(self.verdicts)
        for kind, step, time_ in events:
            if step is not None:
                verdicts[step] = (kind, time_)
            else:
                cancelled = None if kind == _STARTED else time_
        return Snapshot(producer=self.producer, cancelled=cancelled, verdicts=verdicts)


def decide(snapshot: Snapshot, step: str, since: float) -> TriggerEvent | None:
    """What becomes of a watcher; None to go on watching.

    Args:
        snapshot: How the run is going.
        step: Key of the step.
        since: When the DAG run began, or was cleared last: what happened before does not count.
    """
    verdict, at = snapshot.verdicts.get(step, ("", 0.0))
    if at >= since:
        if verdict == "STEP_SUCCESS":
            return TaskSuccessEvent()
        if verdict == "STEP_SKIPPED":
            return TaskSkippedEvent()
        if verdict == "STEP_FAILURE":
            return TaskFailedEvent()
    if snapshot.cancelled is not None and snapshot.cancelled >= since:
        return TaskFailedEvent()
    if snapshot.producer in _OVER:
        # What comes before this step succeeded, or Airflow would not have started its task; so it may run.
        return _event({"why": f"the task that runs the job is {snapshot.producer}, and the step has not run"})
    return None


def _event(payload: Mapping[str, Any]) -> TriggerEvent:
    """Goes to the method that resumes the task on a worker."""
    event: Any = TriggerEvent
    return cast("TriggerEvent", event(dict(payload)))


class StepTrigger(BaseEventTrigger):
    """Watches one step; the triggers of one run share what they see."""

    def __init__(
        self, *, dag_id: str, run_name: str, since: float | str, group: str, step: str, producer: str, python: str,
        limit_seconds: float | None,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self.dag_id = dag_id
        self.run_name = run_name
        self.since = since
        self.group = group
        self.step = step
        self.producer = producer
        self.python = python
        self.limit_seconds = limit_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments, templates filled in."""
        names = ("dag_id", "run_name", "since", "group", "step", "producer", "python", "limit_seconds")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    def shared_stream_key(self) -> tuple[str, ...]:
        """One look for all steps of a run."""
        return ("airflow_bridge", self.dag_id, self.run_name, self.group)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Snapshot]:
        """Snapshots of the run, for ever."""
        run_id = run_id_for(kwargs["dag_id"], kwargs["run_name"], kwargs["group"])
        reader = _reader(kwargs["python"] or sys.executable)
        now, cursor, looks = Snapshot(), None, 0
        while True:
            producer = now.producer
            if looks % 3 == 0:
                # Before the run: else a producer that ends in between would look as if it had died.
                producer = await sync_to_async(_state)(kwargs["dag_id"], kwargs["run_name"], kwargs["producer"])
            looks += 1
            answer = await reader.ask(run_id, cursor)
            if answer is not None:
                cursor = answer["cursor"]
                now = replace(now, producer=producer).after(answer["events"])
            yield now
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def filter_shared_stream(self, stream: AsyncIterator[Snapshot]) -> AsyncIterator[TriggerEvent]:
        """The one event of this step."""
        begun = time.monotonic()
        async for snapshot in stream:
            event = decide(snapshot, self.step, float(self.since))
            if event is None and self.limit_seconds is not None and time.monotonic() - begun > self.limit_seconds:
                event = _event({"failed": f"step {self.step} has no result after {self.limit_seconds:.0f} s. Next: see the producer."})
            if event is not None:
                self.log.info("step %s: %s", self.step, event)
                yield event
                return

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """As with the others, alone."""
        async for event in self.filter_shared_stream(type(self).open_shared_stream(self.serialize()[1])):
            yield event


def _state(dag_id: str, run_id: str, task_id: str) -> str | None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, task_ids=[task_id], run_ids=[run_id])
    found = (states.get(run_id) or {}).get(task_id)
    return None if found is None else str(getattr(found, "value", found))


class _Reader:
    """The process that reads Dagster's event log for this triggerer."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._failures = 0

    async def ask(self, run_id: str, cursor: str | None) -> dict[str, Any] | None:
        """How a run is going; None where that cannot be told now."""
        async with self._turn:
            try:
                answer = await asyncio.wait_for(self._ask({"run_id": run_id, "cursor": cursor}), _ANSWER_SECONDS)
            except (TimeoutError, OSError, ValueError) as error:
                self._end()
                answer = {"error": f"{self._python} -m airflow_bridge.reader: {type(error).__name__} {error}"}
        if "error" in answer:
            if self._failures % _FAILURES_TOLD == 0:
                logger.warning("Dagster's event log cannot be read, and is tried again: %s", answer["error"])
            self._failures += 1
            return None
        self._failures = 0
        return answer

    async def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                self._python, "-m", "airflow_bridge.reader", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(request)}\n".encode())
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise ValueError(f"it ended with code {await self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._process = None


_READERS: dict[tuple[str, int], _Reader] = {}


def _reader(python: str) -> _Reader:
    """The reader of this event loop."""
    return _READERS.setdefault((python, id(asyncio.get_running_loop())), _Reader(python))


__all__ = ["Snapshot", "StepTrigger", "WatchOperator", "decide"]
