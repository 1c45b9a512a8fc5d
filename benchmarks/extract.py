"""A source into a frame: PostgreSQL, SQLite, JSON lines, Excel, CSV; ours against what pandas does by itself.

Ours gives values exactly as the source has them, with where each text stood; pandas guesses types and rounds.
"""

import contextlib
import importlib
import sqlite3
from collections.abc import Callable
from typing import Any, TypeAlias

import pandas as pd

from benchmarks import data, peers
from benchmarks.harness import Body, Method, take_turns
from benchmarks.place import Place
from benchmarks.report import Row, times

ROWS, OF_FILE, OF_NESTED, OF_WORKBOOK, FEW = data.ROWS, 200_000, 50_000, 20_000, 100
PEERS = ("postgresql adbc", "json polars", "csv polars")

Reader: TypeAlias = Callable[[str], pd.DataFrame]
"""Reads the orders, or the few."""


def prepare(place: Place) -> None:
    """A table, a database file and three files of orders, and of a few of them."""
    _make(place, "orders", ROWS)
    _make(place, "few", FEW)


def _make(place: Place, name: str, rows: int) -> None:
    import pyarrow.csv

    frame = data.orders(rows)
    place.run(f"DROP TABLE IF EXISTS {name}", data.orders_table(name))
    peers.pgpq(place, frame, name, data.orders_schema(), jsonb=("payload",))
    place.run(f"VACUUM ANALYZE {name}")
    files = place.folder / name
    some = frame.head(OF_FILE)
    flat = some.assign(
        amount=some["amount"].astype(float), ship_date=some["ship_date"].astype(str), created_at=some["created_at"].astype(str),
        updated_at=some["updated_at"].astype("str"),
    )  # fmt: skip
    with contextlib.closing(sqlite3.connect(place.folder / "orders.sqlite")) as connection:
        flat.to_sql(name, connection, index=False)
    some.to_json(
        files.with_suffix(".jsonl"),
        orient="records",
        lines=True,
        date_format="iso",
        date_unit="us",
        force_ascii=False,
        default_handler=str,
    )
    nested = some.head(OF_NESTED)[["id", "customer_id", "status", "comment"]].assign(
        item=[{"code": code, "price": price} for code, price in some.head(OF_NESTED)[["code", "price"]].to_numpy()]
    )
    nested.to_json(place.folder / f"{name}_nested.jsonl", orient="records", lines=True, force_ascii=False)
    flat.head(OF_WORKBOOK).to_excel(files.with_suffix(".xlsx"), index=False)
    pyarrow.csv.write_csv(data.orders_arrow(rows), files.with_suffix(".csv"))


def _ready(made: Callable[[Place], Reader]) -> Method:
    """A reader that is made beforehand and has read a few rows, so that its modules are imported."""

    def method(place: Place) -> Body:
        read = made(place)
        read("few")
        return lambda: len(read("orders"))

    return method


def _query(name: str) -> str:
    return f"SELECT * FROM {name}"


def _pandas(url: str) -> Reader:
    import sqlalchemy as sa

    def read(name: str) -> pd.DataFrame:
        with sa.create_engine(url).connect() as connection:
            return pd.read_sql(sa.text(_query(name)), connection)

    return read


def _adbc(driver: str, where: str) -> Reader:
    connect = importlib.import_module(f"{driver}.dbapi").connect

    def read(name: str) -> pd.DataFrame:
        with connect(where) as connection, connection.cursor() as cursor:
            cursor.execute(_query(name))
            frame: pd.DataFrame = cursor.fetch_arrow_table().to_pandas()
            return frame

    return read


def _sql(url: str) -> Reader:
    from etl_assets.connectors.sql import SqlResource

    source = SqlResource(url=url)
    return lambda name: source.read_query(_query(name))


def _bare_sqlite(place: Place) -> Reader:
    def read(name: str) -> pd.DataFrame:
        with contextlib.closing(sqlite3.connect(place.folder / "orders.sqlite")) as connection:
            return pd.read_sql(_query(name), connection)

    return read


def _sqlite_url(place: Place) -> str:
    return f"sqlite:///{place.folder}/orders.sqlite"


def _files(place: Place) -> Any:
    from etl_assets.connectors.files import FilesResource

    return FilesResource(base_folder=str(place.folder))


def _json_lines(place: Place) -> Reader:
    files = _files(place)
    return lambda name: files.read_json_lines(f"{name}.jsonl")


def _nested(place: Place) -> Reader:
    files = _files(place)
    return lambda name: files.read_json_lines(f"{name}_nested.jsonl", flatten="_")


def _pandas_nested(place: Place) -> Reader:
    def read(name: str) -> pd.DataFrame:
        frame = pd.read_json(place.folder / f"{name}_nested.jsonl", lines=True)
        return frame.drop(columns="item").join(pd.json_normalize(frame["item"].tolist(), sep="_"))

    return read


def _csv(place: Place) -> Reader:
    files = _files(place)
    return lambda name: files.read_csv(f"{name}.csv")


def _excel(place: Place) -> Reader:
    from etl_assets.connectors.excel import ExcelResource

    workbooks = ExcelResource(base_folder=str(place.folder))
    return lambda name: workbooks.read(f"{name}.xlsx")


def _polars_json(place: Place) -> Reader:
    import polars as pl

    return lambda name: pl.read_ndjson(place.folder / f"{name}.jsonl").to_pandas()


def _polars_csv(place: Place) -> Reader:
    import polars as pl

    return lambda name: pl.read_csv(place.folder / f"{name}.csv", try_parse_dates=True, infer_schema_length=10_000).to_pandas()


METHODS: dict[str, Method] = {
    "postgresql ours": _ready(lambda place: _sql(place.url)),
    "postgresql pandas": _ready(lambda place: _pandas(place.url)),
    "postgresql adbc": _ready(lambda place: _adbc("adbc_driver_postgresql", place.libpq_url)),
    "sqlite ours": _ready(lambda place: _sql(_sqlite_url(place))),
    "sqlite pandas": _ready(lambda place: _pandas(_sqlite_url(place))),
    "sqlite pandas, sqlite3": _ready(_bare_sqlite),
    "sqlite adbc, unchecked": _ready(lambda place: _adbc("adbc_driver_sqlite", str(place.folder / "orders.sqlite"))),
    "json ours": _ready(_json_lines),
    "json pandas": _ready(lambda place: lambda name: pd.read_json(place.folder / f"{name}.jsonl", lines=True)),
    "json polars": _ready(_polars_json),
    "nested ours": _ready(_nested),
    "nested pandas": _ready(_pandas_nested),
    "excel ours": _ready(_excel),
    "excel pandas": _ready(lambda place: lambda name: pd.read_excel(place.folder / f"{name}.xlsx")),
    "csv ours": _ready(_csv),
    "csv pandas": _ready(lambda place: lambda name: pd.read_csv(place.folder / f"{name}.csv")),
    "csv polars": _ready(_polars_csv),
}


def measured(place: Place, rounds: int) -> list[Row]:
    """The rows of the report."""
    prepare(place)
    found = take_turns("extract", list(METHODS), place, rounds=rounds, peers=PEERS)
    memory = {"pandas.read_sql": found["postgresql pandas"].peak_mib}
    return [
        times("PostgreSQL 300,000 x 16", found, "postgresql ours", ["postgresql pandas", "postgresql adbc"], floor=4, aim=5),
        Row("PostgreSQL 300,000 x 16: memory", found["postgresql ours"].peak_mib, memory, "MiB", 1 / 3, 1 / 4),
        times("JSON lines 200,000 x 16", found, "json ours", ["json pandas", "json polars"], floor=8, aim=13),
        times("JSON lines 50,000, with an object in each", found, "nested ours", ["nested pandas"], floor=None, aim=None),
        times("Excel 20,000 x 16", found, "excel ours", ["excel pandas"], floor=4, aim=5.6),
        times(
            "SQLite 200,000 x 16",
            found,
            "sqlite ours",
            ["sqlite pandas", "sqlite pandas, sqlite3", "sqlite adbc, unchecked"],
            floor=4,
            aim=6,
        ),
        times("CSV 300,000 x 16 as text with positions", found, "csv ours", ["csv pandas", "csv polars"], floor=None, aim=None),
    ]
