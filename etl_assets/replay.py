"""Rows of the quarantine through their contract again, after the contract or the rows were corrected: what passes is loaded, once.

Not here: which rows are in quarantine (`loading/quarantine.py`), loading.
"""

import uuid
from dataclasses import dataclass

import dagster as dg

from etl_assets.assets import defined_asset
from etl_assets.loading.options import MergeStrategy, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.quarantine import QuarantinedRow, frame_of, open_rows
from etl_assets.loading.table import LoadIdentity, LoadRequest, RowCounts

RAW = "raw"
_ADDED_UNLESS_THERE = WriteOptions(disposition=WriteDisposition.MERGE, merge_strategy=MergeStrategy.INSERT_ONLY)


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What a replay did, or would do.

    Attributes:
        asset: The asset.
        passing: Rows that keep the contract now.
        loaded: Rows that were added to the table; rows whose key is there already stay as they are.
        failing: Rows that still break it, with what they break now.
        unreadable: Rows of a source that have no columns, and so no contract to go through.
    """

    asset: str
    passing: int
    loaded: int
    failing: tuple[tuple[QuarantinedRow, str], ...]
    unreadable: tuple[QuarantinedRow, ...]


def replay(postgres: PostgresResource, asset: str, *, dry_run: bool = False) -> ReplayResult:
    """Send the rows of an asset that are missing from its table through its contract, and load those that pass.

    A row is added unless its primary key is in the table already: a newer row of the key may have come meanwhile. Rows and their mark in
    etl.quarantine commit together, so that a second replay finds them done.

    Args:
        postgres: Where table and quarantine are.
        asset: Asset key, such as "clean/orders"; its module must have been imported.
        dry_run: Only tell what would happen.

    Raises:
        ConfigurationError: No asset of that key is defined.
        ContractViolationError: The records have other columns than the contract.
        EtlError: PostgreSQL refuses; nothing was loaded then.
    """
    key = dg.AssetKey.from_user_string(asset)
    known = defined_asset(key)
    contract = known.contract
    found = open_rows(postgres, asset)
    unreadable = tuple(row for row in found if set(row.record) == {RAW})
    rows = [row for row in found if set(row.record) != {RAW}]
    if not rows:
        return ReplayResult(asset=asset, passing=0, loaded=0, failing=(), unreadable=unreadable)
    split = contract.split(frame_of(rows), where=asset)
    passing = [row for row, kept in zip(rows, split.kept, strict=True) if kept]
    refused = [row for row, kept in zip(rows, split.kept, strict=True) if not kept]
    failing = tuple((row, now.message) for row, now in zip(refused, split.rejected, strict=True))
    loaded = 0
    if passing and not dry_run:
        request = LoadRequest(
            target=known.table,
            identity=LoadIdentity(load_id=uuid.uuid4(), asset=asset),
            spec=contract.table,
            write=_ADDED_UNLESS_THERE if contract.primary_key else WriteOptions(disposition=WriteDisposition.APPEND),
            counts=RowCounts(read=len(passing)),
            replays=tuple(row.id for row in passing),
        )
        loaded = postgres.write(split.valid, request).rows_loaded
    return ReplayResult(asset=asset, passing=len(passing), loaded=loaded, failing=failing, unreadable=unreadable)


__all__ = ["ReplayResult", "replay"]
