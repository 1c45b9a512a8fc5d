"""How an asset says the way its table is written: metadata of its definition, and of its output over it.

Not here: what each way does to a table (`test_dispositions.py`, `test_merge_strategies.py`, `test_shape.py`).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import etl_asset
from etl_assets.errors import ConfigurationError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.options import MergeStrategy, SchemaChange, WriteDisposition, WriteOptions, read_disposition
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_options")
    return PostgresResource(url=postgres_server.url("test_options"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA IF EXISTS shop CASCADE")
    return database


def of(metadata: dict[str, Any], *, partitioned: bool = False) -> WriteOptions:
    """The options of the asset shop/t."""
    return WriteOptions.of(metadata, "shop/t", partitioned=partitioned)


# -- plain values -----------------------------------------------------------------------------------------------------------


def test_nothing_said_is_a_replace() -> None:
    """An asset that says nothing replaces its table, whatever shape that has."""
    options = of({})
    assert (options, options.on_schema_change) == (WriteOptions(), SchemaChange.REPLACE)


def test_nothing_said_with_partitions_is_the_partition() -> None:
    """An asset with partitions replaces the rows of its partition, and widens the table."""
    options = of({"partition_expr": "day"}, partitioned=True)
    assert (options.disposition, options.partition_expr) == (WriteDisposition.REPLACE_PARTITION, {"": "day"})
    assert options.on_schema_change is SchemaChange.WIDEN


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"write_mode": "append"}, WriteOptions(disposition=WriteDisposition.APPEND)),
        ({"write_mode": WriteDisposition.APPEND}, WriteOptions(disposition=WriteDisposition.APPEND)),
        ({"write_mode": None, "merge_key": None}, WriteOptions()),
        ({"write_mode": "replace", "schema_change": "widen"}, WriteOptions(schema_change=SchemaChange.WIDEN)),
        ({"primary_key": "id"}, WriteOptions(primary_key=("id",))),
        ({"primary_key": ("a", "b")}, WriteOptions(primary_key=("a", "b"))),
        (
            {"write_mode": "merge", "merge_strategy": "delete_insert", "merge_key": ["order_id"]},
            WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=MergeStrategy.DELETE_INSERT, merge_key=("order_id",)),
        ),
        (
            {"write_mode": "merge", "merge_strategy": "scd2", "close_absent": True},
            WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=MergeStrategy.SCD2, close_absent=True),
        ),
        (
            {"write_mode": "replace_partition", "partition_expr": {"day": "day", "region": "lower(region)"}},
            WriteOptions(
                disposition=WriteDisposition.REPLACE_PARTITION, partition_expr={"day": "day", "region": "lower(region)"}
            ),
        ),
        ({"owner": "me", "schema": "shop", "dagster/column_schema": 1, "contract": "Orders", "mode": "x"}, WriteOptions()),
    ],
    ids=["text", "enum", "None", "schema_change", "one key", "keys", "delete_insert", "scd2", "dimensions", "keys of others"],
)  # fmt: skip
def test_plain_values(metadata: dict[str, Any], expected: WriteOptions) -> None:
    """Plain values are read, None is as if it were not there, and keys of other people are left alone."""
    assert of(metadata) == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"write_mode": dg.MetadataValue.text("append")}, WriteOptions(disposition=WriteDisposition.APPEND)),
        ({"primary_key": dg.MetadataValue.json(["a", "b"])}, WriteOptions(primary_key=("a", "b"))),
        ({"schema_change": dg.MetadataValue.text("fail")}, WriteOptions(schema_change=SchemaChange.FAIL)),
        (
            {"write_mode": "merge", "merge_strategy": dg.MetadataValue.text("scd2"), "close_absent": dg.MetadataValue.bool(True)},
            WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=MergeStrategy.SCD2, close_absent=True),
        ),
        ({"partition_expr": dg.MetadataValue.text("day")}, WriteOptions(partition_expr={"": "day"})),
        ({"partition_expr": dg.MetadataValue.json({"day": "d"})}, WriteOptions(partition_expr={"day": "d"})),
        ({"write_mode": dg.MetadataValue.null()}, WriteOptions()),
    ],
    ids=["write_mode", "primary_key", "schema_change", "close_absent", "partition_expr", "dimensions", "null"],
)
def test_values_of_dagster(metadata: dict[str, Any], expected: WriteOptions) -> None:
    """Dagster wraps what an output says in values of its own; they mean what is in them."""
    assert of(metadata) == expected


@pytest.mark.parametrize("change", list(SchemaChange))
@pytest.mark.parametrize("disposition", list(WriteDisposition))
def test_what_is_said_of_the_shape_counts(disposition: WriteDisposition, change: SchemaChange) -> None:
    """schema_change means the same for every way of writing."""
    assert WriteOptions(disposition=disposition, schema_change=change).on_schema_change is change


@pytest.mark.parametrize("disposition", ["append", "merge", "replace_partition"])
def test_the_shape_is_widened_by_default(disposition: str) -> None:
    """Where rows of before stay, columns are added and widened unless something else is said."""
    assert WriteOptions(disposition=WriteDisposition(disposition)).on_schema_change is SchemaChange.WIDEN


# -- what is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"write_mode": "upsert"}, r"'upsert' is unknown; known: \['replace', 'append', 'merge', 'replace_partition'\]"),
        ({"write_mode": "Append"}, "'Append' is unknown"),
        ({"write_mode": ["append"]}, r"\['append'\] is unknown"),
        ({"write_mode": ""}, "'' is unknown"),
        (
            {"write_mode": "merge", "merge_strategy": "scd1"},
            r"merge_strategy 'scd1' is unknown; known: \['update', 'insert_only', 'delete_insert', 'scd2'\]",
        ),
        ({"schema_change": "evolve"}, r"schema_change 'evolve' is unknown; known: \['fail', 'add_columns', 'widen', 'replace'\]"),
        ({"merge_key": 5}, "merge_key is a list of columns; given: 5"),
        ({"primary_key": [1]}, r"primary_key is a list of columns; given: \[1\]"),
        ({"primary_key": {"id": 1}}, "primary_key is a list of columns"),
        ({"primary_key": ""}, "primary_key"),
        ({"close_absent": "yes"}, "close_absent is True or False; given: 'yes'"),
        ({"close_absent": 1}, "close_absent is True or False; given: 1"),
        ({"partition_expr": ""}, "partition_expr is a column or SQL expression"),
        ({"partition_expr": {}}, "partition_expr is a column or SQL expression"),
        ({"partition_expr": {"day": ""}}, "partition_expr is a column or SQL expression"),
        ({"partition_expr": ["day"]}, "partition_expr is a column or SQL expression"),
    ],
    ids=lambda given: str(given)[:50] if isinstance(given, dict) else "",
)
def test_values_that_mean_nothing(metadata: dict[str, Any], says: str) -> None:
    """A value that means nothing is an error that names the asset, the value and what is known."""
    with pytest.raises(ConfigurationError, match=f"^shop/t: .*{says}.*Next: "):
        of(metadata)


@pytest.mark.parametrize(
    ("metadata", "partitioned", "says"),
    [
        ({"write_mode": "replace", "partition_expr": "day"}, True, "each partition would drop the others"),
        ({}, True, "nothing says which rows of the table a partition is"),
        ({"write_mode": "replace_partition"}, True, "nothing says which rows of the table a partition is"),
        ({"merge_strategy": "scd2"}, False, "a merge strategy has no meaning for replace"),
        ({"write_mode": "append", "merge_strategy": "insert_only"}, False, "a merge strategy has no meaning for append"),
        ({"write_mode": "append", "merge_key": ["id"]}, False, "a merge strategy has no meaning for append"),
        ({"write_mode": "replace_partition", "merge_strategy": "scd2"}, False, "no meaning for replace_partition"),
        ({"write_mode": "merge", "merge_key": ["id"]}, False, "update works by the primary key; merge_key is for delete_insert"),
        ({"write_mode": "merge", "merge_strategy": "scd2", "merge_key": ["id"]}, False, "scd2 works by the primary key"),
        ({"write_mode": "merge", "merge_strategy": "insert_only", "merge_key": ["id"]}, False, "insert_only works by the primary key"),
        ({"write_mode": "merge", "close_absent": True}, False, "close_absent is for the merge strategy scd2"),
        ({"write_mode": "append", "close_absent": True}, False, "close_absent is for the merge strategy scd2"),
        ({"close_absent": True}, False, "close_absent is for the merge strategy scd2"),
    ],
    ids=[
        "replace with partitions", "partitions of nothing", "replace_partition of nothing", "strategy of replace", "strategy of append",
        "key of an append", "strategy of a partition", "merge_key of update", "merge_key of scd2", "merge_key of insert_only",
        "absent in update", "absent in append", "absent in replace",
    ],
)  # fmt: skip
def test_contradictions(metadata: dict[str, Any], partitioned: bool, says: str) -> None:
    """What cannot be meant together is an error that says both, and what to do."""
    with pytest.raises(ConfigurationError, match=f"^shop/t: .*{says}.*Next: "):
        of(metadata, partitioned=partitioned)


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_partitions_need_no_expression_where_rows_stay(mode: str) -> None:
    """An append or a merge of an asset with partitions needs not know which rows a partition is."""
    assert of({"write_mode": mode}, partitioned=True).disposition.value == mode


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("write_mod", "write_mode"),
        ("writemode", "write_mode"),
        ("merge_strategie", "merge_strategy"),
        ("merge_keys", "merge_key"),
        ("schema_changes", "schema_change"),
        ("close_absents", "close_absent"),
        ("primarykey", "primary_key"),
        ("partition_exp", "partition_expr"),
    ],
)
def test_a_misspelt_key_is_refused(key: str, meant: str) -> None:
    """A key that is nearly one of ours would be ignored in silence: it is an error that names both."""
    with pytest.raises(ConfigurationError, match=f"^shop/t: metadata has the key '{key}', close to '{meant}'"):
        of({key: "append"})


def test_a_disposition_by_its_name() -> None:
    """The name that a person gives in Python is read as that of the metadata."""
    assert read_disposition("merge", "shop/t") is WriteDisposition.MERGE


def test_options_that_contradict_themselves_are_refused_by_a_load(postgres: PostgresResource) -> None:
    """Options made in Python are looked at as those of metadata are: a strategy of an append would be ignored in silence."""
    wrong = WriteOptions(disposition=WriteDisposition.APPEND, merge_strategy=MergeStrategy.SCD2, primary_key=("id",))
    with pytest.raises(ConfigurationError, match="a merge strategy has no meaning for append"):
        postgres.load(pd.DataFrame({"id": [1]}), table="t", schema="shop", options=wrong)


@pytest.mark.parametrize("mode", ["replace", "merge"])
def test_a_key_of_no_column_is_named(postgres: PostgresResource, mode: str) -> None:
    """A primary key that names no column of the rows is an error that names it, and no table is made."""
    with pytest.raises(Exception, match=r"shop/t: .*idd.*Next: "):
        postgres.load(pd.DataFrame({"id": [1]}), table="t", schema="shop", disposition=mode, primary_key=["idd"])
    assert not postgres.has_table("t", schema="shop")


# -- in Dagster: the output over the definition -------------------------------------------------------------------------------------


class Orders(pa.DataFrameModel):
    """Orders."""

    id: int

    class Config:
        metadata = {"primary_key": ["id"]}


Made = dg.AssetsDefinition


def plain(definition: dict[str, Any], output: dict[str, Any], numbers: list[int]) -> Made:
    """An asset without a contract that says something of its output."""

    @dg.asset(key=["shop", "t"], metadata=definition)
    def t(context: dg.AssetExecutionContext) -> pd.DataFrame:
        context.add_output_metadata(output)
        return pd.DataFrame({"id": numbers})

    return t


def contracted(definition: dict[str, Any], output: dict[str, Any], numbers: list[int]) -> Made:
    """The same with a contract."""

    @etl_asset(schema="shop", name="t", metadata=definition)
    def t(context: dg.AssetExecutionContext) -> DataFrame[Orders]:
        """Orders."""
        # Checks are outputs to Dagster, so that it asks for the name of this one.
        context.add_output_metadata(output, output_name="result")
        return pd.DataFrame({"id": numbers})

    return t


def batched(definition: dict[str, Any], output: dict[str, Any], numbers: list[int]) -> Made:
    """The same in batches, with what is said of the output before the first one."""

    @etl_asset(schema="shop", name="t", metadata=definition)
    def t(context: dg.AssetExecutionContext) -> Iterator[DataFrame[Orders]]:
        """Orders."""
        context.add_output_metadata(output, output_name="result")
        yield pd.DataFrame({"id": numbers})

    return t


KINDS = {"plain": plain, "contracted": contracted}


@pytest.fixture(params=list(KINDS))
def make(request: pytest.FixtureRequest) -> Any:
    """What makes an asset."""
    return KINDS[request.param]


def materialize(postgres: PostgresResource, asset: Made) -> dg.ExecuteInProcessResult:
    """Materialise without raising."""
    return dg.materialize([asset], resources={"io_manager": PostgresIOManager(postgres=postgres)}, raise_on_error=False)


def why(result: dg.ExecuteInProcessResult) -> str:
    """Description of the first failure."""
    data = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


def stored(postgres: PostgresResource) -> list[Row]:
    return run(postgres.url, "SELECT id FROM shop.t ORDER BY 1")


def test_the_output_says_more_than_the_definition(postgres: PostgresResource, make: Any) -> None:
    """A run that adds `write_mode` to its output is written so, whatever the definition says; the next run is not."""
    assert materialize(postgres, make({}, {}, [1])).success
    assert materialize(postgres, make({}, {"write_mode": "append"}, [2])).success
    found = [stored(postgres)]
    assert materialize(postgres, make({}, {}, [3])).success
    assert [*found, stored(postgres)] == [[(1,), (2,)], [(3,)]]


def test_the_output_is_told_as_in_every_asset(postgres: PostgresResource) -> None:
    """An asset with a contract has more outputs than one, its checks: it names the output, or returns it."""

    @etl_asset(schema="shop", name="t")
    def t(context: dg.AssetExecutionContext) -> DataFrame[Orders]:
        """Orders."""
        context.add_output_metadata({"write_mode": "append"}, output_name="result")
        return pd.DataFrame({"id": [1]})

    @etl_asset(schema="shop", name="t")
    def returned() -> DataFrame[Orders]:
        """Orders."""
        return dg.Output(pd.DataFrame({"id": [2]}), metadata={"write_mode": "append"})

    for asset in (t, returned):
        result = materialize(postgres, asset)
        assert result.success, why(result)
    assert run(postgres.url, "SELECT disposition FROM etl.loads") == [("append",), ("append",)]


def test_the_output_of_batches_is_not_ignored(postgres: PostgresResource) -> None:
    """What an asset that yields batches says of its output before the first one counts, or fails: rows are never dropped for it."""
    assert materialize(postgres, batched({}, {}, [1])).success
    result = materialize(postgres, batched({}, {"write_mode": "append"}, [2]))
    assert (result.success, stored(postgres)) in [(True, [(1,), (2,)]), (False, [(1,)])]


def test_the_output_takes_back_what_the_definition_says(postgres: PostgresResource, make: Any) -> None:
    """A full refresh of an asset that appends otherwise: one run says "replace"."""
    assert materialize(postgres, make({"write_mode": "append"}, {}, [1])).success
    assert materialize(postgres, make({"write_mode": "append"}, {"write_mode": "replace"}, [2])).success
    assert stored(postgres) == [(2,)]


def test_the_materialisation_tells_how_it_was_written(postgres: PostgresResource, make: Any) -> None:
    """Ledger and materialisation name what was done, not what the definition says."""
    result = materialize(postgres, make({"write_mode": "append"}, {"write_mode": "replace"}, [2]))
    (event,) = result.asset_materializations_for_node("shop__t")
    told = (event.metadata["write_disposition"].value, event.metadata["strategy"].value)
    assert (told, run(postgres.url, "SELECT disposition, strategy FROM etl.loads")) == (("replace", "swap"), [("replace", "swap")])


def test_lists_and_flags_of_an_output(postgres: PostgresResource) -> None:
    """Lists and flags of an output arrive as Dagster's values and are read."""
    said = {"write_mode": "merge", "merge_strategy": "scd2", "primary_key": ["id"], "close_absent": True}
    assert materialize(postgres, plain({}, said, [1, 2])).success
    assert materialize(postgres, plain({}, said, [2])).success
    assert run(postgres.url, "SELECT id, valid_to IS NULL FROM shop.t ORDER BY 1") == [(1, False), (2, True)]


def test_an_output_that_contradicts_the_definition(postgres: PostgresResource, make: Any) -> None:
    """What both say together is judged: a strategy without a merge fails the run, and the table stays."""
    assert materialize(postgres, make({}, {}, [1])).success
    definition = {"write_mode": "merge", "merge_strategy": "insert_only"}
    result = materialize(postgres, make(definition, {"write_mode": "append"}, [2]))
    assert "shop/t: a merge strategy has no meaning for append" in why(result)
    assert stored(postgres) == [(1,)]


def test_an_output_whose_key_is_misspelt(postgres: PostgresResource, make: Any) -> None:
    """A misspelt key of an output fails the run with both names, and no table is made."""
    assert "metadata has the key 'write_mod', close to 'write_mode'" in why(materialize(postgres, make({}, {"write_mod": "append"}, [1])))
    assert not postgres.has_table("t", schema="shop")


def test_an_output_that_is_refused_is_in_the_ledger(postgres: PostgresResource) -> None:
    """A load that fails for what its output says is a failed load of the ledger."""
    materialize(postgres, contracted({}, {"write_mode": "upsert"}, [1]))
    assert run(postgres.url, "SELECT asset, status, error_class FROM etl.loads") == [("shop/t", "failed", "ConfigurationError")]


def test_a_definition_that_contradicts_itself() -> None:
    """A definition is judged when it is made, not when it runs."""
    with pytest.raises(ConfigurationError, match="shop/t: a merge strategy has no meaning for append"):
        contracted({"write_mode": "append", "merge_strategy": "scd2"}, {}, [])


def test_write_and_metadata_that_say_different_things() -> None:
    """`write` beside another `write_mode` is a contradiction, not a matter of which counts."""
    with pytest.raises(ConfigurationError, match="write_mode"):

        @etl_asset(schema="shop", name="t", write="append", metadata={"write_mode": "merge"})
        def t() -> DataFrame[Orders]:
            """Orders."""
            return pd.DataFrame({"id": [1]})
