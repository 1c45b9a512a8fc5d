"""A source into a frame: PostgreSQL, SQLite, JSON lines, Excel, CSV; ours against what pandas does by itself.

Ours gives values exactly as the source has them, with where each text stood; pandas guesses types and rounds.
"""

import contextlib
import functools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import data, peers
from benchmarks.harness import Body, Method, take_turns
from benchmarks.place import Place
from benchmarks.report import Row, times

ROWS, OF_FILE, OF_WORKBOOK = data.ROWS, 200_000, 20_000
PEERS = ("postgresql adbc", "json polars", "csv polars")
QUERY = "SELECT * FROM given"


def prepare(place: Place) -> None:
    """A table, a database file and three files of orders."""
    frame = data.orders(ROWS)
    place.run("DROP TABLE IF EXISTS given", data.orders_table("given"))
    peers.pgpq(place, frame, "given", data.orders_schema(), jsonb=("payload",))
    place.run("VACUUM ANALYZE given")
    few = frame.head(OF_FILE)
    flat = few.assign(
        amount=few["amount"].astype(float), ship_date=few["ship_date"].astype(str), created_at=few["created_at"].astype(str),
        updated_at=few["updated_at"].astype("str"),
    )  # fmt: skip
    with contextlib.closing(sqlite3.connect(place.folder / "orders.sqlite")) as connection:
        flat.to_sql("given", connection, index=False)
    few.to_json(
        place.folder / "orders.jsonl",
        orient="records",
        lines=True,
        date_format="iso",
        date_unit="us",
        force_ascii=False,
        default_handler=str,
    )
    flat.head(OF_WORKBOOK).to_excel(place.folder / "orders.xlsx", index=False)
    import pyarrow.csv

    pyarrow.csv.write_csv(data.orders_arrow(ROWS), place.folder / "orders.csv")


def _ready(read: Callable[[Place], Any], *imports: str) -> Method:
    """A reader whose modules are imported beforehand."""

    def method(place: Place) -> Body:
        for name in imports:
            __import__(name)
        return lambda: len(read(place))

    return method


def _ours(made: Callable[[Place], Callable[[], pd.DataFrame]]) -> Method:
    """A reader of ours, whose modules are imported and whose resource is made beforehand."""

    def method(place: Place) -> Body:
        for name in ("adbc_driver_sqlite.dbapi", "openpyxl", "python_calamine", "pyarrow.json"):
            __import__(name)
        read = made(place)
        return lambda: len(read())

    return method


def _pandas_postgresql(place: Place) -> pd.DataFrame:
    import sqlalchemy as sa

    with sa.create_engine(place.url).connect() as connection:
        return pd.read_sql(sa.text(QUERY), connection)


def _adbc_postgresql(place: Place) -> pd.DataFrame:
    import adbc_driver_postgresql.dbapi as driver

    with driver.connect(place.libpq_url) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        frame: pd.DataFrame = cursor.fetch_arrow_table().to_pandas()
        return frame


def _sql(url: str) -> Callable[[], pd.DataFrame]:
    from etl_assets.connectors.sql import SqlResource

    source = SqlResource(url=url)
    return lambda: source.read_query(QUERY)


def _pandas_sqlite(place: Place) -> pd.DataFrame:
    import sqlalchemy as sa

    with sa.create_engine(f"sqlite:///{place.folder}/orders.sqlite").connect() as connection:
        return pd.read_sql(sa.text(QUERY), connection)


def _bare_sqlite(place: Place) -> pd.DataFrame:
    with contextlib.closing(sqlite3.connect(place.folder / "orders.sqlite")) as connection:
        return pd.read_sql(QUERY, connection)


def _adbc_sqlite(place: Place) -> pd.DataFrame:
    import adbc_driver_sqlite.dbapi as driver

    with driver.connect(str(place.folder / "orders.sqlite")) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        frame: pd.DataFrame = cursor.fetch_arrow_table().to_pandas()
        return frame


def _files(place: Place) -> Any:
    from etl_assets.connectors.files import FilesResource

    return FilesResource(base_folder=str(place.folder))


def _excel(place: Place) -> Callable[[], pd.DataFrame]:
    from etl_assets.connectors.excel import ExcelResource

    workbooks = ExcelResource(base_folder=str(place.folder))
    return lambda: workbooks.read("orders.xlsx")


def _polars_json(place: Place) -> pd.DataFrame:
    import polars as pl

    return pl.read_ndjson(place.folder / "orders.jsonl").to_pandas()


def _polars_csv(place: Place) -> pd.DataFrame:
    import polars as pl

    return pl.read_csv(place.folder / "orders.csv", try_parse_dates=True, infer_schema_length=10_000).to_pandas()


def _file(place: Place, name: str) -> Path:
    return place.folder / name


METHODS: dict[str, Method] = {
    "postgresql ours": _ours(lambda place: _sql(place.url)),
    "postgresql pandas": _ready(_pandas_postgresql, "sqlalchemy", "psycopg2"),
    "postgresql adbc": _ready(_adbc_postgresql, "adbc_driver_postgresql.dbapi"),
    "sqlite ours": _ours(lambda place: _sql(f"sqlite:///{place.folder}/orders.sqlite")),
    "sqlite pandas": _ready(_pandas_sqlite, "sqlalchemy"),
    "sqlite pandas, sqlite3": _ready(_bare_sqlite),
    "sqlite adbc, unchecked": _ready(_adbc_sqlite, "adbc_driver_sqlite.dbapi"),
    "json ours": _ours(lambda place: functools.partial(_files(place).read_json_lines, "orders.jsonl")),
    "json pandas": _ready(lambda place: pd.read_json(_file(place, "orders.jsonl"), lines=True)),
    "json polars": _ready(_polars_json, "polars"),
    "excel ours": _ours(_excel),
    "excel pandas": _ready(lambda place: pd.read_excel(_file(place, "orders.xlsx")), "openpyxl"),
    "csv ours": _ours(lambda place: functools.partial(_files(place).read_csv, "orders.csv")),
    "csv pandas": _ready(lambda place: pd.read_csv(_file(place, "orders.csv"))),
    "csv polars": _ready(_polars_csv, "polars"),
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
