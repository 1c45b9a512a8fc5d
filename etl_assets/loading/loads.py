"""Loads that were made, read from the load ledger.

Not here: how they are recorded (`ledger.py`), what people see of them (`cli_loading.py`).
"""

import datetime
from dataclasses import dataclass

from etl_assets.loading import sql as statements
from etl_assets.loading.postgres import PostgresResource


@dataclass(frozen=True, kw_only=True)
class Load:
    """One load.

    Attributes:
        recorded_at: When it ended, by the server's clock.
        asset: Asset key.
        partition: Partition key; None for an asset without.
        status: "succeeded" or "failed".
        disposition: How the table was to change.
        strategy: How a replace or a merge was carried out; None otherwise.
        rows_read: Rows the asset started from; None when unknown.
        rows_loaded: Rows delivered to the table; None for a failed load.
        rows_changed: Rows of the table that were added, changed, ended or removed; None for a failed load.
        rows_quarantined: Rows in the quarantine.
        rows_dropped: Rows that a declared rule dropped.
        seconds: How long it took.
        error_class: Name of the error; None for a successful load.
        sqlstate: What PostgreSQL called it; None when it said nothing.
        message: The error in words, without passwords.
        load_id: Its id.
        run_id: Run of the orchestrator; None outside one.
        orchestrator: "dagster", "airflow" or "python".
    """

    recorded_at: datetime.datetime
    asset: str
    partition: str | None
    status: str
    disposition: str
    strategy: str | None
    rows_read: int | None
    rows_loaded: int | None
    rows_changed: int | None
    rows_quarantined: int | None
    rows_dropped: int | None
    seconds: float
    error_class: str | None
    sqlstate: str | None
    message: str | None
    load_id: str
    run_id: str | None
    orchestrator: str


def list_loads(postgres: PostgresResource, asset: str | None = None, *, failed: bool = False, most: int = 20) -> list[Load]:
    """Loads, the newest first; none before the first one.

    Args:
        postgres: Where the tables are.
        asset: Asset key; None for all assets.
        failed: Only those that failed.
        most: How many.

    Raises:
        EtlError: PostgreSQL cannot be reached or refuses.
    """
    if not postgres.has_table("loads", schema="etl"):
        return []
    names = list(Load.__dataclass_fields__)
    rows = postgres.read_rows(statements.LOADS, {"asset": asset, "failed": failed, "most": most})
    return [Load(**dict(zip(names, row, strict=True))) for row in rows]


__all__ = ["Load", "list_loads"]
