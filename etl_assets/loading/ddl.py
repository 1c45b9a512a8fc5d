"""Statements that make and change tables, pure: values in, quoted SQL out.

Checks and indexes that this project makes carry a comment that begins with `etl_assets`, so that they can be told from those of other
people: a replace makes them anew, a changed contract changes them.

Not here: executing anything, which of them a load needs (`shape.py`), statements on rows (`merging.py`).
"""

import datetime
import hashlib
import itertools
import numbers
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
from psycopg2 import sql

from etl_assets.loading.table import CheckSpec, ColumnSpec, TableRef, TableSpec

MADE_BY: Final = "etl_assets"
LONGEST_NAME: Final = 63
_SUFFIXES = {
    "=": "eq", "<>": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le", "in": "in", "not in": "not_in", "min length": "min_length",
    "max length": "max_length", "starts with": "starts_with", "ends with": "ends_with",
}  # fmt: skip
_WITH_NAN = ("real", "double precision", "numeric")


def name_of(table: TableRef) -> sql.Identifier:
    """The quoted name of a table."""
    return sql.Identifier(table.schema, table.table)


def names(columns: Iterable[str], qualifier: str | None = None) -> sql.Composed:
    """Quoted column names, separated by commas."""
    return sql.SQL(", ").join(sql.Identifier(qualifier, name) if qualifier else sql.Identifier(name) for name in columns)


def create_table(table: TableRef, columns: Sequence[ColumnSpec]) -> sql.Composed:
    """CREATE TABLE without keys: they are added after the rows. Types are the names that PostgreSQL prints."""
    return sql.SQL("CREATE TABLE {} ({})").format(name_of(table), sql.SQL(", ").join(map(column_definition, columns)))


def column_definition(column: ColumnSpec) -> sql.Composed:
    """Name, type, NOT NULL and default."""
    rest = ("" if column.nullable else " NOT NULL") + (f" DEFAULT {column.default}" if column.default else "")
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(column.type), sql.SQL(rest))


def add_keys(table: TableRef, spec: TableSpec) -> list[sql.Composed]:
    """Primary key and unique constraints, named as PostgreSQL names them."""
    keys = [("PRIMARY KEY", spec.primary_key)] if spec.primary_key else []
    keys += [("UNIQUE", columns) for columns in spec.unique]
    return [
        sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {} ({})").format(name_of(table), sql.Identifier(name), sql.SQL(kind), names(columns))
        for (kind, columns), name in zip(keys, key_names(table, spec), strict=True)
    ]


def key_names(table: TableRef, spec: TableSpec) -> list[str]:
    """Names of the primary key, where there is one, and of the unique constraints."""
    primary = [f"{table.table}_pkey"] if spec.primary_key else []
    return [shortened(name) for name in [*primary, *(f"{table.table}_{'_'.join(columns)}_key" for columns in spec.unique)]]


# -- checks ---------------------------------------------------------------------------------------------------------------


def add_checks(table: TableRef, spec: TableSpec, *, named_for: TableRef) -> list[sql.Composed]:
    """CHECK constraints with their comments, named for the table that this one becomes."""
    types = {column.name: column.type for column in spec.columns}
    taken: set[str] = set()
    return [
        statement
        for check in spec.checks
        for statement in add_check(table, check, types[check.column], named_for=named_for, taken=taken, validated=True)
    ]


def add_check(
    table: TableRef, check: CheckSpec, type_name: str, *, named_for: TableRef, taken: set[str], validated: bool
) -> list[sql.Composed]:
    """One CHECK constraint and its comment.

    Args:
        table: The table.
        named_for: The table whose name it bears.
        check: What it asks.
        type_name: PostgreSQL type of its column.
        taken: Names that other constraints have; its own is added.
        validated: Ask it of the rows that are there too.
    """
    plain = f"{named_for.table}_{check.column}_{_SUFFIXES[check.operator]}_check"
    names_ = itertools.chain([plain], (f"{plain}{number}" for number in itertools.count(1)))
    chosen = next(one for one in map(shortened, names_) if one not in taken)
    taken.add(chosen)
    name = sql.Identifier(chosen)
    added = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({}){}").format(
        name_of(table), name, _expression(check, type_name), sql.SQL("" if validated else " NOT VALID")
    )
    comment = sql.Literal(f"{MADE_BY}: {says(check)}")
    return [added, sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(name, name_of(table), comment)]


def drop_check(table: TableRef, name: str) -> sql.Composed:
    """Take a CHECK constraint away."""
    return sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(name_of(table), sql.Identifier(name))


def says(check: CheckSpec) -> str:
    """A check in words; two checks that say the same ask the same."""
    operands = ", ".join(repr(operand) if isinstance(operand, str) else str(_plain(operand)) for operand in check.operands)
    return f"{check.column} {check.operator} {operands}"


def _expression(check: CheckSpec, type_name: str) -> sql.Composed:
    column = sql.Identifier(check.column)
    operands = [_operand(operand, type_name) for operand in check.operands]
    listed = sql.SQL(", ").join(operands)
    if check.operator in ("in", "not in"):
        asked = sql.SQL("{} {} ({})").format(column, sql.SQL(check.operator.upper()), listed)
    elif check.operator == "min length":
        asked = sql.SQL("char_length({}) >= {}").format(column, listed)
    elif check.operator == "max length":
        asked = sql.SQL("char_length({}) <= {}").format(column, listed)
    elif check.operator == "starts with":
        asked = sql.SQL("starts_with({}, {})").format(column, listed)
    elif check.operator == "ends with":
        asked = sql.SQL("right({}, {}) = {}").format(column, sql.Literal(len(check.operands[0])), listed)
    else:
        asked = sql.SQL("{} {} {}").format(column, sql.SQL(check.operator), listed)
    if type_name.startswith(_WITH_NAN):
        # To PostgreSQL NaN is above every number, to a contract it is no value.
        return sql.SQL("{} OR {} = 'NaN'").format(asked, column)
    return sql.Composed([asked])


def _operand(value: Any, type_name: str) -> sql.Composable:
    """A literal that is compared as pandas compares: a real with the real nearest to a plain number, with a double of numpy as a double."""
    if type_name == "real" and not isinstance(value, np.float64):
        nearest = np.float32(value)
        return sql.SQL("{}::real").format(sql.Literal(Decimal(str(nearest)) if np.isfinite(nearest) else float(nearest)))
    if type_name in ("real", "double precision"):
        return sql.SQL("{}::double precision").format(sql.Literal(_plain(value)))
    return sql.Literal(_plain(value))


def _plain(value: Any) -> Any:
    """The value in a type that psycopg2 writes; numpy's numbers are none."""
    if isinstance(value, bool | str | Decimal | datetime.date) or not isinstance(value, numbers.Number):
        return value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, numbers.Integral) else float(value)  # type: ignore[arg-type]


# -- indexes --------------------------------------------------------------------------------------------------------------


def add_indexes(table: TableRef, spec: TableSpec) -> list[sql.Composed]:
    """Indexes with their comments."""
    return [statement for columns in spec.indexes for statement in add_index(table, columns)]


def add_index(table: TableRef, columns: Sequence[str], *, only: sql.Composable | None = None) -> list[sql.Composed]:
    """One index and its comment; over the rows of a condition their values are unique."""
    name = index_name(table, columns, only=only is not None)
    kind, condition = ("INDEX", sql.SQL("")) if only is None else ("UNIQUE INDEX", sql.SQL(" WHERE {}").format(only))
    return [
        sql.SQL("CREATE {} {} ON {} ({}){}").format(sql.SQL(kind), sql.Identifier(name), name_of(table), names(columns), condition),
        sql.SQL("COMMENT ON INDEX {} IS {}").format(sql.Identifier(table.schema, name), sql.Literal(f"{MADE_BY}: of the contract")),
    ]


def index_name(table: TableRef, columns: Sequence[str], *, only: bool = False) -> str:
    """Name of an index that this project makes: table, columns, and whether it is over some rows only."""
    return shortened(f"{table.table}_{'_'.join(columns)}_{'now' if only else 'idx'}")


def shortened(name: str) -> str:
    """A name that PostgreSQL keeps whole: a longer one ends in a hash of all of it."""
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST_NAME - 9].decode(errors="ignore") + f"_{digest}"


def rename_keys_and_indexes(made_as: TableRef, table: TableRef, spec: TableSpec) -> list[sql.Composed]:
    """What gives the keys and indexes of a table that was made by another name the names they would have had."""
    keys = zip(key_names(made_as, spec), key_names(table, spec), strict=True)
    indexes = [(index_name(made_as, columns), index_name(table, columns)) for columns in spec.indexes]
    rename = sql.SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}")
    return [
        *(rename.format(name_of(table), sql.Identifier(old), sql.Identifier(new)) for old, new in keys),
        *(sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(table.schema, old), sql.Identifier(new)) for old, new in indexes),
    ]


# -- comments and grants --------------------------------------------------------------------------------------------------


def add_comments(table: TableRef, spec: TableSpec) -> list[sql.Composed]:
    """Comments on the table and its columns, where there are any."""
    statements = [comment_on_column(table, column) for column in spec.columns if column.comment]
    if spec.comment:
        statements.append(sql.SQL("COMMENT ON TABLE {} IS {}").format(name_of(table), sql.Literal(spec.comment)))
    return statements


def comment_on_column(table: TableRef, column: ColumnSpec) -> sql.Composed:
    """What a column means."""
    return sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(name_of(table), sql.Identifier(column.name), sql.Literal(column.comment))


def grant(table: TableRef, privilege: str, grantee: str | None, *, grantable: bool) -> sql.Composed:
    """One GRANT; a grantee of None is PUBLIC."""
    return sql.SQL("GRANT {} ON {} TO {}{}").format(
        sql.SQL(privilege),
        name_of(table),
        sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
        sql.SQL(" WITH GRANT OPTION" if grantable else ""),
    )


__all__ = [
    "LONGEST_NAME", "MADE_BY", "add_check", "add_checks", "add_comments", "add_index", "add_indexes", "add_keys", "column_definition",
    "comment_on_column", "create_table", "drop_check", "grant", "index_name", "key_names", "name_of", "names",
    "rename_keys_and_indexes", "says", "shortened",
]  # fmt: skip
