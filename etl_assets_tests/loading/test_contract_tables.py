"""Tables made from contracts: which rules they keep, as PostgreSQL prints them, their indexes, and what becomes of both in later loads.

Not here: which rows a contract refuses (`test_contracts.py`), how a refused row is found (`test_refusals.py`).
"""

import datetime
import uuid
from decimal import Decimal
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.contracts import Contract
from etl_assets.errors import ContractDefinitionError, UnstorableValueError
from etl_assets.loading.options import SchemaChange, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import LoadIdentity, LoadRequest, LoadResult, ReplaceStrategy, TableRef
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Row = tuple[Any, ...]
Instant = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
MONEY = {"dtype_kwargs": {"precision": 12, "scale": 2}}
NOON = pd.Timestamp("2026-01-01T12:00Z")


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_contract_tables")
    return PostgresResource(url=postgres_server.url("test_contract_tables"))


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


def contract(annotation: Any, /, *, unique: bool = False, indexes: Any = (), **field: Any) -> Contract:
    """A contract of a key `id` and a column `x`."""

    class Model(pa.DataFrameModel):
        id: int
        x: annotation = pa.Field(nullable=True, unique=unique, **field)

        class Config:
            metadata = {"primary_key": ["id"], "indexes": list(indexes)}

    return Contract(Model)


def load(postgres: PostgresResource, of: Contract, values: list[Any], how: str = "replace", *, table: str = "t") -> LoadResult:
    """Load values of `x`, with ids from 1 on, past the contract: as if it had let them through."""
    rows = pd.DataFrame({"id": range(1, len(values) + 1), "x": pd.Series(values, dtype=object)})
    request = LoadRequest(
        target=TableRef(schema="public", table=table),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset="public/t"),
        spec=of.table,
        write=WriteOptions(disposition=WriteDisposition(how), schema_change=None if how == "replace" else SchemaChange.WIDEN),
    )
    return postgres.write(rows, request)


def checks(postgres: PostgresResource, table: str = "t") -> dict[str, str]:
    """Checks by name, as PostgreSQL prints them."""
    query = """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
               WHERE contype = 'c' AND conrelid = CAST('public."' || '{}' || '"' AS regclass) ORDER BY oid"""
    return dict(run(postgres.url, query.format(table)))


def indexes(postgres: PostgresResource) -> list[str]:
    """Indexes as PostgreSQL prints them, without the keys."""
    query = "SELECT indexdef FROM pg_indexes WHERE tablename = 't' AND schemaname = 'public' AND indexname <> 't_pkey' ORDER BY indexname"
    return [definition for (definition,) in run(postgres.url, query)]


# -- what a table keeps -------------------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[Any, dict[str, Any], dict[str, str]]] = {
    "int": (int, {"ge": 0}, {"t_x_ge_check": "CHECK ((x >= 0))"}),
    "int between": (
        int,
        {"in_range": {"min_value": 1, "max_value": 5, "include_max": False}},
        {"t_x_ge_check": "CHECK ((x >= 1))", "t_x_lt_check": "CHECK ((x < 5))"},
    ),
    "int of a list": (int, {"isin": [3, 1, 2]}, {"t_x_in_check": "CHECK ((x = ANY (ARRAY[(1)::bigint, (2)::bigint, (3)::bigint])))"}),
    "several": (
        int,
        {"gt": 0, "lt": 9, "ne": 5},
        {"t_x_ne_check": "CHECK ((x <> 5))", "t_x_gt_check": "CHECK ((x > 0))", "t_x_lt_check": "CHECK ((x < 9))"},
    ),
    "float": (
        float,
        {"gt": 0.1},
        {"t_x_gt_check": "CHECK (((x > (0.1)::double precision) OR (x = 'NaN'::double precision)))"},
    ),
    "real": (pa.Float32, {"le": 0.1}, {"t_x_le_check": "CHECK (((x <= (0.1)::real) OR (x = 'NaN'::real)))"}),
    "Decimal": (pa.Decimal, {"ge": Decimal("0.05"), **MONEY}, {"t_x_ge_check": "CHECK (((x >= 0.05) OR (x = 'NaN'::numeric)))"}),
    "date": (pa.Date, {"ge": datetime.date(2026, 1, 1)}, {"t_x_ge_check": "CHECK ((x >= '2026-01-01'::date))"}),
    "instant": (Instant, {"lt": NOON}, {"t_x_lt_check": "CHECK ((x < '2026-01-01 12:00:00+00'::timestamp with time zone))"}),
    "text of a list": (str, {"isin": ["b", "a'"]}, {"t_x_in_check": "CHECK ((x = ANY (ARRAY['a'''::text, 'b'::text])))"}),
    "text not of a list": (str, {"notin": ["a", "b"]}, {"t_x_not_in_check": "CHECK ((x <> ALL (ARRAY['a'::text, 'b'::text])))"}),
    "text equal": (str, {"eq": "a"}, {"t_x_eq_check": "CHECK ((x = 'a'::text))"}),
    "text length": (
        str,
        {"str_length": {"min_value": 1, "max_value": 3}},
        {"t_x_min_length_check": "CHECK ((char_length(x) >= 1))", "t_x_max_length_check": "CHECK ((char_length(x) <= 3))"},
    ),
    "text start": (str, {"str_startswith": "a%_"}, {"t_x_starts_with_check": "CHECK (starts_with(x, 'a%_'::text))"}),
    "text end": (str, {"str_endswith": "ä"}, {"t_x_ends_with_check": "CHECK ((\"right\"(x, 1) = 'ä'::text))"}),
    "warn": (int, {"ge": 0, "metadata": {"severity": "warn"}}, {}),
    "text order": (str, {"ge": "a"}, {}),
    "text between": (str, {"in_range": {"min_value": "a", "max_value": "b"}}, {}),
    "pattern": (str, {"str_matches": "^a"}, {}),
    "contains": (str, {"str_contains": "a"}, {}),
    "nothing": (int, {}, {}),
}


@pytest.mark.parametrize(("annotation", "field", "expected"), CASES.values(), ids=CASES)
def test_the_checks_of_a_table(postgres: PostgresResource, annotation: Any, field: dict[str, Any], expected: dict[str, str]) -> None:
    """A rule that SQL means as pandera does is a check of the table, any other is left to the contract."""
    load(postgres, contract(annotation, **field), [])
    assert dict(sorted(checks(postgres).items())) == dict(sorted(expected.items()))


def test_checks_that_people_write_are_not_mapped(postgres: PostgresResource) -> None:
    """A check in Python has no meaning in SQL."""

    class Model(pa.DataFrameModel):
        id: int = pa.Field(ge=0)

        @pa.check("id")
        def even(cls, values: "pd.Series[int]") -> "pd.Series[bool]":
            return values % 2 == 0

        @pa.dataframe_check
        def rows(cls, frame: pd.DataFrame) -> "pd.Series[bool]":
            return frame["id"] < 9

    assert [check.operator for check in Contract(Model).table.checks] == [">="]


def test_a_table_refuses_what_its_contract_refuses(postgres: PostgresResource) -> None:
    """Who writes past the contract meets the check; NULL and NaN break none."""
    of = contract(float, gt=0.1)
    load(postgres, of, [None, float("nan"), 0.2])
    with pytest.raises(Exception, match="t_x_gt_check"):
        run(postgres.url, "INSERT INTO public.t VALUES (9, 0.1)")
    run(postgres.url, "INSERT INTO public.t VALUES (10, NULL), (11, 'NaN')")


def test_indexes_of_a_table(postgres: PostgresResource) -> None:
    """A column or several that the contract names have an index."""
    load(postgres, contract(int, indexes=[["x", "id"]], metadata={"index": True}), [1])
    assert indexes(postgres) == [
        "CREATE INDEX t_x_id_idx ON public.t USING btree (x, id)",
        "CREATE INDEX t_x_idx ON public.t USING btree (x)",
    ]


@pytest.mark.parametrize("wrong", [[["y"]], [[]], ["y"]], ids=str)
def test_an_index_of_no_column_is_refused(wrong: Any) -> None:
    """An index that names no column of the contract is an error of the contract."""
    with pytest.raises(ContractDefinitionError, match="an index names"):
        contract(int, indexes=wrong)


# -- contract and table agree -------------------------------------------------------------------------------------------------------

FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLOATS = st.one_of(st.floats(width=32), st.sampled_from([0.1, float(np.float32(0.1)), float(np.nextafter(0.1, 1)), -0.0, 0.0]))
DECIMALS = st.decimals("-9.99", "9.99", places=2)
TEXTS = st.text(st.sampled_from("aä\U0001f600\u0301\u200d é%_"), max_size=6)
AGREEING: dict[str, tuple[Any, Any, list[str]]] = {
    "float": (float, FLOATS, ["gt", "ge", "lt", "le", "eq", "ne"]),
    "real": (pa.Float32, FLOATS, ["gt", "ge", "lt", "le", "eq", "ne"]),
    "Decimal": (pa.Decimal, DECIMALS, ["gt", "ge", "lt", "le", "eq", "ne"]),
    "length": (str, TEXTS, ["str_length"]),
    "ends": (str, TEXTS, ["str_startswith", "str_endswith", "eq", "ne"]),
}


@pytest.mark.parametrize("kind", AGREEING)
@FEW
@given(data=st.data())
def test_a_table_takes_every_row_that_the_contract_takes(postgres: PostgresResource, kind: str, data: st.DataObject) -> None:
    """No value that the contract lets through is refused by the table, and of those it refuses the table takes none."""
    annotation, values, operators = AGREEING[kind]
    operator = data.draw(st.sampled_from(operators))
    bound: Any = data.draw(values.filter(lambda value: value == value and value not in ("", float("inf"), float("-inf"))))
    if kind == "length":
        bound = {"min_value": data.draw(st.integers(1, 2)), "max_value": data.draw(st.integers(2, 4))}
    field: dict[str, Any] = {operator: bound, **(MONEY if kind == "Decimal" else {})}
    of = contract(annotation, **field)
    given_: list[Any] = data.draw(st.lists(values, max_size=8))
    given_ += [bound] if kind != "length" else []
    split = of.split(pd.DataFrame({"id": range(len(given_)), "x": pd.Series(given_, dtype=object)}), where="public/t")
    load(postgres, of, split.valid["x"].tolist())
    assert run(postgres.url, "SELECT count(*) FROM public.t") == [(len(split.valid),)]
    for place in np.flatnonzero(~split.kept)[:1]:
        value = np.float32(given_[place]).item() if kind == "real" else given_[place]
        with pytest.raises(UnstorableValueError, match=r"violates check constraint .*_x_\w+_check"):
            load(postgres, of, [value])


@pytest.mark.parametrize("bound", [np.float64(0.1), 1e-320], ids=["of numpy", "below real"])
def test_bounds_that_a_real_does_not_hold(postgres: PostgresResource, bound: float) -> None:
    """A real is judged by the table as by the contract, whatever kind of number its bound is."""
    given_ = [float(np.float32(0.1)), 1.0, -1.0]
    of = contract(pa.Float32, gt=bound)
    split = of.split(pd.DataFrame({"id": range(3), "x": given_}), where="public/t")
    load(postgres, of, split.valid["x"].tolist())
    assert run(postgres.url, "SELECT count(*) FROM public.t") == [(len(split.valid),)]


@pytest.mark.parametrize("how", ["replace", "append", "merge"])
def test_a_refused_row_names_the_check_of_the_table(postgres: PostgresResource, how: str) -> None:
    """The error of a row names the check as people find it in the table, also while a new table is built beside the old one."""
    for _ in range(2):
        with pytest.raises(UnstorableValueError, match='"t_x_ge_check"'):
            load(postgres, contract(int, ge=0), [-1], how)
        load(postgres, contract(int, ge=0), [])


# -- later loads ------------------------------------------------------------------------------------------------------------------------

POSITIVE = contract(int, ge=0, metadata={"index": True})


def named(postgres: PostgresResource) -> list[str]:
    """Every constraint and index of the table, by name."""
    query = """SELECT conname\\:\\:text FROM pg_constraint WHERE conrelid = CAST('public.t' AS regclass)
               UNION SELECT indexname FROM pg_indexes WHERE tablename = 't' ORDER BY 1"""
    return [name for (name,) in run(postgres.url, query)]


def test_a_replace_makes_them_again(postgres: PostgresResource) -> None:
    """Checks and indexes of the contract are no reason against a swap, and have the same names after it, with their marks."""
    load(postgres, POSITIVE, [1])
    before = (checks(postgres), indexes(postgres), named(postgres))
    results = [load(postgres, POSITIVE, [2]).strategy for _ in range(2)]
    assert (results, (checks(postgres), indexes(postgres), named(postgres))) == ([ReplaceStrategy.SWAP] * 2, before)


def test_a_replace_follows_the_contract(postgres: PostgresResource) -> None:
    """A contract that changed makes its table anew with its rules, by a swap."""
    load(postgres, POSITIVE, [1])
    result = load(postgres, contract(int, ge=5), [7])
    assert (result.strategy, checks(postgres), indexes(postgres)) == (ReplaceStrategy.SWAP, {"t_x_ge_check": "CHECK ((x >= 5))"}, [])


@pytest.mark.parametrize("how", ["append", "merge"])
def test_a_changed_contract_changes_the_checks(postgres: PostgresResource, how: str) -> None:
    """A check that the contract no longer has goes, a new one comes; rows of before may break it, new ones may not."""
    load(postgres, POSITIVE, [1], "merge")
    changed = contract(int, gt=5, lt=9)
    rows = pd.DataFrame({"id": [2], "x": pd.array([7], dtype="Int64")})
    request = LoadRequest(
        target=TableRef(schema="public", table="t"),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset="public/t"),
        spec=changed.table,
        write=WriteOptions(disposition=WriteDisposition(how)),
    )
    postgres.write(rows, request)
    assert checks(postgres) == {"t_x_gt_check": "CHECK ((x > 5)) NOT VALID", "t_x_lt_check": "CHECK ((x < 9)) NOT VALID"}
    assert run(postgres.url, "SELECT x FROM public.t ORDER BY 1") == [(1,), (7,)]
    with pytest.raises(Exception, match="t_x_gt_check"):
        run(postgres.url, "INSERT INTO public.t VALUES (3, 5)")


def test_a_changed_bound_keeps_the_name(postgres: PostgresResource) -> None:
    """The same rule with another bound takes the place of the old one, under its name, and the next load changes nothing."""
    load(postgres, POSITIVE, [1], "merge")
    before = [load(postgres, contract(int, ge=-5), [1], "merge") and checks(postgres) for _ in range(2)]
    assert before == [{"t_x_ge_check": "CHECK ((x >= '-5'::integer)) NOT VALID"}] * 2


def test_rows_that_a_new_check_refuses_when_they_are_merged(postgres: PostgresResource) -> None:
    """A row of before that breaks a new check stays as long as no load brings it again."""
    load(postgres, contract(int), [1, 9], "merge")
    load(postgres, contract(int, ge=5), [7], "merge")
    assert run(postgres.url, "SELECT id, x FROM public.t ORDER BY 1") == [(1, 7), (2, 9)]


def test_a_changed_contract_adds_indexes(postgres: PostgresResource) -> None:
    """An index that the contract names later is made; one that it no longer names stays, for others may need it."""
    load(postgres, POSITIVE, [1], "merge")
    load(postgres, contract(int, ge=0, indexes=[["x", "id"]]), [1], "merge")
    assert [definition.split()[2] for definition in indexes(postgres)] == ["t_x_id_idx", "t_x_idx"]


@pytest.mark.parametrize("how", ["replace", "append", "merge"])
def test_rules_of_other_people_survive(postgres: PostgresResource, how: str) -> None:
    """Checks, indexes, views, grants and comments of others are there after each load, the contract's rules beside them."""
    load(postgres, POSITIVE, [1], "merge")
    run(
        postgres.url,
        "ALTER TABLE public.t ADD CONSTRAINT theirs CHECK (x < 1000)",
        "CREATE INDEX their_index ON public.t (x) WHERE x > 5",
        "CREATE VIEW public.v AS SELECT x FROM public.t",
        "GRANT SELECT ON public.t TO PUBLIC",
        "COMMENT ON TABLE public.t IS 'theirs'",
    )
    rows = pd.DataFrame({"id": [5], "x": pd.array([6], dtype="Int64")})
    spec = contract(int, ge=0, le=100).table
    write = WriteOptions(disposition=WriteDisposition(how))
    identity = LoadIdentity(load_id=uuid.uuid4(), asset="public/t")
    postgres.write(rows, LoadRequest(target=TableRef(schema="public", table="t"), identity=identity, spec=spec, write=write))
    assert set(checks(postgres)) == {"theirs", "t_x_ge_check", "t_x_le_check"}
    assert {"their_index", "theirs"} <= set(named(postgres))
    told = "SELECT obj_description(CAST('public.t' AS regclass), 'pg_class'), has_table_privilege('public', 'public.t', 'SELECT')"
    assert run(postgres.url, told.replace("has_table_privilege('public', ", "has_table_privilege('pg_monitor', ")) == [("theirs", True)]


def test_a_foreign_key_on_the_table_survives_a_replace(postgres: PostgresResource) -> None:
    """A table that others reference is replaced in place, with the rules of the changed contract."""
    load(postgres, POSITIVE, [1])
    run(postgres.url, "CREATE TABLE public.child (id bigint REFERENCES public.t DEFERRABLE INITIALLY DEFERRED)")
    result = load(postgres, contract(int, ge=0, le=100), [1, 2])
    assert (result.strategy, list(checks(postgres))) == (ReplaceStrategy.DELETE, ["t_x_ge_check", "t_x_le_check"])
    assert run(postgres.url, "SELECT count(*) FROM pg_constraint WHERE conname = 'child_id_fkey'") == [(1,)]


def test_grants_and_comments_survive_a_swap(postgres: PostgresResource) -> None:
    """Grants go over to the new table, with the right to grant them on; the comments are those of the contract."""
    load(postgres, POSITIVE, [1])
    run(postgres.url, "GRANT SELECT ON public.t TO pg_monitor WITH GRANT OPTION", "GRANT INSERT ON public.t TO PUBLIC")
    query = "SELECT CAST(relacl AS text) FROM pg_class WHERE oid = CAST('public.t' AS regclass)"
    before = run(postgres.url, query)
    assert (load(postgres, POSITIVE, [2]).strategy, run(postgres.url, query)) == (ReplaceStrategy.SWAP, before)


def test_long_names(postgres: PostgresResource) -> None:
    """Names above 63 bytes are shortened so that they stay apart, and are the same after each replace and for a merge."""
    table, column = "t" * 60, "c" * 55

    class Model(pa.DataFrameModel):
        id: int
        x: int = pa.Field(alias=column, ge=0, le=9, metadata={"index": True})

        class Config:
            metadata = {"primary_key": ["id"], "indexes": [[column, "id"]]}

    found = []
    for how in ("replace", "replace", "merge"):
        request = LoadRequest(
            target=TableRef(schema="public", table=table),
            identity=LoadIdentity(load_id=uuid.uuid4(), asset="public/t"),
            spec=Contract(Model).table,
            write=WriteOptions(disposition=WriteDisposition(how)),
        )
        result = postgres.write(pd.DataFrame({"id": [1], column: [5]}), request)
        index_names = run(postgres.url, "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
        found.append((sorted(checks(postgres, table)), index_names, result.strategy))
    assert (len(found[0][0]), len(found[0][1])) == (2, 3)
    assert found[0][:2] == found[1][:2] == found[2][:2]
    assert found[1][2] is ReplaceStrategy.SWAP
