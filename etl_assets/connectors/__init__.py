"""EXTRACT: one module per kind of source, one Dagster resource each.

    sql.py      SqlResource    tables and queries of PostgreSQL and SQLite
    rest.py     RestResource   JSON pages of an HTTP API; paging.py and credentials.py say which pages, and who asks
    files.py    FilesResource  CSV and JSON files
    excel.py    ExcelResource  sheets of a workbook
    records.py  JSON objects to a frame of text, shared by rest.py and files.py

Each `read` returns a frame with a RangeIndex and reports its row count to the account of the asset. Sources of text are read as
text, with the column `source_position`; SQL keeps the types of the database. Not here: cleaning, contracts, loading.
"""
