"""Datasette, a server of others, over some rows of a test.

Not here: how it is started (the example does that, `planes_api.py`).
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from etl_assets.pipelines.nyc_flights.sources.planes_api import serve_planes


@contextmanager
def serve_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Base URL of a Datasette with the table `planes`: the rows, `id` their key, everything else text."""
    names = list(rows[0])
    columns = ", ".join("id INTEGER PRIMARY KEY" if name == "id" else f"{name} TEXT" for name in names)
    with closing(sqlite3.connect(folder / "planes.db")) as connection, connection:
        connection.execute(f"CREATE TABLE planes ({columns})")
        connection.executemany(f"INSERT INTO planes VALUES ({', '.join(f':{name}' for name in names)})", rows)
    with serve_planes(folder / "planes.db", folder / "datasette.log") as base_url:
        yield base_url


__all__ = ["serve_rows"]
