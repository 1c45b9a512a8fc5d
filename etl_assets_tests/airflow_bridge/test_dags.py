"""Manifests to DAGs: schedules, partitions, parameters. Airflow itself, without a scheduler.

Not here: running them (`end_to_end/test_demo.py`).
"""

import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from airflow.sdk import CronPartitionTimetable, CronTriggerTimetable, PartitionedAtRuntime

from airflow_bridge.dags import DAGSTER, dag_from_manifest, dags_from_folder
from airflow_bridge.export import manifests_of, read_project, write
from airflow_bridge.job_manifest import Project
from airflow_bridge.manifest import Code, ManifestError

PROJECT = "etl_assets_tests.airflow_bridge.project"


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests of the project."""
    folder = tmp_path_factory.mktemp("manifests")
    write(manifests_of(read_project(PROJECT)), folder)
    return folder


def test_a_dag_per_manifest(manifests: Path) -> None:
    """A folder of manifests is a DAG for each job, with a task per step and one that closes the run."""
    dags = dags_from_folder(manifests)
    assert sorted(dags) == ["both", "checked", "customers", "days", "failing", "sums"]
    assert sorted(dags["sums"].task_ids) == ["finish", "flaky", "numbers", "total"]


@pytest.mark.parametrize("job", ["sums", "days", "both", "customers"])
def test_nothing_is_scheduled_by_itself(manifests: Path, job: str) -> None:
    """A DAG runs when it is triggered: the job may be scheduled by Dagster. One with partitions is triggered with a key."""
    timetable: Any = dag_from_manifest(manifests / f"{job}.json").timetable
    assert timetable.can_be_scheduled is False
    assert isinstance(timetable, PartitionedAtRuntime) is (job != "sums")


def test_the_schedule_of_dagster(manifests: Path) -> None:
    """On request a DAG runs when Dagster would run the job, in the same time zone."""
    timetable: Any = dag_from_manifest(manifests / "sums.json", schedule=DAGSTER).timetable
    assert isinstance(timetable, CronTriggerTimetable)
    assert (timetable.expression, str(timetable.timezone)) == ("0 6 * * *", "Europe/Madrid")


def test_a_run_per_partition(manifests: Path) -> None:
    """On request a job partitioned by time runs once per partition when it is over, from the first to the last, with Dagster's keys."""
    dag = dag_from_manifest(manifests / "days.json", schedule=DAGSTER)
    timetable: Any = dag.timetable
    assert isinstance(timetable, CronPartitionTimetable)
    assert (timetable.expression, str(timetable.timezone), timetable.run_offset) == ("0 0 * * *", "Europe/Madrid", -1)
    assert timetable.key_format == "%Y-%m-%d"
    madrid = datetime.timezone(datetime.timedelta(hours=1))
    assert (dag.start_date, dag.end_date) == (
        datetime.datetime(2026, 1, 1, tzinfo=madrid), datetime.datetime(2026, 2, 1, tzinfo=madrid),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("failing", "job failing has no schedule in Dagster"),
        ("both", "the partitions of job both are not by time alone"),
        ("customers", "the partitions of job customers are not by time alone"),
    ],
)
def test_a_schedule_that_dagster_has_not(manifests: Path, job: str, said: str) -> None:
    """Where no schedule follows from the job, asking for it is an import error with the next step."""
    with pytest.raises(ManifestError, match=rf"{said}.* Next: "):
        dag_from_manifest(manifests / f"{job}.json", schedule=DAGSTER)


def test_a_schedule_of_ones_own(manifests: Path) -> None:
    """Any schedule that Airflow takes may be given instead."""
    timetable: Any = dag_from_manifest(manifests / "days.json", schedule="@daily").timetable
    assert timetable.can_be_scheduled


@pytest.mark.parametrize(("job", "named"), [("sums", []), ("days", ["partition"]), ("both", ["partition"])])
def test_the_partition_is_a_parameter(manifests: Path, job: str, named: list[str]) -> None:
    """A job with partitions can be triggered with a parameter too, for those who have no partition key at hand."""
    assert list(dag_from_manifest(manifests / f"{job}.json").params) == named


def test_parameters_of_ones_own_come_along(manifests: Path) -> None:
    """Further parameters stand beside that of the partition."""
    assert sorted(dag_from_manifest(manifests / "days.json", params={"more": 1}).params) == ["more", "partition"]


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    """The manifest of a job whose assets are called as the bridge calls its own tasks and groups."""

    @dg.asset(owners=["team:zebra", "ann@example.com"], group_name="last")
    def finish() -> int:
        return 1

    @dg.asset(deps=[finish])
    def run_job() -> int:
        return 1

    @dg.asset(deps=[run_job])
    def group_last() -> int:
        return 1

    assets = [finish, run_job, group_last]
    definitions = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("awkward", selection=assets, tags={"tier": "1"})])
    write(manifests_of(Project(definitions, Code(module="m", attribute="defs", location="m"))), tmp_path)
    return tmp_path / "awkward.json"


@pytest.mark.parametrize(("mode", "more"), [("steps", {"finish_"}), ("watch", {"finish_", "run_job_"}), ("asset_runs", set())])
def test_assets_called_like_tasks_of_the_bridge(awkward: Path, mode: str, more: set[str]) -> None:
    """An asset may have any name: tasks and groups of the bridge's own give way."""
    dag = dag_from_manifest(awkward, mode=mode)
    assert set(dag.task_ids) == {"finish", "run_job", "group_last", *more}
    assert "group_last_" in dag.task_group_dict


def test_the_first_owner(awkward: Path) -> None:
    """The task's owner is the asset's first one."""
    assert dag_from_manifest(awkward).get_task("finish").owner == "team:zebra"


def test_tags_are_added(awkward: Path) -> None:
    """Tags that a DAG is given come beside those that follow from the job; a text is none."""
    assert dag_from_manifest(awkward, tags=["mine"]).tags == {"dagster", "mine", "tier=1"}
    with pytest.raises(ManifestError, match=r"tags='mine' is a text, not a list\. Next: "):
        dag_from_manifest(awkward, tags="mine")


def test_a_schedule_that_is_none(awkward: Path) -> None:
    """A word that is no schedule is an error with those that are."""
    with pytest.raises(ManifestError, match=r"there is no schedule 'dagstr'\. Next: give \"dagster\", \"assets\""):
        dag_from_manifest(awkward, schedule="dagstr")
