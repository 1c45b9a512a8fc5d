"""How rows reach their table: replace, append, merge, each inside the caller's transaction.

Not here: the transaction and what else commits with it (`writer.py`), the statements (`sql.py`).
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import psycopg2.sql

from etl_assets.errors import DatabaseRefusedError, UnstorableValueError
from etl_assets.loading import session
from etl_assets.loading import sql as statements
from etl_assets.loading.rows import Rows
from etl_assets.loading.table import ColumnSpec, LoadRequest, ReplaceStrategy, TableRef, TableSpec, WriteDisposition

logger = logging.getLogger(__name__)


def _append(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows) -> tuple[None, int]:
    columns = _existing_or_new(cursor, request, spec)
    return None, _add(cursor, request, columns, rows)


def _add(cursor: Any, request: LoadRequest, columns: Sequence[ColumnSpec], rows: Rows) -> int:
    """Put rows among those that are there."""
    target, where = statements.name_of(request.target), request.identity.asset
    if not rows.staged:
        return rows.copy_into(cursor, target, columns, where=where)
    staging, count = _stage(cursor, request, columns, rows)
    names = psycopg2.sql.SQL(", ").join(psycopg2.sql.Identifier(column.name) for column in columns)
    cursor.execute(psycopg2.sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(target, names, names, staging))
    return count


def _stage(cursor: Any, request: LoadRequest, columns: Sequence[ColumnSpec], rows: Rows) -> tuple[psycopg2.sql.Identifier, int]:
    """A temporary table of the target's columns with the rows in it, and how many there are."""
    staging = f"_etl_{secrets.token_hex(8)}"
    copied = psycopg2.sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
        psycopg2.sql.Identifier(staging),
        psycopg2.sql.SQL(", ").join(psycopg2.sql.Identifier(column.name) for column in columns),
        statements.name_of(request.target),
    )
    cursor.execute(copied)
    table = psycopg2.sql.Identifier("pg_temp", staging)
    count = rows.copy_into(cursor, table, columns, where=request.identity.asset)
    return table, count - rows.settle(cursor, table)


def _merge(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows) -> tuple[None, int]:
    return None, _by_key(cursor, request, spec, rows, update=True)[0]


def _insert(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows) -> tuple[None, int]:
    return None, _by_key(cursor, request, spec, rows, update=False)[1]


def _by_key(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows, *, update: bool) -> tuple[int, int]:
    """Bring rows in by their key; how many were delivered, and how many rows of the table that changed or added."""
    where = request.identity.asset
    if not spec.primary_key:
        raise DatabaseRefusedError(
            where, f"{request.disposition.value} needs a primary key, and the contract has none.",
            'add `metadata = {"primary_key": [...]}` to its Config.',
        )  # fmt: skip
    columns = _existing_or_new(cursor, request, spec)
    staging, count = _stage(cursor, request, columns, rows)
    _refuse_unusable_keys(cursor, staging, spec.primary_key, where)
    cursor.execute(statements.merge(request.target, staging, columns, spec.primary_key, update=update))
    return count, int(cursor.rowcount)


def _refuse_unusable_keys(cursor: Any, staging: psycopg2.sql.Identifier, key: tuple[str, ...], where: str) -> None:
    """Rows without a key of their own: a table that was made elsewhere may have no constraint that refuses them."""
    cursor.execute(statements.unusable_key(staging, key))
    found = cursor.fetchone()
    if found is None:
        return
    values, rows = found
    shown = ", ".join(f"{name}={'NULL' if value is None else value[:80]}" for name, value in zip(key, values, strict=True))
    if None in values:
        raise UnstorableValueError(where, f"a row has no primary key ({shown}).", "leave it out, or complete it, in the asset.")
    raise UnstorableValueError(
        where, f"{rows} rows share the primary key {shown}, and a merge keeps one.", "leave one of them in the asset."
    )


def _existing_or_new(cursor: Any, request: LoadRequest, spec: TableSpec) -> list[ColumnSpec]:
    """The columns of the target, which is made when it is not there, in the order of the rows."""
    target = request.target
    existing = session.columns(cursor, target)
    if existing is None:
        cursor.execute(statements.create_table(target, spec.columns))
        for statement in statements.add_keys(target, spec) + statements.add_comments(target, spec):
            cursor.execute(statement)
        existing = session.columns(cursor, target) or ()
    changed = difference(existing, spec)
    if changed:
        raise DatabaseRefusedError(
            request.identity.asset,
            f"the table has another shape than the rows ({changed}), and {request.disposition.value} keeps the rows it has.",
            "alter the table to the shape of the contract, or replace it once.",
        )
    by_name = {column.name: column for column in existing}
    return [by_name[column.name] for column in spec.columns]


def _replace(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows) -> tuple[ReplaceStrategy, int]:
    target, where = request.target, request.identity.asset
    existing = session.columns(cursor, target)
    if existing is None:
        return ReplaceStrategy.SWAP, _build(cursor, target, spec, rows, where)
    reasons = session.what_would_be_lost(cursor, target)
    if reasons:
        _refuse_other_shape(existing, spec, reasons, where)
        logger.info("%s: rows are deleted and loaded anew, because a swap would lose: %s", target, ", ".join(reasons))
        cursor.execute(session.composed("DELETE FROM {}", target))
        by_name = {column.name: column for column in existing}
        return ReplaceStrategy.DELETE, _add(cursor, request, [by_name[c.name] for c in spec.columns], rows)
    changed = difference(existing, spec)
    if changed:
        logger.warning("%s: the table changes its shape: %s", target, changed)
    beside = TableRef(schema=target.schema, table=f"_etl_{secrets.token_hex(8)}")
    count = _build(cursor, beside, spec, rows, where)
    _copy_grants(cursor, target, beside)
    cursor.execute(session.composed("DROP TABLE {}", target))
    cursor.execute(session.composed("ALTER TABLE {} RENAME TO {name}", beside, name=target.table))
    _rename_constraints(cursor, target, beside.table)
    return ReplaceStrategy.SWAP, count


def _build(cursor: Any, table: TableRef, spec: TableSpec, rows: Rows, where: str) -> int:
    """A new table with its rows, then its keys and comments: an index over finished rows is built faster. How many rows."""
    cursor.execute(statements.create_table(table, spec.columns))
    catalog = session.columns(cursor, table) or ()
    name = statements.name_of(table)
    count = rows.copy_into(cursor, name, catalog, where=where)
    count -= rows.settle(cursor, name)
    for statement in statements.add_keys(table, spec) + statements.add_comments(table, spec):
        cursor.execute(statement)
    return count


def _refuse_other_shape(existing: tuple[ColumnSpec, ...], spec: TableSpec, reasons: list[str], where: str) -> None:
    changed = difference(existing, spec)
    if changed:
        raise DatabaseRefusedError(
            where,
            f"the table has another shape ({changed}) and cannot be replaced as a whole without losing: {', '.join(reasons)}.",
            "alter the table to the shape of the contract, or drop what depends on it.",
        )


def difference(existing: tuple[ColumnSpec, ...], spec: TableSpec) -> str:
    """Columns gone, new and of another type, in words; "" for none."""
    before = {column.name: column.type for column in existing}
    after = {column.name: column.type for column in spec.columns}
    changes = [f"-{name} {before[name]}" for name in before if name not in after]
    changes += [f"+{name} {after[name]}" for name in after if name not in before]
    changes += [f"{name} {before[name]} -> {after[name]}" for name in after if name in before and before[name] != after[name]]
    return ", ".join(changes)


def _copy_grants(cursor: Any, source: TableRef, target: TableRef) -> None:
    cursor.execute(statements.GRANTS_OF_TABLE, {"table": session.quoted(cursor, source)})
    for privilege, grantable, grantee in cursor.fetchall():
        cursor.execute(statements.grant(target, privilege, grantee, grantable=grantable))


def _rename_constraints(cursor: Any, table: TableRef, made_for: str) -> None:
    """Constraints that PostgreSQL named after the table's first name get the names they would have had."""
    cursor.execute("SELECT conname::text FROM pg_constraint WHERE conrelid = %s::regclass", (session.quoted(cursor, table),))
    for (name,) in cursor.fetchall():
        if name.startswith(made_for):
            renamed = (table.table + name[len(made_for) :]).encode()[:63].decode(errors="ignore")
            cursor.execute(session.composed("ALTER TABLE {} RENAME CONSTRAINT {old} TO {new}", table, old=name, new=renamed))


_DISPOSITIONS: dict[WriteDisposition, Callable[[Any, LoadRequest, TableSpec, Rows], tuple[ReplaceStrategy | None, int]]] = {
    WriteDisposition.REPLACE: _replace,
    WriteDisposition.APPEND: _append,
    WriteDisposition.MERGE: _merge,
    WriteDisposition.INSERT: _insert,
}


def apply(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows) -> tuple[ReplaceStrategy | None, int]:
    """Bring the rows into their table as the request's disposition says; how a replace was done, and rows delivered.

    Raises:
        DatabaseRefusedError: The table has another shape, or a merge has no key.
        UnstorableValueError: A value does not fit its column exactly, or rows of a merge share a key.
    """
    return _DISPOSITIONS[request.disposition](cursor, request, spec, rows)


__all__ = ["apply", "difference"]
