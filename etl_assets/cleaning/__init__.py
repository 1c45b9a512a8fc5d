"""TRANSFORM: steps from frame to frame, each reporting what it changed. No Dagster, no I/O.

    PLANE_STEPS = [
        null_markers("NA"),
        map_values("manufacturer", {"AIRBUS INDUSTRIE": "AIRBUS"}),
    ]

    clean(frame, PLANE_STEPS)            # or frame.pipe(null_markers("NA"))

    step.py      what a step is: running, timing, reporting, naming what failed
    columns.py   names and sets of columns, columns computed by functions of your own
    text.py      trim, case, unicode, NULL markers, values by a map, masks
    types.py     text in a declared notation to numbers, dates, times, booleans
    missing.py   NULLs: their rows dropped, or filled by a constant, from the row before, by a statistic of their group
    rows.py      dropped rows: by a rule, or because they are repeated; outliers

A step never changes its input. Cells it cannot convert keep their text, and the contract sends their rows to the quarantine. Only
steps that say so drop rows, by a rule that has a name.

Not here: conversion to the types of a contract (it does that itself, by `conversion.py`).
"""

from etl_assets.cleaning.columns import apply, apply_to, derive, derive_by_row, rename, select, snake_case_names
from etl_assets.cleaning.missing import drop_missing, fill_by_group, fill_forward, fill_missing
from etl_assets.cleaning.rows import deduplicate, drop_rows, outliers
from etl_assets.cleaning.step import Step, clean
from etl_assets.cleaning.text import change_case, map_values, mask, normalise_text, null_markers, pseudonymise, trim
from etl_assets.cleaning.types import as_type, parse_booleans, parse_dates, parse_numbers, parse_times

__all__ = [
    "Step", "apply", "apply_to", "as_type", "change_case", "clean", "deduplicate", "derive", "derive_by_row", "drop_missing", "drop_rows",
    "fill_by_group", "fill_forward", "fill_missing", "map_values", "mask", "normalise_text", "null_markers", "outliers", "parse_booleans",
    "parse_dates", "parse_numbers", "parse_times", "pseudonymise", "rename", "select", "snake_case_names", "trim",
]  # fmt: skip
