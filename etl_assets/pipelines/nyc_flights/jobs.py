"""The job of the example and its schedule.

Not here: the assets themselves.
"""

import dagster as dg

from etl_assets.pipelines.nyc_flights import clean, mart, raw

ASSETS = dg.load_assets_from_modules([raw, clean, mart])
JOB = dg.define_asset_job(
    "nyc_flights",
    selection=dg.AssetSelection.groups("raw", "clean", "mart"),
    description="The flight operations mart, from its five sources.",
)
SCHEDULE = dg.ScheduleDefinition(job=JOB, cron_schedule="30 5 * * *", execution_timezone="America/New_York")

__all__ = ["ASSETS", "JOB", "SCHEDULE"]
