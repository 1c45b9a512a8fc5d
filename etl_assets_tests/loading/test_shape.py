"""The shape of the rows and the shape of the table: which type holds which, what changes, and what each schema_change does.

Not here: what hangs on the table meanwhile (`test_shape_dependents.py`), checks and indexes of contracts (`test_contract_tables.py`).
"""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from etl_assets.errors import DatabaseRefusedError, UnstorableValueError
from etl_assets.loading import shape
from etl_assets.loading.options import SchemaChange, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.table import ColumnSpec, LoadResult, TableRef, TableSpec, TableState
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.statements import run

Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_shape")
    return PostgresResource(url=postgres_server.url("test_shape"))


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


# -- which type holds which ---------------------------------------------------------------------------------------------------------

EDGES = {
    "smallint": ["-32768", "0", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807", "9007199254740993"],
    "numeric": ["0", "1.50", "12345678901234567890.123456789", "NaN", "-0.001"],
    "numeric(3,1)": ["99.9", "-99.9", "0.1"],
    "numeric(5,2)": ["999.99", "0.01"],
    "numeric(5,0)": ["99999", "-99999"],
    "numeric(4,-1)": ["99990", "10"],
    "numeric(10,0)": ["9999999999"],
    "numeric(19,0)": ["9999999999999999999"],
    "numeric(12,2)": ["9999999999.99", "0.01"],
    "numeric(2,3)": ["0.099", "-0.001"],
    "real": ["3.4028235e38", "1e-45", "0.1", "NaN", "Infinity", "-0"],
    "double precision": ["1.7976931348623157e308", "5e-324", "0.1", "NaN", "-Infinity", "-0"],
    "text": ["", " a ", "ü" * 70],
    "character varying": ["", " a ", "x" * 70],
    "character varying(3)": ["abc", "äöü", "a  "],
    "character varying(20)": ["x" * 20],
    "character(3)": ["a", "abc"],
    "boolean": ["true", "false"],
    "date": ["0001-01-01", "5874897-12-31", "infinity"],
    "time without time zone": ["23:59:59.999999", "00:00:00"],
    "time(3) without time zone": ["23:59:59.999"],
    "timestamp without time zone": ["2026-01-01 00:00:00.123456", "infinity"],
    "timestamp(0) without time zone": ["2026-01-01 23:59:59"],
    "timestamp(3) without time zone": ["2026-01-01 23:59:59.999"],
    "timestamp with time zone": ["2026-01-01 00:00:00.123456+00"],
    "timestamp(3) with time zone": ["2026-01-01 00:00:00.999+00"],
    "time(3) with time zone": ["23:59:59.999+02"],
    "time with time zone": ["23:59:59.999999-12"],
    "json": ['{"a":  1}'],
    "jsonb": ['{"a": 1}'],
    "uuid": ["00000000-0000-0000-0000-000000000001"],
    "bytea": ["\\x00ff"],
    "interval": ["1 mon 24:00:00"],
    "inet": ["10.0.0.1"],
    "integer[]": ["{1,2}"],
    "bit(3)": ["101"],
}


def test_a_type_that_holds_another_gives_every_value_back(postgres: PostgresResource) -> None:
    """Where one type is said to hold another, PostgreSQL casts its extreme values there and back without a change of their text."""
    pairs = [(wide, narrow) for wide, narrow in itertools.permutations(EDGES, 2) if shape.holds(wide, narrow)]
    assert len(pairs) > 40
    lost = []
    for wide, narrow in pairs:
        listed = ", ".join("('" + value.replace(":", "\\:") + "')" for value in EDGES[narrow])
        query = f"""SELECT v FROM (VALUES {listed}) AS given (v)
                    WHERE CAST(CAST(CAST(v AS {narrow}) AS {wide}) AS {narrow})\\:\\:text <> CAST(v AS {narrow})\\:\\:text"""
        try:
            lost += [(wide, narrow, value) for (value,) in run(postgres.url, query)]
        except Exception as error:
            lost.append((wide, narrow, str(error).splitlines()[0]))
    assert lost == []


@pytest.mark.parametrize("type_", EDGES)
def test_a_type_holds_itself(type_: str) -> None:
    """The same type holds the same values."""
    assert shape.holds(type_, type_)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("bigint", "smallint", True),
        ("smallint", "bigint", False),
        ("double precision", "integer", True),
        ("double precision", "bigint", False),
        ("real", "integer", False),
        ("real", "double precision", False),
        ("double precision", "numeric(5,2)", False),
        ("numeric", "double precision", False),
        ("numeric", "bigint", True),
        ("numeric(19,0)", "bigint", True),
        ("numeric(18,0)", "bigint", False),
        ("numeric(12,2)", "integer", True),
        ("numeric(11,2)", "integer", False),
        ("numeric(12,2)", "numeric(12,3)", False),
        ("numeric(12,2)", "numeric(13,2)", False),
        ("numeric(12,2)", "numeric", False),
        ("numeric(9,-1)", "smallint", False),
        ("text", "character varying(3)", True),
        ("text", "bigint", False),
        ("text", "uuid", False),
        ("text", "character(3)", False),
        ("character varying(3)", "text", False),
        ("character varying(3)", "character varying(4)", False),
        ("character varying", "character varying(4)", True),
        ("timestamp with time zone", "timestamp without time zone", False),
        ("timestamp without time zone", "date", False),
        ("timestamp(3) without time zone", "timestamp without time zone", False),
        ("timestamp without time zone", "timestamp(3) without time zone", True),
        ("jsonb", "json", False),
        ("bigint[]", "integer[]", False),
        ("integer", "boolean", False),
    ],
)
def test_which_type_holds_which(wide: str, narrow: str, expected: bool) -> None:
    """Wider is what keeps every value, its digits and its fraction; text of something else is another thing."""
    assert shape.holds(wide, narrow) is expected


# -- what changes, pure -----------------------------------------------------------------------------------------------------------


def spec(**types: str) -> TableSpec:
    """A shape of nullable columns."""
    return TableSpec(columns=tuple(ColumnSpec(name=name, type=type_) for name, type_ in types.items()))


def state(*, managed: bool = True, **types: str) -> TableState:
    """A table of nullable columns."""
    return TableState(columns=spec(**types).columns, managed=managed)


T = TableRef(schema="public", table="t")


def says(existing: TableState, wanted: TableSpec, allowed: SchemaChange = SchemaChange.WIDEN, *, asked: bool = True) -> list[str]:
    """The changes in words."""
    return [change.says for change in shape.changes(existing, wanted, T, allowed, asked=asked, where="public/t")]


def test_a_difference_in_words() -> None:
    """Columns gone, new and of another type are told when a table is made anew."""
    assert shape.difference(state(a="bigint", b="text"), spec(b="bigint", c="text")) == "-a bigint, +c text, b text -> bigint"


def test_no_difference_in_words() -> None:
    """The order of columns is no difference."""
    assert shape.difference(state(a="bigint", b="text"), spec(b="text", a="bigint")) == ""


def test_what_is_kept_of_a_table() -> None:
    """Wider types and columns that only the table has stay; narrower ones take the type of the rows."""
    kept = shape.kept(state(a="bigint", b="integer", c="text"), spec(a="smallint", b="bigint", d="date"))
    assert [(column.name, column.type) for column in kept.columns] == [("a", "bigint"), ("b", "bigint"), ("d", "date"), ("c", "text")]


def test_changes_in_words() -> None:
    """Columns are added and widened; what holds the rows already stays."""
    assert says(state(a="integer", b="bigint"), spec(a="bigint", b="integer", c="date")) == ["a integer -> bigint", "+c date"]


def test_types_of_others_are_theirs() -> None:
    """In a table that other people made columns are added, and types stay, unless somebody said so."""
    existing, wanted = state(managed=False, a="integer"), spec(a="bigint", c="date")
    assert (says(existing, wanted, asked=False), says(existing, wanted)) == (["+c date"], ["a integer -> bigint", "+c date"])


def test_all_that_is_wrong_is_told_at_once() -> None:
    """One error lists everything that cannot be, so that it is corrected once."""
    with pytest.raises(DatabaseRefusedError, match=r"a text -> bigint, b date -> text, \+c date \(schema_change fail\)"):
        says(state(a="text", b="date"), spec(a="bigint", b="text", c="date"), SchemaChange.FAIL)


# -- what a load does to a table ----------------------------------------------------------------------------------------------------

OLD = pd.DataFrame({"id": np.array([1, 2], "int16"), "note": pd.Series(["a", "b"], dtype="str")})
NEW = pd.DataFrame({"id": np.array([2, 70_000], "int32"), "note": pd.Series(["B", "c"], dtype="str")})
MORE = NEW.assign(extra=[1.5, 2.5])
DISPOSITIONS = ["replace", "append", "merge", "replace_partition"]
KEPT = {"replace": [], "append": [1, 2], "merge": [1], "replace_partition": [1]}


def load(postgres: PostgresResource, rows: pd.DataFrame, disposition: str = "append", change: str | None = None) -> LoadResult:
    """Load rows into `public.t`: merged by `id`, or in place of the rows of note b and B."""
    options = WriteOptions(
        disposition=WriteDisposition(disposition),
        primary_key=("id",) if disposition == "merge" else (),
        schema_change=SchemaChange(change) if change else None,
    )
    partition = {"note": ["b", "B", "c"]} if disposition == "replace_partition" else None
    return postgres.load(rows, table="t", options=options, partition=partition)


def types(postgres: PostgresResource) -> dict[str, str]:
    """Columns of `public.t` with their types; NOT NULL as an exclamation mark."""
    query = """SELECT attname\\:\\:text, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END
               FROM pg_attribute WHERE attrelid = 'public.t'\\:\\:regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
    return dict(run(postgres.url, query))


def ids(postgres: PostgresResource) -> list[int]:
    return [row[0] for row in run(postgres.url, "SELECT id FROM public.t ORDER BY 1")]


@pytest.fixture(params=DISPOSITIONS)
def disposition(request: pytest.FixtureRequest) -> str:
    """Every way of writing."""
    return str(request.param)


def expected_ids(disposition: str) -> list[int]:
    """What the table holds after the second load."""
    return sorted([*KEPT[disposition], 2, 70_000]) if disposition != "append" else [1, 2, 2, 70_000]


@pytest.mark.parametrize(("change", "says_"), [("fail", r"id smallint -> integer, \+extra"), ("add_columns", "id smallint -> integer")])
def test_more_than_is_allowed_is_refused(postgres: PostgresResource, disposition: str, change: str, says_: str) -> None:
    """What would have to change and may not is an error that names it, the schema_change and what to do; the table stays."""
    load(postgres, OLD, "merge" if disposition == "merge" else "append")
    before = types(postgres)
    with pytest.raises(DatabaseRefusedError, match=rf"^public/t: .*{says_}.*\(schema_change {change}\).*Next: "):
        load(postgres, MORE, disposition, change)
    assert (types(postgres), ids(postgres)) == (before, [1, 2])


def test_columns_are_added(postgres: PostgresResource, disposition: str) -> None:
    """add_columns adds a column, nullable, and rows that stay have NULL in it."""
    load(postgres, OLD, "merge" if disposition == "merge" else "append")
    result = load(postgres, MORE.astype({"id": "int16"}, errors="ignore").assign(id=np.array([2, 3], "int16")), disposition, "add_columns")
    assert (result.changes, types(postgres)["extra"]) == ("+extra double precision", "double precision")
    assert run(postgres.url, "SELECT id FROM public.t WHERE extra IS NULL ORDER BY 1") == [(i,) for i in KEPT[disposition]]


@pytest.mark.parametrize("change", ["widen", None])
def test_columns_are_widened(postgres: PostgresResource, disposition: str, change: str | None) -> None:
    """widen, the default, changes types to those that hold the rows of before and of now, and says so."""
    load(postgres, OLD, "merge" if disposition == "merge" else "append")
    result = load(postgres, MORE, disposition, change)
    assert {"id smallint -> integer", "+extra double precision"} == set(result.changes.split(", "))
    assert (types(postgres)["id"].rstrip("!"), ids(postgres)) == ("integer", expected_ids(disposition))


def test_a_table_is_not_narrowed(postgres: PostgresResource, disposition: str) -> None:
    """Rows of fewer columns and narrower types leave the table as wide as it is under widen."""
    load(postgres, MORE.assign(id=np.array([1, 2], "int64"), note=["a", "b"]), "merge" if disposition == "merge" else "append")
    result = load(postgres, NEW.assign(id=np.array([2, 3], "int16")), disposition, "widen")
    found = {name: type_.rstrip("!") for name, type_ in types(postgres).items()}
    assert (result.changes, found) == ("", {"id": "bigint", "note": "text", "extra": "double precision"})


def test_a_table_is_made_anew(postgres: PostgresResource, disposition: str) -> None:
    """Where no widening helps, schema_change replace makes the table anew, with the rows of this load only."""
    load(postgres, OLD.rename(columns={"note": "text"}).assign(note=[1, 2]))
    result = load(postgres, MORE, disposition, "replace")
    assert ({name: kind.rstrip("!") for name, kind in types(postgres).items()}, ids(postgres)) == (
        {"id": "integer", "note": "text", "extra": "double precision"},
        [2, 70_000],
    )
    assert "-text text" in result.changes


@pytest.mark.parametrize("other", ["append", "merge", "replace_partition"])
def test_rows_stay_where_widening_helps(postgres: PostgresResource, other: str) -> None:
    """schema_change replace drops the rows of before only where the table cannot take the new ones otherwise."""
    load(postgres, OLD, "merge" if other == "merge" else "append")
    load(postgres, MORE, other, "replace")
    assert ids(postgres) == expected_ids(other)


def test_what_no_widening_helps_is_refused(postgres: PostgresResource, disposition: str) -> None:
    """Text does not become a number: the error names both types and points to schema_change replace; the table stays."""
    load(postgres, OLD, "merge" if disposition == "merge" else "append")
    with pytest.raises(DatabaseRefusedError, match=r'^public/t: .*note text -> bigint.*Next: .*schema_change "replace"'):
        load(postgres, NEW.assign(note=[1, 2]), disposition, "widen")
    assert ids(postgres) == [1, 2]


# -- tables made by others ------------------------------------------------------------------------------------------------------------

THEIRS = "CREATE TABLE public.t (id smallint NOT NULL PRIMARY KEY, note varchar(5) NOT NULL CHECK (note <> 'never'))"


@pytest.mark.parametrize("how", ["append", "merge"])
def test_types_of_a_table_of_others_stay(postgres: PostgresResource, how: str) -> None:
    """By default a column is added to a table that others made, and its types, NOT NULL and checks stay."""
    run(postgres.url, THEIRS)
    result = load(postgres, MORE.assign(id=np.array([2, 3], "int32")), how)
    assert (types(postgres), result.changes) == (
        {"id": "smallint!", "note": "character varying(5)!", "extra": "double precision"},
        "+extra double precision",
    )
    checks = run(postgres.url, "SELECT conname FROM pg_constraint WHERE conrelid = CAST('public.t' AS regclass) AND contype = 'c'")
    assert checks == [("t_note_check",)]


def test_values_that_the_types_of_others_do_not_hold(postgres: PostgresResource) -> None:
    """A value that does not fit a type of others is refused by row, column and type, and nothing is loaded."""
    run(postgres.url, THEIRS)
    with pytest.raises(UnstorableValueError, match=r"^public/t, column id, row 2: '70000' .*smallint.*Next: "):
        load(postgres, NEW)
    assert ids(postgres) == []


def test_types_of_others_change_when_it_is_said(postgres: PostgresResource) -> None:
    """Somebody who says widen widens the types of others too; NOT NULL, of which a frame says nothing, and their check stay."""
    run(postgres.url, THEIRS)
    load(postgres, NEW, "append", "widen")
    assert types(postgres) == {"id": "integer!", "note": "text!"}
    assert run(postgres.url, "SELECT count(*) FROM pg_constraint WHERE conname = 't_note_check'") == [(1,)]


@pytest.mark.parametrize(
    ("column", "problem"),
    [("x text", ""), ("x text NOT NULL DEFAULT 'y'", ""), ("x text NOT NULL", "-x text, which may not be NULL and has no default")],
    ids=["nullable", "default", "neither"],
)
@pytest.mark.parametrize("how", ["append", "merge"])
def test_columns_that_only_the_table_has(postgres: PostgresResource, how: str, column: str, problem: str) -> None:
    """A column that the rows do not have is filled, or the error says that nothing fills it."""
    run(postgres.url, f"CREATE TABLE public.t (id integer PRIMARY KEY, note text, {column})")
    if problem:
        with pytest.raises(DatabaseRefusedError, match=f"^public/t: .*{problem}.*Next: "):
            load(postgres, NEW, how)
    else:
        load(postgres, NEW, how)
    filled = "y" if "DEFAULT" in column else None
    assert run(postgres.url, "SELECT id, x FROM public.t ORDER BY 1") == ([] if problem else [(2, filled), (70_000, filled)])
