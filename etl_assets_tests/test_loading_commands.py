"""`etl-assets plan` and `loads`: what they print is what a load does, and what loads did.

Not here: `grants` (`test_loading_grants.py`), the quarantine (`test_quarantine.py`), how shapes change (`loading/test_shape.py`).
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from etl_assets.cli_loading import loads
from etl_assets.errors import SourceUnavailableError, UnstorableValueError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets.postgres.cluster import find_binaries
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.statements import run

PROJECT = '''
import dagster as dg
import pandas as pd
import pandera.pandas as pa
from pandera.typing import DataFrame
from etl_assets.assets import etl_asset

DAYS = dg.StaticPartitionsDefinition(["a", "b"])
VALUES = {"id": ["1", "2"], "day": ["a", "a"], "code": ["x", "y"], "amount": ["1.5", "2"], "extra": ["e", None]}


class Orders(pa.DataFrameModel):
    """Orders, one row per order."""

    id: int = pa.Field(ge=1, description="Number of it")
    day: str = pa.Field(isin=["a", "b"], metadata={"index": True})
    code: str = pa.Field(unique=True, str_length={"max_value": 5})
    amount: float = pa.Field(ge=0, nullable=True)
    # more

    class Config:
        metadata = {"primary_key": ["id"], "indexes": [["day", "code"]]}


@etl_asset(schema="shop", HOW)
def orders() -> DataFrame[Orders]:
    """Orders, as text."""
    return pd.DataFrame({name: VALUES[name] for name in Orders.to_schema().columns})
'''
EXTRA = 'extra: str = pa.Field(nullable=True, str_length={"max_value": 3}, metadata={"index": True}, description="More")'
HOWS = {
    "replace": 'write="replace"',
    "append": 'write="append"',
    "merge": 'write="merge"',
    "scd2": 'write="merge", metadata={"merge_strategy": "scd2"}',
    "replace_partition": 'partitions_def=DAYS, metadata={"partition_expr": "day"}',
}  # fmt: skip
# All that a table is, but not its number.
# Names of NOT NULL constraints are the server's own.
SHAPE = """
    SELECT 'column', attname::text, format_type(atttypid, atttypmod), attnotnull::text, pg_get_expr(adbin, adrelid),
           col_description(attrelid, attnum) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = 'shop.orders'::regclass AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT 'constraint', conname::text, pg_get_constraintdef(oid), convalidated::text, NULL, obj_description(oid, 'pg_constraint')
      FROM pg_constraint WHERE conrelid = 'shop.orders'::regclass AND contype <> 'n'
    UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid::text, NULL,
           obj_description(indexrelid, 'pg_class') FROM pg_index WHERE indrelid = 'shop.orders'::regclass
    UNION ALL SELECT 'table', NULL, NULL, NULL, NULL, obj_description('shop.orders'::regclass, 'pg_class') ORDER BY 1, 2
"""
# Every object of people's, and the transaction that last changed it.
EVERYTHING = """
    SELECT 'class', oid::text, relname::text, xmin::text FROM pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_)'
    UNION ALL SELECT 'schema', oid::text, nspname::text, xmin::text FROM pg_namespace
    UNION ALL SELECT 'attribute', attrelid::text, attname::text, xmin::text FROM pg_attribute WHERE attrelid >= 16384
    UNION ALL SELECT 'constraint', oid::text, conname::text, xmin::text FROM pg_constraint WHERE oid >= 16384 ORDER BY 1, 2, 3
"""
ROWS = pd.DataFrame({"id": [1, 2], "note": ["a", "b"]})


def project(how: str, *, more: bool = False) -> str:
    """The text of a module that defines shop/orders."""
    return PROJECT.replace("HOW", HOWS[how]).replace("# more", EXTRA if more else "")


def load(url: str, how: str, *, more: bool = False) -> None:
    """Materialise shop/orders."""
    names: dict[str, Any] = {"__name__": "shop_project"}
    exec(project(how, more=more), names)
    resources = {"io_manager": PostgresIOManager(postgres=PostgresResource(url=url))}
    assert dg.materialize([names["orders"]], resources=resources, partition_key="a" if how == "replace_partition" else None).success


def psql(url: str, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script as people do; it stops at its first error."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    command = [str(find_binaries(None) / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", address]
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False)


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(database_url: str, tmp_path: Path) -> Command:
    """Runs `etl-assets` in a folder of its own, where a project may lie."""

    def started(*arguments: str, text: str = "", url: str = database_url) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "shop_project.py").write_text(text)
        return subprocess.run(
            [sys.executable, "-m", "etl_assets.cli", *arguments],
            cwd=tmp_path, env={**os.environ, "DATABASE_URL": url}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return started


# -- plan -----------------------------------------------------------------------------------------------------------------


def copied(server: LocalPostgres, url: str) -> str:
    """URL of a copy of a database."""
    name = make_url(url).database
    done = psql(server.url("postgres"), f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    assert done.returncode == 0, done.stderr
    return server.url(f"{name}_copy")


@pytest.mark.parametrize("how", HOWS)
def test_a_plan_of_a_new_table_is_what_a_load_makes(postgres_server: LocalPostgres, database_url: str, command: Command, how: str) -> None:
    """The SQL that is printed, run by hand, makes the table that a load makes: columns, keys, checks, indexes, comments."""
    run(database_url, "CREATE SCHEMA shop")
    planned = command("plan", "-m", "shop_project", text=project(how))
    by_hand = copied(postgres_server, database_url)
    done = psql(by_hand, planned.stdout)
    assert (planned.returncode, done.returncode) == (0, 0), planned.stderr + done.stderr
    load(database_url, how)
    assert run(by_hand, SHAPE) == run(database_url, SHAPE)


@pytest.mark.parametrize("how", [how for how in HOWS if how != "replace"])
def test_a_plan_of_a_change_is_what_a_load_changes(postgres_server: LocalPostgres, database_url: str, command: Command, how: str) -> None:
    """The SQL that is printed for a contract with a column more, run by hand, changes the table as a load does."""
    load(database_url, how)
    planned = command("plan", "shop/orders", "-m", "shop_project", text=project(how, more=True))
    by_hand = copied(postgres_server, database_url)
    done = psql(by_hand, planned.stdout)
    assert (planned.returncode, done.returncode) == (0, 0), planned.stderr + done.stderr
    run(database_url, "DELETE FROM shop.orders")  # an append of the same keys would be refused
    load(database_url, how, more=True)
    assert run(by_hand, SHAPE) == run(database_url, SHAPE)


def test_a_plan_of_a_swap_is_what_a_load_makes(postgres_server: LocalPostgres, database_url: str, command: Command) -> None:
    """Of a table that is made anew the new one is printed, and its shape is the one that a load leaves."""
    load(database_url, "replace")
    planned = command("plan", "-m", "shop_project", text=project("replace", more=True))
    by_hand = copied(postgres_server, database_url)
    assert psql(by_hand, planned.stdout).returncode == 0
    load(database_url, "replace", more=True)
    assert run(by_hand, SHAPE) == run(database_url, SHAPE)


def test_a_plan_of_a_table_that_others_need_deletes_in_place(database_url: str, command: Command) -> None:
    """Where a view would be lost the plan says so, and that rows are deleted instead."""
    load(database_url, "replace")
    run(database_url, "CREATE VIEW shop.v AS SELECT id FROM shop.orders")
    planned = command("plan", "-m", "shop_project", text=project("replace")).stdout
    assert planned == (
        "-- shop/orders: replace, delete; the table shop.orders is there\n"
        "-- rows are deleted and loaded anew, because a swap would lose: view shop.v\n"
        'DELETE FROM "shop"."orders";\n\n'
    )


def test_a_plan_says_how_the_shape_changes(database_url: str, command: Command) -> None:
    """In words, before the statements: what is new about the table."""
    load(database_url, "append")
    planned = command("plan", "-m", "shop_project", text=project("append", more=True)).stdout
    assert planned.startswith("-- shop/orders: append; the table shop.orders is there\n-- its shape changes: +extra text")


def test_a_plan_of_nothing_to_change_has_no_statements(database_url: str, command: Command) -> None:
    """A table that takes the rows as it is needs none."""
    load(database_url, "merge")
    printed = command("plan", "-m", "shop_project", text=project("merge")).stdout
    assert printed == "-- shop/orders: merge; the table shop.orders is there\n-- nothing changes but its rows\n\n"


@pytest.mark.parametrize("more", [None, False, True], ids=["an empty database", "the same shape", "another shape"])
@pytest.mark.parametrize("how", ["replace", "append", "scd2"])
def test_a_plan_changes_nothing(database_url: str, command: Command, how: str, more: bool | None) -> None:
    """After a plan every schema, table, column and constraint is the one of before, and no schema etl is made."""
    if more is not None:
        load(database_url, how)
    before = run(database_url, EVERYTHING)
    assert command("plan", "-m", "shop_project", text=project(how, more=bool(more))).returncode == 0
    assert run(database_url, EVERYTHING) == before


def test_a_plan_of_a_refused_load_says_why(database_url: str, command: Command) -> None:
    """Where the load would fail the exit code is 1, with the reason and the next step instead of statements."""
    run(database_url, "CREATE SCHEMA shop", "CREATE TABLE shop.orders (id text)", "CREATE VIEW shop.v AS SELECT id FROM shop.orders")
    done = command("plan", "-m", "shop_project", text=project("replace"))
    assert (done.returncode, done.stderr) == (1, "")
    assert re.match(r"-- shop/orders: it would fail\. shop/orders: .*view shop\.v.* Next: alter the table", done.stdout)


def test_a_plan_goes_on_after_a_refused_load(database_url: str, command: Command) -> None:
    """The other assets are planned all the same."""
    run(database_url, "CREATE SCHEMA shop", "CREATE TABLE shop.orders (id text)", "CREATE VIEW shop.v AS SELECT id FROM shop.orders")
    other = project("replace") + '\n\norders2 = etl_asset(schema="shop", name="zorders")(orders_function)\n'
    text = other.replace("@etl_asset(schema", "def orders_function() -> DataFrame[Orders]:\n    ...\n\n\n@etl_asset(schema")
    done = command("plan", "-m", "shop_project", text=text)
    assert done.returncode == 1
    assert "-- shop/zorders: replace, swap; the table shop.zorders is made" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["shop/order", "-m", "shop_project"], "shop/order: no asset of that key .*'shop/orders'"),
        (["-m", "nowhere"], "'nowhere' cannot be imported"),
    ],
    ids=["asset", "module"],
)  # fmt: skip
def test_a_plan_of_something_unknown_is_one_message(command: Command, arguments: list[str], says: str) -> None:
    """A misspelt asset or module is an error without traceback, which names what is there."""
    done = command("plan", *arguments, text=project("replace"))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert re.search(rf"error: .*{says}.* Next: ", done.stderr)


# -- loads ----------------------------------------------------------------------------------------------------------------


def failing(postgres: PostgresResource, says: str) -> None:
    """A load whose source fails."""

    def rows() -> Iterator[pd.DataFrame]:
        yield ROWS
        raise SourceUnavailableError("orders", says, "wait.")

    with pytest.raises(SourceUnavailableError):
        PostgresResource(url=postgres.url, retry=NO_RETRY).load(rows, table="t")


def listed(url: str, *arguments: str) -> str:
    """What `etl-assets loads` prints, without a process of its own."""
    done = CliRunner().invoke(loads, arguments, env={"DATABASE_URL": url}, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.fixture(scope="module")
def loaded(postgres_server: LocalPostgres) -> PostgresResource:
    """A database with three loads, the last of which failed with an SQLSTATE."""
    postgres_server.create_database("test_loading_commands")
    postgres = PostgresResource(url=postgres_server.url("test_loading_commands"))
    postgres.load(ROWS, table="t", primary_key=["id"])
    postgres.load(ROWS, table="u", disposition="merge", primary_key=["id"])
    with pytest.raises(UnstorableValueError):
        postgres.load(ROWS, table="t", disposition="append", watermarks={"x": 1})
    return postgres


WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
SUCCEEDED = rf"{WHEN}  succeeded  %s  %s  read 2, loaded 2, changed 2, quarantined 0, dropped 0  \d\.\d\d s  python -"
FAILED = (
    rf"{WHEN}  failed     public/t  append  read -, loaded -, changed -, quarantined 0, dropped 0  \d\.\d\d s  python -",
    r"    UnstorableValueError \(SQLSTATE 23505\): public/t, row 1: duplicate key .* Next: .*",
)
LOADS = [*FAILED, SUCCEEDED % ("public/u", "merge/update"), SUCCEEDED % ("public/t", "replace/swap")]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ([], LOADS),
        (["--failed"], LOADS[:2]),
        (["--most", "2"], LOADS[:3]),
        (["--most", "1"], LOADS[:2]),
        (["public/u"], LOADS[2:3]),
        (["public/t"], [*LOADS[:2], LOADS[3]]),
        (["public/t", "--failed", "--most", "1"], LOADS[:2]),
        (["public/u", "--failed"], ["No load of public/u failed."]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and not (value and value[0].startswith(r"\d")) else "",
)
def test_loads_are_listed(loaded: PostgresResource, arguments: list[str], lines: list[str]) -> None:
    """The newest first: when, how, how many rows, and of a failed one class, SQLSTATE and message."""
    printed = listed(loaded.url, *arguments).splitlines()
    assert len(printed) == len(lines)
    assert [line for line, expected in zip(printed, lines, strict=True) if not re.fullmatch(expected, line)] == []


def test_loads_of_a_partition_name_it(postgres: PostgresResource) -> None:
    """A load of a partition shows which."""
    postgres.load(ROWS, table="t", disposition="replace_partition", partition={"note": ["a", "b"]})
    assert "  public/t [a,b]  replace_partition  " in listed(postgres.url)


@pytest.mark.parametrize(("arguments", "says"), [([], "There is no load yet.\n"), (["--failed"], "No load failed.\n")])
def test_loads_of_an_empty_database(command: Command, arguments: list[str], says: str) -> None:
    """Before the first load there is no ledger, and the command says so."""
    done = command("loads", *arguments)
    assert (done.returncode, done.stdout) == (0, says)


@pytest.mark.parametrize(
    "says",
    [
        "postgresql://u:canary@host/db refused.",
        "https://u:can:ary-canary@host/x?y=1 refused.",
        "postgresql://u@host/db?password=canary refused.",
    ],
    ids=["password of a database", "password with a colon", "password as an option"],
)  # fmt: skip
def test_loads_show_no_password(postgres: PostgresResource, says: str) -> None:
    """A password in the message of a failed load is neither stored nor printed."""
    failing(postgres, says)
    printed = listed(postgres.url)
    assert "SourceUnavailableError: orders: " in printed
    assert "canary" not in printed + str(run(postgres.url, "SELECT message FROM etl.loads"))


def test_loads_of_a_database_that_refuses(command: Command, database_url: str) -> None:
    """Where the credentials are wrong the error says so in one message, without them."""
    done = command("loads", url=make_url(database_url).set(password="canary").render_as_string(hide_password=False))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search("error: .*refused the credentials.* Next: check user and password", done.stderr)
    assert "canary" not in done.stderr
