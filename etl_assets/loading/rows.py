"""The rows of a load: one frame, or batches that are never held together.

Rules about all rows at once cannot be judged batch by batch, so batches are settled in the table they were copied into: rows whose key
another batch brought are taken out again, and handed back for the quarantine.

Not here: which table they are copied into (`dispositions.py`).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pandas as pd
from psycopg2 import sql

from etl_assets.errors import UnstorableValueError
from etl_assets.loading.copy import copy_frame
from etl_assets.loading.table import ColumnSpec, LoadRequest


class Rows(Protocol):
    """Rows that can be copied into a table."""

    @property
    def staged(self) -> bool:
        """Whether they have to be settled before they stand among others."""

    def copy_into(self, cursor: Any, table: sql.Composable, columns: Sequence[ColumnSpec], *, where: str) -> int:
        """Append all rows to a table; how many."""

    def settle(self, cursor: Any, table: sql.Composable) -> int:
        """Take rows out again that only all rows together show to be wrong; how many."""


class WholeFrame:
    """The rows of one frame, which was judged as a whole."""

    staged = False

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def copy_into(self, cursor: Any, table: sql.Composable, columns: Sequence[ColumnSpec], *, where: str) -> int:
        """See `Rows`."""
        return copy_frame(cursor, table, columns, self._frame, where=where)

    def settle(self, cursor: Any, table: sql.Composable) -> int:
        """See `Rows`."""
        return 0


@dataclass(frozen=True, kw_only=True)
class UniqueRule:
    """Columns whose values are unique together in all batches.

    Attributes:
        name: Of the rule.
        columns: The columns.
        keep: Which of equal rows stays: the "first", the "last", or none.
    """

    name: str
    columns: tuple[str, ...]
    keep: Literal["first", "last", False]


class Batches:
    """Rows that come batch by batch, anew on each attempt.

    Args:
        frames: Makes the batches; called once per attempt. All have the columns of the table.
        unique: Rules about all batches together.
        finish: Called inside the transaction once all rows are in the table, with the records that broke each unique rule; gives the request
            to commit with, or raises to undo everything.
    """

    staged = True

    def __init__(
        self,
        frames: Callable[[], Iterator[pd.DataFrame]],
        *,
        unique: Sequence[UniqueRule],
        finish: Callable[[LoadRequest, dict[str, list[dict[str, Any]]]], LoadRequest],
    ) -> None:
        self._frames = frames
        self._unique = unique
        self._finish = finish
        self._repeated: dict[str, list[dict[str, Any]]] = {}

    def copy_into(self, cursor: Any, table: sql.Composable, columns: Sequence[ColumnSpec], *, where: str) -> int:
        """See `Rows`."""
        self._repeated = {}
        names = [column.name for column in columns]
        copied = 0
        for frame in self._frames():
            if sorted(map(str, frame.columns)) != sorted(names):
                raise UnstorableValueError(where, f"a batch has columns {list(frame.columns)}, the table {names}.", "make them the same.")
            copied += copy_frame(cursor, table, columns, frame[names].reset_index(drop=True), where=where)
        return copied

    def settle(self, cursor: Any, table: sql.Composable) -> int:
        """See `Rows`."""
        removed = 0
        for rule in self._unique:
            cursor.execute(_take_repeated(table, rule))
            records = [json.loads(record, parse_float=str) for (record,) in cursor]
            if records:
                self._repeated[rule.name] = records
            removed += len(records)
        return removed

    def finish(self, request: LoadRequest) -> LoadRequest:
        """The request to commit with."""
        return self._finish(request, self._repeated)


def _take_repeated(table: sql.Composable, rule: UniqueRule) -> sql.Composed:
    """Delete rows whose key comes more than once, and return them. A table filled by COPY alone has its rows in the order they came."""
    key = sql.SQL(", ").join(map(sql.Identifier, rule.columns))
    present = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in rule.columns)
    gone = {"first": "place > 1", "last": "place < copies", False: "copies > 1"}[rule.keep]
    return sql.SQL(
        "WITH numbered AS (SELECT ctid AS at, row_number() OVER (PARTITION BY {key} ORDER BY ctid) AS place, "
        "count(*) OVER (PARTITION BY {key}) AS copies FROM {table} WHERE {present}) "
        "DELETE FROM {table} AS t USING numbered WHERE t.ctid = numbered.at AND {gone} RETURNING to_jsonb(t)::text"
    ).format(key=key, table=table, present=present, gone=sql.SQL(gone))


__all__ = ["Batches", "Rows", "UniqueRule", "WholeFrame"]
