"""A Dagster run that is killed after its load has committed and before Dagster knows of it, and the run that tries it again.

Not here: loads outside Dagster (`process.py`).
"""

import logging
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
from pandera.typing import DataFrame

from etl_assets.assets import etl_asset
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets_tests.faults.deliveries import Delivery

_CONTEXT: Any = multiprocessing.get_context("forkserver")


class Rows(pa.DataFrameModel):
    """Rows of a delivery, one row per number, partition and id."""

    number: int
    part: int
    id: int
    v: int
    note: str


class DyingIOManager(PostgresIOManager):
    """Kills its process instead of telling Dagster what was stored."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """The rows are in their table by now."""
        os.kill(os.getpid(), signal.SIGKILL)


@etl_asset(schema="public", name="appended", write="append")
def appended(context: dg.AssetExecutionContext) -> DataFrame[Rows]:
    """The delivery that a tag of the run names."""
    number, rows = (int(context.run.tags[name]) for name in ("number", "rows"))
    frame: pd.DataFrame = Delivery(table="appended", number=number, rows=rows).frame(0, rows)
    return frame


def make_job() -> dg.JobDefinition:
    """The job; resources as the environment says."""
    url = os.environ["FAULTS_URL"]
    kind = DyingIOManager if os.environ.get("FAULTS_DIE") else PostgresIOManager
    postgres = PostgresResource(url=url)
    return dg.Definitions(
        assets=[appended], resources={"io_manager": kind(postgres=postgres)}, jobs=[dg.define_asset_job("job", [appended])],
        executor=dg.in_process_executor,
    ).resolve_job_def("job")  # fmt: skip


def _run(url: str, home: str, tags: dict[str, str], parent: str | None) -> None:
    logging.disable(logging.CRITICAL)
    os.environ["FAULTS_URL"] = url
    os.environ.pop("FAULTS_DIE", None)
    if parent is None:
        os.environ["FAULTS_DIE"] = "yes"
    with dg.DagsterInstance.local_temp(home) as instance:
        options = dg.ReexecutionOptions(parent_run_id=parent) if parent is not None else None
        result = dg.execute_job(dg.reconstructable(make_job), instance=instance, tags=tags, reexecution_options=options)
        os._exit(0 if result.success else 1)


def run_and_die(url: str, home: Path, delivery: Delivery) -> str:
    """Run the job until it kills itself; the id of its run."""
    _in_process(url, home, {"number": str(delivery.number), "rows": str(delivery.rows)}, None)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        return str(instance.get_runs(limit=1)[0].run_id)


def run_again(url: str, home: Path, delivery: Delivery, parent: str) -> bool:
    """Try the run again, as a person or Dagster's own retry would; whether it succeeded."""
    return _in_process(url, home, {"number": str(delivery.number), "rows": str(delivery.rows)}, parent) == 0


def _in_process(url: str, home: Path, tags: dict[str, str], parent: str | None) -> int:
    process = _CONTEXT.Process(target=_run, args=(url, str(home), tags, parent), daemon=True)
    process.start()
    process.join(120)
    if process.is_alive():
        process.kill()
        process.join()
    return int(process.exitcode)


__all__ = ["run_again", "run_and_die"]
