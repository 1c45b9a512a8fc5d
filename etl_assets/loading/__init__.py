"""LOAD: frames into PostgreSQL, wholly or not at all.

    table.py         frozen values: table, columns, disposition, request, result
    sql.py           statements, pure
    exact.py         which values a type holds without change
    copy.py          a frame as a stream for COPY, exactly
    session.py       transaction, cursor, locks, catalog
    rows.py          the rows of a load: one frame, or batches
    dispositions.py  rows into their table: replace, append, merge, insert
    ledger.py        schema etl: loads, quarantine, watermarks
    writer.py        one transaction for all of it
    postgres.py      PostgresResource: the configured database
    quarantine.py    rows in quarantine: read, as a frame, as a file for people
    io_manager.py    PostgresIOManager: Dagster's doorway to the writer

Not here: what the rows mean (`contracts.py`), reading other databases (`connectors/`).
"""
