"""LOAD: frames into PostgreSQL, wholly or not at all.

Values, lowest first:

    options.py partitions.py table.py    how a table is written; which rows are a partition; tables, requests, results

What goes over the wire:

    exact.py copy.py                     which values a type holds; a frame as a stream for COPY
    given.py rows.py refusals.py         what people hand over, as frames; the rows of a load; bad ones found one by one

The table and its rows:

    ddl.py shape.py preparation.py       statements; how shapes differ; what a load does to the table
    merging.py conditions.py             merge strategies and partitions as SQL
    dispositions.py                      rows into their table

One transaction for all of it:

    session.py sql.py ledger.py          transaction, locks, catalog; named statements; schema etl
    writer.py                            the load

Doorways:

    postgres.py selection.py             PostgresResource: the configured database; what is read of a table
    io_manager.py dagster_partitions.py  PostgresIOManager, and Dagster's partition keys
    quarantine.py loads.py grants.py     rows in quarantine, the ledger, a role's rights, for people

Not here: what the rows mean (`contracts.py`), reading other databases (`connectors/`).
"""
