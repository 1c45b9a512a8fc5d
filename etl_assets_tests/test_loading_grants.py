"""`etl-assets grants`: with what it prints a role loads in every way, and can do nothing else.

Not here: the other commands (`test_loading_commands.py`).
"""

import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from etl_assets.errors import DatabaseRefusedError, UnstorableValueError
from etl_assets.loading.grants import grant_script
from etl_assets.loading.loads import list_loads
from etl_assets.loading.options import MergeStrategy, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.statements import run
from etl_assets_tests.test_loading_commands import ROWS, project, psql


class Loader:
    """A role without any privilege, in a database with a table of somebody else in `shop` and in `secret`."""

    def __init__(self, url: str, role: str) -> None:
        self.admin, self.role = url, role
        run(
            url,
            f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'x'",
            "CREATE SCHEMA shop",
            "CREATE TABLE shop.theirs (number serial, id bigint, note text)",
            "CREATE SCHEMA secret",
            "CREATE TABLE secret.t AS SELECT 1 AS x",
        )
        self.url = make_url(url).set(username=role, password="x").render_as_string(hide_password=False)
        self.postgres = PostgresResource(url=self.url, retry=NO_RETRY)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Its rows, as the administrator sees them."""
        return run(self.admin, f"SELECT id, note FROM shop.{table} ORDER BY 1, 2")


@pytest.fixture
def loader(database_url: str) -> Loader:
    """A fresh role whose name needs quotes."""
    return Loader(database_url, f"Loader {uuid.uuid4().hex[:8]}")


def printed(role: str, folder: Path) -> str:
    """What `etl-assets grants` prints for a module of one asset in `shop`."""
    (folder / "shop_project.py").write_text(project("replace"))
    command = [sys.executable, "-m", "etl_assets.cli", "grants", role, "-m", "shop_project"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module", params=["first to load", "others loaded before"])
def prepared(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Loader:
    """The role in a new database, after the administrator ran what the command printed."""
    name = f"test_grants_{uuid.uuid4().hex[:8]}"
    postgres_server.create_database(name)
    made = Loader(postgres_server.url(name), f"Loader {uuid.uuid4().hex[:8]}")
    if request.param == "others loaded before":
        PostgresResource(url=made.admin).load(ROWS, table="old", schema="shop")
    done = psql(made.admin, printed(made.role, tmp_path_factory.mktemp("project")))
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def granted(prepared: Loader) -> Loader:
    """The same without rows: a new database for each test would take most of the time."""
    run(prepared.admin, "DROP TABLE IF EXISTS shop.t", "TRUNCATE shop.theirs RESTART IDENTITY")
    if run(prepared.admin, "SELECT to_regclass('etl.loads') IS NOT NULL") == [(True,)]:
        run(prepared.admin, "DELETE FROM etl.loads", "DELETE FROM etl.quarantine", "DELETE FROM etl.watermarks")
    return prepared


def merging(strategy: MergeStrategy, **more: Any) -> dict[str, Any]:
    """Arguments of a load that merges."""
    options = WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=strategy, primary_key=("id",), **more)
    return {"options": options}


CHANGED = pd.DataFrame({"id": [2, 3], "note": ["B", "c"]})
MERGED = [(1, "a"), (2, "B"), (3, "c")]
WAYS: Mapping[str, tuple[dict[str, Any], list[tuple[Any, ...]]]] = {
    "replace": ({"primary_key": ["id"]}, [(2, "B"), (3, "c")]),
    "append": ({"disposition": "append", "watermarks": {"orders": 1}}, [(1, "a"), (2, "B"), (2, "b"), (3, "c")]),
    "update": (merging(MergeStrategy.UPDATE), MERGED),
    "insert_only": (merging(MergeStrategy.INSERT_ONLY), [(1, "a"), (2, "b"), (3, "c")]),
    "delete_insert": (merging(MergeStrategy.DELETE_INSERT), MERGED),
    "scd2": (merging(MergeStrategy.SCD2, close_absent=True), [(1, "a"), (2, "B"), (2, "b"), (3, "c")]),
    "replace_partition": ({"disposition": "replace_partition", "partition": {"id": [2, 3]}}, MERGED),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_role_loads_in_every_way(granted: Loader, way: str) -> None:
    """With what was granted, and no more, a table is made and loaded a second time by each disposition and strategy."""
    arguments, expected = WAYS[way]
    first = arguments if way != "replace_partition" else {}
    granted.postgres.load(ROWS, table="t", schema="shop", **first)
    granted.postgres.load(CHANGED, table="t", schema="shop", **arguments)
    assert granted.rows("t") == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, [(1, "a"), (2, "b")]), ({"disposition": "append"}, [(1, "a"), (2, "b"), (9, "z")])],
    ids=["replace", "append"],
)  # fmt: skip
def test_the_role_loads_a_table_of_others(granted: Loader, arguments: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    """A table that was there takes rows by replace, in place, and by append, its own numbering included."""
    run(granted.admin, "INSERT INTO shop.theirs (id, note) VALUES (9, 'z')")
    granted.postgres.load(ROWS, table="theirs", schema="shop", **arguments)
    assert granted.rows("theirs") == expected


def test_the_role_keeps_rows_in_quarantine(granted: Loader) -> None:
    """Rows that the table refuses go to the quarantine."""
    granted.postgres.load(ROWS, table="t", schema="shop", primary_key=["id"])
    granted.postgres.load(CHANGED, table="t", schema="shop", disposition="append", most_quarantined=0.5)
    assert run(granted.admin, "SELECT record, rules FROM etl.quarantine") == [({"id": 2, "note": "B"}, ["t_pkey"])]


def test_the_role_records_a_failed_load(granted: Loader) -> None:
    """A load that fails is in the ledger, which the role may read."""
    granted.postgres.load(ROWS, table="t", schema="shop", primary_key=["id"])
    with pytest.raises(UnstorableValueError):
        granted.postgres.load(CHANGED, table="t", schema="shop", disposition="append")
    assert [(one.asset, one.sqlstate) for one in list_loads(granted.postgres, failed=True)] == [("shop/t", "23505")]


FORBIDDEN = [
    "CREATE SCHEMA other",
    "CREATE TABLE public.x (a int)",
    "SELECT * FROM secret.t",
    "CREATE TABLE secret.x (a int)",
    "DROP TABLE shop.theirs",
    "ALTER TABLE shop.theirs ADD x int",
    "TRUNCATE shop.theirs",
    "DROP SCHEMA shop CASCADE",
    "CREATE ROLE other",
    "CREATE DATABASE other",
    "COPY shop.theirs TO PROGRAM 'cat'",
    "SELECT pg_read_file('postgresql.conf')",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_role_can_do_nothing_else(granted: Loader, statement: str) -> None:
    """Other schemas, other people's tables, roles, databases and files are closed to it."""
    engine = sa.create_engine(granted.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as caught:
        connection.execute(sa.text(statement))
    engine.dispose()
    assert caught.value.orig is not None
    assert getattr(caught.value.orig, "pgcode", None) == "42501"


@pytest.mark.parametrize("schema", ["secret", "elsewhere"])
def test_the_role_cannot_load_elsewhere(granted: Loader, schema: str) -> None:
    """A load into a schema that was not named is refused, and the error says what to grant."""
    with pytest.raises(DatabaseRefusedError, match=r"permission denied for (schema|database) .*42501.* Next: grant the missing privilege"):
        granted.postgres.load(ROWS, table="t", schema=schema)


def test_the_command_prints_the_script(tmp_path: Path) -> None:
    """The script is that of the schemas of the module's assets, and of the bookkeeping."""
    assert printed("loader", tmp_path) == grant_script("loader", ["shop"])


def test_the_script_may_run_again(granted: Loader) -> None:
    """Run a second time it changes nothing and fails nowhere."""
    script = grant_script(granted.role, ["shop"])
    before = run(granted.admin, "SELECT nspname::text, nspacl::text FROM pg_namespace ORDER BY 1")
    assert psql(granted.admin, script).returncode == 0
    assert run(granted.admin, "SELECT nspname::text, nspacl::text FROM pg_namespace ORDER BY 1") == before


@pytest.mark.parametrize(
    ("revoked", "says"),
    [
        (None, r"schema etl is missing and cannot be made: .*permission denied for database"),
        ("TEMPORARY ON DATABASE {database} FROM {role}, PUBLIC", "permission denied to create temporary tables in database"),
        ("CREATE ON SCHEMA shop FROM {role}", "permission denied for schema shop"),
        ("USAGE ON SCHEMA shop FROM {role}", "permission denied for schema shop"),
        ("USAGE ON SCHEMA etl FROM {role}", "permission denied for schema etl"),
    ],
    ids=["nothing granted", "TEMPORARY", "CREATE", "USAGE", "USAGE of the ledger"],
)
def test_a_missing_privilege_is_named(loader: Loader, revoked: str | None, says: str) -> None:
    """Without one of the grants the error says where a privilege is missing, and what to do."""
    if revoked is not None:
        PostgresResource(url=loader.admin).load(ROWS, table="old", schema="shop")
        psql(loader.admin, grant_script(loader.role, ["shop"]))
        database = make_url(loader.admin).database
        run(loader.admin, "REVOKE " + revoked.format(database=database, role=f'"{loader.role}"'))
    with pytest.raises(DatabaseRefusedError, match=rf"^shop/t: .*{says}.*42501.* Next: grant the missing privilege to the user of the URL"):
        loader.postgres.load(ROWS, table="t", schema="shop", disposition="merge", primary_key=["id"])


@pytest.mark.parametrize("role", ['x"; DROP SCHEMA shop; --', "x\nDROP SCHEMA shop;", "x'"], ids=["quote", "line break", "apostrophe"])
def test_a_name_stays_a_name(loader: Loader, role: str) -> None:
    """Whatever the role is called, the script runs no statement but its own."""
    psql(loader.admin, grant_script(role, ["shop"]))
    assert run(loader.admin, "SELECT to_regclass('shop.theirs') IS NOT NULL") == [(True,)]
    own = ("-- What", "GRANT ", "CREATE SCHEMA IF NOT EXISTS ")
    assert [line for line in grant_script(role, ["shop"]).replace(f'"{role}"', "").splitlines() if not line.startswith(own)] == []
