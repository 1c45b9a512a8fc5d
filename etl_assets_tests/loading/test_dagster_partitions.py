"""Assets with partitions stored by PostgresIOManager: a run replaces the rows of its partitions, and nothing else.

Not here: partitions without Dagster (`test_partitions.py`), wrong settings and rows (`test_dagster_partitions_refused.py`), reading a
partition back (`test_reading_back.py`).
"""

import datetime
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.loading.dagster_partitions import partition_of
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.quarantine import open_rows
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Instant = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
Rows = list[tuple[int, str, str]]
Given = dict[str, Rows]
Build = Callable[..., dg.AssetsDefinition]

# Dagster calls it new; how a backfill runs is no matter of ours.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")

REGIONS = dg.StaticPartitionsDefinition(["us", "eu", "as"])
DAYS = dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2013-01-06")
BOTH = dg.MultiPartitionsDefinition({"day": DAYS, "region": REGIONS})


class Sales(pa.DataFrameModel):
    """Sales."""

    id: int = pa.Field(ge=0)
    region: str
    number: int
    day: datetime.date
    wall: pa.DateTime
    at: Instant


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_dagster_partitions")
    return PostgresResource(url=postgres_server.url("test_dagster_partitions"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied: a new one for each test would take most of the time."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA IF EXISTS shop CASCADE")
    return database


def frame_of(rows: Rows) -> pd.DataFrame:
    """Rows of an id, a region and a moment of UTC; `number` is the length of the region."""
    moments = pd.to_datetime(pd.Series([moment for *_, moment in rows], dtype="str"), format="ISO8601").astype("datetime64[us]")
    regions = pd.Series([region for _, region, _ in rows], dtype="str")
    return pd.DataFrame(
        {
            "id": pd.Series([number for number, *_ in rows], dtype="int64"),
            "region": regions,
            "number": regions.str.len().astype("int64"),
            "day": moments.dt.date.astype("object"),
            "wall": moments,
            "at": moments.dt.tz_localize("UTC"),
        }
    )


def plain(given: Given, parts: dg.PartitionsDefinition, expression: Any, **options: Any) -> dg.AssetsDefinition:
    """An asset without a contract that brings the rows of the partitions of its run."""
    metadata = {**({"partition_expr": expression} if expression else {}), **options.pop("metadata", {})}
    options.pop("rows", None)

    def sales(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return frame_of([row for key in context.partition_keys for row in given.get(str(key), [])])

    asset: dg.AssetsDefinition = dg.asset(key=["shop", "sales"], partitions_def=parts, metadata=metadata, **options)(sales)
    return asset


def typed(given: Given, parts: dg.PartitionsDefinition, expression: Any, **options: Any) -> dg.AssetsDefinition:
    """The same with a contract."""
    metadata = {**({"partition_expr": expression} if expression else {}), **options.pop("metadata", {})}

    @etl_asset(schema="shop", partitions_def=parts, metadata=metadata, **options)
    def sales(context: dg.AssetExecutionContext) -> DataFrame[Sales]:
        return frame_of([row for key in context.partition_keys for row in given.get(str(key), [])])  # type: ignore[return-value]

    return sales


def batched(given: Given, parts: dg.PartitionsDefinition, expression: Any, **options: Any) -> dg.AssetsDefinition:
    """The same with a contract, in batches of one row."""
    metadata = {**({"partition_expr": expression} if expression else {}), **options.pop("metadata", {})}

    @etl_asset(schema="shop", partitions_def=parts, metadata=metadata, **options)
    def sales(context: dg.AssetExecutionContext) -> Iterator[DataFrame[Sales]]:
        for key in context.partition_keys:
            for row in given.get(str(key), []):
                yield frame_of([row])  # type: ignore[misc]

    return sales


@pytest.fixture(params=[plain, typed, batched], ids=["plain", "contract", "batches"])
def build(request: pytest.FixtureRequest) -> Any:
    """The three kinds of assets."""
    return request.param


def materialise(
    asset: dg.AssetsDefinition,
    postgres: PostgresResource,
    partition: str | dg.MultiPartitionKey | None = None,
    *,
    span: tuple[str, str] | None = None,
    instance: dg.DagsterInstance | None = None,
) -> dg.ExecuteInProcessResult:
    """One run, for a partition or for a range of them."""
    tags = {"dagster/asset_partition_range_start": span[0], "dagster/asset_partition_range_end": span[1]} if span else {}
    resources = {"io_manager": PostgresIOManager(postgres=postgres)}
    return dg.materialize([asset], resources=resources, partition_key=partition, tags=tags, instance=instance, raise_on_error=False)


def why(result: dg.ExecuteInProcessResult) -> str:
    """Description of the failure; "" for none."""
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return "".join(str(data.user_failure_data.description if data.user_failure_data else data.error) for data in failed)


def stored(postgres: PostgresResource) -> Rows:
    """Id, region and moment of the rows, in order."""
    return run(postgres.url, "SELECT id, region, to_char(wall, 'YYYY-MM-DD HH24:MI') FROM shop.sales ORDER BY 1")


def ledger(postgres: PostgresResource) -> list[Any]:
    """Partition, status and rows of the loads."""
    return run(postgres.url, "SELECT partition, status, rows_loaded, rows_changed FROM etl.loads ORDER BY recorded_at")


# -- every kind of partitions ----------------------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[dg.PartitionsDefinition, Any, dict[str, list[tuple[str, str]]]]] = {
    "static text": (REGIONS, "region", {"us": [("us", "2013-01-01 00:00")], "eu": [("eu", "2013-01-01 00:00")]}),
    "static with signs": (
        dg.StaticPartitionsDefinition(["o'x", "50%", "{a}:b"]),
        "region",
        {key: [(key, "2013-01-01 00:00")] for key in ("o'x", "50%", "{a}:b")},
    ),
    "static on an integer": (
        dg.StaticPartitionsDefinition(["2", "3"]),
        "number",
        {"2": [("us", "2013-01-01 00:00")], "3": [("usa", "2013-01-01 00:00")]},
    ),
    "static by an expression": (REGIONS, "lower(region)", {"us": [("US", "2013-01-01 00:00")], "eu": [("Eu", "2013-01-01 00:00")]}),
    "days on a date": (DAYS, "day", {"2013-01-01": [("us", "2013-01-01 23:59")], "2013-01-02": [("us", "2013-01-02 00:00")]}),
    "days on a timestamp": (DAYS, "wall", {"2013-01-01": [("us", "2013-01-01 23:59")], "2013-01-02": [("us", "2013-01-02 00:00")]}),
    "days on an instant": (DAYS, "at", {"2013-01-01": [("us", "2013-01-01 23:59")], "2013-01-02": [("us", "2013-01-02 00:00")]}),
    "days by a cast": (DAYS, "at::date", {"2013-01-01": [("us", "2013-01-01 23:59")], "2013-01-02": [("us", "2013-01-02 00:00")]}),
    "days of New York on an instant": (
        dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2013-01-06", timezone="America/New_York"),
        "at",
        {"2013-01-01": [("us", "2013-01-02 04:59")], "2013-01-02": [("us", "2013-01-02 05:00")]},
    ),
    "days of New York on a date": (
        dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2013-01-06", timezone="America/New_York"),
        "day",
        {"2013-01-01": [("us", "2013-01-01 00:00")], "2013-01-02": [("us", "2013-01-02 23:00")]},
    ),
    "hours": (
        dg.HourlyPartitionsDefinition(start_date="2013-01-01-00:00", end_date="2013-01-02-00:00"),
        "at",
        {"2013-01-01-00:00": [("us", "2013-01-01 00:59")], "2013-01-01-01:00": [("us", "2013-01-01 01:00")]},
    ),
    "weeks": (
        dg.WeeklyPartitionsDefinition(start_date="2013-01-06", end_date="2013-02-03"),
        "day",
        {"2013-01-06": [("us", "2013-01-12 00:00")], "2013-01-13": [("us", "2013-01-13 00:00")]},
    ),
    "months": (
        dg.MonthlyPartitionsDefinition(start_date="2013-01-01", end_date="2013-04-01"),
        "day",
        {"2013-01-01": [("us", "2013-01-31 00:00")], "2013-02-01": [("us", "2013-02-01 00:00")]},
    ),
    "two dimensions": (
        BOTH,
        {"day": "day", "region": "region"},
        {
            "2013-01-01|us": [("us", "2013-01-01 00:00")],
            "2013-01-01|eu": [("eu", "2013-01-01 00:00")],
            "2013-01-02|us": [("us", "2013-01-02 00:00")],
        },
    ),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_each_partition_replaces_its_own_rows(postgres: PostgresResource, kind: str) -> None:
    """Every partition is loaded twice, the second time without its first row: the rows of the others stay."""
    parts, expression, partitions = _KINDS[kind]
    given: Given = {}
    expected: Rows = []
    for number, (key, rows) in enumerate(partitions.items()):
        given[key] = [(number * 10 + place, *row) for place, row in enumerate(rows * 2)]
        expected += given[key][1:]
    asset = typed(given, parts, expression)
    assert all(materialise(asset, postgres, key).success for key in partitions)
    given |= {key: rows[1:] for key, rows in given.items()}
    assert all(materialise(asset, postgres, key).success for key in partitions)
    assert stored(postgres) == expected


def test_partitions_that_are_added_at_run_time(postgres: PostgresResource) -> None:
    """Dynamic partitions are values as static ones are."""
    given = {"us": [(1, "us", "2013-01-01 00:00")], "new one": [(2, "new one", "2013-01-01 00:00")]}
    asset = plain(given, dg.DynamicPartitionsDefinition(name="regions"), "region")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("regions", list(given))
        for key in ("us", "new one", "us"):
            assert materialise(asset, postgres, key, instance=instance).success
    assert stored(postgres) == [(1, "us", "2013-01-01 00:00"), (2, "new one", "2013-01-01 00:00")]


# -- every kind of assets ----------------------------------------------------------------------------------------------------------

MORNING = "2013-01-01 00:00"


@pytest.mark.parametrize(
    ("again", "left"),
    [
        ([(4, "us", MORNING), (5, "us", MORNING), (6, "us", MORNING)], [3, 4, 5, 6]),
        ([(1, "us", MORNING)], [1, 3]),
        ([], [3]),
    ],
    ids=["more rows", "fewer rows", "no rows"],
)
def test_a_partition_again(postgres: PostgresResource, build: Build, again: Rows, left: list[int]) -> None:
    """A partition holds the rows of its last run, also when they are fewer or none."""
    given: Given = {"us": [(1, "us", MORNING), (2, "us", MORNING)], "eu": [(3, "eu", MORNING)]}
    asset = build(given, REGIONS, "region")
    assert materialise(asset, postgres, "us").success
    assert materialise(asset, postgres, "eu").success
    given["us"] = again
    assert why(materialise(asset, postgres, "us")) == ""
    assert [number for number, *_ in stored(postgres)] == left


def test_the_ledger_names_the_partition(postgres: PostgresResource, build: Build) -> None:
    """Each load is a row of the ledger with the text of its partition; the materialisation counts the rows of the partition."""
    asset = build({"2013-01-01|us": [(1, "us", MORNING)]}, BOTH, {"day": "day", "region": "region"})
    result = materialise(asset, postgres, dg.MultiPartitionKey({"day": "2013-01-01", "region": "us"}))
    assert ledger(postgres) == [("2013-01-01|us", "succeeded", 1, 1)]
    (made,) = result.asset_materializations_for_node(asset.node_def.name)
    assert (made.partition, made.metadata["dagster/partition_row_count"].value) == ("2013-01-01|us", 1)
    assert made.metadata["write_disposition"].value == "replace_partition"


@pytest.mark.parametrize("write", ["append", "merge"])
def test_partitions_of_other_dispositions(postgres: PostgresResource, write: str) -> None:
    """An append adds the rows of each run, a merge brings them in by key; neither needs to know which rows a partition is."""
    given: Given = {"us": [(1, "us", MORNING)], "eu": [(2, "eu", MORNING)]}
    asset = plain(given, REGIONS, None, metadata={"write_mode": write, "primary_key": ["id"]})
    assert materialise(asset, postgres, "us").success
    given["eu"] = [(2, "eu", MORNING), (3, "eu", MORNING)]
    assert materialise(asset, postgres, "eu").success
    assert [number for number, *_ in stored(postgres)] == [1, 2, 3]
    assert [row[0] for row in ledger(postgres)] == ["us", "eu"]


# -- ranges in one run ----------------------------------------------------------------------------------------------------------------


def test_a_range_in_one_run(postgres: PostgresResource, build: Build) -> None:
    """A run over several days replaces those days in one load, also a day that it brings no row of; the days around them stay."""
    given: Given = {f"2013-01-0{day}": [(day, "us", f"2013-01-0{day} 12:00")] for day in range(1, 6)}
    asset = build(given, DAYS, "day", backfill_policy=dg.BackfillPolicy.single_run())
    assert why(materialise(asset, postgres, span=("2013-01-01", "2013-01-05"))) == ""
    given |= {"2013-01-02": [(20, "us", "2013-01-02 12:00")], "2013-01-03": []}
    assert why(materialise(asset, postgres, span=("2013-01-02", "2013-01-04"))) == ""
    assert [number for number, *_ in stored(postgres)] == [1, 4, 5, 20]
    assert ledger(postgres) == [("2013-01-01...2013-01-05", "succeeded", 5, 5), ("2013-01-02...2013-01-04", "succeeded", 2, 5)]


@pytest.mark.parametrize(
    ("parts", "expression", "span", "left"),
    [
        (REGIONS, "region", ("us", "eu"), [3, 6]),
        (BOTH, {"day": "day", "region": "region"}, ("2013-01-01|us", "2013-01-01|eu"), [3, 4, 5, 6]),
    ],
    ids=["static", "two dimensions"],
)
def test_a_range_of_values(postgres: PostgresResource, parts: Any, expression: Any, span: tuple[str, str], left: list[int]) -> None:
    """A range of values empties those partitions, and no other."""
    rows = [(day * 3 + place, region, f"2013-01-0{day + 1} 00:00") for day in (0, 1) for place, region in enumerate(("us", "eu", "as"), 1)]
    postgres.load(frame_of(rows), table="sales", schema="shop")
    asset = typed({}, parts, expression, backfill_policy=dg.BackfillPolicy.single_run())
    assert why(materialise(asset, postgres, span=span)) == ""
    assert [number for number, *_ in stored(postgres)] == left


def test_windows_that_follow_each_other_become_one() -> None:
    """A month of days is one condition, a gap makes two."""
    keys = ["2013-01-01", "2013-01-02", "2013-01-04"]
    found = [one for (one,) in partition_of(DAYS, keys, {"": "day"}, "sales").alternatives]
    assert [(one.start.day, one.end.day) for one in found if one.start and one.end] == [(1, 3), (4, 5)]


def test_an_hour_that_comes_twice_is_in_no_gap() -> None:
    """Hours on both sides of the first of the two hours that the clock shows alike do not take it in."""
    hours = dg.HourlyPartitionsDefinition(start_date="2013-11-03-00:00", end_date="2013-11-03-05:00", timezone="America/New_York")
    found = [one for (one,) in partition_of(hours, ["2013-11-03-00:00", "2013-11-03-01:00-0500"], {"": "at"}, "sales").alternatives]
    starts = [(one.start.astimezone(datetime.UTC).hour, one.end.astimezone(datetime.UTC).hour) for one in found if one.start and one.end]
    assert starts == [(4, 5), (6, 7)]


_NIGHTS = {"fall": ("2013-11-03-00:00", "2013-11-03-04:00", range(4, 9)), "spring": ("2013-03-10-00:00", "2013-03-10-04:00", range(5, 8))}


@pytest.mark.parametrize("night", _NIGHTS)
def test_hours_of_a_clock_change(postgres: PostgresResource, night: str) -> None:
    """Each hour of New York is loaded and loaded again; no instant is lost or doubled, also of the hour that the clock shows twice."""
    start, end, hours = _NIGHTS[night]
    parts = dg.HourlyPartitionsDefinition(start_date=start, end_date=end, timezone="America/New_York")
    keys = parts.get_partition_keys()
    rows = [(hour, "us", f"{start[:10]} 0{hour}:30") for hour in hours]
    given: Given = {key: [row] for key, row in zip(keys, rows, strict=True)}
    asset = plain(given, parts, "at")
    assert [why(materialise(asset, postgres, key)) for key in keys] == [""] * len(keys)
    assert why(materialise(asset, postgres, keys[1])) == ""
    assert stored(postgres) == rows


# -- the quarantine ---------------------------------------------------------------------------------------------------------------------


def quarantined(postgres: PostgresResource) -> list[Any]:
    """Partition, id and rules of the rows in quarantine."""
    return run(postgres.url, "SELECT partition, record->>'id', rules FROM etl.quarantine ORDER BY id")


BAD: Rows = [(1, "us", MORNING), (2, "us", MORNING), (-3, "us", MORNING)]
HALF = RowPolicy(most_quarantined=0.5)


@pytest.mark.parametrize("make", [typed, batched])
def test_rows_outside_go_to_the_quarantine(postgres: PostgresResource, make: Build) -> None:
    """A row of another partition is in quarantine by the rule in_partition, the others are loaded, and the check rows_usable warns."""
    asset = make({"us": [(1, "us", MORNING), (2, "eu", MORNING), (3, "us", MORNING)]}, REGIONS, "region", rows=HALF)
    result = materialise(asset, postgres, "us")
    assert why(result) == ""
    assert [number for number, *_ in stored(postgres)] == [1, 3]
    assert quarantined(postgres) == [("us", "2", ["in_partition"])]
    check = next(one for one in result.get_asset_check_evaluations() if one.check_name == "rows_usable")
    assert (check.passed, check.severity, check.metadata["failed_rows"].value) == (False, dg.AssetCheckSeverity.WARN, 1)


def test_quarantined_rows_of_a_partition_that_came_again(postgres: PostgresResource) -> None:
    """Once a partition was replaced, the rows that its load before refused are no longer missing; those of other partitions are."""
    given: Given = {"us": BAD, "eu": [(4, "eu", MORNING), (-5, "eu", MORNING)]}
    asset = typed(given, REGIONS, "region", rows=HALF)
    assert materialise(asset, postgres, "us").success
    assert materialise(asset, postgres, "eu").success
    given["us"] = BAD[:2]
    assert materialise(asset, postgres, "us").success
    assert [row.record["id"] for row in open_rows(postgres, "shop/sales")] == [-5]
    assert [(partition, number) for partition, number, _ in quarantined(postgres)] == [("us", "-3"), ("eu", "-5")]


@pytest.mark.parametrize("first", ["one", "range"])
def test_quarantined_rows_of_partitions_that_came_again_together(postgres: PostgresResource, first: str) -> None:
    """The same holds where a range replaces the partition, and where the partitions of a range come again one by one."""
    given: Given = {"us": BAD, "eu": [(4, "eu", MORNING)]}
    asset = typed(given, REGIONS, "region", rows=HALF, backfill_policy=dg.BackfillPolicy.single_run())
    runs: list[dict[str, Any]] = [{"partition": "us"}, {"span": ("us", "eu")}]
    if first == "range":
        runs = [{"span": ("us", "eu")}, {"partition": "us"}, {"partition": "eu"}]
    assert materialise(asset, postgres, **runs[0]).success
    given["us"] = BAD[:2]
    assert all(materialise(asset, postgres, **one).success for one in runs[1:])
    assert open_rows(postgres, "shop/sales") == []
