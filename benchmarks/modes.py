"""What transactional and idempotent ways of writing cost over a plain COPY of the same rows: replace, indexes, merge."""

import functools
import uuid

from benchmarks import data, peers
from benchmarks.harness import Body, take_turns
from benchmarks.load import ROWS, frame_of
from benchmarks.place import Place
from benchmarks.report import Row, times

_INDEXES = (("customer_id",), ("created_at",), ("code",))


def _write(place: Place, disposition: str, *, indexes: tuple[tuple[str, ...], ...] = (), rows: int = ROWS, frame: object = None) -> int:
    from etl_assets.loading.options import WriteDisposition, WriteOptions
    from etl_assets.loading.postgres import PostgresResource
    from etl_assets.loading.table import ColumnSpec, LoadIdentity, LoadRequest, TableRef, TableSpec

    columns = tuple(ColumnSpec(name=name, type=type_, nullable=name != "id") for name, type_ in data.ORDERS.items())
    request = LoadRequest(
        target=TableRef(schema="public", table="given"),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset="public/given"),
        spec=TableSpec(columns=columns, primary_key=("id",), indexes=indexes),
        write=WriteOptions(disposition=WriteDisposition(disposition)),
    )
    given = frame_of(place, "orders").head(rows) if frame is None else frame
    return PostgresResource(url=place.url).write(given, request).rows_changed  # type: ignore[arg-type]


def _plain(place: Place) -> Body:
    frame = frame_of(place, "orders")
    place.run("DROP TABLE IF EXISTS given", data.orders_table("given"))
    load = functools.partial(peers.pgpq, place, table="given", schema=data.orders_schema(), jsonb=("payload",))
    load(frame=frame.head(64))
    place.run("TRUNCATE given", "CHECKPOINT")

    def body() -> int:
        load(frame=frame)
        return place.count("given")

    return body


def _ours(disposition: str, *, indexes: tuple[tuple[str, ...], ...] = (), empty: bool = False) -> "functools.partial[Body]":
    return functools.partial(_prepare_ours, disposition, indexes, empty)


def _prepare_ours(disposition: str, indexes: tuple[tuple[str, ...], ...], empty: bool, place: Place) -> Body:
    frame = frame_of(place, "orders")
    place.run("DROP TABLE IF EXISTS given")
    _write(place, "replace", indexes=indexes, rows=64 if empty else ROWS)
    if empty:
        place.run("TRUNCATE given")
    place.run("ANALYZE given", "CHECKPOINT")
    return lambda: _write(place, disposition, indexes=indexes, frame=frame)


METHODS = {
    "plain COPY": _plain,
    "replace": _ours("replace"),
    "replace, three indexes": _ours("replace", indexes=_INDEXES),
    "append, three indexes": _ours("append", indexes=_INDEXES, empty=True),
    "merge, unchanged": _ours("merge"),
}


def measured(place: Place, rounds: int) -> list[Row]:
    """The rows of the report."""
    from benchmarks import load

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
