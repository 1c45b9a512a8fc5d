"""What people would use instead, each at its best as far as its documentation tells, and none with a part of this project.

Modules are imported where they are used: each runs in the interpreter that has it. `warm` rows are brought first, untimed.
"""

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from benchmarks.place import Place

_BATCH = 25_000


def psql(place: Place, command: str) -> None:
    """Run one command of psql."""
    subprocess.run([place.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", place.libpq_url, "-c", command], check=True)


def to_sql(place: Place, frame: pd.DataFrame, table: str) -> None:
    """`DataFrame.to_sql` as it is."""
    import sqlalchemy as sa

    engine = sa.create_engine(place.url)
    with engine.begin() as connection:
        frame.to_sql(table, connection, if_exists="append", index=False)
    engine.dispose()


def batches(frame: pd.DataFrame, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A frame in Arrow batches."""
    for start in range(0, len(frame), _BATCH):
        part = pa.Table.from_pandas(frame.iloc[start : start + _BATCH], schema=schema, preserve_index=False)
        yield from part.combine_chunks().to_batches()


class _Chunks(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def pgpq(place: Place, frame: pd.DataFrame, table: str, schema: pa.Schema, *, jsonb: tuple[str, ...] = ()) -> None:
    """pgpq and psycopg2, with nothing around: one COPY, one commit, no look at the table or at what was counted."""
    import pgpq as encoder_
    import psycopg2
    from pgpq.encoders import LargeStringEncoderBuilder
    from pgpq.schema import Jsonb

    chosen = {
        field.name: LargeStringEncoderBuilder.new_with_output(field, Jsonb())
        if field.name in jsonb
        else encoder_.ArrowToPostgresBinaryEncoder.infer_encoder(field)
        for field in schema
    }
    encoder = encoder_.ArrowToPostgresBinaryEncoder.new_with_encoders(schema, chosen)

    def chunks() -> Iterator[bytes]:
        yield encoder.write_header()
        for batch in batches(frame, schema):
            yield encoder.write_batch(batch)
        yield encoder.finish()

    with contextlib.closing(psycopg2.connect(place.libpq_url)) as connection, connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} FROM STDIN WITH (FORMAT binary)", _Chunks(chunks()), size=1 << 18)
        connection.commit()


def adbc(place: Place, frame: pd.DataFrame, table: str, schema: pa.Schema) -> None:
    """ADBC's ingest, which streams Arrow batches by binary COPY."""
    import adbc_driver_postgresql.dbapi as driver

    with driver.connect(place.libpq_url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(table, pa.RecordBatchReader.from_batches(schema, batches(frame, schema)), mode="append")
        connection.commit()


def polars(place: Place, frame: pd.DataFrame, table: str, schema: pa.Schema) -> None:
    """polars' `write_database` with the engine adbc."""
    import polars as pl

    given: Any = pl.from_arrow(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
    given.write_database(table, place.libpq_url, engine="adbc", if_table_exists="append")


def duckdb(place: Place, frame: pd.DataFrame, table: str) -> None:
    """DuckDB into a PostgreSQL that it has attached."""
    connection = attached_duckdb(place)
    connection.register("given", frame)
    connection.execute(f"INSERT INTO there.public.{table} SELECT * FROM given")
    connection.close()


def attached_duckdb(place: Place) -> Any:
    """A DuckDB with the server attached as `there`."""
    import duckdb as duckdb_
    import duckdb_extension_postgres_scanner as extension

    (file,) = Path(extension.__path__[0]).rglob("*.duckdb_extension")
    connection = duckdb_.connect()
    connection.execute(f"LOAD '{file}'")
    connection.execute(f"ATTACH '{place.libpq_url}' AS there (TYPE postgres)")
    return connection


def dlt(place: Place, data: Any, table: str, file_format: str | None) -> None:
    """dlt 1.31; None for the file format it takes itself."""
    import dlt as dlt_

    folder = place.folder / "dlt"
    shutil.rmtree(folder, ignore_errors=True)
    destination = dlt_.destinations.postgres(place.libpq_url)
    pipeline = dlt_.pipeline("benchmark", destination=destination, dataset_name="by_dlt", pipelines_dir=str(folder))
    pipeline.run(data, table_name=table, write_disposition="replace", loader_file_format=file_format)


def dlt_method(file_format: str | None, frame_of: Callable[[Place], pd.DataFrame]) -> Callable[[Place], Callable[[], int]]:
    """A method that loads a frame with dlt, warmed up with a few rows."""

    def prepare(place: Place) -> Callable[[], int]:
        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        frame = frame_of(place)
        place.run("DROP SCHEMA IF EXISTS by_dlt CASCADE", "DROP SCHEMA IF EXISTS by_dlt_staging CASCADE")
        dlt(place, frame.head(64), "given", file_format)
        place.run("DROP SCHEMA by_dlt CASCADE", "CHECKPOINT")

        def body() -> int:
            dlt(place, frame, "given", file_format)
            return place.count("by_dlt.given")

        return body

    return prepare
