"""`airflow-bridge doctor`: a finding for each thing that is wrong on a machine, and none where nothing is.

Not here: remarks about jobs (`test_remarks.py`).
"""

import json
from pathlib import Path

import pytest

from airflow_bridge.__main__ import main
from airflow_bridge.doctor import Setting, of_dagster, of_starts
from airflow_bridge.export import manifests_of, read_project, write

PROJECT = "etl_assets_tests.airflow_bridge.project"
AT_ONCE = "run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}\n"
WARM = "from airflow_bridge.preload import warm\nwarm()\n"


def starts(home: Path, text: str | None, *, executor: str = "LocalExecutor", new_interpreter: bool = False) -> list[str]:
    """What is said of an Airflow whose local settings are these."""
    (home / "config").mkdir(exist_ok=True)
    if text is not None:
        (home / "config" / "airflow_local_settings.py").write_text(text)
    setting = Setting(home=home, executor=executor, new_interpreter=new_interpreter, slots=4)
    return [str(one) for one in of_starts(setting)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no airflow_local_settings.py. Next: write one into"),
        ("", "does not call warm(). Next: call airflow_bridge.preload.warm() in it."),
        ("import does_not_exist", "cannot be imported (ModuleNotFoundError: No module named 'does_not_exist'). Next: correct it."),
    ],
)
def test_a_cold_start(tmp_path: Path, text: str | None, said: str) -> None:
    """Where tasks do not start warm, the reason is told."""
    (found,) = starts(tmp_path, text)
    assert found.startswith("warning cold-start: LocalExecutor: every task imports dagster")
    assert said in found


@pytest.mark.parametrize(("executor", "kind"), [("LocalExecutor", "scheduler"), ("CeleryExecutor", "worker")])
def test_a_warm_start(tmp_path: Path, executor: str, kind: str) -> None:
    """Where they do, what it costs is told: it was tried."""
    (found,) = starts(tmp_path, WARM, executor=executor)
    assert found.startswith(f"note warm-start: {executor}: tasks start warm, for ")
    assert f" MB per {kind}. Next:" in found


def test_definitions_that_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions that tasks will not use are named, with the reason: they too were tried."""
    (tmp_path / "shop_that_starts.py").write_text(
        "import subprocess\nsubprocess.run(['true'])\nimport dagster\ndefs = dagster.Definitions()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    _, found = starts(tmp_path, WARM.replace("warm()", "warm(definitions=['shop_that_starts'])"))
    assert found.startswith(
        "warning definitions-not-kept: LocalExecutor: every task starts a new interpreter: the import of shop_that_starts"
    )
    assert "starts a process" in found


def test_a_new_interpreter_is_cold(tmp_path: Path) -> None:
    """Airflow's setting that starts an interpreter per task makes warm starts impossible, and is named."""
    (found,) = starts(tmp_path, WARM, new_interpreter=True)
    assert "core.execute_tasks_new_python_interpreter is set. Next: set it to False." in found


def codes(slots: int) -> dict[str, str]:
    """Levels of what is said of the Dagster instance, by code."""
    return {one.code: one.level for one in of_dagster(slots)}


@pytest.mark.parametrize(("yaml", "slots", "said"), [
    ("", 1, {}),
    ("", 4, {"sqlite-storage": "warning"}),
    ("QUEUED", 1, {"queue-without-daemon": "warning"}),
    ("run_monitoring: {enabled: true, max_runtime_seconds: 60}", 1, {"max-runtime": "note"}),
    ("storage: {postgres: {postgres_url: 'postgresql+psycopg2://a:b@127.0.0.1:1/c'}}", 1, {"dagster-storage": "error"}),
    ("nonsense: 1", 1, {"dagster-storage": "error"}),
])  # fmt: skip
def test_an_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yaml: str, slots: int, said: dict[str, str]) -> None:
    """What is wrong with the Dagster instance is told by its code, and nothing else."""
    (tmp_path / "dagster.yaml").write_text("" if yaml == "QUEUED" else AT_ONCE + yaml)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert codes(slots) == said


def test_no_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DAGSTER_HOME no task would work."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert codes(1) == {"no-dagster-home": "error"}


@pytest.fixture
def manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The manifests of the project, on a machine where everything else is well."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(AT_ONCE)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    folder = tmp_path / "manifests"
    write(manifests_of(read_project(PROJECT)), folder)
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().out


def test_manifests_as_they_should_be(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Manifests of the project as it is are no finding."""
    code, text = said(capsys, "--manifests", str(manifests), "-m", PROJECT)
    assert (code, "stale" in text, "error" in text) == (0, False, False)
    assert text.endswith("Nothing keeps DAGs from running here.\n")


def test_stale_manifests(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A manifest that the project has left behind, or that is cut off, is an error with the next step."""
    content = json.loads((manifests / "sums.json").read_text())
    write([*manifests_of(read_project(PROJECT), ["days"])], manifests)
    (manifests / "sums.json").write_text(json.dumps(content)[:200])
    (manifests / "gone.json").write_text((manifests / "days.json").read_text())
    code, text = said(capsys, "--manifests", str(manifests), "-m", PROJECT)
    assert code == 1
    assert "error manifest: sums.json: the file is no JSON, perhaps cut off" in text
    assert f"error stale: {PROJECT}: {manifests / 'gone.json'} is left over: there is no such job." in text


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without manifests is an error."""
    code, text = said(capsys, "--manifests", str(tmp_path))
    assert (code, "error manifest:" in text) == (1, True)


def test_strict(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --strict a warning, such as a cold start, fails too."""
    assert said(capsys, "--manifests", str(manifests))[0] == 0
    code, text = said(capsys, "--manifests", str(manifests), "--strict")
    assert (code, "warning cold-start" in text) == (1, True)
