"""Links from an Airflow task to the Dagster UI.

Not here: the way back; the Dagster run has a tag with the address of the DAG run (`operators.py`).
"""

import urllib.parse
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_bridge.launcher import run_id_for


def run_url(dagster_url: str, run_id: str) -> str:
    """Page of a Dagster run."""
    return f"{dagster_url.rstrip('/')}/runs/{run_id}"


def asset_url(dagster_url: str, asset: str) -> str:
    """Page of an asset."""
    return f"{dagster_url.rstrip('/')}/assets/{urllib.parse.quote(asset)}"


class DagsterRunLink(BaseOperatorLink):
    """The Dagster run of the DAG run, or of the task's try where that is a run of its own."""

    name = "Dagster run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Its address; Airflow's worker keeps it when the task ends."""
        own = {"task": ti_key.task_id, "try_number": ti_key.try_number} if operator.own_run else {}
        return run_url(operator.bond.dagster_url, run_id_for(ti_key.dag_id, ti_key.run_id, operator.bond.group, **own))


class DagsterAssetLink(BaseOperatorLink):
    """The first asset that the task makes or checks."""

    name = "Dagster asset"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Its address; Airflow's worker keeps it when the task ends."""
        return asset_url(operator.bond.dagster_url, operator.about[0]) if operator.about else ""


__all__ = ["DagsterAssetLink", "DagsterRunLink", "asset_url", "run_url"]
