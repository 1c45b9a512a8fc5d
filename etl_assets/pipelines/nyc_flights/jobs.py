"""The jobs of the example and their schedule: all tables, and the one that is kept by month.

Not here: the assets themselves.
"""

import dagster as dg

from etl_assets.pipelines.nyc_flights import clean, mart, raw

ASSETS = dg.load_assets_from_modules([raw, clean, mart])
_BY_MONTH = dg.AssetSelection.assets(["mart", "daily_departures"])
JOB = dg.define_asset_job(
    "nyc_flights",
    selection=dg.AssetSelection.groups("raw", "clean", "mart") - _BY_MONTH,
    description="The flight operations mart, from its five sources.",
)
MONTHLY_JOB = dg.define_asset_job(
    "nyc_flights_by_month", selection=_BY_MONTH, description="Departures by day; a run replaces the months it is started for."
)
SCHEDULE = dg.ScheduleDefinition(job=JOB, cron_schedule="30 5 * * *", execution_timezone="America/New_York")

__all__ = ["ASSETS", "JOB", "MONTHLY_JOB", "SCHEDULE"]
