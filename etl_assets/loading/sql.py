"""Longer statements with a name: schema `etl`, and what is asked of the catalog. Values are bound by the caller.

Not here: making tables (`ddl.py`), rows (`merging.py`), executing anything.
"""

from typing import Final

# Schema `etl` as this version needs it. Every statement may run again.
BOOKKEEPING: Final = (
    """CREATE TABLE IF NOT EXISTS etl.loads (
        load_id uuid NOT NULL,
        status text NOT NULL CHECK (status IN ('succeeded', 'failed')),
        asset text NOT NULL,
        partition text,
        partition_keys text[],
        run_id text,
        orchestrator text NOT NULL,
        target_table text NOT NULL,
        disposition text NOT NULL,
        rows_read bigint,
        rows_loaded bigint,
        rows_changed bigint,
        rows_quarantined bigint,
        rows_dropped bigint,
        strategy text,
        seconds double precision NOT NULL,
        error_class text,
        sqlstate text,
        message text,
        made_table oid,
        recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    """CREATE UNIQUE INDEX IF NOT EXISTS loads_succeeded_once ON etl.loads (load_id, target_table) WHERE status = 'succeeded'""",
    """CREATE INDEX IF NOT EXISTS loads_that_made_tables ON etl.loads (made_table) WHERE made_table IS NOT NULL""",
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

# Why a table cannot be dropped and replaced by a new one of the same name without losing something. What this project made itself, it
# makes anew.
WHAT_WOULD_BE_LOST: Final = """
    SELECT DISTINCT reason FROM (
        SELECT 'view ' || v.oid::regclass::text AS reason
          FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
         WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = %(table)s::regclass AND v.oid <> %(table)s::regclass
        UNION ALL SELECT 'foreign key ' || conname FROM pg_constraint
         WHERE contype = 'f' AND (confrelid = %(table)s::regclass OR conrelid = %(table)s::regclass)
        UNION ALL SELECT 'constraint ' || conname FROM pg_constraint
         WHERE conrelid = %(table)s::regclass AND contype IN ('c', 'x')
           AND coalesce(obj_description(oid, 'pg_constraint'), '') NOT LIKE 'etl_assets: %%'
        UNION ALL SELECT 'index ' || indexrelid::regclass::text FROM pg_index i
         WHERE indrelid = %(table)s::regclass AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
           AND coalesce(obj_description(indexrelid, 'pg_class'), '') NOT LIKE 'etl_assets: %%'
        UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal
        UNION ALL SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = %(table)s::regclass
        UNION ALL SELECT 'publication ' || prpubid::text FROM pg_publication_rel WHERE prrelid = %(table)s::regclass
        UNION ALL SELECT 'inheritance' FROM pg_inherits WHERE %(table)s::regclass IN (inhrelid, inhparent)
        UNION ALL SELECT 'default of a column' FROM pg_attrdef WHERE adrelid = %(table)s::regclass
        UNION ALL SELECT 'grant on a column' FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attacl IS NOT NULL
        UNION ALL SELECT 'statistics ' || stxname FROM pg_statistic_ext WHERE stxrelid = %(table)s::regclass
        UNION ALL SELECT 'use of its row type' FROM pg_depend d JOIN pg_class c ON c.reltype = d.refobjid
         WHERE c.oid = %(table)s::regclass AND d.deptype = 'n' AND d.classid <> 'pg_rewrite'::regclass
        UNION ALL SELECT 'another owner' FROM pg_class
         WHERE oid = %(table)s::regclass AND relowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
        UNION ALL SELECT 'row security' FROM pg_class WHERE oid = %(table)s::regclass AND relrowsecurity
        UNION ALL SELECT 'being no plain table' FROM pg_class WHERE oid = %(table)s::regclass AND relkind <> 'r'
    ) found ORDER BY reason
"""

# One row: columns as [name, type, nullable, comment, filled by the server], the primary key, checks and indexes of ours, its oid.
STATE_OF_TABLE: Final = """
    SELECT (SELECT json_agg(json_build_array(attname, format_type(atttypid, atttypmod), NOT attnotnull, col_description(attrelid, attnum),
                                             atthasdef OR attidentity <> '') ORDER BY attnum)
              FROM pg_attribute WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''),
           (SELECT json_agg(attname ORDER BY place)
              FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS key(number, place)
              JOIN pg_attribute ON attrelid = t.oid AND attnum = number
             WHERE conrelid = t.oid AND contype = 'p'),
           (SELECT json_object_agg(conname, obj_description(oid, 'pg_constraint')) FROM pg_constraint
             WHERE conrelid = t.oid AND contype = 'c' AND obj_description(oid, 'pg_constraint') LIKE 'etl_assets: %%'),
           (SELECT json_object_agg(c.relname, (SELECT json_agg(attname ORDER BY place)
                                                 FROM unnest(indkey::int2[]) WITH ORDINALITY AS key(number, place)
                                                 JOIN pg_attribute ON attrelid = t.oid AND attnum = number))
              FROM pg_index JOIN pg_class c ON c.oid = indexrelid
             WHERE indrelid = t.oid AND obj_description(indexrelid, 'pg_class') LIKE 'etl_assets: %%'),
           t.oid::oid
      FROM (SELECT %(table)s::regclass AS oid) t
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

# Rows that are missing from their tables: of an asset whose table or partition was replaced, those of its last load only. Rows of loads
# that were refused are not: their whole load is missing.
OPEN_ROWS: Final = f"""{_QUARANTINED_ROW} JOIN etl.loads l ON l.load_id = q.load_id AND l.status = 'succeeded'
     WHERE q.replayed_by IS NULL AND (%(asset)s::text IS NULL OR q.asset = %(asset)s)
       AND NOT EXISTS (
           SELECT FROM etl.loads later
            WHERE later.asset = q.asset AND later.status = 'succeeded' AND later.recorded_at > l.recorded_at
              AND later.disposition = 'replace')
       AND NOT coalesce(l.partition_keys <@ (
           SELECT array_agg(key) FROM etl.loads later, unnest(later.partition_keys) key
            WHERE later.asset = q.asset AND later.status = 'succeeded' AND later.disposition = 'replace_partition'
              AND later.recorded_at > l.recorded_at), false)
     ORDER BY q.asset, q.id
"""

# Rows that the newest load of each asset refused, where that load failed.
REFUSED_ROWS: Final = f"""{_QUARANTINED_ROW} JOIN etl.loads l ON l.load_id = q.load_id AND l.status = 'failed'
     WHERE (%(asset)s::text IS NULL OR q.asset = %(asset)s)
       AND NOT EXISTS (SELECT FROM etl.loads later WHERE later.asset = q.asset AND later.partition IS NOT DISTINCT FROM l.partition
                          AND later.recorded_at > l.recorded_at)
     ORDER BY q.asset, q.id
"""

BROKEN_RULES: Final = """
    SELECT rule, count(*) FROM etl.quarantine, unnest(rules) rule WHERE load_id = %(load_id)s::uuid GROUP BY rule
"""

ROW_BY_ID: Final = f"{_QUARANTINED_ROW} WHERE q.id = %(number)s"

MARK_REPLAYED: Final = "UPDATE etl.quarantine SET replayed_by = %(load)s WHERE id = ANY(%(ids)s) AND replayed_by IS NULL"

LAST_LOAD: Final = """
    SELECT rows_loaded FROM etl.loads
     WHERE asset = %(asset)s AND status = 'succeeded' AND (%(partition)s::text IS NULL OR partition = %(partition)s)
     ORDER BY recorded_at DESC LIMIT 1
"""

MADE_HERE: Final = "SELECT EXISTS (SELECT FROM etl.loads WHERE made_table = %(oid)s)"

LOADS: Final = """
    SELECT recorded_at, asset, partition, status, disposition, strategy, rows_read, rows_loaded, rows_changed, rows_quarantined,
           rows_dropped, seconds, error_class, sqlstate, message, load_id::text, run_id, orchestrator
      FROM etl.loads
     WHERE (%(asset)s::text IS NULL OR asset = %(asset)s) AND (NOT %(failed)s OR status = 'failed')
     ORDER BY recorded_at DESC LIMIT %(most)s
"""

WATERMARKS_OF_ASSET: Final = "SELECT source, kind, value FROM etl.watermarks WHERE asset = %(asset)s"

KEEP_WATERMARKS: Final = """
    INSERT INTO etl.watermarks (asset, source, kind, value, load_id) VALUES %s
    ON CONFLICT (asset, source) DO UPDATE
    SET kind = excluded.kind, value = excluded.value, load_id = excluded.load_id, committed_at = clock_timestamp()
"""


__all__ = [
    "BOOKKEEPING", "BROKEN_RULES", "COPY_QUARANTINE", "GRANTS_OF_TABLE", "KEEP_WATERMARKS", "LAST_LOAD", "LOADS", "MADE_HERE",
    "MARK_REPLAYED", "OPEN_ROWS", "REFUSED_ROWS", "ROW_BY_ID", "STATE_OF_TABLE", "WATERMARKS_OF_ASSET", "WHAT_WOULD_BE_LOST",
]  # fmt: skip
