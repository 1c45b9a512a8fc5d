"""What is said of a job that its DAG cannot have, or has otherwise, on small projects written in different ways; who is told of it.

Not here: what else a manifest says (`test_export.py`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from airflow_bridge.__main__ import main
from airflow_bridge.job_manifest import Project
from airflow_bridge.manifest import Code, Remark

CRON = "0 6 * * *"
DAYS = dg.DailyPartitionsDefinition("2026-01-01")


@dg.asset
def first() -> int:
    return 1


@dg.asset
def second(first: int) -> int:
    return first + 1


@dg.asset
def alone() -> None:
    return None


def remarks(*assets: Any, jobs: list[Any] | None = None, job: str = "job", **more: Any) -> list[Remark]:
    """The remarks of a job, by default one of all the assets."""
    definitions = dg.Definitions(assets=assets, jobs=jobs or [dg.define_asset_job("job")], **more)
    return list(Project(definitions, Code(module="m", attribute="defs", location="m")).manifest(job).remarks)


def said(*assets: Any, **more: Any) -> list[tuple[str, str, str]]:
    """Level, code and subject of the remarks."""
    return [(one.level, one.code, one.subject) for one in remarks(*assets, **more)]


class Remembering(dg.InMemoryIOManager):
    """An IO manager of the project's own that keeps values in memory."""


class Pickled(dg.FilesystemIOManager):
    """An IO manager of the project's own that keeps values in files."""


class Stored(dg.ConfigurableIOManager):
    """An IO manager of the project's own that keeps values elsewhere."""

    place: str = "a database"

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise NotImplementedError

    def load_input(self, context: dg.InputContext) -> object:
        raise NotImplementedError


def made(kind: Any) -> dg.IOManager:
    """An IO manager as such, not as a definition; Dagster has no types for that."""
    manager: dg.IOManager = kind()
    return manager


@dg.io_manager
def made_later() -> dg.IOManager:
    return made(Remembering)


IN_MEMORY = [("error", "in-memory-io", "first -> second")]
IN_FILES = [("note", "local-io", "io_manager")]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param({"io_manager": dg.mem_io_manager}, IN_MEMORY, id="mem_io_manager"),
        pytest.param({"io_manager": made(dg.InMemoryIOManager)}, IN_MEMORY, id="InMemoryIOManager"),
        pytest.param({"io_manager": made(Remembering)}, IN_MEMORY, id="a subclass of it"),
        pytest.param({"io_manager": dg.IOManagerDefinition.hardcoded_io_manager(made(Remembering))}, IN_MEMORY, id="hardcoded"),
        pytest.param({}, IN_FILES, id="Dagster's own"),
        pytest.param({"io_manager": dg.fs_io_manager}, IN_FILES, id="fs_io_manager"),
        pytest.param({"io_manager": dg.fs_io_manager.configured({"base_dir": "/x"})}, IN_FILES, id="fs_io_manager configured"),
        pytest.param({"io_manager": dg.FilesystemIOManager(base_dir=dg.EnvVar("NOT_SET"))}, IN_FILES, id="FilesystemIOManager"),
        pytest.param({"io_manager": dg.FilesystemIOManager.configure_at_launch()}, IN_FILES, id="configured at launch"),
        pytest.param({"io_manager": Pickled()}, IN_FILES, id="a subclass of FilesystemIOManager"),
        pytest.param({"io_manager": Stored()}, [], id="one of the project's own"),
        pytest.param({"io_manager": made_later}, [], id="one that is only known when it is made"),
    ],
)
def test_what_keeps_values_between_steps(resources: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    """Memory cannot keep a value between tasks, files only on one machine; what is not known is not guessed."""
    assert said(first, second, resources=resources) == expected


def test_the_io_manager_of_an_output() -> None:
    """It counts which IO manager the asset has that is read, not which one others have."""

    @dg.asset(io_manager_key="memory")
    def kept() -> int:
        return 1

    @dg.asset(io_manager_key="files")
    def reads(kept: int) -> int:
        return kept

    @dg.asset(io_manager_key="memory")
    def reads_too(reads: int) -> int:
        return reads

    found = said(kept, reads, reads_too, resources={"memory": dg.mem_io_manager, "files": dg.FilesystemIOManager()})
    assert found == [("error", "in-memory-io", "kept -> reads"), ("note", "local-io", "files")]


def test_no_value_needs_no_io_manager() -> None:
    """Assets that only wait for each other store nothing."""

    @dg.asset(deps=[alone])
    def after() -> None:
        return None

    assert said(alone, after, resources={"io_manager": dg.mem_io_manager}) == []


def test_values_in_files_are_counted() -> None:
    """The note says how many values lie in files."""

    @dg.asset
    def third(first: int, second: int) -> int:
        return first + second

    (note,) = remarks(first, second, third)
    assert note.reason == "it keeps 3 values between steps in files."


@dg.op(out=dg.DynamicOut())
def fan_out(first: int) -> Any:
    for name in ("a", "b"):
        yield dg.DynamicOutput(first, mapping_key=name)


@dg.op
def same(value: int) -> int:
    return value


@dg.op
def added_up(values: list[int]) -> int:
    return sum(values)


@dg.graph_asset
def fanned(first: int) -> int:
    total: int = added_up(fan_out(first).map(same).collect())
    return total


def test_dynamic_steps() -> None:
    """Steps that are only known while the job runs are one warning, however many there are."""
    assert said(first, fanned, resources={"io_manager": Stored()}) == [("warning", "dynamic-steps", "fanned.fan_out")]


def test_a_job_in_one_process_may_keep_values_in_memory() -> None:
    """One task runs a job with dynamic steps; where its executor has one process, memory keeps its values."""
    memory = {"io_manager": dg.mem_io_manager}
    assert ("error", "in-memory-io", "first -> fanned.fan_out") in said(first, fanned, resources=memory)
    assert said(first, fanned, resources=memory, executor=dg.in_process_executor) == [("warning", "dynamic-steps", "fanned.fan_out")]
    assert said(first, second, resources=memory, executor=dg.in_process_executor) == IN_MEMORY


@dg.op(required_resource_keys={"storage"})
def work() -> None:
    return None


@dg.job(name="job")
def ops() -> None:
    work()


class Config(dg.Config):
    times: int = 1


@dg.asset
def configured(config: Config) -> None:
    return None


def _never(context: dg.ScheduleEvaluationContext) -> bool:
    return False


def _config(context: dg.ScheduleEvaluationContext) -> dict[str, Any]:
    return {}


def _tags(context: dg.ScheduleEvaluationContext) -> dict[str, str]:
    return {"by": "schedule"}


def _runs(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest()


OWN_CONFIG = {"ops": {"configured": {"config": {"times": 2}}}}
ASSET_JOB = dg.define_asset_job("job")
OTHER_JOB = dg.define_asset_job("other", selection=["alone"])
SCHEDULES: list[Any] = [
    pytest.param({}, None, id="plain"),
    pytest.param({"tags": {"by": "schedule"}, "execution_timezone": "Europe/Madrid", "description": "Daily."}, None, id="described"),
    pytest.param({"default_status": dg.DefaultScheduleStatus.RUNNING}, "schedule-running", id="running"),
    pytest.param({"run_config": OWN_CONFIG}, "schedule-config", id="run_config"),
    pytest.param({"run_config": dg.RunConfig(ops={"configured": Config(times=2)})}, "schedule-config", id="RunConfig"),
    pytest.param({"run_config_fn": _config}, "schedule-function", id="run_config_fn"),
    pytest.param({"should_execute": _never}, "schedule-function", id="should_execute"),
    pytest.param({"should_execute": lambda context: True}, "schedule-function", id="lambda"),
    pytest.param({"tags_fn": _tags}, "schedule-function", id="tags_fn"),
    pytest.param({"execution_fn": _runs}, "schedule-function", id="execution_fn"),
]


@pytest.mark.parametrize(
    "target", [{"job": ASSET_JOB}, {"job_name": "job"}, {"target": ASSET_JOB}], ids=["by job", "by job_name", "by target"]
)
@pytest.mark.parametrize(("given", "code"), SCHEDULES)
def test_schedules_of_an_asset_job(given: dict[str, Any], code: str | None, target: dict[str, Any]) -> None:
    """A schedule that does more than run the job at given times is a warning, however it names the job."""
    schedule = dg.ScheduleDefinition(name="daily", cron_schedule=CRON, **target, **given)
    expected = [("warning", code, "daily")] if code else []
    assert said(configured, jobs=[ASSET_JOB], schedules=[schedule]) == expected


@pytest.mark.parametrize("target", [{"job": ops}, {"target": ops}], ids=["by job", "by target"])
@pytest.mark.parametrize(("given", "code"), SCHEDULES)
def test_schedules_of_a_job_with_resources(given: dict[str, Any], code: str | None, target: dict[str, Any]) -> None:
    """What a schedule does is still known after Dagster has given its job resources."""
    schedule = dg.ScheduleDefinition(name="daily", cron_schedule=CRON, **target, **given)
    expected = [("warning", code, "daily")] if code else []
    assert said(jobs=[ops], schedules=[schedule], resources={"storage": object()}) == expected


def test_a_schedule_by_decorator() -> None:
    """A function that a schedule calls at every tick is a warning."""

    @dg.schedule(cron_schedule=CRON, job=ASSET_JOB)
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest()

    assert said(alone, jobs=[ASSET_JOB], schedules=[daily]) == [("warning", "schedule-function", "daily")]


def test_a_schedule_from_partitions() -> None:
    """What Dagster itself computes from partitions is converted, and no warning."""

    @dg.asset(partitions_def=DAYS)
    def by_day() -> None:
        return None

    assert said(by_day, jobs=[ASSET_JOB], schedules=[dg.build_schedule_from_partitioned_job(ASSET_JOB)]) == []


def test_a_schedule_of_another_job() -> None:
    """A schedule is only told of at the job that it runs."""
    schedule = dg.ScheduleDefinition(job=OTHER_JOB, cron_schedule=CRON, default_status=dg.DefaultScheduleStatus.RUNNING)
    definitions: dict[str, Any] = {"jobs": [ASSET_JOB, OTHER_JOB], "schedules": [schedule]}
    assert said(alone, **definitions) == []
    assert said(alone, job="other", **definitions) == [("warning", "schedule-running", "other_schedule")]


def _a_sensor(**target: Any) -> dg.SensorDefinition:
    @dg.sensor(name="watcher", **target)
    def watcher(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason("nothing new")

    return watcher


def _an_asset_sensor() -> dg.SensorDefinition:
    @dg.asset_sensor(name="watcher", asset_key=dg.AssetKey("elsewhere"), job=ASSET_JOB)
    def watcher(context: dg.SensorEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest()

    return watcher


def _a_run_sensor(**target: Any) -> dg.SensorDefinition:
    @dg.run_status_sensor(name="watcher", run_status=dg.DagsterRunStatus.SUCCESS, **target)
    def watcher(context: dg.RunStatusSensorContext) -> dg.SkipReason:
        return dg.SkipReason("nothing new")

    return watcher


@pytest.mark.parametrize(
    ("sensor", "told"),
    [
        pytest.param(lambda: _a_sensor(job=ASSET_JOB), True, id="job"),
        pytest.param(lambda: _a_sensor(jobs=[ASSET_JOB, OTHER_JOB]), True, id="jobs"),
        pytest.param(lambda: _a_sensor(job_name="job"), True, id="job_name"),
        pytest.param(lambda: _a_sensor(target=ASSET_JOB), True, id="target"),
        pytest.param(_an_asset_sensor, True, id="asset_sensor"),
        pytest.param(lambda: _a_run_sensor(request_job=ASSET_JOB), True, id="run_status_sensor"),
        pytest.param(lambda: _a_run_sensor(monitored_jobs=[ASSET_JOB]), False, id="only looks at the job"),
        pytest.param(lambda: _a_sensor(job_name="other"), False, id="of another job"),
    ],
)
def test_sensors(sensor: Callable[[], dg.SensorDefinition], told: bool) -> None:
    """A sensor that starts the job is a warning; one that starts another job, or only looks at this one, is not."""
    expected = [("warning", "sensor", "watcher")] if told else []
    assert said(alone, jobs=[ASSET_JOB, OTHER_JOB], sensors=[sensor()]) == expected


def test_automation_conditions() -> None:
    """Each asset that Dagster's daemon makes by itself is a warning, one of many in a multi-asset too."""

    @dg.asset(automation_condition=dg.AutomationCondition.eager())
    def eager() -> None:
        return None

    @dg.multi_asset(specs=[dg.AssetSpec("timed", automation_condition=dg.AutomationCondition.on_cron("@daily")), dg.AssetSpec("plain")])
    def several() -> tuple[None, None]:
        return None, None

    expected = [("warning", "automation-condition", "eager"), ("warning", "automation-condition", "timed")]
    assert said(eager, several) == expected


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
@pytest.mark.parametrize(
    ("policy", "partitions", "told"),
    [
        pytest.param(dg.BackfillPolicy.single_run(), DAYS, True, id="single run"),
        pytest.param(dg.BackfillPolicy.multi_run(5), DAYS, False, id="several runs"),
        pytest.param(None, DAYS, False, id="no policy"),
        pytest.param(dg.BackfillPolicy.single_run(), None, False, id="no partitions"),
    ],
)
def test_backfills_in_a_single_run(policy: dg.BackfillPolicy | None, partitions: dg.PartitionsDefinition[str] | None, told: bool) -> None:
    """Many partitions in one run are a note that names the range as the way to have that; other policies are not."""

    @dg.asset(partitions_def=partitions, backfill_policy=policy)
    def wide() -> None:
        return None

    expected = [("note", "single-run-backfill", 'trigger the DAG with a range as partition: "first...last".')] if told else []
    assert [(one.level, one.code, one.next_step) for one in remarks(wide)] == expected


@dg.success_hook
def cheers(context: dg.HookContext) -> None:
    return None


@dg.failure_hook
def mourns(context: dg.HookContext) -> None:
    return None


def test_hooks_of_a_job() -> None:
    """Hooks of a job are notes."""
    job = dg.define_asset_job("job", hooks={mourns, cheers})
    assert said(alone, jobs=[job]) == [("note", "hook", "cheers"), ("note", "hook", "mourns")]


def test_hooks_of_assets_and_ops() -> None:
    """A hook of one asset or op is a note too, once for all that have it."""

    @dg.asset(hooks={cheers})
    def hooked() -> None:
        return None

    @dg.asset(hooks={cheers})
    def hooked_too() -> None:
        return None

    @dg.job(name="job")
    def of_ops() -> None:
        work.with_hooks({mourns})()

    assert said(hooked, hooked_too) == [("note", "hook", "cheers")]
    assert said(jobs=[of_ops], resources={"storage": object()}) == [("note", "hook", "mourns")]


def test_a_job_of_which_nothing_is_to_be_said() -> None:
    """Partitions, checks, retries, a stored value and a schedule that is switched off are converted without a remark."""

    @dg.asset(partitions_def=DAYS, retry_policy=dg.RetryPolicy(max_retries=2))
    def numbers() -> int:
        return 1

    @dg.asset(partitions_def=DAYS, check_specs=[dg.AssetCheckSpec("positive", asset="total")], pool="database")
    def total(numbers: int) -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=numbers > 0)])

    schedule = dg.ScheduleDefinition(job=ASSET_JOB, cron_schedule=CRON)
    assert said(numbers, total, jobs=[ASSET_JOB], schedules=[schedule], resources={"io_manager": Stored()}) == []


def test_errors_come_first() -> None:
    """Remarks are in order of their levels, and each says what to do."""
    job = dg.define_asset_job("job", hooks={cheers})
    schedule = dg.ScheduleDefinition(job=job, cron_schedule=CRON, default_status=dg.DefaultScheduleStatus.RUNNING)
    found = remarks(first, second, jobs=[job], schedules=[schedule], resources={"io_manager": dg.mem_io_manager})
    assert [one.level for one in found] == ["error", "warning", "note"]
    assert str(found[1]) == (
        "warning schedule-running: job_schedule: it is switched on in Dagster by default, so a DAG with a schedule would run the job "
        "twice. Next: set default_status=DefaultScheduleStatus.STOPPED, or leave the DAG without a schedule."
    )


PROJECT = """
import dagster as dg

@dg.asset
def first() -> int:
    return 1

@dg.asset
def second(first: int) -> int:
    return first

@dg.success_hook
def cheers(context) -> None:
    return None

@dg.sensor(job_name="sums")
def watcher() -> dg.SkipReason:
    return dg.SkipReason("nothing new")

job = dg.define_asset_job("sums", selection={selection}, hooks={hooks})
defs = dg.Definitions(
    assets=[first, second], jobs=[job], sensors={sensors}, resources={{"io_manager": dg.mem_io_manager}}
)
"""
CASES = {
    "clean": ("first", "set()", "[]"),
    "noted": ("first", "{cheers}", "[]"),
    "warned": ("first", "{cheers}", "[watcher]"),
    "broken": ("*", "{cheers}", "[watcher]"),
}
ERROR = "sums: error in-memory-io: first -> second: IO manager 'io_manager' keeps the value in memory"
WARNING = "sums: warning sensor: watcher: what starts the job is a function that Dagster's daemon calls"
NOTE = "sums: note hook: cheers: it runs in the task of each step"
FINE = "1 jobs can be converted"


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module for each case."""
    folder = tmp_path_factory.mktemp("projects")
    for name, (selection, hooks, sensors) in CASES.items():
        text = PROJECT.format(selection=repr(selection), hooks=hooks, sensors=sensors)
        (folder / f"remarked_{name}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def command(projects: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Runs a command on a project; returns its exit code, and the beginnings of what it wrote."""
    monkeypatch.syspath_prepend(str(projects))

    def run(name: str, case: str, *options: str) -> tuple[int, list[str]]:
        with pytest.raises(SystemExit) as ended:
            main([name, "-m", f"remarked_{case}", *options])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, (captured.err + captured.out).splitlines()

    return run


@pytest.mark.parametrize(
    ("case", "options", "code", "lines"),
    [
        ("clean", [], 0, [FINE]),
        ("clean", ["--strict"], 0, [FINE]),
        ("noted", ["--strict"], 0, [NOTE, FINE]),
        ("warned", [], 0, [WARNING, NOTE, FINE]),
        ("warned", ["--strict"], 1, [WARNING, NOTE]),
        ("broken", [], 1, [ERROR, WARNING, NOTE]),
    ],
)
def test_check_tells_everything(
    command: Callable[..., tuple[int, list[str]]], case: str, options: list[str], code: int, lines: list[str]
) -> None:
    """`check` prints all remarks and fails by an error, with --strict by a warning too; only then it does not say that all is well."""
    ended, printed = command("check", case, *options)
    assert ended == code
    assert len(printed) == len(lines)
    assert all(one.startswith(expected) for one, expected in zip(printed, lines, strict=True)), printed


@pytest.mark.parametrize(
    ("case", "options", "code", "lines"),
    [
        ("clean", ["--strict"], 0, ["wrote"]),
        ("noted", ["--strict"], 0, ["wrote"]),
        ("warned", [], 0, [WARNING, "wrote"]),
        ("warned", ["--strict"], 1, [WARNING, "error: nothing was written: --strict allows no warning. Next: see above."]),
        ("broken", [], 0, [ERROR, WARNING, "wrote"]),
        ("broken", ["--strict"], 1, [ERROR, WARNING, "error: nothing was written: --strict allows no warning. Next: see above."]),
    ],
)
def test_export_tells_what_is_serious(
    command: Callable[..., tuple[int, list[str]]], tmp_path: Path, case: str, options: list[str], code: int, lines: list[str]
) -> None:
    """`export` prints warnings and errors, not notes; with --strict they keep it from writing anything."""
    ended, printed = command("export", case, "-o", str(tmp_path / "out"), *options)
    assert ended == code
    assert len(printed) == len(lines)
    assert all(one.startswith(expected) for one, expected in zip(printed, lines, strict=True)), printed
    assert sorted(path.name for path in tmp_path.glob("out/*")) == (["sums.json"] if code == 0 else [])


def test_check_says_what_is_stale(command: Callable[..., tuple[int, list[str]]], tmp_path: Path) -> None:
    """`check -o` fails until the manifests are those of the project, and says which command makes them so."""
    folder = ["-o", str(tmp_path)]
    again = f"Next: airflow-bridge export -m remarked_clean -o {tmp_path}"
    assert command("check", "clean", *folder) == (1, [f"{tmp_path}/sums.json is missing: job sums was not exported. {again}"])
    command("export", "noted", *folder)
    assert command("check", "clean", *folder) == (1, [f"{tmp_path}/sums.json is stale: job sums has changed since. {again}"])
    command("export", "clean", *folder)
    assert command("check", "clean", *folder) == (0, ["1 jobs can be converted, and are exported as they are."])
    (tmp_path / "gone.json").write_text("{}")
    assert command("check", "clean", *folder) == (1, [f"{tmp_path}/gone.json is left over: there is no such job. {again}"])


def test_check_of_a_project_that_is_not_there(command: Callable[..., tuple[int, list[str]]]) -> None:
    """A module that cannot be imported is one message and exit code 1."""
    code, printed = command("check", "nowhere")
    assert (code, len(printed)) == (1, 1)
    assert printed[0].startswith("error: remarked_nowhere: No module named 'remarked_nowhere'. Next:")
