"""Progress of long work: told while it goes on, with rows, rows a second and share, to whoever listens."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets import progress
from etl_assets.assets import etl_asset
from etl_assets.connectors.files import FilesResource
from etl_assets.connectors.sql import SqlResource
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.progress import Progress, Report, listening
from etl_assets.terminal import materialise

ROWS = 25_000


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part is told, as if it had taken long."""
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)


@pytest.fixture
def reports() -> Iterator[list[Report]]:
    """What is told during a test."""
    found: list[Report] = []
    with listening(found.append):
        yield found


class Things(pa.DataFrameModel):
    """Things, one row per thing."""

    id: int


def test_a_report_reads_well() -> None:
    """Rows, rows a second and share."""
    assert str(Report(doing="loading a/b", rows=1_234_567, seconds=4.0, share=0.5)) == "loading a/b: 1,234,567 rows, 308,642 rows/s, 50%"
    assert str(Report(doing="reading x", rows=10, seconds=2.0)) == "reading x: 10 rows, 5 rows/s"


def test_short_work_says_nothing(monkeypatch: pytest.MonkeyPatch, reports: list[Report]) -> None:
    """Before five seconds nobody is told."""
    monkeypatch.setattr(progress, "EVERY_SECONDS", 5.0)
    Progress("loading").add(10_000)
    assert reports == []


def test_without_a_listener_the_log_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Plain Python programs see it in their log."""
    with caplog.at_level(logging.INFO, "etl_assets"):
        Progress("loading", total=20).add(10)
    assert caplog.messages[0].startswith("loading: 10 rows, ")
    assert caplog.messages[0].endswith(", 50%")


def test_a_load_tells_its_share(database_url: str, reports: list[Report]) -> None:
    """A frame is loaded in parts, and its rows are known."""
    PostgresResource(url=database_url).load(pd.DataFrame({"id": range(ROWS)}), table="things")
    assert [(report.doing, report.rows, report.share) for report in reports] == [
        ("loading public/things", 10_000, 0.4), ("loading public/things", 20_000, 0.8), ("loading public/things", ROWS, 1.0),
    ]  # fmt: skip


def test_a_load_of_batches_tells_rows(database_url: str, reports: list[Report]) -> None:
    """How many batches come is unknown."""
    frame = pd.DataFrame({"id": range(10)})
    PostgresResource(url=database_url).load(lambda: iter([frame, frame]), table="things")
    assert [(report.rows, report.share) for report in reports] == [(10, None), (20, None)]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_reading_a_file_tells_its_share(tmp_path: Path, reports: list[Report], kind: str) -> None:
    """The share is that of the bytes."""
    text = "x" * 100
    lines = "id\n" + f"{text}\n" * 250_000 if kind == "csv" else f'{{"id": "{text}"}}\n' * 250_000
    (tmp_path / f"a.{kind}").write_text(lines)
    files = FilesResource(base_folder=str(tmp_path))
    read = files.read_csv_batches("a.csv") if kind == "csv" else files.read_json_lines_batches("a.jsonl")
    rows = sum(map(len, read))
    shares = [report.share for report in reports]
    assert (reports[0].doing, reports[-1].rows) == (f"reading a.{kind}", rows)
    assert len(shares) >= 3
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.01)


def test_a_packed_file_has_no_share(tmp_path: Path, reports: list[Report]) -> None:
    """Nobody knows how much is in it."""
    pd.DataFrame({"id": range(10)}).to_csv(tmp_path / "a.csv.gz", index=False)
    FilesResource(base_folder=str(tmp_path)).read_csv("a.csv.gz")
    assert [(report.rows, report.share) for report in reports] == [(10, None)]


def test_reading_postgresql_tells_rows(database_url: str, reports: list[Report]) -> None:
    """As they come."""
    SqlResource(url=database_url).read_query("SELECT generate_series(1, 200000) AS id")
    assert reports[-1].rows == 200_000
    assert len(reports) >= 2


def test_the_log_of_the_run_and_the_terminal_are_told(database_url: str, tmp_path: Path) -> None:
    """Dagster's log has a line per report, and so has the terminal."""
    pd.DataFrame({"id": range(ROWS)}).to_csv(tmp_path / "things.csv", index=False)

    @etl_asset(schema="clean")
    def things(files: FilesResource) -> DataFrame[Things]:
        return files.read_csv("things.csv")[["id"]]

    definitions = dg.Definitions(
        assets=[things],
        jobs=[dg.define_asset_job("all_things")],
        resources={
            "files": FilesResource(base_folder=str(tmp_path)), "io_manager": PostgresIOManager(postgres=PostgresResource(url=database_url)),
        },
        executor=dg.in_process_executor,
    )  # fmt: skip
    out = io.StringIO()
    with dg.DagsterInstance.ephemeral() as instance:
        outcome = materialise(definitions.resolve_job_def("all_things"), instance, out)
        (run,) = instance.get_runs()
        logged = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert outcome.success
    for told in ("reading things.csv: 25,000 rows", "loading clean/things: 20,000 rows"):
        assert told in out.getvalue()
        assert any(message.startswith(told) for message in logged)
