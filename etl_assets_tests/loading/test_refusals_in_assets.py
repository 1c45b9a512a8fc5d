"""Rows that only PostgreSQL refuses, in assets: quarantine with position and original record, the check `rows_usable`, the account.

Not here: how such rows are found (`test_refusals.py`).
"""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_refusals_in_assets")
    return PostgresResource(url=postgres_server.url("test_refusals_in_assets"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, with a table that somebody made: rules of every kind, one row, a view."""
    run(
        database.url,
        "DROP SCHEMA IF EXISTS etl CASCADE",
        "DROP SCHEMA IF EXISTS shop CASCADE",
        "CREATE SCHEMA shop",
        "CREATE TABLE shop.parents (v bigint PRIMARY KEY)",
        "INSERT INTO shop.parents SELECT generate_series(-2, 20)",
        """CREATE TABLE shop.t (id bigint PRIMARY KEY, v bigint CONSTRAINT positive CHECK (v > 0) CONSTRAINT once UNIQUE
           CONSTRAINT known REFERENCES shop.parents DEFERRABLE INITIALLY DEFERRED)""",
        "INSERT INTO shop.t VALUES (100, 7)",
        "CREATE VIEW shop.watcher AS SELECT * FROM shop.t",
    )
    return database


class Orders(pa.DataFrameModel):
    """Orders."""

    id: int
    v: int = pa.Field(nullable=True)

    class Config:
        metadata = {"primary_key": ["id"]}


WAYS: dict[str, dict[str, Any]] = {
    "append": {"write_mode": "append"},
    "replace": {"write_mode": "replace"},
    "update": {"write_mode": "merge"},
    "insert_only": {"write_mode": "merge", "merge_strategy": "insert_only"},
    "delete_insert": {"write_mode": "merge", "merge_strategy": "delete_insert"},
    "replace_partition": {"partition_expr": "id <= 50"},
}
# What breaks which rule, and SQLSTATE; one of these in a load.
BAD = {"check": ("-1", "positive", "23514"), "foreign key": ("99", "known", "23503"), "unique": ("7", "once", "23505")}
CASES = [(way, case) for way in WAYS for case in BAD if not (way == "replace" and case == "unique")]


def source(values: list[str]) -> pd.DataFrame:
    """Rows of text with positions."""
    frame = pd.DataFrame({"id": [str(n) for n in range(1, len(values) + 1)], "v": values}, dtype="str")
    return frame.assign(source_position=[f"line {n}" for n in range(1, len(values) + 1)])


def asset(way: str, values: list[str], *, yields: bool, most: float = 0.5) -> dg.AssetsDefinition:
    """An asset that writes so, in one frame or in batches of two rows."""
    partitions = dg.StaticPartitionsDefinition(["true"]) if way == "replace_partition" else None
    options: dict[str, Any] = {"partitions_def": partitions} if partitions else {}

    def whole() -> DataFrame[Orders]:
        """Orders."""
        return source(values)

    def parts() -> Iterator[DataFrame[Orders]]:
        """Orders."""
        rows = source(values)
        for start in range(0, len(rows), 2):
            yield rows.iloc[start : start + 2]

    function = parts if yields else whole
    return etl_asset(schema="shop", name="t", rows=RowPolicy(most_quarantined=most), metadata=WAYS[way], **options)(function)


def materialize(postgres: PostgresResource, made: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [made],
        resources={"io_manager": PostgresIOManager(postgres=postgres)},
        raise_on_error=False,
        partition_key="true" if made.partitions_def else None,
    )


def why(result: dg.ExecuteInProcessResult) -> str:
    """Description of the first failure."""
    data = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    """One check of the result."""
    (found,) = [one for one in result.get_asset_check_evaluations() if one.check_name == name]
    return found


def ids(postgres: PostgresResource) -> list[int]:
    return [row[0] for row in run(postgres.url, "SELECT id FROM shop.t ORDER BY 1")]


def loads(postgres: PostgresResource) -> list[Row]:
    return run(postgres.url, "SELECT status, rows_read, rows_loaded, rows_quarantined FROM etl.loads")


@pytest.fixture(params=[False, True], ids=["one frame", "batches"])
def yields(request: pytest.FixtureRequest) -> bool:
    """Whether rows come in batches."""
    return bool(request.param)


@pytest.mark.parametrize(("way", "case"), CASES, ids=[f"{way}-{case}" for way, case in CASES])
def test_a_bad_row_is_in_the_quarantine(postgres: PostgresResource, way: str, case: str, yields: bool) -> None:
    """The row is kept with its rule and what PostgreSQL said; the others are loaded, and every row is accounted for."""
    value, rule, state = BAD[case]
    result = materialize(postgres, asset(way, ["1", "2", value, "4"], yields=yields))
    assert result.success, why(result)
    assert ids(postgres) == [1, 2, 4] + ([] if way == "replace" else [100])
    ((key, rules, message),) = run(postgres.url, "SELECT record->>'id', rules, message FROM etl.quarantine")
    assert (key, rules, f"(SQLSTATE {state})" in message) == ("3", [rule], True)
    assert (loads(postgres), check(result, "rows_accounted_for").passed) == ([("succeeded", 4, 3, 1)], True)


@pytest.mark.parametrize(("way", "case"), CASES, ids=[f"{way}-{case}" for way, case in CASES])
def test_a_bad_row_is_kept_as_it_came(postgres: PostgresResource, way: str, case: str, yields: bool) -> None:
    """The quarantine has the position in the source and the record before conversion, so that it can be replayed."""
    value, _, _ = BAD[case]
    materialize(postgres, asset(way, ["1", "2", value, "4"], yields=yields))
    ((position, record),) = run(postgres.url, "SELECT source_position, CAST(record AS text) FROM etl.quarantine")
    # Of batches that have gone by only the converted rows are there, and of those of a replace no position.
    converted = {"id": 3, "v": int(value)} if value.lstrip("-").isdigit() else {}
    gone_by = [(None if way == "replace" else "line 3", converted)] if yields else []
    assert (position, json.loads(record)) in [("line 3", {"id": "3", "v": value}), *gone_by]


@pytest.mark.parametrize("way", WAYS)
def test_the_check_warns(postgres: PostgresResource, way: str, yields: bool) -> None:
    """The check `rows_usable` warns with number, share and the row; without bad rows it passes."""
    found = check(materialize(postgres, asset(way, ["1", "-1", "3", "4"], yields=yields)), "rows_usable")
    assert (found.passed, found.severity.value, found.metadata["failed_rows"].value, found.metadata["failed_share"].value) == (
        False, "WARN", 1, 0.25,
    )  # fmt: skip
    sample: Any = found.metadata["sample"]
    assert [record.data["rule"] for record in sample.records] == ["positive"]


def test_the_check_passes(postgres: PostgresResource, yields: bool) -> None:
    """Without bad rows the check passes."""
    assert check(materialize(postgres, asset("append", ["1", "2"], yields=yields)), "rows_usable").passed


@pytest.mark.parametrize("way", WAYS)
def test_too_many_bad_rows(postgres: PostgresResource, way: str, yields: bool) -> None:
    """Above the share nothing is loaded: table as before, all bad rows kept, the failure says how many, which and what to do."""
    result = materialize(postgres, asset(way, ["1", "-1", "-2", "99"], yields=yields))
    assert ids(postgres) == [100]
    assert (loads(postgres), check(result, "rows_usable").severity.value) == ([("failed", 4, None, 3)], "ERROR")
    assert run(postgres.url, "SELECT record->>'id' FROM etl.quarantine ORDER BY 1") == [("2",), ("3",), ("4",)]
    text = why(result)
    assert "shop/t: 3 of 4 rows break the contract (75.0%; at most 50.0% may): 3 cannot be stored: positive 2 times (first: " in text
    assert "Next: " in text


def test_rows_of_the_contract_and_of_the_table_count_together(postgres: PostgresResource, yields: bool) -> None:
    """Rows that break the contract and rows that PostgreSQL refuses share one limit."""
    values = ["1", "x", "-1", "4", "5"]
    assert materialize(postgres, asset("append", values, yields=yields, most=0.4)).success
    assert (loads(postgres), ids(postgres)) == ([("succeeded", 5, 3, 2)], [1, 4, 5, 100])


def test_rows_of_the_contract_and_of_the_table_are_too_many_together(postgres: PostgresResource, yields: bool) -> None:
    """One more of either and nothing is loaded."""
    result = materialize(postgres, asset("append", ["1", "x", "-1", "4", "5"], yields=yields, most=0.3))
    assert "2 of 5 rows break the contract (40.0%; at most 30.0% may)" in why(result)
    assert (ids(postgres), loads(postgres)) == ([100], [("failed", 5, None, 2)])


def test_all_rows_are_bad(postgres: PostgresResource, yields: bool) -> None:
    """A load that has no good row never stands, whatever share is allowed: a replace would empty the table."""
    materialize(postgres, asset("replace", ["-1", "-2"], yields=yields, most=1.0))
    assert (ids(postgres), loads(postgres)) == ([100], [("failed", 2, None, 2)])


def test_rows_of_a_load_that_clash(postgres: PostgresResource, yields: bool) -> None:
    """Of two rows with one value that only the table knows to be unique the first stays, over batches too."""
    assert materialize(postgres, asset("append", ["1", "5", "3", "5"], yields=yields)).success
    assert (ids(postgres), run(postgres.url, "SELECT record->>'id' FROM etl.quarantine")) == ([1, 2, 3, 100], [("4",)])


def test_a_missing_table_right_is_no_matter_of_rows(postgres: PostgresResource, yields: bool) -> None:
    """A statement that PostgreSQL refuses for another reason fails the asset, and no row is called bad."""
    run(
        postgres.url,
        """CREATE FUNCTION shop.no() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN RAISE EXCEPTION ''not you'' USING ERRCODE = ''insufficient_privilege''; END'""",
        "CREATE TRIGGER no BEFORE INSERT ON shop.t FOR EACH ROW EXECUTE FUNCTION shop.no()",
    )
    result = materialize(postgres, asset("append", ["1", "2"], yields=yields, most=1.0))
    assert "shop/t: the target database answered: not you (SQLSTATE 42501)" in why(result)
    assert (ids(postgres), run(postgres.url, "SELECT count(*) FROM etl.quarantine")) == ([100], [(0,)])
