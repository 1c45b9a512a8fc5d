"""Where the links of a task lead, on DAGs of a real manifest; Airflow's own key of the task.

Not here: links as Airflow's API shows them (`acceptance/test_airflow.py`).
"""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.sdk import DAG

from airflow_bridge.dags import dag_from_manifest, task_group_from_manifest
from airflow_bridge.export import write
from airflow_bridge.job_manifest import Project
from airflow_bridge.launcher import run_id_for
from airflow_bridge.links import asset_url, run_url
from airflow_bridge.manifest import Code

UI = "http://dagster:3000"
RUN = "manual__2026-01-01T00:00:00+00:00"


@dg.asset(key_prefix=["raw", "shop"])
def orders() -> None:
    return None


@dg.asset_check(asset=orders)
def are_many() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.multi_asset(specs=[dg.AssetSpec("customers", deps=[orders]), dg.AssetSpec("baskets", deps=[orders])])
def halves() -> tuple[None, None]:
    return None, None


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the job."""
    definitions = dg.Definitions(assets=[orders, halves], asset_checks=[are_many], jobs=[dg.define_asset_job("shop")])
    project = Project(definitions, Code(module="m", attribute="defs", location="m"))
    (path,) = write([project.manifest("shop")], tmp_path_factory.mktemp("manifests"))
    return path


def links(dag: Any, task_id: str, try_number: int = 1) -> dict[str, str]:
    """The links of a try of a task, by name."""
    task = dag.get_task(task_id)
    key = TaskInstanceKey(dag_id=dag.dag_id, task_id=task_id, run_id=RUN, try_number=try_number)
    return {link.name: link.get_link(task, ti_key=key) for link in task.operator_extra_links}


@pytest.mark.parametrize("mode", ["steps", "watch"])
def test_one_run_for_all_tasks(manifest: Path, mode: str) -> None:
    """Where a DAG run is one Dagster run, every try of every task links to it."""
    dag: Any = dag_from_manifest(manifest, mode=mode, dagster_url=UI)
    found = {links(dag, name, number)["Dagster run"] for name in dag.task_ids for number in (1, 2)}
    assert found == {f"{UI}/runs/{run_id_for('shop', RUN)}"}


def test_a_run_for_each_try(manifest: Path) -> None:
    """Where each try of a task is a Dagster run of its own, it links to that one."""
    dag: Any = dag_from_manifest(manifest, mode="asset_runs", dagster_url=UI)
    found = [links(dag, name, number)["Dagster run"] for name in ("raw__shop__orders", "halves") for number in (1, 2)]
    expected = [run_id_for("shop", RUN, task=name, try_number=number) for name in ("raw__shop__orders", "halves") for number in (1, 2)]
    assert found == [f"{UI}/runs/{one}" for one in expected]
    assert len(set(found)) == 4


@pytest.mark.parametrize("mode", ["steps", "asset_runs"])
def test_a_run_of_a_task_group(manifest: Path, mode: str) -> None:
    """Each TaskGroup of a DAG has its own Dagster run."""
    with DAG("around", schedule=None) as dag:
        for name in ("one", "two"):
            task_group_from_manifest(manifest, group_id=name, mode=mode, dagster_url=UI)
    found = [links(dag, f"{name}.halves")["Dagster run"] for name in ("one", "two")]
    own: list[dict[str, Any]] = [{"task": f"{name}.halves", "try_number": 1} if mode == "asset_runs" else {} for name in ("one", "two")]
    assert found == [f"{UI}/runs/{run_id_for('around', RUN, name, **more)}" for name, more in zip(("one", "two"), own, strict=True)]


@pytest.mark.parametrize(
    ("task_id", "path"),
    [
        ("raw__shop__orders", "raw/shop/orders"),
        ("raw__shop__orders_are_many", "raw/shop/orders"),
        ("halves", "customers"),
        ("finish", None),
    ],
)
def test_the_asset_of_a_task(manifest: Path, task_id: str, path: str | None) -> None:
    """A task links to the asset it makes, the first of several, or the one that it checks; the last task makes none."""
    found = links(dag_from_manifest(manifest, dagster_url=UI), task_id)
    assert found.get("Dagster asset") == (f"{UI}/assets/{path}" if path else None)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://d:3000", "http://d:3000"),
        ("http://d:3000/", "http://d:3000"),
        ("https://d/dagster//", "https://d/dagster"),
    ],
)
def test_a_slash_at_the_end_of_the_address(address: str, expected: str) -> None:
    """The address of the UI may end with a slash, and have a path."""
    assert run_url(address, "4711") == f"{expected}/runs/4711"
    assert asset_url(address, "raw/orders") == f"{expected}/assets/raw/orders"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("raw/orders", "raw/orders"),
        ("raw/orders of 2026", "raw/orders%20of%202026"),
        ("raw/größe", "raw/gr%C3%B6%C3%9Fe"),
        ("raw/a?b#c%d", "raw/a%3Fb%23c%25d"),
    ],
)
def test_asset_keys_in_addresses(key: str, path: str) -> None:
    """What an address cannot hold is quoted; slashes between the parts of a key stay."""
    assert asset_url(UI, key) == f"{UI}/assets/{path}"


@pytest.mark.parametrize("mode", ["steps", "watch", "asset_runs"])
@pytest.mark.parametrize(
    ("variable", "option", "address"),
    [
        (None, None, None),
        ("", None, None),
        (UI, None, UI),
        (f"{UI}/", None, UI),
        (None, "http://other", "http://other"),
        (UI, "http://o", "http://o"),
    ],
)
def test_where_the_address_comes_from(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, mode: str, variable: str | None, option: str | None, address: str | None
) -> None:
    """The option wins over the variable DAGSTER_URL; without an address no task has a link."""
    monkeypatch.delenv("DAGSTER_URL", raising=False)
    if variable is not None:
        monkeypatch.setenv("DAGSTER_URL", variable)
    dag: Any = dag_from_manifest(manifest, mode=mode, dagster_url=option)
    found = {name: links(dag, name) for name in dag.task_ids}
    if address is None:
        assert not any(found.values())
    else:
        assert all(one["Dagster run"].startswith(f"{address}/runs/") for one in found.values())
        assert found["halves"]["Dagster asset"] == f"{address}/assets/customers"
