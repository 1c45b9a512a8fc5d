"""What the Dagster UI is shown of an asset: a check result per rule, the sources read, the cleaning steps.

Not here: when it is shown (`materialisation.py`), what a rule means (`rules.py`).
"""

import datetime
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from etl_assets.accounting import Account
from etl_assets.contracts import Contract
from etl_assets.declarations import fresh_name
from etl_assets.errors import ContractViolationError
from etl_assets.loading.io_manager import Stored
from etl_assets.loading.table import RejectedRow
from etl_assets.rules import RuleOutcome, Severity

COLUMNS_MATCH = "columns_match"
COLUMNS_UNCHANGED = "columns_unchanged"
_SOURCES = 100
_QUARANTINED = 20


def check_result(name: str, outcomes: list[RuleOutcome], *, refused: bool) -> dg.AssetCheckResult:
    """One asset check for the outcomes of one or more rules; `refused` says that the gate stopped the load."""
    broken = [outcome for outcome in outcomes if outcome.failed_rows]
    failed = sum(outcome.failed_rows for outcome in broken)
    total = sum(outcome.rows for outcome in outcomes)
    warns = all(outcome.rule.severity is Severity.WARN for outcome in broken) or not refused
    metadata: dict[str, Any] = {"failed_rows": failed, "failed_share": round(failed / total, 6) if total else 0.0}
    if broken:
        metadata["sample"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"position": sample.position, "value": sample.value, "rule": outcome.rule.says})
                for outcome in broken
                for sample in outcome.samples
            ][:20]
        )
    fails = any(outcome.rule.severity is Severity.FAIL for outcome in broken)
    return dg.AssetCheckResult(
        check_name=name,
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN if warns and not fails else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def judged_before(names: Iterable[str], contract: Contract, broken: Mapping[str, int], *, others: str) -> Iterator[dg.AssetCheckResult]:
    """These checks of a load that an earlier attempt had judged and stored, by what it put into the quarantine.

    Args:
        names: Of the checks.
        contract: Of the rows.
        broken: Rows in the quarantine by the rule they break.
        others: The check of rows that break none of the contract's rules.
    """
    types = {rule.name for rule in contract.rules if rule.kind == "type"}
    shared = {COLUMNS_MATCH: types, others: broken.keys() - {rule.name for rule in contract.rules}}
    for name in names:
        failed = sum(broken.get(rule, 0) for rule in shared.get(name, {name}))
        yield dg.AssetCheckResult(
            check_name=name,
            passed=not failed,
            severity=dg.AssetCheckSeverity.WARN,
            description="An earlier attempt of this run had judged and loaded these rows; its answer was lost.",
            metadata={"failed_rows": failed},
        )


def evaluated(result: dg.AssetCheckResult, spec: dg.AssetCheckSpec, key: dg.AssetKey) -> Iterator[Any]:
    """What Dagster stores of a check of rows that are loaded: that it ran, and what it found.

    Of a result Dagster makes the same, and looks up the materialisation before this one for it, of a partition once for each check.
    Where that one stays the last, because nothing is loaded, it must be known; here it is not, the check's own run makes the next.
    """
    yield dg.Output(None, output_name=spec.get_python_identifier())
    yield dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=spec.name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=spec.blocking,
    )


def describe(account: Account) -> dict[str, Any]:
    """What connectors and cleaning steps reported, for the UI."""
    described: dict[str, Any] = {}
    if account.reads:
        described["sources"] = dg.MetadataValue.table(
            [dg.TableRecord({"source": read.source, "rows": read.rows, "notes": read.notes}) for read in account.reads[:_SOURCES]]
        )
    if account.steps:
        described["cleaning"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "step": step.step,
                        "rows_in": step.rows_in,
                        "rows_out": step.rows_out,
                        "cells_changed": step.cells_changed,
                        "seconds": round(step.seconds, 3),
                        "sample": "; ".join(f"{c.column}: {c.before} -> {c.after}" for c in step.samples)[:200],
                        "notes": step.notes[:500],
                    }
                )
                for step in account.steps
            ]
        )
    return described


def describe_rejected(asset: str, rejected: Collection[RejectedRow]) -> dict[str, Any]:
    """The first rows of an asset that are in quarantine, for the UI, and where the others are; nothing for none."""
    if not rejected:
        return {}
    rows = [
        dg.TableRecord({"position": row.position or "", "rules": ", ".join(row.rules), "message": row.message[:200]})
        for row in itertools.islice(rejected, _QUARANTINED)
    ]
    return {
        "quarantine": dg.MetadataValue.table(rows),
        "quarantine_command": f"etl-assets quarantine list {asset}",
    }


def columns_unchanged(stored: Stored | None) -> dg.AssetCheckResult:
    """Tell when the load changed the shape of the table that people read."""
    changed = stored.result.changes if stored is not None else ""
    return dg.AssetCheckResult(
        check_name=COLUMNS_UNCHANGED,
        passed=not changed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"The table changed: {changed}" if changed else None,
        metadata={"change": changed} if changed else {},
    )


def columns_differ(error: ContractViolationError) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(check_name=COLUMNS_MATCH, passed=False, description=error.cause, severity=dg.AssetCheckSeverity.ERROR)


def fresh(newest: Any, column: str, limit: datetime.timedelta) -> dg.AssetCheckResult:
    """The check on the age of a column; nothing is blocked by it. A column without values is not fresh."""
    now = datetime.datetime.now(datetime.UTC)
    if newest is None:
        age = None
    elif isinstance(newest, datetime.datetime):
        age = now - newest
    else:
        age = datetime.timedelta(days=(now.date() - newest).days)
    return dg.AssetCheckResult(
        check_name=fresh_name(column),
        passed=age is not None and age <= limit,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "newest": "none" if newest is None else str(newest),
            **({} if age is None else {"age_hours": round(age.total_seconds() / 3600, 2)}),
        },
    )


__all__ = [
    "COLUMNS_MATCH", "COLUMNS_UNCHANGED", "check_result", "columns_differ", "columns_unchanged", "describe",
    "describe_rejected", "evaluated", "fresh", "judged_before",
]  # fmt: skip
