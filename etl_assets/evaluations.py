"""The rules of a contract as they are read off its model, and which rows break each of them.

Not here: what becomes of those rows (`contracts.py`), what a rule is (`rules.py`).
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
import pandera.pandas as pa

from etl_assets.conversion import Target
from etl_assets.declarations import Reference, limit, refuse_unknown, severity_of
from etl_assets.errors import ContractDefinitionError
from etl_assets.rules import COMPARISONS, Mask, Rule, RuleKind, Severity, rows_breaking, words_of

Lookup = Callable[[Reference], "pd.Series[Any]"]
Keep = Literal["first", "last", False]
_STORING: frozenset[RuleKind] = frozenset({"type", "not_null", "unique"})


class Column(Protocol):
    """What rules need to know of a column of a contract."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def target(self) -> Target:
        """What its cells are converted to."""

    @property
    def nullable(self) -> bool:
        """Whether NULL is allowed."""

    @property
    def primary_key(self) -> bool:
        """Whether it is part of the key."""

    @property
    def unique(self) -> bool:
        """Whether its values are unique by themselves."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A rule, with pandera's check when it is one, or what it references."""

    rule: Rule
    check: pa.Check | None = None
    reference: Reference | None = None


def read_evaluations(
    contract: str, schema: Any, columns: Iterable[Column], primary_key: tuple[str, ...], *, by_rule: Mapping[str, Mapping[str, Any]]
) -> tuple[Evaluation, ...]:
    """The rules of a model, in the order of its columns.

    Args:
        contract: Name of the model, for errors.
        schema: Its pandera schema.
        columns: Its columns.
        primary_key: Its key.
        by_rule: Severity and limit of rules by their name.

    Raises:
        ContractDefinitionError: A severity, a limit or a name of a rule cannot be used.
    """
    reader = _Reader(contract, by_rule)
    for column in columns:
        declared = schema.columns[column.name]
        reader.read_column(column, declared, primary_key)
    for check in schema.checks:
        reader.add("check", check.name or "rows", [], words_of(check), _severity(check, Severity.QUARANTINE), check=check)
    if schema.unique and tuple(schema.unique) != primary_key:
        together = list(schema.unique)
        reader.add("unique", "_".join(together) + "_unique", together, f"{', '.join(together)} are unique together", Severity.QUARANTINE)
    if primary_key:
        reader.add("unique", "primary_key_unique", primary_key, f"{', '.join(primary_key)} identify one row", Severity.QUARANTINE)
    return reader.finish()


class _Reader:
    """Collects the rules of one contract."""

    def __init__(self, contract: str, by_rule: Mapping[str, Mapping[str, Any]]) -> None:
        self._contract = contract
        self._by_rule = by_rule
        self._found: list[Evaluation] = []

    def read_column(self, column: Column, declared: Any, primary_key: tuple[str, ...]) -> None:
        name, metadata = column.name, declared.metadata or {}
        where = f"{self._contract}.{name}"
        severity, most = severity_of(metadata, where), limit(metadata, where)
        # A cell of a wrong type and a NULL where none is allowed cannot be stored, so "warn" does not apply to them.
        storing = Severity.QUARANTINE if severity is Severity.WARN else severity
        if column.target.name != "any":
            self.add("type", f"{name}_type", [name], f"{name} holds {column.target.name} values", storing, most)
        if not column.nullable or column.primary_key:
            self.add("not_null", f"{name}_not_null", [name], f"{name} is present", storing, most)
        for check in declared.checks:
            short = COMPARISONS.get(check.name or "", (check.name or "check", ""))[0]
            self.add("check", f"{name}_{short}", [name], f"{name} {words_of(check)}", _severity(check, severity), most, check=check)
        reference = Reference.of(metadata, where)
        if reference is not None:
            self.add(
                "reference", f"{name}_references_{reference.table}", [name], f"{name} is a {reference}", severity, most, reference=reference
            )
        if column.unique and (name,) != primary_key:
            self.add("unique", f"{name}_unique", [name], f"{name} is unique", storing, most)

    def add(
        self,
        kind: RuleKind,
        name: str,
        columns: Sequence[str],
        says: str,
        severity: Severity,
        most_failed: float | None = None,
        *,
        check: pa.Check | None = None,
        reference: Reference | None = None,
    ) -> None:
        # Dagster allows letters, digits and underscores; rules of one name are numbered.
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "rule"
        taken = {evaluation.rule.name for evaluation in self._found}
        name = next(n for n in itertools.chain([plain], (f"{plain}_{number}" for number in itertools.count(2))) if n not in taken)
        own, where = self._by_rule.get(name, {}), f"{self._contract}, rule {name}"
        refuse_unknown(own, ("severity", "most_failed"), where)
        severity = severity_of(own, where) if "severity" in own else severity
        if severity is Severity.WARN and kind in _STORING:
            raise ContractDefinitionError(where, "rows that break it cannot be stored, so it cannot only warn.", "say quarantine or fail.")
        most_failed = limit(own, where) if "most_failed" in own else most_failed
        rule = Rule(name=name, columns=tuple(columns), says=says, severity=severity, kind=kind, most_failed=most_failed)
        self._found.append(Evaluation(rule=rule, check=check, reference=reference))

    def finish(self) -> tuple[Evaluation, ...]:
        names = [evaluation.rule.name for evaluation in self._found]
        unknown = sorted(set(self._by_rule) - set(names))
        if unknown:
            raise ContractDefinitionError(self._contract, f"Config.metadata names rules {unknown}; rules: {names}.", "correct their names.")
        return tuple(self._found)


def _severity(check: pa.Check, declared: Severity) -> Severity:
    return Severity.WARN if check.raise_warning else declared


def mask_of(
    evaluation: Evaluation,
    frame: pd.DataFrame,
    unconverted: Mapping[str, Mask],
    passing: Mask,
    *,
    keep: Keep,
    lookup: Lookup | None,
    where: str,
) -> Mask:
    """True for each row that breaks the rule.

    Args:
        evaluation: The rule.
        frame: Converted columns; RangeIndex.
        unconverted: Cells of each column that did not convert.
        passing: Rows that keep all rules evaluated before.
        keep: Which of equal rows keeps a rule of uniqueness.
        lookup: Gives the keys that a reference leads to.
        where: The asset, for errors.
    """
    rule = evaluation.rule
    if rule.kind == "type":
        return unconverted[rule.columns[0]]
    if rule.kind == "not_null":
        return frame[rule.columns[0]].isna().to_numpy() & ~unconverted[rule.columns[0]]
    if rule.kind == "unique":
        broken: Mask = np.zeros(len(frame), dtype=bool)
        keys = frame[list(rule.columns)] if passing.all() else frame.loc[passing, list(rule.columns)]
        # As in SQL, NULL equals nothing.
        known = keys.notna().all(axis=1)
        keys = keys if known.all() else keys[known]
        repeated = keys.duplicated(keep=keep) if len(rule.columns) > 1 else keys[rule.columns[0]].duplicated(keep=keep)
        broken[keys.index[repeated]] = True
        return broken
    if evaluation.reference is not None:
        assert lookup is not None
        values = frame[rule.columns[0]]
        return np.asarray(values.notna() & ~values.isin(lookup(evaluation.reference)), dtype=bool)
    assert evaluation.check is not None
    failed = rows_breaking(evaluation.check, frame[rule.columns[0]] if rule.columns else frame, rule, where)
    unread = [unconverted[name] for name in rule.columns or unconverted]
    return np.asarray(failed & ~np.logical_or.reduce(unread), dtype=bool)


__all__ = ["Evaluation", "Keep", "Lookup", "mask_of", "read_evaluations"]
