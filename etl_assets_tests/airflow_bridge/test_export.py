"""Definitions to manifests."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_bridge.export import ExportError, manifests_of, read_project
from airflow_bridge.manifest import Check, Dimension, Manifest, Retry, dump

PROJECT = "etl_assets_tests.airflow_bridge.project"


def manifest(job: str, module: str = PROJECT) -> Manifest:
    """The manifest of one job."""
    (found,) = manifests_of(read_project(module), [job])
    return found


def test_steps_of_a_job() -> None:
    """Steps carry assets, order, checks, group, owners, pool and retry policy."""
    numbers, flaky, total = manifest("sums").steps
    assert (numbers.assets, numbers.group, numbers.owners, numbers.kinds) == (("numbers",), "sources", ("team:data",), ("python",))
    assert (flaky.upstream, flaky.retry) == (("numbers",), Retry(max_retries=2, delay_seconds=5.0, backoff="exponential", jitter="full"))
    assert (total.upstream, total.pool, total.checks) == (
        ("flaky",),
        "database",
        (Check(asset="total", name="is_positive", blocking=False),),
    )


def test_a_check_on_its_own_is_a_step() -> None:
    """A check that is a function of its own becomes a step after its asset."""
    counted, is_small = manifest("checked").steps
    assert (counted.assets, counted.checks) == (("counted",), ())
    assert (is_small.assets, is_small.checks, is_small.upstream) == (
        (),
        (Check(asset="counted", name="is_small", blocking=False),),
        ("counted",),
    )


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
def test_partitions_of_a_job(job: str, dimensions: tuple[Dimension, ...]) -> None:
    """A manifest says how the partitions of its job are counted, dimension by dimension."""
    assert manifest(job).partitions == dimensions


def test_schedule_is_carried() -> None:
    """The job's schedule is in the manifest, for information."""
    (schedule,) = manifest("sums").schedules
    assert (schedule.cron, schedule.timezone, schedule.running) == (("0 6 * * *",), "Europe/Madrid", False)


def test_all_jobs_by_default() -> None:
    """Without a choice every job is exported."""
    assert [one.job for one in manifests_of(read_project(PROJECT))] == ["both", "checked", "customers", "days", "failing", "sums"]


def test_export_is_deterministic(tmp_path: Path) -> None:
    """Two exports in two processes give the same bytes."""
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-m", "airflow_bridge", "export", "-m", PROJECT, "-o", str(tmp_path / name)], check=True)
    assert (tmp_path / "one/sums.json").read_bytes() == (tmp_path / "two/sums.json").read_bytes()


def test_no_secret_and_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest holds no value of a variable and no absolute path."""
    monkeypatch.setenv("PROJECT_PASSWORD", "canary-4711")
    text = dump(manifest("sums"))
    assert "canary-4711" not in text
    assert str(Path.cwd()) not in text


def test_no_variable_needs_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting works where the project's variables are not set."""
    monkeypatch.delenv("PROJECT_PASSWORD", raising=False)
    assert manifest("sums").environment == ("PROJECT_FILES", "PROJECT_PASSWORD")


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        ("no.such.module", {}, "No module named"),
        (PROJECT, {"attribute": "nothing"}, "no attribute 'nothing'"),
        (PROJECT, {"attribute": "job"}, "not Definitions"),
        (PROJECT, {"job": "other"}, r"no jobs \['other'\]; known: \['both', 'checked', 'customers', 'days', 'failing', 'sums'\]"),
    ],
)
def test_unclear_requests_are_refused(module: str, options: dict[str, str], said: str) -> None:
    """A wrong module, attribute or job is an error with the next step."""
    with pytest.raises(ExportError, match=said) as caught:
        manifests_of(read_project(module, attribute=options.get("attribute", "defs")), [options["job"]] if "job" in options else ())
    assert "Next:" in str(caught.value)


def test_command_line_prints_one_message(tmp_path: Path) -> None:
    """The command ends with one message and code 1, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow_bridge", "export", "-m", "no.such.module", "-o", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def said(*arguments: str) -> tuple[int, str]:
    """Exit code and errors of a command."""
    done = subprocess.run([sys.executable, "-m", "airflow_bridge", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--pool-slots", "database=2"], "error: --pool-slots says nothing without pools. Next: name their file with --pools."),
        (["--pool-slots", "databse=2", "--pools", "p.json"], "error: --pool-slots: there is no pool databse; there are database. Next: "),
        (["-o", "FILE"], "cannot be written (File exists). Next: name a folder with -o."),
    ],
)
def test_exports_that_cannot_be(tmp_path: Path, more: list[str], text: str) -> None:
    """Slots of no pool, slots without a file, and a file where a folder should be are errors, and nothing is written."""
    (tmp_path / "file").write_text("")
    given = [str(tmp_path / "file") if one == "FILE" else one for one in more]
    code, told = said("export", "-m", PROJECT, "-o", str(tmp_path / "manifests"), *given)
    assert (code, text in told) == (1, True)
    assert not (tmp_path / "manifests").exists()


def test_the_location_of_an_export_is_kept(tmp_path: Path) -> None:
    """`check` takes the code location from the manifests, so that nothing is stale that was exported with another one."""
    assert said("export", "-m", PROJECT, "-o", str(tmp_path), "--location", "elsewhere")[0] == 0
    code, told = said("check", "-m", PROJECT, "-o", str(tmp_path))
    assert (code, "stale" in told) == (0, False)
    (tmp_path / "sums.json").unlink()
    assert "--location elsewhere" in said("check", "-m", PROJECT, "-o", str(tmp_path))[1]


def test_example_has_all_its_assets() -> None:
    """The example's job has its 13 assets as steps; what is checked between tables belongs to the assets' contracts."""
    steps = manifest("nyc_flights", "etl_assets.definitions").steps
    assert (len([s for s in steps if s.assets]), len([s for s in steps if not s.assets])) == (13, 0)
