"""A guard with a wide ratio, so that parsing which has become slow shows, and one on bytes; the real figures are those of `make bench`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bridge import BRIDGE, BY_HAND, PRELOADED, export
from benchmarks.bridge_project import width_of

ROOT = Path(__file__).parents[2]
ASSETS = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DAG files of so many assets, and of as many tasks by hand."""
    folder = tmp_path_factory.mktemp("speed")
    export(folder / str(ASSETS), ASSETS)
    texts = {
        "bridge": BRIDGE.format(folder=folder, count=ASSETS, more=""),
        "all outlets": BRIDGE.format(folder=folder, count=ASSETS, more=', outlets="all"'),
        "by hand": BY_HAND.format(count=ASSETS, width=width_of(ASSETS)),
    }
    for key, text in texts.items():
        (folder / key).mkdir()
        (folder / key / "dag.py").write_text(text)
    measured(folder, "parse", "bridge")  # Airflow makes its home
    return folder


def measured(folder: Path, what: str, key: str) -> dict[str, float]:
    """What Airflow takes for a DAG file, in a new process."""
    command = [sys.executable, "-m", "benchmarks.bridge_parse", what, str(folder / key / "dag.py"), PRELOADED[key]]
    environment = {**os.environ, "AIRFLOW_HOME": str(folder / "airflow"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert found["tasks"] >= ASSETS
    return found


def test_parsing_is_near_a_dag_by_hand(folder: Path) -> None:
    """1,000 assets take at most twice the CPU of 1,000 EmptyOperators by hand."""
    found = {key: min(measured(folder, "parse", key)["seconds"] for _ in range(2)) for key in ("bridge", "by hand")}
    assert found["bridge"] / found["by hand"] <= 2, found


def test_a_dag_is_not_much_larger_than_one_by_hand(folder: Path) -> None:
    """1,000 assets are at most 1.1 times the bytes in Airflow's database, 1.8 times with all of them as outlets."""
    found = {key: measured(folder, "bytes", key)["bytes"] for key in ("bridge", "all outlets", "by hand")}
    assert found["bridge"] / found["by hand"] <= 1.1, found
    assert found["all outlets"] / found["by hand"] <= 1.8, found
