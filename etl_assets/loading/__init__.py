"""LOAD: frames into PostgreSQL, wholly or not at all.

    table.py       frozen values: table, columns, disposition, request, result
    sql.py         statements, pure
    copy.py        a frame as a stream for COPY, exactly
    session.py     transaction, cursor, locks, catalog
    dispositions.py  rows into their table: replace, append, merge
    ledger.py      schema etl: loads, quarantine, watermarks
    writer.py      one transaction for all of it
    postgres.py    PostgresResource: the configured database
    io_manager.py  PostgresIOManager: Dagster's doorway to the writer

Not here: what the rows mean (`contracts.py`), reading other databases (`connectors/`).
"""
