"""EXTRACT: one module per kind of source, one Dagster resource each.

    sql.py      SqlResource    tables and queries of relational databases
    rest.py     RestResource   pages of an HTTP API
    files.py    FilesResource  CSV, JSON, JSON lines, Parquet
    excel.py    ExcelResource  sheets of a workbook
    preview.py  a look at a file, and the call that reads it

What they are made of, one concern each:

    databases/ incremental.py                       each database; which rows are new
    rest_reading.py rest_incremental.py paging.py   one endpoint; what is new of it; which page comes next
    access.py http.py connections.py                where requests may go, how they go, and what they meet there
    credentials.py limits.py                        who asks; how fast and how much
    storage.py unpacking.py encoding.py             files near and far; packed ones; bytes to text
    csv_text.py records.py sheet_xml.py             CSV, JSON, and what calamine does not tell of a sheet
    blocks.py csv_blocks.py json_blocks.py          the same many rows at a time, where the text allows it

Each `read` returns a frame with a RangeIndex and reports its row count to the account of the asset. Sources of text are read as
text, with the column `source_position`; SQL keeps the types of the database. Not here: cleaning, contracts, loading.
"""
