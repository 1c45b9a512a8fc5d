"""Rows read = loaded + quarantined + dropped, whatever the rows, the steps and the contract."""

from typing import Annotated

import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pandera.pandas as pa
import pytest

from etl_assets.accounting import UnreadableRow, open_account, record_read, record_unreadable
from etl_assets.cleaning import (
    Step,
    as_type,
    clean,
    deduplicate,
    drop_missing,
    drop_rows,
    fill_missing,
    map_values,
    null_markers,
    outliers,
    parse_dates,
    parse_numbers,
    trim,
)
from etl_assets.contracts import Contract
from etl_assets.errors import CleaningError, ContractViolationError, RowsNotAccountedForError
from etl_assets.frames import TEXT
from etl_assets.gate import Parted, RowPolicy, judge
from etl_assets.notations import NumberNotation


class Loose(pa.DataFrameModel):
    """Nearly everything goes."""

    a: str = pa.Field(nullable=True)
    b: object = pa.Field(nullable=True, metadata={"postgres_type": "text"})


class Typed(pa.DataFrameModel):
    """Types, a range, a set that only warns."""

    a: pd.Int64Dtype = pa.Field(nullable=True, ge=0)
    b: str = pa.Field(nullable=True, isin=["x", "y"], metadata={"severity": "warn"})


class Keyed(pa.DataFrameModel):
    """A key, a unique column, a rule about rows."""

    a: int
    b: str = pa.Field(nullable=True, unique=True)

    class Config:
        metadata = {"primary_key": ["a"]}

    @pa.dataframe_check
    def not_both(cls, frame: pd.DataFrame) -> "pd.Series[bool]":
        return ~((frame["a"] > 5) & (frame["b"] == "x"))


class Money(pa.DataFrameModel):
    """Decimals and dates."""

    a: Annotated[pa.Decimal, 6, 2, None] = pa.Field(nullable=True)
    b: pa.Date = pa.Field(nullable=True)


CONTRACTS = [Loose, Typed, Keyed, Money]
STEPS: list[Step] = [
    trim("a", "b"), null_markers("NA", ""), map_values("b", {"z": "x"}), map_values("b", {"z": "x"}, unmapped="refuse"),
    parse_numbers("a", notation=NumberNotation(decimal=",")), parse_dates("b", "%d.%m.%Y"), as_type("a", type="integer"),
    outliers("a", low=-5, high=50, action="null"), fill_missing({"b": "y"}), drop_missing("a"),
    drop_rows("tests", lambda frame: frame["b"] == "test"), deduplicate(key=["a"], order_by=["b"]),
]  # fmt: skip
CELL = st.one_of(
    st.none(), st.sampled_from(["1", "2", "-1", "7", "1,5", "1.50", "x", "y", "z", "NA", " ", "test", "01.02.2026", "2026-01-02"])
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(
    cells=st.lists(st.tuples(CELL, CELL), max_size=10),
    unreadable=st.integers(0, 3),
    steps=st.lists(st.sampled_from(STEPS), max_size=5),
    model=st.sampled_from(CONTRACTS),
)
def test_every_row_is_accounted_for(
    cells: list[tuple[str | None, str | None]], unreadable: int, steps: list[Step], model: type[pa.DataFrameModel]
) -> None:
    """Read = valid + quarantined + dropped, each row in one of them and, when it is rejected, with its own position."""
    frame = pd.DataFrame(cells, columns=["a", "b"]).astype(TEXT)
    frame["source_position"] = pd.array([f"line {place}" for place in range(len(frame))], dtype=TEXT)
    with open_account() as account:
        record_read("made", len(frame) + unreadable)
        record_unreadable([UnreadableRow(position=f"bad {place}", raw="?", rule="fields", says="no") for place in range(unreadable)])
        try:
            cleaned = clean(frame, steps)
        except CleaningError:
            hypothesis.reject()
    split = Contract.of(model).split(cleaned, where="clean/made")
    verdict = judge(
        Parted.of(split, len(cleaned)), account, rows=RowPolicy(most_quarantined=1), rows_in=None, rows_before=None, where="clean/made"
    )
    counts = verdict.counts
    assert counts.read == len(frame) + unreadable == len(split.valid) + counts.quarantined + counts.dropped
    assert not isinstance(verdict.refusal, RowsNotAccountedForError)
    positions = [row.position for row in verdict.rejected]
    assert len(positions) == len(set(positions)) == counts.quarantined
    assert set(positions) <= {*frame["source_position"], *(f"bad {place}" for place in range(unreadable))}


def judged(returned: int, read: int, policy: RowPolicy) -> Exception | None:
    """What the gate says to so many returned rows of so many read ones, all of them valid."""
    frame = pd.DataFrame({"a": ["x"] * returned, "b": ["y"] * returned}, dtype="str")
    with open_account() as account:
        record_read("made", read)
    split = Contract.of(Loose).split(frame, where="clean/made")
    parted = Parted.of(split, returned)
    return judge(parted, account, rows=policy, rows_in=None, rows_before=None, where="clean/made").refusal


@pytest.mark.parametrize(("returned", "read", "says"), [(3, 4, "1 are missing without one"), (5, 4, "-1 are missing without one")])
def test_rows_that_vanish_or_appear_are_refused(returned: int, read: int, says: str) -> None:
    """A row more or fewer than were read is refused, and how many is said."""
    refusal = judged(returned, read, RowPolicy())
    assert isinstance(refusal, RowsNotAccountedForError)
    assert says in str(refusal)


def test_a_function_that_builds_rows_accounts_for_them() -> None:
    """Rows of a join or an aggregate are those that were built."""
    assert judged(3, 400, RowPolicy(built=True)) is None


def test_bounds_come_last() -> None:
    """Where rows are accounted for, their number is judged."""
    assert isinstance(judged(3, 3, RowPolicy(least_rows=4)), ContractViolationError)
