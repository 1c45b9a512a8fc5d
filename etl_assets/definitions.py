"""The hallway: the one place that names framework and pipeline together. Dagster loads `defs` from here.

Not here: assets, settings, sources.
"""

import dagster as dg

from etl_assets import config
from etl_assets.pipelines.nyc_flights import jobs
from etl_assets.pipelines.nyc_flights.resources import source_resources


def build_definitions() -> dg.Definitions:
    """Everything Dagster shows and runs. Steps run one after the other in the process of their run, which is fastest for tables of
    this size; parallelism comes from several runs."""
    return dg.Definitions(
        assets=jobs.ASSETS,
        jobs=[jobs.JOB, jobs.MONTHLY_JOB],
        schedules=[jobs.SCHEDULE],
        resources={**config.resources(), **source_resources()},
        executor=dg.in_process_executor,
    )


defs = build_definitions()

__all__ = ["build_definitions", "defs"]
