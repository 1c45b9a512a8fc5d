"""A table changes its shape while views, foreign keys and generated columns hang on it; what people are told; names of every kind.

Not here: which changes there are (`test_shape.py`).
"""

from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import etl_asset
from etl_assets.errors import DatabaseRefusedError, EtlError, UnstorableValueError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.options import MergeStrategy, SchemaChange, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import LoadResult, ReplaceStrategy
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_shape_dependents")
    return PostgresResource(url=postgres_server.url("test_shape_dependents"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied."""
    run(
        database.url,
        "DROP SCHEMA IF EXISTS etl CASCADE",
        "DROP SCHEMA IF EXISTS shop CASCADE",
        "DROP SCHEMA public CASCADE",
        "CREATE SCHEMA public",
    )
    return database


OLD = pd.DataFrame({"id": np.array([1, 2], "int32"), "note": pd.Series(["a", "b"], dtype="str")})
WIDER = pd.DataFrame({"id": np.array([3, 4], "int64"), "note": pd.Series(["c", "d"], dtype="str")})
MORE = OLD.assign(id=np.array([3, 4], "int32"), extra=[1.5, 2.5])


def load(postgres: PostgresResource, rows: pd.DataFrame, disposition: str = "append", change: str | None = None) -> LoadResult:
    """Load rows into `public.t`."""
    options = WriteOptions(
        disposition=WriteDisposition(disposition), primary_key=("id",), schema_change=SchemaChange(change) if change else None
    )
    partition = {"note": ["c", "d", "a", "b"]} if disposition == "replace_partition" else None
    return postgres.load(rows, table="t", options=options, partition=partition)


def stored(postgres: PostgresResource, columns: str = "id, note") -> list[Row]:
    return run(postgres.url, f"SELECT {columns} FROM public.t ORDER BY 1")


def type_of_id(postgres: PostgresResource) -> str:
    query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = CAST('public.t' AS regclass) AND attname = 'id'"
    return str(run(postgres.url, query)[0][0])


# -- views -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["replace", "append", "merge", "replace_partition"])
def test_a_column_is_added_under_a_view(postgres: PostgresResource, how: str) -> None:
    """A column is added to a table that a view reads; the view stays and reads the new rows."""
    load(postgres, OLD)
    run(postgres.url, "CREATE VIEW public.v AS SELECT id, note FROM public.t")
    result = load(postgres, MORE, how)
    assert result.changes == "+extra double precision"
    assert run(postgres.url, "SELECT * FROM public.v WHERE id > 2 ORDER BY 1") == [(3, "a"), (4, "b")]


@pytest.mark.parametrize("how", ["replace", "append", "merge", "replace_partition"])
def test_a_column_that_a_view_reads_is_not_widened(postgres: PostgresResource, how: str) -> None:
    """PostgreSQL cannot change the type of a column under a view: the error names the view, and rows and type stay."""
    load(postgres, OLD)
    run(postgres.url, "CREATE VIEW public.totals AS SELECT id, note FROM public.t")
    with pytest.raises(DatabaseRefusedError, match=r"^public/t: .*view (public\.)?totals.*Next: "):
        load(postgres, WIDER, how)
    assert (stored(postgres), type_of_id(postgres)) == ([(1, "a"), (2, "b")], "integer")


def test_a_column_that_no_view_reads_is_widened(postgres: PostgresResource) -> None:
    """A view that reads other columns is no obstacle."""
    load(postgres, OLD)
    run(postgres.url, "CREATE VIEW public.notes AS SELECT note FROM public.t")
    load(postgres, WIDER)
    assert (type_of_id(postgres), run(postgres.url, "SELECT count(*) FROM public.notes")) == ("bigint", [(4,)])


def test_a_replace_under_a_view_keeps_a_column_that_is_gone(postgres: PostgresResource) -> None:
    """A replace that may not drop the table leaves a column that the rows do not have, with NULL in it, and says why it did so."""
    load(postgres, MORE)
    run(postgres.url, "CREATE VIEW public.v AS SELECT extra FROM public.t")
    result = load(postgres, OLD, "replace")
    assert (result.strategy, stored(postgres, "id, note, extra")) == (ReplaceStrategy.DELETE, [(1, "a", None), (2, "b", None)])


def test_a_table_under_a_view_is_not_made_anew(postgres: PostgresResource) -> None:
    """schema_change replace never drops a view: the error names the difference and the view, and the rows stay."""
    load(postgres, OLD)
    run(postgres.url, "CREATE VIEW public.v AS SELECT note FROM public.t")
    with pytest.raises(DatabaseRefusedError, match=r"note text -> bigint.*cannot be made anew without losing: view (public\.)?v\b"):
        load(postgres, OLD.assign(note=[1, 2]), "append", "replace")
    assert stored(postgres) == [(1, "a"), (2, "b")]


# -- foreign keys and generated columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["append", "merge"])
def test_a_key_that_others_reference_is_widened(postgres: PostgresResource, how: str) -> None:
    """The key of a referenced table is widened, and the foreign key holds on."""
    load(postgres, OLD)
    run(postgres.url, "CREATE TABLE public.child (id integer REFERENCES public.t)", "INSERT INTO public.child VALUES (1)")
    load(postgres, WIDER, how)
    assert (type_of_id(postgres), len(stored(postgres))) == ("bigint", 4)
    with pytest.raises(Exception, match="child_id_fkey"):
        run(postgres.url, "INSERT INTO public.child VALUES (9)")


def test_a_column_is_added_to_a_table_with_foreign_keys(postgres: PostgresResource) -> None:
    """A replace of a table that references another adds its column in place, and the foreign key stays."""
    load(postgres, OLD)
    run(
        postgres.url,
        "CREATE TABLE public.parent (note text PRIMARY KEY)",
        "INSERT INTO public.parent VALUES ('a'), ('b')",
        "ALTER TABLE public.t ADD CONSTRAINT ours FOREIGN KEY (note) REFERENCES public.parent",
    )
    result = load(postgres, MORE, "replace")
    assert (result.strategy, result.changes) == (ReplaceStrategy.DELETE, "+extra double precision")
    assert run(postgres.url, "SELECT count(*) FROM pg_constraint WHERE conname = 'ours'") == [(1,)]


def test_a_generated_column_of_others(postgres: PostgresResource) -> None:
    """A column that a generated one is computed from is not widened: the error names the generated column, and the rows stay."""
    load(postgres, OLD)
    run(postgres.url, "ALTER TABLE public.t ADD COLUMN twice integer GENERATED ALWAYS AS (id * 2) STORED")
    with pytest.raises(DatabaseRefusedError, match=r"^public/t: .*twice.*Next: "):
        load(postgres, WIDER)
    assert stored(postgres, "id, twice") == [(1, 2), (2, 4)]


# -- what people are told --------------------------------------------------------------------------------------------------------------


class Narrow(pa.DataFrameModel):
    """Rows."""

    id: pd.Int32Dtype


class Wide(pa.DataFrameModel):
    """Rows with one more column."""

    id: int
    extra: float = pa.Field(nullable=True)


def asset(model: Any, **metadata: Any) -> dg.AssetsDefinition:
    """An asset of a contract that appends."""

    def function() -> Any:
        return pd.DataFrame({name: [1] for name in model.to_schema().columns})

    function.__annotations__["return"] = DataFrame[model]
    return etl_asset(schema="shop", name="t", write="append", metadata=metadata)(function)


def materialize(postgres: PostgresResource, made: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    return dg.materialize([made], resources={"io_manager": PostgresIOManager(postgres=postgres)}, raise_on_error=False)


def unchanged(result: dg.ExecuteInProcessResult) -> tuple[bool, str, str | None]:
    """The check of the columns."""
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "columns_unchanged"]
    return check.passed, check.severity.value, check.description


def test_a_changed_table_is_told_in_dagster(postgres: PostgresResource) -> None:
    """The check columns_unchanged warns with each change, and passes for a new table and for the next load."""
    found = [unchanged(materialize(postgres, asset(model))) for model in (Narrow, Wide, Wide)]
    assert [passed for passed, _, _ in found] == [True, False, True]
    assert found[1][1:] == ("WARN", "The table changed: id integer -> bigint, +extra double precision")


def test_a_changed_table_is_told_of_the_materialisation(postgres: PostgresResource) -> None:
    """The materialisation says what changed, and shows the columns as they are now."""
    materialize(postgres, asset(Narrow))
    (event,) = materialize(postgres, asset(Wide)).asset_materializations_for_node("shop__t")
    schema: Any = event.metadata["dagster/column_schema"].value
    assert event.metadata["shape_changed"].value == "id integer -> bigint, +extra double precision"
    assert [(column.name, column.type) for column in schema.columns] == [("id", "bigint"), ("extra", "double precision")]


def test_a_change_that_is_forbidden_fails_the_asset(postgres: PostgresResource) -> None:
    """With schema_change fail the asset fails, names asset and difference, and the failed load is in the ledger."""
    materialize(postgres, asset(Narrow))
    result = materialize(postgres, asset(Wide, schema_change="fail"))
    data = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert data.user_failure_data is not None
    assert "shop/t: the table has another shape than the rows: " in str(data.user_failure_data.description)
    assert run(postgres.url, "SELECT status, error_class FROM etl.loads ORDER BY recorded_at") == [
        ("succeeded", None),
        ("failed", "DatabaseRefusedError"),
    ]


# -- names -------------------------------------------------------------------------------------------------------------------------------

NAMES = {
    "quotes": 'it\'s "quoted"',
    "spaces": " two  words ",
    "percent": "100%s %(a)s %%",
    "upper case": "Table",
    "braces": "{} {0}",
    "keyword": "select",
    "umlaut": "größe",
    "63 bytes": "x" * 63,
    "63 bytes of umlauts": "ü" * 31 + "x",
    "alias": "s",
    "dot": "a.b",
    "backslash": r"\N\x",
}


@pytest.mark.parametrize("how", ["replace", "append", "merge", "replace_partition", "scd2"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_are_taken_as_they_are(postgres: PostgresResource, name: str, how: str) -> None:
    """Tables and columns of any name are made, loaded again with one more column, and read back."""
    options = WriteOptions(
        disposition=WriteDisposition("merge" if how == "scd2" else how),
        primary_key=(name,) if how in ("merge", "scd2", "replace") else (),
        schema_change=SchemaChange.WIDEN,
    )
    if how == "scd2":
        options = WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=MergeStrategy.SCD2, primary_key=(name,))
    partition = {'"' + name.replace('"', '""') + '"': ["1", "2"]} if how == "replace_partition" else None
    other = name[:-1] + "z" if name != "s" else "t"
    first = pd.DataFrame({name: [1, 2], other: ["a", "b"]})
    postgres.load(first, table=name, options=options, partition=partition)
    postgres.load(first.assign(extra=1).replace({"b": "B"}), table=name, options=options, partition=partition)
    found = postgres.read_table(name, only_current=how == "scd2").sort_values([name, other])[[name, other]].to_numpy().tolist()
    before = [[1, "a"]] if how == "append" else []
    assert found == ([[1, "a"], *before, [2, "B"], [2, "b"]] if how == "append" else [[1, "a"], [2, "B"]])


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_schemas_of_any_name(postgres: PostgresResource, name: str) -> None:
    """A schema of any name is made and read from; the swap of a replace stays in it."""
    run(postgres.url, 'DROP SCHEMA IF EXISTS "' + name.replace('"', '""').replace(":", "\\:") + '" CASCADE')
    for _ in range(2):
        postgres.load(OLD, table="t", schema=name, options=WriteOptions(primary_key=("id",)))
    assert len(postgres.read_table("t", schema=name)) == 2


@pytest.mark.parametrize("what", ["table", "column"])
def test_names_that_postgresql_would_cut(postgres: PostgresResource, what: str) -> None:
    """A name above 63 bytes would be cut in silence, and meet others: it is refused with the limit."""
    name = "x" * 70
    rows = OLD.rename(columns={"note": name}) if what == "column" else OLD
    with pytest.raises(EtlError, match=r"(?s)x{63}.*63"):
        postgres.load(rows, table=name if what == "table" else "t")


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_replace_of_a_table_that_others_reference(postgres: PostgresResource, deferrable: bool) -> None:
    """Referenced rows may be away while a table is loaded anew where their constraint is deferrable; else the error says what to do."""
    rows = pd.DataFrame({"id": [1, 2]})
    postgres.load(rows, table="t", primary_key=["id"])
    run(
        postgres.url,
        f"CREATE TABLE public.child (t bigint CONSTRAINT of_t REFERENCES public.t {'DEFERRABLE' if deferrable else ''})",
        "INSERT INTO public.child VALUES (2)",
    )
    if deferrable:
        assert postgres.load(rows.assign(n=1), table="t", primary_key=["id"]).rows_loaded == 2
        with pytest.raises(UnstorableValueError, match="of_t"):
            postgres.load(rows.head(1).assign(n=2), table="t", primary_key=["id"])
    else:
        with pytest.raises(
            DatabaseRefusedError, match=r'of_t on public\.child.* Next: say write="merge", or make that foreign key DEFERRABLE'
        ):
            postgres.load(rows, table="t", primary_key=["id"])
    assert run(postgres.url, "SELECT id FROM public.t ORDER BY 1") == [(1,), (2,)]
