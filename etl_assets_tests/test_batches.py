"""Assets that yield batches, and assets that read their input in batches: the same tables as with one frame, in little memory."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dagster as dg
import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame
from sqlalchemy.engine import make_url

from etl_assets.accounting import UnreadableRow, record_read, record_unreadable
from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.cleaning import clean, drop_rows
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets_tests.tcp_proxy import COMMIT, proxy_to

BATCHES: list[pd.DataFrame] = []
COLUMNS = ["id", "code", "amount", "source_position"]


class Orders(pa.DataFrameModel):
    """Orders, one row per order."""

    id: int
    code: str = pa.Field(nullable=True, unique=True)
    amount: int = pa.Field(ge=0)

    class Config:
        metadata = {"primary_key": ["id"]}


@etl_asset(schema="shop", name="batched", rows=RowPolicy(most_quarantined=0.9))
def batched() -> Iterator[DataFrame[Orders]]:
    """Orders, batch by batch."""
    yield from BATCHES


@etl_asset(schema="shop", name="whole", rows=RowPolicy(most_quarantined=0.9))
def whole() -> DataFrame[Orders]:
    """The same orders at once."""
    return pd.concat(BATCHES, ignore_index=True) if BATCHES else pd.DataFrame({name: pd.Series([], dtype="str") for name in COLUMNS})


def rows(*cells: tuple[str | None, str | None, str | None]) -> pd.DataFrame:
    """A batch of text; each row's position is its own text."""
    frame = pd.DataFrame(list(cells), columns=COLUMNS[:3], dtype="str")
    return frame.assign(source_position=[f"{cell}" for cell in cells])


def run(postgres: PostgresResource, *assets: dg.AssetsDefinition, **resources: Any) -> dg.ExecuteInProcessResult:
    """Materialise into PostgreSQL without raising."""
    return dg.materialize(list(assets), resources={"io_manager": PostgresIOManager(postgres=postgres), **resources}, raise_on_error=False)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, Any]]:
    """Each check with its verdict and how many rows failed."""
    return {
        check.check_name: (check.passed, check.metadata["failed_rows"].value if "failed_rows" in check.metadata else None)
        for check in result.get_asset_check_evaluations()
    }


def why(result: dg.ExecuteInProcessResult) -> str:
    """Description of the first failure."""
    data = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


def stored(postgres: PostgresResource, table: str) -> list[tuple[Any, ...]]:
    found = postgres.read_table(table, schema="shop").sort_values("id").astype(object)
    return [tuple(None if pd.isna(value) else value for value in row) for row in found.to_numpy()]


def quarantined(postgres: PostgresResource, asset: str) -> list[tuple[str, str]]:
    query = "SELECT record->>'id' AS id, rules::text AS rules FROM etl.quarantine WHERE asset = %(asset)s ORDER BY 1, 2"
    return [tuple(row) for row in postgres.read_query(query, {"asset": asset}).fillna("-").to_numpy()]


def test_batches_make_one_table(postgres: PostgresResource) -> None:
    """All batches are in the table, with its key; wrong rows of each are in the quarantine, and the checks count all of them."""
    BATCHES[:] = [rows(("1", "a", "5"), ("x", "b", "5")), rows(("2", None, "-1"), ("3", None, "7"))]
    result = run(postgres, batched)
    assert result.success
    assert stored(postgres, "batched") == [(1, "a", 5), (3, None, 7)]
    assert quarantined(postgres, "shop/batched") == [("2", "{amount_ge}"), ("x", "{id_type}")]
    assert (checks(result)["columns_match"], checks(result)["amount_ge"]) == ((False, 1), (False, 1))
    (event,) = result.asset_materializations_for_node("shop__batched")
    assert event.metadata["dagster/row_count"].value == 2


def test_a_key_that_another_batch_brought(postgres: PostgresResource) -> None:
    """Rows that share a key or a unique value over batches go to the quarantine, as in one frame; NULLs do not repeat."""
    BATCHES[:] = [rows(("1", "a", "5"), ("2", None, "5")), rows(("1", "b", "6"), ("3", "a", "7"), ("4", None, "8"))]
    result = run(postgres, batched)
    assert result.success
    assert stored(postgres, "batched") == [(2, None, 5), (4, None, 8)]
    assert quarantined(postgres, "shop/batched") == [
        ("1", "{code_unique,primary_key_unique}"), ("1", "{primary_key_unique}"), ("3", "{code_unique}"),
    ]  # fmt: skip
    assert checks(result)["primary_key_unique"] == (False, 2)
    assert checks(result)["rows_accounted_for"][0]


CELL = st.sampled_from(["1", "2", "3", "4", "x", None])
ROW = st.tuples(CELL, st.sampled_from(["a", "b", None]), st.sampled_from(["0", "5", "-1", "y"]))


@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.lists(st.lists(ROW, max_size=4), max_size=4))
def test_batches_give_the_same_as_one_frame(postgres: PostgresResource, batches: list[list[Any]]) -> None:
    """However rows are cut into batches: the same table, the same quarantine, the same checks as from one frame."""
    BATCHES[:] = [rows(*batch) for batch in batches if batch]
    before = (
        postgres.read_query("SELECT coalesce(max(id), 0) AS id FROM etl.quarantine")["id"][0]
        if postgres.has_table("loads", schema="etl")
        else 0
    )
    one, other = run(postgres, batched), run(postgres, whole)
    assert (one.success, checks(one)) == (other.success, checks(other))
    if one.success:
        assert stored(postgres, "batched") == stored(postgres, "whole")
    query = "SELECT record->>'id' AS id, rules::text FROM etl.quarantine WHERE asset = %(asset)s AND id > %(before)s ORDER BY 1, 2"
    found = [
        [tuple(row) for row in postgres.read_query(query, {"asset": asset, "before": int(before)}).fillna("-").to_numpy()]
        for asset in ("shop/batched", "shop/whole")
    ]
    assert found[0] == found[1]


def test_no_batch_makes_an_empty_table(postgres: PostgresResource) -> None:
    """A function that yields nothing leaves an empty, typed table."""
    BATCHES.clear()
    assert run(postgres, batched).success
    assert stored(postgres, "batched") == []


def test_too_many_wrong_rows_leave_the_table(postgres: PostgresResource) -> None:
    """The share is judged over all batches: above it nothing of any batch is loaded, and all rejected rows are kept."""
    BATCHES[:] = [rows(("1", None, "5"))]
    assert run(postgres, batched).success
    BATCHES[:] = [rows(("2", None, "5")), *[rows((f"x{number}", None, "5")) for number in range(19)]]
    result = run(postgres, batched)
    assert "19 of 20 rows break the contract (95.0%" in why(result)
    assert stored(postgres, "batched") == [(1, None, 5)]
    assert len(quarantined(postgres, "shop/batched")) == 19
    assert checks(result)["columns_match"] == (False, 19)
    loads = postgres.read_query("SELECT status, rows_read FROM etl.loads ORDER BY recorded_at")
    assert loads.to_numpy().tolist() == [["succeeded", 1], ["failed", 20]]


def test_an_error_in_a_late_batch_leaves_the_table(postgres: PostgresResource) -> None:
    """A function that raises after its first batch loads nothing, and the error names it."""

    @etl_asset(schema="shop", name="batched")
    def breaking() -> Iterator[DataFrame[Orders]]:
        """Breaks off."""
        yield rows(("7", None, "7"))
        raise ValueError("no more")

    BATCHES[:] = [rows(("1", None, "5"))]
    assert run(postgres, batched).success
    assert "no more" in why(run(postgres, breaking))
    assert stored(postgres, "batched") == [(1, None, 5)]


def test_a_batch_of_other_columns(postgres: PostgresResource) -> None:
    """A later batch that lacks a column fails the check of the columns, and nothing is loaded."""
    BATCHES[:] = [rows(("1", None, "5")), rows(("2", None, "5")).drop(columns="amount")]
    result = run(postgres, batched)
    assert checks(result)["columns_match"][0] is False
    assert "missing ['amount']" in why(result)
    assert not postgres.has_table("batched", schema="shop")


def test_what_is_no_frame(postgres: PostgresResource) -> None:
    """A batch that is no frame is an error that says what came."""

    @etl_asset(schema="shop")
    def strange() -> Iterator[DataFrame[Orders]]:
        """Yields a list."""
        yield [1]  # type: ignore[misc]

    assert "yielded a list" in why(run(postgres, strange))


def test_batches_need_postgres() -> None:
    """Another IO manager cannot take batches, and the error says so."""
    BATCHES[:] = [rows(("1", None, "5"))]
    result = dg.materialize([batched], resources={"io_manager": dg.InMemoryIOManager()}, raise_on_error=False)
    assert "batches are loaded by PostgresIOManager" in why(result)


@pytest.mark.parametrize("write", ["append", "merge"])
def test_batches_among_rows_that_are_there(postgres: PostgresResource, write: str) -> None:
    """Batches are added to a table, or merged into it by key."""

    @etl_asset(schema="shop", name="batched", write=write)
    def adding() -> Iterator[DataFrame[Orders]]:
        """Adds."""
        yield from BATCHES

    BATCHES[:] = [rows(("1", "a", "5")), rows(("2", "b", "5"))]
    assert run(postgres, adding).success
    BATCHES[:] = [rows(("3", "c", "5")), rows(("2", "b", "9") if write == "merge" else ("4", "d", "9"))]
    assert run(postgres, adding).success
    expected = [(1, "a", 5), (2, "b", 9), (3, "c", 5)] if write == "merge" else [(1, "a", 5), (2, "b", 5), (3, "c", 5), (4, "d", 9)]
    assert stored(postgres, "batched") == expected


def test_connectors_and_steps_report_from_within(postgres: PostgresResource) -> None:
    """What connectors and steps report while a batch is made counts: read = loaded + quarantined + dropped."""

    @etl_asset(schema="shop", name="batched", rows=RowPolicy(most_quarantined=0.9))
    def reporting() -> Iterator[DataFrame[Orders]]:
        """Reports."""
        for number in range(3):
            frame = rows((str(number), None, "5"), (f"{number}0", None, "99"))
            record_read("made", 3)
            record_unreadable([UnreadableRow(position=f"line {number}", raw="?", rule="fields", says="no")])
            yield clean(frame, [drop_rows("too dear", lambda rows: rows["amount"] == "99")])

    result = run(postgres, reporting)
    assert result.success, why(result)
    (loads,) = postgres.read_query("SELECT rows_read, rows_loaded, rows_quarantined, rows_dropped FROM etl.loads").to_numpy().tolist()
    assert loads == [9, 3, 3, 3]
    assert checks(result)["rows_usable"] == (False, 3)


def test_checks_of_a_load_whose_answer_was_lost(postgres: PostgresResource) -> None:
    """The rows are stored once, and the checks tell what the quarantine has of them: each rule, what cannot be read or stored."""

    @etl_asset(schema="shop", name="batched", write="append", rows=RowPolicy(most_quarantined=0.9))
    def lossy() -> Iterator[DataFrame[Orders]]:
        """One row of four is good."""
        record_read("made", 4)
        record_unreadable([UnreadableRow(position="line 4", raw="?", rule="fields", says="no")])
        yield rows(("1", None, "5"), ("2", None, "-1"), ("x", None, "3"))

    instance = dg.DagsterInstance.ephemeral()
    url = make_url(postgres.url)
    assert url.port is not None
    postgres.load(pd.DataFrame({"x": [1]}), table="first")
    with proxy_to(url.port) as proxy:
        behind = PostgresResource(url=url.set(port=proxy.port).render_as_string(hide_password=False))
        proxy.lose_answer_to = COMMIT
        result = dg.materialize(
            [lossy], resources={"io_manager": PostgresIOManager(postgres=behind)}, instance=instance, raise_on_error=False
        )
        assert proxy.lose_answer_to is None
    assert result.success, why(result)
    assert [order for order, *_ in stored(postgres, "batched")] == [1]
    assert checks(result) == {
        "columns_match": (False, 1),
        "rows_accounted_for": (True, None),
        "id_not_null": (True, 0),
        "code_unique": (True, 0),
        "amount_not_null": (True, 0),
        "amount_ge": (False, 1),
        "primary_key_unique": (True, 0),
        "rows_usable": (False, 1),
        "columns_unchanged": (True, 0),
    }


def test_a_retry_starts_the_function_anew(postgres: PostgresResource) -> None:
    """When the database goes away in the middle the whole transaction is repeated, batches and counts from the start."""
    calls: list[int] = []

    @etl_asset(schema="shop", name="batched")
    def interrupted() -> Iterator[DataFrame[Orders]]:
        """Ends its own connection once."""
        calls.append(1)
        record_read("made", 2)
        yield rows(("1", None, "5"))
        if len(calls) == 1:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
            postgres.read_query(ended)
        yield rows(("2", None, "5"))

    result = run(postgres, interrupted)
    assert result.success, why(result)
    assert (len(calls), stored(postgres, "batched")) == (2, [(1, None, 5), (2, None, 5)])
    assert postgres.read_query("SELECT rows_read FROM etl.loads WHERE status = 'succeeded'")["rows_read"].tolist() == [2]


# -- inputs in batches ------------------------------------------------------------------------------------------------------


@etl_asset(schema="clean", name="orders", ins={"orders": "shop/batched"})
def copied(orders: Iterator[pd.DataFrame]) -> Iterator[DataFrame[Orders]]:
    """The orders again, batch by batch."""
    yield from orders


@etl_asset(schema="clean", name="first", ins={"orders": "shop/batched"})
def first(orders: Iterator[pd.DataFrame]) -> Iterator[DataFrame[Orders]]:
    """Only the first row, without saying so."""
    yield next(orders).head(1)


def test_an_input_in_batches(postgres: PostgresResource) -> None:
    """An input annotated Iterator comes batch by batch, and its rows are accounted for."""
    BATCHES[:] = [rows(("1", None, "5")), rows(("2", None, "6"))]
    assert run(postgres, batched, copied).success
    assert postgres.read_table("orders", schema="clean")["amount"].tolist() == [5, 6]


def test_rows_of_an_input_that_vanish(postgres: PostgresResource) -> None:
    """Rows of an input that the function does not pass on are missed, even those it never took."""
    BATCHES[:] = [rows(("1", None, "5")), rows(("2", None, "6"))]
    assert "1 are missing without one" in why(run(postgres, batched, first))


MEMORY = """
import resource, sys
import dagster as dg, pandas as pd
from collections.abc import Iterator
import pandera.pandas as pa
from pandera.typing import DataFrame
from etl_assets.assets import etl_asset
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource

class Numbers(pa.DataFrameModel):
    id: int
    word: str
    class Config:
        metadata = {"primary_key": ["id"]}

@etl_asset(schema="shop")
def numbers() -> Iterator[DataFrame[Numbers]]:
    for start in range(0, ROWS, 20_000):
        yield pd.DataFrame({"id": range(start, start + 20_000), "word": [f"word {n}" * 5 for n in range(20_000)]})

@etl_asset(schema="shop", ins={"numbers": "shop/numbers"})
def again(numbers: Iterator[pd.DataFrame]) -> Iterator[DataFrame[Numbers]]:
    yield from numbers

postgres = PostgresResource(url=URL)
assert dg.materialize([numbers, again], resources={"io_manager": PostgresIOManager(postgres=postgres)}).success
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_rows(database_url: str) -> None:
    """Ten times the rows cost no more than a few batches more of memory, written and read back."""
    peaks = []
    for count in (60_000, 600_000):
        code = MEMORY.replace("ROWS", str(count)).replace("URL", repr(database_url))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        peaks.append(int(done.stdout.strip().splitlines()[-1]))
    assert peaks[1] - peaks[0] < 60, peaks
