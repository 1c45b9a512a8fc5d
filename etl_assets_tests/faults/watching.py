"""Readers that poll the tables while loads go on: each look must find whole deliveries.

Not here: what is loaded.
"""

import threading
from types import TracebackType

import psycopg2

from etl_assets_tests.faults.warehouse import Warehouse

# Each gives the number of deliveries that are seen in part, or mixed with another one.
_HALF: dict[str, str] = {
    "appended": "SELECT count(*) FROM (SELECT count(*) AS rows FROM appended GROUP BY number) seen WHERE rows <> {rows}",
    "replaced": "SELECT count(*) FROM (SELECT count(*) AS rows, count(DISTINCT number) AS numbers FROM replaced) seen "
    "WHERE rows <> {rows} OR numbers <> 1",
    "merged": "SELECT count(*) FROM (SELECT count(*) AS rows, count(DISTINCT number) AS numbers FROM merged) seen "
    "WHERE rows <> {rows} OR numbers <> 1",
    "parted": "SELECT count(*) FROM (SELECT count(*) AS rows, count(DISTINCT number) AS numbers FROM parted GROUP BY part) seen "
    "WHERE rows <> {rows} OR numbers <> 1",
    "versioned": "SELECT count(*) FROM (SELECT count(*) AS rows, count(DISTINCT number) AS numbers FROM versioned "
    "WHERE valid_to IS NULL) seen WHERE rows <> {rows} OR numbers <> 1",
}


class Watch:
    """Polls all tables until the block ends.

    Args:
        warehouse: Where they are.
        rows: Of each delivery.

    Attributes:
        looks: How often a table was looked at.
        half_visible: How many looks found half a load, or two of them.
    """

    def __init__(self, warehouse: Warehouse, rows: int) -> None:
        self._warehouse = warehouse
        self._rows = rows
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch")
        self.looks = 0
        self.half_visible = 0

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            # A server that was killed, or has no connection left, is asked again later.
            try:
                with self._warehouse.session() as cursor:
                    while not self._ended.wait(0.05):
                        self._look(cursor)
            except psycopg2.Error:
                self._ended.wait(0.1)

    def _look(self, cursor: "psycopg2.extensions.cursor") -> None:
        for table, query in _HALF.items():
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
            found = cursor.fetchone()
            if found is None or not found[0]:
                continue
            try:
                cursor.execute(query.format(rows=self._rows))
            except psycopg2.errors.UndefinedTable:
                continue  # the name led to a table that was replaced between planning and opening it
            (half,) = cursor.fetchone() or (0,)
            self.looks += 1
            self.half_visible += int(half > 0)


__all__ = ["Watch"]
