"""Manifests to DAGs: schedules, partitions, parameters. Airflow itself, without a scheduler.

Not here: running them (`end_to_end/test_demo.py`).
"""

import datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import CronPartitionTimetable, CronTriggerTimetable, PartitionedAtRuntime

from airflow_bridge.dags import DAGSTER, dag_from_manifest, dags_from_folder
from airflow_bridge.export import manifests_of, read_project, write
from airflow_bridge.manifest import ManifestError

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
