"""A dirty CSV of 210,000 rows to a clean, validated table that takes the place of the last one.

Everywhere the same: the last of repeated ids (5 %), codes trimmed and in upper case, a missing discount is 0, rows without a price are
left out, ranges, patterns and sets are checked, and the table is replaced in one transaction. Ours reads the rows as text with their
position, converts them by a contract, and leaves a table with a primary key and the contract's checks, and a row in the ledger: once as
Python, which is what the others are, and once as an asset that Dagster materialises, with all its checks and events.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import data, peers
from benchmarks.harness import Body, Method, take_turns
from benchmarks.place import Place
from benchmarks.report import Row, times

ROWS = 200_000
STATES = ["", "OPEN", "SHIPPED", "RETURNED", "NULL"]
PEERS = ("dlt", "dlt default", "polars", "duckdb")


def prepare(place: Place) -> None:
    """The file."""
    import pyarrow as pa
    import pyarrow.csv

    frame = data.orders(ROWS)
    frame.loc[frame.sample(frac=0.01, random_state=3).index, "price"] = np.nan
    frame = pd.concat([frame, frame.sample(frac=0.05, random_state=1)]).sample(frac=1, random_state=2, ignore_index=True)
    frame["code"] = " " + frame["code"].str.lower() + " "
    pyarrow.csv.write_csv(pa.Table.from_pandas(frame, schema=data.orders_schema(), preserve_index=False), place.folder / "dirty.csv")


def _file(place: Place) -> Path:
    return place.folder / "dirty.csv"


def _read_by_pandas(place: Place) -> pd.DataFrame:
    return pd.read_csv(_file(place), parse_dates=["created_at", "updated_at"])


def _clean(frame: pd.DataFrame) -> pd.DataFrame:
    kept = frame.drop_duplicates("id", keep="last").dropna(subset=["price"])
    return kept.assign(code=kept["code"].str.strip().str.upper(), discount=kept["discount"].fillna(0.0))


def _schema() -> Any:
    import pandera.pandas as pa

    text = pd.StringDtype(na_value=np.nan)
    return pa.DataFrameSchema(
        {
            "id": pa.Column("int64", pa.Check.ge(0), unique=True), "customer_id": pa.Column(None, pa.Check.in_range(0, 150_000)),
            "quantity": pa.Column(None, pa.Check.in_range(1, 50)), "price": pa.Column("float64", pa.Check.ge(0)),
            "discount": pa.Column("float64", pa.Check.in_range(0, 1)), "code": pa.Column(text, pa.Check.str_matches(r"^P\d{6}$")),
            "status": pa.Column(text, pa.Check.isin(STATES), nullable=True), "comment": pa.Column(text, pa.Check.str_length(1, 400)),
        }
    )  # fmt: skip


def _script(place: Place) -> Body:
    import sqlalchemy as sa

    schema = _schema()
    schema.validate(_clean(pd.read_csv(_file(place), nrows=64)), lazy=True)

    def body() -> int:
        frame = schema.validate(_clean(_read_by_pandas(place)), lazy=True)
        with sa.create_engine(place.url).begin() as connection:
            frame.to_sql("cleaned", connection, if_exists="replace", index=False)
        return place.count("cleaned")

    return body


def _dlt(file_format: str | None, place: Place) -> Body:
    place.run("DROP SCHEMA IF EXISTS by_dlt CASCADE", "DROP SCHEMA IF EXISTS by_dlt_staging CASCADE")
    peers.dlt(place, _clean(pd.read_csv(_file(place), nrows=64)), "cleaned", file_format)
    place.run("DROP SCHEMA by_dlt CASCADE")

    def body() -> int:
        peers.dlt(place, _clean(_read_by_pandas(place)), "cleaned", file_format)
        return place.count("by_dlt.cleaned")

    return body


def _polars(place: Place) -> Body:
    import adbc_driver_postgresql.dbapi  # noqa: F401
    import polars as pl

    def body() -> int:
        frame = pl.read_csv(_file(place), try_parse_dates=True, infer_schema_length=10_000).unique("id", keep="last").drop_nulls("price")
        frame = frame.with_columns(pl.col("code").str.strip_chars().str.to_uppercase(), pl.col("discount").fill_null(0.0))
        right = pl.col("quantity").is_between(1, 50) & pl.col("discount").is_between(0, 1) & pl.col("code").str.contains(r"^P\d{6}$")
        assert frame.select((right & pl.col("status").is_in(STATES).fill_null(value=True)).all()).item()
        frame.write_database("cleaned", place.libpq_url, engine="adbc", if_table_exists="replace")
        return place.count("cleaned")

    return body


def _duckdb(place: Place) -> Body:
    connection = peers.attached_duckdb(place)

    def body() -> int:
        connection.execute(
            "CREATE TABLE cleaned AS SELECT * EXCLUDE (place) REPLACE (upper(trim(code)) AS code, coalesce(discount, 0) AS discount)"
            " FROM (SELECT *, row_number() OVER (PARTITION BY id) AS place FROM"
            f" read_csv('{_file(place)}', header=true, quote='\"', escape='\"', delim=',') WHERE price IS NOT NULL) WHERE place = 1"
        )
        checks = r"quantity BETWEEN 1 AND 50 AND discount BETWEEN 0 AND 1 AND regexp_full_match(code, 'P\d{6}')"
        assert connection.execute(f"SELECT bool_and({checks}) FROM cleaned").fetchone()[0]
        connection.execute("BEGIN; DROP TABLE IF EXISTS there.public.cleaned; CREATE TABLE there.public.cleaned AS FROM cleaned; COMMIT")
        return place.count("cleaned")

    return body


def _ours(place: Place) -> Body:
    import uuid

    from benchmarks.pipeline_assets import STEPS, Cleaned
    from etl_assets.cleaning import clean
    from etl_assets.connectors.files import FilesResource
    from etl_assets.contracts import Contract
    from etl_assets.loading.options import WriteOptions
    from etl_assets.loading.postgres import PostgresResource
    from etl_assets.loading.table import LoadIdentity, LoadRequest, TableRef

    files, postgres, contract = FilesResource(base_folder=str(place.folder)), PostgresResource(url=place.url), Contract.of(Cleaned)

    def load(file: str) -> int:
        split = contract.split(clean(files.read_csv(file), STEPS), where="clean/cleaned")
        assert not len(split.rejected)
        request = LoadRequest(
            target=TableRef(schema="clean", table="cleaned"),
            identity=LoadIdentity(load_id=uuid.uuid4(), asset="clean/cleaned"),
            spec=contract.table,
            write=WriteOptions(),
        )
        return postgres.write(split.valid, request).rows_loaded

    load(_few_rows(place))
    return lambda: load("dirty.csv")


def _few_rows(place: Place) -> str:
    few = pd.read_csv(_file(place), nrows=64, dtype=str, keep_default_na=False)
    few.to_csv(place.folder / "few.csv", index=False)
    return "few.csv"


def _asset(place: Place) -> Body:
    import dagster as dg

    from benchmarks.pipeline_assets import cleaned
    from etl_assets.connectors.files import FilesResource
    from etl_assets.loading.io_manager import PostgresIOManager
    from etl_assets.loading.postgres import PostgresResource

    postgres = PostgresResource(url=place.url)
    instance = dg.DagsterInstance.ephemeral()

    def materialise(file: str) -> None:
        resources = {"files": FilesResource(base_folder=str(place.folder)), "io_manager": PostgresIOManager(postgres=postgres)}
        run_config = {"ops": {"clean__cleaned": {"config": {"file": file}}}}
        dg.materialize([cleaned], resources=resources, instance=instance, run_config=run_config)

    materialise(_few_rows(place))

    def body() -> int:
        materialise("dirty.csv")
        return place.count("clean.cleaned")

    return body


_By = Callable[[Place], Body]


def _fresh(prepare_: _By) -> Method:
    def method(place: Place) -> Body:
        place.run("DROP TABLE IF EXISTS public.cleaned", "DROP SCHEMA IF EXISTS clean CASCADE")
        body = prepare_(place)
        place.run("CHECKPOINT")
        return body

    return method


METHODS: dict[str, Method] = {
    "ours": _fresh(_ours),
    "ours as an asset": _fresh(_asset),
    "plain script": _fresh(_script),
    "dlt": _fresh(functools.partial(_dlt, "parquet")),
    "dlt default": _fresh(functools.partial(_dlt, None)),
    "polars": _fresh(_polars),
    "duckdb": _fresh(_duckdb),
}


def measured(place: Place, rounds: int) -> list[Row]:
    """The rows of the report."""
    prepare(place)
    found = take_turns("pipeline", list(METHODS), place, rounds=rounds, peers=PEERS)
    what = "dirty CSV of 210,000 rows to a clean, validated table"
    return [
        times(what, found, "ours", ["plain script", "polars", "duckdb"], floor=8, aim=12),
        times(f"{what}, as an asset with its checks, by Dagster", found, "ours as an asset", ["plain script"], floor=None, aim=None),
        times(f"{what}, against dlt's best, which validates nothing", found, "ours", ["dlt", "dlt default"], floor=1.1, aim=1.5),
    ]
