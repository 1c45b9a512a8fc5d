"""What a DAG and its tasks may be told: from code, from a YAML file, from the metadata of assets. Airflow itself, without a scheduler.

Not here: schedules and partitions (`test_dags.py`), what selections mean (`test_selection.py`), the settings of alerts (`test_alerts.py`).
"""

import datetime
import json
import pprint
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from airflow_bridge.alerts import WebhookAlert
from airflow_bridge.dags import dag_from_manifest, dags_from_folder, task_group_from_manifest
from airflow_bridge.export import write
from airflow_bridge.job_manifest import Project
from airflow_bridge.launcher import SubprocessLauncher
from airflow_bridge.manifest import Code, ManifestError
from airflow_bridge.options import TASK_OPTIONS, Options

HOUR = datetime.timedelta(hours=1)
LAUNCHER = SubprocessLauncher(python="/opt/project/bin/python")


@dg.asset(group_name="raw")
def numbers() -> None:
    return None


@dg.asset(group_name="mart", deps=[numbers], pool="database")
def total() -> None:
    return None


@dg.asset
def other() -> None:
    return None


def export(folder: Path, *assets: Any, **jobs: list[str]) -> Path:
    """A folder with the manifests of these jobs."""
    definitions = dg.Definitions(assets=assets, jobs=[dg.define_asset_job(name, selection=keys) for name, keys in jobs.items()])
    project = Project(definitions, Code(module="m", attribute="defs", location="m"))
    write([project.manifest(name) for name in jobs], folder)
    return folder


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests of two jobs."""
    return export(tmp_path_factory.mktemp("manifests"), numbers, total, other, sums=["numbers", "total"], others=["other"])


def outlets(dag: Any) -> list[str]:
    return sorted(asset.name for task in dag.tasks for asset in task.outlets)


def groups(dag: Any) -> set[str]:
    return {task.task_group.group_id for task in dag.tasks if task.task_group.group_id}


def told(dag: Any) -> list[str]:
    """Tasks of whose failures somebody is told."""
    return sorted(task.task_id for task in dag.tasks if task.on_failure_callback)


def timeouts(dag: Any) -> set[datetime.timedelta | None]:
    return {task.execution_timeout for task in dag.tasks}


ACCEPTED: list[tuple[str, Any, str | None, Callable[[Any], Any], Any]] = [
    ("mode", "steps", "steps", lambda dag: sorted(dag.task_ids), ["finish", "numbers", "total"]),
    ("mode", "watch", "watch", lambda dag: sorted(dag.task_ids), ["finish", "numbers", "run_job", "total"]),
    ("mode", "asset_runs", "asset_runs", lambda dag: sorted(dag.task_ids), ["numbers", "total"]),
    ("launcher", LAUNCHER, None, lambda dag: {task.launcher.python for task in dag.tasks}, {LAUNCHER.python}),
    ("select", "total", "total", lambda dag: sorted(dag.task_ids), ["finish", "total"]),
    ("select", ["numbers", "total"], "[numbers, total]", lambda dag: sorted(dag.task_ids), ["finish", "numbers", "total"]),
    ("select", None, "", lambda dag: sorted(dag.task_ids), ["finish", "numbers", "total"]),
    ("exclude", "group:mart", "group:mart", lambda dag: sorted(dag.task_ids), ["finish", "numbers"]),
    ("exclude", ("total",), "[total]", lambda dag: sorted(dag.task_ids), ["finish", "numbers"]),
    ("overrides", {"total": {"queue": "big"}}, "{total: {queue: big}}", lambda dag: dag.get_task("total").queue, "big"),
    ("overrides", None, "", lambda dag: dag.get_task("total").queue, "default"),
    ("outlets", "exported", "exported", outlets, ["total"]),
    ("outlets", "all", "all", outlets, ["numbers", "total"]),
    ("outlets", "none", "none", outlets, []),
    ("groups", True, "true", groups, {"group_raw", "group_mart"}),
    ("groups", False, "false", groups, set()),
    ("pools", True, "true", lambda dag: dag.get_task("total").pool, "database"),
    ("pools", False, "false", lambda dag: dag.get_task("total").pool, "default_pool"),
    ("alerts", [WebhookAlert(url_variable="U")], "[webhook: {url_variable: U}]", told, ["finish", "numbers", "total"]),
    ("alerts", None, "", told, []),
    ("dagster_url", "http://d:3000/", "http://d:3000/", lambda dag: dag.get_task("total").bond.dagster_url, "http://d:3000"),
    ("run_config", {"ops": {"a": 1}}, "{ops: {a: 1}}", lambda dag: dag.get_task("total").bond.run_config, {"ops": {"a": 1}}),
    ("run_config", None, "", lambda dag: dag.get_task("total").bond.run_config, {}),
    ("timeout", HOUR, None, timeouts, {HOUR}),
    ("timeout", 3600, "3600", timeouts, {HOUR}),
    ("timeout", 0.5, "0.5", timeouts, {datetime.timedelta(seconds=0.5)}),
    ("timeout", None, "null", timeouts, {None}),
]
IDS = [f"{name}={value!r}"[:40] for name, value, *_ in ACCEPTED]


@pytest.mark.parametrize(("name", "value", "text", "look", "expected"), ACCEPTED, ids=IDS)
def test_options_from_code(manifests: Path, name: str, value: Any, text: str | None, look: Callable[[Any], Any], expected: Any) -> None:
    """Each option does what it says."""
    assert look(dag_from_manifest(manifests / "sums.json", **{name: value})) == expected


@pytest.mark.parametrize(("name", "value", "text", "look", "expected"), [case for case in ACCEPTED if case[2] is not None])
def test_options_from_yaml(
    manifests: Path, tmp_path: Path, name: str, value: Any, text: str, look: Callable[[Any], Any], expected: Any
) -> None:
    """Each option does the same in a settings file; an empty value is the default."""
    file = tmp_path / "dags.yaml"
    file.write_text(f"dags:\n  sums:\n    {name}: {text}\n")
    assert look(dags_from_folder(manifests, file=file)["sums"]) == expected


def test_every_option_is_tried() -> None:
    """The cases above leave out no option but the one that only shows with alerts."""
    assert {name for name, *_ in ACCEPTED} | {"deadline"} == set(Options.__dataclass_fields__)


@pytest.mark.parametrize(("value", "text"), [(HOUR, None), (3600, "3600")])
def test_deadline(manifests: Path, tmp_path: Path, value: Any, text: str | None) -> None:
    """A deadline counts from when the DAG run was queued, given as a time or as seconds."""
    alerts = [{"webhook": {"url_variable": "U"}}]
    dag: Any = dag_from_manifest(manifests / "sums.json", deadline=value, alerts=alerts)
    if text is not None:
        (tmp_path / "dags.yaml").write_text(f"defaults: {{deadline: {text}, alerts: {json.dumps(alerts)}}}")
        dag = dags_from_folder(manifests, file=tmp_path / "dags.yaml")["sums"]
    (deadline,) = dag.deadline
    assert deadline.interval == HOUR


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mode", "step", "mode='step' is unknown; known: steps, watch, asset_runs."),
        ("mode", None, "mode=None is unknown"),
        ("outlets", "some", "outlets='some' is unknown; known: exported, all, none."),
        ("launcher", "inline", "launcher='inline' cannot be. Next: give a launcher, such as SubprocessLauncher()."),
        ("launcher", SubprocessLauncher, "launcher=<class 'airflow_bridge.launcher.SubprocessLauncher'> cannot be."),
        ("select", 5, "select=5 cannot be. Next: give a selection, or a list of them."),
        ("select", [5], "select=[5] cannot be."),
        ("exclude", {"total": 1}, "exclude={'total': 1} cannot be."),
        ("overrides", ["total"], "overrides=['total'] cannot be. Next: give a mapping of selections to options"),
        ("overrides", {"total": "big"}, "the override of 'total' is no mapping of options. Next: write it as {'retries': 3}."),
        ("overrides", {2024: {"queue": "big"}}, "the override of 2024 names no asset."),
        ("overrides", {"totl": {"queue": "big"}}, "'totl' selects nothing; close: total."),
        ("groups", "no", "groups='no' cannot be. Next: give True or False."),
        ("groups", None, "groups=None cannot be."),
        ("pools", 1, "pools=1 cannot be."),
        ("alerts", 5, "alerts=5 cannot be. Next: give a list of alerts."),
        ("alerts", WebhookAlert(url_variable="U"), "cannot be. Next: give a list of alerts."),
        ("dagster_url", 5, "dagster_url=5 cannot be."),
        ("run_config", "ops", "run_config='ops' cannot be. Next: give a mapping."),
        ("timeout", 0, "timeout=0 is no time. Next: give seconds or a timedelta."),
        ("timeout", -1, "timeout=-1 is no time."),
        ("timeout", "1h", "timeout='1h' is no time."),
        ("timeout", True, "timeout=True is no time."),
        ("timeout", float("inf"), "timeout=inf is no time."),
        ("timeout", float("nan"), "timeout=nan is no time."),
        ("timeout", -HOUR, "timeout=datetime.timedelta(days=-1, seconds=82800) is no time."),
        ("deadline", "tomorrow", "deadline='tomorrow' is no time."),
        ("dagrun_timeout", "1h", "dagrun_timeout='1h' is no time."),
        ("selekt", "total", "there is no option 'selekt' (close: select). Next: correct it."),
        ("retries", 3, "there is no option 'retries'"),
        ("shedule", "@daily", "there is no option 'shedule' (close: schedule, "),
        ("on_failure_callback", "json.dump_it", "on_failure_callback='json.dump_it' cannot be imported"),
    ],
)
def test_options_that_cannot_be(manifests: Path, name: str, value: Any, said: str) -> None:
    """A wrong option is an error that names the manifest, the option, the value, and what may be given."""
    with pytest.raises(ManifestError) as caught:
        dag_from_manifest(manifests / "sums.json", **{name: value})
    assert said in str(caught.value)
    assert " Next: " in str(caught.value)


ARGUMENTS: list[tuple[dict[str, Any], str, Callable[[Any], Any], Any]] = [
    ({"description": "Sums."}, "description: Sums.", lambda dag: dag.description, "Sums."),
    ({"tags": ["mine"]}, "tags: [mine]", lambda dag: set(dag.tags), {"dagster", "mine"}),
    ({"max_active_runs": 3}, "max_active_runs: 3", lambda dag: dag.max_active_runs, 3),
    ({"default_args": {"retries": 4}}, "default_args: {retries: 4}", lambda dag: dag.get_task("total").retries, 4),
    ({"dagrun_timeout": HOUR}, "dagrun_timeout: 3600", lambda dag: dag.dagrun_timeout, HOUR),
    (
        {"start_date": datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)}, "start_date: 2026-02-01",
        lambda dag: dag.start_date, datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC),
    ),
    (
        {"end_date": datetime.datetime(2026, 2, 1, 6, tzinfo=datetime.UTC)}, "end_date: 2026-02-01T06:00:00Z",
        lambda dag: dag.end_date, datetime.datetime(2026, 2, 1, 6, tzinfo=datetime.UTC),
    ),
    ({"on_success_callback": json.dumps}, "on_success_callback: json.dumps", lambda dag: dag.on_success_callback, json.dumps),
    (
        {"on_success_callback": [json.dumps, pprint.pformat]}, "on_success_callback: [json.dumps, pprint.pformat]",
        lambda dag: dag.on_success_callback, [json.dumps, pprint.pformat],
    ),
    (
        {"default_args": {"on_retry_callback": json.dumps}}, "default_args: {on_retry_callback: json.dumps}",
        lambda dag: dag.get_task("total").on_retry_callback, [json.dumps],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "text", "look", "expected"), ARGUMENTS, ids=[case[1] for case in ARGUMENTS])
def test_arguments_of_airflow(
    manifests: Path, tmp_path: Path, given: dict[str, Any], text: str, look: Callable[[Any], Any], expected: Any
) -> None:
    """Everything else goes to Airflow's DAG, from YAML too, where times are seconds and callbacks are import paths."""
    (tmp_path / "dags.yaml").write_text(f"defaults:\n  {text}\n")
    assert look(dag_from_manifest(manifests / "sums.json", **given)) == expected
    assert look(dags_from_folder(manifests, file=tmp_path / "dags.yaml")["sums"]) == expected


def test_a_task_group_knows_no_arguments_of_a_dag(manifests: Path) -> None:
    """Arguments of the DAG belong to the DAG around a TaskGroup; one that nobody knows is told as such."""
    with pytest.raises(ManifestError, match="a TaskGroup knows no schedule, tags"):
        task_group_from_manifest(manifests / "sums.json", tags=["a"], schedule="@daily")
    with pytest.raises(ManifestError, match="there is no option 'selekt'"):
        task_group_from_manifest(manifests / "sums.json", selekt="total")


def seconds(number: int) -> datetime.timedelta:
    return datetime.timedelta(seconds=number)


TASKS: list[tuple[str, Any, Callable[[Any], Any], Any]] = [
    ("doc_md", "# Sums", lambda task: task.doc_md, "# Sums"),
    ("execution_timeout", 60, lambda task: task.execution_timeout, seconds(60)),
    ("executor", "LocalExecutor", lambda task: task.executor, "LocalExecutor"),
    ("executor_config", {"a": 1}, lambda task: task.executor_config, {"a": 1}),
    ("launcher", LAUNCHER, lambda task: task.launcher, LAUNCHER),
    ("max_active_tis_per_dag", 2, lambda task: task.max_active_tis_per_dag, 2),
    ("max_retry_delay", 61, lambda task: task.max_retry_delay, seconds(61)),
    ("on_execute_callback", "json.dumps", lambda task: task.on_execute_callback, [json.dumps]),
    ("on_failure_callback", "json.dumps", lambda task: task.on_failure_callback, [json.dumps]),
    ("on_failure_callback", ["json.dumps", "pprint.pformat"], lambda task: task.on_failure_callback, [json.dumps, pprint.pformat]),
    ("on_retry_callback", "json.dumps", lambda task: task.on_retry_callback, [json.dumps]),
    ("on_skipped_callback", "json.dumps", lambda task: task.on_skipped_callback, [json.dumps]),
    ("on_success_callback", "json.dumps", lambda task: task.on_success_callback, [json.dumps]),
    ("owner", "ann", lambda task: task.owner, "ann"),
    ("pool", "small", lambda task: task.pool, "small"),
    ("pool_slots", 2, lambda task: task.pool_slots, 2),
    ("priority_weight", 7, lambda task: task.priority_weight, 7),
    ("queue", "big", lambda task: task.queue, "big"),
    ("retries", 5, lambda task: task.retries, 5),
    ("retry_delay", 62, lambda task: task.retry_delay, seconds(62)),
    ("retry_delay", 0, lambda task: task.retry_delay, seconds(0)),
    ("retry_exponential_backoff", 2.5, lambda task: task.retry_exponential_backoff, 2.5),
    ("weight_rule", "upstream", lambda task: str(task.weight_rule), "upstream"),
]


@pytest.mark.parametrize(("name", "value", "look", "expected"), TASKS)
def test_options_of_a_task(manifests: Path, name: str, value: Any, look: Callable[[Any], Any], expected: Any) -> None:
    """Each option of a task reaches the task that is selected, and no other."""
    dag: Any = dag_from_manifest(manifests / "sums.json", overrides={"total": {name: value}})
    assert look(dag.get_task("total")) == expected
    assert look(dag.get_task("numbers")) != expected


@pytest.mark.parametrize(("name", "value", "look", "expected"), [case for case in TASKS if case[0] != "launcher"])
def test_options_from_metadata(tmp_path: Path, name: str, value: Any, look: Callable[[Any], Any], expected: Any) -> None:
    """Each option that JSON can hold may stand in the metadata of the asset instead."""

    @dg.asset(metadata={f"airflow/{name}": value, "rows": 3})
    def told_by_metadata() -> None:
        return None

    folder = export(tmp_path, told_by_metadata, job=["told_by_metadata"])
    assert look(dag_from_manifest(folder / "job.json").get_task("told_by_metadata")) == expected


def test_every_option_of_tasks_is_tried() -> None:
    """The cases above leave out no option of tasks."""
    assert {name for name, *_ in TASKS} == set(TASK_OPTIONS)


WRONG: list[tuple[str, Any, str]] = [
    ("queu", "big", "there is no option 'queu' (close: queue); known: doc_md, execution_timeout, "),
    ("retry", 3, "there is no option 'retry' (close: retries, "),
    ("zzz", 3, "there is no option 'zzz'; known: "),
    ("retry_delay", -1, "retry_delay=-1 is no time. Next: give seconds or a timedelta."),
    ("execution_timeout", "long", "execution_timeout='long' is no time."),
    ("execution_timeout", 0, "execution_timeout=0 is no time."),
    ("on_failure_callback", "dumps", "on_failure_callback='dumps' cannot be imported (Empty module name). Next: name module.function."),
    ("on_failure_callback", "no.such.function", "cannot be imported (No module named 'no')"),
    ("on_failure_callback", ["json.dumps", "json.nothing"], "on_failure_callback='json.nothing' cannot be imported"),
    ("on_failure_callback", "os.sep", "on_failure_callback='os.sep' is no function. Next: give one, or name module.function."),
    ("on_failure_callback", 5, "on_failure_callback=5 is no function."),
    ("launcher", "inline", "launcher='inline' cannot be. Next: give a launcher, such as SubprocessLauncher()."),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_options_that_a_task_cannot_have(manifests: Path, tmp_path: Path, name: str, value: Any, said: str) -> None:
    """A wrong option of a task is an error that says where it stands: in an override, or in the metadata of which step."""

    @dg.asset(metadata={f"airflow/{name}": value})
    def wrong() -> None:
        return None

    path = export(tmp_path, wrong, job=["wrong"]) / "job.json"
    with pytest.raises(ManifestError) as caught:
        dag_from_manifest(path)
    assert str(caught.value).startswith(f"{path}: metadata of step wrong: ")
    assert said in str(caught.value)
    with pytest.raises(ManifestError) as caught:
        dag_from_manifest(manifests / "sums.json", overrides={"group:*": {name: value}})
    assert str(caught.value).startswith(f"{manifests}/sums.json: override of 'group:*': ")
    assert said in str(caught.value)


def test_metadata_that_is_read_elsewhere(tmp_path: Path) -> None:
    """The URI of the Airflow Asset stands in the metadata too, and is no option of the task; nor are op tags for Kubernetes."""

    @dg.asset(metadata={"airflow/uri": "s3://bucket/table"}, op_tags={"dagster-k8s/config": {"container_config": {}}})
    def stored() -> None:
        return None

    (outlet,) = dag_from_manifest(export(tmp_path, stored, job=["stored"]) / "job.json").get_task("stored").outlets
    assert (outlet.name, outlet.uri) == ("stored", "s3://bucket/table")


def test_later_overrides_win(tmp_path: Path) -> None:
    """Over an asset's metadata an override wins, and a later one over earlier ones, option by option."""

    @dg.asset(metadata={"airflow/queue": "from metadata", "airflow/pool": "from metadata", "airflow/owner": "metadata"})
    def first() -> None:
        return None

    @dg.asset(deps=[first])
    def second() -> None:
        return None

    overrides = {"*": {"queue": "of all", "pool": "of all"}, "first": {"queue": "of first"}, "second": {"queue": "of second"}}
    path = export(tmp_path, first, second, job=["first", "second"]) / "job.json"
    dag: Any = dag_from_manifest(path, overrides=overrides)
    found = [(task.queue, task.pool, task.owner) for task in (dag.get_task("first"), dag.get_task("second"))]
    assert found == [("of first", "of all", "metadata"), ("of second", "of all", "airflow")]
    turned: Any = dag_from_manifest(path, overrides=dict(reversed(overrides.items())))
    assert [turned.get_task(name).queue for name in ("first", "second")] == ["of all", "of all"]


def test_overrides_from_a_file(manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overrides may stand in a YAML file of their own, beside the manifest wherever Airflow works."""
    monkeypatch.chdir(tmp_path)
    (manifests / "overrides.yaml").write_text("total: {queue: big}\n")
    for given in ("overrides.yaml", Path("overrides.yaml"), manifests / "overrides.yaml"):
        dag: Any = dag_from_manifest(manifests / "sums.json", overrides=given)
        assert dag.get_task("total").queue == "big"


def settings(folder: Path, text: str) -> Path:
    """A settings file."""
    (folder / "dags.yaml").write_text(text)
    return folder / "dags.yaml"


def queues(dags: dict[str, Any]) -> dict[str, str]:
    """The queue of each DAG's first task, and how many runs it may have."""
    return {name: f"{dag.tasks[0].queue}, {dag.max_active_runs}" for name, dag in sorted(dags.items())}


def test_a_settings_file(manifests: Path, tmp_path: Path) -> None:
    """Settings in the call lose against defaults in the file, and these against those of one DAG."""
    file = settings(
        tmp_path,
        "defaults: {default_args: {queue: default}, max_active_runs: 5}\ndags:\n  sums: {default_args: {queue: own}}\n",
    )
    dags = dags_from_folder(manifests, file=file, max_active_runs=7, default_args={"queue": "called"})
    assert queues(dags) == {"others": "default, 5", "sums": "own, 5"}
    assert queues(dags_from_folder(manifests, file=settings(tmp_path, "{}"), max_active_runs=7)) == {
        "others": "default, 7", "sums": "default, 7",
    }  # fmt: skip


def test_several_dags_of_one_job(manifests: Path, tmp_path: Path) -> None:
    """Several DAGs may come from one job, each with its settings; the job then has none of its own name."""
    file = settings(tmp_path, "dags:\n  early: {job: sums, select: numbers}\n  late: {job: sums, exclude: numbers}\n")
    dags = dags_from_folder(manifests, file=file)
    assert {name: sorted(dag.task_ids) for name, dag in dags.items()} == {
        "early": ["finish", "numbers"], "late": ["finish", "total"], "others": ["finish", "other"],
    }  # fmt: skip


def test_only_named(manifests: Path, tmp_path: Path) -> None:
    """With only_named there are no DAGs but those of the file."""
    assert sorted(dags_from_folder(manifests, file=settings(tmp_path, "only_named: true\ndags:\n  others:\n"))) == ["others"]


def test_a_settings_file_lies_in_the_folder(manifests: Path) -> None:
    """A relative file lies beside the manifests."""
    settings(manifests, "defaults: {max_active_runs: 6}\n")
    assert queues(dags_from_folder(manifests, file="dags.yaml")) == {"others": "default, 6", "sums": "default, 6"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default: {}\n", "default is unknown; known: dags, defaults, only_named. Next: correct it."),
        ("1: {}\n", "1 is unknown; known: dags, defaults, only_named. Next: correct it."),
        ("dags: [sums]\n", "dags is no mapping. Next: write name: value pairs."),
        ("defaults: [1]\n", "defaults is no mapping. Next: write name: value pairs."),
        ("dags: {sums: [1]}\n", "DAG sums is no mapping. Next: write name: value pairs."),
        ("dags: {sums: {dag_id: other}}\n", "DAG sums has a dag_id; its name is its id. Next: leave dag_id out."),
        ("only_named: 'no'\n", "only_named='no' is neither true nor false. Next: correct it."),
        ("dags: {daily: {select: total}}\n", "DAG daily is of job 'daily', which has no manifest; there are "),
        ("dags: {daily: {job: sum}}\n", "DAG daily is of job 'sum', which has no manifest; there are others, sums."),
        ("- sums\n", "it holds no mapping. Next: write name: value pairs."),
        ("", "it holds no mapping."),
        ("dags: {sums\n", "it is no YAML ("),
        ("dags: {sums: {selekt: total}}\n", "there is no option 'selekt' (close: select)."),
        ("defaults: {timeout: 1h}\n", "timeout='1h' is no time."),
        ("defaults: {alerts: {webhook: {url_variable: U}}}\n", "cannot be. Next: give a list of alerts."),
    ],
)
def test_settings_files_that_cannot_be(manifests: Path, tmp_path: Path, text: str, said: str) -> None:
    """What is wrong in a settings file is an error with the next step."""
    with pytest.raises(ManifestError) as caught:
        dags_from_folder(manifests, file=settings(tmp_path, text))
    assert said in str(caught.value)
    assert " Next: " in str(caught.value)


def test_a_settings_file_that_is_missing(manifests: Path, tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(ManifestError) as caught:
        dags_from_folder(manifests, file=tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: it cannot be read (No such file or directory). Next: correct the path."


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"retries": -1}, "retries=-1 cannot be. Next: give a whole number of at least 0."),
        ({"retries": True}, "retries=True cannot be."),
        ({"retries": "three"}, "retries='three' cannot be."),
        ({"pool_slots": 0}, "pool_slots=0 cannot be. Next: give a whole number of at least 1."),
        ({"priority_weight": "high"}, "priority_weight='high' cannot be."),
        ({"pool": 5}, "pool=5 cannot be. Next: give a text."),
        ({"queue": 7}, "queue=7 cannot be. Next: give a text."),
        ({"owner": ["a"]}, "owner=['a'] cannot be. Next: give a text."),
        ({"doc_md": 5}, "doc_md=5 cannot be. Next: give a text."),
    ],
)
def test_values_that_a_task_cannot_have(manifests: Path, option: dict[str, Any], said: str) -> None:
    """A value of the wrong kind is an error that names the option, not an error of Airflow's or nothing at all."""
    with pytest.raises(ManifestError) as caught:
        dag_from_manifest(manifests / "sums.json", overrides={"*": option})
    assert said in str(caught.value)


@pytest.mark.parametrize("select", ["", [], ()])
def test_an_empty_selection(manifests: Path, select: Any) -> None:
    """A selection that is there and empty is an error: it would mean all steps where none was meant."""
    with pytest.raises(ManifestError, match=r"select is empty\. Next: leave it out for all steps, or name some\."):
        dag_from_manifest(manifests / "sums.json", select=select)
