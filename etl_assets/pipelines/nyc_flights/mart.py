"""Tables for readers: joins and aggregates of clean tables.

Not here: corrections (`clean.py`).
"""

import dagster as dg
import numpy as np
import pandas as pd
from pandera.typing import DataFrame

from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.pipelines.nyc_flights.contracts import (
    Airlines,
    DailyDepartures,
    DelayByWeather,
    FleetAge,
    Flights,
    OnTimePerformance,
    Planes,
    Weather,
)

MONTHS = dg.MonthlyPartitionsDefinition(start_date="2013-01-01", end_date="2014-01-01", timezone="America/New_York")
LATE_MINUTES = 15
LOW_VISIBILITY_MILES = 3
STRONG_WIND_MPH = 25


@etl_asset(schema="mart", rows=RowPolicy(built=True))
def on_time_performance(clean_flights: DataFrame[Flights], clean_airlines: DataFrame[Airlines]) -> DataFrame[OnTimePerformance]:
    """Share of flights that arrived on time, by carrier and month."""
    arrived = clean_flights["arr_delay_minutes"].notna()
    flights = clean_flights.assign(arrived=arrived, on_time=arrived & (clean_flights["arr_delay_minutes"] < LATE_MINUTES).fillna(False))
    by_month = flights.groupby(["carrier", "month"], as_index=False).agg(
        flights=("flight", "size"),
        cancelled=("is_cancelled", "sum"),
        arrived=("arrived", "sum"),
        on_time=("on_time", "sum"),
        mean_arr_delay_minutes=("arr_delay_minutes", "mean"),
    )
    by_month["on_time_pct"] = 100 * by_month["on_time"] / by_month["arrived"].where(by_month["arrived"] > 0)
    return _with_carrier_name(by_month, clean_airlines)


@etl_asset(schema="mart", rows=RowPolicy(built=True))
def delay_by_weather(clean_flights: DataFrame[Flights], clean_weather: DataFrame[Weather]) -> DataFrame[DelayByWeather]:
    """Departure delay against the weather in the hour of scheduled departure, joined on the instant."""
    flights = clean_flights.merge(clean_weather, on=["origin", "hour_at"], how="left", validate="many_to_one")
    flights["condition"] = np.select(
        [
            flights["visibility_miles"].isna(),
            flights["visibility_miles"] < LOW_VISIBILITY_MILES,
            flights["precipitation_inches"] > 0,
            flights["wind_speed_mph"] >= STRONG_WIND_MPH,
        ],
        ["no observation", "low visibility", "rain or snow", "strong wind"],
        default="clear",
    )
    departed = flights["dep_delay_minutes"].notna()
    flights["is_late"] = (flights["dep_delay_minutes"] >= LATE_MINUTES).where(departed)
    by_condition = flights.groupby(["origin", "condition"], as_index=False).agg(
        flights=("flight", "size"),
        cancelled_share=("is_cancelled", "mean"),
        mean_dep_delay_minutes=("dep_delay_minutes", "mean"),
        late_share=("is_late", "mean"),
    )
    by_condition["cancelled_pct"] = 100 * by_condition.pop("cancelled_share")
    by_condition["late_pct"] = 100 * by_condition.pop("late_share")
    return by_condition


@etl_asset(schema="mart", rows=RowPolicy(built=True))
def fleet_age(
    clean_flights: DataFrame[Flights], clean_planes: DataFrame[Planes], clean_airlines: DataFrame[Airlines]
) -> DataFrame[FleetAge]:
    """Age of the aircraft that each carrier flew; aircraft that the registry lacks are counted, not guessed."""
    flown = clean_flights[["carrier", "tailnum"]].dropna().drop_duplicates()
    fleet = flown.merge(clean_planes[["tailnum", "year_built"]], on="tailnum", how="left", validate="many_to_one")
    fleet["age"] = 2013 - fleet["year_built"]
    by_carrier = fleet.groupby("carrier", as_index=False).agg(
        planes=("tailnum", "size"),
        planes_known=("year_built", "count"),
        mean_age_years=("age", "mean"),
        oldest_year_built=("year_built", "min"),
    )
    return _with_carrier_name(by_carrier, clean_airlines)


@etl_asset(
    schema="mart",
    rows=RowPolicy(built=True),
    partitions_def=MONTHS,
    metadata={"partition_expr": "flight_date"},
)
def daily_departures(context: dg.AssetExecutionContext, clean_flights: DataFrame[Flights]) -> DataFrame[DailyDepartures]:
    """Departures, cancellations and delay of each day and airport; a month is replaced at a time, others stay."""
    flight_date = clean_flights["scheduled_departure_at"].dt.tz_convert("America/New_York").dt.date
    months = context.partition_time_window
    inside = (flight_date >= months.start.date()) & (flight_date < months.end.date())
    departures: pd.DataFrame = (
        clean_flights.assign(flight_date=flight_date)[inside]
        .groupby(["flight_date", "origin"], as_index=False)
        .agg(flights=("flight", "size"), cancelled=("is_cancelled", "sum"), mean_dep_delay_minutes=("dep_delay_minutes", "mean"))
    )
    return departures


def _with_carrier_name(rows: pd.DataFrame, airlines: pd.DataFrame) -> pd.DataFrame:
    names = airlines[["carrier", "name"]].rename(columns={"name": "carrier_name"})
    return rows.merge(names, on="carrier", how="left", validate="many_to_one")
