"""Assets with partitions whose settings or rows are wrong: the error names asset, cause and next step, and nothing is half stored.

Not here: partitions that are right (`test_dagster_partitions.py`).
"""

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.errors import ConfigurationError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.quarantine import refused_rows
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Rows = list[tuple[int, str]]
Build = Callable[..., dg.AssetsDefinition]

REGIONS = dg.StaticPartitionsDefinition(["us", "eu"])
DAYS = dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2013-01-06")
HOURS = dg.HourlyPartitionsDefinition(start_date="2013-01-01-00:00", end_date="2013-01-02-00:00")
BOTH = dg.MultiPartitionsDefinition({"day": DAYS, "region": REGIONS})
DAY = datetime.date(2013, 1, 1)
KEEP: Rows = [(1, "us"), (2, "eu")]


class Sales(pa.DataFrameModel):
    """Sales."""

    id: int = pa.Field(ge=0)
    region: str
    day: datetime.date


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_dagster_partitions_refused")
    return PostgresResource(url=postgres_server.url("test_dagster_partitions_refused"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database with a table of two rows."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA IF EXISTS shop CASCADE")
    database.load(frame_of(KEEP), table="sales", schema="shop")
    return database


def frame_of(rows: Rows) -> pd.DataFrame:
    """Rows of an id and a region, all of one day."""
    return pd.DataFrame(
        {
            "id": pd.Series([number for number, _ in rows], dtype="int64"),
            "region": pd.Series([region for _, region in rows], dtype="str"),
            "day": pd.Series([DAY] * len(rows), dtype="object"),
        }
    )


def plain(given: Rows, parts: Any, metadata: dict[str, Any], **_: Any) -> dg.AssetsDefinition:
    """An asset without a contract."""

    @dg.asset(key=["shop", "sales"], partitions_def=parts, metadata=metadata)
    def sales() -> pd.DataFrame:
        return frame_of(given)

    return sales


def typed(given: Rows, parts: Any, metadata: dict[str, Any], **options: Any) -> dg.AssetsDefinition:
    """The same with a contract."""

    @etl_asset(schema="shop", partitions_def=parts, metadata=metadata, **options)
    def sales() -> DataFrame[Sales]:
        return frame_of(given)  # type: ignore[return-value]

    return sales


def batched(given: Rows, parts: Any, metadata: dict[str, Any], **options: Any) -> dg.AssetsDefinition:
    """The same with a contract, in batches of one row."""

    @etl_asset(schema="shop", partitions_def=parts, metadata=metadata, **options)
    def sales() -> Iterator[DataFrame[Sales]]:
        for row in given:
            yield frame_of([row])  # type: ignore[misc]

    return sales


@pytest.fixture(params=[plain, typed, batched], ids=["plain", "contract", "batches"])
def build(request: pytest.FixtureRequest) -> Any:
    """The three kinds of assets."""
    return request.param


def materialise(asset: dg.AssetsDefinition, postgres: PostgresResource, partition: str | None = None) -> dg.ExecuteInProcessResult:
    """One run, for a partition."""
    resources = {"io_manager": PostgresIOManager(postgres=postgres)}
    return dg.materialize([asset], resources=resources, partition_key=partition, raise_on_error=False)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Description of the failure, which is one of ours, and no traceback."""
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data is not None, data.error
    said = str(data.user_failure_data.description)
    assert said.startswith("shop/sales")
    assert "Next: " in said
    return said


def stored(postgres: PostgresResource) -> list[Any]:
    """Id and region of the rows, in order."""
    return run(postgres.url, "SELECT id, region FROM shop.sales ORDER BY 1")


# -- settings that are wrong by themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, 'it has partitions, and nothing says which rows .* Next: add metadata={"partition_expr": "day"}'),
        ({"partition_exp": "region"}, "metadata has the key 'partition_exp', close to 'partition_expr'"),
        ({"partition_expr": ""}, "partition_expr is a column or SQL expression"),
        ({"partition_expr": ["region"]}, r"partition_expr is a column or SQL expression.*given: \['region'\]"),
        ({"partition_expr": "region", "write_mode": "replace"}, "each partition would drop the others"),
        ({"partition_expr": "region", "write_mode": "upsert"}, "'upsert' is unknown; known:"),
    ],
    ids=["no expression", "misspelt", "empty", "a list", "replace", "unknown mode"],
)
def test_a_contradiction_is_refused_when_the_asset_is_defined(metadata: dict[str, Any], said: str) -> None:
    """An asset with a contract is not even defined with settings that cannot be right."""
    with pytest.raises(ConfigurationError, match=f"^shop/sales: .*{said}"):
        typed([], REGIONS, metadata)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "it has partitions, and nothing says which rows"),
        ({"partition_exp": "region"}, "close to 'partition_expr'"),
        ({"partition_expr": "region", "write_mode": "replace"}, "each partition would drop the others"),
    ],
    ids=["no expression", "misspelt", "replace"],
)
def test_a_contradiction_of_a_plain_asset(postgres: PostgresResource, metadata: dict[str, Any], said: str) -> None:
    """An asset without a contract fails before it stores anything."""
    assert said in failure_of(materialise(plain([(3, "us")], REGIONS, metadata), postgres, "us"))
    assert stored(postgres) == KEEP


@pytest.mark.parametrize("metadata", [{"partition_expr": {"day": "day"}}, {"partition_expr": {"dya": "day", "region": "region"}}])
def test_another_dimension(postgres: PostgresResource, build: Build, metadata: dict[str, Any]) -> None:
    """Expressions that are not those of the dimensions name both."""
    said = failure_of(materialise(build([(3, "us")], BOTH, metadata), postgres, "2013-01-01|us"))
    assert f"the partitions have the dimensions ['day', 'region'], partition_expr names {sorted(metadata['partition_expr'])}" in said
    assert stored(postgres) == KEEP


def test_an_expression_for_several_dimensions_of_one(postgres: PostgresResource, build: Build) -> None:
    """Two expressions for partitions of one dimension are an error."""
    asset = build([(3, "us")], REGIONS, {"partition_expr": {"day": "day", "region": "region"}})
    assert "the partitions have one dimension, partition_expr names ['day', 'region']" in failure_of(materialise(asset, postgres, "us"))
    assert stored(postgres) == KEEP


# -- settings that do not fit the table -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "key", "expression", "said"),
    [
        (REGIONS, "us", "regoin", "the partition expression 'regoin' cannot be used (column \"regoin\" does not exist)"),
        (REGIONS, "us", "id", "the partition 'us' is no value of id"),
        (DAYS, "2013-01-01", "region", 'the partitions are windows of time, and region is of type text. Next: cast it: {"partition_expr"'),
        (DAYS, "2013-01-01", "region::date", "invalid input syntax for type date"),
        (HOURS, "2013-01-01-01:00", "day", "day holds whole days. Next: use a timestamp column"),
    ],
    ids=["unknown column", "no value of the type", "a window of a text", "a text that is no date", "hours of a date"],
)
def test_an_expression_that_does_not_fit(
    postgres: PostgresResource, build: Build, parts: Any, key: str, expression: str, said: str
) -> None:
    """An expression that does not fit the table or the partitions is named, the table stays, and the ledger tells."""
    assert said in failure_of(materialise(build([(3, "us")], parts, {"partition_expr": expression}), postgres, key))
    assert stored(postgres) == KEEP
    assert run(postgres.url, "SELECT partition FROM etl.loads WHERE status = 'failed'") == [(key,)]


def test_a_run_without_a_partition(postgres: PostgresResource, build: Build) -> None:
    """A run that names no partition is an error: taken for the whole table, it would drop all other partitions."""
    result = materialise(build([(3, "us")], REGIONS, {"partition_expr": "region"}), postgres)
    assert stored(postgres) == KEEP
    assert not result.success
    assert "partition" in failure_of(result)


def test_no_partitions_to_replace(postgres: PostgresResource, build: Build) -> None:
    """An asset without partitions has none to replace."""
    said = failure_of(materialise(build([(3, "us")], None, {"write_mode": "replace_partition"}), postgres))
    assert "a partition is to be replaced, and the run was started for none" in said
    assert stored(postgres) == KEEP


# -- rows that are wrong ------------------------------------------------------------------------------------------------------------------


def left_alone(postgres: PostgresResource, kept: list[Any]) -> None:
    """The table is as it was, and the quarantine has the rows of the refused load only."""
    assert stored(postgres) == KEEP
    assert run(postgres.url, "SELECT record->>'id', partition, rules FROM etl.quarantine ORDER BY id") == kept
    assert run(postgres.url, "SELECT partition FROM etl.loads WHERE status = 'failed'") == [("us",)]


def test_a_row_outside_of_a_plain_asset(postgres: PostgresResource) -> None:
    """Without a contract a row of another partition fails the load, by its number and value."""
    said = failure_of(materialise(plain([(3, "us"), (4, "eu")], REGIONS, {"partition_expr": "region"}), postgres, "us"))
    assert said.startswith("shop/sales, row 2: region is eu, outside of partition us")
    left_alone(postgres, [])


@pytest.mark.parametrize("make", [typed, batched])
def test_too_many_rows_outside(postgres: PostgresResource, make: Build) -> None:
    """Above the share of the RowPolicy nothing is loaded, the rows are kept, and the check rows_usable is an error."""
    asset = make([(3, "us"), (4, "eu"), (5, "eu")], REGIONS, {"partition_expr": "region"}, rows=RowPolicy(most_quarantined=0.5))
    result = materialise(asset, postgres, "us")
    assert "2 cannot be stored: in_partition 2 times (first: row " in failure_of(result)
    left_alone(postgres, [("4", "us", ["in_partition"]), ("5", "us", ["in_partition"])])
    check = next(one for one in result.get_asset_check_evaluations() if one.check_name == "rows_usable")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)


@pytest.mark.parametrize("make", [typed, batched])
def test_a_row_outside_has_its_position(postgres: PostgresResource, make: Build) -> None:
    """The quarantine tells where a row stood among all rows of the asset, also when they come in batches."""
    asset = make([(3, "us"), (4, "eu")], REGIONS, {"partition_expr": "region"}, rows=RowPolicy(most_quarantined=0.5))
    assert materialise(asset, postgres, "us").success
    assert run(postgres.url, "SELECT source_position, message FROM etl.quarantine") == [("row 2", "region is eu, outside of partition us")]


def test_rows_outside_of_an_expression(postgres: PostgresResource, build: Build) -> None:
    """Where only the server can tell, rows of other partitions are counted, and nothing is loaded, whatever the RowPolicy allows."""
    rows = [(3, "US"), (4, "eu"), (5, "us")]
    asset = build(rows, REGIONS, {"partition_expr": "lower(region)"}, rows=RowPolicy(most_quarantined=0.9))
    said = failure_of(materialise(asset, postgres, "us"))
    assert "3 rows were loaded, and the table has 2 of partition us: 1 lie outside of it by lower(region)" in said
    left_alone(postgres, [])


def test_rows_refused_of_one_partition_stay_known(postgres: PostgresResource) -> None:
    """The rows that a partition's newest load refused are told of until that partition is loaded, whatever other partitions do."""
    rows: Rows = [(-3, "us")]
    asset = typed(rows, REGIONS, {"partition_expr": "region"})
    assert not materialise(asset, postgres, "us").success
    rows[:] = [(4, "eu")]
    assert materialise(asset, postgres, "eu").success
    assert [row.record["id"] for row in refused_rows(postgres, "shop/sales")] == [-3]
