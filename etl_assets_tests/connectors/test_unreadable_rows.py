"""Rows that cannot be read, from the file to the quarantine: none is lost, the others are loaded, too many stop the load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import openpyxl
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.connectors.excel import ExcelResource
from etl_assets.connectors.files import FilesResource
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets_tests.connectors.file_reading import put


class Orders(pa.DataFrameModel):
    """Orders, one row per order."""

    id: int
    n: str = pa.Field(nullable=True)

    class Config:
        metadata = {"primary_key": ["id"]}


ROWS = RowPolicy(most_quarantined=0.1)


@etl_asset(schema="raw", rows=ROWS)
def orders(files: FilesResource) -> DataFrame[Orders]:
    """Orders of a CSV file."""
    return files.read_csv("orders.csv")


@etl_asset(schema="raw", rows=ROWS, name="orders")
def batched_orders(files: FilesResource) -> DataFrame[Orders]:
    """The same, read in batches."""
    return pd.concat(files.read_csv_batches("orders.csv", rows=7), ignore_index=True)


@etl_asset(schema="raw", rows=ROWS, name="orders")
def json_orders(files: FilesResource) -> DataFrame[Orders]:
    """Orders of JSON lines."""
    return files.read_json_lines("orders.jsonl")


@etl_asset(schema="raw", rows=ROWS, name="orders")
def excel_orders(excel: ExcelResource) -> DataFrame[Orders]:
    """Orders of a workbook."""
    return excel.read("orders.xlsx")


Materialise = Callable[[dg.AssetsDefinition], dg.ExecuteInProcessResult]


@pytest.fixture
def materialise(postgres: PostgresResource, tmp_path: Path) -> Materialise:
    """Materialise an asset that reads from an empty folder into an empty database, without raising."""
    resources: dict[str, Any] = {
        "io_manager": PostgresIOManager(postgres=postgres),
        "postgres": postgres,
        "files": FilesResource(base_folder=str(tmp_path)),
        "excel": ExcelResource(base_folder=str(tmp_path)),
    }

    def run(asset: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
        needed = asset.required_resource_keys
        return dg.materialize(
            [asset], resources={name: resource for name, resource in resources.items() if name in needed}, raise_on_error=False
        )

    return run


def rows(postgres: PostgresResource, query: str) -> list[tuple[Any, ...]]:
    """The rows that a query gives."""
    return [tuple(row) for row in postgres.read_query(query).astype(object).to_numpy()]


def why(result: dg.ExecuteInProcessResult) -> str:
    """Description of the first failure."""
    data = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """The checks by name."""
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def csv_of(*broken: str, good: int = 98) -> str:
    """A CSV file of good rows, with broken lines after the tenth one."""
    lines = [f"{number},x{number}" for number in range(1, good + 1)]
    return "\n".join(["id,n", *lines[:10], *broken, *lines[10:]]) + "\n"


QUARANTINE = "SELECT source_position, record->>'raw', rules::text, message FROM etl.quarantine ORDER BY id"


@pytest.fixture
def two_of_a_hundred(tmp_path: Path) -> None:
    """orders.csv with two broken lines of a hundred."""
    put(tmp_path, "orders.csv", csv_of("x,y,z", '11,"open" quote'))


@pytest.mark.usefixtures("two_of_a_hundred")
@pytest.mark.parametrize("asset", [orders, batched_orders], ids=["whole", "batches"])
def test_the_readable_rows_are_loaded(materialise: Materialise, postgres: PostgresResource, asset: dg.AssetsDefinition) -> None:
    """Two broken lines of a hundred keep no other row from the table."""
    assert materialise(asset).success
    assert rows(postgres, "SELECT count(*), sum(id) FROM raw.orders") == [(98, 98 * 99 // 2)]


@pytest.mark.usefixtures("two_of_a_hundred")
@pytest.mark.parametrize("asset", [orders, batched_orders], ids=["whole", "batches"])
def test_the_broken_lines_are_in_the_quarantine(materialise: Materialise, postgres: PostgresResource, asset: dg.AssetsDefinition) -> None:
    """Each with its line, its text, the rule it breaks and the rule in words."""
    materialise(asset)
    assert rows(postgres, QUARANTINE) == [
        ("orders.csv line 12", "x,y,z", "{fields}", "3 fields, the header has 2"),
        ("orders.csv line 13", '11,"open" quote', "{quotes}", "not valid CSV (',' expected after '\"')"),
    ]


@pytest.mark.usefixtures("two_of_a_hundred")
def test_the_rows_are_accounted_for(materialise: Materialise, postgres: PostgresResource) -> None:
    """Read is loaded plus quarantined, in the check and in the ledger."""
    check = checks_of(materialise(orders))["rows_accounted_for"]
    assert (check.passed, {name: value.value for name, value in check.metadata.items()}) == (
        True,
        {"rows_read": 100, "rows_kept": 98, "rows_quarantined": 2, "rows_dropped": 0},
    )
    assert rows(postgres, "SELECT rows_read, rows_loaded, rows_quarantined FROM etl.loads") == [(100, 98, 2)]


@pytest.mark.usefixtures("two_of_a_hundred")
def test_the_check_of_the_source_warns_with_a_sample(materialise: Materialise) -> None:
    """The check rows_usable fails as a warning, with the number, the share and the lines."""
    check = checks_of(materialise(orders))["rows_usable"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (check.metadata["failed_rows"].value, check.metadata["failed_share"].value) == (2, 0.02)
    assert check.description == "2 cannot be read"
    assert check.metadata["sample"].records[0].data == {
        "position": "orders.csv line 12", "value": "x,y,z", "rule": "fields", "message": "3 fields, the header has 2"
    }  # fmt: skip


def test_the_check_of_the_source_passes_where_all_can_be_read(materialise: Materialise, tmp_path: Path) -> None:
    """Without a broken line it passes."""
    put(tmp_path, "orders.csv", csv_of())
    check = checks_of(materialise(orders))["rows_usable"]
    assert (check.passed, check.metadata["failed_rows"].value) == (True, 0)


@pytest.mark.usefixtures("two_of_a_hundred")
def test_what_was_found_out_is_shown(materialise: Materialise) -> None:
    """The materialisation shows encoding and delimiter of the file."""
    metadata = materialise(orders).asset_materializations_for_node("raw__orders")[0].metadata
    assert "utf-8, delimiter ','" in metadata["sources"].records[0].data["notes"]


def test_too_many_broken_lines_stop_the_load(materialise: Materialise, postgres: PostgresResource, tmp_path: Path) -> None:
    """Above the share nothing is loaded, the table keeps its rows, and the message names the first line."""
    put(tmp_path, "orders.csv", csv_of(good=3))
    materialise(orders)
    put(tmp_path, "orders.csv", csv_of(*["x"] * 12, good=88))
    result = materialise(orders)
    assert "12 of 100 rows break the contract (12.0%; at most 10.0% may): 12 cannot be read (first: orders.csv line 12, " in why(result)
    assert rows(postgres, "SELECT count(*) FROM raw.orders") == [(3,)]


def test_the_lines_of_a_refused_load_are_kept(materialise: Materialise, postgres: PostgresResource, tmp_path: Path) -> None:
    """What stopped the load is in the quarantine, line by line."""
    put(tmp_path, "orders.csv", csv_of(*["x"] * 12, good=88))
    materialise(orders)
    assert rows(postgres, "SELECT count(*), min(source_position), max(record->>'raw') FROM etl.quarantine") == [
        (12, "orders.csv line 12", "x")
    ]


def test_the_check_of_a_refused_load_is_an_error(materialise: Materialise, tmp_path: Path) -> None:
    """The check rows_usable is an error then."""
    put(tmp_path, "orders.csv", csv_of(*["x"] * 12, good=88))
    check = checks_of(materialise(orders))["rows_usable"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_one_field_too_many_on_every_row_loads_nothing(materialise: Materialise, postgres: PostgresResource, tmp_path: Path) -> None:
    """No value lands under another name: every row is in the quarantine."""
    put(tmp_path, "orders.csv", "id,n\n1,x,\n2,y,\n")
    materialise(orders)
    assert rows(postgres, QUARANTINE)[0][:3] == ("orders.csv line 2", "1,x,", "{fields}")
    assert rows(postgres, "SELECT to_regclass('raw.orders') IS NULL") == [(True,)]


def test_broken_rows_count_together_with_those_that_break_the_contract(
    materialise: Materialise, postgres: PostgresResource, tmp_path: Path
) -> None:
    """The share is of all rows, and the quarantine holds both kinds."""
    put(tmp_path, "orders.csv", csv_of("x,y,z", "none,y", good=98))
    assert materialise(orders).success
    assert sorted(row[2] for row in rows(postgres, QUARANTINE)) == ["{fields}", "{id_type}"]


@pytest.mark.parametrize(
    "line",
    ["x,\0", "x,\0\0,y", "é😀,ß,x", '\\,\',""', "x" * 100_000, "\x01,\x1f,\x7f", "%s,{},$1", "\u2028,\u2029,\ufeff"],
    ids=["NUL", "NULs", "Unicode", "quotes", "long", "control characters", "placeholders", "odd blanks"],
)
def test_any_text_can_be_kept(materialise: Materialise, postgres: PostgresResource, tmp_path: Path, line: str) -> None:
    """The quarantine holds the text of the line; a NUL, which PostgreSQL cannot hold, as \\u0000."""
    put(tmp_path, "orders.csv", csv_of(line))
    assert materialise(orders).success
    assert rows(postgres, QUARANTINE)[0][:2] == ("orders.csv line 12", line.replace("\0", "\\u0000"))


def test_lines_that_are_no_objects_are_kept(materialise: Materialise, postgres: PostgresResource, tmp_path: Path) -> None:
    """JSON lines go the same way."""
    good = [f'{{"id": {number}, "n": "x"}}' for number in range(1, 99)]
    put(tmp_path, "orders.jsonl", "\n".join([*good[:10], '{"id": 11, "n"', "[1]", *good[10:]]))
    assert materialise(json_orders).success
    assert [row[:3] for row in rows(postgres, QUARANTINE)] == [
        ("orders.jsonl line 11", '{"id": 11, "n"', "{json}"),
        ("orders.jsonl line 12", "[1]", "{json}"),
    ]
    assert rows(postgres, "SELECT count(*) FROM raw.orders") == [(98,)]


def test_rows_with_formulas_never_calculated_are_kept(materialise: Materialise, postgres: PostgresResource, tmp_path: Path) -> None:
    """Rows of a workbook go the same way, their cells as JSON."""
    workbook = openpyxl.Workbook()
    workbook.active.append(["id", "n"])
    for number in range(1, 21):
        workbook.active.append([number, '="x"&A2' if number == 7 else "x"])
    workbook.save(tmp_path / "orders.xlsx")
    assert materialise(excel_orders).success
    assert rows(postgres, QUARANTINE) == [
        ("orders.xlsx Sheet row 8", '["7", null]', "{uncalculated_formula}", "a formula that was never calculated in B8")
    ]
    assert rows(postgres, "SELECT count(*) FROM raw.orders") == [(19,)]
