"""Watermarks commit with the rows: what a run, a failure and a kill leave for the next read.

Not here: which rows a watermark lets through (`test_incremental.py`).
"""

import contextlib
import random
import selectors
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.accounting import open_account
from etl_assets.assets import etl_asset
from etl_assets.connectors.incremental import Incremental
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import EtlError, UnstorableValueError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.connectors.places import executed

# -- with the load, in Dagster ------------------------------------------------------------------------------------------


class Events(pa.DataFrameModel):
    """Events, one row per event."""

    id: int = pa.Field(ge=0)
    kind: str

    class Config:
        metadata = {"primary_key": ["id"]}


def incremental_events(write: str, incremental: Incremental) -> dg.AssetsDefinition:
    """An asset that reads what is new in `public.events`."""

    @etl_asset(schema="raw", write=write)
    def events(shop: SqlResource) -> DataFrame[Events]:
        return shop.read_table("events", schema="public", incremental=incremental)

    return events


def materialised(postgres: PostgresResource, asset: dg.AssetsDefinition) -> str:
    """Nothing for a run that succeeded, else the description of its failure."""
    shop = SqlResource(url=postgres.url, retry=NO_RETRY)
    resources = {"io_manager": PostgresIOManager(postgres=postgres), "shop": shop}
    result = dg.materialize([asset], resources=resources, raise_on_error=False)
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return str(failures[0].user_failure_data.description) if failures and failures[0].user_failure_data else "" if result.success else "?"


def loaded(postgres: PostgresResource) -> list[tuple[Any, ...]]:
    """The rows of the asset's table."""
    return [tuple(row) for row in postgres.read_query("SELECT id, kind FROM raw.events ORDER BY id").astype(object).to_numpy()]


@pytest.fixture
def shop(postgres: PostgresResource) -> Callable[..., None]:
    """A database with three events; runs more statements."""
    executed(postgres.url, "CREATE TABLE events (id bigint, kind text)", "INSERT INTO events VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    return lambda *statements: executed(postgres.url, *statements)


BY_ID = Incremental(column="id")


def test_an_asset_that_appends_adds_what_is_new(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """The second run reads and loads the rows that came since the first one."""
    asset = incremental_events("append", BY_ID)
    first = materialised(postgres, asset)
    shop("INSERT INTO events VALUES (4, 'd'), (5, 'e')")
    second = materialised(postgres, asset)
    ledger = postgres.read_query("SELECT rows_read, rows_loaded FROM etl.loads ORDER BY recorded_at").to_numpy().tolist()
    assert (first, second, loaded(postgres), ledger) == ("", "", [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")], [[3, 3], [2, 2]])


def test_a_run_without_anything_new_succeeds(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """Nothing new is no failure, and the table stays."""
    asset = incremental_events("append", BY_ID)
    assert [materialised(postgres, asset), materialised(postgres, asset)] == ["", ""]
    assert len(loaded(postgres)) == 3


def test_a_load_that_fails_leaves_the_watermark(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """Rows that were read but not loaded are read again by the next run."""
    asset = incremental_events("append", BY_ID)
    materialised(postgres, asset)
    shop("ALTER TABLE raw.events ADD CONSTRAINT few CHECK (id < 5)", "INSERT INTO events VALUES (4, 'd'), (5, 'e')")
    failed = materialised(postgres, asset)
    after_failure = postgres.watermarks("raw/events")
    shop("ALTER TABLE raw.events DROP CONSTRAINT few")
    again = materialised(postgres, asset)
    assert ("few" in failed, after_failure, again) == (True, {"public.events by id": 3}, "")
    assert [i for i, _ in loaded(postgres)] == [1, 2, 3, 4, 5]


def test_a_gate_that_refuses_leaves_the_watermark(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """Rows that the contract's gate refused have not been loaded, and are read again."""
    asset = incremental_events("append", BY_ID)
    materialised(postgres, asset)
    shop("INSERT INTO events VALUES (4, NULL), (5, 'e')")
    assert "break the contract" in materialised(postgres, asset)
    assert postgres.watermarks("raw/events") == {"public.events by id": 3}


def test_an_asset_that_merges_may_read_again(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """With a lag rows come again: changed ones replace theirs, new ones that came late are added, none is there twice."""
    asset = incremental_events("merge", Incremental(column="id", lag=2))
    shop("DELETE FROM events WHERE id = 2")
    materialised(postgres, asset)
    shop("INSERT INTO events VALUES (2, 'late'), (4, 'd')", "UPDATE events SET kind = 'changed' WHERE id = 3")
    materialised(postgres, asset)
    assert loaded(postgres) == [(1, "a"), (2, "late"), (3, "changed"), (4, "d")]


def test_an_asset_that_replaces_is_refused(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """Replacing a table by what is new would drop the rest: the run fails, says so, and names the way out."""
    said = materialised(postgres, incremental_events("replace", BY_ID))
    assert ("replace would drop the rows loaded before" in said, 'write="append"' in said) == (True, True)


def test_an_asset_that_is_refused_loads_nothing(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """Nothing of a refused replace is in the database: no table, no watermark."""
    materialised(postgres, incremental_events("replace", BY_ID))
    made = postgres.read_query("SELECT to_regclass('raw.events') IS NOT NULL AS made")["made"].tolist()
    assert (made, postgres.watermarks("raw/events")) == ([False], {})


def test_another_io_manager_keeps_no_watermark(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """Where watermarks cannot be kept, a read that needs one is refused with the reason."""
    resources = {"io_manager": dg.mem_io_manager, "shop": SqlResource(url=postgres.url, retry=NO_RETRY)}
    with pytest.raises(dg.Failure, match="watermarks are kept by PostgresIOManager"):
        dg.materialize([incremental_events("append", BY_ID)], resources=resources)


# -- with the load, in plain Python -------------------------------------------------------------------------------------


def copied(postgres: PostgresResource, incremental: Incremental, *, table: str = "events") -> list[int]:
    """Read what is new of `public.events`, append it to `raw`; the ids read."""
    source = SqlResource(url=postgres.url, retry=NO_RETRY)
    with open_account(lambda: postgres.watermarks(f"raw/{table}")) as account:
        frame = source.read_table("events", schema="public", incremental=incremental)
    postgres.load(frame, table=table, schema="raw", disposition="append", watermarks=account.reached)
    return sorted(frame["id"].tolist())


def test_plain_python_appends_what_is_new(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """An account with the committed watermarks, and a load with those reached, read every row once."""
    reads = [copied(postgres, BY_ID)]
    shop("INSERT INTO events VALUES (4, 'd')")
    reads += [copied(postgres, BY_ID), copied(postgres, BY_ID)]
    assert (reads, [i for i, _ in loaded(postgres)]) == ([[1, 2, 3], [4], []], [1, 2, 3, 4])


def test_plain_python_a_load_that_fails_leaves_the_watermark(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """A load that PostgreSQL refuses moves nothing."""
    copied(postgres, BY_ID)
    shop("ALTER TABLE raw.events ADD CHECK (id < 4)", "INSERT INTO events VALUES (4, 'd')")
    with pytest.raises(UnstorableValueError):
        copied(postgres, BY_ID)
    assert postgres.watermarks("raw/events") == {"public.events by id": 3}


def test_every_asset_has_watermarks_of_its_own(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """What one table has read, another has not."""
    copied(postgres, BY_ID)
    assert copied(postgres, BY_ID, table="other") == [1, 2, 3]


def test_a_watermark_of_no_kind_fails_the_load(postgres: PostgresResource) -> None:
    """A watermark that could not be read back stops the load, and its rows are not there."""
    with pytest.raises(EtlError, match="cannot be a watermark"):
        postgres.load(pd.DataFrame({"id": [1]}), table="t", schema="raw", disposition="append", watermarks={"x": b"1"})  # type: ignore[dict-item]
    assert postgres.read_query("SELECT to_regclass('raw.t') IS NULL AS missing")["missing"].tolist() == [True]


# -- after a kill -------------------------------------------------------------------------------------------------------

COPYING = """
    import sys
    from etl_assets.accounting import open_account
    from etl_assets.connectors.incremental import Incremental
    from etl_assets.connectors.sql import SqlResource
    from etl_assets.loading.postgres import PostgresResource

    url, name = sys.argv[1:]
    source = SqlResource(url=url, application_name=name)
    postgres = PostgresResource(url=url, application_name=name)
    while True:
        with open_account(lambda: postgres.watermarks("raw/copy")) as account:
            frame = source.read_table("many", schema="public", incremental=Incremental(column="id", most_rows=1000))
        if frame.empty:
            break
        print(frame["id"].min(), flush=True)
        postgres.load(frame, table="copy", schema="raw", disposition="append", watermarks=account.reached)
"""


@contextlib.contextmanager
def copying(url: str, name: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that copies `public.many` to `raw.copy`, and says the first id of each read."""
    command = [sys.executable, "-c", textwrap.dedent(COPYING), url, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def killed_somewhere(url: str, name: str, chance: random.Random) -> None:
    """Let the process commit some reads, then end it as a power cut would, at any moment."""
    with copying(url, name) as process, selectors.DefaultSelector() as selector:
        assert process.stdout is not None
        for _ in range(chance.randint(2, 6)):
            assert process.stdout.readline()
        # Nothing can be read: it waits so long that the process is anywhere in its next reads and loads.
        selector.select(timeout=chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)


def test_a_copy_that_is_killed_goes_on_where_it_was(postgres: PostgresResource) -> None:
    """Killed twice and started again, each time from the last commit, the copy holds every row once."""
    name = f"copy_{uuid.uuid4().hex[:8]}"
    executed(postgres.url, "CREATE TABLE many AS SELECT g AS id, md5(g::text) AS value FROM generate_series(1, 20000) AS g")
    chance = random.Random(20260301)
    for _ in range(2):
        killed_somewhere(postgres.url, name, chance)
        # The server may still be at work on what the killed process sent last.
        deadline = time.monotonic() + 20
        while len(postgres.read_query(f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{name}'")):
            assert time.monotonic() < deadline
        (committed,) = postgres.watermarks("raw/copy").values()
        assert isinstance(committed, int)
        assert 0 < committed < 20_000
    with copying(postgres.url, name) as process:
        firsts = [int(line) for line in process.communicate(timeout=60)[0].split()]
    assert firsts == list(range(committed + 1, 20_000, 1000))
    same = "SELECT count(*) = 20000 AND count(DISTINCT id) = 20000 AND bool_and(value = md5(id::text)) AS same FROM raw.copy"
    counted = "SELECT sum(rows_loaded)::bigint AS rows FROM etl.loads WHERE status = 'succeeded'"
    assert (postgres.read_query(same)["same"].tolist(), postgres.read_query(counted)["rows"].tolist()) == ([True], [20_000])


def test_two_runs_that_read_the_same_rows_load_them_once(postgres: PostgresResource, shop: Callable[..., None]) -> None:
    """Of two runs that started from the same watermark the second one is refused, and told what to do; the rows are there once."""
    inner = incremental_events("append", BY_ID)

    @etl_asset(schema="raw", name="events", write="append")
    def overtaken(shop: SqlResource) -> DataFrame[Events]:
        """Reads, and is overtaken by another run before it loads."""
        frame = shop.read_table("events", schema="public", incremental=BY_ID)
        assert materialised(postgres, inner) == ""
        return frame

    assert "another load moved the watermark" in materialised(postgres, overtaken)
    assert loaded(postgres) == [(1, "a"), (2, "b"), (3, "c")]
    assert materialised(postgres, inner) == ""
    assert loaded(postgres) == [(1, "a"), (2, "b"), (3, "c")]
