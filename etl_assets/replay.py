"""Rows of the quarantine through their contract again, after the contract or the rows were corrected: what passes is loaded, once.

Not here: which rows are in quarantine (`loading/quarantine.py`), loading.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import pandas as pd

from etl_assets.assets import defined_asset
from etl_assets.contracts import Split
from etl_assets.loading.options import MergeStrategy, WriteDisposition, WriteOptions
from etl_assets.loading.postgres import PostgresResource
from etl_assets.loading.quarantine import QuarantinedRow, frame_of, open_rows
from etl_assets.loading.refusals import IN_PARTITION, STORABLE
from etl_assets.loading.rows import Rows
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
    rows, nul = _without_nul(rows)
    if not rows:
        return ReplayResult(asset=asset, passing=0, loaded=0, failing=tuple(nul), unreadable=unreadable)
    split = contract.split(frame_of(rows), where=asset)
    ours = [row.rules != (IN_PARTITION,) for row in rows]
    passing = [row for row, kept, own in zip(rows, split.kept, ours, strict=True) if kept and own]
    failing = nul + _failing(rows, split)
    loaded = 0
    if passing and not dry_run:
        valid = split.valid[[own for own, kept in zip(ours, split.kept, strict=True) if kept]].reset_index(drop=True)
        reception = _Reception(passing, valid)
        request = LoadRequest(
            target=known.table,
            identity=LoadIdentity(load_id=uuid.uuid4(), asset=asset),
            spec=contract.table,
            write=_ADDED_UNLESS_THERE if contract.primary_key else WriteOptions(disposition=WriteDisposition.APPEND),
        )
        loaded = postgres.write(Rows(reception.frames, reception=reception), request).rows_loaded
        failing += reception.refusals
        passing = reception.stored
    return ReplayResult(asset=asset, passing=len(passing), loaded=loaded, failing=tuple(failing), unreadable=unreadable)


def _without_nul(rows: Sequence[QuarantinedRow]) -> tuple[list[QuarantinedRow], list[tuple[QuarantinedRow, str]]]:
    """Rows without those that were refused for a NUL, which jsonb keeps as the six characters \\u0000: they are no value of the source."""

    def has_nul(row: QuarantinedRow) -> bool:
        refused = any(rule.endswith(STORABLE) for rule in row.rules)
        return refused and any(isinstance(value, str) and "\\u0000" in value for value in row.record.values())

    said = "a text holds a NUL (\\u0000), which PostgreSQL cannot store: correct the record"
    return [row for row in rows if not has_nul(row)], [(row, said) for row in rows if has_nul(row)]


def _failing(rows: Sequence[QuarantinedRow], split: Split) -> list[tuple[QuarantinedRow, str]]:
    """Rows that cannot be loaded, each with the reason."""
    refused = [row for row, kept in zip(rows, split.kept, strict=True) if not kept]
    failing = [(row, now.message) for row, now in zip(refused, split.rejected, strict=True)]
    kept = [row for row, kept in zip(rows, split.kept, strict=True) if kept]
    elsewhere = [row for row in kept if row.rules == (IN_PARTITION,)]
    return failing + [(row, f"{row.message}: materialise the partition it is of") for row in elsewhere]


class _Reception:
    """Answers for rows that PostgreSQL still refuses: they stay in quarantine."""

    def __init__(self, rows: Sequence[QuarantinedRow], valid: pd.DataFrame) -> None:
        self._rows = rows
        self._valid = valid
        self._refused: dict[int, str] = {}

    def frames(self) -> Iterator[pd.DataFrame]:
        """The rows, anew for each attempt."""
        self._refused = {}
        yield self._valid

    def refused(self, label: int, rule: str, says: str) -> None:
        """See `Reception`."""
        self._refused[label] = says

    def taken_out(self, record: dict[str, Any], rules: tuple[str, ...], says: str | None, row: int | None) -> None:
        """See `Reception`."""
        assert row is not None
        self._refused[row] = says or ", ".join(rules)

    @property
    def stored(self) -> list[QuarantinedRow]:
        """Rows that are in the table."""
        return [row for place, row in enumerate(self._rows) if place not in self._refused]

    @property
    def refusals(self) -> list[tuple[QuarantinedRow, str]]:
        """Rows that are not, with the reason."""
        return [(self._rows[place], says) for place, says in sorted(self._refused.items())]

    def finish(self, request: LoadRequest) -> LoadRequest:
        """See `Reception`."""
        rows = self.stored
        return replace(request, counts=RowCounts(read=len(rows)), replays=tuple(row.id for row in rows))


__all__ = ["ReplayResult", "replay"]
