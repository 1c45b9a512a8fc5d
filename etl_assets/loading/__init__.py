"""LOAD: frames into PostgreSQL, wholly or not at all.

    table.py       frozen values: table, columns, disposition, request, result
    sql.py         statements, pure
    copy.py        a frame as a stream for COPY, exactly
    writer.py      one transaction: rows, ledger, quarantine
    postgres.py    PostgresResource: the configured database
    io_manager.py  PostgresIOManager: Dagster's doorway to the writer

Not here: what the rows mean (`contracts.py`), reading other databases (`connectors/`).
"""
