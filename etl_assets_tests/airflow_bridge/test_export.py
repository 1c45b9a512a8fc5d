"""Definitions to manifests."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_bridge.export import ExportError, export
from airflow_bridge.manifest import Dimension, Retry, load

PROJECT = "etl_assets_tests.airflow_bridge.project"


def test_steps_of_a_job(tmp_path: Path) -> None:
    """Steps carry assets, order, checks, group, owners, pool and retry policy."""
    (path,) = export(PROJECT, tmp_path, jobs=["sums"])
    numbers, flaky, total = load(path).steps
    assert (numbers.assets, numbers.group, numbers.owners, numbers.kinds) == (("numbers",), "sources", ("team:data",), ("python",))
    assert (flaky.upstream, flaky.retry) == (("numbers",), Retry(max_retries=2, delay_seconds=5.0, backoff="exponential", jitter="full"))
    assert (total.upstream, total.pool, total.checks) == (("flaky",), "database", ("total:is_positive",))


def test_a_check_on_its_own_is_a_step(tmp_path: Path) -> None:
    """A check that is a function of its own becomes a step after its asset."""
    (path,) = export(PROJECT, tmp_path, jobs=["checked"])
    counted, is_small = load(path).steps
    assert (counted.assets, counted.checks) == (("counted",), ())
    assert (is_small.assets, is_small.checks, is_small.upstream) == ((), ("counted:is_small",), ("counted",))


DAY = Dimension(
    name="day", kind="time", cron="0 0 * * *", timezone="Europe/Madrid", format="%Y-%m-%d", start="2026-01-01T00:00:00+01:00",
    end="2026-02-01T00:00:00+01:00",
)  # fmt: skip


@pytest.mark.parametrize(
    ("job", "dimensions"),
    [
        ("sums", ()),
        ("days", (dataclasses.replace(DAY, name=""),)),
        ("both", (DAY, Dimension(name="region", kind="static", keys=("eu", "us")))),
        ("customers", (Dimension(name="", kind="dynamic", dynamic="customers"),)),
    ],
)
def test_partitions_of_a_job(tmp_path: Path, job: str, dimensions: tuple[Dimension, ...]) -> None:
    """A manifest says how the partitions of its job are counted, dimension by dimension."""
    (path,) = export(PROJECT, tmp_path, jobs=[job])
    assert load(path).partitions == dimensions


def test_schedule_is_carried(tmp_path: Path) -> None:
    """The job's schedule is in the manifest, for information."""
    (path,) = export(PROJECT, tmp_path, jobs=["sums"])
    schedule = load(path).schedule
    assert schedule is not None
    assert (schedule.cron, schedule.timezone) == ("0 6 * * *", "Europe/Madrid")


def test_all_jobs_by_default(tmp_path: Path) -> None:
    """Without a choice every job is exported."""
    assert [path.name for path in export(PROJECT, tmp_path)] == [
        "both.json",
        "checked.json",
        "customers.json",
        "days.json",
        "failing.json",
        "sums.json",
    ]


def test_export_is_deterministic(tmp_path: Path) -> None:
    """Two exports in two processes give the same bytes."""
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-m", "airflow_bridge", "export", "-m", PROJECT, "-o", str(tmp_path / name)], check=True)
    assert (tmp_path / "one/sums.json").read_bytes() == (tmp_path / "two/sums.json").read_bytes()


def test_no_secret_and_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest holds no value of a variable and no absolute path."""
    monkeypatch.setenv("PROJECT_PASSWORD", "canary-4711")
    (path,) = export(PROJECT, tmp_path, jobs=["sums"])
    text = path.read_text()
    assert "canary-4711" not in text
    assert str(Path.cwd()) not in text


def test_no_variable_needs_to_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting works where the project's variables are not set."""
    monkeypatch.delenv("PROJECT_PASSWORD", raising=False)
    assert export(PROJECT, tmp_path, jobs=["sums"])


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        ("no.such.module", {}, "No module named"),
        (PROJECT, {"attribute": "nothing"}, "no attribute 'nothing'"),
        (PROJECT, {"attribute": "job"}, "not Definitions"),
        (PROJECT, {"jobs": ["other"]}, r"no jobs \['other'\]; known: \['both', 'checked', 'customers', 'days', 'failing', 'sums'\]"),
    ],
)
def test_unclear_requests_are_refused(tmp_path: Path, module: str, options: dict[str, object], said: str) -> None:
    """A wrong module, attribute or job is an error with the next step."""
    with pytest.raises(ExportError, match=said) as caught:
        export(module, tmp_path, **options)  # type: ignore[arg-type]
    assert "Next:" in str(caught.value)


def test_command_line_prints_one_message(tmp_path: Path) -> None:
    """The command ends with one message and code 1, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow_bridge", "export", "-m", "no.such.module", "-o", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_example_has_all_its_assets(tmp_path: Path) -> None:
    """The example's job has its 13 assets as steps; what is checked between tables belongs to the assets' contracts."""
    (path,) = export("etl_assets.definitions", tmp_path, jobs=["nyc_flights"])
    steps = json.loads(path.read_text())["steps"]
    assert (len([s for s in steps if s["assets"]]), len([s for s in steps if not s["assets"]])) == (13, 0)
