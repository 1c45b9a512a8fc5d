"""Databases of each kind to read from, small and empty, for tests that fill them.

Not here: values of every type (`sql_values.py`).
"""

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
from sqlalchemy.engine import make_url

from etl_assets.accounting import open_account
from etl_assets.connectors.incremental import Incremental
from etl_assets.connectors.sql import SqlResource
from etl_assets.retry_settings import NO_RETRY
from etl_assets.watermarks import Value


@dataclass(frozen=True, kw_only=True)
class Place:
    """A database of one kind to read from.

    Attributes:
        source: Reads it.
        execute: Runs statements in it, each on its own, and leaves no connection.
    """

    source: SqlResource
    execute: Callable[..., None]

    def ids(self, committed: Mapping[str, Value], incremental: Incremental, **options: Any) -> tuple[list[int], dict[str, Value]]:
        """The ids that a read of table `t` gives, in order, and the watermark that it reached."""
        with open_account(lambda: committed) as account:
            frame = self.source.read_table("t", incremental=incremental, **options)
        return sorted(frame["id"].tolist()), account.reached

    def all_ids(self, incremental: Incremental, committed: dict[str, Value] | None = None) -> list[list[int]]:
        """The ids of read after read, each from where the one before it ended, until one reaches nothing new."""
        committed = committed if committed is not None else {}
        reads: list[list[int]] = []
        while True:
            read, reached = self.ids(committed, incremental)
            if reached == committed:
                return reads
            committed.update(reached)
            reads.append(read)
            assert len(reads) < 1000, "the watermark moves for ever"


def empty(kind: str, url: str, folder: Path) -> Place:
    """A database without table `t`: the one of the URL for "postgresql", a file in the folder for "sqlite" and "duckdb"."""
    if kind == "postgresql":
        executed(url, "DROP TABLE IF EXISTS t")
        return Place(source=_source(url), execute=lambda *given: executed(url, *given))
    if kind == "sqlite":
        return Place(source=_source(f"sqlite:///{folder / 't.db'}"), execute=lambda *given: _in_sqlite(folder / "t.db", given))
    return Place(source=_source(f"duckdb:///{folder / 't.duckdb'}"), execute=lambda *given: _in_duckdb(folder / "t.duckdb", given))


def executed(url: str, *statements: str) -> None:
    """Run statements in PostgreSQL, each in a transaction of its own; new tables are made in `public`."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(address, options="-c search_path=public")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _source(url: str) -> SqlResource:
    return SqlResource(url=url, retry=NO_RETRY)


def _in_sqlite(file: Path, statements: tuple[str, ...]) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def _in_duckdb(file: Path, statements: tuple[str, ...]) -> None:
    with duckdb.connect(str(file)) as connection:
        for statement in statements:
            connection.execute(statement)


__all__ = ["Place", "empty", "executed"]
