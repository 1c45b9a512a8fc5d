"""The decorator: what Dagster, PostgreSQL and people get from an annotated function."""

import asyncio
import types
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
import sqlalchemy as sa
from dagster._core.loader import LoadingContextForTest
from pandera.typing import DataFrame

from etl_assets.accounting import record_read
from etl_assets.assets import RowPolicy, defined_asset, etl_asset
from etl_assets.checks import references_check
from etl_assets.cleaning import clean, derive, drop_rows
from etl_assets.errors import ContractDefinitionError, SourceUnavailableError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.replay import replay
from etl_assets.retry import RetryPolicy
from etl_assets.retry_settings import Retry


class Orders(pa.DataFrameModel):
    """Orders, one row per order."""

    id: int = pa.Field(description="Order number")
    amount: float = pa.Field(ge=0)
    note: str = pa.Field(nullable=True, str_length={"max_value": 5}, metadata={"severity": "warn"})

    class Config:
        metadata = {"primary_key": ["id"]}


class Strict(pa.DataFrameModel):
    """As orders, but nothing wrong may come."""

    id: int = pa.Field(ge=1, metadata={"severity": "fail"})


GOOD = pd.DataFrame({"id": ["1", "2", "3"], "amount": ["1.5", "2", "0"], "note": ["a", None, "b"]})


def run(
    assets: list[Any], postgres: PostgresResource, *, instance: dg.DagsterInstance | None = None, **resources: Any
) -> dg.ExecuteInProcessResult:
    """Materialise into PostgreSQL without raising."""
    return dg.materialize(
        assets,
        resources={"io_manager": PostgresIOManager(postgres=postgres), "postgres": postgres, **resources},
        raise_on_error=False,
        instance=instance,
    )


def raw_orders(rows: pd.DataFrame) -> dg.AssetsDefinition:
    @dg.asset(key=["raw", "orders"])
    def orders() -> pd.DataFrame:
        return rows

    return orders


@etl_asset(schema="clean", rows=RowPolicy(most_quarantined=0.5))
def orders(raw_orders: pd.DataFrame) -> DataFrame[Orders]:
    """Orders, typed."""
    return raw_orders


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def why(result: dg.ExecuteInProcessResult) -> str:
    """Description of the first failure."""
    data = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


def rows(postgres: PostgresResource, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in postgres.read_query(query).astype(object).to_numpy()]


def test_table_is_typed_and_keyed(postgres: PostgresResource) -> None:
    """Text becomes a table with the types, NOT NULL and key of the contract."""
    assert run([raw_orders(GOOD), orders], postgres).success
    query = "SELECT column_name::text, data_type::text, is_nullable::text FROM information_schema.columns WHERE table_name = 'orders' "
    columns = rows(postgres, f"{query} AND table_schema = 'clean' ORDER BY 1")
    assert columns == [("amount", "double precision", "NO"), ("id", "bigint", "NO"), ("note", "text", "YES")]
    assert rows(postgres, "SELECT contype::text FROM pg_constraint WHERE conrelid = 'clean.orders'::regclass AND contype = 'p'") == [("p",)]


def test_bad_rows_are_split_off_and_kept(postgres: PostgresResource) -> None:
    """Rows that break the contract are in the quarantine with their original text; the others are loaded."""
    bad = pd.DataFrame({"id": ["4"], "amount": ["12,50"], "note": ["x"]})
    assert run([raw_orders(pd.concat([GOOD, bad])), orders], postgres).success
    assert rows(postgres, "SELECT count(*) FROM clean.orders") == [(3,)]
    assert rows(postgres, "SELECT record->>'amount', rules::text, source_position FROM etl.quarantine") == [
        ("12,50", "{amount_type}", "row 4")
    ]


def test_checks_tell_counts_and_samples(postgres: PostgresResource) -> None:
    """Each rule is an asset check with the number of rows that broke it and a sample."""
    bad = pd.DataFrame({"id": ["4"], "amount": ["-1"], "note": ["much too long"]})
    checks = checks_of(run([raw_orders(pd.concat([GOOD, bad])), orders], postgres))
    assert {name: check.passed for name, check in checks.items()} == {
        "columns_match": True,
        "columns_unchanged": True,
        "rows_accounted_for": True,
        "id_not_null": True,
        "amount_not_null": True,
        "amount_ge": False,
        "note_str_length": False,
        "primary_key_unique": True,
        "rows_usable": True,
    }
    assert checks["amount_ge"].metadata["failed_rows"].value == 1
    assert checks["amount_ge"].metadata["sample"].records[0].data == {"position": "row 4", "value": "amount=-1", "rule": "amount >= 0"}


def test_checks_are_of_the_last_run(postgres: PostgresResource) -> None:
    """What a check found holds for the table as it is: of the run that loaded it, or of the one that was refused since."""
    instance = dg.DagsterInstance.ephemeral()
    key = dg.AssetCheckKey(dg.AssetKey(["clean", "orders"]), "amount_ge")
    bad = GOOD.assign(amount=["-1", "-2", "0"])
    for given, success in [(GOOD, True), (GOOD, True), (bad, False)]:
        assert run([raw_orders(given), orders], postgres, instance=instance).success is success
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert record.evaluation is not None
        assert record.evaluation.passed is success
        assert asyncio.run(record.targets_latest_materialization(LoadingContextForTest(instance)))


def test_a_prefix_before_the_key(postgres: PostgresResource) -> None:
    """Assets that Dagster loads with a prefix before their keys run under the longer key; table and contract stay."""

    @etl_asset(schema="clean", rows=RowPolicy(most_quarantined=0.5))
    def northern(raw_orders: pd.DataFrame) -> DataFrame[Orders]:
        """Orders of the north."""
        return raw_orders

    bad = pd.DataFrame({"id": ["4"], "amount": ["-1"], "note": ["x"]})
    prefixed = dg.load_assets_from_modules([types.SimpleNamespace(__name__="shop", northern=northern)], key_prefix="shop")  # type: ignore[list-item]
    result = run([raw_orders(pd.concat([GOOD, bad])), *prefixed], postgres)
    assert {check.asset_key.to_user_string() for check in result.get_asset_check_evaluations()} == {"shop/clean/northern"}
    assert rows(postgres, "SELECT asset, rows_loaded FROM etl.loads WHERE rows_quarantined > 0") == [("shop/clean/northern", 3)]
    assert rows(postgres, "SELECT count(*) FROM clean.northern") == [(3,)]
    assert defined_asset("shop/clean/northern") == defined_asset("clean/northern")
    assert [row.record["amount"] for row, _ in replay(postgres, "shop/clean/northern", dry_run=True).failing] == ["-1"]


def test_rows_that_only_warn_are_loaded(postgres: PostgresResource) -> None:
    """A rule of severity warn fails its check and keeps the row."""
    run([raw_orders(GOOD.assign(note="much too long")), orders], postgres)
    assert rows(postgres, "SELECT count(*) FROM clean.orders") == [(3,)]


def test_metadata_of_the_materialisation(postgres: PostgresResource) -> None:
    """The UI gets row count, columns and the account of the rows."""
    bad = pd.DataFrame({"id": ["4"], "amount": ["-1"], "note": ["x"]})
    result = run([raw_orders(pd.concat([GOOD, bad])), orders], postgres)
    metadata = result.asset_materializations_for_node("clean__orders")[0].metadata
    assert {name: metadata[name].value for name in ("dagster/row_count", "rows_read", "rows_quarantined", "rows_dropped")} == {
        "dagster/row_count": 3,
        "rows_read": 4,
        "rows_quarantined": 1,
        "rows_dropped": 0,
    }
    schema = metadata["dagster/column_schema"].value
    assert next((c.name, c.type, c.description, c.constraints.nullable) for c in schema.columns) == ("id", "bigint", "Order number", False)


def test_columns_are_known_before_the_first_run() -> None:
    """The Columns tab is filled from the contract."""
    schema = orders.metadata_by_key[dg.AssetKey(["clean", "orders"])]["dagster/column_schema"]
    assert [column.name for column in schema.columns] == ["id", "amount", "note"]


def test_too_many_bad_rows_stop_the_load(postgres: PostgresResource) -> None:
    """Above the share that may be quarantined nothing is loaded, the rows are kept, and the message says where."""
    run([raw_orders(GOOD), orders], postgres)
    result = run([raw_orders(GOOD.assign(amount=["-1", "-2", "3"])), orders], postgres)
    assert not result.success
    assert "clean/orders: 2 of 3 rows break the contract" in why(result)
    assert "etl.quarantine" in why(result)
    assert rows(postgres, "SELECT sum(amount) FROM clean.orders") == [(3.5,)]
    assert rows(postgres, "SELECT count(*) FROM etl.quarantine") == [(2,)]


def test_refused_load_is_in_the_ledger(postgres: PostgresResource) -> None:
    """A load that the gate refused is a failed row of the ledger."""
    run([raw_orders(GOOD.assign(amount="-1")), orders], postgres)
    query = "SELECT status, error_class, rows_read, rows_quarantined FROM etl.loads WHERE asset = 'clean/orders'"
    assert rows(postgres, query) == [("failed", "ContractViolationError", 3, 3)]


def test_refused_load_shows_its_checks(postgres: PostgresResource) -> None:
    """When the gate refuses a load the failed checks are errors and visible."""
    check = checks_of(run([raw_orders(GOOD.assign(amount="-1")), orders], postgres))["amount_ge"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_severity_fail_stops_the_load(postgres: PostgresResource) -> None:
    """One row that breaks a rule of severity fail stops the load."""

    @etl_asset(schema="clean")
    def strict() -> DataFrame[Strict]:
        return pd.DataFrame({"id": [*range(1, 100), 0]})

    result = run([strict], postgres)
    assert "severity fail: id_ge" in why(result)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="amount"), "missing ['amount']"),
        (lambda frame: frame.assign(extra=1), "undeclared ['extra']"),
        (lambda frame: pd.concat([frame, frame[["id"]]], axis=1), "repeated ['id']"),
    ],
)
def test_other_columns_are_named(postgres: PostgresResource, change: Any, said: str) -> None:
    """Columns other than the declared ones fail the check columns_match and the step, with both sets named."""
    result = run([raw_orders(GOOD), _changed(change)], postgres)
    assert said in why(result)
    assert "Declared: ['id', 'amount', 'note']" in why(result)
    assert not checks_of(result)["columns_match"].passed


def _changed(change: Any) -> dg.AssetsDefinition:
    @etl_asset(schema="clean", name="orders")
    def changed(raw_orders: pd.DataFrame) -> DataFrame[Orders]:
        return change(raw_orders)

    return changed


def test_rows_that_vanish_stop_the_load(postgres: PostgresResource) -> None:
    """Rows dropped without a declared rule fail the blocking check, and nothing is loaded."""
    result = run([raw_orders(GOOD), _changed(lambda frame: frame.head(2))], postgres)
    assert "1 are missing without one" in why(result)
    assert not checks_of(result)["rows_accounted_for"].passed
    assert rows(postgres, "SELECT to_regclass('clean.orders') IS NULL") == [(True,)]


def test_rows_dropped_by_a_rule_are_accounted_for(postgres: PostgresResource) -> None:
    """Rows dropped by a step with a name are counted as dropped."""
    steps = [drop_rows("no charge", lambda frame: frame["amount"] == "0")]
    assert run([raw_orders(GOOD), _changed(lambda frame: clean(frame, steps))], postgres).success
    assert rows(postgres, "SELECT rows_read, rows_loaded, rows_dropped FROM etl.loads WHERE asset = 'clean/orders'") == [(3, 2, 1)]


def test_rows_of_connectors_are_the_rows_read(postgres: PostgresResource) -> None:
    """Without an input the rows read are those that connectors report."""

    @etl_asset(schema="raw")
    def lost() -> DataFrame[Orders]:
        record_read("a source", 5)
        return GOOD

    assert "5 rows were read, 3 keep the contract" in why(run([lost], postgres))


def test_cleaning_is_shown(postgres: PostgresResource) -> None:
    """The cleaning steps are a table in the metadata of the materialisation."""
    steps = [derive("note", lambda frame: frame["note"].fillna("-"), named="dash")]
    result = run([raw_orders(GOOD), _changed(lambda frame: clean(frame, steps))], postgres)
    (record,) = result.asset_materializations_for_node("clean__orders")[0].metadata["cleaning"].records
    assert (record.data["step"], record.data["cells_changed"], record.data["sample"]) == ("derive note by dash", 1, "note: NULL -> -")


def test_downstream_gets_the_types_of_the_contract(postgres: PostgresResource) -> None:
    """An input annotated with a contract arrives in its types."""
    seen: dict[str, str] = {}

    @etl_asset(schema="mart", rows=RowPolicy(built=True))
    def totals(clean_orders: DataFrame[Orders]) -> DataFrame[Strict]:
        seen.update({name: str(dtype) for name, dtype in clean_orders.dtypes.items()})
        return pd.DataFrame({"id": [1]})

    assert run([raw_orders(GOOD), orders, totals], postgres).success
    assert seen == {"id": "int64", "amount": "float64", "note": "str"}


def test_another_io_manager_just_gets_a_frame() -> None:
    """With an IO manager that is not ours the asset still works and passes on plain frames."""

    @dg.asset(ins={"clean_orders": dg.AssetIn(key=["clean", "orders"])})
    def plain(clean_orders: pd.DataFrame) -> int:
        return len(clean_orders)

    result = dg.materialize([raw_orders(GOOD), orders, plain], resources={"io_manager": dg.mem_io_manager})
    assert result.output_for_node("plain") == 3


def test_plain_dagster_assets_are_stored_too(postgres: PostgresResource) -> None:
    """A plain Dagster asset that returns a frame is stored with the types of its dtypes."""

    @dg.asset(key=["shop", "plain"])
    def plain() -> pd.DataFrame:
        return pd.DataFrame({"a": [1], "b": ["x"]})

    assert run([plain], postgres).success
    assert rows(postgres, "SELECT a, b FROM shop.plain") == [(1, "x")]


def test_resources_config_and_context_reach_the_function(postgres: PostgresResource) -> None:
    """Resources, config and context are handed over as Dagster does."""

    class Limit(dg.Config):
        rows: int = 2

    @etl_asset(schema="raw")
    def limited(context: dg.AssetExecutionContext, config: Limit, postgres: PostgresResource) -> DataFrame[Strict]:
        context.log.info("limited")
        return postgres.read_query("SELECT generate_series(1, 10) AS id").head(config.rows)

    assert run([limited], postgres).success
    assert rows(postgres, "SELECT count(*) FROM raw.limited") == [(2,)]


def test_none_of_our_errors_is_retried_unless_transient(postgres: PostgresResource) -> None:
    """Dagster runs a step again after a transient error only."""
    calls: list[str] = []
    policy = RetryPolicy(attempts=3, initial_seconds=0.0)

    @etl_asset(schema="raw", retry=policy)
    def unlucky() -> DataFrame[Strict]:
        calls.append("unlucky")
        if calls.count("unlucky") < 3:
            raise SourceUnavailableError("a source", "it sleeps.", "wait.")
        return pd.DataFrame({"id": [1]})

    @etl_asset(schema="raw", retry=policy)
    def wrong() -> DataFrame[Strict]:
        calls.append("wrong")
        return pd.DataFrame({"id": [0]})

    run([unlucky, wrong], postgres)
    assert (calls.count("unlucky"), calls.count("wrong")) == (3, 1)


def test_function_that_returns_no_frame(postgres: PostgresResource) -> None:
    """A function that returns something else is a clear failure."""

    @etl_asset(schema="raw")
    def nothing() -> DataFrame[Strict]:
        return None  # type: ignore[return-value]

    assert "returned a NoneType" in why(run([nothing], postgres))


def test_unreachable_database_names_the_asset() -> None:
    """When PostgreSQL cannot be reached the failure names the asset and the next step."""
    gone = PostgresResource(url="postgresql://etl:hidden-word@127.0.0.1:1/x", retry=Retry(attempts=1))
    said = why(run([raw_orders(GOOD)], gone))
    assert said.startswith("raw/orders: the database cannot be reached")
    assert "hidden-word" not in said


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: etl_asset(schema="raw")(lambda: None), "which contract"),
        (lambda: etl_asset(schema="clean")(_unnamed), "not clear which asset the parameter 'frame' is"),
        (lambda: etl_asset(schema="clean")(_two), "not clear whose rows"),
        (lambda: etl_asset(schema="clean", ins={"other": "a/b"})(_one), "are no parameters"),
        (lambda: etl_asset(schema="clean", rows=RowPolicy(carried_from="x"))(_one), "carried_from"),
    ],
)
def test_unclear_definitions_are_refused(make: Any, said: str) -> None:
    """What cannot work is an error at definition that says how to write it."""
    with pytest.raises(ContractDefinitionError, match=said):
        make()


def _unnamed(frame: pd.DataFrame) -> DataFrame[Strict]:
    return frame


def _two(raw_a: pd.DataFrame, raw_b: pd.DataFrame) -> DataFrame[Strict]:
    return raw_a


def _one(raw_a: pd.DataFrame) -> DataFrame[Strict]:
    return raw_a


def test_any_upstream_can_be_named(postgres: PostgresResource) -> None:
    """`ins` maps a parameter to any asset key."""

    @etl_asset(schema="clean", ins={"anything": "raw/orders"})
    def renamed(anything: pd.DataFrame) -> DataFrame[Orders]:
        return anything

    assert run([raw_orders(GOOD), renamed], postgres).success


def test_partitioned_assets_are_refused_clearly(postgres: PostgresResource) -> None:
    """A partitioned asset that does not say which rows a partition is would overwrite itself, so it is refused with the way out."""

    @dg.asset(key=["raw", "parts"], partitions_def=dg.StaticPartitionsDefinition(["a"]))
    def parts() -> pd.DataFrame:
        return GOOD

    result = dg.materialize(
        [parts], partition_key="a", resources={"io_manager": PostgresIOManager(postgres=postgres)}, raise_on_error=False
    )
    assert "nothing says which rows of the table a partition is" in why(result)


def test_references_check_counts_orphans(postgres: PostgresResource, database_url: str) -> None:
    """A references check counts rows and values without a partner, and NULL is none of them."""
    customers = dg.AssetSpec(key=["clean", "customers"])
    check = references_check("clean/orders", "note", references="clean/customers", key="name")
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA clean"))
        connection.execute(sa.text("CREATE TABLE clean.customers AS SELECT 'a' AS name"))
    engine.dispose()
    result = run([raw_orders(GOOD), orders, customers, check], postgres)
    evaluation = checks_of(result)["note_in_customers"]
    assert (evaluation.passed, evaluation.metadata["failed_rows"].value, evaluation.metadata["failed_values"].value) == (False, 1, 1)
    assert result.success


def test_attributes_do_not_leak_downstream(postgres: PostgresResource) -> None:
    """What travels with the frame to the IO manager is not on the frame that was loaded."""
    frame = pd.DataFrame({"id": [1]})

    @etl_asset(schema="raw")
    def one() -> DataFrame[Strict]:
        return frame

    run([one], postgres)
    assert frame.attrs == {}


@pytest.mark.parametrize("share", [40, -0.1, True, float("nan")])
def test_share_must_be_a_share(share: float) -> None:
    """A share beyond 0 to 1, such as 40 for 40 %, is refused: it would switch the gate off."""
    with pytest.raises(ContractDefinitionError, match="share from 0 to 1"):
        RowPolicy(most_quarantined=share)


def test_mistake_in_the_function_says_where(postgres: PostgresResource) -> None:
    """An exception of the function is a failure that names asset, error, file and line."""

    @etl_asset(schema="raw")
    def broken() -> DataFrame[Strict]:
        return pd.DataFrame({"id": [1]})["nope"].to_frame()

    said = why(run([broken], postgres))
    assert said.startswith("raw/broken: the function raised KeyError ('nope') in ")
    assert "test_assets.py line" in said


@pytest.mark.parametrize("change", [lambda frame: frame.drop(columns="amount"), lambda frame: None])
def test_every_failure_of_ours_is_in_the_ledger(postgres: PostgresResource, change: Any) -> None:
    """Wrong columns and missing frames are failed rows of the ledger, once each."""
    run([raw_orders(GOOD), _changed(change)], postgres)
    ledger = rows(postgres, "SELECT status, error_class FROM etl.loads WHERE asset = 'clean/orders'")
    assert ledger == [("failed", "ContractViolationError")]


class Wide(pa.DataFrameModel):
    """Ten columns of integers."""

    c0: int
    c1: int
    c2: int
    c3: int
    c4: int
    c5: int
    c6: int
    c7: int
    c8: int
    c9: int


def test_two_million_bad_cells(postgres: PostgresResource) -> None:
    """200,000 rows with ten bad cells each: every row is in the quarantine, counts are true, no event is larger than 50 KB."""
    good = pd.DataFrame({f"c{place}": ["1"] for place in range(10)}, dtype="str")
    bad = pd.DataFrame({f"c{place}": ["x"] * 200_000 for place in range(10)}, dtype="str")

    @etl_asset(schema="clean", rows=RowPolicy(most_quarantined=1))
    def wide() -> DataFrame[Wide]:
        """Nearly nothing but bad cells."""
        return pd.concat([good, bad], ignore_index=True)

    result = run([wide], postgres)
    assert result.success
    assert rows(postgres, "SELECT count(*), min(cardinality(rules)) FROM etl.quarantine") == [(200_000, 10)]
    assert checks_of(result)["columns_match"].metadata["failed_rows"].value == 2_000_000
    assert max(len(dg.serialize_value(event)) for event in result.all_events) < 50_000


def test_the_quarantine_is_shown_with_its_asset(postgres: PostgresResource) -> None:
    """The materialisation shows the first rows that are in quarantine, and the command for the others."""
    bad = pd.DataFrame({"id": ["x"], "amount": ["1"], "note": ["a"]})
    result = run([raw_orders(pd.concat([GOOD, bad])), orders], postgres)
    (event,) = result.asset_materializations_for_node("clean__orders")
    (row,) = event.metadata["quarantine"].records
    assert (row.data["position"], row.data["rules"]) == ("row 4", "id_type")
    assert event.metadata["quarantine_command"].value == "etl-assets quarantine list clean/orders"
