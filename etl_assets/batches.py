"""An asset whose rows come batch by batch: each is split by the contract and loaded before the next is made.

Rows that the contract refuses are kept on disk until the end, because only then it is known whether the load stands. The result is that
of one frame with all rows, but for checks of a whole column at once, which see one batch.

Not here: the transaction (`loading/`), when rows are refused (`gate.py`), Dagster (`materialisation.py`).
"""

import bisect
import json
import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from etl_assets.accounting import SOURCE_POSITION, Account, listening
from etl_assets.contracts import Contract, Split
from etl_assets.errors import ContractViolationError
from etl_assets.evaluations import Lookup
from etl_assets.gate import Parted
from etl_assets.loading.table import RejectedRow
from etl_assets.rules import SAMPLE_ROWS, RuleOutcome, Sample

_SPOOL_BYTES = 16 * 2**20
_END: Any = object()


class RejectedSpool(Collection[RejectedRow]):
    """Rejected rows on disk, from a certain size on; read back as often as needed."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, mode="w+", encoding="utf-8", errors="surrogatepass")  # noqa: SIM115
        self._count = 0

    def close(self) -> None:
        """Remove them."""
        self._file.close()

    def extend(self, rows: Collection[RejectedRow]) -> None:
        """Add rows at the end."""
        for row in rows:
            self._file.write(json.dumps(asdict(row)) + "\n")
        self._count += len(rows)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[RejectedRow]:
        self._file.seek(0)
        for line in self._file:
            row = json.loads(line)
            yield RejectedRow(position=row["position"], record=row["record"], rules=tuple(row["rules"]), message=row["message"])
        self._file.seek(0, 2)

    def __contains__(self, row: object) -> bool:
        return any(row == other for other in self)


class PositionSpool:
    """Where each valid row stood in its source, on disk from a certain size on."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115
        # Rows before each batch, and where its positions begin.
        self._batches: list[tuple[int, int]] = []
        self._count = 0

    def close(self) -> None:
        """Remove them."""
        self._file.close()

    def add(self, positions: Sequence[str]) -> None:
        """Those of the next batch."""
        self._file.seek(0, 2)
        self._batches.append((self._count, self._file.tell()))
        self._file.write(json.dumps(list(positions)).encode() + b"\n")
        self._count += len(positions)

    def __getitem__(self, row: int) -> str:
        before, start = self._batches[bisect.bisect_right(self._batches, (row, math.inf)) - 1]
        self._file.seek(start)
        return str(json.loads(self._file.readline())[row - before])


class BatchesOfAsset:
    """The batches of one materialisation, and what came of them so far.

    Args:
        start: Calls the asset's function; anew on each attempt.
        contract: Of the rows.
        lookup: For references.
        account: Makes an account for one attempt.
        guarded: Calls something of the user's, and turns what it raises by mistake into a failure.
        are_positions_kept: Keep where each row stood until the end, for loads that may take out a row of a batch that has gone by.
        where: The asset, for errors.
    """

    def __init__(
        self,
        start: Callable[[], Iterator[Any]],
        contract: Contract,
        *,
        lookup: Lookup | None,
        account: Callable[[], Account],
        guarded: Callable[[Callable[[], Any]], Any],
        are_positions_kept: bool,
        where: str,
    ) -> None:
        self._are_positions_kept = are_positions_kept
        self._start = start
        self._contract = contract
        self._lookup = lookup
        self._new_account = account
        self._guarded = guarded
        self._where = where
        self.rejected = RejectedSpool()
        self._positions = PositionSpool()
        self._reset()

    def close(self) -> None:
        """Remove what is kept on disk."""
        self.rejected.close()
        self._positions.close()

    def _reset(self) -> None:
        self.account = self._new_account()
        self.rejected.close()
        self.rejected = RejectedSpool()
        self.newest: dict[str, Any] = {}
        self._outcomes: dict[str, RuleOutcome] = {}
        self._returned = 0
        self._valid = 0
        self._refused: list[RejectedRow] = []
        self._current: Split | None = None
        self._positions.close()
        self._positions = PositionSpool()

    def frames(self) -> Iterator[pd.DataFrame]:
        """Valid rows, batch by batch; an empty frame of the contract's types when there is none."""
        self._reset()
        with listening(self.account):
            batches = iter(self._start())
        try:
            while True:
                with listening(self.account):
                    frame = self._guarded(lambda: next(batches, _END))
                if frame is _END:
                    break
                if not isinstance(frame, pd.DataFrame):
                    raise ContractViolationError(
                        self._where, f"the function yielded a {type(frame).__name__}, not a DataFrame.", "yield pandas DataFrames."
                    )
                yield self._split(frame)
            if not self._outcomes:
                yield self._split(pd.DataFrame())
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def _split(self, frame: pd.DataFrame) -> pd.DataFrame:
        split = self._contract.split(frame, where=self._where, lookup=self._lookup, unique=False, rows_before=self._returned)
        self._current = split
        if self._are_positions_kept:
            self._positions.add(split.positions)
        self.rejected.extend(split.rejected)
        self._returned += len(frame)
        self._valid += len(split.valid)
        for outcome in split.outcomes:
            self._add(outcome)
        for column in self._contract.freshness:
            values = split.valid[column].dropna()
            if len(values):
                self.newest[column] = max(values.max(), self.newest.get(column, values.max()))
        return split.valid

    def _add(self, outcome: RuleOutcome) -> None:
        before = self._outcomes.get(outcome.rule.name)
        if before is None:
            self._outcomes[outcome.rule.name] = outcome
            return
        samples = (*before.samples, *outcome.samples)[:SAMPLE_ROWS]
        self._outcomes[outcome.rule.name] = replace(
            outcome, rows=before.rows + outcome.rows, failed_rows=before.failed_rows + outcome.failed_rows, samples=samples
        )

    def refused(self, label: int, rule: str, says: str) -> None:
        """A row of the current batch that PostgreSQL cannot store."""
        assert self._current is not None
        self._refused.append(self._current.refused(label, rule, says))

    def taken_out(self, record: dict[str, Any], rules: tuple[str, ...], says: str | None, row: int | None) -> None:
        """Count a row that only all batches together, or the table, showed to be wrong; its record is as it was converted."""
        plain = {column: value for column, value in record.items() if column != SOURCE_POSITION}
        position = self._positions[row] if row is not None and self._are_positions_kept else record.get(SOURCE_POSITION)
        if says is not None:
            self._refused.append(RejectedRow(position=position, record=json.dumps(plain), rules=rules, message=says))
            return
        known = {rule.name: rule for rule in self._contract.rules}
        given = {name: ", ".join(f"{column}={record[column]}" for column in known[name].columns) for name in rules}
        message = "; ".join(f"{known[name].says} (given: {given[name]})" for name in rules)
        for name in rules:
            found = self._outcomes[name]
            samples = (*found.samples, Sample(position=str(position or "position unknown"), value=given[name]))[:SAMPLE_ROWS]
            self._outcomes[name] = replace(found, failed_rows=found.failed_rows + 1, samples=samples)
        self.rejected.extend([RejectedRow(position=position, record=json.dumps(plain), rules=rules, message=message)])
        self._valid -= 1

    @property
    def parted(self) -> Parted:
        """The numbers of all batches."""
        outcomes = tuple(self._outcomes[rule.name] for rule in self._contract.rules)
        parted = Parted(returned=self._returned, valid=self._valid, rejected=self.rejected, outcomes=outcomes)
        return parted.without(tuple(self._refused))


__all__ = ["BatchesOfAsset", "PositionSpool", "RejectedSpool"]
