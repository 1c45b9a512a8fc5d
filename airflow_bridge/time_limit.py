"""What happens when a DAG run exceeds its time limit: Airflow skips its tasks, the last one too, and calls this.

Not here: deadlines, which stop nothing (`alerts.py`); the time limit of one task.
"""

import logging
from collections.abc import Sequence
from typing import Any

from airflow_bridge.alerts import Alert, tell
from airflow_bridge.launcher import FinishRequest, LaunchError, SubprocessLauncher, run_id_for
from airflow_bridge.links import run_url
from airflow_bridge.operators import Bond

logger = logging.getLogger(__name__)


class TimedOut:
    """A failure callback of a DAG: closes the Dagster run and tells of it, when the DAG run took too long."""

    def __init__(self, bond: Bond, alerts: Sequence[Alert]) -> None:
        """Set up.

        Args:
            bond: What the tasks of the DAG have in common.
            alerts: Of whom those are told that want to know of failures.
        """
        self.bond = bond
        self.alerts = tuple(alert for alert in alerts if "failure" in alert.on)

    def __call__(self, context: Any) -> None:
        """Called by Airflow's dag-processor after every failure; those that tasks tell of are none of its business."""
        if context.get("reason") != "timed_out":
            return
        run = context["dag_run"]
        dag_id, run_id = str(run.dag_id), str(run.run_id)
        if self.bond.finish:
            self._close(dag_id, run_id)
        lines = [f"run: {run_id}", "cause: the DAG run exceeded its time limit"]
        if self.bond.dagster_url:
            lines.append(f"Dagster: {run_url(self.bond.dagster_url, run_id_for(dag_id, run_id))}")
        tell(self.alerts, f"{dag_id} failed", "\n".join(lines), logger)

    def _close(self, dag_id: str, run_id: str) -> None:
        bond = self.bond
        request = FinishRequest(
            module=bond.code.module,
            attribute=bond.code.attribute,
            location=bond.code.location,
            job=bond.job,
            dag_id=dag_id,
            dag_run_id=run_id,
            steps=bond.steps,
        )
        # The dag-processor itself never imports dagster.
        launcher = bond.launcher if isinstance(bond.launcher, SubprocessLauncher) else SubprocessLauncher()
        try:
            response = launcher.launch(request)
            logger.info("Dagster run %s: %s", response.run_id, response.message or "closed")
        except LaunchError as error:
            logger.error("the Dagster run stays open: %s", error)


__all__ = ["TimedOut"]
