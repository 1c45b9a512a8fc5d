"""Warm starts: which processes import what.

Not here: what a start costs (`benchmarks/bridge.py`), whether it is set up (`test_doctor.py`).
"""

import json
import os
import subprocess
import sys

import pytest

LOOK = """
import json, os, sys
from airflow_bridge.preload import warm
failed = warm()
print(json.dumps({
    "failed": failed, "warm": os.environ.get("AIRFLOW_BRIDGE_WARM"),
    "modules": [name for name in ("dagster", "pandas", "airflow_bridge.dags", "wsgiref", "etl_assets") if name in sys.modules],
}))
"""


def started(*arguments: str, **variables: str) -> dict[str, object]:
    """What is imported in a process with these arguments."""
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", LOOK, *arguments], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("arguments", [["scheduler"], ["celery", "worker", "--concurrency", "2"]])
def test_processes_that_fork_tasks_import_libraries(arguments: list[str]) -> None:
    """Scheduler and Celery workers import what tasks need, and nothing of the project."""
    assert started(*arguments) == {"failed": [], "warm": "1", "modules": ["dagster", "pandas", "airflow_bridge.dags"]}


def test_the_dag_processor_imports_no_dagster() -> None:
    """What reads DAG files has the bridge's half of Airflow ready, and neither dagster nor pandas."""
    assert started("dag-processor") == {"failed": [], "warm": None, "modules": ["airflow_bridge.dags"]}


@pytest.mark.parametrize("arguments", [[], ["api-server"], ["triggerer"], ["tasks", "test", "scheduler_dag", "celery"]])
def test_other_processes_import_nothing(arguments: list[str]) -> None:
    """Every other process of Airflow starts as before."""
    assert started(*arguments) == {"failed": [], "warm": None, "modules": []}


def test_modules_of_ones_own() -> None:
    """Further libraries come by a variable; one that does not import is told and stops nothing, one that is not installed is none."""
    found = started("scheduler", AIRFLOW_BRIDGE_PRELOAD="wsgiref, not_installed_anywhere, etl_assets.no_such_module")
    assert "wsgiref" in str(found["modules"])
    assert "no_such_module" in str(found["failed"])
    assert "not_installed" not in str(found["failed"])
