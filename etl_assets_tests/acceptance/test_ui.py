"""The Dagster UI in a real browser: the asset graph, row counts, checks, columns, and a table materialised by a click."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from etl_assets.loading.postgres import PostgresResource
from etl_assets_tests.acceptance.browser import picture

ROOT = Path(__file__).parents[2]
CLI = (sys.executable, "-m", "etl_assets.cli")


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    """A home in which the demo ran."""
    with tempfile.TemporaryDirectory(prefix="etl-assets-ui-") as name:
        Path(name).chmod(0o755)
        given = {**os.environ, "ETL_HOME": name}
        try:
            subprocess.run([*CLI, "demo"], cwd=ROOT, env=given, check=True, stdout=subprocess.DEVNULL)
            yield given
        finally:
            subprocess.run([*CLI, "postgres", "stop"], cwd=ROOT, env=given, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def address(variables: dict[str, str]) -> Iterator[str]:
    """Address of the running UI, its code location loaded."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ui = subprocess.Popen([*CLI, "ui", "--port", str(port)], cwd=ROOT, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"{url}/server_info", timeout=2):
                    break
            except OSError:
                assert time.monotonic() < deadline, "the UI did not start"
                time.sleep(0.5)
        yield url
    finally:
        ui.send_signal(signal.SIGTERM)
        ui.wait(60)


def test_asset_graph(page: Page, address: str) -> None:
    """The graph shows the assets of the three layers with their checks."""
    page.goto(f"{address}/asset-groups")
    expect(page.get_by_text("mart", exact=True).first).to_be_visible()
    page.wait_for_timeout(2000)
    page.keyboard.press("Alt+E")
    for text in ("on_time_performance", "delay_by_weather", "fleet_age", "weather"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    expect(page.get_by_text("Passed").first).to_be_visible()
    page.wait_for_timeout(1000)
    picture(page, "asset-graph")


def test_row_count_and_columns(page: Page, address: str) -> None:
    """The page of an asset shows its row count and the columns of its contract."""
    page.goto(f"{address}/assets/clean/weather")
    expect(page.get_by_text("26,114").first).to_be_visible()
    expect(page.get_by_text("timestamp with time zone").first).to_be_visible()
    expect(page.get_by_text("primary_key").first).to_be_visible()
    picture(page, "asset-weather")


def test_failed_check_with_its_sample(page: Page, address: str) -> None:
    """A rule that found something shows how many rows, which, and the offending value."""
    page.goto(f"{address}/assets/clean/weather?view=checks&checkDetail=wind_speed_mph_le")
    expect(page.get_by_text("wind_speed_mph <= 250").first).to_be_visible()
    expect(page.get_by_text("1048.36058").first).to_be_visible()
    picture(page, "check-wind-speed")


def test_cleaning_and_quarantine_of_an_asset(page: Page, address: str) -> None:
    """The events of an asset show what each cleaning step did, and the rows that are in quarantine."""
    page.goto(f"{address}/assets/clean/weather?view=events")
    expect(page.get_by_text("null markers NA").first).to_be_visible()
    expect(page.get_by_text("etl-assets quarantine list clean/weather").first).to_be_visible()
    expect(page.get_by_text("weather.csv line 1011").first).to_be_visible()
    page.get_by_text("quarantine_command").first.scroll_into_view_if_needed()
    picture(page, "cleaning-and-quarantine")


def test_materialise_by_a_click(page: Page, address: str, variables: dict[str, str]) -> None:
    """A click on Materialize loads the table again, with everything its source needs."""
    url = subprocess.run([*CLI, "postgres", "url"], cwd=ROOT, env=variables, check=True, capture_output=True, text=True).stdout.strip()
    warehouse = PostgresResource(url=url)
    query = "SELECT count(*) AS loads FROM etl.loads WHERE asset = 'raw/planes' AND status = 'succeeded'"
    before = int(warehouse.read_query(query)["loads"].iat[0])
    page.goto(f"{address}/assets/raw/planes")
    page.get_by_role("button", name="Materialize").first.click()
    deadline = time.monotonic() + 180
    while int(warehouse.read_query(query)["loads"].iat[0]) == before:
        assert time.monotonic() < deadline, "the table was not loaded again"
        time.sleep(1)
