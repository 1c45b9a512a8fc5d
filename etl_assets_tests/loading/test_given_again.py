"""A load of `PostgresResource.load` that fails for a moment, fails for good, or comes twice; and the watermarks that go with it.

Not here: what may be given (`test_given.py`), the dispositions (`test_dispositions.py`).
"""

import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from sqlalchemy.engine import make_url

from etl_assets.errors import PermanentError, SourceFormatError, SourceUnavailableError, UnstorableValueError
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets_tests.loading.test_given import AT_ONCE, BEFORE, FRAME, HALVES, STORED, TABLE, as_before, begun, ledger, stored
from etl_assets_tests.statements import run
from etl_assets_tests.tcp_proxy import COMMIT, proxy_to

# As it goes over the wire: kind, length, text.


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_given_again")
    return PostgresResource(url=postgres_server.url("test_given_again"), retry=AT_ONCE)


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied: a new one for each test would take most of the time."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


# -- again -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(postgres: PostgresResource) -> Iterator[tuple[PostgresResource, Any]]:
    """The database behind a proxy that can lose an answer, and that proxy."""
    url = make_url(postgres.url)
    assert url.port is not None
    with proxy_to(url.port) as proxy:
        yield PostgresResource(url=url.set(port=proxy.port).render_as_string(hide_password=False), retry=AT_ONCE), proxy


@pytest.mark.parametrize("given", [HALVES, FRAME, TABLE, lambda: iter(HALVES)], ids=["list", "frame", "table", "function"])
def test_a_lost_connection_is_tried_again(postgres: PostgresResource, proxied: tuple[PostgresResource, Any], given: Any) -> None:
    """Rows that can be made anew are loaded again as a whole after the connection broke, and are stored once."""
    behind, proxy = proxied
    proxy.lose_answer_to = b"COPY"
    result = behind.load(given, table="t", disposition="append")
    assert (result.found_committed, stored(postgres)) == (False, STORED)


def test_a_lost_connection_of_an_iterator_says_what_to_do(postgres: PostgresResource, proxied: tuple[PostgresResource, Any]) -> None:
    """Rows that come only once cannot be loaded again: the error says to give a function, and the table stays."""
    behind, proxy = proxied
    begun(postgres)
    proxy.lose_answer_to = b"COPY"
    with pytest.raises(PermanentError, match=r"^public/t: .*cannot be read a second time. Next: load again, or give a function"):
        behind.load(iter(HALVES), table="t", watermarks={"orders": 2})
    assert as_before(postgres)
    assert ledger(postgres) == [("succeeded", None), ("failed", "PermanentError")]


def test_a_lost_answer_of_an_iterator_is_found_committed(postgres: PostgresResource, proxied: tuple[PostgresResource, Any]) -> None:
    """Where only the answer to the commit was lost, the rows are not needed again."""
    behind, proxy = proxied
    proxy.lose_answer_to = COMMIT
    result = behind.load(iter(HALVES), table="t", disposition="append")
    assert (result.found_committed, result.rows_loaded, stored(postgres)) == (True, 4, STORED)


def test_a_source_that_fails_for_a_moment_is_read_again(postgres: PostgresResource) -> None:
    """A function whose source does not answer in the middle is asked again, and its rows are stored once."""
    failures = [SourceUnavailableError("orders", "it does not answer.", "wait.")]

    def rows() -> Iterator[pd.DataFrame]:
        yield HALVES[0]
        if failures:
            raise failures.pop()
        yield HALVES[1]

    postgres.load(rows, table="t")
    assert stored(postgres) == STORED


@pytest.mark.parametrize("how", ["generator", "function"])
def test_an_error_of_the_rows_comes_out_as_it_is(postgres: PostgresResource, how: str) -> None:
    """What goes wrong while rows are made is raised as it was, and the table stays."""
    begun(postgres)

    def rows() -> Iterator[pd.DataFrame]:
        yield HALVES[0]
        raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        postgres.load(rows() if how == "generator" else rows, table="t", watermarks={"orders": 2})
    assert as_before(postgres)


def test_an_error_of_the_rows_is_in_the_ledger(postgres: PostgresResource) -> None:
    """A load that failed because of its rows is a failed load like any other."""
    begun(postgres)

    def rows() -> Iterator[pd.DataFrame]:
        yield HALVES[0]
        raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError):
        postgres.load(rows, table="t")
    assert ledger(postgres) == [("succeeded", None), ("failed", "ZeroDivisionError")]


# -- what goes with them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["replace", "append"])
def test_a_load_that_comes_twice_is_stored_once(postgres: PostgresResource, how: str) -> None:
    """A delivery whose id was loaded before finds its rows, and loads nothing."""
    load_id = uuid.uuid4()
    postgres.load(HALVES, table="t", disposition=how, load_id=load_id)
    again = postgres.load(BEFORE, table="t", disposition=how, load_id=load_id)
    assert (again.found_committed, again.rows_loaded, stored(postgres), len(ledger(postgres))) == (True, 4, STORED, 1)


def test_a_load_that_failed_may_come_again(postgres: PostgresResource) -> None:
    """A delivery that failed is not taken for a loaded one."""
    load_id = uuid.uuid4()
    with pytest.raises(UnstorableValueError):
        postgres.load([HALVES[0], FRAME.assign(extra=1)], table="t", load_id=load_id)
    assert (postgres.load(HALVES, table="t", load_id=load_id).found_committed, stored(postgres)) == (False, STORED)


@pytest.mark.parametrize(
    "value",
    [5, 1.5, Decimal("1.50"), "b", datetime.date(2026, 3, 1), datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)],
    ids=lambda value: type(value).__name__,
)
def test_a_watermark_commits_with_the_rows(postgres: PostgresResource, value: Any) -> None:
    """How far the source was read is there after the load, as the same kind of value."""
    postgres.load(FRAME, table="t", watermarks={"orders": value})
    found = postgres.watermarks("public/t")
    assert (found, type(found["orders"])) == ({"orders": value}, type(value))


def test_a_watermark_of_another_source_stays(postgres: PostgresResource) -> None:
    """A load moves the watermarks it names and no other."""
    postgres.load(FRAME, table="t", watermarks={"a": 1, "b": 1})
    postgres.load(FRAME, table="t", disposition="append", watermarks={"b": 2})
    assert postgres.watermarks("public/t") == {"a": 1, "b": 2}


def test_a_value_that_is_no_watermark_is_refused(postgres: PostgresResource) -> None:
    """A value without order is an error that lists what is allowed, and the table stays."""
    begun(postgres)
    with pytest.raises(SourceFormatError, match="'True' .bool. cannot be a watermark; allowed: timestamp, date, integer"):
        postgres.load(FRAME, table="t", watermarks={"orders": True})
    assert as_before(postgres)


def test_a_long_load_is_worth_another_try() -> None:
    """A load that breaks off is tried again however long it took: only reads of connectors are given up after two minutes."""
    postgres = PostgresResource(url="postgresql://127.0.0.1/any")
    assert postgres.retry.policy().deadline_seconds > postgres.statement_timeout_seconds
