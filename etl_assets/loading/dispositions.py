"""How rows reach their table: replace, append, merge, replace_partition, each inside the caller's transaction.

Not here: the transaction and what else commits with it (`writer.py`), what happens to the table itself (`preparation.py`), the statements
(`ddl.py`, `merging.py`).
"""

import dataclasses
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg2
from psycopg2 import sql

from etl_assets.errors import DatabaseRefusedError, UnstorableValueError
from etl_assets.loading import ddl, merging, session
from etl_assets.loading import sql as statements
from etl_assets.loading.conditions import condition
from etl_assets.loading.options import MergeStrategy, WriteDisposition
from etl_assets.loading.preparation import Preparation, finishing, making, prepare
from etl_assets.loading.refusals import Refusal, in_parts, refusal_of, savepoint
from etl_assets.loading.rows import ROW, Rows, read_record
from etl_assets.loading.table import Applied, ColumnSpec, LoadRequest, TableRef, TableSpec

logger = logging.getLogger(__name__)

_DEFERRABLE_REFERENCES = """
    SELECT nspname::text, conname::text FROM pg_constraint JOIN pg_namespace n ON n.oid = connamespace
     WHERE contype = 'f' AND condeferrable AND confrelid = %s::regclass AND conrelid <> confrelid
"""


_INDEXES = "SELECT relname::text FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indrelid = %s::regclass"


def apply(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows) -> Applied:
    """Bring the rows into their table as the request says.

    Args:
        cursor: Inside the load's transaction, under the lock of the table.
        request: Target and options.
        spec: The shape of the rows.
        rows: The rows.

    Raises:
        DatabaseRefusedError: The table cannot take rows of this shape, or a merge has no key.
        UnstorableValueError: A value does not fit its column exactly, or rows of a merge share a key.
    """
    target, where = request.target, request.identity.asset
    if request.write.disposition is WriteDisposition.MERGE:
        _require_key(request, spec)
    if request.write.disposition is WriteDisposition.REPLACE_PARTITION and request.partition is None:
        raise DatabaseRefusedError(where, "replace_partition is told no partition.", "name it, or choose another write disposition.")
    prepared = prepare(cursor, target, spec, request.write, where=where)
    if prepared.says:
        logger.warning("%s: the table changes its shape: %s", target, prepared.says)
    if prepared.notes:
        logger.info("%s: %s", target, prepared.notes)
    applied = _build(cursor, request, spec, rows, prepared) if prepared.builds else _change(cursor, request, spec, rows, prepared)
    return dataclasses.replace(applied, strategy=applied.strategy or prepared.strategy, changes=prepared.says)


def _build(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows, prepared: Preparation) -> Applied:
    """A new table, beside the one that is there, which it then takes the name and the grants of."""
    target, where = request.target, request.identity.asset
    assert prepared.builds is not None
    table = TableRef(schema=target.schema, table=f"_etl_{secrets.token_hex(8)}") if prepared.replaces else target
    late = request.write.disposition is WriteDisposition.REPLACE
    _execute(cursor, making(table, prepared.builds, request.write, named_for=target, late=late))
    columns = _columns(cursor, table, spec)
    applied = _BRING[request.write.disposition](cursor, dataclasses.replace(request, target=table), spec, columns, rows, alone=True)
    if late:
        _add_keys(cursor, table, prepared.builds, where)
        _execute(cursor, finishing(table, prepared.builds, request.write))
    if prepared.replaces:
        _copy_grants(cursor, target, table)
        cursor.execute(session.composed("DROP TABLE {}", target))
        cursor.execute(session.composed("ALTER TABLE {} RENAME TO {name}", table, name=target.table))
        _rename_what_belongs(cursor, target, table, prepared.builds)
    return dataclasses.replace(applied, made=True)


def _change(cursor: Any, request: LoadRequest, spec: TableSpec, rows: Rows, prepared: Preparation) -> Applied:
    """Rows into the table that is there."""
    try:
        _execute(cursor, prepared.changes)
    except psycopg2.errors.FeatureNotSupported as error:
        # What stands in the way is in the detail: a view, a rule, a generated column.
        said = (
            f"{error.diag.message_primary}: {error.diag.message_detail}" if error.diag.message_detail else str(error.diag.message_primary)
        )
        raise DatabaseRefusedError(
            request.identity.asset, f"the table cannot take the rows ({prepared.says}): {said}.",
            "drop what it names and make it again afterwards, or alter the table yourself.",
        ) from error  # fmt: skip
    deleted = 0
    if prepared.deletes:
        deleted = _delete_all(cursor, request)
    columns = _columns(cursor, request.target, spec)
    applied = _BRING[request.write.disposition](cursor, request, spec, columns, rows, alone=False)
    if prepared.deletes:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return dataclasses.replace(applied, changed=applied.changed + deleted)


def _delete_all(cursor: Any, request: LoadRequest) -> int:
    """Empty the table before its rows come anew; rows that others reference may be away for that long, where their constraint lets them."""
    cursor.execute(_DEFERRABLE_REFERENCES, (session.quoted(cursor, request.target),))
    references = [sql.Identifier(schema, name) for schema, name in cursor.fetchall()]
    if references:
        cursor.execute(sql.SQL("SET CONSTRAINTS {} DEFERRED").format(sql.SQL(", ").join(references)))
    try:
        cursor.execute(session.composed("DELETE FROM {}", request.target))
    except psycopg2.errors.ForeignKeyViolation as error:
        raise DatabaseRefusedError(
            request.identity.asset, f"rows of the table are referenced by another one, so they cannot be deleted and loaded anew "
            f"({error.diag.constraint_name} on {error.diag.schema_name}.{error.diag.table_name}).",
            'say write="merge", or make that foreign key DEFERRABLE.',
        ) from error  # fmt: skip
    return int(cursor.rowcount)


def _columns(cursor: Any, table: TableRef, spec: TableSpec) -> list[ColumnSpec]:
    """The columns of the rows as the catalog has them, in the order of the rows."""
    state = session.state(cursor, table)
    assert state is not None
    return [state.by_name[name] for name in spec.names]


def _execute(cursor: Any, composed: Iterable[sql.Composed]) -> None:
    for statement in composed:
        cursor.execute(statement)


# -- the dispositions -----------------------------------------------------------------------------------------------------


def _add(cursor: Any, request: LoadRequest, spec: TableSpec, columns: Sequence[ColumnSpec], rows: Rows, *, alone: bool) -> Applied:
    """Put rows into the table, alone or among those that are there."""
    table, where = ddl.name_of(request.target), request.identity.asset
    if alone or not rows.staged:
        count = rows.copy_into(cursor, table, columns, where=where, within=request.partition)
        count -= rows.settle(cursor, table, where=where)
        return Applied(rows=count, changed=count)
    staging, count = _stage(cursor, request, columns, rows)
    names = [column.name for column in columns]
    changed, refused = _bring_staged(cursor, staging, lambda source: [merging.insert(request.target, source, names)], rows, where)
    return Applied(rows=count - refused, changed=changed)


def _replace_partition(
    cursor: Any, request: LoadRequest, spec: TableSpec, columns: Sequence[ColumnSpec], rows: Rows, *, alone: bool
) -> Applied:
    """Delete the rows of the partition and put those of the load in their place."""
    target, where = request.target, request.identity.asset
    assert request.partition is not None
    inside = condition(cursor, target, request.partition, where)
    cursor.execute(sql.SQL("DELETE FROM {} WHERE {}").format(ddl.name_of(target), inside))
    deleted = cursor.rowcount
    applied = _add(cursor, request, spec, columns, rows, alone=alone)
    cursor.execute(sql.SQL("SELECT count(*) FROM {} WHERE {}").format(ddl.name_of(target), inside))
    (there,) = cursor.fetchone()
    if there != applied.rows:
        raise UnstorableValueError(
            where,
            f"{applied.rows} rows were loaded, and the table has {there} of partition {request.partition.key}: "
            f"{applied.rows - there} lie outside of it by {', '.join(request.partition.expressions)}.",
            "leave rows of other partitions out in the asset.",
        )
    return dataclasses.replace(applied, changed=applied.changed + deleted)


def _merge(cursor: Any, request: LoadRequest, spec: TableSpec, columns: Sequence[ColumnSpec], rows: Rows, *, alone: bool) -> Applied:
    """Bring rows in by their key."""
    options, where = request.write, request.identity.asset
    strategy = options.merge_strategy
    key = options.merge_key or spec.primary_key
    staging, count = _stage(cursor, request, columns, rows)
    session.with_room(cursor)
    _refuse_unusable_keys(cursor, staging, key, where, may_repeat=strategy is MergeStrategy.DELETE_INSERT and key != spec.primary_key)
    if strategy is MergeStrategy.UPDATE and not alone:
        _refuse_shared_keys(cursor, request, staging, key)
    session.sample(cursor, staging, columns=key)
    removed = 0
    for statement in merging.removing(request.target, staging, key, options):
        cursor.execute(statement)
        removed += cursor.rowcount
    changed, refused = _bring_staged(
        cursor, staging, lambda source: merging.bringing(request.target, source, columns, key, strategy), rows, where
    )
    if strategy is MergeStrategy.DELETE_INSERT:
        _refuse_lost(changed, count - refused, where)
    elif _has_dropping_trigger(cursor, request.target):
        _refuse_lost(_of_these_keys(cursor, request.target, staging, key), count - refused, where)
    kept = changed if strategy is MergeStrategy.INSERT_ONLY else count - refused
    return Applied(rows=kept, changed=changed + removed, strategy=strategy)


def _refuse_lost(there: int, delivered: int, where: str) -> None:
    """Refuse a load whose rows a trigger of the table dropped without a word."""
    if there < delivered:
        raise DatabaseRefusedError(
            where,
            f"{delivered} rows were brought in, and {there} of them are in the table.",
            "look for a trigger on the table that drops rows.",
        )


def _has_dropping_trigger(cursor: Any, table: TableRef) -> bool:
    """Whether row triggers run before a row is written: they may return NULL."""
    cursor.execute(
        "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %s::regclass AND tgtype & 3 = 3 AND NOT tgisinternal)",
        (session.quoted(cursor, table),),
    )
    return bool(cursor.fetchone()[0])


def _of_these_keys(cursor: Any, table: TableRef, staging: sql.Identifier, key: Sequence[str]) -> int:
    """Rows of a staging table whose key is in the table."""
    cursor.execute(merging.count_of_keys(table, staging, key))
    return int(cursor.fetchone()[0])


_BRING: dict[WriteDisposition, Callable[..., Applied]] = {
    WriteDisposition.REPLACE: _add,
    WriteDisposition.APPEND: _add,
    WriteDisposition.MERGE: _merge,
    WriteDisposition.REPLACE_PARTITION: _replace_partition,
}


# -- staging --------------------------------------------------------------------------------------------------------------


def _stage(cursor: Any, request: LoadRequest, columns: Sequence[ColumnSpec], rows: Rows) -> tuple[sql.Identifier, int]:
    """A temporary table of the target's columns and checks with the rows in it, and how many there are."""
    name, where = f"_etl_{secrets.token_hex(8)}", request.identity.asset
    table = sql.Identifier("pg_temp", name)
    cursor.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {} INCLUDING CONSTRAINTS) ON COMMIT DROP").format(
            sql.Identifier(name), ddl.name_of(request.target)
        )
    )
    cursor.execute("SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", (table.as_string(cursor),))
    wanted = {column.name for column in columns}
    others = [sql.SQL("DROP COLUMN {}").format(sql.Identifier(column)) for (column,) in cursor.fetchall() if column not in wanted]
    # Where a row stood, so that one which the table refuses later can be told.
    numbered = [sql.SQL("ADD COLUMN {} bigint").format(sql.Identifier(ROW))] if rows.is_tolerant else []
    if others or numbered:
        cursor.execute(sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join([*others, *numbered])))
    count = rows.copy_into(cursor, table, columns, where=where, within=request.partition, numbered=bool(numbered))
    return table, count - rows.settle(cursor, table, where=where)


def _bring_staged(
    cursor: Any,
    staging: sql.Identifier,
    bringing: Callable[[sql.Composable], Sequence[sql.Composed]],
    rows: Rows,
    where: str,
) -> tuple[int, int]:
    """Run statements over a staging table; rows of the table that changed, and rows that it refused."""

    def run(source: sql.Composable) -> int:
        changed = 0
        for statement in bringing(source):
            cursor.execute(statement)
            changed += cursor.rowcount
        return changed

    if not rows.is_tolerant:
        return run(staging), 0
    try:
        with savepoint(cursor):
            return run(staging), 0
    except psycopg2.DatabaseError as error:
        if refusal_of(error) is None:
            raise
    refused: list[str] = []
    in_bad_blocks: list[int] = []

    def refuse(place: str, found: Refusal) -> None:
        refused.append(place)
        cursor.execute(sql.SQL("SELECT to_jsonb(s)::text FROM {} AS s").format(_rows_at(staging, [place])))
        rows.take_out(read_record(cursor.fetchone()[0]), (found.rule,), found.says, where=where)

    def store_rows_of(block: int, _: Refusal) -> None:
        cursor.execute(sql.SQL("SELECT ctid::text FROM {} ORDER BY ctid").format(_blocks(staging, block, block + 1, "ctid")))
        places = [place for (place,) in cursor.fetchall()]
        in_bad_blocks.append(
            in_parts(
                cursor,
                len(places),
                lambda start, stop: run(_rows_at(staging, places[start:stop])),
                lambda place, found: refuse(places[place], found),
                place_of=lambda *_: None,
            )
        )

    cursor.execute("SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int", (staging.as_string(cursor),))
    (size,) = cursor.fetchone()
    in_good_blocks = in_parts(
        cursor, int(size), lambda start, stop: run(_blocks(staging, start, stop)), store_rows_of, place_of=lambda *_: None
    )
    return in_good_blocks + sum(in_bad_blocks), len(refused)


def _blocks(staging: sql.Identifier, start: int, stop: int, picked: str = "*") -> sql.Composed:
    rows = sql.SQL("(SELECT {} FROM {} WHERE ctid >= '({},0)' AND ctid < '({},0)') AS part" if picked != "*" else
                   "(SELECT {} FROM {} WHERE ctid >= '({},0)' AND ctid < '({},0)')")  # fmt: skip
    return rows.format(sql.SQL(picked), staging, sql.Literal(start), sql.Literal(stop))


def _rows_at(staging: sql.Identifier, places: Sequence[str]) -> sql.Composed:
    return sql.SQL("(SELECT * FROM {} WHERE ctid = ANY ({}::tid[]))").format(staging, sql.Literal(list(places)))


# -- keys -----------------------------------------------------------------------------------------------------------------


def _require_key(request: LoadRequest, spec: TableSpec) -> None:
    options, where = request.write, request.identity.asset
    if not spec.primary_key and not options.merge_key:
        raise DatabaseRefusedError(
            where, f"a merge ({options.merge_strategy.value}) needs a primary key, and there is none.",
            'add `metadata = {"primary_key": [...]}` to the Config of the contract, or name it for the load.',
        )  # fmt: skip
    unknown = [name for name in options.merge_key if name not in spec.names]
    if unknown:
        raise DatabaseRefusedError(where, f"merge_key names {unknown}; columns: {list(spec.names)}.", "correct it.")


def _refuse_unusable_keys(cursor: Any, table: sql.Composable, key: Sequence[str], where: str, *, may_repeat: bool = False) -> None:
    """Rows without a key of their own: a table that was made elsewhere may have no constraint that refuses them."""
    cursor.execute(merging.unusable_key(table, key, may_repeat=may_repeat))
    found = cursor.fetchone()
    if found is None:
        return
    values, rows = found
    shown = ", ".join(f"{name}={'NULL' if value is None else value[:80]}" for name, value in zip(key, values, strict=True))
    if None in values:
        what = "merge key" if may_repeat else "primary key"
        raise UnstorableValueError(where, f"a row has no {what} ({shown}).", "leave it out, or complete it, in the asset.")
    raise UnstorableValueError(
        where, f"{rows} rows share the primary key {shown}, and the table keeps one.", "leave one of them in the asset."
    )


def _refuse_shared_keys(cursor: Any, request: LoadRequest, staging: sql.Identifier, key: Sequence[str]) -> None:
    """Rows of a table without a constraint on the key may share it; an update would make them all the same."""
    state = session.state(cursor, request.target)
    if state is not None and state.primary_key and set(state.primary_key) <= set(key):
        return
    cursor.execute(merging.shared_key(request.target, staging, key))
    found = cursor.fetchone()
    if found is not None:
        values, rows = found
        shown = ", ".join(f"{name}={value[:80]}" for name, value in zip(key, values, strict=True))
        raise DatabaseRefusedError(
            request.identity.asset, f"{rows} rows of the table share the key {shown}, and an update would make them all the same.",
            "leave one of them in the table, or name the columns that tell its rows apart.",
        )  # fmt: skip


def _add_keys(cursor: Any, table: TableRef, spec: TableSpec, where: str) -> None:
    """Primary key and unique constraints over finished rows; what they refuse is told by its key."""
    try:
        with savepoint(cursor):
            _execute(cursor, ddl.add_keys(table, spec))
    except psycopg2.IntegrityError as error:
        try:
            for key in filter(None, (spec.primary_key, *spec.unique)):
                _refuse_unusable_keys(cursor, ddl.name_of(table), key, where)
        except UnstorableValueError as told:
            raise told from error
        raise


# -- after a swap ---------------------------------------------------------------------------------------------------------


def _copy_grants(cursor: Any, source: TableRef, target: TableRef) -> None:
    cursor.execute(statements.GRANTS_OF_TABLE, {"table": session.quoted(cursor, source)})
    for privilege, grantable, grantee in cursor.fetchall():
        cursor.execute(ddl.grant(target, privilege, grantee, grantable=grantable))


def _rename_what_belongs(cursor: Any, table: TableRef, made_as: TableRef, spec: TableSpec) -> None:
    """Constraints and indexes that are named after the table's first name get the names they would have had."""
    made_for = made_as.table
    _execute(cursor, ddl.rename_keys_and_indexes(made_as, table, spec))
    cursor.execute("SELECT conname::text FROM pg_constraint WHERE conrelid = %s::regclass", (session.quoted(cursor, table),))
    for (name,) in cursor.fetchall():
        if name.startswith(made_for):
            renamed = ddl.shortened(table.table + name[len(made_for) :])
            cursor.execute(session.composed("ALTER TABLE {} RENAME CONSTRAINT {old} TO {new}", table, old=name, new=renamed))
    cursor.execute(_INDEXES, (session.quoted(cursor, table),))
    for (name,) in cursor.fetchall():
        if name.startswith(made_for):
            index, new = TableRef(schema=table.schema, table=name), ddl.shortened(table.table + name[len(made_for) :])
            cursor.execute(session.composed("ALTER INDEX {} RENAME TO {new}", index, new=new))


__all__ = ["apply"]
