"""One load, one transaction: what is in the database before, during and after."""

import datetime
import json
import threading
import uuid
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from etl_assets.errors import DatabaseRefusedError, DatabaseUnavailableError, UnstorableValueError
from etl_assets.loading import writer
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.rows import Rows
from etl_assets.loading.table import (
    ColumnSpec,
    LoadIdentity,
    LoadRequest,
    RejectedRow,
    ReplaceStrategy,
    RowCounts,
    TableRef,
    TableSpec,
)
from etl_assets.loading.writer import Patience
from etl_assets.postgres.connection import make_engine
from etl_assets.retry import NO_RETRY
from etl_assets.retry_settings import Retry
from etl_assets_tests.statements import run

LONG = Decimal("1.2345678901234567890123456789012345678901")
TRIGGER = """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"""
ROWS = pd.DataFrame({"id": [1, 2, 3], "name": ["a", "b", None]})


def request(
    type_: str = "bigint", *, primary_key: tuple[str, ...] = (), load_id: uuid.UUID | None = None, rejected: tuple[RejectedRow, ...] = ()
) -> LoadRequest:
    """A load of one column `x` into public.one."""
    return LoadRequest(
        target=TableRef(schema="public", table="one"),
        identity=LoadIdentity(load_id=load_id or uuid.uuid4(), asset="public/one", run_id="run"),
        spec=TableSpec(columns=(ColumnSpec(name="x", type=type_, nullable=not primary_key),), primary_key=primary_key),
        counts=RowCounts(read=3, quarantined=len(rejected)),
        rejected=rejected,
    )


def test_replace_holds_exactly_the_new_rows(postgres: PostgresResource) -> None:
    """After a second load the table holds its rows and none of the first."""
    postgres.load(ROWS, table="t")
    postgres.load(ROWS.head(1), table="t")
    assert postgres.read_table("t")["id"].tolist() == [1]


def test_ledger_row_commits_with_the_rows(postgres: PostgresResource, database_url: str) -> None:
    """A successful load leaves one ledger row with its counts."""
    postgres.write(pd.DataFrame({"x": [1, 2]}), request())
    ledger = run(database_url, "SELECT status, asset, run_id, rows_read, rows_loaded, rows_quarantined, target_table FROM etl.loads")
    assert ledger == [("succeeded", "public/one", "run", 3, 2, 0, "public.one")]


def test_rejected_rows_commit_with_the_rows(postgres: PostgresResource, database_url: str) -> None:
    """Quarantined rows are stored with position, record, rules and message."""
    rejected = RejectedRow(position="x.csv line 3", record='{"x": "é\\u0000"}', rules=("x_type", "x_ge"), message="no\0number")
    postgres.write(pd.DataFrame({"x": [1]}), request(rejected=(rejected,)))
    stored = run(database_url, "SELECT asset, source_position, record->>'x', rules, message FROM etl.quarantine")
    assert stored == [("public/one", "x.csv line 3", "é\\u0000", ["x_type", "x_ge"], "no\\0number")]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("\0", r"\u0000"),
        ("a\0\0b", r"a\u0000\u0000b"),
        (r"\u0000", r"\u0000"),
        ("\\\0", r"\\u0000"),
        (r"\\u0000", r"\\u0000"),
        (r"\u0001", r"\u0001"),
    ],
    ids=ascii,
)
def test_records_with_nul_are_kept(postgres: PostgresResource, database_url: str, text: str, stored: str) -> None:
    """A NUL is kept as its escape, and a text that only spells one stays as it is."""
    rejected = RejectedRow(position=None, record=json.dumps({"x": text}), rules=("x_type",), message="")
    postgres.write(pd.DataFrame({"x": [1]}), request(rejected=(rejected,)))
    assert run(database_url, "SELECT record->>'x' FROM etl.quarantine") == [(stored,)]


def test_failed_load_leaves_the_table(postgres: PostgresResource) -> None:
    """A value that does not fit leaves the rows of the load before."""
    postgres.write(pd.DataFrame({"x": [7]}), request())
    with pytest.raises(UnstorableValueError):
        postgres.write(pd.DataFrame({"x": [1.0, 1.5]}), request())
    assert postgres.read_table("one")["x"].tolist() == [7]


def test_failed_load_leaves_no_other_table(postgres: PostgresResource, database_url: str) -> None:
    """A load that fails in the middle leaves nothing behind in the schema."""
    with pytest.raises(UnstorableValueError):
        postgres.write(pd.DataFrame({"x": [1.0, 1.5]}), request())
    assert run(database_url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_failed_load_is_in_the_ledger(postgres: PostgresResource, database_url: str) -> None:
    """A failed load leaves a ledger row with class, SQLSTATE and message."""
    with pytest.raises(UnstorableValueError):
        postgres.write(pd.DataFrame({"x": [1, 1]}), request(primary_key=("x",)))
    ((status, error, state, message),) = run(database_url, "SELECT status, error_class, sqlstate, message FROM etl.loads")
    assert (status, error, state) == ("failed", "UnstorableValueError", "23505")
    assert "Next:" in message


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([1.5, 2.0], "bigint"),
        ([2**40], "integer"),
        ([2**53 + 1], "double precision"),
        (["1"], "bigint"),
        ([1], "text"),
        ([True], "bigint"),
        ([1], "boolean"),
        ([pd.Timestamp("2020-01-01")], "timestamp with time zone"),
        ([pd.Timestamp("2020-01-01", tz="UTC")], "timestamp without time zone"),
        ([pd.Timestamp(1, unit="ns")], "timestamp without time zone"),
        ([Decimal("1.555")], "numeric(4,2)"),
        ([Decimal("123.4")], "numeric(4,2)"),
        (["no-uuid"], "uuid"),
        (["{broken"], "jsonb"),
        (["a\0b"], "text"),
        (["abc"], "character varying(2)"),
    ],
)
def test_value_that_does_not_fit_is_an_error(postgres: PostgresResource, values: list[Any], type_: str) -> None:
    """What cannot be stored exactly is refused, never rounded, cut or reinterpreted."""
    with pytest.raises(UnstorableValueError):
        postgres.write(pd.DataFrame({"x": values}), request(type_))


def test_error_names_column_row_and_value(postgres: PostgresResource) -> None:
    """The error of a value names its column, its row and itself."""
    with pytest.raises(UnstorableValueError, match=r"column x, row 2: '1\.5'"):
        postgres.write(pd.DataFrame({"x": [1.0, 1.5]}), request())


@pytest.mark.parametrize(
    ("values", "type_", "read"),
    [
        ([2**63 - 1, -(2**63), None], "bigint", [2**63 - 1, -(2**63), None]),
        ([1.0, 2.0], "integer", [1, 2]),
        ([1, 2], "double precision", [1.0, 2.0]),
        (["", 'a"b\n\\N\té', None], "text", ["", 'a"b\n\\N\té', None]),
        ([Decimal("1.50"), None], "numeric(12,2)", [Decimal("1.50"), None]),
        ([Decimal("1.5"), LONG], "numeric", [Decimal("1.5"), LONG]),
        ([datetime.date(1, 1, 1), datetime.date(9999, 12, 31)], "date", [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
        ([datetime.time(12, 0, 1)], "time without time zone", [datetime.time(12, 0, 1)]),
        ([{"a": [1, None]}, '{"b": "é"}', None], "jsonb", ['{"a": [1, null]}', '{"b": "é"}', None]),
        (["6f1c9a52-0d3b-4b2e-9a51-6f0f0c1d2e3f"], "uuid", ["6f1c9a52-0d3b-4b2e-9a51-6f0f0c1d2e3f"]),
        ([b"\x00\xff", None], "bytea", [b"\x00\xff", None]),
        ([True, False, None], "boolean", [True, False, None]),
        (["{1,2}", None], "integer[]", [[1, 2], None]),
        ([float("inf"), -0.5, None], "double precision", [float("inf"), -0.5, None]),
    ],
)  # fmt: skip
def test_values_come_back_exactly(postgres: PostgresResource, values: list[Any], type_: str, read: list[Any]) -> None:
    """What was stored is what is read."""
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object if None in values or type_.startswith("numeric") else None)})
    postgres.write(frame, request(type_))
    assert [None if pd.isna(value) is True else value for value in postgres.read_table("one")["x"]] == read


def test_timestamps_come_back_exactly(postgres: PostgresResource) -> None:
    """Instants and local times come back to the microsecond, NULL included."""
    frame = pd.DataFrame(
        {
            "at": pd.to_datetime(["2013-11-03T05:00:00.000001Z", None], utc=True).as_unit("us"),
            "local": pd.to_datetime(["9999-12-31 23:59:59", None]).as_unit("us"),
        }
    )
    postgres.load(frame, table="t")
    pd.testing.assert_frame_equal(postgres.read_table("t"), frame)


def test_plain_frame_takes_types_of_its_dtypes(postgres: PostgresResource) -> None:
    """Without a contract each column takes the PostgreSQL type of its dtype."""
    frame = pd.DataFrame(
        {"i": [1], "f": [1.5], "b": [True], "s": ["x"], "d": [datetime.date(2013, 1, 1)], "n": [Decimal("1.5")], "j": [{}]}
    )
    result = postgres.load(frame, table="t")
    assert [c.type for c in result.columns] == ["bigint", "double precision", "boolean", "text", "date", "numeric", "jsonb"]


def test_frame_with_mixed_column_is_refused(postgres: PostgresResource) -> None:
    """A column of numbers and text is an error that names it."""
    with pytest.raises(UnstorableValueError, match="column m"):
        postgres.load(pd.DataFrame({"m": [1, "a"]}), table="t")


def test_empty_frame_makes_an_empty_table(postgres: PostgresResource) -> None:
    """No rows are a table without rows, with its columns."""
    assert postgres.load(ROWS.head(0), table="t").rows_loaded == 0
    assert list(postgres.read_table("t").columns) == ["id", "name"]


@pytest.mark.parametrize("name", ['a"b', "a;drop table x", "a%b", "select", "Mixed Case", "ü" * 31, "trailing "])
def test_names_are_quoted(postgres: PostgresResource, name: str) -> None:
    """Any name of table, schema or column is just a name."""
    postgres.load(pd.DataFrame({name: [1]}), table=name, schema=name)
    postgres.load(pd.DataFrame({name: [2]}), table=name, schema=name)
    assert postgres.read_table(name, schema=name)[name].tolist() == [2]


def test_swap_keeps_grants(postgres: PostgresResource, database_url: str) -> None:
    """Privileges that were granted on the table are there after a replace."""
    role = f"reader_{uuid.uuid4().hex[:8]}"
    postgres.load(ROWS, table="t")
    run(database_url, f"CREATE ROLE {role}", f"GRANT SELECT ON t TO {role} WITH GRANT OPTION", "GRANT INSERT ON t TO PUBLIC")
    assert postgres.load(ROWS, table="t").strategy is ReplaceStrategy.SWAP
    assert run(database_url, f"SELECT has_table_privilege('{role}', 't', 'SELECT WITH GRANT OPTION, INSERT')") == [(True,)]


@pytest.mark.parametrize(
    "dependent",
    [
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE INDEX by_name ON t (name)",
        "ALTER TABLE t ADD CHECK (id > 0)",
        "CREATE POLICY p ON t USING (true)",
        "CREATE PUBLICATION p FOR TABLE t WITH (publish = 'insert')",
        "CREATE STATISTICS s ON id, name FROM t",
        "ALTER TABLE t ADD UNIQUE (id); CREATE TABLE other (id bigint REFERENCES t (id))",
        "GRANT SELECT (name) ON t TO PUBLIC",
        "ALTER TABLE t ALTER name SET DEFAULT 'x'",
        TRIGGER,
    ],
)  # fmt: skip
def test_what_depends_on_the_table_survives(postgres: PostgresResource, database_url: str, dependent: str) -> None:
    """A table with dependents is emptied and filled in place, and says so."""
    postgres.load(ROWS, table="t")
    before = run(database_url, dependent, "SELECT 't'::regclass::oid")
    assert postgres.load(ROWS.head(2), table="t").strategy is ReplaceStrategy.DELETE
    assert run(database_url, "SELECT 't'::regclass::oid") == before
    assert postgres.read_table("t")["id"].tolist() == [1, 2]


def test_other_shape_under_a_view_is_refused(postgres: PostgresResource, database_url: str) -> None:
    """Where a view depends on the table another shape is refused, and the error names the view."""
    postgres.load(ROWS, table="t")
    run(database_url, "CREATE VIEW v AS SELECT * FROM t")
    with pytest.raises(DatabaseRefusedError, match="view v"):
        postgres.load(ROWS.assign(name=1), table="t")
    assert postgres.read_table("t")["id"].tolist() == [1, 2, 3]


def test_keys_and_comments_of_the_contract(postgres: PostgresResource, database_url: str) -> None:
    """Primary key, NOT NULL and comments are on the table under the names they have always had."""
    spec = TableSpec(columns=(ColumnSpec(name="x", type="bigint", nullable=False, comment="X it is"),), primary_key=("x",), comment="One")
    for _ in range(2):
        load = LoadRequest(target=TableRef(schema="public", table="one"), identity=LoadIdentity(load_id=uuid.uuid4(), asset="a"), spec=spec)
        postgres.write(pd.DataFrame({"x": [1]}), load)
    assert run(database_url, "SELECT conname FROM pg_constraint WHERE conrelid = 'one'::regclass AND contype = 'p'") == [("one_pkey",)]
    assert run(database_url, "SELECT obj_description('one'::regclass), col_description('one'::regclass, 1)") == [("One", "X it is")]


def test_same_load_delivered_twice_is_stored_once(postgres: PostgresResource, database_url: str) -> None:
    """A load whose id is in the ledger does nothing when it comes again."""
    load = request(load_id=uuid.uuid4())
    postgres.write(pd.DataFrame({"x": [1]}), load)
    assert postgres.write(pd.DataFrame({"x": [2]}), load).found_committed
    assert postgres.read_table("one")["x"].tolist() == [1]
    assert run(database_url, "SELECT count(*) FROM etl.loads") == [(1,)]


def test_loads_at_once_come_one_after_the_other(postgres: PostgresResource, database_url: str) -> None:
    """Four first loads of one table at once all succeed, and the table holds one of them whole."""
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(postgres.load(pd.DataFrame({"x": [n] * 100}), table="t").rows_loaded))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = postgres.read_table("t")["x"]
    assert (results, len(values), values.nunique()) == ([100] * 4, 100, 1)


def test_readers_see_old_or_new_never_half(postgres: PostgresResource, database_url: str) -> None:
    """While loads replace the table, a reader counts the rows of one load or the other."""
    postgres.load(pd.DataFrame({"x": range(1000)}), table="t")
    seen: set[int] = set()
    done = threading.Event()

    def poll() -> None:
        engine = make_engine(database_url, application_name="reader")
        with engine.connect() as connection:
            while not done.is_set():
                seen.add(connection.execute(sa.text("SELECT count(*) FROM t")).scalar_one())
                connection.rollback()
        engine.dispose()

    reader = threading.Thread(target=poll)
    reader.start()
    for size in (50_000, 1000, 50_000):
        postgres.load(pd.DataFrame({"x": range(size)}), table="t")
    done.set()
    reader.join()
    assert seen <= {1000, 50_000}


def test_server_restart_during_a_load_is_survived(postgres: PostgresResource, database_url: str) -> None:
    """A backend that is terminated in the middle of a load is a transient error: the whole load is done again."""
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            found = run(
                database_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim' AND state = 'active'",
            )
            killed.extend([1] * len(found))

    thread = threading.Thread(target=kill)
    thread.start()
    victim = PostgresResource(url=database_url, application_name="victim")
    result = victim.load(pd.DataFrame({"x": range(2_000_000)}), table="big")
    thread.join()
    assert result.rows_loaded == 2_000_000
    assert len(postgres.read_table("big", columns=["x"])) == 2_000_000


def test_unreachable_server_is_transient(database_url: str) -> None:
    """A server that does not answer is a transient error without the password in it."""
    unreachable = PostgresResource(url="postgresql://etl:hidden-word@127.0.0.1:1/x", retry=Retry(attempts=1))
    with pytest.raises(DatabaseUnavailableError) as caught:
        unreachable.load(ROWS, table="t")
    assert "hidden-word" not in str(caught.value)


def test_wrong_count_is_not_committed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When PostgreSQL counts other rows than were sent, nothing is committed: a lost tail of a binary COPY is no error of its own."""
    from etl_assets.loading import copy

    whole = copy._binary

    def cut(columns: Any, frame: Any, where: str) -> Any:
        return iter(list(whole(columns, frame, where))[:1])

    monkeypatch.setattr(copy, "_binary", cut)
    engine = make_engine(database_url, application_name="test")
    try:
        with pytest.raises(DatabaseRefusedError, match="3 rows were sent"):
            writer.write(engine, request(), Rows(lambda: [pd.DataFrame({"x": [1, 2, 3]})]), patience=Patience(retry=NO_RETRY))
    finally:
        engine.dispose()
    assert run(database_url, "SELECT to_regclass('one') IS NULL") == [(True,)]


def test_loader_without_ddl_rights_gets_a_clear_error(postgres: PostgresResource, database_url: str) -> None:
    """A user who may not create the table learns which privilege is missing."""
    role = f"loader_{uuid.uuid4().hex[:8]}"
    run(database_url, f"CREATE ROLE {role} LOGIN PASSWORD 'x'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    weak = PostgresResource(
        url=str(sa.engine.make_url(database_url).set(username=role, password="x").render_as_string(hide_password=False))
    )
    with pytest.raises(DatabaseRefusedError, match="privilege"):
        weak.load(ROWS, table="t")
