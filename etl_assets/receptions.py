"""Who answers for the rows of an asset while they are loaded: rows that PostgreSQL refuses go to the quarantine as they were given.

Not here: how a bad row is found (`loading/refusals.py`), when too many are (`gate.py`).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from etl_assets.batches import BatchesOfAsset
from etl_assets.contracts import Split
from etl_assets.errors import EtlError
from etl_assets.loading.io_manager import LoadDetails
from etl_assets.loading.rows import NotStoredError
from etl_assets.loading.table import LoadRequest, RejectedRow


class RefusedError(NotStoredError):
    """The gate refused the rows; carries what is to be kept of them."""

    def __init__(self, error: EtlError, details: LoadDetails) -> None:
        super().__init__(error, details)
        self.error = error
        self.details = details


class FrameReception:
    """Answers for the rows of one frame.

    Args:
        split: The frame after its contract.
        finish: Called with the rows that PostgreSQL refused, once the others are in the table; gives the request to commit with.
    """

    def __init__(self, split: Split, finish: Callable[[LoadRequest, Sequence[RejectedRow]], LoadRequest]) -> None:
        self._split = split
        self._finish = finish
        self._refused: list[RejectedRow] = []

    def frames(self) -> Iterator[pd.DataFrame]:
        """The valid rows, anew for each attempt."""
        self._refused = []
        yield self._split.valid

    def refused(self, label: int, rule: str, says: str) -> None:
        """See `Reception`."""
        self._refused.append(self._split.refused(label, rule, says))

    def taken_out(self, record: dict[str, Any], rules: tuple[str, ...], says: str | None, row: int | None) -> None:
        """See `Reception`."""
        said = says or ", ".join(rules)
        if row is not None:
            self._refused.append(self._split.refused(row, ", ".join(rules), said))
            return
        self._refused.append(RejectedRow(position=None, record=json.dumps(record), rules=rules, message=said))

    def finish(self, request: LoadRequest) -> LoadRequest:
        """See `Reception`."""
        return self._finish(request, tuple(self._refused))


class BatchReception:
    """Answers for the rows of batches."""

    def __init__(self, batches: BatchesOfAsset, finish: Callable[[LoadRequest], LoadRequest]) -> None:
        self.refused = batches.refused
        self.taken_out = batches.taken_out
        self.finish = finish


__all__ = ["BatchReception", "FrameReception", "RefusedError"]
