"""What transactional and idempotent ways of writing cost over a plain COPY of the same rows: replace, indexes, merge."""

import functools

import pandas as pd

from benchmarks import data, load
from benchmarks.harness import Body, take_turns
from benchmarks.place import Place
from benchmarks.report import Row, times

_INDEXES = (("customer_id",), ("created_at",), ("code",))


def _write(place: Place, frame: pd.DataFrame, disposition: str, indexes: tuple[tuple[str, ...], ...]) -> int:
    from etl_assets.loading.table import ColumnSpec, TableSpec

    columns = tuple(ColumnSpec(name=name, type=type_, nullable=name != "id") for name, type_ in data.ORDERS.items())
    return load.write(place, frame, TableSpec(columns=columns, primary_key=("id",), indexes=indexes), disposition)


def _ours(disposition: str, *, indexes: tuple[tuple[str, ...], ...] = (), empty: bool = False) -> "functools.partial[Body]":
    return functools.partial(_prepare_ours, disposition, indexes, empty)


def _prepare_ours(disposition: str, indexes: tuple[tuple[str, ...], ...], empty: bool, place: Place) -> Body:
    frame = load.frame_of(place, "orders")
    place.run("DROP TABLE IF EXISTS given")
    _write(place, frame.head(64) if empty else frame, "replace", indexes)
    if empty:
        place.run("TRUNCATE given")
    place.run("ANALYZE given", "CHECKPOINT")
    return lambda: _write(place, frame, disposition, indexes)


METHODS = {
    "plain COPY": load.METHODS["orders pgpq"],
    "replace": _ours("replace"),
    "replace, three indexes": _ours("replace", indexes=_INDEXES),
    "append, three indexes": _ours("append", indexes=_INDEXES, empty=True),
    "merge, unchanged": _ours("merge"),
}


def measured(place: Place, rounds: int) -> list[Row]:
    """The rows of the report."""
    load.prepare(place)
    found = take_turns("modes", list(METHODS), place, rounds=rounds)
    return [
        times("replace 300,000 x 16 by swap, with primary key", found, "replace", ["plain COPY"], floor=0.7, aim=0.8),
        times(
            "three secondary indexes: after the COPY, against before", found, "replace, three indexes", ["append, three indexes"],
            floor=1.8, aim=2.3,
        ),
        times("merge 300,000 unchanged rows", found, "merge, unchanged", ["plain COPY"], floor=0.5, aim=0.55),
        Row("merge 300,000 unchanged rows: rows rewritten", found["merge, unchanged"].value, {}, "rows", 0, 0),
    ]  # fmt: skip
