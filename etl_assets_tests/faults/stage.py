"""What a fault plays on: the server, a proxy before it, deliveries in turn, and what the tables must hold.

Not here: the faults (`kinds.py`, `mistakes.py`), counting them (`suite.py`).
"""

import random
import time
from typing import Any

from etl_assets_tests.faults.deliveries import PARTS, TABLES, Delivery, Expected, Table
from etl_assets_tests.faults.process import PATIENT, Loader, LoaderProcess, Outcome, Settings
from etl_assets_tests.faults.warehouse import Warehouse
from etl_assets_tests.tcp_proxy import Proxy

HEALED_WITHIN_SECONDS = 60.0


class NotHealedError(Exception):
    """A delivery did not get into its table, however often it was tried."""


class Stage:
    """One run of faults.

    Args:
        warehouse: The server.
        proxy: Before the server.
        seed: For everything that is drawn.
        rows: Of each delivery.
        loader: Which one is tried.
        tables: Which tables are loaded.

    Attributes:
        expected: What the tables must hold.
        healed_seconds: How long it took from each fault until the delivery was in its table.
        rows_delivered: Rows of all deliveries that were made.
    """

    def __init__(
        self, warehouse: Warehouse, proxy: Proxy, *, seed: int, rows: int, loader: Loader = "etl_assets", tables: tuple[Table, ...] = TABLES
    ) -> None:
        self.warehouse = warehouse
        self.proxy = proxy
        self.random = random.Random(seed)
        self.rows = rows
        self.loader: Loader = loader
        self.tables = tables
        self.expected = Expected()
        self.healed_seconds: list[float] = []
        self.rows_delivered = 0
        self._number = 0

    def delivery(self, *tables: Table, **details: Any) -> Delivery:
        """The next one, for one of the tables."""
        self._number += 1
        table = self.random.choice([one for one in tables or self.tables if one in self.tables])
        part = self.random.randrange(PARTS) if table == "parted" else 0
        self.rows_delivered += self.rows
        return Delivery(**{"table": table, "number": self._number, "part": part, "rows": self.rows, "pause_seconds": 0.01, **details})

    def start(self, delivery: Delivery, *, through_proxy: bool = False, **settings: Any) -> LoaderProcess:
        """A loader that loads it."""
        port = self.proxy.port if through_proxy else None
        return LoaderProcess(self.warehouse.url(port), delivery, Settings(**{"loader": self.loader, "retry": PATIENT, **settings}))

    def load(self, delivery: Delivery, **settings: Any) -> Outcome:
        """Load it, and wait for its end."""
        return self.start(delivery, **settings).outcome()

    def settle(self, delivery: Delivery, outcome: Outcome, *, since: float) -> bool:
        """Whatever came of it: it is delivered again until it is in its table, as an orchestrator would. True when that had to be."""
        again = outcome.status != "loaded"
        while outcome.status != "loaded":
            if time.monotonic() - since > HEALED_WITHIN_SECONDS:
                raise NotHealedError(f"{delivery}: {outcome}")
            outcome = self.load(delivery)
        self.expected.add(delivery)
        self.healed_seconds.append(time.monotonic() - since)
        return again

    def refused(self, delivery: Delivery, outcome: Outcome, *words: str, since: float) -> bool:
        """It must have failed with one clear error that says these words; nothing of it may be in its table, and a corrected one is loaded.

        True when it did.
        """
        clear = outcome.status == "failed" and all(word in outcome.says for word in words) and "Next:" in outcome.says
        self.settle(self.delivery(delivery.table, part=delivery.part), Outcome(status="failed"), since=since)
        return clear


__all__ = ["HEALED_WITHIN_SECONDS", "NotHealedError", "Stage"]
