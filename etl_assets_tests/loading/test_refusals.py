"""Rows that only PostgreSQL can refuse: found one by one, kept with their reason, and the others loaded; in every way of writing.

Not here: the same in assets (`test_refusals_in_assets.py`), rows that break a contract (`test_quarantine.py`).
"""

import json
import time
import uuid
from typing import Any

import pandas as pd
import pytest
from sqlalchemy.engine import make_url

from etl_assets.errors import DatabaseRefusedError, EtlError, UnstorableValueError
from etl_assets.loading.options import MergeStrategy, WriteDisposition, WriteOptions
from etl_assets.loading.partitions import Partition
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.rows import KeptRefusals, Rows
from etl_assets.loading.table import ColumnSpec, LoadIdentity, LoadRequest, LoadResult, TableRef, TableSpec
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_refusals")
    return PostgresResource(url=postgres_server.url("test_refusals"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


PARENT = ("CREATE TABLE public.parent (v bigint PRIMARY KEY)", "INSERT INTO public.parent VALUES (1), (3), (7)")
TRIGGER = (
    """CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN IF NEW.v = 13 THEN RAISE EXCEPTION ''13 is unlucky''; END IF; RETURN NEW; END'""",
    "CREATE TRIGGER look BEFORE INSERT OR UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION public.look()",
)
# Each with the column v, a good value, a bad one, the rule it breaks, and what PostgreSQL or the encoder says of it.
CASES: dict[str, tuple[str, Any, Any, str, str]] = {
    "check": ("bigint CONSTRAINT positive CHECK (v > 0)", 1, -1, "positive", "(SQLSTATE 23514)"),
    "not null": ("bigint NOT NULL", 1, None, "v_not_null", "(SQLSTATE 23502)"),
    "foreign key": ("bigint CONSTRAINT known REFERENCES public.parent", 1, 99, "known", "(SQLSTATE 23503)"),
    "deferred": ("bigint CONSTRAINT known REFERENCES public.parent DEFERRABLE INITIALLY DEFERRED", 1, 99, "known", "(SQLSTATE 23503)"),
    "trigger": ("bigint", 1, 13, "storable", "13 is unlucky (SQLSTATE P0001)"),
    "NUL": ("text", "a", "a\0b", "v_storable", "(SQLSTATE 22021)"),
    "length": ("varchar(3)", "abc", "abcd", "v_storable", "it is too long: 4 characters"),
    "smallint": ("smallint", 1, 70_000, "v_storable", "cannot be stored exactly as smallint"),
    "numeric": ("numeric(3,1)", 1.5, 1000.5, "v_storable", "cannot be stored exactly as numeric(3,1)"),
    "domain": ("public.small", "1", "1000", "small_check", "(SQLSTATE 23514)"),
    "uuid": ("uuid", "00000000-0000-0000-0000-000000000001", "no", "v_storable", "cannot be stored exactly as uuid"),
    "jsonb": ("jsonb", '{"a": 1}', "{a", "v_storable", "(SQLSTATE 22P02)"),
    "jsonb with NUL": ("jsonb", '{"a": 1}', '{"a": "\\u0000"}', "v_storable", "(SQLSTATE 22P05)"),
    "inet": ("inet", "10.0.0.1", "10.0.0", "v_storable", "(SQLSTATE 22P02)"),
    "interval": ("interval", "1 day", "1 dog", "v_storable", "(SQLSTATE 22007)"),
    "unique": ("bigint CONSTRAINT once UNIQUE", 1, 7, "once", "(SQLSTATE 23505)"),
    "exclude": ("bigint, CONSTRAINT apart EXCLUDE USING btree (v WITH =)", 1, 7, "apart", "(SQLSTATE 23P01)"),
}
WAYS = ["append", "replace", "update", "insert_only", "delete_insert", "replace_partition"]
SEEN_BY_OTHERS = ("unique", "exclude")
# Types that no dtype of pandas names; a contract does.
NAMED_TYPES = ("public.small", "uuid", "jsonb", "inet", "interval")
# A replace deletes the rows that would be in the way.
ALL = [(way, case) for way in WAYS for case in CASES if not (way == "replace" and case in SEEN_BY_OTHERS)]


def prepare(postgres: PostgresResource, case: str) -> None:
    """A table that somebody made, with a row in it and a view over it."""
    column, good, *_ = CASES[case]
    there = "7" if column.startswith("bigint") else f"'{good}'"
    run(
        postgres.url,
        *PARENT,
        "CREATE DOMAIN public.small AS integer CHECK (VALUE < 100)",
        f"CREATE TABLE public.t (id bigint PRIMARY KEY, v {column})",
        f"INSERT INTO public.t VALUES (100, {there})".replace(":", "\\:"),
        "CREATE VIEW public.watcher AS SELECT * FROM public.t",
    )
    if case == "trigger":
        run(postgres.url, *TRIGGER)


def frame(values: list[Any]) -> pd.DataFrame:
    """Rows of `id` from 1 on and `v`."""
    column: Any = pd.array(values, dtype="Int64") if all(isinstance(v, int) or v is None for v in values) else pd.Series(values)
    return pd.DataFrame({"id": range(1, len(values) + 1), "v": column})


def load(postgres: PostgresResource, rows: pd.DataFrame, way: str, most: float = 0.5) -> LoadResult:
    """Load rows into `public.t`; a partition is the ids up to 50."""
    strategy = MergeStrategy(way) if way in ("update", "insert_only", "delete_insert") else MergeStrategy.UPDATE
    disposition = WriteDisposition(way) if way in ("append", "replace", "replace_partition") else WriteDisposition.MERGE
    options = WriteOptions(
        disposition=disposition, merge_strategy=strategy, primary_key=("id",) if disposition is WriteDisposition.MERGE else ()
    )
    partition = {"id <= 50": "true"} if way == "replace_partition" else None
    query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = CAST('public.t' AS regclass) AND attname = 'v'"
    ((type_,),) = run(postgres.url, query)
    if type_ in (*NAMED_TYPES, "small"):
        kept = KeptRefusals(lambda: [rows], most=most, where="public/t")
        request = LoadRequest(
            target=TableRef(schema="public", table="t"),
            identity=LoadIdentity(load_id=uuid.uuid4(), asset="public/t"),
            spec=TableSpec(
                columns=(ColumnSpec(name="id", type="bigint"), ColumnSpec(name="v", type=type_)), primary_key=options.primary_key
            ),
            write=options,
            partition=Partition.of(partition) if partition else None,
        )
        return postgres.write(Rows(kept.frames, reception=kept) if most else Rows(lambda: [rows]), request)
    return postgres.load(rows, table="t", options=options, partition=partition, most_quarantined=most)


def ids(postgres: PostgresResource) -> list[int]:
    return [row[0] for row in run(postgres.url, "SELECT id FROM public.t ORDER BY 1")]


def kept(postgres: PostgresResource) -> list[Row]:
    """The quarantine: where a row stood, its id, its rules."""
    return run(postgres.url, "SELECT source_position, CAST(record->>'id' AS int), rules FROM etl.quarantine ORDER BY id")


# -- one bad row ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "case"), ALL, ids=[f"{way}-{case}" for way, case in ALL])
def test_a_bad_row_is_kept_and_the_others_loaded(postgres: PostgresResource, way: str, case: str) -> None:
    """The bad row is in the quarantine under its rule with what was said of it, the rows before and after it are in the table."""
    prepare(postgres, case)
    _, good, bad, rule, says = CASES[case]
    result = load(postgres, frame([good, bad] if case in SEEN_BY_OTHERS else [good, bad, good]), way)
    loaded = [1] if case in SEEN_BY_OTHERS else [1, 3]
    assert ids(postgres) == loaded + ([] if way == "replace" else [100])
    (row,) = run(postgres.url, "SELECT record->>'id', rules, message FROM etl.quarantine")
    assert (row[:2], says in row[2]) == (("2", [rule]), True), row
    assert (result.rows_loaded, result.rows_refused, result.rows_changed) == (len(loaded), 1, len(loaded) + (way == "replace"))
    counts = run(postgres.url, "SELECT status, rows_read, rows_loaded, rows_quarantined FROM etl.loads")
    assert counts == [("succeeded", len(loaded) + 1, len(loaded), 1)]


@pytest.mark.parametrize(("way", "case"), ALL, ids=[f"{way}-{case}" for way, case in ALL])
def test_a_bad_row_without_a_quarantine(postgres: PostgresResource, way: str, case: str) -> None:
    """Where no row may be kept aside the load fails with what was said, asset and next step, and the table is as it was."""
    prepare(postgres, case)
    _, good, bad, _, says = CASES[case]
    with pytest.raises(UnstorableValueError) as caught:
        load(postgres, frame([good, bad]), way, most=0.0)
    text = str(caught.value)
    assert (text.startswith("public/t"), says in text, "Next: " in text) == (True, True, True), text
    assert (ids(postgres), run(postgres.url, "SELECT status FROM etl.loads")) == ([100], [("failed",)])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["check", "foreign key", "trigger"])
def test_a_bad_row_has_its_place(postgres: PostgresResource, way: str, case: str) -> None:
    """Whatever refused the row, and however it was written, the quarantine says where it stood."""
    prepare(postgres, case)
    _, good, bad, rule, _ = CASES[case]
    load(postgres, frame([good, good, bad, good]), way)
    assert kept(postgres) == [("row 3", 3, [rule])]


# -- where the bad rows are -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["check", "foreign key", "smallint"])
@pytest.mark.parametrize("bad_ids", [[1], [6], [1, 6], [1, 2], [5, 6], [2, 4, 6]], ids=str)
def test_bad_rows_at_any_place(postgres: PostgresResource, way: str, case: str, bad_ids: list[int]) -> None:
    """The first row, the last one, neighbours: exactly the bad rows are kept aside."""
    prepare(postgres, case)
    _, good, bad, _, _ = CASES[case]
    load(postgres, frame([bad if i in bad_ids else good for i in range(1, 7)]), way)
    there = [i for i in range(1, 7) if i not in bad_ids]
    assert ids(postgres) == there + ([] if way == "replace" else [100])
    assert sorted(row[1] for row in kept(postgres)) == bad_ids


@pytest.mark.parametrize("way", WAYS)
def test_all_rows_are_bad(postgres: PostgresResource, way: str) -> None:
    """A load of bad rows alone is stored where all of it may be kept aside; a replace leaves an empty table then."""
    prepare(postgres, "check")
    result = load(postgres, frame([-1, -2, -3]), way, most=1.0)
    assert (result.rows_loaded, result.rows_refused, ids(postgres)) == (0, 3, [] if way == "replace" else [100])


@pytest.mark.parametrize("way", WAYS)
def test_too_many_bad_rows(postgres: PostgresResource, way: str) -> None:
    """Above the share that may be kept aside nothing is loaded: the error gives numbers, share and the first row; the table stays."""
    prepare(postgres, "foreign key")
    with pytest.raises(UnstorableValueError, match=r"^public/t: 2 of 3 rows cannot be stored \(at most 50.0% may\), the first.*Next: "):
        load(postgres, frame([99, 1, 98]), way)
    assert (ids(postgres), run(postgres.url, "SELECT status, rows_loaded FROM etl.loads")) == ([100], [("failed", None)])


@pytest.mark.parametrize("way", WAYS)
def test_of_two_rows_that_clash_the_first_stays(postgres: PostgresResource, way: str) -> None:
    """Two rows of a load with one unique value: the one that came first is stored, the other is kept aside."""
    prepare(postgres, "unique")
    load(postgres, frame([5, 6, 5, 8]), way)
    assert ([i for i in ids(postgres) if i < 50], [row[1:] for row in kept(postgres)]) == ([1, 2, 4], [(3, ["once"])])


def test_rows_that_clash_with_a_row_that_is_replaced(postgres: PostgresResource) -> None:
    """A row that takes the unique value of a row that the partition drops is a good one."""
    prepare(postgres, "unique")
    run(postgres.url, "INSERT INTO public.t VALUES (1, 5)")
    result = load(postgres, frame([4, 5]), "replace_partition")
    assert (result.rows_refused, run(postgres.url, "SELECT * FROM public.t ORDER BY 1")) == (0, [(1, 4), (2, 5), (100, 7)])


@pytest.mark.parametrize("way", ["append", "update"])
@pytest.mark.parametrize("case", ["check", "foreign key"])
def test_many_bad_rows_among_many(postgres: PostgresResource, way: str, case: str) -> None:
    """500 bad rows among 20,000 are found in less than a minute, and all others are stored."""
    prepare(postgres, case)
    _, good, bad, _, _ = CASES[case]
    started = time.perf_counter()
    result = load(postgres, frame([bad if i % 40 == 7 else good for i in range(20_000)]).assign(id=range(1000, 21_000)), way)
    seconds = time.perf_counter() - started
    assert (result.rows_loaded, result.rows_refused) == (19_500, 500)
    assert {(row[1] - 1000) % 40 for row in kept(postgres)} == {7}
    assert seconds < 60


def test_several_frames(postgres: PostgresResource) -> None:
    """Positions count through all frames of a load."""
    prepare(postgres, "check")
    postgres.load([frame([1, 1]), frame([1, -1]).assign(id=[3, 4])], table="t", disposition="append", most_quarantined=0.5)
    assert (ids(postgres), kept(postgres)) == ([1, 2, 3, 100], [("row 4", 4, ["positive"])])


def test_the_record_is_as_it_was_given(postgres: PostgresResource) -> None:
    """The quarantine has every value of the row, also those that were not wrong."""
    prepare(postgres, "check")
    load(postgres, frame([1, -1]), "append")
    assert [json.loads(r) for (r,) in run(postgres.url, "SELECT CAST(record AS text) FROM etl.quarantine")] == [{"id": 2, "v": -1}]


def test_the_record_keeps_whole_numbers(postgres: PostgresResource) -> None:
    """A whole number beside numbers with a fraction stays whole, with all its digits."""
    run(postgres.url, "CREATE TABLE public.t (id bigint, v double precision CONSTRAINT positive CHECK (v > 0))")
    load(postgres, pd.DataFrame({"id": [1, 9007199254740993], "v": [0.5, -0.5]}), "append")
    assert run(postgres.url, "SELECT CAST(record->'id' AS text) FROM etl.quarantine") == [("9007199254740993",)]


@pytest.mark.parametrize("type_", ["uuid", "jsonb", "inet", "interval", "public.small", "public.mood"])
def test_text_goes_into_the_types_of_others(postgres: PostgresResource, type_: str) -> None:
    """Text that PostgreSQL reads as the type of a column of a table made elsewhere is appended without a contract."""
    value = {"uuid": str(uuid.UUID(int=1)), "jsonb": "{}", "inet": "10.0.0.1/32", "interval": "1 day"}.get(type_, "1")
    run(
        postgres.url,
        "CREATE DOMAIN public.small AS integer CHECK (VALUE < 100)",
        "CREATE TYPE public.mood AS ENUM ('1')",
        f"CREATE TABLE public.t (id bigint, v {type_})",
    )
    postgres.load(frame([value]), table="t", disposition="append")
    assert run(postgres.url, "SELECT CAST(v AS text) FROM public.t") == [(value,)]


@pytest.mark.parametrize("name", ["a, b", 'the "odd" one', "{x}", "back\\slash", "NULL", "it's"])
def test_a_constraint_of_any_name(postgres: PostgresResource, name: str) -> None:
    """The rule is the name of the constraint, whatever is in it."""
    prepare(postgres, "trigger")
    run(postgres.url, f'ALTER TABLE public.t ADD CONSTRAINT "{name.replace(chr(34), chr(34) * 2)}" CHECK (v > 0)')
    load(postgres, frame([1, -1]), "append")
    assert [row[2] for row in kept(postgres)] == [[name]]


# -- what is no matter of rows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["append", "update", "replace_partition"])
def test_a_missing_privilege_is_no_matter_of_rows(postgres: PostgresResource, way: str) -> None:
    """A user who may not write fails with the privilege, however many rows might be kept aside; nothing is in the quarantine."""
    prepare(postgres, "check")
    load(postgres, frame([1]), "append")
    role = "refusals_reader"
    run(
        postgres.url,
        f"DO 'BEGIN CREATE ROLE {role} LOGIN PASSWORD ''x''; EXCEPTION WHEN duplicate_object THEN NULL; END'",
        f"GRANT USAGE ON SCHEMA public, etl TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA etl TO {role}",
        f"GRANT TEMPORARY ON DATABASE test_refusals TO {role}",
    )
    url = make_url(postgres.url).set(username=role, password="x").render_as_string(hide_password=False)
    with pytest.raises(DatabaseRefusedError, match="^public/t: .*permission denied for table t.*Next: .*privilege"):
        load(PostgresResource(url=url), frame([1, 1]).assign(id=[8, 9]), way, most=1.0)
    assert (ids(postgres), kept(postgres)) == ([1, 100], [])


@pytest.mark.parametrize("way", WAYS)
def test_a_trigger_that_drops_rows_is_no_matter_of_rows(postgres: PostgresResource, way: str) -> None:
    """A trigger that drops rows in silence is found by their number: rows would be lost that nobody accounts for."""
    prepare(postgres, "check")
    run(
        postgres.url,
        "CREATE FUNCTION public.drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER d BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.drop_it()",
    )
    with pytest.raises(EtlError, match="^public/t: .*trigger"):
        load(postgres, frame([1, 2]), way)
    assert ids(postgres) == [100]
