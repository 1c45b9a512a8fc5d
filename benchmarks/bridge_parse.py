"""One measurement of a DAG file in a process of its own: `python -m benchmarks.bridge_parse parse|bytes FILE MODULE [TASK]` prints JSON.

Airflow and MODULE are imported before the clock starts, and nothing else: with psycopg2 in the process Airflow takes 0.1 s more.

Not here: which files (`bridge.py`).
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Measure what the arguments say."""
    what, path, module, *task = sys.argv[1:]
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.serialization.serialized_objects import DagSerialization

    if module == "cosmos":
        sys.path += map(str, (Path(sys.prefix) / "peers" / "lib").glob("python3*/site-packages"))
    if module:
        importlib.import_module(module)
    if task:
        os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"], os.environ["_AIRFLOW_PARSING_CONTEXT_TASK_ID"] = "all_assets", task[0]
    begun = time.process_time()
    bag = BundleDagBag(dag_folder=path, bundle_path=Path(path).parent, bundle_name="benchmark", safe_mode=False)
    seconds = time.process_time() - begun
    assert not bag.import_errors, bag.import_errors
    (dag,) = bag.dags.values()
    found: dict[str, object] = {
        "seconds": seconds,
        "tasks": len(dag.tasks),
        "heavy": [n for n in ("dagster", "pandas") if n in sys.modules],
    }
    if what == "bytes":
        found["bytes"] = len(json.dumps(DagSerialization.to_dict(dag)))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
