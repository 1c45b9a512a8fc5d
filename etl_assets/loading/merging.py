"""Rows brought in by their key from a staging table: the statements of each merge strategy, pure.

    update         a row takes the new values; one that has them already is not touched, nor its indexes
    insert_only    a row that is there stays
    delete_insert  all rows of the merge key's values are deleted, those of the load added
    scd2           a row that is there ends at the time of the load, and a new version begins: valid_from, valid_to

Rows are compared by `*<>`, the stored bytes: 1.5 and 1.50 are equal numbers, but not the same; and json or point have no equality at all.

Not here: the staging table, executing (`dispositions.py`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

from psycopg2 import sql

from etl_assets.loading import ddl
from etl_assets.loading.options import MergeStrategy, WriteOptions
from etl_assets.loading.table import ColumnSpec, TableRef, TableSpec

VALID_FROM: Final = "valid_from"
VALID_TO: Final = "valid_to"
_INSTANT = "timestamp with time zone"


def table_of_history(spec: TableSpec) -> TableSpec:
    """The shape of a table that keeps all versions of its rows: one of them has no end."""
    versions = (
        ColumnSpec(name=VALID_FROM, type=_INSTANT, nullable=False, default="now()", comment="When this version was loaded"),
        ColumnSpec(name=VALID_TO, type=_INSTANT, comment="When it ended; NULL for the version that holds"),
    )
    # What is unique among rows is not among their versions.
    return dataclasses.replace(spec, columns=spec.columns + versions, primary_key=(*spec.primary_key, VALID_FROM), unique=())


def index_of_versions(table: TableRef, spec: TableSpec) -> list[sql.Composed]:
    """The index that finds the version that holds, and lets there be only one."""
    key = [name for name in spec.primary_key if name != VALID_FROM]
    return ddl.add_index(table, key, only=sql.SQL("{} IS NULL").format(sql.Identifier(VALID_TO)))


def removing(table: TableRef, staging: sql.Composable, key: Sequence[str], options: WriteOptions) -> list[sql.Composed]:
    """What removes or ends rows by all rows of the load together; counts are rows of the table."""
    if options.merge_strategy is MergeStrategy.DELETE_INSERT:
        return [_delete(table, staging, key)]
    return [_close_absent(table, staging, key)] if options.close_absent else []


def bringing(
    table: TableRef, source: sql.Composable, columns: Sequence[ColumnSpec], key: Sequence[str], strategy: MergeStrategy
) -> list[sql.Composed]:
    """What brings rows in, row by row independent of the others; the counts together are the rows of the table that changed.

    Args:
        table: Where to.
        source: The staging table, or a subquery of it, without alias.
        columns: Columns of the rows.
        key: Columns that tell rows apart.
        strategy: What happens to a row that is there.
    """
    names = [column.name for column in columns]
    if strategy is MergeStrategy.DELETE_INSERT:
        return [insert(table, source, names)]
    if strategy is MergeStrategy.SCD2:
        return [_end_changed(table, source, names, key), _begin(table, source, names, key)]
    return [_merge(table, source, names, key, update=strategy is MergeStrategy.UPDATE)]


def _merge(table: TableRef, staging: sql.Composable, names: Sequence[str], key: Sequence[str], *, update: bool) -> sql.Composed:
    others = [name for name in names if name not in key]
    change = sql.SQL("WHEN MATCHED AND {} THEN UPDATE SET {} ").format(
        _differs(others),
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("s", name)) for name in others),
    )
    return sql.SQL("MERGE INTO {} AS t USING {} AS s ON {} {}WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})").format(
        ddl.name_of(table),
        staging,
        _same_key(key),
        change if update and others else sql.SQL(""),
        ddl.names(names),
        ddl.names(names, "s"),
    )


def _delete(table: TableRef, staging: sql.Composable, key: Sequence[str]) -> sql.Composed:
    return sql.SQL("DELETE FROM {} AS t USING (SELECT DISTINCT {} FROM {} AS rows) AS s WHERE {}").format(
        ddl.name_of(table), ddl.names(key), staging, _same_key(key)
    )


def insert(table: TableRef, staging: sql.Composable, names: Sequence[str]) -> sql.Composed:
    """All rows of a staging table into the target."""
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} AS s").format(ddl.name_of(table), ddl.names(names), ddl.names(names), staging)


def _close_absent(table: TableRef, staging: sql.Composable, key: Sequence[str]) -> sql.Composed:
    return sql.SQL("UPDATE {} AS t SET {to} = now() WHERE t.{to} IS NULL AND NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(
        ddl.name_of(table), staging, _same_key(key), to=sql.Identifier(VALID_TO)
    )


def _end_changed(table: TableRef, staging: sql.Composable, names: Sequence[str], key: Sequence[str]) -> sql.Composed:
    others = [name for name in names if name not in key]
    return sql.SQL("UPDATE {} AS t SET {to} = now() FROM {} AS s WHERE t.{to} IS NULL AND {} AND {}").format(
        ddl.name_of(table), staging, _same_key(key), _differs(others) if others else sql.SQL("false"), to=sql.Identifier(VALID_TO)
    )


def _begin(table: TableRef, staging: sql.Composable, names: Sequence[str], key: Sequence[str]) -> sql.Composed:
    return sql.SQL(
        "INSERT INTO {} ({}, {}) SELECT {}, now() FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS t WHERE t.{} IS NULL AND {})"
    ).format(
        ddl.name_of(table), ddl.names(names), sql.Identifier(VALID_FROM), ddl.names(names, "s"), staging,
        ddl.name_of(table), sql.Identifier(VALID_TO), _same_key(key),
    )  # fmt: skip


def _same_key(key: Sequence[str]) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier("t", name), sql.Identifier("s", name)) for name in key)


def _differs(names: Sequence[str]) -> sql.Composed:
    return sql.SQL("ROW({})::record *<> ROW({})::record").format(ddl.names(names, "t"), ddl.names(names, "s"))


def count_of_keys(table: TableRef, staging: sql.Composable, key: Sequence[str]) -> sql.Composed:
    """The query for how many rows of a staging table have their key in the table."""
    return sql.SQL("SELECT count(*) FROM {} AS s WHERE EXISTS (SELECT FROM {} AS t WHERE {})").format(
        staging, ddl.name_of(table), _same_key(key)
    )


def shared_key(table: TableRef, staging: sql.Composable, key: Sequence[str]) -> sql.Composed:
    """The query for one key of the staging table that several rows of the table share: its values as text, and the rows."""
    return sql.SQL("SELECT ARRAY[{}], count(*) FROM {} AS t JOIN {} AS s ON {} GROUP BY {} HAVING count(*) > 1 LIMIT 1").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier("s", name)) for name in key),
        ddl.name_of(table),
        staging,
        _same_key(key),
        ddl.names(key, "s"),
    )


def unusable_key(staging: sql.Composable, key: Sequence[str], *, may_repeat: bool) -> sql.Composed:
    """The query for one key that several rows of a staging table share, or that has a NULL: its values as text, and the rows."""
    columns = [sql.Identifier(name) for name in key]
    missing = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(name) for name in columns)
    return sql.SQL("SELECT ARRAY[{}], count(*) FROM {} GROUP BY {} HAVING {}{} LIMIT 1").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in columns),
        staging,
        ddl.names(key),
        missing,
        sql.SQL("" if may_repeat else " OR count(*) > 1"),
    )


__all__ = [
    "VALID_FROM", "VALID_TO", "bringing", "count_of_keys", "index_of_versions", "insert", "removing", "shared_key", "table_of_history",
    "unusable_key",
]  # fmt: skip
