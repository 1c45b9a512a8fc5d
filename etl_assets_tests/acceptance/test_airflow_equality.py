"""What Dagster makes and what Airflow makes is the same: tables, materialisations and checks of two projects in other people's styles.

Not here: the example of this project (`test_airflow_celery.py`).
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from airflow_bridge.manifest import load
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.acceptance.airflow_servers import DAGSTER_YAML, ROOT, Trial, airflow

SHOP = "etl_assets_tests.acceptance.airflow_shop"
STATION = "etl_assets_tests.acceptance.airflow_station:definitions"
# Job and partition, in an order in which each finds what it reads.
RUNS: list[tuple[str, str, str | None]] = [
    (SHOP, "sell", None),
    (SHOP, "count_stock", None),
    (STATION, "measure", "2026-03-28|north"),
    (STATION, "measure", "2026-03-29|north"),
    (STATION, "measure", "2026-03-29|south"),
    (STATION, "write_diary", "2026-03-29"),
    (STATION, "write_diary", "2026-03-30...2026-04-01"),
    (STATION, "report", None),
]
MODES = ["steps", "watch", "asset_runs"]
DAGS = """# airflow dag
from airflow_bridge.dags import dag_from_manifest

for job in ("sell", "measure", "write_diary", "report"):
    for mode in ("steps", "watch", "asset_runs"):
        name = f"{job}_{mode}"
        globals()[name] = dag_from_manifest(f"MANIFESTS/{job}.json", dag_id=name, mode=mode, default_args={"retries": 0})
count_stock = dag_from_manifest("MANIFESTS/count_stock.json", default_args={"retries": 0})
"""
# As somebody runs a job without any Airflow.
BY_DAGSTER = """
import importlib, json, sys
import dagster as dg

for module, job, partition in json.loads(sys.argv[1]):
    name, _, attribute = module.partition(":")
    found = getattr(importlib.import_module(name), attribute or "defs")
    definitions = found() if callable(found) else found
    first, _, last = (partition or "").partition("...")
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last} if last else {}
    with dg.DagsterInstance.get() as instance:
        key = None if last else partition
        definitions.resolve_job_def(job).execute_in_process(instance=instance, partition_key=key, tags=tags)
"""


@dataclass(frozen=True)
class Made:
    """What runs have left behind.

    Attributes:
        tables: Sorted rows by table.
        materializations: Asset, partition, metadata that both sides must agree on, data version where the asset gave one.
        checks: Asset, name, partition, whether it passed, severity.
    """

    tables: Mapping[str, list[str]]
    materializations: list[str]
    checks: list[str]


def made(instance: dg.DagsterInstance, url: str, since: int = 0) -> Made:
    """All there is in the database, and in the event log after a storage id."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        names = connection.execute(
            sa.text("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ('shop', 'station')")
        ).all()
        tables = {
            f"{schema}.{name}": sorted(str(row[0]) for row in connection.execute(sa.text(f'SELECT t::text FROM "{schema}"."{name}" t')))
            for schema, name in names
        }
    engine.dispose()
    materializations, checks = [], []
    for key in instance.all_asset_keys():
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION
        for record in instance.event_log_storage.get_event_records(dg.EventRecordsFilter(event_type=kind, asset_key=key)):
            one: Any = record.asset_materialization
            if record.storage_id > since and one is not None:
                metadata = {name: str(value.value) for name, value in one.metadata.items()}
                given = (one.tags or {}).get("dagster/data_version", "")
                version = given if given.startswith("v") else ""
                materializations.append(json.dumps([key.to_user_string(), one.partition, metadata, version], sort_keys=True))
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    for run in instance.get_runs():
        for record in instance.get_records_for_run(run.run_id, of_type={kind}).records:
            if record.storage_id > since:
                found: Any = record.event_log_entry.dagster_event
                data = found.asset_check_evaluation_data
                checks.append(f"{data.asset_key.to_user_string()}:{data.check_name} {data.passed} {data.severity.value}")
    return Made(tables, sorted(materializations), sorted(checks))


def empty(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA IF EXISTS shop, station CASCADE"))
    engine.dispose()


def last_id(instance: dg.DagsterInstance) -> int:
    return max((cursor for cursor in [instance.event_log_storage.get_maximum_record_id()] if cursor is not None), default=0)


@pytest.fixture(scope="module")
def trial(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """An Airflow with each job in each mode."""
    postgres_server.create_database("equal_tables")
    variables = {"TRIAL_TABLES": postgres_server.url("equal_tables")}
    projects = {SHOP: [], STATION: []}
    with airflow(postgres_server, tmp_path_factory.mktemp("equal"), DAGS, projects, name="equal", variables=variables) as found:
        yield found


@pytest.fixture(scope="module")
def by_dagster(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What Dagster makes without Airflow."""
    home = tmp_path_factory.mktemp("alone")
    urls = []
    for name in ("alone_tables", "alone_dagster"):
        postgres_server.create_database(name)
        urls.append(postgres_server.url(name))
    (home / "dagster.yaml").write_text(DAGSTER_YAML.replace("{env: TRIAL_STORAGE}", f"'{urls[1]}'"))
    environment = {
        "DAGSTER_HOME": str(home),
        "TRIAL_TABLES": urls[0],
        "TRIAL_VALUES": str(home / "values"),
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", BY_DAGSTER, json.dumps(RUNS)], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return made(instance, urls[0])


def test_there_is_something_to_compare(by_dagster: Made) -> None:
    """The projects make their tables: an hour is missing on the day when the clock changes, and every kind of check has a verdict."""
    assert sorted(by_dagster.tables) == [
        "shop.by_country", "shop.customers", "shop.orders", "shop.products", "shop.report", "shop.stock",
        "station.coldest", "station.diary", "station.readings", "station.warmest", "station.weather",
    ]  # fmt: skip
    assert len(by_dagster.tables["station.readings"]) == 24 + 23 + 23
    assert by_dagster.checks == [
        "diary:is_short False ERROR", "diary:is_short True ERROR",
        "shop/by_country:has_italy False WARN", "shop/orders:numbers_are_unique True ERROR",
    ]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_airflow_makes_the_same(trial: Trial, by_dagster: Made, mode: str) -> None:
    """In every mode the same runs leave the same tables, materialisations with their metadata, and check results."""
    url = trial.variables["TRIAL_TABLES"]
    empty(url)
    with trial.dagster() as instance:
        before = last_id(instance)
    for _, job, partition in RUNS:
        dag = job if load(trial.folder / "manifests" / f"{job}.json").whole else f"{job}_{mode}"
        if partition is not None and "..." in partition:
            run = trial.api.trigger(dag, conf={"partition": partition})
        else:
            run = trial.api.trigger(dag, partition_key=partition)
        assert trial.api.ended(dag, run) == "success", (dag, trial.api.states(dag, run))
    with trial.dagster() as instance:
        found = made(instance, url, before)
    assert found.tables == by_dagster.tables
    assert found.materializations == by_dagster.materializations
    assert found.checks == by_dagster.checks


def test_the_graph_is_the_same(trial: Trial) -> None:
    """A graph asset of three ops is three tasks, a multi-asset is one, and what waits for what is as in Dagster."""
    tasks = {one["task_id"]: one for one in trial.api.call("GET", "dags/sell_steps/tasks")["tasks"]}
    assert "selling.draw_orders" in tasks
    assert "selling.add_totals" in tasks["selling.draw_orders"]["downstream_task_ids"]
    assert "selling.draw_orders" in tasks["masters"]["downstream_task_ids"]
    assert Path(trial.folder / "manifests" / "count_stock.json").exists()
