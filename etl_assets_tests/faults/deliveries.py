"""What is loaded, and what the tables must hold afterwards: rows are a function of their number, so nothing has to be remembered of them.

Not here: loading them (`process.py`).
"""

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from etl_assets.loading.options import MergeStrategy, WriteDisposition, WriteOptions
from etl_assets.loading.partitions import Partition

Table = Literal["appended", "replaced", "merged", "parted", "versioned"]
TABLES: tuple[Table, ...] = ("appended", "replaced", "merged", "parted", "versioned")
PARTS = 4
_OPTIONS = {
    "appended": WriteOptions(disposition=WriteDisposition.APPEND),
    "replaced": WriteOptions(disposition=WriteDisposition.REPLACE, primary_key=("id",)),
    "merged": WriteOptions(disposition=WriteDisposition.MERGE, primary_key=("id",)),
    "parted": WriteOptions(disposition=WriteDisposition.REPLACE_PARTITION),
    "versioned": WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=MergeStrategy.SCD2, primary_key=("id",)),
}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Rows for one table.

    Attributes:
        table: Which one.
        number: Counts the deliveries; it is in every row.
        part: Partition of the rows.
        rows: How many.
        frames: In how many frames they come.
        pause_seconds: Between frames, so that a fault can land in the middle.
        mistake: What is wrong with it.
    """

    table: Table
    number: int
    part: int = 0
    rows: int = 10_000
    frames: int = 5
    pause_seconds: float = 0.0
    mistake: Literal["columns", "dtype", "value", "function"] | None = None

    @property
    def load_id(self) -> uuid.UUID:
        """The same one each time this is delivered."""
        return uuid.uuid5(uuid.NAMESPACE_OID, f"{self.table} {self.number}")

    @property
    def options(self) -> WriteOptions:
        """How it is written."""
        return _OPTIONS[self.table]

    @property
    def partition(self) -> Partition | None:
        """What it replaces; None for the whole table, or nothing."""
        return Partition.of({"part": str(self.part)}) if self.table == "parted" else None

    def frame(self, start: int, stop: int) -> pd.DataFrame:
        """Rows from one number to another."""
        ids = np.arange(start, stop, dtype="int64")
        values = (self.number * 1_000_003 + ids * 7_919 + self.part * 104_729) % 1_000_003
        return pd.DataFrame(
            {"number": np.full(len(ids), self.number), "part": np.full(len(ids), self.part), "id": ids, "v": values}
        ).assign(note=lambda rows: ("note " + rows["v"].astype(str)).astype("str"))

    def make_frames(self) -> Iterator[pd.DataFrame]:
        """The rows, frame by frame."""
        bounds = [round(self.rows * part / self.frames) for part in range(self.frames + 1)]
        for place, (start, stop) in enumerate(itertools.pairwise(bounds)):
            frame = self.frame(start, stop)
            if place == self.frames - 1:
                frame = self._mistaken(frame)
            yield frame

    def _mistaken(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.mistake == "columns":
            return frame.rename(columns={"v": "value"})
        if self.mistake == "dtype":
            return frame.assign(v=frame["v"].astype(str))
        if self.mistake == "value":
            return frame.assign(v=frame["v"].astype(object).where(frame.index != len(frame) - 1, 1.5))
        if self.mistake == "function":
            raise ZeroDivisionError("a mistake of the user's function")
        return frame


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Rows of a table in numbers.

    Attributes:
        rows: How many.
        keys: How many different ones, by delivery, partition and id.
        checksum: Over all values.
    """

    rows: int
    keys: int
    checksum: int

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(rows=self.rows + other.rows, keys=self.keys + other.keys, checksum=self.checksum + other.checksum)


NOTHING = Sums(rows=0, keys=0, checksum=0)
# The same numbers from the server.
SUMS = """
    SELECT count(*), count(DISTINCT (number, part, id)), coalesce(sum(v * (id % 97 + 1) + length(note)), 0)::bigint FROM {table} {only}
"""


def sums_of(delivery: Delivery) -> Sums:
    """What the rows of a delivery come to."""
    frame = delivery.frame(0, delivery.rows)
    checksum = int((frame["v"] * (frame["id"] % 97 + 1)).sum() + frame["note"].str.len().sum())
    return Sums(rows=len(frame), keys=len(frame), checksum=checksum)


@dataclass
class Expected:
    """What the tables must hold.

    Attributes:
        appended: What all deliveries to `appended` come to.
        current: The delivery that a table, or a partition of it, holds.
        delivered: Load ids that must be in the ledger once each.
    """

    appended: Sums = NOTHING
    current: dict[tuple[Table, int], Delivery] = field(default_factory=dict)
    delivered: set[uuid.UUID] = field(default_factory=set)

    def add(self, delivery: Delivery) -> None:
        """A delivery that is in its table now."""
        if delivery.load_id in self.delivered:
            return
        self.delivered.add(delivery.load_id)
        if delivery.table == "appended":
            self.add_rows(delivery)
        else:
            self.current[delivery.table, delivery.part if delivery.table == "parted" else 0] = delivery

    def add_rows(self, delivery: Delivery) -> None:
        """Rows that are in `appended` now."""
        self.appended += sums_of(delivery)

    def sums(self, table: Table) -> Sums:
        """What a table must come to; of `versioned` the rows that hold."""
        if table == "appended":
            return self.appended
        return sum((sums_of(one) for (name, _), one in self.current.items() if name == table), NOTHING)


__all__ = ["NOTHING", "PARTS", "SUMS", "TABLES", "Delivery", "Expected", "Sums", "Table", "sums_of"]
