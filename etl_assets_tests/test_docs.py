"""The pages of the docs are true: their snippets run against real sources."""

import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import openpyxl
import pandas as pd
import pytest
import sqlalchemy as sa

from etl_assets.accounting import open_account
from etl_assets.cleaning import clean
from etl_assets.contracts import Contract
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.pipelines.nyc_flights.sources.planes_api import serve_planes

DOCS = Path(__file__).parents[1] / "docs"


def run(page: str) -> dict[str, Any]:
    """Run the Python blocks of a page one after the other; the names they leave."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `data` that the pages read from, below the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_files_page(folder: Path) -> None:
    """The page on files reads a CSV file of another encoding, and objects inside a JSON document."""
    (folder / "orders.csv").write_bytes("id;ordered_on;amount\n00501;31.12.2025;1.234,50 €\n2;NULL;1.5\n".encode("cp1252"))
    (folder / "shops.json").write_text('{"data": {"shops": [{"id": 1.50}]}}')
    (folder / "events").mkdir()
    (folder / "events" / "1.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1, "of": {"kind": "x"}}\n'))
    pd.DataFrame({"id": [1, None], "fare": [1.5, 2], "other": [1, 2]}).astype({"id": "Int64"}).to_parquet(folder / "trips.parquet")
    names = run("connectors/files.md")
    assert names["orders"]["id"].tolist() == ["00501", "2"]
    assert names["shops"]["id"].tolist() == ["1.50"]
    assert names["events"]["of_kind"].tolist() == ["x"]
    assert list(names["trips"].columns) == ["id", "fare", "source_position"]
    assert names["sizes"] == [2]
    assert names["cleaned"]["amount"].tolist() == ["1234.50", "1.5"]
    assert names["new_events"].keys_by_output_name


def test_excel_page(folder: Path) -> None:
    """The page on workbooks reads a sheet with a title, a merged header and a footer."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.title = "Sales"
    for row in (["Report"], [], ["Shop", None, "Sold"], ["Id", "Name", None], [1, "North", 16], ["Total", None, 16], ["a note"]):
        sheet.append(row)
    sheet.merge_cells("A3:B3")
    sheet.merge_cells("C3:C4")
    stock = workbook.create_sheet("Stock")
    for row in (["as of today"], [None, "Id", "Pieces"], ["note", 1, 5]):
        stock.append(row)
    workbook.save(folder / "report.xlsx")
    names = run("connectors/excel.md")
    sales = names["sales"]
    assert names["stock"][["Id", "Pieces"]].to_numpy().tolist() == [["1", "5"]]
    assert sales.to_dict("records") == [{"Shop Id": "1", "Shop Name": "North", "Sold": "16", "source_position": "report.xlsx Sales row 5"}]


def test_rest_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page on REST reads every page of a real Datasette."""
    with sqlite3.connect(tmp_path / "planes.db") as connection:
        connection.execute("CREATE TABLE planes (tailnum TEXT PRIMARY KEY)")
        connection.executemany("INSERT INTO planes VALUES (?)", [(f"N{number:05}",) for number in range(1200)])
    connection.close()
    with serve_planes(tmp_path / "planes.db", tmp_path / "api.log") as url:
        monkeypatch.setenv("PLANES_API", url)
        names = run("connectors/rest.md")
    planes = names["planes"]
    assert (len(planes), planes["tailnum"].is_unique) == (1200, True)
    assert names["makers"]["parent_tailnum"].tolist() == planes["tailnum"].tolist()[:2]


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite", "duckdb"])
def test_sql_page(dialect: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page on SQL reads a table, a query, a window, batches and chunks, and loads each chunk once, of each database."""
    statements = [
        "CREATE TABLE orders (id integer, amount numeric(8,2), ordered_at text, other text)",
        "INSERT INTO orders VALUES (1, 1.5, '2025-12-31', 'x'), (2, 2, '2026-01-01', 'y')",
    ]
    url = {"sqlite": f"sqlite:///{tmp_path / 'shop.db'}", "duckdb": f"duckdb:///{tmp_path / 'shop.duckdb'}"}.get(dialect, database_url)
    if dialect == "duckdb":
        with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement)
    else:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
        engine.dispose()
    monkeypatch.setenv("SHOP_URL", url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    names = run("connectors/sql.md")
    assert list(names["orders"].columns) == ["id", "amount", "ordered_at"]
    assert names["late"]["id"].tolist() == names["january"]["id"].tolist() == [2]
    assert names["sizes"] == [2]
    assert PostgresResource(url=database_url).read_table("orders", schema="raw")["id"].tolist() == [1, 2]


@pytest.mark.parametrize("page", sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md")), ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link in the docs leads to a file."""
    for link in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text()):
        assert link.startswith("https://") or (DOCS / page.parent / link).exists(), link


def test_assets_page() -> None:
    """The page on assets defines an asset that cleans, splits and accounts for rows as it says."""
    names = run("assets.md")
    raw = pd.DataFrame(
        {
            "id": ["1", "1", "2", "3", "4"],
            "date": ["01.03.2026", "02.03.2026", "31.02.2026", "03.03.2026", "04.03.2026"],
            "shipped_on": ["2026-03-05", "2026-03-05", "n/a", "2026-03-01", "NULL"],
            "amount_eur": ["1.50", "2", "3", "4", "5"],
            "country": ["Germany", "Germany", "FR", "IT", "TEST"],
            "pieces": ["1", "2", "3", "4", "5"],
        }
    )
    with open_account() as account:
        cleaned = clean(raw, names["STEPS"])
    split = Contract.of(names["Orders"]).split(cleaned, where="clean/orders")
    assert account.rows_dropped == 2
    assert split.valid[["order_id", "amount_eur"]].astype(str).to_numpy().tolist() == [["1", "2.00"]]
    assert [row.rules for row in split.rejected] == [("ordered_on_type",), ("shipped_after_order",)]


def test_cleaning_page() -> None:
    """The steps of the page clean its orders, and refuse what is not written as declared."""
    cleaned = run("cleaning.md")["cleaned"]
    assert cleaned[["order_id", "customer", "country"]].to_numpy().tolist() == [["1", "Ann", "DE"], ["2", "Bob", "FR"]]
    assert [type(value).__name__ for value in cleaned["ordered_on"]] == ["date", "Unconverted"]
    assert [type(value).__name__ for value in cleaned["amount"]] == ["Decimal", "Unconverted"]


def test_contracts_page() -> None:
    """The contract of the page parts its two rows as it says, and its sensor can be defined."""
    names = run("contracts.md")
    split = names["split"]
    assert split.valid["order_id"].tolist() == [1]
    assert [row.rules for row in split.rejected] == [("order_id_type",)]
    assert [sensor.name for sensor in names["defs"].sensors] == ["check_failures"]
    assert dg.AssetKey(["clean", "customers"]) in names["orders"].asset_deps[names["orders"].key]


def test_loading_page(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's assets keep versions and partitions, and its plain load appends."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    names = run("loading.md")
    defs = names["defs"]
    for day in ("2026-01-01", "2026-01-02", "2026-01-01"):
        assert dg.materialize([names["orders"]], partition_key=day, resources=defs.resources).success
    assert dg.materialize([names["customers"]], resources=defs.resources).success
    postgres = names["postgres"]
    assert postgres.read_query(
        "SELECT day::text AS day, count(*)::int AS n FROM shop.orders GROUP BY 1 ORDER BY 1"
    ).to_numpy().tolist() == [
        ["2026-01-01", 2],
        ["2026-01-02", 2],
    ]
    assert sorted(postgres.read_table("customers", schema="shop").columns) == ["city", "id", "valid_from", "valid_to"]
    assert names["result"].rows_loaded == 2


def test_guarantees_page() -> None:
    """The figures of the page are those of the report, and the report holds what the page promises."""
    report = json.loads((DOCS / "reports" / "faults.json").read_text())
    page = (DOCS / "guarantees.md").read_text()
    for figure in (
        f"{report['injected']} faults of {len(report['kinds'])} kinds, {report['landed']} of them landed",
        f"{report['rows']:,} rows",
        f"{report['lost']} rows lost, {report['duplicated']} duplicated",
        f"{report['half_visible']} half-visible in {report['looks']:,} looks",
        f"{report['healed_seconds_max']:.1f} s",
        f"{report['mutant']['duplicated']:,} rows twice",
    ):
        assert figure in page, figure
    assert report["injected"] >= 500
    assert len(report["kinds"]) >= 15
    assert report["rows"] >= 5_000_000
    assert report["landed"] >= 0.99 * report["injected"]
    assert (report["lost"], report["duplicated"], report["half_visible"], report["not_healed"]) == (0, 0, 0, 0)
    assert report["healed_seconds_max"] <= 60
    assert report["mutant_failed"] is True


def test_quarantine_page(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's functions work on a database without a quarantine, and on one with a row in it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    names = run("quarantine.md")
    assert (names["missing"], names["would_be"].passing) == ([], 0)
    postgres = names["warehouse"]
    dg.materialize([names["orders"]], resources={"io_manager": PostgresIOManager(postgres=postgres)})
    names = run("quarantine.md")
    assert [row.record["amount"] for row in names["missing"]] == ["-5"]
    assert len(names["would_be"].failing) == 1


def test_your_project_page(tmp_path: Path, database_url: str) -> None:
    """The project of the page is made of its blocks, and its job loads what the page's command runs."""
    page = (DOCS / "your-project.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        file = tmp_path / block.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(exist_ok=True)
        file.write_text(block)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "customers.json").write_text('[{"id": 1, "country": null}]')
    (tmp_path / "data" / "orders.csv").write_text("id;customer;amount\n1;1;1.50\n2;9;2\n")
    (commands,) = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    commands = commands.replace("etl-assets postgres start\n", "").replace("$(etl-assets postgres url shop)", f"'{database_url}'")
    commands = commands.replace("dagster dev -m shop.definitions\n", "")
    variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/sh", "-ec", commands], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert PostgresResource(url=database_url).read_table("orders", schema="clean")["amount"].map(str).tolist() == ["1.50", "2.00"]
