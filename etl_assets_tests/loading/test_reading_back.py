"""Inputs that Dagster reads from PostgreSQL: columns, partitions, Arrow tables, batches, versions, and every value as it was stored.

Not here: storing them (`test_dagster_partitions.py`), reading queries (`test_exact.py`).
"""

import datetime
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import etl_asset
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.options import MergeStrategy, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

# Dagster calls them new; which partitions a mapping gives is no matter of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `allow_nonexistent_upstream_partitions`"),
    pytest.mark.filterwarnings("ignore:Class `MultiToSingleDimensionPartitionMapping`"),
]

REGIONS = dg.StaticPartitionsDefinition(["us", "o'x", "50%", ":a", "b\\c"])
DAYS = dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2013-01-05")
BOTH = dg.MultiPartitionsDefinition({"day": DAYS, "region": REGIONS})
KEY = ["shop", "sales"]


class Counted(pa.DataFrameModel):
    """What assets with a contract return here: which ids they were given."""

    id: int


class Sales(pa.DataFrameModel):
    """Sales, typed otherwise than they are read."""

    id: "pd.Int32Dtype"
    region: pd.CategoricalDtype = pa.Field(dtype_kwargs={"categories": ["us", "o'x", "50%", ":a", "b\\c"], "ordered": False})
    day: datetime.date


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database with one table of four days and some regions."""
    postgres_server.create_database("test_reading_back")
    return PostgresResource(url=postgres_server.url("test_reading_back"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database with `shop.sales`: id 1 to 5, each of another region, the last two of the same day."""
    run(database.url, *(f"DROP SCHEMA IF EXISTS {name} CASCADE" for name in ("etl", "shop", "mart", "other")))
    days = [datetime.date(2013, 1, min(number, 4)) for number in range(1, 6)]
    frame = pd.DataFrame({"id": range(1, 6), "region": REGIONS.get_partition_keys(), "day": days})
    database.load(frame, table="sales", schema="shop")
    return database


def upstream(parts: dg.PartitionsDefinition | None = None, **metadata: Any) -> dg.AssetSpec:
    """The stored asset `shop/sales`, which another run made."""
    return dg.AssetSpec(KEY, partitions_def=parts, metadata=metadata)


def read(
    postgres: PostgresResource,
    source: dg.AssetSpec,
    *,
    partition: str | dg.MultiPartitionKey | None = None,
    parts: dg.PartitionsDefinition | None = None,
    kind: Any = pd.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    mapping: dg.PartitionMapping | None = None,
) -> Any:
    """What an asset is given whose input is that one; the message of the failure when there is one."""
    taken: list[Any] = []

    def down(sales: Any) -> None:
        taken.append(sales)

    down.__annotations__ = {"sales": kind, "return": None}
    given = dg.AssetIn(source.key, metadata=metadata, partition_mapping=mapping)
    asset = dg.asset(key=["mart", "down"], ins={"sales": given}, partitions_def=parts, metadata={"partition_expr": "id"})(down)
    result = materialise([source, asset], postgres, partition)
    return taken[0] if result.success else why(result)


def materialise(assets: list[Any], postgres: PostgresResource, partition: str | None = None) -> dg.ExecuteInProcessResult:
    """One run."""
    resources = {"io_manager": PostgresIOManager(postgres=postgres)}
    return dg.materialize(assets, resources=resources, partition_key=partition, raise_on_error=False)


def why(result: dg.ExecuteInProcessResult) -> str:
    """Description of the failure, which is one of ours, and no traceback."""
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data is not None, data.error
    assert "Next: " in str(data.user_failure_data.description)
    return str(data.user_failure_data.description)


# -- columns -----------------------------------------------------------------------------------------------------------------


def test_some_columns(postgres: PostgresResource) -> None:
    """An input has the columns that its metadata names, in that order."""
    assert list(read(postgres, upstream(), metadata={"columns": ["day", "id"]})) == ["day", "id"]


def test_one_column_by_its_name(postgres: PostgresResource) -> None:
    """A name alone is one column, and not a list of letters."""
    frame = read(postgres, upstream(), metadata={"columns": "region"})
    assert isinstance(frame, pd.DataFrame), frame
    assert list(frame) == ["region"]


def test_an_unknown_column_is_named(postgres: PostgresResource) -> None:
    """A column that the table does not have is an error that names input and column."""
    said = read(postgres, upstream(), metadata={"columns": ["id", "regoin"]})
    assert said.startswith("input shop/sales")
    assert "regoin" in said


# -- partitions ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "key"), list(enumerate(REGIONS.get_partition_keys(), 1)))
def test_the_same_partition(postgres: PostgresResource, number: int, key: str) -> None:
    """Without a mapping an input is the partition of the run, whatever signs are in its key."""
    frame = read(postgres, upstream(REGIONS, partition_expr="region"), partition=key, parts=REGIONS)
    assert (frame["id"].tolist(), frame["region"].tolist()) == ([number], [key])


@pytest.mark.parametrize("kind", [pd.DataFrame, arrow.Table])
@pytest.mark.parametrize("expression", ["day", "day::timestamp", "day::timestamp AT TIME ZONE 'UTC'"])
def test_a_day(postgres: PostgresResource, kind: Any, expression: str) -> None:
    """A window is compared as the expression's type wants it, for frames and Arrow tables."""
    found = read(postgres, upstream(DAYS, partition_expr=expression), partition="2013-01-04", parts=DAYS, kind=kind)
    assert sorted(found["id"].to_pylist() if kind is arrow.Table else found["id"]) == [4, 5]


@pytest.mark.parametrize(
    ("mapping", "ids"),
    [
        (dg.AllPartitionMapping(), [1, 2, 3, 4, 5]),
        (dg.LastPartitionMapping(), [4, 5]),
        (None, [1, 2, 3, 4, 5]),
    ],
    ids=["all", "last", "default"],
)
def test_partitions_for_an_asset_without(postgres: PostgresResource, mapping: Any, ids: list[int]) -> None:
    """An asset without partitions is given those that its mapping says, all by default."""
    assert sorted(read(postgres, upstream(DAYS, partition_expr="day"), mapping=mapping)["id"]) == ids


@pytest.mark.parametrize(
    ("partition", "start", "end", "ids"),
    [("2013-01-02", -1, 0, [1, 2]), ("2013-01-03", -1, -1, [2]), ("2013-01-01", -1, 0, [1]), ("2013-01-04", -2, -1, [2, 3])],
)
def test_days_before(postgres: PostgresResource, partition: str, start: int, end: int, ids: list[int]) -> None:
    """A mapping by offsets gives the days before, and of the first day those there are."""
    mapping = dg.TimeWindowPartitionMapping(start_offset=start, end_offset=end, allow_nonexistent_upstream_partitions=True)
    frame = read(postgres, upstream(DAYS, partition_expr="day"), partition=partition, parts=DAYS, mapping=mapping)
    assert sorted(frame["id"]) == ids


def test_days_from_two_dimensions(postgres: PostgresResource) -> None:
    """A day of an asset with days and regions is all its regions of that day."""
    source = upstream(BOTH, partition_expr={"day": "day", "region": "region"})
    mapping = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="day")
    assert sorted(read(postgres, source, partition="2013-01-04", parts=DAYS, mapping=mapping)["id"]) == [4, 5]


def test_one_partition_of_two_dimensions(postgres: PostgresResource) -> None:
    """The same key of both dimensions is the rows of both."""
    source = upstream(BOTH, partition_expr={"day": "day", "region": "region"})
    key = dg.MultiPartitionKey({"day": "2013-01-04", "region": ":a"})
    assert read(postgres, source, partition=key, parts=BOTH)["id"].tolist() == [4]


def test_a_partition_without_rows(postgres: PostgresResource) -> None:
    """A partition that has no rows is an empty frame of the table's columns."""
    run(postgres.url, "DELETE FROM shop.sales WHERE id = 1")
    frame = read(postgres, upstream(REGIONS, partition_expr="region"), partition="us", parts=REGIONS)
    assert (list(frame), len(frame)) == (["id", "region", "day"], 0)


def test_the_input_may_say_the_expression(postgres: PostgresResource) -> None:
    """The metadata of the input says what the asset does not."""
    frame = read(postgres, upstream(REGIONS), partition="us", parts=REGIONS, metadata={"partition_expr": "region"})
    assert frame["id"].tolist() == [1]


def test_nothing_says_the_partition(postgres: PostgresResource) -> None:
    """One partition of an asset that says no expression is an error with the next step, and never the whole table."""
    said = read(postgres, upstream(REGIONS), partition="us", parts=REGIONS)
    assert 'partition us is asked for, and nothing says which rows of the table that is. Next: add metadata={"partition_expr"' in said


def test_an_expression_that_does_not_fit(postgres: PostgresResource) -> None:
    """An expression that is none of the table is named with the input."""
    said = read(postgres, upstream(REGIONS, partition_expr="regoin"), partition="us", parts=REGIONS)
    assert said.startswith("input shop/sales")
    assert "'regoin' cannot be used" in said


def test_a_key_that_is_no_value(postgres: PostgresResource) -> None:
    """A key that the column's type cannot read is named, as where it is stored."""
    said = read(postgres, upstream(REGIONS, partition_expr="id"), partition="us", parts=REGIONS)
    assert said.startswith("input shop/sales")
    assert "partition 'us' is no value of id" in said


# -- tables ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "metadata", "table"),
    [
        (["alone"], {}, "public.alone"),
        (["lake", "other", "deep"], {}, "other.deep"),
        (["shop", "moved"], {"schema": "other"}, "other.moved"),
    ],
    ids=["no prefix", "long prefix", "schema of the metadata"],
)
def test_the_key_names_the_table(postgres: PostgresResource, key: list[str], metadata: dict[str, Any], table: str) -> None:
    """What is stored under a key is read from there: the last part is the table, the one before it or the metadata the schema."""

    @dg.asset(key=key, metadata=metadata)
    def up() -> pd.DataFrame:
        return pd.DataFrame({"id": [7]})

    assert materialise([up], postgres).success
    assert run(postgres.url, f"SELECT id FROM {table}") == [(7,)]
    assert read(postgres, dg.AssetSpec(key, metadata=metadata))["id"].tolist() == [7]


@pytest.mark.parametrize("kind", [pd.DataFrame, arrow.Table, Iterator[pd.DataFrame]], ids=["frame", "arrow", "batches"])
def test_an_upstream_that_was_not_materialised(postgres: PostgresResource, kind: Any) -> None:
    """Without its table an input is an error that names the asset and says what to do, and nothing is stored."""
    run(postgres.url, "DROP TABLE shop.sales")
    said = why(materialise([upstream(), counting(kind)], postgres))
    assert "shop/sales" in said
    assert "materialise" in said.partition("Next: ")[2]
    assert not postgres.has_table("counted", schema="mart")


# -- values ------------------------------------------------------------------------------------------------------------------------

_MOMENT = datetime.datetime(2013, 3, 10, 7, 0, 0, 123456, tzinfo=datetime.UTC)
_VALUES: dict[str, tuple[str, list[Any], str]] = {
    "big integers": ("bigint", [2**53 + 1, None], "Int64"),
    "decimals": ("numeric", [Decimal("0.10"), None], "object"),
    "many digits": ("numeric(38,10)", [Decimal("1234567890123456789012345678.0123456789"), None], "object"),
    "dates": ("date", [datetime.date(1, 1, 1), None], "object"),
    "empty texts": ("text", ["", None], "str"),
    "texts": ("text", ['a,"b"\n\\N\'%', None], "str"),
    "uuids": ("uuid", ["6a9c2f8e-6f0d-5b3a-9a52-0c7e1f4b2d11", None], "str"),
    "json": ("json", ['{"b": 1.50,  "a": null}', None], "str"),
    "instants": ("timestamptz", [pd.Timestamp(_MOMENT), None], "datetime64[us, UTC]"),
    "booleans": ("boolean", [True, None], "boolean"),
}


@pytest.mark.parametrize("case", _VALUES)
def test_values_are_those_stored(postgres: PostgresResource, case: str) -> None:
    """A value beside a NULL comes back exactly, of the same dtype by itself and as one column of several."""
    type_, values, dtype = _VALUES[case]
    literal = "NULL" if values[0] is None else "'" + str(values[0]).replace("'", "''") + "'"
    run(
        postgres.url,
        f"CREATE TABLE shop.exact (id bigint, value {type_})",
        f"INSERT INTO shop.exact VALUES (1, {literal.replace(':', chr(92) + ':')}), (2, NULL)",
    )
    found = read(postgres, dg.AssetSpec(["shop", "exact"])).sort_values("id")["value"]
    assert str(found.dtype) == dtype
    assert [None if pd.isna(one) else one for one in found] == values
    if dtype == "object":
        assert [type(one) for one in found][:1] == [type(values[0])]


def test_an_arrow_table(postgres: PostgresResource) -> None:
    """An input annotated as an Arrow table is one, in Arrow's own types."""
    table = read(postgres, upstream(), kind=arrow.Table)
    assert isinstance(table, arrow.Table)
    assert [str(field.type) for field in table.schema] == ["int64", "large_string", "date32[day]"]
    assert sorted(table["id"].to_pylist()) == [1, 2, 3, 4, 5]


# -- assets with a contract ----------------------------------------------------------------------------------------------------------


def counting(kind: Any, *, given: str | dg.AssetIn = "shop/sales", seen: list[Any] | None = None, **options: Any) -> dg.AssetsDefinition:
    """An asset `mart/counted` of the ids of its input, however that is read."""

    def counted(sales: Any) -> Any:
        batches = list(sales) if kind == Iterator[pd.DataFrame] else [sales]
        (seen if seen is not None else []).extend(batches)
        frames = [one.to_pandas() if isinstance(one, arrow.Table) else one for one in batches]
        return pd.concat(frames)[["id"]].reset_index(drop=True)

    counted.__annotations__ = {"sales": kind, "return": DataFrame[Counted]}
    return etl_asset(schema="mart", ins={"sales": given}, **options)(counted)


_KINDS = {"frame": pd.DataFrame, "arrow": arrow.Table, "batches": Iterator[pd.DataFrame]}


@pytest.mark.parametrize("kind", _KINDS)
def test_all_rows_are_accounted_for(postgres: PostgresResource, kind: str) -> None:
    """However an input is read, its rows are those that count."""
    assert materialise([upstream(), counting(_KINDS[kind])], postgres).success
    assert run(postgres.url, "SELECT id FROM mart.counted ORDER BY 1") == [(1,), (2,), (3,), (4,), (5,)]
    assert run(postgres.url, "SELECT rows_read, rows_loaded FROM etl.loads WHERE asset = 'mart/counted'") == [(5, 5)]


@pytest.mark.parametrize("kind", _KINDS)
def test_columns_of_any_kind(postgres: PostgresResource, kind: str) -> None:
    """An AssetIn says columns for frames, Arrow tables and batches, which stay what the annotation says."""
    seen: list[Any] = []
    asset = counting(_KINDS[kind], given=dg.AssetIn(KEY, metadata={"columns": ["id"]}), seen=seen)
    assert materialise([upstream(), asset], postgres).success
    assert [getattr(one, "column_names", None) or list(one) for one in seen] == [["id"]]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_partition_of_any_kind(postgres: PostgresResource, kind: str) -> None:
    """A partition is read as its rows, in whatever kind."""
    asset = counting(_KINDS[kind], partitions_def=DAYS, metadata={"write_mode": "append"})
    assert materialise([upstream(DAYS, partition_expr="day"), asset], postgres, "2013-01-04").success
    assert run(postgres.url, "SELECT id FROM mart.counted ORDER BY 1") == [(4,), (5,)]


def test_batches_are_parts_of_the_table(postgres: PostgresResource) -> None:
    """A large table comes in several frames, whose rows are all its rows."""
    run(postgres.url, "INSERT INTO shop.sales SELECT n, 'us', '2013-01-01' FROM generate_series(6, 120000) AS n")
    seen: list[Any] = []
    assert materialise([upstream(), counting(Iterator[pd.DataFrame], seen=seen)], postgres).success
    assert max(map(len, seen)) == 50_000
    assert sorted(pd.concat(seen)["id"]) == list(range(1, 120_001))


def test_an_input_has_the_types_of_its_contract(postgres: PostgresResource) -> None:
    """An input annotated with a contract has that contract's dtypes, not those of the table."""
    seen: list[Any] = []
    assert materialise([upstream(), counting(DataFrame[Sales], seen=seen)], postgres).success
    assert [str(dtype) for dtype in seen[0].dtypes] == ["Int32", "category", "object"]


# -- versions --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, [{"id": 1, "note": "new"}]),
        ({"history": True}, [{"id": 1, "note": "new", "open": True}, {"id": 1, "note": "old", "open": False}]),
        ({"columns": ["note"]}, [{"note": "new"}]),
    ],
    ids=["current", "history", "columns"],
)
def test_versions(postgres: PostgresResource, metadata: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    """Of a table that keeps all versions an input has those that hold, without their times; all of them when it asks for the history."""
    history = WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=MergeStrategy.SCD2, primary_key=("id",))
    for note in ("old", "new"):
        postgres.load(pd.DataFrame({"id": [1], "note": [note]}), table="sales_versions", schema="shop", options=history)
    source = dg.AssetSpec(["shop", "sales_versions"], metadata={"write_mode": "merge", "merge_strategy": "scd2", "primary_key": ["id"]})
    frame = read(postgres, source, metadata=metadata)
    if "valid_to" in frame:
        frame = frame.assign(open=frame["valid_to"].isna()).drop(columns=["valid_from", "valid_to"])
    assert frame.sort_values("note").to_dict("records") == expected
