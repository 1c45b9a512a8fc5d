"""What a load does to the table itself: it is made, made anew beside, changed, or emptied. `etl-assets plan` prints the same.

Not here: rows (`dispositions.py`), how shapes differ (`shape.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql

from etl_assets.errors import DatabaseRefusedError
from etl_assets.loading import ddl, merging, session, shape
from etl_assets.loading.options import MergeStrategy, SchemaChange, WriteDisposition, WriteOptions
from etl_assets.loading.table import ReplaceStrategy, TableRef, TableSpec, TableState


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a load does to the table.

    Attributes:
        builds: The shape in which the table is made; None when the one that is there takes the rows.
        replaces: One is there, and the new one takes its place.
        deletes: The rows that are there are deleted first.
        changes: Statements on the table that is there.
        says: How the shape of a table that is there changes, in words; "" for not.
        strategy: How a replace is carried out; None for other dispositions.
        notes: Why it is carried out so.
    """

    builds: TableSpec | None = None
    replaces: bool = False
    deletes: bool = False
    changes: tuple[sql.Composed, ...] = ()
    says: str = ""
    strategy: ReplaceStrategy | None = None
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a load would do to its table, for people.

    Attributes:
        exists: The table is there.
        strategy: How a replace would be carried out; None for other dispositions.
        says: How its shape would change, in words; "" for not.
        notes: Why it would be carried out so.
        statements: Every statement on the table, as text; rows come by COPY.
    """

    exists: bool
    strategy: ReplaceStrategy | None
    says: str
    notes: str
    statements: tuple[str, ...]


def stored_spec(spec: TableSpec, options: WriteOptions) -> TableSpec:
    """The shape of the table that keeps rows of this shape."""
    return merging.table_of_history(spec) if options.keeps_history else spec


def prepare(cursor: Any, table: TableRef, spec: TableSpec, options: WriteOptions, *, where: str) -> Preparation:
    """What a load would do to the table; changes nothing.

    Args:
        cursor: Inside a transaction.
        table: The table.
        spec: The shape of the rows.
        options: How they are written.
        where: The asset, for errors.

    Raises:
        DatabaseRefusedError: The table cannot take the rows; the message says why.
    """
    _refuse_names(table, spec, options, where)
    wanted = stored_spec(spec, options)
    existing = session.state(cursor, table)
    replaces = options.disposition is WriteDisposition.REPLACE
    swap = ReplaceStrategy.SWAP if replaces else None
    if existing is None:
        return Preparation(builds=wanted, strategy=swap)
    wanted = shape.without_guesses(existing, wanted)
    _refuse_update_of_versions(existing, table, options, where)
    if options.keeps_history and merging.VALID_FROM not in existing.by_name:
        raise DatabaseRefusedError(
            where, f"the table {table} keeps no versions of its rows: it has no column {merging.VALID_FROM}.",
            "rename or drop it; the next load makes one that does.",
        )  # fmt: skip
    allowed = options.on_schema_change
    anew = allowed is SchemaChange.REPLACE
    if not replaces and not (anew and not _takes(existing, wanted, table)):
        asked = options.schema_change is not None
        changes = shape.changes(existing, wanted, table, SchemaChange.WIDEN if anew else allowed, asked=asked, where=where)
        return Preparation(changes=_statements(changes), says=shape.told(changes))
    reasons = session.what_would_be_lost(cursor, table)
    if reasons:
        return _in_place(existing, wanted, table, options, reasons, where)
    if not anew:
        shape.changes(existing, wanted, table, allowed, where=where)
        wanted = shape.kept(existing, wanted)
    return Preparation(builds=wanted, replaces=True, says=shape.difference(existing, wanted), strategy=swap)


def _refuse_names(table: TableRef, spec: TableSpec, options: WriteOptions, where: str) -> None:
    for name in (table.schema, table.table, *spec.names):
        if not name or "\0" in name:
            raise DatabaseRefusedError(where, f"{name!r} is no name: it is empty, or holds a NUL.", "give another one.")
        if len(name.encode()) > ddl.LONGEST_NAME:
            raise DatabaseRefusedError(
                where, f"the name {name!r} has {len(name.encode())} bytes, and PostgreSQL keeps {ddl.LONGEST_NAME}: it would be cut.",
                "give a shorter one.",
            )  # fmt: skip
    if options.keeps_history and {merging.VALID_FROM, merging.VALID_TO} & set(spec.names):
        raise DatabaseRefusedError(
            where, f"the rows have a column {merging.VALID_FROM} or {merging.VALID_TO}, which scd2 adds itself.", "rename it."
        )


def _refuse_update_of_versions(existing: TableState, table: TableRef, options: WriteOptions, where: str) -> None:
    rewrites = options.merge_strategy in (MergeStrategy.UPDATE, MergeStrategy.DELETE_INSERT)
    if options.disposition is WriteDisposition.MERGE and rewrites and merging.VALID_FROM in existing.primary_key:
        raise DatabaseRefusedError(
            where, f"the table {table} keeps all versions of its rows, and {options.merge_strategy.value} would rewrite them.",
            'say merge_strategy "scd2", or choose another table.',
        )  # fmt: skip


def _takes(existing: TableState, spec: TableSpec, table: TableRef) -> bool:
    try:
        shape.changes(existing, spec, table, SchemaChange.WIDEN, where="")
    except DatabaseRefusedError:
        return False
    return True


def _in_place(
    existing: TableState, spec: TableSpec, table: TableRef, options: WriteOptions, reasons: Sequence[str], where: str
) -> Preparation:
    lost = ", ".join(reasons)
    allowed = options.on_schema_change
    try:
        anew, asked = allowed is SchemaChange.REPLACE, options.schema_change is not None
        changes = shape.changes(existing, spec, table, SchemaChange.WIDEN if anew else allowed, asked=asked, where=where)
        if options.disposition is not WriteDisposition.REPLACE:
            raise DatabaseRefusedError(where, f"the table has another shape than the rows: {shape.difference(existing, spec)}.", "")
    except DatabaseRefusedError as error:
        raise DatabaseRefusedError(
            where, f"{error.cause} It cannot be made anew without losing: {lost}.",
            "alter the table to the shape of the contract, or drop what depends on it.",
        ) from error  # fmt: skip
    return Preparation(
        deletes=True,
        changes=_statements(changes),
        says=shape.told(changes),
        strategy=ReplaceStrategy.DELETE,
        notes=f"rows are deleted and loaded anew, because a swap would lose: {lost}",
    )


def _statements(changes: Sequence[shape.Change]) -> tuple[sql.Composed, ...]:
    return tuple(statement for change in changes for statement in change.statements)


def making(table: TableRef, spec: TableSpec, options: WriteOptions, *, named_for: TableRef, late: bool) -> list[sql.Composed]:
    """What makes a table before its rows come.

    Args:
        table: Its name.
        named_for: The table that it becomes.
        spec: Its shape.
        options: How rows are written.
        late: Leave keys and indexes to `finishing`: over finished rows they are built faster. Rows that meet others by their key need
            them first.
    """
    # Checks come first either way, so that a row they refuse is told from the others.
    made = [ddl.create_table(table, spec.columns), *ddl.add_checks(table, spec, named_for=named_for)]
    return made if late else [*made, *ddl.add_keys(table, spec), *finishing(table, spec, options)]


def finishing(table: TableRef, spec: TableSpec, options: WriteOptions) -> list[sql.Composed]:
    """What a table gets beside its keys: indexes and comments."""
    history = merging.index_of_versions(table, spec) if options.keeps_history else []
    return [*ddl.add_indexes(table, spec), *history, *ddl.add_comments(table, spec)]


def planned(table: TableRef, prepared: Preparation, options: WriteOptions) -> list[sql.Composed]:
    """Every statement on the table that a load would run, in order, with COPY left out."""
    if prepared.builds is None:
        return [*prepared.changes, *([sql.SQL("DELETE FROM {}").format(ddl.name_of(table))] if prepared.deletes else [])]
    if not prepared.replaces:
        return making(table, prepared.builds, options, named_for=table, late=False)
    # A load gives the new table a name that nobody else can have.
    beside = TableRef(schema=table.schema, table=f"_etl_{table.table}"[: ddl.LONGEST_NAME])
    return [
        *making(beside, prepared.builds, options, named_for=table, late=False),
        sql.SQL("DROP TABLE {}").format(ddl.name_of(table)),
        sql.SQL("ALTER TABLE {} RENAME TO {}").format(ddl.name_of(beside), sql.Identifier(table.table)),
        *ddl.rename_keys_and_indexes(beside, table, prepared.builds),
    ]


__all__ = ["Plan", "Preparation", "finishing", "making", "planned", "prepare", "stored_spec"]
