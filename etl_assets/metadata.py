"""What the Dagster UI is shown of an asset: a check result per rule, the sources read, the cleaning steps.

Not here: when it is shown (`materialisation.py`), what a rule means (`rules.py`).
"""

import itertools
from collections.abc import Collection
from typing import Any

import dagster as dg

from etl_assets.accounting import Account
from etl_assets.loading.table import RejectedRow
from etl_assets.rules import RuleOutcome, Severity

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


__all__ = ["check_result", "describe", "describe_rejected"]
