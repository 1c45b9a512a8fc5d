"""The job of the example, its schedule, and the checks between its tables.

Not here: the assets themselves.
"""

import dagster as dg

from etl_assets.checks import references_check
from etl_assets.pipelines.nyc_flights import clean, mart, raw

ASSETS = dg.load_assets_from_modules([raw, clean, mart])
CHECKS = [
    references_check("clean/flights", "dest", references="clean/airports", key="airport"),
    references_check("clean/flights", "tailnum", references="clean/planes", key="tailnum"),
    references_check("clean/flights", "carrier", references="clean/airlines", key="carrier"),
]
JOB = dg.define_asset_job(
    "nyc_flights",
    selection=dg.AssetSelection.groups("raw", "clean", "mart"),
    description="The flight operations mart, from its five sources.",
)
SCHEDULE = dg.ScheduleDefinition(job=JOB, cron_schedule="30 5 * * *", execution_timezone="America/New_York")

__all__ = ["ASSETS", "CHECKS", "JOB", "SCHEDULE"]
