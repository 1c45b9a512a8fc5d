"""From MariaDB 10.11 and PostgreSQL 15 into PostgreSQL 15: columns of the same types, the loader, assets.

Not here: reading alone (`test_databases.py`), the loader against the embedded PostgreSQL 18 (`../loading/`).
"""

import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.connectors.incremental import Incremental
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import (
    ConfigurationError,
    SourceNotFoundError,
    UnstorableValueError,
)
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.options import WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import ColumnSpec, LoadIdentity, LoadRequest, ReplaceStrategy, TableRef, TableSpec
from etl_assets_tests.acceptance.database_servers import Postgres15
from etl_assets_tests.acceptance.databases import Server
from etl_assets_tests.connectors.places import executed
from etl_assets_tests.connectors.sql_values import MARIADB, POSTGRESQL, Case, cells

# -- columns, and from one database into the other ---------------------------------------------------------------------

LOCAL, INSTANT = "timestamp without time zone", "timestamp with time zone"
MARIADB_TYPES = {
    "a_bigint": "bigint", "an_integer": "integer", "a_mediumint": "integer", "a_tinyint": "smallint", "a_flag": "smallint",
    "an_unsigned": "numeric(20,0)", "an_unsigned_integer": "bigint", "money_like": "numeric(38,10)", "widest": "numeric(65,0)",
    "a_double": "double precision", "a_float": "real", "a_note": "text", "a_nul_byte": "text", "a_short": "text", "a_latin": "text",
    "a_day": "date", "a_local": LOCAL, "a_local_second": LOCAL, "an_instant": INSTANT, "a_span": "interval", "a_year": "smallint",
    "a_blob": "bytea", "some_bits": "bigint", "all_bits": "numeric(20,0)", "a_json": "text", "a_mood": "text", "some_moods": "text",
}  # fmt: skip


@pytest.mark.parametrize("case", MARIADB, ids=lambda case: case.name)
def test_mariadb_a_column_has_the_type_that_holds_it(matrix: Callable[[str], SqlResource], case: Case) -> None:
    """Each type is the PostgreSQL type that its values fit in; JSON is text there."""
    assert matrix("mariadb").columns(case.name).columns[1] == ColumnSpec(name="v", type=MARIADB_TYPES[case.name])


def test_mariadb_a_table_is_described_as_its_catalog_has_it(maria: Server) -> None:
    """Order, NOT NULL, key in its own order, comments and computed columns are those of the table, whatever its name."""
    maria.execute(
        "CREATE TABLE `Odd % \"Name\"` (b int NOT NULL COMMENT 'B: 100 %', `A %` varchar(3) NOT NULL, c decimal(9,2) DEFAULT 0, "
        "twice int AS (b * 2) STORED, PRIMARY KEY (`A %`, b)) COMMENT 'It''s odd'"
    )
    assert maria.source().columns('Odd % "Name"') == TableSpec(
        columns=(
            ColumnSpec(name="b", type="integer", nullable=False, comment="B: 100 %"),
            ColumnSpec(name="A %", type="text", nullable=False),
            ColumnSpec(name="c", type="numeric(9,2)"),
            ColumnSpec(name="twice", type="integer"),
        ),
        primary_key=("A %", "b"),
        comment="It's odd",
    )


@pytest.mark.parametrize("schema", [None, "nowhere"])
def test_columns_of_a_missing_table_are_an_error(server: Server, schema: str | None) -> None:
    """A table that is not there, or whose schema is not, is an error."""
    with pytest.raises(SourceNotFoundError):
        server.source().columns("absent", schema=schema)


def test_mariadb_a_column_without_a_known_type_is_named(maria: Server) -> None:
    """A type that no PostgreSQL type is known for is an error that names the column."""
    maria.execute("CREATE TABLE t (id int, place geometry)")
    with pytest.raises(ConfigurationError, match="column place"):
        maria.source().columns("t")


@pytest.fixture(scope="module")
def warehouse(postgres15: Postgres15) -> PostgresResource:
    """A PostgreSQL 15 to load into, one for the cases of this module."""
    postgres15.server.create_database("warehouse")
    return PostgresResource(url=postgres15.url("warehouse"))


def moved(source: SqlResource, case: Case, warehouse: PostgresResource, table: str) -> pd.DataFrame:
    """The rows of a case, loaded into columns that the source describes and read back."""
    load = LoadRequest(
        target=TableRef(schema="public", table=table),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset=f"public/{table}"),
        spec=source.columns(case.name),
    )
    warehouse.write(source.read_table(case.name), load)
    return warehouse.read_table(table).sort_values("place", ignore_index=True)


def numbers_as_text(column: "pd.Series[Any]") -> list[str]:
    """The values of a column, numbers as decimals whatever type they have, lengths of time in seconds."""
    return [
        "NULL" if pd.isna(value) is True
        else str(Decimal(str(value))) if isinstance(value, int | float | Decimal)
        else repr(value)
        for value in column.tolist()
    ]  # fmt: skip


STORED_AS_THEY_ARE = [case for case in MARIADB if case.name not in ("a_nul_byte", "a_span")]


@pytest.mark.parametrize("case", STORED_AS_THEY_ARE, ids=lambda case: case.name)
def test_rows_of_mariadb_are_stored_in_postgresql_exactly(
    matrix: Callable[[str], SqlResource], warehouse: PostgresResource, case: Case
) -> None:
    """What is read from MariaDB and loaded into the columns that it describes is read back with the same values."""
    source = matrix("mariadb")
    back = moved(source, case, warehouse, f"m_{case.name}")["v"]
    expected = source.read_query(f"SELECT v FROM {case.name} ORDER BY place")["v"]
    if case.name == "a_float":  # the shortest digits of a real, which is the same number
        back, expected = back.astype("float32"), expected.astype("float32")
    assert numbers_as_text(back) == numbers_as_text(expected)


def test_times_of_mariadb_are_stored_in_postgresql_exactly(matrix: Callable[[str], SqlResource], warehouse: PostgresResource) -> None:
    """TIME, which may be negative and longer than a day, is stored as an interval of that length."""
    (case,) = [case for case in MARIADB if case.name == "a_span"]
    moved(matrix("mariadb"), case, warehouse, "m_a_span")
    seconds = warehouse.read_rows("SELECT extract(epoch FROM v) FROM public.m_a_span ORDER BY place")
    expected = matrix("mariadb").read_query("SELECT v FROM a_span ORDER BY place")["v"]
    microseconds = [None if pd.isna(value) else value // pd.Timedelta(microseconds=1) for value in expected]
    assert [None if found is None else int(found * 10**6) for (found,) in seconds] == microseconds


def test_a_nul_in_a_text_of_mariadb_is_refused(matrix: Callable[[str], SqlResource], warehouse: PostgresResource) -> None:
    """PostgreSQL has no text with a NUL in it: an error of the load, never another text."""
    (case,) = [case for case in MARIADB if case.name == "a_nul_byte"]
    with pytest.raises(UnstorableValueError):
        moved(matrix("mariadb"), case, warehouse, "m_a_nul_byte")


@pytest.mark.parametrize("case", POSTGRESQL, ids=lambda case: case.name)
def test_rows_of_postgresql_15_come_back_exactly(matrix: Callable[[str], SqlResource], warehouse: PostgresResource, case: Case) -> None:
    """Read, described, loaded into PostgreSQL 15 and read back, every value is the same."""
    back = moved(matrix("15"), case, warehouse, f"p_{case.name}")["v"]
    if case.type.endswith("[]"):  # the loader gives lists, where the connector gives the text of the array
        back = warehouse.read_query(f"SELECT v::text AS v FROM p_{case.name} ORDER BY place")["v"]
    assert cells(back) == case.shown


# -- loads into PostgreSQL 15 ------------------------------------------------------------------------------------------


def orders(*rows: tuple[int, str | None]) -> pd.DataFrame:
    """Rows of the columns `id` and `note`."""
    return pd.DataFrame({"id": [i for i, _ in rows], "note": pd.Series([note for _, note in rows], dtype="str")})


def written(how: str, key: tuple[str, ...]) -> WriteOptions:
    """How rows are written; "insert" merges those whose key is not there."""
    if how == "insert":
        return WriteOptions.of({"write_mode": "merge", "merge_strategy": "insert_only", "primary_key": list(key)}, "test")
    return WriteOptions.of({"write_mode": how, "primary_key": list(key)}, "test")


FIRST = orders((1, "a"), (2, None))


def stored(target: PostgresResource, table: str = "public.t", columns: str = "id, note") -> list[tuple[Any, ...]]:
    """The rows of a table, in order."""
    return [tuple(row) for row in target.read_rows(f"SELECT {columns} FROM {table} ORDER BY 1, 2")]


@pytest.mark.parametrize(
    ("disposition", "key", "after"),
    [
        ("replace", ("id",), [(2, "b"), (3, "c")]),
        ("append", (), [(1, "a"), (2, "b"), (2, None), (3, "c")]),
        ("merge", ("id",), [(1, "a"), (2, "b"), (3, "c")]),
        ("insert", ("id",), [(1, "a"), (2, None), (3, "c")]),
    ],
)
def test_a_load_changes_the_table_as_it_says(
    target: PostgresResource, disposition: str, key: tuple[str, ...], after: list[tuple[Any, ...]]
) -> None:
    """Replace leaves the new rows, append adds them, merge replaces those of a key, insert keeps those."""
    for rows in (FIRST, orders((2, "b"), (3, "c"))):
        target.load(rows, table="t", options=written(disposition, key))
    assert stored(target) == after


@pytest.mark.parametrize("disposition", ["replace", "merge", "insert"])
def test_a_repeated_key_leaves_the_table(target: PostgresResource, disposition: str) -> None:
    """Two rows of one key in a load are an error, and the table is as it was."""
    target.load(FIRST, table="t", primary_key=("id",))
    with pytest.raises(UnstorableValueError):
        target.load(orders((3, "c"), (3, "d")), table="t", options=written(disposition, ("id",)))
    assert stored(target) == [(1, "a"), (2, None)]


def test_a_replace_swaps_the_table(target: PostgresResource) -> None:
    """Where nothing depends on the table a new one takes its place."""
    target.load(FIRST, table="t")
    assert target.load(FIRST, table="t").strategy is ReplaceStrategy.SWAP


def test_a_replace_under_a_view_keeps_the_table(target: PostgresResource) -> None:
    """Where a view depends on the table its rows are deleted and loaded anew, and the view shows the new ones."""
    target.load(FIRST, table="t")
    executed(target.url, "CREATE VIEW v AS SELECT * FROM t")
    strategy = target.load(orders((7, "g")), table="t").strategy
    assert (strategy, stored(target, "public.v")) == (ReplaceStrategy.DELETE, [(7, "g")])


def test_the_ledger_and_the_watermark_commit_with_the_rows(target: PostgresResource) -> None:
    """A load leaves one row in the ledger, and the watermark that it was given."""
    target.load(FIRST, table="t", disposition="append", watermarks={"orders by id": 2})
    ledger = stored(target, "etl.loads", "status, rows_loaded, target_table")
    assert (ledger, target.watermarks("public/t")) == ([("succeeded", 2, "public.t")], {"orders by id": 2})


def test_a_failed_load_is_in_the_ledger(target: PostgresResource) -> None:
    """A failed load leaves a ledger row with class and SQLSTATE."""
    with pytest.raises(UnstorableValueError):
        target.load(orders((1, "a"), (1, "b")), table="t", primary_key=("id",))
    assert stored(target, "etl.loads", "status, error_class, sqlstate") == [("failed", "UnstorableValueError", "23505")]


class Orders(pa.DataFrameModel):
    """Orders, one row per order."""

    id: int
    note: str = pa.Field(nullable=True)

    class Config:
        metadata = {"primary_key": ["id"]}


def orders_asset(write: str, **options: Any) -> dg.AssetsDefinition:
    """An asset that reads the orders of a shop in small batches."""

    how = {"write_mode": "merge", "merge_strategy": "insert_only"} if write == "insert" else {"write_mode": write}

    @etl_asset(schema="raw", name="orders", metadata=how, rows=RowPolicy(most_quarantined=0.9))
    def asset(shop: SqlResource) -> Iterator[DataFrame[Orders]]:
        yield from shop.read_table_batches("orders", columns=["id", "note"], rows=2, **options)

    return asset


def materialised(asset: dg.AssetsDefinition, shop: SqlResource, target: PostgresResource) -> bool:
    """Whether the asset was read from the shop and stored."""
    resources = {"io_manager": PostgresIOManager(postgres=target), "shop": shop}
    return dg.materialize([asset], resources=resources, raise_on_error=False).success


@pytest.mark.parametrize("write", ["replace", "merge", "insert"])
def test_a_key_that_two_batches_share_goes_to_the_quarantine(maria: Server, target: PostgresResource, write: str) -> None:
    """From MariaDB into PostgreSQL 15 batch by batch: rows of a key that came twice are kept aside, all others are loaded."""
    maria.execute("CREATE TABLE orders (id int, note text)", "INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'c'), (1, 'd'), (4, NULL)")
    assert materialised(orders_asset(write), maria.source(), target)
    assert stored(target, "raw.orders") == [(2, "b"), (3, "c"), (4, None)]
    assert stored(target, "etl.quarantine", "record->>'id', record->>'note', rules") == [
        ("1", "a", ["primary_key_unique"]), ("1", "d", ["primary_key_unique"]),
    ]  # fmt: skip


def test_an_asset_that_merges_adds_what_is_new(maria: Server, target: PostgresResource) -> None:
    """The second run reads above the watermark of the first one, in batches, and merges by key."""
    asset = orders_asset("merge", incremental=Incremental(column="version"))
    maria.execute(
        "CREATE TABLE orders (id int, note text, version bigint)", "INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)"
    )
    first = materialised(asset, maria.source(), target)
    maria.execute("UPDATE orders SET note = 'B', version = 4 WHERE id = 2", "INSERT INTO orders VALUES (4, 'd', 5)")
    second = materialised(asset, maria.source(), target)
    reads = [row[0] for row in target.read_rows("SELECT rows_read FROM etl.loads ORDER BY recorded_at")]
    assert (first, second, reads) == (True, True, [3, 2])
    assert stored(target, "raw.orders") == [(1, "a"), (2, "B"), (3, "c"), (4, "d")]


def test_a_plain_load_comes_back_whole(server: Server, target: PostgresResource) -> None:
    """A frame that was read, loaded as it is and read back is the same frame."""
    server.execute(
        "CREATE TABLE t (id bigint, price decimal(12,2), note varchar(20), day date, at timestamp(6))",
        "INSERT INTO t VALUES (9007199254740993, 1.50, 'é😀', '2024-02-29', '2026-03-01 12:00:00.000001')",
    )
    frame = server.source().read_table("t")
    target.load(frame, table="moved")
    pd.testing.assert_frame_equal(target.read_table("moved"), frame)
