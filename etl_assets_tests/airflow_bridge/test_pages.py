"""The pages of docs/airflow are true: their Python and YAML make DAGs of a project like the one they speak of.

Not here: the commands of `set-up.md` (`end_to_end/test_demo.py`).
"""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from airflow_bridge.dags import dag_from_manifest, dags_from_folder
from airflow_bridge.export import manifests_of, write
from airflow_bridge.job_manifest import Project
from airflow_bridge.manifest import Code

PAGES = Path(__file__).parents[2] / "docs" / "airflow"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of DAG files, with the manifests of a shop beside them."""

    @dg.asset(key=["raw", "orders"], group_name="live")
    def orders() -> int:
        return 1

    @dg.asset(key=["mart", "revenue"], group_name="mart", kinds={"dbt"}, deps=[orders])
    def revenue() -> int:
        return 1

    @dg.asset(key=["mart", "guess"], group_name="experiments", deps=[orders])
    def guess() -> int:
        return 1

    assets = [orders, revenue, guess]
    definitions = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("shop", selection=assets)])
    write(manifests_of(Project(definitions, Code(module="shop", attribute="defs", location="shop"))), tmp_path / "manifests")
    return tmp_path


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)


def run(page: str, folder: Path) -> dict[str, Any]:
    """Run the Python blocks of a page as DAG files of the folder; the names they leave."""
    names: dict[str, Any] = {"__file__": str(folder / "asset_dags.py")}
    for block in blocks(page, "python"):
        lines = block.replace("/opt/airflow/dags", str(folder))
        indent = len(lines) - len(lines.lstrip())
        exec(compile("\n".join(line[indent:] for line in lines.splitlines()), page, "exec"), names)
    return names


def test_the_dag_file(folder: Path) -> None:
    """The DAG file of the set-up page is the one that is shipped, and makes a DAG of each manifest."""
    assert sorted(run("set-up.md", folder)["shop"].task_ids) == ["finish", "mart__guess", "mart__revenue", "raw__orders"]
    shipped = PAGES.parents[1] / "docker" / "airflow" / "dags" / "asset_dags.py"
    assert "".join(line.strip() for line in blocks("set-up.md", "python")[0].splitlines()) in "".join(shipped.read_text().splitlines())


def test_settings_of_dags(folder: Path) -> None:
    """Selection, exclusion and overrides do what the page says."""
    names = run("dags.md", folder)
    nightly = names["shop_nightly" if "shop_nightly" in names else "nightly"]
    assert (nightly.dag_id, sorted(nightly.task_ids)) == ("shop_nightly", ["finish", "mart__revenue", "raw__orders"])
    assert (nightly.get_task("mart__revenue").pool, nightly.get_task("raw__orders").retries) == ("dbt", 5)
    assert nightly.get_task("raw__orders").execution_timeout.total_seconds() == 600
    assert names["shop"].tags >= {"shop"}


def test_settings_without_python(folder: Path) -> None:
    """The YAML of the page makes two DAGs of one job, beside one for each job that it does not name."""
    (folder / "manifests" / "dags.yaml").write_text(blocks("dags.md", "yaml")[0])
    made = dags_from_folder(folder / "manifests", file="dags.yaml")
    assert {name: sorted(dag.task_ids) for name, dag in made.items()} == {
        "shop_nightly": ["finish", "mart__revenue", "raw__orders"], "shop_hourly": ["finish", "raw__orders"],
    }  # fmt: skip
    assert made["shop_hourly"].get_task("raw__orders").retries == 5


def test_launchers_and_warm_starts(folder: Path) -> None:
    """The launcher of the page is that of every task, and the two lines of a warm start do nothing outside the processes they are for."""
    task: Any = run("modes.md", folder)["shop"].get_task("raw__orders")
    assert task.launcher.options == {"namespace": "etl"}


def test_alerts(folder: Path) -> None:
    """The alerts of the page are told of failures, and the DAG has its deadline."""
    dag = run("alerts.md", folder)["shop"]
    task: Any = dag.get_task("raw__orders")
    assert [alert.kind for alert in task.on_failure_callback[0].alerts] == ["email", "webhook"]
    assert dag.deadline is not None
    (yaml,) = re.findall(r"`alerts: (\[.*?\])`", (PAGES / "alerts.md").read_text())
    assert "email" in yaml


def test_every_row_of_clears_has_its_test() -> None:
    """Each row of the table of clears names tests that exist."""
    named = set(re.findall(r"`(test_\w+)`", (PAGES / "clears.md").read_text()))
    there = set(
        re.findall(r"^def (test_\w+)", (PAGES.parents[1] / "etl_assets_tests/acceptance/test_airflow.py").read_text(), re.MULTILINE)
    )
    assert len(named) > 15
    assert named <= there


def test_one_manifest_as_its_own_dag(folder: Path) -> None:
    """A manifest by its path makes the same DAG as the folder does."""
    assert sorted(dag_from_manifest(folder / "manifests" / "shop.json").task_ids) == sorted(
        dags_from_folder(folder / "manifests")["shop"].task_ids
    )
