"""Merge strategies: what update, insert_only, delete_insert and scd2 do to rows that are there, and what is told of it.

Not here: which values count as the same (`test_dispositions.py`), rows that PostgreSQL refuses (`test_refusals.py`).
"""

import datetime
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.errors import DatabaseRefusedError, EtlError, UnstorableValueError
from etl_assets.loading.options import MergeStrategy, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import LoadResult
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_merge_strategies")
    return PostgresResource(url=postgres_server.url("test_merge_strategies"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


def merge(
    postgres: PostgresResource,
    rows: pd.DataFrame,
    strategy: str = "update",
    *,
    key: tuple[str, ...] = ("id",),
    merge_key: tuple[str, ...] = (),
    close_absent: bool = False,
) -> LoadResult:
    """Merge rows into `public.t`."""
    options = WriteOptions(
        disposition=WriteDisposition.MERGE,
        merge_strategy=MergeStrategy(strategy),
        primary_key=key,
        merge_key=merge_key,
        close_absent=close_absent,
    )
    return postgres.load(rows, table="t", options=options)


def notes(*rows: tuple[int | None, str | None]) -> pd.DataFrame:
    """Rows of the columns `id` and `note`."""
    return pd.DataFrame({"id": pd.array([i for i, _ in rows], dtype="Int64"), "note": pd.Series([n for _, n in rows], dtype="str")})


def stored(postgres: PostgresResource, columns: str = "id, note") -> list[Row]:
    """Rows of `public.t` in order."""
    return run(postgres.url, f"SELECT {columns} FROM public.t ORDER BY {columns}")


def history(postgres: PostgresResource) -> list[Row]:
    """Versions in order: values, and whether they hold."""
    return run(postgres.url, "SELECT id, note, valid_to IS NULL FROM public.t ORDER BY id, valid_from")


def told(postgres: PostgresResource) -> list[Row]:
    """What the ledger says of the loads, in order."""
    return run(postgres.url, "SELECT strategy, rows_read, rows_loaded, rows_changed FROM etl.loads ORDER BY recorded_at")


# -- what each does, and what is told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "expected", "loaded", "changed"),
    [
        ("update", [(1, "a"), (2, "B"), (3, "c"), (4, "d")], 3, 2),
        ("insert_only", [(1, "a"), (2, "b"), (3, "c"), (4, "d")], 1, 1),
        ("delete_insert", [(1, "a"), (2, "B"), (3, "c"), (4, "d")], 3, 5),
    ],
)
def test_rows_of_the_load_meet_rows_that_are_there(
    postgres: PostgresResource, strategy: str, expected: list[Row], loaded: int, changed: int
) -> None:
    """One row is unchanged, one changed, one new, one not brought: table, result and ledger say what became of them."""
    merge(postgres, notes((1, "a"), (2, "b"), (3, "c")), strategy)
    result = merge(postgres, notes((1, "a"), (2, "B"), (4, "d")), strategy)
    assert (stored(postgres), result.rows_loaded, result.rows_changed, result.strategy) == (expected, loaded, changed, strategy)
    assert told(postgres)[-1] == (strategy, loaded, loaded, changed)


def test_versions_of_rows(postgres: PostgresResource) -> None:
    """scd2 ends the version of a changed row, begins a new one, leaves the unchanged and those that are not brought."""
    merge(postgres, notes((1, "a"), (2, "b"), (3, "c")), "scd2")
    result = merge(postgres, notes((1, "a"), (2, "B"), (4, "d")), "scd2")
    assert history(postgres) == [(1, "a", True), (2, "b", False), (2, "B", True), (3, "c", True), (4, "d", True)]
    assert (result.rows_loaded, result.rows_changed, told(postgres)[-1]) == (3, 3, ("scd2", 3, 3, 3))


@pytest.mark.parametrize(("strategy", "changed"), [("update", 0), ("insert_only", 0), ("delete_insert", 4), ("scd2", 0)])
def test_the_same_rows_again(postgres: PostgresResource, strategy: str, changed: int) -> None:
    """Rows that are there already are not written again, except by delete_insert."""
    merge(postgres, notes((1, "a"), (2, None)), strategy)
    before = run(postgres.url, "SELECT id, xmin::text, ctid::text FROM public.t ORDER BY 1")
    result = merge(postgres, notes((1, "a"), (2, None)), strategy)
    after = run(postgres.url, "SELECT id, xmin::text, ctid::text FROM public.t ORDER BY 1")
    assert (result.rows_changed, before == after) == (changed, changed == 0)


@pytest.mark.parametrize("strategy", list(MergeStrategy))
def test_no_rows(postgres: PostgresResource, strategy: MergeStrategy) -> None:
    """A load without rows changes nothing."""
    merge(postgres, notes((1, "a")), strategy.value)
    result = merge(postgres, notes().astype({"id": "Int64"}), strategy.value)
    assert (result.rows_loaded, result.rows_changed, stored(postgres)) == (0, 0, [(1, "a")])


# -- keys -----------------------------------------------------------------------------------------------------------------------

KEYLESS = "CREATE TABLE public.t (id bigint, note text, valid_from timestamptz DEFAULT now(), valid_to timestamptz)"


@pytest.mark.parametrize("strategy", list(MergeStrategy))
@pytest.mark.parametrize("made", ["here", "elsewhere"])
def test_a_row_without_a_key(postgres: PostgresResource, strategy: MergeStrategy, made: str) -> None:
    """NULL is no key, whoever made the table: the load is refused, naming the asset and the column, and the table stays."""
    if made == "here":
        merge(postgres, notes((1, "a")), strategy.value)
    else:
        run(postgres.url, KEYLESS, "INSERT INTO public.t VALUES (1, 'a')")
    with pytest.raises(UnstorableValueError, match=r'^public/t.*(null value in column "id"|no primary key \(id=NULL\)).*Next: '):
        merge(postgres, notes((2, "b"), (None, "c")), strategy.value)
    assert stored(postgres) == [(1, "a")]


@pytest.mark.parametrize("strategy", list(MergeStrategy))
def test_a_key_that_comes_twice(postgres: PostgresResource, strategy: MergeStrategy) -> None:
    """Two rows of one primary key in one load are refused by every strategy, and the table stays."""
    merge(postgres, notes((1, "a")), strategy.value)
    with pytest.raises(UnstorableValueError, match="^public/t: 2 rows share the primary key id=1, and the table keeps one.*Next: "):
        merge(postgres, notes((1, "x"), (2, "b"), (1, "y")), strategy.value)
    assert stored(postgres) == [(1, "a")]


@pytest.mark.parametrize("strategy", list(MergeStrategy))
def test_a_key_of_several_columns(postgres: PostgresResource, strategy: MergeStrategy) -> None:
    """Rows are the same when all columns of the key are; a part of the key that is NULL is refused by its name."""
    first = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "x"], "n": [1, 2, 3]})
    merge(postgres, first, strategy.value, key=("a", "b"))
    merge(postgres, pd.DataFrame({"a": [1, 2], "b": ["y", "y"], "n": [20, 4]}), strategy.value, key=("a", "b"))
    newest = "SELECT DISTINCT ON (a, b) a, b, n FROM public.t ORDER BY a, b, n DESC"
    kept = 2 if strategy is MergeStrategy.INSERT_ONLY else 20
    assert run(postgres.url, newest) == [(1, "x", 1), (1, "y", kept), (2, "x", 3), (2, "y", 4)]
    with pytest.raises(UnstorableValueError, match='null value in column "b"'):
        merge(postgres, pd.DataFrame({"a": [1], "b": pd.Series([None], dtype="str"), "n": [0]}), strategy.value, key=("a", "b"))


@pytest.mark.parametrize("strategy", list(MergeStrategy))
def test_a_merge_without_a_key(postgres: PostgresResource, strategy: MergeStrategy) -> None:
    """Without a key nobody knows which rows are the same: an error that names the strategy, and no table."""
    with pytest.raises(DatabaseRefusedError, match=rf"^public/t: a merge \({strategy.value}\) needs a primary key.*Next: "):
        merge(postgres, notes((1, "a")), strategy.value, key=())
    assert not postgres.has_table("t")


# -- delete_insert by a merge key -------------------------------------------------------------------------------------------------


def lines(*rows: tuple[int | None, int, str]) -> pd.DataFrame:
    """Lines of orders."""
    frame = pd.DataFrame(list(rows), columns=["order_id", "line", "item"])
    return frame.astype({"order_id": "Int64", "line": "int64", "item": "str"})


LINES = lines((1, 1, "a"), (1, 2, "b"), (2, 1, "c"))


@pytest.mark.parametrize("key", [("order_id", "line"), ()], ids=["with a primary key", "without"])
def test_all_lines_of_an_order(postgres: PostgresResource, key: tuple[str, ...]) -> None:
    """By merge_key all rows of an order are replaced together: a line that is gone is gone, other orders stay."""
    merge(postgres, LINES, "delete_insert", key=key, merge_key=("order_id",))
    result = merge(postgres, lines((1, 1, "A"), (3, 1, "d"), (3, 2, "e")), "delete_insert", key=key, merge_key=("order_id",))
    assert stored(postgres, "order_id, line, item") == [(1, 1, "A"), (2, 1, "c"), (3, 1, "d"), (3, 2, "e")]
    assert (result.rows_loaded, result.rows_changed) == (3, 5)


def test_lines_that_share_the_primary_key(postgres: PostgresResource) -> None:
    """The merge key may repeat, the primary key may not: the error names it, and the lines stay."""
    merge(postgres, LINES, "delete_insert", key=("order_id", "line"), merge_key=("order_id",))
    with pytest.raises(UnstorableValueError, match=r"^public/t.*(duplicate key|share the primary key).*Next: "):
        merge(postgres, lines((1, 1, "x"), (1, 1, "y")), "delete_insert", key=("order_id", "line"), merge_key=("order_id",))
    assert stored(postgres, "order_id, line, item") == [(1, 1, "a"), (1, 2, "b"), (2, 1, "c")]


def test_a_line_without_its_order(postgres: PostgresResource) -> None:
    """NULL in the merge key equals nothing, so the row would be added anew with each load: it is refused as what it is."""
    merge(postgres, LINES, "delete_insert", key=(), merge_key=("order_id",))
    with pytest.raises(UnstorableValueError, match=r"has no merge key \(order_id=NULL\)"):
        merge(postgres, lines((None, 1, "x")), "delete_insert", key=(), merge_key=("order_id",))
    assert len(stored(postgres, "order_id")) == 3


def test_a_merge_key_of_no_column(postgres: PostgresResource) -> None:
    """A merge key that names no column is an error with the columns there are."""
    with pytest.raises(DatabaseRefusedError, match=r"merge_key names \['order'\]; columns: \['order_id', 'line', 'item'\]"):
        merge(postgres, LINES, "delete_insert", key=(), merge_key=("order",))


# -- scd2 -------------------------------------------------------------------------------------------------------------------------


def test_the_times_of_versions_meet(postgres: PostgresResource) -> None:
    """Where one version ends the next begins, without a gap or an overlap; two changes in a row make three versions."""
    for note in ("a", "b", "c"):
        merge(postgres, notes((1, note)), "scd2")
    found = run(
        postgres.url,
        """SELECT note, valid_from < coalesce(valid_to, 'infinity'),
                  valid_to IS NOT DISTINCT FROM lead(valid_from) OVER (ORDER BY valid_from)
           FROM public.t ORDER BY valid_from""",
    )
    assert found == [("a", True, True), ("b", True, True), ("c", True, True)]


def test_a_value_that_comes_back(postgres: PostgresResource) -> None:
    """A row that takes an earlier value again has a new version of it."""
    for note in ("a", "b", "a"):
        merge(postgres, notes((1, note)), "scd2")
    assert history(postgres) == [(1, "a", False), (1, "b", False), (1, "a", True)]


def test_rows_that_are_absent_end(postgres: PostgresResource) -> None:
    """With close_absent a row that a load does not bring ends, and a key that reappears begins anew, the same values or not."""
    merge(postgres, notes((1, "a"), (2, "b")), "scd2", close_absent=True)
    ended = merge(postgres, notes((2, "b")), "scd2", close_absent=True)
    back = merge(postgres, notes((1, "a"), (2, "b")), "scd2", close_absent=True)
    assert history(postgres) == [(1, "a", False), (1, "a", True), (2, "b", True)]
    assert [(one.rows_loaded, one.rows_changed) for one in (ended, back)] == [(1, 1), (2, 1)]


def test_an_empty_delivery_ends_all(postgres: PostgresResource) -> None:
    """With close_absent an empty load ends every row, for that is what it says."""
    merge(postgres, notes((1, "a"), (2, "b")), "scd2", close_absent=True)
    result = merge(postgres, notes().astype({"id": "Int64"}), "scd2", close_absent=True)
    assert (history(postgres), result.rows_changed) == ([(1, "a", False), (2, "b", False)], 2)


def test_only_the_versions_that_hold_are_read(postgres: PostgresResource) -> None:
    """Reading the current rows gives each key once, in the columns of the asset."""
    merge(postgres, notes((1, "a"), (2, "b")), "scd2")
    merge(postgres, notes((1, "A")), "scd2")
    current = postgres.read_table("t", only_current=True).sort_values("id")
    assert (list(current.columns), current.to_numpy().tolist()) == (["id", "note"], [[1, "A"], [2, "b"]])


def test_the_table_lets_one_version_hold(postgres: PostgresResource) -> None:
    """The table itself refuses a second version that holds, whoever writes it."""
    merge(postgres, notes((1, "a")), "scd2")
    with pytest.raises(Exception, match="t_id_now"):
        run(postgres.url, "INSERT INTO public.t VALUES (1, 'b', now() + interval '1 day')")


def test_a_column_that_is_called_like_a_time(postgres: PostgresResource) -> None:
    """Rows that have a column `valid_from` of their own cannot be versioned: the error names it."""
    rows = notes((1, "a")).assign(valid_from=datetime.date(2026, 1, 1))
    with pytest.raises(EtlError, match=r"^public/t: .*valid_from.*scd2.*Next: "):
        merge(postgres, rows, "scd2")
    assert not postgres.has_table("t")


def test_a_table_without_versions_becomes_no_history_by_itself(postgres: PostgresResource) -> None:
    """A table with one row per key cannot keep versions: the load is refused with what to do, and the rows stay."""
    merge(postgres, notes((1, "a")))
    with pytest.raises(EtlError, match=r"^public/t: .*(primary key|version|valid_from).*Next: "):
        merge(postgres, notes((1, "b")), "scd2")
    assert stored(postgres) == [(1, "a")]


# -- tables made elsewhere ----------------------------------------------------------------------------------------------------------

EXTRA = """CREATE TABLE public.t (
    number bigint GENERATED ALWAYS AS IDENTITY, id bigint PRIMARY KEY, note text, made text NOT NULL DEFAULT 'by hand',
    twice bigint GENERATED ALWAYS AS (id * 2) STORED, free text)"""


@pytest.mark.parametrize("strategy", ["update", "insert_only", "delete_insert"])
def test_columns_of_others_are_filled(postgres: PostgresResource, strategy: str) -> None:
    """Identity, default and generated columns that the rows do not have are filled by the server in new rows."""
    run(postgres.url, EXTRA)
    merge(postgres, notes((1, "a"), (2, "b")), strategy)
    assert stored(postgres, "id, note, number, made, twice, free") == [(1, "a", 1, "by hand", 2, None), (2, "b", 2, "by hand", 4, None)]


def test_columns_of_others_stay(postgres: PostgresResource) -> None:
    """An update touches the columns of the rows only."""
    run(postgres.url, EXTRA, "INSERT INTO public.t (id, note, made, free) VALUES (1, 'a', 'before', 'mine')")
    merge(postgres, notes((1, "A")))
    assert stored(postgres, "number, id, note, made, free") == [(1, 1, "A", "before", "mine")]


def test_triggers_fire_for_what_changes(postgres: PostgresResource) -> None:
    """Row triggers see new and changed rows, not those that stay the same."""
    run(
        postgres.url,
        "CREATE TABLE public.t (id bigint PRIMARY KEY, note text)",
        "CREATE TABLE public.seen (what text, id bigint)",
        """CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO public.seen VALUES (TG_OP, NEW.id); RETURN NEW; END'""",
        "INSERT INTO public.t VALUES (1, 'a'), (2, 'b')",
        "CREATE TRIGGER look BEFORE INSERT OR UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION public.look()",
    )
    merge(postgres, notes((1, "a"), (2, "B"), (3, "c")))
    assert run(postgres.url, "SELECT what, id FROM public.seen ORDER BY id") == [("UPDATE", 2), ("INSERT", 3)]


CHILD = (
    "CREATE TABLE public.t (id bigint PRIMARY KEY, note text)",
    "INSERT INTO public.t VALUES (1, 'a'), (2, 'b')",
    "CREATE TABLE public.child (id bigint REFERENCES public.t)",
    "INSERT INTO public.child VALUES (1)",
)


@pytest.mark.parametrize("strategy", ["update", "insert_only"])
def test_rows_that_others_reference(postgres: PostgresResource, strategy: str) -> None:
    """A row that a foreign key references is updated in place."""
    run(postgres.url, *CHILD)
    merge(postgres, notes((1, "A"), (3, "c")), strategy)
    assert stored(postgres) == [(1, "A" if strategy == "update" else "a"), (2, "b"), (3, "c")]


def test_a_referenced_row_cannot_be_deleted(postgres: PostgresResource) -> None:
    """delete_insert of a row that others reference is refused by the name of the foreign key, and the table stays."""
    run(postgres.url, *CHILD)
    with pytest.raises(EtlError, match=r"^public/t.*child_id_fkey.*Next: "):
        merge(postgres, notes((1, "A")), "delete_insert")
    assert stored(postgres) == [(1, "a"), (2, "b")]


# -- models -------------------------------------------------------------------------------------------------------------------------

LOADS = st.lists(st.dictionaries(st.integers(0, 3), st.sampled_from([None, "", "a", "b"]), max_size=4), min_size=1, max_size=4)
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(loads=LOADS, strategy=st.sampled_from(["update", "insert_only", "delete_insert"]))
def test_a_merge_is_a_dictionary(postgres: PostgresResource, loads: list[dict[int, str | None]], strategy: str) -> None:
    """After any loads the table holds what a dictionary would: of the last one, or the first for insert_only."""
    run(postgres.url, "DROP TABLE IF EXISTS public.t")
    expected: dict[int, str | None] = {}
    for load in loads:
        merge(postgres, notes(*load.items()), strategy)
        expected = {**load, **expected} if strategy == "insert_only" else {**expected, **load}
    assert dict(run(postgres.url, "SELECT id, note FROM public.t")) == expected


@FEW
@given(loads=LOADS, close_absent=st.booleans())
def test_a_history_is_a_list_of_versions(postgres: PostgresResource, loads: list[dict[int, str | None]], close_absent: bool) -> None:
    """After any loads the table holds the versions that a list of them would, and changed as many rows as differ."""
    run(postgres.url, "DROP TABLE IF EXISTS public.t")
    versions: list[list[Any]] = []
    changed = []
    for load in loads:
        before = [list(version) for version in versions]
        for version in versions:
            key, note, holds = version
            if holds and (load[key] != note if key in load else close_absent):
                version[2] = False
        ended = sum(old != new for old, new in zip(before, versions, strict=True))
        current = {version[0] for version in versions if version[2]}
        new = [[key, note, True] for key, note in load.items() if key not in current]
        versions += new
        changed.append((merge(postgres, notes(*load.items()), "scd2", close_absent=close_absent).rows_changed, ended + len(new)))
    assert [(row[0], row[1], row[2]) for row in history(postgres)] == [tuple(v) for v in sorted(versions, key=lambda version: version[0])]
    assert [found for found, _ in changed] == [wanted for _, wanted in changed]
