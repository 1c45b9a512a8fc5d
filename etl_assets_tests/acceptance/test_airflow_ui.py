"""The UIs of Airflow and Dagster in a real browser: a DAG run that failed, the way from its task to the Dagster run, and that run executed
again from its failure.

Not here: the UI of the example (`test_ui.py`).
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from playwright.sync_api import Page, expect

from airflow_bridge.launcher import run_id_for
from airflow_bridge.local_airflow import USER
from etl_assets.local_postgres import LocalPostgres
from etl_assets.ports import free_port
from etl_assets_tests.acceptance.airflow_servers import ROOT, Trial, airflow
from etl_assets_tests.acceptance.browser import picture
from etl_assets_tests.httpbin_server import get, start_server, stop_server

PROJECT = "etl_assets_tests.acceptance.airflow_project"
DAGS = """# airflow dag
from airflow_bridge.dags import dag_from_manifest

chain = dag_from_manifest("MANIFESTS/chain.json", dagster_url="DAGSTER", default_args={"retries": 0})
"""
CHAIN = ["first", "middle", "guarded", "last"]


@dataclass(frozen=True)
class Failed:
    """A DAG run whose task `guarded` has failed.

    Attributes:
        trial: The Airflow.
        run: Id of the DAG run.
        dagster: Address of Dagster's UI.
    """

    trial: Trial
    run: str
    dagster: str

    @property
    def dagster_run(self) -> str:
        return run_id_for("chain", self.run)


@pytest.fixture(scope="module")
def failed(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failed]:
    """An Airflow and a Dagster that run, and a DAG run that failed."""
    folder = tmp_path_factory.mktemp("ui")
    port = free_port()
    dags = DAGS.replace("DAGSTER", f"http://127.0.0.1:{port}")
    with airflow(postgres_server, folder, dags, {PROJECT: ["chain"]}, name="ui") as trial:
        command = [sys.executable, "-m", "dagster", "dev", "-m", PROJECT, "-h", "127.0.0.1", "-p", str(port)]
        server = start_server(
            lambda _: command,
            lambda port: get(f"http://127.0.0.1:{port}/server_info").ok,
            folder=folder, port=port, env={**os.environ, **trial.variables, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            trial.ask(middle="fail", guarded="give up")
            run = trial.api.trigger("chain")
            assert trial.api.ended("chain", run) == "failed"
            yield Failed(trial, run, f"http://127.0.0.1:{port}")
        finally:
            stop_server(server.process)


def test_the_dag_run_in_airflow(page: Page, failed: Failed) -> None:
    """After the login the DAG run shows its tasks, groups and states, and the failed task its links and the reason in its log."""
    running = failed.trial.api.airflow
    page.goto(running.url)
    page.locator("input[name=username]").fill(USER)
    page.locator("input[name=password]").fill(running.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{running.url}/**")
    page.goto(f"{running.url}/dags/chain/runs/{failed.run}")
    page.get_by_role("button", name="Expand all task groups").click()
    for task in (*CHAIN, "finish"):
        expect(page.get_by_text(task, exact=True).first).to_be_visible()
    picture(page, "airflow-dag-run")
    page.goto(f"{running.url}/dags/chain/runs/{failed.run}/tasks/guarded")
    expect(page.get_by_text("guarded was asked to give up").first).to_be_visible()
    picture(page, "airflow-task")
    page.goto(f"{running.url}/dags/chain/runs/{failed.run}/tasks/guarded/details")
    expect(page.get_by_text("Dagster asset", exact=True).first).to_be_visible()


def test_from_the_task_to_the_dagster_run(page: Page, failed: Failed) -> None:
    """The task's link opens the Dagster run, with its Gantt: the attempts of a step that was tried again, and the reason of the failure."""
    page.goto(f"{failed.trial.api.airflow.url}/dags/chain/runs/{failed.run}/tasks/guarded/details")
    link = page.get_by_role("link", name="Dagster run").first
    expect(link).to_have_attribute("href", f"{failed.dagster}/runs/{failed.dagster_run}")
    page.goto(str(link.get_attribute("href")))
    for step in CHAIN[:3]:
        expect(page.get_by_text(step, exact=True).first).to_be_visible()
    expect(page.get_by_text("Failure", exact=True).first).to_be_visible()
    expect(page.get_by_text("airflow/dag_run_url").first.or_(page.get_by_text("chain", exact=True).first)).to_be_visible()
    page.wait_for_timeout(1500)
    picture(page, "dagster-run-of-a-dag")


def test_executed_again_from_the_failure(page: Page, failed: Failed) -> None:
    """A click executes the run again from its failure, as a run of Dagster's own: what had succeeded is not repeated."""
    failed.trial.ask()
    page.goto(f"{failed.dagster}/runs/{failed.dagster_run}")
    # Beside the button that executes all of it again is one that opens the other ways.
    page.get_by_role("button", name="Re-execute").first.locator("xpath=following::button[1]").click()
    page.get_by_text(re.compile("from failure", re.IGNORECASE)).first.click()
    end = time.monotonic() + 180
    while time.monotonic() < end:
        with failed.trial.dagster() as instance:
            children = [run for run in instance.get_runs() if run.parent_run_id == failed.dagster_run]
        if children and children[0].is_finished:
            break
        time.sleep(1)
    assert [run.status for run in children] == [dg.DagsterRunStatus.SUCCESS]
    assert [name for name in CHAIN if failed.trial.ran(name)] == ["guarded", "last"]
