"""A guard with a wide ratio, so that parsing which has become slow shows; the real figures are those of `make bench`."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.bridge import BRIDGE, BY_HAND, PRELOADED, export
from benchmarks.bridge_project import width_of

ROOT = Path(__file__).parents[2]
ASSETS = 1000


def parsed(folder: Path, key: str) -> float:
    """CPU seconds that Airflow takes for a DAG file, in a new process."""
    command = [sys.executable, "-m", "benchmarks.bridge_parse", "parse", str(folder / key / "dag.py"), PRELOADED[key]]
    environment = {**os.environ, "AIRFLOW_HOME": str(folder / "airflow"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tasks"] >= ASSETS
    return float(found["seconds"])


def test_parsing_is_near_a_dag_by_hand(tmp_path: Path) -> None:
    """1,000 assets take at most twice the CPU of 1,000 EmptyOperators by hand."""
    export(tmp_path / str(ASSETS), ASSETS)
    texts = {
        "bridge": BRIDGE.format(folder=tmp_path, count=ASSETS, more=""),
        "by hand": BY_HAND.format(count=ASSETS, width=width_of(ASSETS)),
    }
    for key, text in texts.items():
        (tmp_path / key).mkdir()
        (tmp_path / key / "dag.py").write_text(text)
    parsed(tmp_path, "bridge")  # Airflow makes its home
    found = {key: min(parsed(tmp_path, key) for _ in range(2)) for key in texts}
    assert found["bridge"] / found["by hand"] <= 2, found
