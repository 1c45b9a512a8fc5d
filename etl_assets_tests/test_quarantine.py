"""Rows in quarantine: listed, exported, and loaded after a fix, once."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import openpyxl
import pandas as pd
import pandera.pandas as pa
import pytest
import sqlalchemy as sa
from pandera.typing import DataFrame

from etl_assets.accounting import UnreadableRow, record_read, record_unreadable
from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.errors import ConfigurationError, ContractViolationError, EtlError, SourceNotFoundError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.quarantine import QuarantinedRow, export_rows, frame_of, open_rows, refused_rows, row_of
from etl_assets.replay import replay

PROJECT = '''
import pandas as pd
import pandera.pandas as pa
from pandera.typing import DataFrame
from etl_assets.assets import RowPolicy, etl_asset


class Orders(pa.DataFrameModel):
    """Orders, one row per order."""

    id: int
    amount: int = pa.Field(ge={least})

    class Config:
        metadata = {{"primary_key": ["id"]}}


@etl_asset(schema="shop", rows=RowPolicy(most_quarantined=0.9), write="{write}")
def orders() -> DataFrame[Orders]:
    """Orders, as text."""
    return pd.DataFrame({{"id": ["1", "2", "x"], "amount": ["5", "-5", "7"], "source_position": ["a line 2", "a line 3", "a line 4"]}})
'''


def defined(least: int, write: str = "replace") -> dg.AssetsDefinition:
    """The asset of the project, with a rule that allows amounts from `least` on."""
    names: dict[str, Any] = {"__name__": "shop_project"}
    exec(PROJECT.format(least=least, write=write), names)
    asset: dg.AssetsDefinition = names["orders"]
    return asset


def load(asset: dg.AssetsDefinition, postgres: PostgresResource) -> bool:
    """Materialise into PostgreSQL."""
    resources = {"io_manager": PostgresIOManager(postgres=postgres)}
    return dg.materialize([asset], resources=resources, raise_on_error=False).success


def ids(postgres: PostgresResource) -> list[int]:
    return sorted(postgres.read_table("orders", schema="shop")["id"].tolist())


def test_rows_missing_from_their_table(postgres: PostgresResource) -> None:
    """Each row a contract refused is there with asset, position, record as text, and rules."""
    assert open_rows(postgres) == []
    assert load(defined(0), postgres)
    found = open_rows(postgres, "shop/orders")
    assert [(row.asset, row.position, row.record, row.rules) for row in found] == [
        ("shop/orders", "a line 3", {"id": "2", "amount": "-5"}, ("amount_ge",)),
        ("shop/orders", "a line 4", {"id": "x", "amount": "7"}, ("id_type",)),
    ]
    assert row_of(postgres, found[0].id) == found[0]
    assert open_rows(postgres, "shop/other") == []


def test_a_replaced_table_misses_the_rows_of_its_last_load_only(postgres: PostgresResource) -> None:
    """After a second replace the rows of the first load are no longer open; of an appended table they all are."""
    for asset in (defined(0), defined(0)):
        assert load(asset, postgres)
    assert len(open_rows(postgres)) == 2


def test_appended_loads_keep_their_open_rows(postgres: PostgresResource) -> None:
    """A table that appends misses the refused rows of every load."""
    assert load(defined(0, "merge"), postgres)
    assert load(defined(0, "merge"), postgres)
    assert len(open_rows(postgres)) == 4


def test_replay_after_the_rule_was_corrected(postgres: PostgresResource) -> None:
    """What passes the corrected contract is loaded, once; what does not stays open and says why."""
    assert load(defined(0), postgres)
    defined(-10)
    would = replay(postgres, "shop/orders", dry_run=True)
    assert (would.passing, would.loaded, ids(postgres)) == (1, 0, [1])
    done = replay(postgres, "shop/orders")
    assert (done.passing, done.loaded, [row.position for row, _ in done.failing]) == (1, 1, ["a line 4"])
    assert ids(postgres) == [1, 2]
    again = replay(postgres, "shop/orders")
    assert (again.passing, again.loaded, len(again.failing)) == (0, 0, 1)
    assert ids(postgres) == [1, 2]


def test_replay_after_the_record_was_corrected(postgres: PostgresResource, database_url: str) -> None:
    """A record that was corrected in etl.quarantine is loaded as it stands there."""
    assert load(defined(0), postgres)
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE etl.quarantine SET record = jsonb_set(record, '{id}', '\"3\"') WHERE record->>'id' = 'x'"))
    engine.dispose()
    assert replay(postgres, "shop/orders").loaded == 1
    assert ids(postgres) == [1, 3]


def test_a_newer_row_of_the_key_stays(postgres: PostgresResource) -> None:
    """A row whose key came in meanwhile is not overwritten by the older one, and is no longer open."""
    assert load(defined(0, "merge"), postgres)
    newer = pd.DataFrame({"id": [2], "amount": [99]})
    postgres.load(newer, table="orders", schema="shop", disposition="merge", primary_key=["id"])
    defined(-10, "merge")
    done = replay(postgres, "shop/orders")
    assert (done.passing, done.loaded) == (1, 0)
    assert sorted(map(tuple, postgres.read_table("orders", schema="shop").to_numpy().tolist())) == [(1, 5), (2, 99)]
    assert replay(postgres, "shop/orders").passing == 0


def test_two_replays_at_once_load_once(postgres: PostgresResource) -> None:
    """Of two replays at the same moment one loads, the other finds the rows done or is told that they were."""
    assert load(defined(0), postgres)
    defined(-10)
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(replay(postgres, "shop/orders").loaded)
        except EtlError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(1) == 1
    assert ids(postgres) == [1, 2]
    rest = next(outcome for outcome in outcomes if outcome != 1)
    assert rest == 0 or "replayed by another load" in str(rest)


class Lines(pa.DataFrameModel):
    """Lines, one row per line."""

    a: str


@etl_asset(schema="shop", rows=RowPolicy(most_quarantined=0.5))
def lines() -> DataFrame[Lines]:
    """A source with a line that cannot be read."""
    record_read("a.csv", 2)
    record_unreadable([UnreadableRow(position="a.csv line 3", raw="1,2,3", rule="fields", says="3 fields, the header has 1")])
    return pd.DataFrame({"a": ["1"]})


def test_unreadable_rows_are_kept_and_not_replayed(postgres: PostgresResource) -> None:
    """A line without columns is in the quarantine as it stands; a replay leaves it alone and says so."""
    assert load(lines, postgres)
    (row,) = open_rows(postgres)
    assert (row.record, row.rules, row.position) == ({"raw": "1,2,3"}, ("fields",), "a.csv line 3")
    done = replay(postgres, "shop/lines")
    assert (done.passing, len(done.unreadable)) == (0, 1)


@etl_asset(schema="shop", name="refused")
def refused() -> DataFrame[Lines]:
    """Nothing but wrong rows."""
    return pd.DataFrame({"a": [1, 2]})


def test_rows_of_a_refused_load_are_not_missing_rows(postgres: PostgresResource) -> None:
    """A load that failed as a whole is told apart: nothing of it is in the table, so replaying its bad rows makes no sense."""
    assert not load(refused, postgres)
    assert open_rows(postgres) == []
    assert len(refused_rows(postgres, "shop/refused")) == 2


def test_a_contract_with_other_columns_is_refused(postgres: PostgresResource) -> None:
    """Records of other columns than the contract has now are an error that names both."""
    assert load(defined(0), postgres)
    lacking = PROJECT.format(least=0, write="replace").replace("    amount: int", "    price: int")
    exec(lacking, {"__name__": "shop_project"})
    with pytest.raises(ContractViolationError, match="price"):
        replay(postgres, "shop/orders")


def test_an_unknown_asset_or_row(postgres: PostgresResource) -> None:
    """What is not there is named, with what is."""
    assert load(defined(0), postgres)
    with pytest.raises(ConfigurationError, match="shop/orders"):
        replay(postgres, "shop/nothing")
    with pytest.raises(SourceNotFoundError, match="quarantine list"):
        row_of(postgres, 10**9)


# -- export ---------------------------------------------------------------------------------------------------------------


def quarantined(**record: Any) -> QuarantinedRow:
    at = pd.Timestamp("2026-01-01", tz="UTC").to_pydatetime()
    return QuarantinedRow(
        id=1, asset="a/b", load_id="x", run_id=None, position="line 2", record=record, rules=("r",), message="@said", quarantined_at=at
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "guarded"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+1+1", "'+1+1"), ("@SUM(1)", "'@SUM(1)"), ("-2+3", "'-2+3"), ("\t=1", "'\t=1"),
        ("-5", "-5"), ("+1.5", "+1.5"), ("-1,234.50", "-1,234.50"), ("a=b", "a=b"), ("", ""), ("-", "'-"),
    ],
)  # fmt: skip
def test_formulas_are_disarmed(tmp_path: Path, cell: str, guarded: str) -> None:
    """A cell that a spreadsheet would run gets an apostrophe; a plain number does not."""
    export_rows([quarantined(x=cell)], tmp_path / "a.csv")
    read = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    assert (read["x"][0], read["message"][0]) == (guarded, "'@said")


def test_a_plain_export_changes_nothing(tmp_path: Path) -> None:
    """Without the guard cells are written as they are."""
    export_rows([quarantined(x="=1")], tmp_path / "a.csv", guarded=False)
    assert pd.read_csv(tmp_path / "a.csv", dtype=str)["x"][0] == "=1"


def test_export_to_a_workbook(tmp_path: Path) -> None:
    """A workbook holds texts, no formulas."""
    export_rows([quarantined(x="=1+1", n=None)], tmp_path / "a.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx")["quarantine"]
    assert [cell.value for cell in sheet[2]][-2:] == ["'=1+1", None]


def test_export_to_json_lines(tmp_path: Path) -> None:
    """JSON lines keep each record as it is."""
    export_rows([quarantined(x="=1", deep={"a": [1]})], tmp_path / "a.jsonl")
    assert json.loads((tmp_path / "a.jsonl").read_text())["record"] == {"x": "=1", "deep": {"a": [1]}}


@pytest.mark.parametrize("name", ["a.pdf", "missing/a.csv"])
def test_an_export_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    """Another format or folder is an error that says which."""
    with pytest.raises(ConfigurationError):
        export_rows([quarantined(x="1")], tmp_path / name)


def test_records_come_back_as_the_function_returned_them() -> None:
    """Text is text again, and NULL is NULL."""
    frame = frame_of([quarantined(a="1", b=None), quarantined(a="2", b="x")])
    assert (frame["a"].tolist(), frame["b"].isna().tolist(), frame["source_position"].tolist()) == (
        ["1", "2"],
        [True, False],
        ["line 2"] * 2,
    )


# -- command line ---------------------------------------------------------------------------------------------------------


def test_the_command_line(postgres: PostgresResource, database_url: str, tmp_path: Path) -> None:
    """list, show, export and replay do what a person needs, in a folder with the corrected project."""
    assert load(defined(0), postgres)
    (tmp_path / "shop_project.py").write_text(PROJECT.format(least=-10, write="replace"))

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "etl_assets.cli", "quarantine", *arguments],
            cwd=tmp_path, env={**os.environ, "DATABASE_URL": database_url}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    listed = run("list").stdout
    assert "a line 3  amount_ge" in listed
    assert "2 rows are missing from their tables." in listed
    number = listed.split()[0]
    assert '"amount": "-5"' in run("show", number).stdout
    assert run("export", "shop/orders", "rows.csv").stdout == "2 rows written to rows.csv\n"
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 2
    assert run("replay", "shop/orders", "-m", "shop_project", "--dry-run").stdout.startswith(
        "1 rows keep the contract now; 1 would be loaded."
    )
    done = run("replay", "shop/orders", "-m", "shop_project").stdout
    assert done.startswith("1 rows keep the contract now; 1 loaded.")
    assert "1 rows still break it." in done
    assert "1 rows are missing" in run("list", "shop/orders").stdout
    failed = run("replay", "shop/orders", "-m", "no_such_module")
    assert (failed.returncode, "no_such_module" in failed.stderr, "Traceback" in failed.stderr) == (1, True, False)
