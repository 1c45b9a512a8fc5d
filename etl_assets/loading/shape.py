"""How the shape of a table and the shape of rows differ, and what is done about it. Pure: values in, statements out.

A table is never narrowed: a column that the rows do not have stays, a type that holds every value of the rows stays. Types are widened
only where every value that is there comes out the same.

Not here: reading the catalog (`session.py`), executing (`dispositions.py`).
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

from psycopg2 import sql

from etl_assets.errors import DatabaseRefusedError
from etl_assets.loading import ddl
from etl_assets.loading.options import SchemaChange
from etl_assets.loading.table import CheckSpec, ColumnSpec, TableRef, TableSpec, TableState
from etl_assets.postgres.types import arrow_type

_WHOLE = {"smallint": 5, "integer": 10, "bigint": 19}
_DIGITS = re.compile(r"numeric(?:\((\d+),(-?\d+)\))?")
_LENGTH = re.compile(r"character varying(?:\((\d+)\))?")
_FRACTION = re.compile(r"(time|timestamp)(?:\((\d)\))? (with|without) time zone")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One change of a table.

    Attributes:
        kind: Whether the columns change, or only what is asked of them and how they are found.
        says: The change in words, such as "+extra bigint".
        statements: What carries it out.
    """

    kind: Literal["add column", "widen column", "rule"]
    says: str
    statements: tuple[sql.Composed, ...]


def holds(wide: str, narrow: str) -> bool:
    """Whether a column of one type holds every value of the other exactly."""
    if wide == narrow:
        return True
    if wide == "text":
        return _LENGTH.fullmatch(narrow) is not None
    if wide in _WHOLE:
        return _WHOLE.get(narrow, 99) <= _WHOLE[wide]
    if wide == "double precision":
        return narrow in ("real", "smallint", "integer")
    if (digits := _DIGITS.fullmatch(wide)) is not None:
        return _numeric_holds(digits, narrow)
    if (length := _LENGTH.fullmatch(wide)) is not None and (shorter := _LENGTH.fullmatch(narrow)) is not None:
        return length[1] is None or (shorter[1] is not None and int(shorter[1]) <= int(length[1]))
    if (fraction := _FRACTION.fullmatch(wide)) is not None and (coarser := _FRACTION.fullmatch(narrow)) is not None:
        same = (fraction[1], fraction[3]) == (coarser[1], coarser[3])
        return same and int(coarser[2] or 6) <= int(fraction[2] or 6)
    return False


def _is_number(type_name: str) -> bool:
    return type_name in (*_WHOLE, "real", "double precision") or _DIGITS.fullmatch(type_name) is not None


def _is_read_from_text(type_name: str) -> bool:
    return type_name in ("uuid", "json", "jsonb", "interval") or arrow_type(type_name) is None


def _numeric_holds(wide: re.Match[str], narrow: str) -> bool:
    inner = _DIGITS.fullmatch(narrow)
    if wide[1] is None:
        return narrow in _WHOLE or inner is not None
    whole, fraction = int(wide[1]) - int(wide[2]), int(wide[2])
    if narrow in _WHOLE:
        return _WHOLE[narrow] <= whole and fraction >= 0
    return inner is not None and inner[1] is not None and int(inner[1]) - int(inner[2]) <= whole and int(inner[2]) <= fraction


def difference(existing: TableState, spec: TableSpec) -> str:
    """Columns gone, new and of another type when a table is made anew, in words; "" for none."""
    before, after = existing.by_name, {column.name: column for column in spec.columns}
    changes = [f"-{name} {before[name].type}" for name in before if name not in after]
    changes += [f"+{name} {after[name].type}" for name in after if name not in before]
    changes += [
        f"{name} {before[name].type} -> {column.type}"
        for name, column in after.items()
        if name in before and before[name].type != column.type
    ]
    return ", ".join(changes)


def without_guesses(existing: TableState, spec: TableSpec) -> TableSpec:
    """The shape of the rows, with the table's types for columns whose own is not known."""
    there = existing.by_name
    columns = tuple(
        dataclasses.replace(column, type=there[column.name].type) if column.is_guess and column.name in there else column
        for column in spec.columns
    )
    return dataclasses.replace(spec, columns=columns)


def kept(existing: TableState, spec: TableSpec) -> TableSpec:
    """The shape of the rows without narrowing the table: wider types and columns that only the table has stay."""
    there = existing.by_name
    columns = [
        dataclasses.replace(column, type=there[column.name].type)
        if column.name in there and holds(there[column.name].type, column.type)
        else column
        for column in spec.columns
    ]
    columns += [dataclasses.replace(column, nullable=True) for column in existing.columns if column.name not in spec.names]
    return dataclasses.replace(spec, columns=tuple(columns))


def changes(
    existing: TableState, spec: TableSpec, table: TableRef, allowed: SchemaChange, *, asked: bool = True, where: str
) -> tuple[Change, ...]:
    """What must change so that a table that is there takes the rows.

    Args:
        existing: The table.
        spec: The shape of the rows.
        table: Its name.
        allowed: What may change.
        asked: Whether somebody said so. By default columns are added, but types of a table that other people made are theirs.
        where: The asset, for errors.

    Raises:
        DatabaseRefusedError: More would have to change than is allowed, or nothing helps; the message lists it all.
    """
    # The rules of a table that other people made are theirs.
    needed = [*_columns(existing, spec, table), *(_rules(existing, spec, table) if existing.managed else ())]
    if not existing.managed and not asked:
        needed = [change for change in needed if change.kind != "widen column"]
    impossible = _impossible(existing, spec)
    forbidden = {SchemaChange.FAIL: ("add column", "widen column"), SchemaChange.ADD_COLUMNS: ("widen column",)}.get(allowed, ())
    refused = [change.says for change in needed if change.kind in forbidden]
    if impossible or refused:
        next_step = (
            'alter the table, or correct the contract; schema_change "replace" makes the table anew, with the rows of this load only.'
            if impossible
            else "alter the table, or allow more by schema_change: add_columns or widen."
        )
        raise DatabaseRefusedError(
            where,
            f"the table has another shape than the rows: {', '.join([*impossible, *refused])} (schema_change {allowed.value}).",
            next_step,
        )
    # Under "fail" the table is taken as it is; its rules are those it has.
    return tuple(change for change in needed if allowed is not SchemaChange.FAIL or change.kind != "rule")


def told(made: Sequence[Change]) -> str:
    """Changes of columns in words; "" for none."""
    return ", ".join(change.says for change in made if change.kind != "rule")


def _columns(existing: TableState, spec: TableSpec, table: TableRef) -> list[Change]:
    found: list[Change] = []
    for column in spec.columns:
        there = existing.by_name.get(column.name)
        if there is None:
            found.append(_added(table, column))
        elif not holds(there.type, column.type) and holds(column.type, there.type):
            found.append(
                Change(
                    kind="widen column",
                    says=f"{column.name} {there.type} -> {column.type}",
                    statements=(_alter(table, column.name, sql.SQL("TYPE {}").format(sql.SQL(column.type))),),
                )
            )
        # A frame says nothing of NULLs: what it holds is looked at row by row.
        may_be_null = column.nullable and not spec.is_inferred
        if there is not None and may_be_null and not there.nullable and column.name not in existing.primary_key:
            statement = _alter(table, column.name, sql.SQL("DROP NOT NULL"))
            found.append(Change(kind="widen column", says=f"{column.name} may be NULL", statements=(statement,)))
    return found


def _added(table: TableRef, column: ColumnSpec) -> Change:
    # Rows that are there have no value for it.
    nullable = ColumnSpec(name=column.name, type=column.type)
    added = sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(ddl.name_of(table), ddl.column_definition(nullable))
    comment = (ddl.comment_on_column(table, column),) if column.comment else ()
    return Change(kind="add column", says=f"+{column.name} {column.type}", statements=(added, *comment))


def _alter(table: TableRef, column: str, action: sql.Composable) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} ALTER COLUMN {} {}").format(ddl.name_of(table), sql.Identifier(column), action)


def _impossible(existing: TableState, spec: TableSpec) -> list[str]:
    found = [
        f"{column.name} {there.type} -> {column.type}"
        for column in spec.columns
        if (there := existing.by_name.get(column.name)) is not None
        and not holds(there.type, column.type)
        and not holds(column.type, there.type)
        # Numbers are looked at one by one: what the column does not hold exactly is refused with its row.
        and not (_is_number(there.type) and _is_number(column.type))
        # Text of a frame is read by the type that the table has, where that is read from text.
        and not (spec.is_inferred and column.type == "text" and _is_read_from_text(there.type))
    ]
    if existing.managed and spec.primary_key and existing.primary_key not in ((), spec.primary_key):
        found.append(f"primary key ({', '.join(existing.primary_key)}) -> ({', '.join(spec.primary_key)})")
    given = set(spec.names)
    found += [
        f"-{column.name} {column.type}, which may not be NULL and has no default"
        for column in existing.columns
        if column.name not in given and not column.nullable and column.name not in existing.filled
    ]
    return found


def _rules(existing: TableState, spec: TableSpec, table: TableRef) -> list[Change]:
    """Checks and indexes of ours that a changed contract changes; those of other people stay."""
    wanted = {f"{ddl.MADE_BY}: {ddl.says(check)}": check for check in spec.checks}
    stale = [name for name, comment in existing.checks.items() if comment not in wanted]
    missing = [check for comment, check in wanted.items() if comment not in existing.checks.values()]
    found = [Change(kind="rule", says=f"-check {name}", statements=(ddl.drop_check(table, name),)) for name in stale]
    taken = {name for name in existing.checks if name not in stale}
    found += [_check(existing, check, spec, table, taken) for check in missing]
    present = set(existing.indexes.values())
    found += [
        Change(kind="rule", says=f"+index on {', '.join(columns)}", statements=tuple(ddl.add_index(table, columns)))
        for columns in spec.indexes
        if columns not in present
    ]
    return found


def _check(existing: TableState, check: CheckSpec, spec: TableSpec, table: TableRef, taken: set[str]) -> Change:
    there = existing.by_name.get(check.column)
    type_name = there.type if there is not None else next(column.type for column in spec.columns if column.name == check.column)
    # Rows that are there may be older than the rule.
    return Change(
        kind="rule",
        says=f"+check {ddl.says(check)}",
        statements=tuple(ddl.add_check(table, check, type_name, named_for=table, taken=taken, validated=False)),
    )


__all__ = ["Change", "changes", "difference", "holds", "kept", "told", "without_guesses"]
