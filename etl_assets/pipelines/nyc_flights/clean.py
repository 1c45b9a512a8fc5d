"""The five tables typed, keyed and mended. What cannot be mended goes to the quarantine.

Not here: joins and aggregates (`mart.py`).
"""

import pandas as pd
from pandera.typing import DataFrame

from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.cleaning import clean, derive, map_values, normalise_text, null_markers, parse_dates, rename, select, trim
from etl_assets.pipelines.nyc_flights.contracts import (
    Airlines,
    Airports,
    Flights,
    Planes,
    RawAirlines,
    RawAirports,
    RawFlights,
    RawPlanes,
    RawWeather,
    Weather,
)


def minute_of_day(hhmm: "pd.Series[float]") -> "pd.Series[float]":
    """Minutes after midnight of HHMM times: 517 is 317, 2400 is 1440 (midnight at the end of the day)."""
    return hhmm // 100 * 60 + hhmm % 100


def scheduled_departure(flights: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """The instant of the scheduled departure: its hour and its minute."""
    return flights["time_hour"] + pd.to_timedelta(flights["minute"], unit="min").dt.as_unit("us")


def actual_departure(flights: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """The instant of the actual departure: the schedule plus the delay; NULL when the flight did not depart."""
    return flights["scheduled_departure_at"] + pd.to_timedelta(flights["dep_delay"], unit="min").dt.as_unit("us")


FLIGHT_STEPS = [
    derive("is_cancelled", lambda flights: flights["dep_time"].isna(), named="no departure time"),
    derive("scheduled_departure_at", scheduled_departure),
    derive("departed_at", actual_departure),
    derive("scheduled_arrival_minute", lambda flights: minute_of_day(flights["sched_arr_time"]), named="minute_of_day"),
    derive("arrival_minute", lambda flights: minute_of_day(flights["arr_time"]), named="minute_of_day"),
    rename(
        {
            "dep_delay": "dep_delay_minutes",
            "arr_delay": "arr_delay_minutes",
            "air_time": "air_time_minutes",
            "distance": "distance_miles",
            "time_hour": "hour_at",
        }
    ),
    select(*Flights.to_schema().columns),
]

PLANE_STEPS = [
    rename({"year": "year_built", "speed": "cruise_speed_mph"}),
    map_values(
        "manufacturer",
        {
            "AIRBUS INDUSTRIE": "AIRBUS",
            "MCDONNELL DOUGLAS AIRCRAFT CO": "MCDONNELL DOUGLAS",
            "MCDONNELL DOUGLAS CORPORATION": "MCDONNELL DOUGLAS",
        },
    ),
]

WEATHER_STEPS = [
    null_markers("NA"),
    rename(
        {
            "time_hour": "hour_at",
            "temp": "temperature_f",
            "dewp": "dew_point_f",
            "humid": "humidity_pct",
            "wind_dir": "wind_direction_degrees",
            "wind_speed": "wind_speed_mph",
            "wind_gust": "wind_gust_mph",
            "precip": "precipitation_inches",
            "pressure": "pressure_millibars",
            "visib": "visibility_miles",
        }
    ),
    # The local hour is left out: the clock change repeats one, the instant is unique.
    select(*Weather.to_schema().columns),
]

AIRPORT_STEPS = [
    normalise_text("name"),
    trim("name"),
    rename(
        {
            "faa": "airport",
            "lat": "latitude_degrees",
            "lon": "longitude_degrees",
            "alt": "altitude_feet",
            "tz": "utc_offset_hours",
            "dst": "daylight_saving",
            "tzone": "time_zone",
        }
    ),
]

AIRLINE_STEPS = [
    rename({"Carrier Code": "carrier", "Carrier Name": "name", "First flight": "first_flight_date", "Flights in 2013": "flights"}),
    parse_dates("first_flight_date", "%m/%d/%Y"),
]


@etl_asset(schema="clean", rows=RowPolicy(least_rows=300_000, most_change=0.2))
def flights(raw_flights: DataFrame[RawFlights]) -> DataFrame[Flights]:
    """Flights with instants instead of HHMM integers, and whole minutes instead of floats."""
    return clean(raw_flights, FLIGHT_STEPS)


@etl_asset(schema="clean", write="merge")
def planes(raw_planes: DataFrame[RawPlanes]) -> DataFrame[Planes]:
    """Aircraft with numbers as numbers and one spelling per manufacturer; those that leave the registry are kept."""
    return clean(raw_planes, PLANE_STEPS)


@etl_asset(schema="clean")
def weather(raw_weather: DataFrame[RawWeather]) -> DataFrame[Weather]:
    """Weather by instant; observations that cannot be true are in the quarantine."""
    return clean(raw_weather, WEATHER_STEPS)


@etl_asset(schema="clean")
def airports(raw_airports: DataFrame[RawAirports]) -> DataFrame[Airports]:
    """Airports with checked positions and time zones."""
    return clean(raw_airports, AIRPORT_STEPS)


@etl_asset(schema="clean")
def airlines(raw_airlines: DataFrame[RawAirlines]) -> DataFrame[Airlines]:
    """Carriers with dates as dates."""
    return clean(raw_airlines, AIRLINE_STEPS)
