"""What is said to change in the DAGs between two exports of a small project, by the function and by `airflow-bridge diff`.

Not here: what is stale (`test_remarks.py`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from airflow_bridge.__main__ import main
from airflow_bridge.differences import differences
from airflow_bridge.export import write
from airflow_bridge.job_manifest import Project
from airflow_bridge.manifest import Code, ManifestError


def asset(name: str, *deps: str, **settings: Any) -> Any:
    """An asset that only waits."""
    return dg.asset(name=name, deps=deps, **settings)(_nothing)


def _nothing() -> None:
    return None


def job(
    *assets: Any, name: str = "sums", location: str = "here", checks: Sequence[Any] = (), schedules: Sequence[Any] = (), **settings: Any
) -> tuple[Project, str]:
    """A project with one job, and the job's name."""
    jobs = [dg.define_asset_job(name, **settings)]
    definitions = dg.Definitions(assets=assets, asset_checks=checks, jobs=jobs, schedules=schedules)
    return Project(definitions, Code(module="shop", attribute="defs", location=location)), name


def export(folder: Path, *jobs: tuple[Project, str]) -> Path:
    """A folder with their manifests."""
    write([project.manifest(name) for project, name in jobs], folder)
    return folder


BEFORE = (asset("raw"), asset("clean", "raw"), asset("mart", "raw"))


@dg.asset_check(asset="a", name="ok")
def ok() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def daily(cron: str = "0 6 * * *", **settings: Any) -> list[dg.ScheduleDefinition]:
    return [dg.ScheduleDefinition(name="daily", job_name="sums", cron_schedule=cron, **settings)]


DAYS = dg.DailyPartitionsDefinition("2026-01-01")
REGIONS = dg.StaticPartitionsDefinition(["eu", "us"])


def _config(field: str) -> Any:
    fields: Any = {"__annotations__": {field: int}, "__module__": __name__}
    kind = type("Config", (dg.Config,), fields)

    def clean(config: Any) -> None:
        return None

    clean.__annotations__ = {"config": kind, "return": None}
    return dg.asset(name="clean", deps=["raw"])(clean)


@dg.sensor(job_name="sums")
def watcher() -> dg.SkipReason:
    return dg.SkipReason("nothing new")


def with_sensor() -> tuple[Project, str]:
    definitions = dg.Definitions(assets=BEFORE, jobs=[dg.define_asset_job("sums")], sensors=[watcher])
    return Project(definitions, Code(module="shop", attribute="defs", location="here")), "sums"


SCHEDULE = "name daily, cron 0 6 * * *, timezone UTC, running False"
SENSOR = "warning sensor: watcher"
RETRY = "max_retries 2, delay_seconds 0.0, backoff constant, jitter none"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(lambda: job(*BEFORE), lambda: job(*BEFORE), [], id="nothing"),
        pytest.param(lambda: job(*BEFORE), lambda: job(*BEFORE[:2]), ["task mart is gone."], id="task gone"),
        pytest.param(lambda: job(*BEFORE[:2]), lambda: job(*BEFORE), ["task mart is new."], id="task new"),
        pytest.param(
            lambda: job(*BEFORE),
            lambda: job(*BEFORE[:2], asset("mart", "raw", "clean")),
            ["task clean: outlets: clean -> none.", "task mart: now waits for clean."],
            id="waits for more",
        ),
        pytest.param(
            lambda: job(asset("a"), asset("b"), asset("c", "a", "b")),
            lambda: job(asset("a"), asset("b"), asset("c")),
            ["task a: outlets: none -> a.", "task b: outlets: none -> b.", "task c: no longer waits for a, b."],
            id="waits for less",
        ),
        pytest.param(
            lambda: job(asset("a"), asset("b", "a", group_name="one", description="Old.", owners=["team:x"], tags={"tier": "1"})),
            lambda: job(asset("a"), asset("b", "a", group_name="two", description="New.", owners=["team:x", "team:y"], pool="db")),
            [
                "task b: group: one -> two.",
                "task b: its description has changed.",
                "task b: owners: team:x -> team:x, team:y.",
                "task b: tags: tier=1 -> none.",
                "task b: pool: none -> db.",
            ],
            id="fields of a task",
        ),
        pytest.param(
            lambda: job(asset("a")),
            lambda: job(asset("a", retry_policy=dg.RetryPolicy(max_retries=2)), checks=[ok]),
            ["task a_ok is new.", f"task a: retry: none -> {RETRY}."],
            id="checks and retries",
        ),
        pytest.param(lambda: job(*BEFORE), lambda: job(*BEFORE, schedules=daily()), [f"schedules: none -> {SCHEDULE}."], id="schedule new"),
        pytest.param(
            lambda: job(*BEFORE, schedules=daily()),
            lambda: job(*BEFORE, schedules=daily("0 7 * * *")),
            [f"schedules: {SCHEDULE} -> {SCHEDULE.replace('6', '7')}."],
            id="schedule changed",
        ),
        pytest.param(
            lambda: job(*BEFORE),
            lambda: job(*(asset(name, partitions_def=REGIONS) for name in ("raw", "clean", "mart"))),
            [
                "task clean: no longer waits for raw.",
                "task mart: no longer waits for raw.",
                "task raw: outlets: none -> raw.",
                "partitions: none -> kind static, keys eu, us, offset 0.",
            ],
            id="partitions",
        ),
        pytest.param(
            lambda: job(*BEFORE),
            lambda: job(*BEFORE, location="there", description="Sums.", tags={"team": "data", "dagster/max_runtime": "60"}),
            [
                "code: module shop, attribute defs, location here -> module shop, attribute defs, location there.",
                "its description has changed.",
                "tags: none -> team=data.",
                "max runtime seconds: none -> 60.0.",
            ],
            id="the job itself",
        ),
        pytest.param(
            lambda: job(BEFORE[0], _config("times")),
            lambda: job(BEFORE[0], _config("often")),
            ["the schema of its run config has changed."],
            id="config",
        ),
        pytest.param(
            lambda: job(*BEFORE),
            with_sensor,
            [
                f"new {SENSOR}: what starts the job is a function that Dagster's daemon calls; Airflow cannot. "
                "Next: leave it in Dagster, or give the DAG a schedule of Airflow Assets."
            ],
            id="remark new",
        ),
        pytest.param(with_sensor, lambda: job(*BEFORE), [f"no longer so: {SENSOR}."], id="remark gone"),
    ],
)
def test_what_changes_in_a_dag(
    tmp_path: Path, old: Callable[[], tuple[Project, str]], new: Callable[[], tuple[Project, str]], said: list[str]
) -> None:
    """Each change of a job is a sentence about its DAG; no change is none."""
    found = differences(export(tmp_path / "old", old()), export(tmp_path / "new", new()))
    assert found == [f"DAG sums: {one}" for one in said]


def renamed(op_name: str) -> Any:
    """The assets x and y, made by one function of this name."""

    @dg.multi_asset(name=op_name, specs=[dg.AssetSpec("x"), dg.AssetSpec("y")])
    def both() -> tuple[None, None]:
        return None, None

    return both


def test_a_task_that_is_called_otherwise(tmp_path: Path) -> None:
    """The same assets under another task are a new name, and not a task that is gone and one that is new."""
    old = export(tmp_path / "old", job(renamed("both"), asset("after", "x")))
    new = export(tmp_path / "new", job(renamed("halves"), asset("after", "x"), asset("more")))
    assert differences(old, new) == [
        "DAG sums: task both is called halves now; its history stays with the old name.",
        "DAG sums: task more is new.",
        "DAG sums: task after: no longer waits for both.",
        "DAG sums: task after: now waits for halves.",
    ]


def test_a_task_with_fewer_assets_is_another_one(tmp_path: Path) -> None:
    """A task under another name that does not make the same assets is a new one."""
    old = export(tmp_path / "old", job(renamed("both")))
    new = export(tmp_path / "new", job(asset("x"), asset("y")))
    assert differences(old, new) == ["DAG sums: task both is gone.", "DAG sums: task x is new.", "DAG sums: task y is new."]


def test_dags_that_come_and_go(tmp_path: Path) -> None:
    """Of folders also whole DAGs are told, in order of their names."""
    old = export(tmp_path / "old", job(*BEFORE, name="kept"), job(*BEFORE, name="left"), job(*BEFORE, name="dropped"))
    new = export(tmp_path / "new", job(*BEFORE[:2], name="kept"), job(*BEFORE, name="made"), job(*BEFORE[:1], name="added"))
    assert differences(old, new) == [
        "DAG dropped is gone.", "DAG left is gone.", "DAG added is new, with 1 tasks.", "DAG made is new, with 3 tasks.",
        "DAG kept: task mart is gone.",
    ]  # fmt: skip


def test_two_files(tmp_path: Path) -> None:
    """Of two files only their jobs are compared, whatever lies beside them."""
    old = export(tmp_path / "old", job(*BEFORE), job(*BEFORE, name="other"))
    new = export(tmp_path / "new", job(*BEFORE[:2]))
    assert differences(old / "sums.json", new / "sums.json") == ["DAG sums: task mart is gone."]


def test_every_field_is_compared(tmp_path: Path) -> None:
    """No field of a manifest can change without a sentence, but its format and its fingerprint."""
    project, name = job(*BEFORE)
    manifest = project.manifest(name)
    export(tmp_path / "old", (project, name))
    values: dict[str, Any] = {
        "code": Code(module="m", attribute="a", location="l"), "description": "d", "tags": {"a": "b"}, "schedules": (), "whole": True,
        "config": {"a": 1}, "environment": ("A",), "max_runtime_seconds": 1.0, "fresh_seconds": 1.0, "partitions": (), "remarks": (),
    }  # fmt: skip
    fields = {one.name for one in dataclasses.fields(manifest)} - {"version", "job", "steps", "fingerprint"}
    assert fields == set(values)
    for field, value in values.items():
        if getattr(manifest, field) == value:
            # The cases above change these.
            continue
        write([dataclasses.replace(manifest, **{field: value})], tmp_path / "new")
        assert len(differences(tmp_path / "old", tmp_path / "new")) == 1, field


@pytest.fixture
def diff(capsys: pytest.CaptureFixture[str]) -> Callable[[Path, Path], tuple[int, str, str]]:
    """Runs `airflow-bridge diff`; exit code, output and errors."""

    def run(old: Path, new: Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["diff", str(old), str(new)])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return run


def test_the_command(tmp_path: Path, diff: Callable[[Path, Path], tuple[int, str, str]]) -> None:
    """`diff` prints a line per change and ends with 1; without a change it says nothing and ends with 0."""
    old = export(tmp_path / "old", job(*BEFORE))
    new = export(tmp_path / "new", job(*BEFORE[:2]))
    assert diff(old, old) == (0, "", "")
    assert diff(old / "sums.json", new / "sums.json") == (1, "DAG sums: task mart is gone.\n", "")
    assert diff(old, export(new, job(*BEFORE, name="other"))) == (
        1, "DAG other is new, with 3 tasks.\nDAG sums: task mart is gone.\n", "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "old/sums.json: there is no readable manifest (No such file or directory)."),
        ("{", "old/sums.json: the file is no JSON, perhaps cut off ("),
        ('{"version": 1}', "old/sums.json: version 1 of the format, this package reads version "),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, diff: Callable[[Path, Path], tuple[int, str, str]], text: str | None, said: str) -> None:
    """A manifest that cannot be read is one message and exit code 2, which no difference has."""
    new = export(tmp_path / "new", job(*BEFORE))
    (tmp_path / "old").mkdir()
    old = tmp_path / "old/sums.json"
    if text is not None:
        old.write_text(text)
    code, output, errors = diff(old, new / "sums.json")
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"error: {tmp_path}/{said}")
    assert " Next: " in errors


def test_a_folder_without_manifests(tmp_path: Path) -> None:
    """An empty folder is an error with the command that fills it, not a project of which everything is gone."""
    new = export(tmp_path / "new", job(*BEFORE))
    (tmp_path / "old").mkdir()
    with pytest.raises(ManifestError, match=r"/old: there is no manifest in this folder\. Next: run `airflow-bridge export -m MODULE -o "):
        differences(tmp_path / "old", new)
    with pytest.raises(ManifestError, match="/gone: there is no readable manifest"):
        differences(new, tmp_path / "gone")
