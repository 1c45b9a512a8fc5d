"""The rows of a load: one frame, or batches that are never held together.

Rules about all rows at once cannot be judged batch by batch, so batches are settled in the table they were copied into: rows whose key
another batch brought are taken out again, and handed back for the quarantine.

Not here: which table they are copied into (`dispositions.py`).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import pandas as pd
from psycopg2 import sql

from etl_assets.errors import UnstorableValueError
from etl_assets.loading.copy import copy_frame
from etl_assets.loading.table import ColumnSpec, LoadRequest, UniqueRule


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


def in_columns(frame: pd.DataFrame, names: Sequence[str], *, what: str, where: str) -> pd.DataFrame:
    """The frame in the columns of its table, with a RangeIndex.

    Raises:
        UnstorableValueError: It has other columns; the message calls it `what`.
    """
    if sorted(map(str, frame.columns)) != sorted(names):
        raise UnstorableValueError(where, f"{what} columns {list(frame.columns)}, the table {list(names)}.", "make them the same.")
    return frame[list(names)].reset_index(drop=True)


Repeated = tuple[dict[str, Any], tuple[str, ...]]


class Batches:
    """Rows that come batch by batch, anew on each attempt.

    Args:
        frames: Makes the batches; called once per attempt. All have the columns of the table.
        unique: Rules about all batches together.
        finish: Called inside the transaction once all rows are in the table, with the records that are repeated and the rules
            they break; gives the request to commit with, or raises to undo everything.
    """

    staged = True

    def __init__(
        self,
        frames: Callable[[], Iterator[pd.DataFrame]],
        *,
        unique: Sequence[UniqueRule],
        finish: Callable[[LoadRequest, Sequence[Repeated]], LoadRequest],
    ) -> None:
        self._frames = frames
        self._unique = unique
        self._finish = finish
        self._repeated: list[Repeated] = []
        self.request: LoadRequest | None = None

    def copy_into(self, cursor: Any, table: sql.Composable, columns: Sequence[ColumnSpec], *, where: str) -> int:
        """See `Rows`."""
        self._repeated = []
        names = [column.name for column in columns]
        copied = 0
        for frame in self._frames():
            copied += copy_frame(cursor, table, columns, in_columns(frame, names, what="a batch has", where=where), where=where)
        return copied

    def settle(self, cursor: Any, table: sql.Composable) -> int:
        """See `Rows`."""
        if not self._unique:
            return 0
        cursor.execute(_take_repeated(table, self._unique))
        self._repeated = [
            (json.loads(record, parse_float=str), tuple(rule.name for rule, broken in zip(self._unique, breaks, strict=True) if broken))
            for record, breaks in cursor
        ]
        return len(self._repeated)

    def finish(self, request: LoadRequest) -> LoadRequest:
        """The request to commit with; it stays in `request`."""
        self.request = self._finish(request, self._repeated)
        return self.request


def _take_repeated(table: sql.Composable, rules: Sequence[UniqueRule]) -> sql.Composed:
    """Delete rows whose key comes more than once, and return them with the rules they break.

    A table that COPY alone filled has its rows in the order they came. As in a frame, each rule sees all rows.
    """
    return sql.SQL(
        "WITH judged AS (SELECT ctid AS at, ARRAY[{breaks}] AS breaks FROM {table}) "
        "DELETE FROM {table} AS t USING judged WHERE t.ctid = judged.at AND true = ANY (judged.breaks) "
        "RETURNING to_jsonb(t)::text, judged.breaks"
    ).format(table=table, breaks=sql.SQL(", ").join(map(_breaks, rules)))


def _breaks(rule: UniqueRule) -> sql.Composed:
    key = sql.SQL(", ").join(map(sql.Identifier, rule.columns))
    present = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in rule.columns)
    repeated = {
        "first": "row_number() OVER (PARTITION BY {key} ORDER BY ctid) > 1",
        "last": "row_number() OVER (PARTITION BY {key} ORDER BY ctid DESC) > 1",
        False: "count(*) OVER (PARTITION BY {key}) > 1",
    }[rule.keep]
    return sql.SQL("({} AND {})").format(present, sql.SQL(repeated).format(key=key))


__all__ = ["Batches", "Repeated", "Rows", "WholeFrame", "in_columns"]
