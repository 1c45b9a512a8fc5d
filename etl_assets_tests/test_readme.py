"""The README is true: its commands exist, its snippets run and do what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from etl_assets.loading.postgres import PostgresResource

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run(folder: Path, script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run lines of shell with the project's environment on the path."""
    given = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder), **variables}
    return subprocess.run(["/bin/sh", "-ec", script], cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=200)


def test_make_targets_exist() -> None:
    """Every `make` target that the README names is in `make help`."""
    named = set(re.findall(r"`?make ([a-z-]+)", README)) - {"a"}
    listed = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    assert named
    assert {name for name in named if f"make {name} " not in listed} == set()


def test_map_names_what_is_there() -> None:
    """Every path in the map of the house exists."""
    table = README[README.index("## The map of the house") :]
    paths = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    named = [path for cell in paths for path in re.findall(r"`([^`]+)`", cell)]
    folders = [ROOT, ROOT / "etl_assets"]
    assert [path for path in named if not any((folder / path).exists() for folder in folders)] == []


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    """Every relative link leads to a file."""
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's `shop.py` and `orders.csv`."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(blocks("python")[0])
    (folder / "orders.csv").write_text(blocks("csv")[0])
    folder.chmod(0o755)
    return folder


def test_shortest_asset(shop: Path, database_url: str) -> None:
    """The shortest asset loads two rows and keeps the third, as the README says."""
    (shop / "home").mkdir()
    script = blocks("sh")[1].replace("etl-assets postgres start\n", "").replace("$(etl-assets postgres url)", database_url)
    done = run(shop, script, DAGSTER_HOME=str(shop / "home"))
    assert done.returncode == 0, done.stderr[-3000:]
    postgres = PostgresResource(url=database_url)
    assert postgres.read_table("orders", schema="clean")["order_id"].tolist() == [1, 3]
    kept = postgres.read_query("SELECT record->>'amount_eur' AS amount, source_position, rules::text FROM etl.quarantine")
    assert kept.to_numpy().tolist() == [["12,50", "orders.csv line 3", "{amount_eur_type}"]]


def test_postgres_commands(tmp_path: Path) -> None:
    """The commands that start a server print an address that answers."""
    tmp_path.chmod(0o755)
    lines = blocks("sh")[1].splitlines()[:2]
    try:
        done = run(tmp_path, "\n".join([*lines, 'echo "$DATABASE_URL"']), ETL_HOME=str(tmp_path / "home"))
        assert PostgresResource(url=done.stdout.splitlines()[-1]).read_query("SELECT 1 AS one")["one"].tolist() == [1]
    finally:
        run(tmp_path, "etl-assets postgres stop", ETL_HOME=str(tmp_path / "home"))


def test_job_becomes_a_dag(shop: Path) -> None:
    """The exported job and the three lines make a DAG with the asset's task."""
    exported = run(shop, blocks("sh")[2])
    assert exported.returncode == 0, exported.stderr
    (shop / "dag.py").write_text(blocks("python")[1] + "\nprint(sorted(task.task_id for task in globals()['shop'].tasks))\n")
    done = run(shop, "python dag.py", AIRFLOW_HOME=str(shop / "airflow"), AIRFLOW__CORE__LOAD_EXAMPLES="False")
    assert done.stdout.splitlines()[-1] == "['clean__orders', 'finish']", done.stderr[-2000:]
