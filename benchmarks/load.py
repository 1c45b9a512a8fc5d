"""A frame into a table that is there, in one transaction: orders and flights."""

import functools
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from benchmarks import data, peers
from benchmarks.harness import Body, Method, take_turns
from benchmarks.place import Place
from benchmarks.report import Row, times

if TYPE_CHECKING:
    from etl_assets.loading.table import TableSpec

ROWS = data.ROWS
PEERS = (
    "orders adbc", "orders polars", "orders duckdb", "orders dlt parquet", "orders dlt csv", "orders dlt default", "flights dlt parquet",
)  # fmt: skip
FLOOR_OF_MEMORY, AIM_OF_MEMORY = 64, 32


def prepare(place: Place) -> None:
    """The frames as files, and what `psql \\copy` reads, written by the server."""
    orders, flights = data.orders(ROWS), data.flights()
    orders.to_pickle(place.folder / "orders.pickle")
    flights.to_pickle(place.folder / "flights.pickle")
    place.run("DROP TABLE IF EXISTS ready", data.orders_table("ready"))
    peers.pgpq(place, orders, "ready", data.orders_schema(), jsonb=("payload",))
    peers.psql(place, f"\\copy ready to '{place.folder}/orders.bin' (format binary)")
    place.run("DROP TABLE ready", data.flights_table("ready", flights))
    peers.pgpq(place, flights, "ready", pa.Schema.from_pandas(flights, preserve_index=False))
    peers.psql(place, f"\\copy ready to '{place.folder}/flights.bin' (format binary)")
    place.run("DROP TABLE ready")


def frame_of(place: Place, name: str) -> pd.DataFrame:
    """One of the frames."""
    return pd.read_pickle(place.folder / f"{name}.pickle")


def _table_of(name: str, frame: pd.DataFrame, json: str) -> str:
    return data.orders_table("given", json=json) if name == "orders" else data.flights_table("given", frame)


def _by(load: Callable[[Place, pd.DataFrame], object], name: str, *, json: str = "jsonb") -> Method:
    def method(place: Place) -> Body:
        frame = frame_of(place, name)
        place.run("DROP TABLE IF EXISTS given", _table_of(name, frame, json))
        load(place, frame.head(64))
        place.run("TRUNCATE given", "CHECKPOINT")

        def body() -> int:
            load(place, frame)
            return place.count("given")

        return body

    return method


def _by_psql(name: str) -> Method:
    def method(place: Place) -> Body:
        place.run("DROP TABLE IF EXISTS given", _table_of(name, frame_of(place, name), "jsonb"), "CHECKPOINT")

        def body() -> int:
            peers.psql(place, f"\\copy given from '{place.folder}/{name}.bin' (format binary)")
            return place.count("given")

        return body

    return method


def _schema(frame: pd.DataFrame) -> pa.Schema:
    return data.orders_schema() if "payload" in frame else pa.Schema.from_pandas(frame, preserve_index=False)


def ours(place: Place, frame: pd.DataFrame, *, types: Sequence[str] = ()) -> None:
    """Append as an asset does whose contract names the types: with ledger row, row count and the types of the catalog."""
    from etl_assets.loading.table import ColumnSpec, TableSpec

    columns = tuple(ColumnSpec(name=name, type=type_) for name, type_ in zip(frame.columns, types, strict=bool(types)))
    write(place, frame, TableSpec(columns=columns) if types else None, "append")


def write(place: Place, frame: pd.DataFrame, spec: "TableSpec | None", disposition: str) -> int:
    """Bring a frame into the table `given`; rows of the table that changed."""
    from etl_assets.loading.options import WriteDisposition, WriteOptions
    from etl_assets.loading.postgres import PostgresResource
    from etl_assets.loading.table import LoadIdentity, LoadRequest, TableRef

    request = LoadRequest(
        target=TableRef(schema="public", table="given"),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset="public/given"),
        spec=spec,
        write=WriteOptions(disposition=WriteDisposition(disposition)),
    )
    return PostgresResource(url=place.url).write(frame, request).rows_changed


_JSON, _TEXT = (tuple(given if type_ == "jsonb" else type_ for type_ in data.ORDERS.values()) for given in ("json", "text"))
BRIEF = (
    "orders ours", "orders psql binary", "orders ours, json", "orders adbc", "orders ours, text", "flights ours", "flights psql binary",
)  # fmt: skip
METHODS: dict[str, Method] = {
    "orders ours": _by(functools.partial(ours, types=tuple(data.ORDERS.values())), "orders"),
    "orders psql binary": _by_psql("orders"),
    "orders pgpq": _by(lambda place, frame: peers.pgpq(place, frame, "given", _schema(frame), jsonb=("payload",)), "orders"),
    "orders ours, json": _by(functools.partial(ours, types=_JSON), "orders", json="json"),
    "orders adbc": _by(lambda place, frame: peers.adbc(place, frame, "given", _schema(frame)), "orders", json="json"),
    "orders polars": _by(lambda place, frame: peers.polars(place, frame, "given", _schema(frame)), "orders", json="json"),
    # Of JSON in a frame dlt makes text.
    "orders ours, text": _by(functools.partial(ours, types=_TEXT), "orders", json="text"),
    "orders duckdb": _by(lambda place, frame: peers.duckdb(place, frame, "given"), "orders"),
    "orders dlt parquet": peers.dlt_method("parquet", lambda place: frame_of(place, "orders")),
    "orders dlt csv": peers.dlt_method("csv", lambda place: frame_of(place, "orders")),
    "orders dlt default": peers.dlt_method(None, lambda place: frame_of(place, "orders")),
    "flights ours": _by(ours, "flights"),
    "flights psql binary": _by_psql("flights"),
    "flights to_sql": _by(lambda place, frame: peers.to_sql(place, frame, "given"), "flights"),
    "flights dlt parquet": peers.dlt_method("parquet", lambda place: frame_of(place, "flights")),
}


def measured(place: Place, rounds: int) -> list[Row]:
    """The rows of the report."""
    prepare(place)
    found = take_turns("load", list(METHODS), place, rounds=rounds, peers=PEERS, brief=BRIEF)
    load = "load 300,000 x 16"
    return [
        times(f"{load}", found, "orders ours", ["orders psql binary", "orders pgpq", "orders duckdb"], floor=0.8, aim=1.0),
        times(f"{load}, payload as json", found, "orders ours, json", ["orders adbc", "orders polars"], floor=1.0, aim=1.2),
        times(f"{load}, payload as text, against dlt's best", found, "orders ours, text", ["orders dlt parquet"], floor=2, aim=3),
        times(f"{load}, payload as text, against dlt with csv", found, "orders ours, text", ["orders dlt csv"], floor=7, aim=10),
        times(f"{load}, payload as text, against dlt's default", found, "orders ours, text", ["orders dlt default"], floor=7, aim=10),
        times(f"{load}, payload as jsonb, against dlt's best", found, "orders ours", ["orders dlt parquet"], floor=None, aim=None),
        times("load 336,776 flights x 19", found, "flights ours", ["flights to_sql"], floor=40, aim=75),
        times("load 336,776 flights x 19, against the limit", found, "flights ours", ["flights psql binary"], floor=0.8, aim=1.0),
        times("load 336,776 flights x 19, against dlt's best", found, "flights ours", ["flights dlt parquet"], floor=2, aim=3),
        Row("load 300,000 x 16: memory over the frame", found["orders ours"].peak_mib, {}, "MiB", FLOOR_OF_MEMORY, AIM_OF_MEMORY),
    ]
