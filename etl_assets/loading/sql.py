"""The statements of a load, pure: values in, quoted SQL out.

Identifiers go through psycopg2's quoting, values are bound by the caller. Not here: executing anything.
"""

from collections.abc import Sequence
from typing import Final

from psycopg2 import sql

from etl_assets.loading.table import ColumnSpec, TableRef, TableSpec

# Schema `etl` as this version needs it. Every statement may run again.
BOOKKEEPING: Final = (
    """CREATE SCHEMA IF NOT EXISTS etl""",
    """CREATE TABLE IF NOT EXISTS etl.loads (
        load_id uuid NOT NULL,
        status text NOT NULL CHECK (status IN ('succeeded', 'failed')),
        asset text NOT NULL,
        partition text,
        run_id text,
        orchestrator text NOT NULL,
        target_table text NOT NULL,
        disposition text NOT NULL,
        rows_read bigint,
        rows_loaded bigint,
        rows_quarantined bigint,
        rows_dropped bigint,
        seconds double precision NOT NULL,
        error_class text,
        sqlstate text,
        message text,
        recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    """CREATE UNIQUE INDEX IF NOT EXISTS loads_succeeded_once ON etl.loads (load_id) WHERE status = 'succeeded'""",
    """CREATE INDEX IF NOT EXISTS loads_by_asset ON etl.loads (asset, recorded_at)""",
    """COMMENT ON TABLE etl.loads IS 'Load ledger: one row per load; a successful one commits with its data.'""",
    """CREATE TABLE IF NOT EXISTS etl.quarantine (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        load_id uuid NOT NULL,
        asset text NOT NULL,
        partition text,
        run_id text,
        source_position text,
        record jsonb NOT NULL,
        rules text[] NOT NULL,
        message text NOT NULL,
        quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        replayed_by uuid
    )""",
    """CREATE INDEX IF NOT EXISTS quarantine_by_asset ON etl.quarantine (asset, quarantined_at)""",
    """CREATE TABLE IF NOT EXISTS etl.watermarks (
        asset text NOT NULL,
        source text NOT NULL,
        kind text NOT NULL,
        value text NOT NULL,
        load_id uuid NOT NULL,
        committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (asset, source)
    )""",
    """COMMENT ON TABLE etl.watermarks IS 'How far each source of an asset has been read; commits with the rows.'""",
    """COMMENT ON TABLE etl.quarantine IS 'Rows that broke a data contract, as they were before conversion, with every rule they broke.'""",
)

# Why a table cannot be dropped and replaced by a new one of the same name without losing something.
WHAT_WOULD_BE_LOST: Final = """
    SELECT DISTINCT reason FROM (
        SELECT 'view ' || v.oid::regclass::text AS reason
          FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
         WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = %(table)s::regclass AND v.oid <> %(table)s::regclass
        UNION ALL SELECT 'foreign key ' || conname FROM pg_constraint
         WHERE contype = 'f' AND (confrelid = %(table)s::regclass OR conrelid = %(table)s::regclass)
        UNION ALL SELECT 'constraint ' || conname FROM pg_constraint
         WHERE conrelid = %(table)s::regclass AND contype IN ('c', 'x')
        UNION ALL SELECT 'index ' || indexrelid::regclass::text FROM pg_index i
         WHERE indrelid = %(table)s::regclass AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
        UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal
        UNION ALL SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = %(table)s::regclass
        UNION ALL SELECT 'publication ' || prpubid::text FROM pg_publication_rel WHERE prrelid = %(table)s::regclass
        UNION ALL SELECT 'inheritance' FROM pg_inherits WHERE %(table)s::regclass IN (inhrelid, inhparent)
        UNION ALL SELECT 'default of a column' FROM pg_attrdef WHERE adrelid = %(table)s::regclass
        UNION ALL SELECT 'grant on a column' FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attacl IS NOT NULL
        UNION ALL SELECT 'statistics ' || stxname FROM pg_statistic_ext WHERE stxrelid = %(table)s::regclass
        UNION ALL SELECT 'use of its row type' FROM pg_depend d JOIN pg_class c ON c.reltype = d.refobjid
         WHERE c.oid = %(table)s::regclass AND d.deptype = 'n' AND d.classid <> 'pg_rewrite'::regclass
        UNION ALL SELECT 'another owner' FROM pg_class WHERE oid = %(table)s::regclass AND relowner <> current_user::regrole
        UNION ALL SELECT 'row security' FROM pg_class WHERE oid = %(table)s::regclass AND relrowsecurity
        UNION ALL SELECT 'being no plain table' FROM pg_class WHERE oid = %(table)s::regclass AND relkind <> 'r'
    ) found ORDER BY reason
"""

COLUMNS_OF_TABLE: Final = """
    SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull, col_description(attrelid, attnum)
      FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
     ORDER BY attnum
"""

GRANTS_OF_TABLE: Final = """
    SELECT privilege_type, is_grantable, CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee)::text END
      FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = %(table)s::regclass AND grantee <> relowner
"""


COPY_QUARANTINE: Final = (
    "COPY etl.quarantine (load_id, asset, partition, run_id, source_position, record, rules, message) FROM STDIN WITH (FORMAT csv)"
)

_QUARANTINED_ROW = """
    SELECT q.id, q.asset, q.load_id::text, q.run_id, q.source_position, q.record::text, q.rules, q.message, q.quarantined_at
      FROM etl.quarantine q"""

# Rows that are missing from their tables: of an asset whose table was replaced, those of its last load only. Rows of loads that were
# refused are not: their whole load is missing.
OPEN_ROWS: Final = f"""{_QUARANTINED_ROW} JOIN etl.loads l ON l.load_id = q.load_id AND l.status = 'succeeded'
     WHERE q.replayed_by IS NULL AND (%(asset)s::text IS NULL OR q.asset = %(asset)s)
       AND NOT EXISTS (
           SELECT FROM etl.loads later
            WHERE later.asset = q.asset AND later.status = 'succeeded' AND later.disposition = 'replace'
              AND later.recorded_at > l.recorded_at)
     ORDER BY q.asset, q.id
"""

# Rows that the newest load of each asset refused, where that load failed.
REFUSED_ROWS: Final = f"""{_QUARANTINED_ROW} JOIN etl.loads l ON l.load_id = q.load_id AND l.status = 'failed'
     WHERE (%(asset)s::text IS NULL OR q.asset = %(asset)s)
       AND NOT EXISTS (SELECT FROM etl.loads later WHERE later.asset = q.asset AND later.recorded_at > l.recorded_at)
     ORDER BY q.asset, q.id
"""

ROW_BY_ID: Final = f"{_QUARANTINED_ROW} WHERE q.id = %(number)s"

MARK_REPLAYED: Final = "UPDATE etl.quarantine SET replayed_by = %(load)s WHERE id = ANY(%(ids)s) AND replayed_by IS NULL"

LAST_LOAD: Final = """
    SELECT rows_loaded FROM etl.loads WHERE asset = %(asset)s AND status = 'succeeded' ORDER BY recorded_at DESC LIMIT 1
"""

WATERMARKS_OF_ASSET: Final = "SELECT source, kind, value FROM etl.watermarks WHERE asset = %(asset)s"

KEEP_WATERMARKS: Final = """
    INSERT INTO etl.watermarks (asset, source, kind, value, load_id) VALUES %s
    ON CONFLICT (asset, source) DO UPDATE
    SET kind = excluded.kind, value = excluded.value, load_id = excluded.load_id, committed_at = clock_timestamp()
"""


def name_of(table: TableRef) -> sql.Identifier:
    """The quoted name of a table."""
    return sql.Identifier(table.schema, table.table)


def create_table(table: TableRef, columns: Sequence[ColumnSpec]) -> sql.Composed:
    """CREATE TABLE without keys: they are added after the rows. Types are the names that PostgreSQL prints."""
    lines = [
        sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(column.type), sql.SQL("" if column.nullable else " NOT NULL"))
        for column in columns
    ]
    return sql.SQL("CREATE TABLE {} ({})").format(name_of(table), sql.SQL(", ").join(lines))


def add_keys(table: TableRef, spec: TableSpec) -> list[sql.Composed]:
    """Primary key and unique constraints, named by PostgreSQL."""
    keys = [("PRIMARY KEY", spec.primary_key)] if spec.primary_key else []
    keys += [("UNIQUE", names) for names in spec.unique]
    return [
        sql.SQL("ALTER TABLE {} ADD {} ({})").format(name_of(table), sql.SQL(kind), sql.SQL(", ").join(map(sql.Identifier, names)))
        for kind, names in keys
    ]


def merge(table: TableRef, staging: sql.Identifier, columns: Sequence[ColumnSpec], key: Sequence[str], *, update: bool) -> sql.Composed:
    """MERGE of a temporary table into the target: rows that are the same are not touched, nor any that are there without `update`.

    `*<>` compares the stored bytes: 1.5 and 1.50 are equal numbers, but not the same; and json or point have no equality at all.
    """
    names = [column.name for column in columns]
    others = [name for name in names if name not in key]
    change = sql.SQL("WHEN MATCHED AND ROW({})::record *<> ROW({})::record THEN UPDATE SET {} ").format(
        sql.SQL(", ").join(sql.Identifier("t", name) for name in others),
        sql.SQL(", ").join(sql.Identifier("s", name) for name in others),
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("s", name)) for name in others),
    )
    return sql.SQL("MERGE INTO {} AS t USING {} AS s ON {} {}WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})").format(
        name_of(table),
        staging,
        sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier("t", name), sql.Identifier("s", name)) for name in key),
        change if update and others else sql.SQL(""),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.Identifier("s", name) for name in names),
    )


def unusable_key(staging: sql.Identifier, key: Sequence[str]) -> sql.Composed:
    """The query for one key that several rows of a temporary table share, or that has a NULL: its values as text, and the rows."""
    names = [sql.Identifier(name) for name in key]
    return sql.SQL("SELECT ARRAY[{}], count(*) FROM {} GROUP BY {} HAVING count(*) > 1 OR {} LIMIT 1").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names),
        staging,
        sql.SQL(", ").join(names),
        sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(name) for name in names),
    )


def add_comments(table: TableRef, spec: TableSpec) -> list[sql.Composed]:
    """Comments on the table and its columns, where there are any."""
    statements = [
        sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(name_of(table), sql.Identifier(column.name), sql.Literal(column.comment))
        for column in spec.columns
        if column.comment
    ]
    if spec.comment:
        statements.append(sql.SQL("COMMENT ON TABLE {} IS {}").format(name_of(table), sql.Literal(spec.comment)))
    return statements


def grant(table: TableRef, privilege: str, grantee: str | None, *, grantable: bool) -> sql.Composed:
    """One GRANT; a grantee of None is PUBLIC."""
    return sql.SQL("GRANT {} ON {} TO {}{}").format(
        sql.SQL(privilege),
        name_of(table),
        sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
        sql.SQL(" WITH GRANT OPTION" if grantable else ""),
    )


__all__ = [
    "BOOKKEEPING", "COLUMNS_OF_TABLE", "COPY_QUARANTINE", "GRANTS_OF_TABLE", "KEEP_WATERMARKS",
    "LAST_LOAD", "MARK_REPLAYED", "OPEN_ROWS", "REFUSED_ROWS", "ROW_BY_ID", "WATERMARKS_OF_ASSET", "WHAT_WOULD_BE_LOST", "add_comments",
    "add_keys", "create_table", "grant", "merge", "name_of", "unusable_key",
]  # fmt: skip
