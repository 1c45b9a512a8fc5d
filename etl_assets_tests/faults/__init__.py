"""Loads under faults: processes killed, connections cut, servers crashed, disks filled, rows that are wrong. Seeded and counted.

    deliveries.py  what is loaded, and what the tables must hold
    process.py     a loader in a process of its own, which can be killed
    warehouse.py   the server under test, and what can be done to it
    watching.py    readers that never may see half a load
    kinds.py       one function per kind of fault that breaks processes, connections and the server
    mistakes.py    the same for rows and functions that are wrong, and for loads that meet
    suite.py       many faults after each other, and the report

`python -m etl_assets_tests.faults --help` runs it by hand; `test_faults.py` runs a short one.
"""
