"""More rows than should be held: a CSV of three million rows into a table, and a table of three million into another one.

Ours are assets that yield batches; the rows are the orders of `data.py`, their contracts those of `contracts.py`. PostgreSQL to PostgreSQL
is compared with psql piped into psql, which reads and writes the server's own binary form.
"""

import subprocess
from collections.abc import Iterator
from typing import Any

from pandera.typing import DataFrame

from benchmarks import data, peers
from benchmarks.contracts import Copied, Orders
from benchmarks.harness import Body, Method, take_turns
from benchmarks.place import Place
from benchmarks.report import Row, times

ROWS = 3_000_000
FEW = 300_000
MOST_MEMORY, AIM_OF_MEMORY = 400, 300


def prepare(place: Place) -> None:
    """Two files and the table `given`."""
    import pyarrow.csv

    place.run("DROP TABLE IF EXISTS given", data.orders_table("given"))
    for rows in (FEW, ROWS):
        with pyarrow.csv.CSVWriter(place.folder / f"{rows}.csv", data.orders_schema()) as file:
            for part in data.parts(rows):
                file.write_table(part)
    for part in data.parts(ROWS):
        peers.pgpq(place, part.to_pandas(date_as_object=True), "given", data.orders_schema(), jsonb=("payload",))
    place.run(
        "ALTER TABLE given ADD PRIMARY KEY (id)", "VACUUM ANALYZE given", "CREATE TABLE few AS SELECT * FROM given LIMIT 64", "CHECKPOINT"
    )


def _materialised(place: Place, asset: Any, table: str) -> Body:
    """A body that materialises an asset which has done so once with few rows."""
    import dagster as dg

    from etl_assets.connectors.files import FilesResource
    from etl_assets.connectors.sql import SqlResource
    from etl_assets.loading.io_manager import PostgresIOManager
    from etl_assets.loading.postgres import PostgresResource

    instance = dg.DagsterInstance.ephemeral()
    resources = {
        "files": FilesResource(base_folder=str(place.folder)),
        "source": SqlResource(url=place.url),
        "io_manager": PostgresIOManager(postgres=PostgresResource(url=place.url)),
    }
    place.run(f"DROP TABLE IF EXISTS {table}")

    def body() -> int:
        dg.materialize([asset], resources=resources, instance=instance)
        return place.count(table)

    return body


def _file(place: Place, rows: int, *, whole: bool) -> Body:
    from etl_assets.assets import etl_asset
    from etl_assets.connectors.files import FilesResource

    if whole:

        @etl_asset(schema="clean")
        def streamed(files: FilesResource) -> DataFrame[Orders]:
            return files.read_csv(f"{rows}.csv")
    else:

        @etl_asset(schema="clean")
        def streamed(files: FilesResource) -> Iterator[DataFrame[Orders]]:
            yield from files.read_csv_batches(f"{rows}.csv")

    return _materialised(place, streamed, "clean.streamed")


def _table(place: Place) -> Body:
    from etl_assets.assets import etl_asset
    from etl_assets.connectors.sql import SqlResource

    @etl_asset(schema="clean")
    def copied(source: SqlResource) -> Iterator[DataFrame[Copied]]:
        yield from source.read_table_batches("given")

    return _materialised(place, copied, "clean.copied")


def _psql_to_psql(place: Place) -> Body:
    place.run("DROP TABLE IF EXISTS copied", data.orders_table("copied"))
    command = [str(place.psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", place.libpq_url, "-c"]

    def body() -> int:
        source = subprocess.Popen([*command, "\\copy given to stdout (format binary)"], stdout=subprocess.PIPE)
        subprocess.run([*command, "\\copy copied from stdin (format binary)"], stdin=source.stdout, check=True)
        assert source.wait() == 0
        return place.count("copied")

    return body


METHODS: dict[str, Method] = {
    "file": lambda place: _file(place, ROWS, whole=False),
    "file, in memory": lambda place: _file(place, ROWS, whole=True),
    "file, a tenth": lambda place: _file(place, FEW, whole=False),
    "table": _table,
    "psql to psql": _psql_to_psql,
}


def measured(place: Place, rounds: int) -> list[Row]:
    """The rows of the report."""
    prepare(place)
    found = take_turns("streams", list(METHODS), place, rounds=rounds)
    file, tenth, table = found["file"], found["file, a tenth"], found["table"]
    return [
        Row("CSV of 3,000,000 x 16, streamed: memory", file.peak_mib, {}, "MiB", MOST_MEMORY, AIM_OF_MEMORY),
        Row("CSV streamed: memory with ten times the rows", file.peak_mib, {"a tenth of the rows": tenth.peak_mib}, "MiB", 1.25, 1.1),
        Row("CSV streamed: time with ten times the rows", file.seconds, {"a tenth of the rows": tenth.seconds}, "s", 10.5, 10.0),
        Row("CSV streamed, against in memory", file.seconds, {"in memory": found["file, in memory"].seconds}, "s", 1.1, 0.7),
        times("PostgreSQL to PostgreSQL, 3,000,000 x 16", found, "table", ["psql to psql"], floor=0.5, aim=0.8),
        Row("PostgreSQL to PostgreSQL: memory", table.peak_mib, {}, "MiB", MOST_MEMORY, AIM_OF_MEMORY),
    ]
