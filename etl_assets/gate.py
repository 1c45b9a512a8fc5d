"""The gate before the write: whether the rows of an asset are accounted for, and whether too many of them are wrong; stored rows that an
asset reads may not be wrong at all.

Not here: which rows break which rule (`contracts.py`), when the gate is asked (`materialisation.py`).
"""

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg
import pandas as pd

from etl_assets.accounting import Account, UnreadableRow
from etl_assets.contracts import Contract, Split
from etl_assets.errors import ContractDefinitionError, ContractViolationError, EtlError, RowsNotAccountedForError
from etl_assets.loading.table import RejectedRow, RowCounts
from etl_assets.rules import RuleOutcome, Severity

ROWS_ACCOUNTED_FOR = "rows_accounted_for"
ROWS_USABLE = "rows_usable"
ROW_COUNT = "row_count"
_SAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class RowPolicy:
    """How the rows of an asset are accounted for, and how many may be quarantined.

    Attributes:
        carried_from: Parameter whose rows the function carries through; needed when it takes several frames.
        built: The function builds new rows (a join, an aggregate), so rows read are the rows it returned.
        most_quarantined: Largest share of rows that may go to the quarantine, 0 to 1; above it nothing is loaded.
        least_rows: With fewer rows to load nothing is loaded; None for no limit.
        most_rows: With more rows nothing is loaded; None for no limit.
        most_change: With so much more or less than the load before, as a share of it, nothing is loaded; None for no limit.
    """

    carried_from: str | None = None
    built: bool = False
    most_quarantined: float = 0.1
    least_rows: int | None = None
    most_rows: int | None = None
    most_change: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.most_quarantined, bool) or not 0 <= self.most_quarantined <= 1:
            raise ContractDefinitionError(
                "RowPolicy", f"most_quarantined is a share from 0 to 1; given: {self.most_quarantined!r}.", "write 0.4 for 40 %."
            )
        if any(bound is not None and bound < 0 for bound in (self.least_rows, self.most_rows, self.most_change)):
            raise ContractDefinitionError("RowPolicy", "least_rows, most_rows and most_change are not below zero.", "correct them.")
        if self.least_rows is not None and self.most_rows is not None and self.least_rows > self.most_rows:
            raise ContractDefinitionError(
                "RowPolicy", f"least_rows {self.least_rows} is above most_rows {self.most_rows}.", "correct them."
            )

    @property
    def says_volume(self) -> str:
        """The bounds on the number of rows in words; "" for none."""
        parts = [f"at least {self.least_rows}"] if self.least_rows is not None else []
        parts += [f"at most {self.most_rows}"] if self.most_rows is not None else []
        parts += [f"not more than {self.most_change:.0%} off the load before"] if self.most_change is not None else []
        return f"The number of rows is {', '.join(parts)}." if parts else ""

    def volume_problem(self, rows: int, before: int | None) -> str:
        """What is wrong with a number of rows; "" for nothing."""
        if self.least_rows is not None and rows < self.least_rows:
            return f"{rows} rows are fewer than {self.least_rows}"
        if self.most_rows is not None and rows > self.most_rows:
            return f"{rows} rows are more than {self.most_rows}"
        if self.most_change is not None and before and abs(rows - before) > self.most_change * before:
            return (
                f"{rows} rows are {(rows - before) / before:+.0%} against the {before} of the load before (at most {self.most_change:.0%})"
            )
        return ""


@dataclass(frozen=True, kw_only=True)
class Parted:
    """What a contract made of rows, in numbers.

    Attributes:
        returned: Rows that the function returned.
        valid: Those that keep the contract.
        rejected: The others.
        outcomes: One per rule.
        refused: Rows among the rejected that keep the contract, and that PostgreSQL cannot store.
    """

    returned: int
    valid: int
    rejected: Collection[RejectedRow] = field(repr=False)
    outcomes: tuple[RuleOutcome, ...]
    refused: Sequence[RejectedRow] = field(default=(), repr=False)

    @staticmethod
    def of(split: Split, returned: int) -> "Parted":
        """The numbers of one frame."""
        return Parted(returned=returned, valid=len(split.valid), rejected=split.rejected, outcomes=split.outcomes)

    def without(self, refused: Sequence[RejectedRow]) -> "Parted":
        """The numbers once PostgreSQL has refused some of the valid rows."""
        rejected = Together(self.rejected, refused) if refused else self.rejected
        return replace(self, valid=self.valid - len(refused), rejected=rejected, refused=refused)

    @property
    def failed_rules(self) -> tuple[str, ...]:
        """Rules of severity "fail" that were broken."""
        return tuple(o.rule.name for o in self.outcomes if o.failed_rows and o.rule.severity is Severity.FAIL)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says.

    Attributes:
        counts: Rows read, quarantined, dropped.
        rejected: Rows for the quarantine: those that break the contract and those that could not be read.
        refusal: Why nothing may be written; None when everything is in order.
    """

    counts: RowCounts
    rejected: Collection[RejectedRow] = field(repr=False)
    refusal: EtlError | None


class Together(Collection[RejectedRow]):
    """Rows of several collections, one after the other, without a copy of any."""

    def __init__(self, *parts: Collection[RejectedRow]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[RejectedRow]:
        return itertools.chain.from_iterable(self._parts)

    def __contains__(self, row: object) -> bool:
        return any(row in part for part in self._parts)


def judge(parted: Parted, account: Account, *, rows: RowPolicy, rows_in: int | None, rows_before: int | None, where: str) -> Verdict:
    """Compare the sums and the shares.

    Args:
        parted: The rows by whether they keep the contract.
        account: What connectors and steps reported.
        rows: How rows are accounted for.
        rows_in: Rows of the input whose rows are carried; None when they come from connectors or are built.
        rows_before: Rows of the load before; None when there was none, or nobody asked.
        where: The asset, for errors.
    """
    rejected = Together(parted.rejected, [_rejected(row) for row in account.unreadable])
    read = _rows_read(account, rows, rows_in, parted.returned)
    counts = RowCounts(read=read, quarantined=len(rejected), dropped=account.rows_dropped)
    return Verdict(counts=counts, rejected=rejected, refusal=_refusal(parted, account, counts, rows, rows_before, where))


def _rows_read(account: Account, rows: RowPolicy, rows_in: int | None, returned: int) -> int:
    if rows.built:
        return returned + account.rows_dropped + len(account.unreadable)
    if rows_in is not None:
        return rows_in + len(account.unreadable)
    # A function without inputs and without connectors makes its rows itself.
    return account.rows_read if account.reads else returned + account.rows_dropped


def _refusal(parted: Parted, account: Account, counts: RowCounts, rows: RowPolicy, rows_before: int | None, where: str) -> EtlError | None:
    valid, given = parted.valid, parted.returned + len(account.unreadable)
    if counts.read != valid + counts.quarantined + counts.dropped:
        return RowsNotAccountedForError(
            where,
            f"{counts.read} rows were read, {valid} keep the contract, {counts.quarantined} go to the quarantine, {counts.dropped} were "
            f"dropped by a declared rule; {counts.read - given - counts.dropped} are missing without one.",
            "drop rows with a step of etl_assets.cleaning, or say RowPolicy(built=True) when the function builds new rows.",
        )
    broken = parted.failed_rules
    if broken:
        return ContractViolationError(where, f"rows break rules of severity fail: {', '.join(broken)}.", _look_into_quarantine(where))
    over = [outcome for outcome in parted.outcomes if outcome.over_limit]
    if over:
        worst = ", ".join(f"{o.rule.name} {o.failed_rows} of {o.rows} (at most {o.rule.most_failed:g})" for o in over)
        return ContractViolationError(where, f"more rows break a rule than it allows: {worst}.", _look_into_quarantine(where))
    share = counts.quarantined / given if given else 0.0
    if counts.quarantined and (share > rows.most_quarantined or not valid):
        unreadable = account.unreadable
        cannot = f"{len(unreadable)} cannot be read (first: {unreadable[0].position}, {unreadable[0].says})" if unreadable else ""
        reasons = ", ".join(filter(None, [_most_broken(parted.outcomes), cannot, _most_refused(parted.refused)]))
        return ContractViolationError(
            where,
            f"{counts.quarantined} of {given} rows break the contract ({share:.1%}; at most {rows.most_quarantined:.1%} may): {reasons}.",
            _look_into_quarantine(where),
        )
    problem = rows.volume_problem(valid, rows_before)
    if problem:
        return ContractViolationError(
            where, f"{problem}.", "look at the source; change the RowPolicy if the number is right. The table was left as it was."
        )
    return None


def accounted(counts: RowCounts, valid: int) -> dg.AssetCheckResult:
    """The check `rows_accounted_for`."""
    return dg.AssetCheckResult(
        check_name=ROWS_ACCOUNTED_FOR,
        passed=counts.read == valid + counts.quarantined + counts.dropped,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"rows_read": counts.read, "rows_kept": valid, "rows_quarantined": counts.quarantined, "rows_dropped": counts.dropped},
    )


def volume(rows: RowPolicy, count: int, before: int | None) -> dg.AssetCheckResult:
    """The check `row_count`."""
    problem = rows.volume_problem(count, before)
    return dg.AssetCheckResult(
        check_name=ROW_COUNT,
        passed=not problem,
        severity=dg.AssetCheckSeverity.ERROR,
        description=problem or None,
        metadata={"rows": count, **({} if before is None else {"rows_before": before})},
    )


def usable(parted: Parted, account: Account, *, refused: bool) -> dg.AssetCheckResult:
    """The check `rows_usable`: rows that no rule of the contract speaks of; `refused` says that nothing was loaded."""
    failed, total = len(account.unreadable) + len(parted.refused), parted.returned + len(account.unreadable)
    cannot = [("cannot be read", len(account.unreadable)), ("cannot be stored", len(parted.refused))]
    sample = [
        *((row.position, row.raw, row.rule, row.says) for row in account.unreadable[:_SAMPLES]),
        *((row.position or "", "", ", ".join(row.rules), row.message) for row in parted.refused[:_SAMPLES]),
    ][:_SAMPLES]
    return dg.AssetCheckResult(
        check_name=ROWS_USABLE,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if refused else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{count} {what}" for what, count in cannot if count) or None,
        metadata={
            "failed_rows": failed,
            "failed_share": round(failed / total, 6) if total else 0.0,
            **({"sample": dg.MetadataValue.table([_sampled(*told) for told in sample])} if sample else {}),
        },
    )


def _sampled(position: str, value: str, rule: str, message: str) -> dg.TableRecord:
    return dg.TableRecord({"position": position, "value": value[:200], "rule": rule, "message": message[:200]})


def as_contract(frame: pd.DataFrame, contract: Contract, where: str) -> pd.DataFrame:
    """A stored frame in the types of its contract.

    Raises:
        ContractViolationError: Rows do not keep it; the message names the rules broken most often.
    """
    split = contract.split(frame, where=where)
    if split.rejected:
        raise ContractViolationError(
            where, f"{len(split.rejected)} stored rows do not keep contract {contract.name}: {_most_broken(split.outcomes)}.",
            "materialise the upstream asset again.",
        )  # fmt: skip
    return split.valid


def _most_broken(outcomes: Iterable[RuleOutcome]) -> str:
    """The three rules broken most often, each with its first row."""
    broken = sorted((o for o in outcomes if o.failed_rows and o.rule.severity is not Severity.WARN), key=lambda o: -o.failed_rows)
    return ", ".join(f"{o.rule.name} {o.failed_rows} times (first: {o.samples[0].position}, {o.samples[0].value[:80]})" for o in broken[:3])


def _most_refused(rows: Sequence[RejectedRow]) -> str:
    """The three reasons why PostgreSQL refused most rows, each with its first row; "" for none."""
    by_rule: dict[str, list[RejectedRow]] = {}
    for row in rows:
        by_rule.setdefault(", ".join(row.rules), []).append(row)
    most = sorted(by_rule.items(), key=lambda item: -len(item[1]))[:3]
    told = [f"{rule} {len(of)} times (first: {of[0].position}, {of[0].message})" for rule, of in most]
    return f"{len(rows)} cannot be stored: {', '.join(told)}" if told else ""


def _look_into_quarantine(asset: str) -> str:
    return f"see the failed checks, or SELECT * FROM etl.quarantine WHERE asset = '{asset}' ORDER BY id DESC; the table was left as it was."


def _rejected(row: UnreadableRow) -> RejectedRow:
    return RejectedRow(position=row.position, record=json.dumps({"raw": row.raw}), rules=(row.rule,), message=row.says)


__all__ = [
    "ROWS_ACCOUNTED_FOR", "ROWS_USABLE", "ROW_COUNT", "Parted", "RowPolicy", "Together", "Verdict", "accounted", "as_contract", "judge",
    "usable", "volume",
]  # fmt: skip
