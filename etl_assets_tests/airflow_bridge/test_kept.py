"""Definitions that are imported before tasks are forked: used while they are what a task would import, and never otherwise.

Not here: libraries (`test_preload.py`), what a task costs (`benchmarks/bridge.py`).
"""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from airflow_bridge import kept

# A parent that keeps definitions, as Airflow's scheduler does, and forks a task per step; between two of them something may change.
PARENT = """
import json, os, sys
from pathlib import Path
from airflow_bridge.preload import warm
failed = warm(["airflow", "scheduler"], definitions=["shop"])
from airflow_bridge.launcher import InlineLauncher, StepRequest

def task(number):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    request = StepRequest(
        module="shop", attribute="defs", location="shop", job="all", dag_id="d", dag_run_id=f"run {number}", step="one", steps=("one",),
        close=True,
    )
    response = InlineLauncher().launch(request)
    if not response.success:
        sys.stderr.write(response.message)
    os._exit(0 if response.success else 1)

codes = [task(0)]
if len(sys.argv) > 1:
    path, text = Path(sys.argv[1]), sys.argv[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    codes.append(task(1))
print(json.dumps({"failed": failed, "parent": os.getpid(), "codes": codes}))
"""
SHOP = """
import os, json
from pathlib import Path
import dagster as dg
from helper import WORD

HERE = Path(__file__).parent
IMPORTED_BY = os.getpid()
FOUND = {"words": (HERE / "words.txt").read_text(), "tables": sorted(path.name for path in (HERE / "tables").iterdir())}

@dg.asset
def one() -> None:
    with (HERE / "told.jsonl").open("a") as told:
        told.write(json.dumps({"imported_by": IMPORTED_BY, "word": WORD, **FOUND}) + os.linesep)

defs = dg.Definitions(assets=[one], jobs=[dg.define_asset_job("all", selection="*")])
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of a project that reads a file and a folder when it is imported."""
    project = tmp_path / "project"
    (project / "tables").mkdir(parents=True)
    (project / "shop.py").write_text(SHOP)
    (project / "helper.py").write_text("WORD = 'first'\n")
    (project / "words.txt").write_text("a b")
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return project


def parent(shop: Path, *change: str) -> tuple[dict[str, object], list[dict[str, object]]]:
    """What a parent says, and what its tasks told."""
    environment = {**os.environ, "DAGSTER_HOME": str(shop.parent / "dagster"), "PYTHONPATH": f"{shop}{os.pathsep}{Path.cwd()}"}
    done = subprocess.run(
        [sys.executable, "-c", PARENT, *change], cwd=shop, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    said["log"] = done.stdout + done.stderr
    told = shop / "told.jsonl"
    return said, [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


def test_tasks_use_the_definitions_of_their_parent(shop: Path) -> None:
    """Nothing has changed: no task imports the project."""
    said, told = parent(shop, str(shop / "elsewhere.txt"), "no part of the project")
    assert (said["failed"], said["codes"]) == ([], [0, 0])
    assert [task["imported_by"] for task in told] == [said["parent"]] * 2


@pytest.mark.parametrize(
    ("path", "text", "seen"),
    [
        ("helper.py", "WORD = 'second one'\n", {"word": "second one"}),
        ("words.txt", "c", {"words": "c"}),
        ("tables/orders.sql", "", {"tables": ["orders.sql"]}),
    ],
)
def test_the_next_task_sees_what_has_changed(shop: Path, path: str, text: str, seen: Mapping[str, object]) -> None:
    """A module, a file that was read and a folder that was listed: the next task imports the project anew, and says why."""
    said, told = parent(shop, str(shop / path), text)
    assert (said["failed"], said["codes"]) == ([], [0, 0])
    before, after = told
    assert before["imported_by"] == said["parent"] != after["imported_by"]
    assert {name: after[name] for name in seen} == seen
    assert f"{(shop / path).parent if path.startswith('tables') else shop / path}, which the definitions of shop are made of" in str(
        said["log"]
    )


def test_a_job_that_is_gone(shop: Path) -> None:
    """After a change the project's own error is that of the new version."""
    said, _ = parent(shop, str(shop / "shop.py"), SHOP.replace('"all"', '"other"'))
    assert said["codes"] == [0, 256]
    assert "shop has no job all any more" in str(said["log"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "import threading; threading.Thread(target=__import__('time').sleep, args=[9], name='ticks', daemon=True).start()",
            "the thread ticks",
        ),
        ("import socket; CONNECTION = socket.socketpair()", "leaves socket:["),
        ("OPENED = open(__file__)", "helper.py open"),
        ("import pathlib; (pathlib.Path(__file__).parent / 'words.txt').write_text('new')", "words.txt, which is being written"),
        ("import sqlite3; sqlite3.connect(':memory:').close()", "opens a database"),
        ("import subprocess; subprocess.run(['true'])", "starts a process"),
    ],
)
def test_what_forks_must_not_share_is_not_used(shop: Path, line: str, reason: str) -> None:
    """An import that leaves something open, or asks elsewhere, is told of, and each task imports the project itself."""
    (shop / "helper.py").write_text(f"WORD = 'first'\n{line}\n")
    said, told = parent(shop)
    assert reason in str(said["failed"])
    assert "Next: mend the import, or correct or leave out its name in what warm() keeps." in str(said["log"])
    assert said["codes"] == [0]
    assert said["parent"] not in [task["imported_by"] for task in told]


@pytest.mark.parametrize("line", ["raise RuntimeError('no licence')", "import sys; sys.exit('no licence')"])
def test_definitions_that_do_not_import(shop: Path, line: str) -> None:
    """The scheduler starts, and the task has the error."""
    (shop / "helper.py").write_text(f"{line}\n")
    said, told = parent(shop)
    assert "could not be imported" in str(said["failed"])
    assert "no licence" in str(said["log"])
    assert told == []
    assert said["codes"] != [0]


def test_what_is_a_library() -> None:
    """Installed packages are; a project below the folder of the interpreter is not."""
    assert kept._is_foreign(f"{sysconfig.get_path('purelib')}/dagster/__init__.py")
    assert not kept._is_foreign(f"{sys.prefix}/dags/shop.py")
