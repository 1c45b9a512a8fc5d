"""Each half of the bridge keeps to itself."""

import subprocess
import sys

import pytest

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocked())
import {module}
"""


def imports(module: str, *blocked: str) -> "subprocess.CompletedProcess[str]":
    code = BLOCK.format(names=set(blocked), module=module)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "module",
    [
        "airflow_bridge.alerts",
        "airflow_bridge.dags",
        "airflow_bridge.differences",
        "airflow_bridge.launcher",
        "airflow_bridge.manifest",
        "airflow_bridge.operators",
        "airflow_bridge.watching",
    ],
)
def test_airflow_half_needs_neither_dagster_nor_pandas(module: str) -> None:
    """The Airflow half imports where dagster and pandas are not to be had."""
    done = imports(module, "dagster", "pandas", "etl_assets")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["airflow_bridge.export", "airflow_bridge.reader", "airflow_bridge.runner", "airflow_bridge.__main__"])
def test_dagster_half_needs_no_airflow(module: str) -> None:
    """The Dagster half imports where Airflow is not to be had."""
    done = imports(module, "airflow", "etl_assets")
    assert done.returncode == 0, done.stderr


def test_blocking_works() -> None:
    """The block is real: a module that needs dagster fails under it."""
    assert imports("airflow_bridge.runner", "dagster").returncode != 0
