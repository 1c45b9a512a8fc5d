"""Which rules of a contract the PostgreSQL table keeps itself, and which indexes it has.

A rule maps where SQL means by it what pandera means. Comparisons of text do not: PostgreSQL orders by the collation of the database.
Rules that only warn are left to the contract, because the table would refuse the row.

Not here: SQL (`loading/ddl.py`), which rows break a rule (`evaluations.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etl_assets.errors import ContractDefinitionError
from etl_assets.evaluations import Evaluation
from etl_assets.loading.table import CheckSpec, Operator
from etl_assets.rules import Severity

_ORDERED = ("smallint", "integer", "bigint", "numeric", "real", "double precision", "date", "timestamp")
_TEXTS = ("text", "character varying")
_COMPARISONS: dict[str, Operator] = {
    "equal_to": "=",
    "not_equal_to": "<>",
    "greater_than": ">",
    "greater_than_or_equal_to": ">=",
    "less_than": "<",
    "less_than_or_equal_to": "<=",
}


def checks_of(evaluations: Iterable[Evaluation], types: Mapping[str, str]) -> tuple[CheckSpec, ...]:
    """The rules that a table keeps.

    Args:
        evaluations: Of a contract.
        types: PostgreSQL type of each column.
    """
    found: list[CheckSpec] = []
    for evaluation in evaluations:
        check, rule = evaluation.check, evaluation.rule
        if check is None or len(rule.columns) != 1 or rule.severity is Severity.WARN or check.groupby is not None:
            continue
        found += _checks(rule.columns[0], types[rule.columns[0]], check.name or "", check.statistics or {})
    return tuple(dict.fromkeys(found))


def _checks(column: str, type_name: str, name: str, given: Mapping[str, Any]) -> list[CheckSpec]:
    if type_name.startswith(_TEXTS):
        return _text_checks(column, name, given)
    if not type_name.startswith(_ORDERED):
        return (
            [CheckSpec(column=column, operator="=", operands=tuple(given.values()))] if (name, type_name) == ("equal_to", "boolean") else []
        )
    if name in _COMPARISONS and len(given) == 1:
        return [CheckSpec(column=column, operator=_COMPARISONS[name], operands=tuple(given.values()))]
    if name == "in_range":
        low: Operator = ">=" if given.get("include_min", True) else ">"
        high: Operator = "<=" if given.get("include_max", True) else "<"
        return [
            CheckSpec(column=column, operator=low, operands=(given["min_value"],)),
            CheckSpec(column=column, operator=high, operands=(given["max_value"],)),
        ]
    return _membership(column, name, given)


def _text_checks(column: str, name: str, given: Mapping[str, Any]) -> list[CheckSpec]:
    if name in ("equal_to", "not_equal_to"):
        return [CheckSpec(column=column, operator=_COMPARISONS[name], operands=tuple(given.values()))]
    if name == "str_length":
        exact = given.get("exact_value")
        bounds: list[tuple[Operator, Any]] = [
            ("min length", given.get("min_value") if exact is None else exact),
            ("max length", given.get("max_value") if exact is None else exact),
        ]
        return [CheckSpec(column=column, operator=operator, operands=(bound,)) for operator, bound in bounds if bound is not None]
    ends: dict[str, Operator] = {"str_startswith": "starts with", "str_endswith": "ends with"}
    if name in ends:
        return [CheckSpec(column=column, operator=ends[name], operands=(given["string"],))]
    return _membership(column, name, given)


def _membership(column: str, name: str, given: Mapping[str, Any]) -> list[CheckSpec]:
    lists: dict[str, tuple[Operator, str]] = {"isin": ("in", "allowed_values"), "notin": ("not in", "forbidden_values")}
    if name not in lists:
        return []
    operator, key = lists[name]
    # In one order: a set has another one in each process, and the check would seem to change.
    values = tuple(sorted((value for value in given.get(key, ()) if value is not None and value == value), key=repr))
    return [CheckSpec(column=column, operator=operator, operands=values)] if values else []


def indexes_of(contract: str, columns: Mapping[str, Mapping[str, Any]], declared: Sequence[Any]) -> tuple[tuple[str, ...], ...]:
    """The indexes that a contract asks for.

    Args:
        contract: Its name, for errors.
        columns: Metadata of each column.
        declared: What Config.metadata says: lists of columns.

    Raises:
        ContractDefinitionError: An index names no columns, or unknown ones.
    """
    found = [(name,) for name, metadata in columns.items() if metadata.get("index")]
    for given in declared:
        names = (given,) if isinstance(given, str) else tuple(given)
        unknown = [name for name in names if name not in columns]
        if unknown or not names:
            raise ContractDefinitionError(contract, f"an index names {unknown}; columns: {list(columns)}.", "correct Config.metadata.")
        found.append(names)
    return tuple(dict.fromkeys(found))


__all__ = ["checks_of", "indexes_of"]
