"""The tasks of a converted DAG: thin, every piece of Dagster work lies behind the launcher.

Not here: which tasks there are (`dags.py`).
"""

from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from airflow_bridge.launcher import FinishRequest, InlineLauncher, Launcher, Response, StepRequest
from airflow_bridge.manifest import Code

PARTITION = "partition"
"""Parameter of a DAG run that names its partition."""


class _BridgeOperator(BaseOperator):
    """What both tasks need: where the code is, and how to reach the runner."""

    def __init__(self, *, code: Code, job: str, launcher: Launcher | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.code = code
        self.job = job
        self.launcher = launcher or InlineLauncher()

    def _where(self, context: Any) -> dict[str, Any]:
        return {
            "module": self.code.module,
            "attribute": self.code.attribute,
            "location": self.code.location,
            "job": self.job,
            "dag_id": context["ti"].dag_id,
            "dag_run_id": context["run_id"],
        }


class StepOperator(_BridgeOperator):
    """Executes one step of the Dagster run that belongs to this DAG run."""

    def __init__(self, *, step: str, **options: Any) -> None:
        super().__init__(**options)
        self.step = step

    def execute(self, context: Any) -> dict[str, int | None]:
        """Row counts by asset key; a failure that Dagster would not retry is not retried here either."""
        request = StepRequest(**self._where(context), step=self.step, attempt=context["ti"].try_number - 1, partition=_partition(context))
        response = self.launcher.launch(request)
        self.log.info("Dagster run %s, step %s", response.run_id, self.step)
        for check in response.failed_checks:
            self.log.warning("asset check did not pass: %s", check)
        _raise_unless_successful(response)
        return dict(response.materializations)


class FinishOperator(_BridgeOperator):
    """Closes the Dagster run when all steps are over; fails when one did not succeed, so that the DAG run fails too."""

    def __init__(self, *, steps: tuple[str, ...], **options: Any) -> None:
        super().__init__(**options)
        self.steps = steps

    def execute(self, context: Any) -> None:
        """Ends the Dagster run as success or failure."""
        _raise_unless_successful(self.launcher.launch(FinishRequest(**self._where(context), steps=self.steps)))


def _partition(context: Any) -> str | None:
    """The partition of the DAG run: its key where Airflow knows one, else its parameter."""
    given = context.get("partition_key") or (context.get("params") or {}).get(PARTITION)
    return str(given) if given else None


def _raise_unless_successful(response: Response) -> None:
    if response.success:
        return
    if response.retry:
        raise AirflowException(response.message)
    raise AirflowFailException(response.message)


__all__ = ["PARTITION", "FinishOperator", "StepOperator"]
