"""Which rows of a table are new: above a watermark, or inside a window. Statements, pure.

A watermark is read in two statements: first the highest value that will be read, then the rows up to it. The database compares in
both, so its own order of text counts, and a row that arrives in between is left for the next time.

Not here: running the statements (`sql.py`), keeping the watermark (`loading/ledger.py`).
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, cast

import sqlalchemy as sa

from etl_assets.errors import ConfigurationError
from etl_assets.watermarks import Value


@dataclass(frozen=True, kw_only=True)
class Incremental:
    """Only rows above the watermark of the last committed load.

    Attributes:
        column: Grows with every new or changed row: a number, a time, text with an order.
        start: Lower bound before the first load; None for all rows.
        include_start: Also rows that equal the lower bound (`>=`, a closed bound), for a column that several rows share and that gets
            more of one value later. They come again, so merge them by key.
        lag: Read again this much below the watermark, for rows that are committed late: a timedelta for times and dates, a number
            for numbers. They come again, so merge them by key.
        nulls: Rows without a value in the column, which no watermark ever reaches: "fail" when there are any, "skip" them, or
            "include" them every time.
        most_rows: Read about this many rows, those that share the last value all included; the next read goes on above them. None for
            all.
        name: Of the watermark, one per asset; None names it after table and column.
    """

    column: str
    start: Value | None = None
    include_start: bool = False
    lag: datetime.timedelta | int | float | None = None
    nulls: Literal["fail", "skip", "include"] = "fail"
    most_rows: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.most_rows is not None and self.most_rows < 1:
            raise ConfigurationError(f"Incremental({self.column!r})", f"most_rows is at least 1; given: {self.most_rows}.", "correct it.")
        if self.nulls not in ("fail", "skip", "include"):
            raise ConfigurationError(
                f"Incremental({self.column!r})", f"nulls is 'fail', 'skip' or 'include'; given: {self.nulls!r}.", "correct it."
            )
        nothing: Any = datetime.timedelta() if isinstance(self.lag, datetime.timedelta) else 0
        if self.lag is not None and not self.lag >= nothing:
            raise ConfigurationError(f"Incremental({self.column!r})", f"a lag is at least 0; given: {self.lag!r}.", "correct it.")

    def lower(self, committed: Value | None) -> Value | None:
        """The lower bound: the committed watermark less the lag, or the start; None for none.

        Raises:
            ConfigurationError: The lag is of another kind than the watermark.
        """
        if committed is None or self.lag is None:
            return self.start if committed is None else committed
        lag: Any = self.lag
        if isinstance(lag, float) and isinstance(committed, int):
            lag = math.ceil(lag)  # a float could not hold a big integer
        elif isinstance(lag, float) and isinstance(committed, Decimal):
            lag = Decimal(repr(lag))
        try:
            lowered: Any = committed - lag
        except TypeError as error:
            raise ConfigurationError(
                f"watermark {self.column}",
                f"a lag of {self.lag!r} cannot be taken off {committed!r} ({type(committed).__name__}).",
                "give a timedelta for times, a number for numbers.",
            ) from error
        except OverflowError:
            return None
        return cast("Value", lowered)

    def above(self, lower: Value | None, *, committed: bool) -> list[sa.ColumnElement[bool]]:
        """The condition on rows above the lower bound; empty for none.

        Args:
            lower: The bound.
            committed: It is a watermark, so rows that equal it were read, unless they shall come again.
        """
        if lower is None:
            return []
        column: sa.ColumnClause[Any] = sa.column(self.column)
        closed = self.include_start or not committed or self.lag is not None
        return [column >= lower if closed else column > lower]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Only rows whose column lies in a window, closed at its start and open at its end, such as the one of a partition.

    Attributes:
        column: The column.
        start: Rows from this value on; None for no bound.
        end: Rows before this value; None for no bound.
    """

    column: str
    start: Value | None
    end: Value | None

    def inside(self) -> sa.ColumnElement[bool]:
        """The condition on rows inside the window."""
        column: sa.ColumnClause[Any] = sa.column(self.column)
        bounds = [column >= self.start] if self.start is not None else []
        bounds += [column < self.end] if self.end is not None else []
        return sa.and_(sa.true(), *bounds)


def highest(source: Any, column: str, conditions: Sequence[sa.ColumnElement[bool]], most_rows: int | None) -> sa.Select[Any]:
    """The statement for the value to read up to: the highest one, or the one in place `most_rows`; NULL for no rows."""
    found: sa.ColumnElement[Any] = sa.column(column)
    # Not max(): PostgreSQL has none for uuid.
    rows = sa.select(found).select_from(source).where(found.is_not(None), *conditions)
    if most_rows is not None:
        found = rows.order_by(found).limit(most_rows).subquery("first_rows").c[column]
        rows = sa.select(found)
    return rows.order_by(found.desc()).limit(1)


def without_value(source: Any, column: str, conditions: Sequence[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    """The statement that counts rows that no watermark reaches."""
    return sa.select(sa.func.count()).select_from(source).where(sa.column(column).is_(None), *conditions)


__all__ = ["Incremental", "Window", "highest", "without_value"]
