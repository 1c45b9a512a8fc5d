"""The rows of a load: frames that come one by one, anew on each attempt, and are never held together; one frame is the usual case.

Rows about which only all rows together, or only the server, can tell are taken out while the load goes on, and told to whoever asked for
it: keys that another batch brought, values that a constraint or a type refuses, rows of another partition.

Not here: which table they are copied into (`dispositions.py`), how a bad row is found (`refusals.py`).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
import psycopg2
from psycopg2 import sql

from etl_assets.errors import UnstorableValueError
from etl_assets.frames import json_value
from etl_assets.loading.copy import copy_frame
from etl_assets.loading.partitions import Partition, outside
from etl_assets.loading.refusals import IN_PARTITION, MOST_REFUSED, Refusal, in_parts, refusal_of
from etl_assets.loading.table import ColumnSpec, LoadRequest, RejectedRow, RowCounts, UniqueRule
from etl_assets.progress import Progress

ROW = "_etl_row"
"""Column of staging tables: rows of all frames before this one."""
_ROW_COLUMN = ColumnSpec(name=ROW, type="bigint")


class NotStoredError(Exception):
    """Raised by a reception to undo a load; whoever raises it records it."""


class Reception(Protocol):
    """Whoever asked for a load and answers for its rows."""

    def refused(self, label: int, rule: str, says: str) -> None:
        """A row of the frame that is being copied, by its label, was not stored."""

    def taken_out(self, record: dict[str, Any], rules: tuple[str, ...], says: str | None, row: int | None) -> None:
        """A row that was copied already was taken out again.

        Args:
            record: As it was stored.
            rules: What it breaks.
            says: The same in words; None where the rules say it.
            row: Rows of all frames before it; None when unknown.
        """

    def finish(self, request: LoadRequest) -> LoadRequest:
        """Called inside the transaction once all rows are in the table: the request to commit with. Raises to undo everything."""


class Rows:
    """Rows to be copied into a table.

    Args:
        frames: Makes the frames; called once per attempt. All have the columns of the table.
        reception: Answers for rows that are refused; None lets the first one fail the load.
        unique: Rules about all frames together.
    """

    def __init__(
        self, frames: Callable[[], Iterable[pd.DataFrame]], *, reception: Reception | None = None, unique: Sequence[UniqueRule] = ()
    ) -> None:
        self._frames = frames
        self._reception = reception
        self._unique = tuple(unique)
        self._before = 0
        self.refused = 0
        self.request: LoadRequest | None = None

    @property
    def staged(self) -> bool:
        """Whether they have to be settled before they stand among others."""
        return bool(self._unique)

    @property
    def is_tolerant(self) -> bool:
        """Whether a bad row is taken out, rather than fails the load."""
        return self._reception is not None

    def copy_into(
        self,
        cursor: Any,
        table: sql.Composable,
        columns: Sequence[ColumnSpec],
        *,
        where: str,
        within: Partition | None = None,
        numbered: bool = False,
    ) -> int:
        """Append all rows to a table; how many.

        Args:
            cursor: Inside the load's transaction.
            table: Where to.
            columns: Its columns.
            where: The asset, for errors.
            within: Take out rows of other partitions.
            numbered: The table has the column ROW as well, which says where a row stood.

        Raises:
            UnstorableValueError: A row cannot be stored, or lies outside of its partition, and nobody answers for it.
        """
        self.refused = 0
        names = [column.name for column in columns]
        copied = self._before = 0
        frames = self._frames()
        progress = Progress(f"loading {where}", sum(map(len, frames)) if isinstance(frames, list) else None)
        for given in frames:
            frame = in_columns(given, names, what="the rows have", where=where)
            if numbered:
                frame = frame.assign(**{ROW: np.arange(self._before, self._before + len(frame), dtype="int64")})
            if within is not None:
                frame = self._inside(frame, within, where)
            copied += self._copy(cursor, table, [*columns, _ROW_COLUMN] if numbered else columns, frame, where, progress)
            self._before += len(given)
        return copied

    def _copy(
        self, cursor: Any, table: sql.Composable, columns: Sequence[ColumnSpec], frame: pd.DataFrame, where: str, progress: Progress
    ) -> int:
        labels: pd.Index[int] = frame.index
        if self._reception is None or frame.empty:
            try:
                return copy_frame(cursor, table, columns, frame, where=where, progress=progress)
            except (psycopg2.Error, UnstorableValueError) as error:
                found = refusal_of(error)
                label = None if found is None else found.label if found.place is None else int(labels[found.place])
                # The encoder's own error says more, but counts from the beginning of the frame.
                if found is None or label is None or (isinstance(error, UnstorableValueError) and not self._before):
                    raise
                raise self._named(found, label, where) from error

        def place_of(found: Refusal, start: int) -> int | None:
            if found.label is not None:
                return int(labels.searchsorted(found.label))
            return None if found.place is None else start + found.place

        return in_parts(
            cursor,
            len(frame),
            lambda start, stop: copy_frame(cursor, table, columns, frame.iloc[start:stop], where=where, progress=progress),
            lambda place, found: self._refuse(int(labels[place]), found.rule, found.says, where),
            place_of=place_of,
        )

    def _named(self, found: Refusal, label: int, where: str) -> UnstorableValueError:
        """The error for a row, counted over all frames."""
        row = self._before + label
        column = f", column {found.column}" if found.column else ""
        cause, next_step = f"{found.says.rstrip('.')}.", "correct the row, or the table; the table was left as it was."
        return UnstorableValueError(f"{where}{column}, row {row + 1}", cause, next_step, row=row, column=found.column)

    def _inside(self, frame: pd.DataFrame, partition: Partition, where: str) -> pd.DataFrame:
        wrong = outside(partition, frame)
        if wrong is None or not wrong.any():
            return frame
        expressions = ", ".join(partition.expressions)
        for place in map(int, np.flatnonzero(wrong)):
            values = ", ".join(str(frame[name].iat[place]) for name in partition.expressions)
            self._refuse(int(frame.index[place]), IN_PARTITION, f"{expressions} is {values}, outside of partition {partition.key}", where)
        return frame[~wrong]

    def _refuse(self, label: int, rule: str, says: str, where: str) -> None:
        self._count(rule, says, where, row=label)
        assert self._reception is not None
        self._reception.refused(label, rule, says)

    def take_out(self, record: dict[str, Any], rules: tuple[str, ...], says: str | None, *, where: str) -> None:
        """A row that was copied already was taken out of its table."""
        row = record.pop(ROW, None)
        if says is not None:
            self._count(", ".join(rules), says, where)
        assert self._reception is not None
        self._reception.taken_out(record, rules, says, row)

    def _count(self, rule: str, says: str, where: str, *, row: int | None = None) -> None:
        self.refused += 1
        if self._reception is None:
            at = "" if row is None else f", row {self._before + row + 1}"
            raise UnstorableValueError(f"{where}{at}", f"{says}.", "leave such rows out in the asset.", row=row)
        if self.refused > MOST_REFUSED:
            raise UnstorableValueError(
                where, f"more than {MOST_REFUSED} rows cannot be stored, the last one by {rule}: {says}.", "correct the rows or the table."
            )

    def settle(self, cursor: Any, table: sql.Composable, *, where: str) -> int:
        """Take rows out again that only all rows together show to be wrong; how many."""
        if not self._unique:
            return 0
        cursor.execute(_take_repeated(table, self._unique))
        repeated = cursor.fetchall()
        for record, breaks in repeated:
            rules = tuple(rule.name for rule, broken in zip(self._unique, breaks, strict=True) if broken)
            self.take_out(read_record(record), rules, None, where=where)
        return len(repeated)

    def finish(self, request: LoadRequest) -> LoadRequest:
        """The request to commit with; it stays in `request`."""
        self.request = request if self._reception is None else self._reception.finish(request)
        return self.request


class KeptRefusals:
    """Answers for the rows of a caller that has no contract: a share of them may be refused.

    Args:
        frames: Makes the frames; called once per attempt.
        most: Largest share of the rows that may be refused, 0 to 1.
        where: The asset, for errors.
    """

    def __init__(self, frames: Callable[[], Iterable[pd.DataFrame]], *, most: float, where: str) -> None:
        self._frames = frames
        self._most = most
        self._where = where
        self._current = pd.DataFrame()
        self._rows = 0
        self._kept: list[RejectedRow] = []

    def frames(self) -> Iterator[pd.DataFrame]:
        """The frames, watched."""
        self._rows, self._kept = 0, []
        for frame in self._frames():
            self._current = frame.reset_index(drop=True)
            self._rows += len(frame)
            yield self._current

    def refused(self, label: int, rule: str, says: str) -> None:
        """See `Reception`."""
        # Column by column: a row across columns would make one type of all of them.
        record = {str(name): json_value(self._current[name].iat[label]) for name in self._current.columns}
        self._keep(f"row {self._rows - len(self._current) + label + 1}", record, (rule,), says)

    def taken_out(self, record: dict[str, Any], rules: tuple[str, ...], says: str | None, row: int | None) -> None:
        """See `Reception`."""
        before = self._rows - len(self._current)
        if row is not None and row >= before:
            record = {str(name): json_value(self._current[name].iat[row - before]) for name in self._current.columns}
        self._keep(None if row is None else f"row {row + 1}", record, rules, says or "; ".join(rules))

    def _keep(self, position: str | None, record: dict[str, Any], rules: tuple[str, ...], says: str) -> None:
        self._kept.append(RejectedRow(position=position, record=json.dumps(record, ensure_ascii=False), rules=rules, message=says))

    def finish(self, request: LoadRequest) -> LoadRequest:
        """See `Reception`."""
        if len(self._kept) > self._most * self._rows:
            first = self._kept[0]
            raise UnstorableValueError(
                self._where,
                f"{len(self._kept)} of {self._rows} rows cannot be stored (at most {self._most:.1%} may), the first at {first.position}: "
                f"{first.message}.",
                "correct the rows or the table; the table was left as it was.",
            )
        return replace(request, counts=RowCounts(read=self._rows, quarantined=len(self._kept)), rejected=tuple(self._kept))


def in_columns(frame: pd.DataFrame, names: Sequence[str], *, what: str, where: str) -> pd.DataFrame:
    """The frame in the columns of its table, with a RangeIndex.

    Raises:
        UnstorableValueError: It has other columns; the message calls it `what`.
    """
    if any(not isinstance(name, str) for name in frame.columns):
        frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if sorted(frame.columns) != sorted(names):
        raise UnstorableValueError(where, f"{what} columns {list(frame.columns)}, the table {list(names)}.", "make them the same.")
    return frame[list(names)].reset_index(drop=True)


def read_record(text: str) -> dict[str, Any]:
    """A row as JSON text; numbers with a fraction keep their digits."""
    record: dict[str, Any] = json.loads(text, parse_float=str)
    return record


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


__all__ = ["ROW", "KeptRefusals", "NotStoredError", "Reception", "Rows", "in_columns", "read_record"]
