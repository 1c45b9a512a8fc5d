"""Append, merge and insert: what is in the table before and after, and that a load is stored once whatever becomes of its answer.

Not here: replace, values and the ledger (`test_writer.py`).
"""

import dataclasses
import datetime
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from etl_assets.errors import ConfigurationError, DatabaseRefusedError, UnstorableValueError
from etl_assets.loading.options import MergeStrategy, SchemaChange, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import ColumnSpec, LoadIdentity, LoadRequest, LoadResult, TableRef, TableSpec
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run
from etl_assets_tests.tcp_proxy import COMMIT, proxy_to

Row = tuple[Any, ...]

ORDERS = pd.DataFrame({"id": [1, 2, 3], "note": ["a", "b", None]})
# As it goes over the wire: kind, length, text.


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_dispositions")
    return PostgresResource(url=postgres_server.url("test_dispositions"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied: a new one for each test would take most of the time."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


def options(disposition: str, key: tuple[str, ...] = ()) -> WriteOptions:
    """How rows are written; "insert" adds those whose key is not there."""
    if disposition == "insert":
        return WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=MergeStrategy.INSERT_ONLY, primary_key=key)
    return WriteOptions(disposition=WriteDisposition(disposition), primary_key=key)


def request(
    disposition: str, types: dict[str, str], *, key: tuple[str, ...] = (), load_id: uuid.UUID | None = None, comment: str | None = None
) -> LoadRequest:
    """A load into `public.t` with the columns and types."""
    columns = tuple(ColumnSpec(name=name, type=type_, nullable=name not in key, comment=comment) for name, type_ in types.items())
    return LoadRequest(
        target=TableRef(schema="public", table="t"),
        identity=LoadIdentity(load_id=load_id or uuid.uuid4(), asset="public/t"),
        spec=TableSpec(columns=columns, primary_key=key, comment=comment),
        write=options(disposition),
    )


def append(postgres: PostgresResource, rows: pd.DataFrame = ORDERS) -> LoadResult:
    """Append rows to `public.t`, which has no key."""
    return postgres.load(rows, table="t", disposition="append")


def merge(postgres: PostgresResource, rows: pd.DataFrame = ORDERS, *, key: tuple[str, ...] = ("id",)) -> LoadResult:
    """Merge rows into `public.t` by `id`."""
    return postgres.load(rows, table="t", disposition="merge", primary_key=key)


def orders(*rows: tuple[int, str | None]) -> pd.DataFrame:
    """Rows of the columns `id` and `note`."""
    return pd.DataFrame({"id": [i for i, _ in rows], "note": pd.Series([note for _, note in rows], dtype="str")})


def stored(postgres: PostgresResource, columns: str = "id, note") -> list[Row]:
    """The rows of `public.t`, in order."""
    return run(postgres.url, f"SELECT {columns} FROM public.t ORDER BY 1, 2")


@pytest.fixture(params=["append", "merge", "insert"])
def disposition(request: pytest.FixtureRequest) -> str:
    """The dispositions that keep the rows that are there."""
    return str(request.param)


# -- all of them ---------------------------------------------------------------------------------------------------------------


def test_a_new_table_has_types_keys_and_comments(postgres: PostgresResource, disposition: str) -> None:
    """The first load makes the table as the contract wants it."""
    load = request(disposition, {"id": "bigint", "note": "character varying(5)"}, key=("id",), comment="What it is")
    postgres.write(ORDERS, load)
    made = run(
        postgres.url,
        """SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum),
                  obj_description(attrelid, 'pg_class'), (SELECT array_agg(contype::text || conname) FROM pg_constraint
                  WHERE conrelid = attrelid AND contype = 'p')
           FROM pg_attribute WHERE attrelid = 'public.t'::regclass AND attnum > 0 ORDER BY attnum""",
    )
    assert made == [
        ("id", "bigint", True, "What it is", "What it is", ["pt_pkey"]),
        ("note", "character varying(5)", False, "What it is", "What it is", ["pt_pkey"]),
    ]


def test_the_table_stays_the_same_one(postgres: PostgresResource, disposition: str) -> None:
    """Views, grants and whatever hangs on the table stay, because it is not made anew."""
    merge(postgres)
    before = run(postgres.url, "CREATE VIEW public.v AS SELECT * FROM public.t", "SELECT 'public.t'::regclass::oid")
    postgres.load(orders((4, "d")), table="t", options=options(disposition, ("id",)))
    assert run(postgres.url, "SELECT 'public.t'::regclass::oid") == before


@pytest.mark.parametrize(
    ("rows", "difference"),
    [
        (ORDERS.assign(extra=1), r"\+extra bigint"),
        (ORDERS.assign(note=1), "note text -> bigint"),
    ],
    ids=["one more", "another type"],
)
def test_another_shape_is_refused(postgres: PostgresResource, disposition: str, rows: pd.DataFrame, difference: str) -> None:
    """Where no change is allowed, rows of another shape are an error that names the differences."""
    merge(postgres)
    with pytest.raises(DatabaseRefusedError, match=difference):
        postgres.load(rows, table="t", options=dataclasses.replace(options(disposition, ("id",)), schema_change=SchemaChange.FAIL))


def test_another_shape_leaves_the_table(postgres: PostgresResource, disposition: str) -> None:
    """Where the shape is refused, rows and columns are as they were."""
    merge(postgres)
    with pytest.raises(DatabaseRefusedError):
        postgres.load(ORDERS.assign(note=1), table="t", options=options(disposition, ("id",)))
    assert stored(postgres, "*") == [(1, "a"), (2, "b"), (3, None)]


def test_columns_may_stand_in_another_order(postgres: PostgresResource, disposition: str) -> None:
    """Values go to the columns of their names, wherever these stand in the table."""
    merge(postgres)
    postgres.load(orders((4, "d"))[["note", "id"]], table="t", options=options(disposition, ("id",)))
    assert stored(postgres) == [(1, "a"), (2, "b"), (3, None), (4, "d")]


def test_a_column_that_the_table_computes_is_no_part_of_the_shape(postgres: PostgresResource, disposition: str) -> None:
    """A generated column needs no values from the rows, and has one afterwards."""
    run(postgres.url, "CREATE TABLE public.t (id bigint PRIMARY KEY, note text, twice bigint GENERATED ALWAYS AS (id * 2) STORED)")
    postgres.load(ORDERS, table="t", options=options(disposition, ("id",)))
    assert stored(postgres, "id, twice") == [(1, 2), (2, 4), (3, 6)]


def test_no_rows_change_nothing(postgres: PostgresResource, disposition: str) -> None:
    """An empty load is a load of the ledger, and the table stays."""
    merge(postgres)
    result = postgres.load(ORDERS.head(0), table="t", options=options(disposition, ("id",)))
    assert (result.rows_loaded, len(stored(postgres))) == (0, 3)


def test_the_ledger_names_the_disposition(postgres: PostgresResource, disposition: str) -> None:
    """The load ledger tells how the rows came into the table."""
    postgres.load(ORDERS, table="t", options=options(disposition, ("id",)))
    told = {"append": ("append", None), "merge": ("merge", "update"), "insert": ("merge", "insert_only")}[disposition]
    assert run(postgres.url, "SELECT disposition, strategy, rows_loaded, rows_changed FROM etl.loads") == [(*told, 3, 3)]


def test_a_load_that_fails_leaves_the_rows(postgres: PostgresResource, disposition: str) -> None:
    """A row that PostgreSQL refuses takes the others of its load with it, and no row of before."""
    merge(postgres)
    run(postgres.url, "ALTER TABLE public.t ADD CHECK (note <> 'x')")
    with pytest.raises(UnstorableValueError):
        postgres.load(orders((4, "d"), (5, "x")), table="t", options=options(disposition, ("id",)))
    assert stored(postgres) == [(1, "a"), (2, "b"), (3, None)]


def test_a_load_that_fails_is_in_the_ledger(postgres: PostgresResource, disposition: str) -> None:
    """A refused load leaves its class and SQLSTATE in the ledger."""
    run(postgres.url, "CREATE TABLE public.t (id bigint PRIMARY KEY, note text CHECK (note <> 'b'))")
    with pytest.raises(UnstorableValueError):
        postgres.load(ORDERS, table="t", options=options(disposition, ("id",)))
    assert run(postgres.url, "SELECT status, error_class, sqlstate FROM etl.loads") == [("failed", "UnstorableValueError", "23514")]


def test_an_unknown_disposition_is_refused(postgres: PostgresResource) -> None:
    """A misspelt disposition is an error that lists those there are."""
    with pytest.raises(ConfigurationError, match=r"'upsert' is unknown; known: \['replace', 'append', 'merge', 'replace_partition'\]"):
        postgres.load(ORDERS, table="t", disposition="upsert")


# -- once ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(postgres: PostgresResource) -> Iterator[tuple[PostgresResource, Any]]:
    """The database behind a proxy that can lose an answer, and that proxy."""
    url = make_url(postgres.url)
    assert url.port is not None
    with proxy_to(url.port) as proxy:
        yield PostgresResource(url=url.set(port=proxy.port).render_as_string(hide_password=False)), proxy


@pytest.mark.parametrize("how", ["replace", "append", "merge", "insert"])
def test_a_load_whose_answer_is_lost_is_stored_once(postgres: PostgresResource, proxied: tuple[PostgresResource, Any], how: str) -> None:
    """The server commits, the answer to COMMIT never arrives: the load finds itself committed and does not add its rows again."""
    behind, proxy = proxied
    append(postgres, orders((9, "z")))
    proxy.lose_answer_to = COMMIT
    types = {"id": "bigint", "note": "text"}
    result = behind.write(ORDERS, request(how, types, key=("id",) if how in ("merge", "insert") else ()))
    kept = [] if how == "replace" else [(9, "z")]
    assert (result.found_committed, result.rows_loaded, stored(postgres)) == (True, 3, [(1, "a"), (2, "b"), (3, None), *kept])


def test_a_load_whose_connection_is_lost_is_stored_once(
    postgres: PostgresResource, proxied: tuple[PostgresResource, Any], disposition: str
) -> None:
    """A connection that breaks before the commit takes the half load with it, and the next attempt stores all of it."""
    behind, proxy = proxied
    proxy.lose_answer_to = b"COPY"
    result = behind.load(ORDERS, table="t", options=options(disposition, ("id",)))
    assert (result.found_committed, stored(postgres)) == (False, [(1, "a"), (2, "b"), (3, None)])


def test_a_load_that_comes_twice_is_added_once(postgres: PostgresResource) -> None:
    """A load whose id is in the ledger does nothing when it is delivered again."""
    load = request("append", {"id": "bigint", "note": "text"}, load_id=uuid.uuid4())
    found = [postgres.write(ORDERS, load).found_committed for _ in range(2)]
    assert (found, len(stored(postgres))) == ([False, True], 3)


def test_two_loads_of_the_same_rows_are_added_twice(postgres: PostgresResource) -> None:
    """What counts is the load, not its rows: an append does not know whether equal rows are the same ones."""
    append(postgres)
    append(postgres)
    assert len(stored(postgres)) == 6


def test_loads_at_once_are_all_added(postgres: PostgresResource) -> None:
    """Four appends at once, the first of which makes the table, add all their rows."""
    threads = [threading.Thread(target=append, args=(postgres, orders(*((n, "x") for _ in range(100))))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run(postgres.url, "SELECT id, count(*) FROM public.t GROUP BY id ORDER BY id") == [(n, 100) for n in range(4)]


def test_an_append_keeps_to_the_key(postgres: PostgresResource) -> None:
    """A row whose key is there already is an error, and the others of its load are not added."""
    merge(postgres)
    with pytest.raises(UnstorableValueError, match="duplicate key"):
        append(postgres, orders((4, "d"), (1, "again")))
    assert stored(postgres) == [(1, "a"), (2, "b"), (3, None)]


# -- merge --------------------------------------------------------------------------------------------------------------


def versions(postgres: PostgresResource, key: str = "id") -> dict[Any, str]:
    """Which transaction wrote each row."""
    return {row[0]: row[1] for row in run(postgres.url, f"SELECT {key}, xmin::text FROM public.t")}


def test_a_merge_replaces_adds_and_keeps(postgres: PostgresResource) -> None:
    """A row of a key that is there replaces its row, one of a new key is added, rows of other keys stay."""
    merge(postgres)
    merge(postgres, orders((2, "changed"), (4, "new")))
    assert stored(postgres) == [(1, "a"), (2, "changed"), (3, None), (4, "new")]


def test_a_merge_leaves_unchanged_rows_alone(postgres: PostgresResource) -> None:
    """Rows that are the same are not written again; changed ones are."""
    merge(postgres)
    before = versions(postgres)
    merge(postgres, orders((1, "a"), (2, "changed"), (3, None)))
    after = versions(postgres)
    assert {i for i in before if before[i] != after[i]} == {2}


@pytest.mark.parametrize(("before", "after"), [(None, "x"), ("x", None), ("", None), (None, "")])
def test_a_merge_tells_null_from_a_value(postgres: PostgresResource, before: str | None, after: str | None) -> None:
    """NULL becomes a value and a value NULL."""
    merge(postgres, orders((1, before)))
    merge(postgres, orders((1, after)))
    assert stored(postgres) == [(1, after)]


SAME_AND_CHANGED = [
    ("json", '{"a": 1}', '{"a":1}'),
    ("jsonb", '{"a": 1.0}', '{"a": 1.00}'),
    ("numeric", Decimal("1.5"), Decimal("1.50")),
    ("numeric(12,2)", Decimal("1.50"), Decimal("1.51")),
    ("double precision", 0.0, -0.0),
    ("bytea", b"\0", b""),
    ("date", datetime.date(2026, 3, 1), datetime.date(2026, 3, 2)),
    ("timestamp with time zone", pd.Timestamp("2026-03-01T12:00Z"), pd.Timestamp("2026-03-01T12:00:00.000001Z")),
    ("uuid", str(uuid.UUID(int=1)), str(uuid.UUID(int=2))),
    ("integer[]", "{1,2}", "{2,1}"),
    ("interval", "24:00:00", "1 day"),
    ("point", "(1,2)", "(1,3)"),
    ("inet", "10.0.0.1", "10.0.0.2"),
    ("character(3)", "a", "b"),
    ("boolean", True, False),
]


def valued(value: Any) -> pd.DataFrame:
    """One row with a key and a value."""
    return pd.DataFrame({"id": [1], "v": [value]})


@pytest.mark.parametrize(("type_", "value", "changed"), SAME_AND_CHANGED, ids=[case[0] for case in SAME_AND_CHANGED])
def test_a_merge_stores_what_is_not_the_same(postgres: PostgresResource, type_: str, value: Any, changed: Any) -> None:
    """A value that differs in one digit, or in its text only, is stored as it was delivered, whatever the type takes for equal."""
    load = {"id": "bigint", "v": type_}
    postgres.write(valued(changed), request("replace", load, key=("id",)))
    expected = stored(postgres, "id, v::text")
    postgres.write(valued(value), request("replace", load, key=("id",)))
    postgres.write(valued(changed), request("merge", load, key=("id",)))
    assert stored(postgres, "id, v::text") == expected


@pytest.mark.parametrize(("type_", "value", "changed"), SAME_AND_CHANGED, ids=[case[0] for case in SAME_AND_CHANGED])
def test_a_merge_knows_what_is_the_same(postgres: PostgresResource, type_: str, value: Any, changed: Any) -> None:
    """The same value does not write its row again, in every type, also one without equality."""
    load = {"id": "bigint", "v": type_}
    postgres.write(valued(value), request("merge", load, key=("id",)))
    before = versions(postgres)
    postgres.write(valued(value), request("merge", load, key=("id",)))
    assert versions(postgres) == before


def test_a_merge_of_keys_alone_adds_new_ones(postgres: PostgresResource) -> None:
    """Where all columns are the key, there is nothing to change."""
    pairs = pd.DataFrame({"a": [1, 1], "b": ["x", "y"]})
    merge(postgres, pairs, key=("a", "b"))
    merge(postgres, pd.DataFrame({"a": [1, 2], "b": ["x", "x"]}), key=("a", "b"))
    assert stored(postgres, "a, b") == [(1, "x"), (1, "y"), (2, "x")]


def test_a_merge_by_several_columns(postgres: PostgresResource) -> None:
    """A key of two columns is the same when both are."""
    three = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "x"], "n": [1, 2, 3]})
    merge(postgres, three, key=("b", "a"))
    merge(postgres, pd.DataFrame({"a": [1], "b": ["y"], "n": [20]}), key=("b", "a"))
    assert stored(postgres, "a, b, n") == [(1, "x", 1), (1, "y", 20), (2, "x", 3)]


def test_a_merge_counts_what_was_delivered(postgres: PostgresResource) -> None:
    """The rows of a merge are those that were delivered, unchanged ones included."""
    merge(postgres)
    assert merge(postgres, orders((1, "a"), (4, "d"))).rows_loaded == 2


@pytest.mark.parametrize("how", ["merge", "insert"])
def test_rows_without_a_key_are_refused(postgres: PostgresResource, how: str) -> None:
    """Without a primary key nobody knows which rows are there: an error, and no table."""
    with pytest.raises(DatabaseRefusedError, match="needs a primary key"):
        postgres.load(ORDERS, table="t", options=options(how))
    assert run(postgres.url, "SELECT to_regclass('public.t') IS NULL") == [(True,)]


TABLES = {
    "new": (),
    "with a key": ("CREATE TABLE public.t (id bigint PRIMARY KEY, note text)",),
    "with the row": ("CREATE TABLE public.t (id bigint PRIMARY KEY, note text)", "INSERT INTO public.t VALUES (1, 'a')"),
    "without a key": ("CREATE TABLE public.t (id bigint, note text)",),
}


@pytest.mark.parametrize("table", TABLES)
def test_rows_that_share_a_key_are_one_clear_error(postgres: PostgresResource, table: str) -> None:
    """Of two rows with one key nobody knows which counts: the error names the key, the same one for every table."""
    for statement in TABLES[table]:
        run(postgres.url, statement)
    with pytest.raises(UnstorableValueError, match="2 rows share the primary key id=1, and the table keeps one"):
        merge(postgres, orders((1, "x"), (2, "y"), (1, "z")))


@pytest.mark.parametrize("table", ["with a key", "without a key"])
def test_rows_that_share_a_key_leave_the_table(postgres: PostgresResource, table: str) -> None:
    """None of the rows is stored, not even those whose key is theirs alone."""
    for statement in TABLES[table]:
        run(postgres.url, statement)
    with pytest.raises(UnstorableValueError):
        merge(postgres, orders((1, "x"), (2, "y"), (1, "z")))
    assert stored(postgres) == []


@pytest.mark.parametrize("table", TABLES)
def test_a_row_without_a_key_is_one_clear_error(postgres: PostgresResource, table: str) -> None:
    """NULL equals nothing, so a row without a key would be added again and again: an error that names the key, whatever the table."""
    for statement in TABLES[table]:
        run(postgres.url, statement)
    with pytest.raises(UnstorableValueError, match=r"row 2: null value in column \"id\"|a row has no primary key \(id=NULL\)"):
        merge(postgres, orders((1, "x"), (2, "y")).assign(id=pd.array([5, None], dtype="Int64")))


def test_an_insert_adds_new_rows_only(postgres: PostgresResource) -> None:
    """A row whose key is there stays as it is, one of a new key is added, and the load counts the added ones."""
    merge(postgres)
    before = versions(postgres)
    result = postgres.load(orders((2, "other"), (4, "new")), table="t", options=options("insert", ("id",)))
    after = versions(postgres)
    assert (result.rows_loaded, stored(postgres)) == (1, [(1, "a"), (2, "b"), (3, None), (4, "new")])
    assert {i: after[i] for i in before} == before


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(loads=st.lists(st.dictionaries(st.integers(0, 4), st.one_of(st.none(), st.sampled_from(["", "a", "b"]))), min_size=1, max_size=4))
def test_merges_hold_the_last_row_of_each_key(postgres: PostgresResource, loads: list[dict[int, str | None]]) -> None:
    """After any loads the table holds what a dictionary would."""
    run(postgres.url, "DROP TABLE IF EXISTS public.t")
    expected: dict[int, str | None] = {}
    for load in loads:
        merge(postgres, orders(*load.items()).astype({"id": "int64"}))
        expected.update(load)
    assert stored(postgres) == sorted(expected.items())
