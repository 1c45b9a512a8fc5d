"""What each table of the example promises: columns, units, keys and rules.

Not here: how the tables are made (`raw.py`, `clean.py`, `mart.py`).
"""

from typing import Annotated

import pandas as pd
import pandera.pandas as pa
from pandera.typing import DataFrame, Series

Instant = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
US_TIME_ZONES = [
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Anchorage",
    "America/Vancouver", "Pacific/Honolulu",
]  # fmt: skip


# -- raw: as delivered --------------------------------------------------------------------------------------------------


class RawFlights(pa.DataFrameModel):
    """Flights as the operations database keeps them, one row per scheduled departure.

    Columns that are unknown for cancelled flights are floating point there. Times of day are HHMM integers in local time.
    """

    year: int
    month: int
    day: int
    dep_time: float = pa.Field(nullable=True, description="Actual departure, HHMM local; 2400 is midnight")
    sched_dep_time: int = pa.Field(description="Scheduled departure, HHMM local")
    dep_delay: float = pa.Field(nullable=True, description="Departure delay in minutes, negative when early")
    arr_time: float = pa.Field(nullable=True, description="Actual arrival, HHMM local at the destination")
    sched_arr_time: int = pa.Field(description="Scheduled arrival, HHMM local at the destination")
    arr_delay: float = pa.Field(nullable=True, description="Arrival delay in minutes, negative when early")
    carrier: str
    flight: int
    tailnum: str = pa.Field(nullable=True)
    origin: str
    dest: str
    air_time: float = pa.Field(nullable=True, description="Minutes in the air")
    distance: int = pa.Field(description="Miles")
    hour: int = pa.Field(description="Hour of the scheduled departure, local")
    minute: int = pa.Field(description="Minute of the scheduled departure")
    time_hour: Instant = pa.Field(description="Scheduled departure, to the hour, as an instant")


class RawPlanes(pa.DataFrameModel):
    """Aircraft as the registry's API gives them, one row per tail number; all text."""

    tailnum: str
    year: str = pa.Field(nullable=True)
    type: str
    manufacturer: str
    model: str
    engines: str
    seats: str
    speed: str = pa.Field(nullable=True)
    engine: str
    source_position: str


class RawWeather(pa.DataFrameModel):
    """Hourly weather as delivered in weather.csv, one row per airport and hour; all text, "NA" for unknown."""

    origin: str
    year: str
    month: str
    day: str
    hour: str
    temp: str
    dewp: str
    humid: str
    wind_dir: str
    wind_speed: str
    wind_gust: str
    precip: str
    pressure: str
    visib: str
    time_hour: str
    source_position: str


class RawAirports(pa.DataFrameModel):
    """Airports as delivered in airports.json, one row per airport; all text."""

    faa: str
    name: str
    lat: str
    lon: str
    alt: str
    tz: str
    dst: str
    tzone: str = pa.Field(nullable=True)
    source_position: str


class RawAirlines(pa.DataFrameModel):
    """Carriers as listed in airlines.xlsx, one row per carrier; all text, headers as in the sheet."""

    carrier_code: str = pa.Field(alias="Carrier Code")
    carrier_name: str = pa.Field(alias="Carrier Name")
    first_flight: str = pa.Field(alias="First flight")
    flights: str = pa.Field(alias="Flights in 2013")
    source_position: str


# -- clean: typed, keyed, mended ----------------------------------------------------------------------------------------


class Flights(pa.DataFrameModel):
    """Flights from New York City in 2013, one row per scheduled departure.

    Source: operations database. Key: year, month, day, carrier, flight, origin.
    """

    year: int = pa.Field(eq=2013)
    month: int = pa.Field(ge=1, le=12)
    day: int = pa.Field(ge=1, le=31)
    carrier: str = pa.Field(
        str_matches=r"^[0-9A-Z]{2}$", description="Two-character carrier code", metadata={"references": "clean/airlines.carrier"}
    )
    flight: int = pa.Field(ge=1, description="Flight number")
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"], description="Airport of departure")
    # Puerto Rico and the Virgin Islands are not in airports.json, and one flight in seven has an aircraft that is not in the registry.
    dest: str = pa.Field(
        str_matches=r"^[A-Z]{3}$",
        description="Airport of destination",
        metadata={"references": "clean/airports.airport", "severity": "warn", "most_failed": 0.05},
    )
    tailnum: str = pa.Field(
        nullable=True,
        description="Tail number of the aircraft",
        metadata={"references": "clean/planes.tailnum", "severity": "warn", "most_failed": 0.2},
    )
    is_cancelled: bool = pa.Field(description="The flight did not depart")
    scheduled_departure_at: Instant = pa.Field(description="Scheduled departure")
    departed_at: Instant = pa.Field(nullable=True, description="Actual departure; NULL when cancelled")
    dep_delay_minutes: pd.Int64Dtype = pa.Field(nullable=True, ge=-120, le=2880, description="Departure delay, negative when early")
    arr_delay_minutes: pd.Int64Dtype = pa.Field(nullable=True, ge=-180, le=2880, description="Arrival delay, negative when early")
    scheduled_arrival_minute: int = pa.Field(ge=0, le=1440, description="Minutes after midnight, local at the destination")
    arrival_minute: pd.Int64Dtype = pa.Field(nullable=True, ge=0, le=1440, description="As scheduled_arrival_minute; 1440 is midnight")
    air_time_minutes: pd.Int64Dtype = pa.Field(nullable=True, ge=1, le=1440, description="Time in the air")
    distance_miles: int = pa.Field(ge=1, le=6000, description="Distance between the airports")
    hour_at: Instant = pa.Field(description="Hour of the scheduled departure; joins clean.weather.hour_at")

    class Config:
        metadata = {"primary_key": ["year", "month", "day", "carrier", "flight", "origin"]}

    @pa.dataframe_check(description="departed_at is known exactly when the flight was not cancelled")
    def departure_known(cls, flights: DataFrame["Flights"]) -> Series[bool]:
        return flights["departed_at"].isna() == flights["is_cancelled"]


class Planes(pa.DataFrameModel):
    """Aircraft, one row per tail number.

    Source: REST API of the registry. Key: tailnum.
    """

    tailnum: str = pa.Field(str_matches=r"^N[0-9A-Z]{1,5}$", description="Tail number")
    year_built: pd.Int64Dtype = pa.Field(nullable=True, ge=1930, le=2013, description="Year of manufacture")
    type: str = pa.Field(description="Kind of aircraft")
    manufacturer: str = pa.Field(description="Manufacturer, one spelling each")
    model: str
    engines: int = pa.Field(ge=1, le=8, description="Number of engines")
    seats: int = pa.Field(ge=1, le=900)
    cruise_speed_mph: pd.Int64Dtype = pa.Field(nullable=True, ge=1, le=700, description="Average cruising speed")
    engine: str = pa.Field(description="Kind of engine")

    class Config:
        metadata = {"primary_key": ["tailnum"]}


class Weather(pa.DataFrameModel):
    """Hourly weather at the three airports, one row per airport and hour.

    Source: weather.csv (NOAA). Key: origin, hour_at. The hour repeated by the clock change is two hours here.
    """

    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"], description="Airport")
    hour_at: Instant = pa.Field(description="Hour of the observation")
    temperature_f: float = pa.Field(nullable=True, ge=-60, le=130)
    dew_point_f: float = pa.Field(nullable=True, ge=-80, le=100)
    humidity_pct: float = pa.Field(nullable=True, ge=0, le=100, description="Relative humidity")
    wind_direction_degrees: pd.Int64Dtype = pa.Field(nullable=True, ge=0, le=360)
    wind_speed_mph: float = pa.Field(nullable=True, ge=0, le=250)
    wind_gust_mph: float = pa.Field(nullable=True, ge=0, le=300)
    precipitation_inches: float = pa.Field(ge=0, le=20)
    pressure_millibars: float = pa.Field(nullable=True, ge=850, le=1090, description="At sea level")
    visibility_miles: float = pa.Field(ge=0, le=10)

    class Config:
        metadata = {"primary_key": ["origin", "hour_at"]}


class Airports(pa.DataFrameModel):
    """Airports of the United States, one row per airport.

    Source: airports.json (FAA). Key: airport.
    """

    airport: str = pa.Field(str_matches=r"^[0-9A-Z]{3}$", description="FAA code")
    name: str
    latitude_degrees: float = pa.Field(ge=-90, le=90)
    longitude_degrees: float = pa.Field(ge=-180, le=180)
    altitude_feet: int = pa.Field(ge=-1500, le=15000)
    utc_offset_hours: int = pa.Field(ge=-12, le=14, description="Standard time")
    daylight_saving: str = pa.Field(isin=["A", "N", "U"], description="A: as in the US, N: none, U: unknown")
    time_zone: str = pa.Field(nullable=True, isin=US_TIME_ZONES, description="IANA name")

    class Config:
        metadata = {"primary_key": ["airport"]}

    @pa.dataframe_check(description="the airport lies west of Greenwich, or in Alaska, which reaches across 180 degrees")
    def in_the_americas(cls, airports: DataFrame["Airports"]) -> Series[bool]:
        return (airports["longitude_degrees"] < 0) | (airports["time_zone"] == "America/Anchorage")


class Airlines(pa.DataFrameModel):
    """Carriers flying from New York City in 2013, one row per carrier.

    Source: airlines.xlsx. Key: carrier.
    """

    carrier: str = pa.Field(str_matches=r"^[0-9A-Z]{2}$", description="Two-character carrier code")
    name: str = pa.Field(unique=True)
    first_flight_date: pa.Date = pa.Field(description="First scheduled departure in 2013")
    flights: int = pa.Field(ge=1, description="Scheduled departures in 2013")

    class Config:
        metadata = {"primary_key": ["carrier"]}


# -- mart: for readers --------------------------------------------------------------------------------------------------


class OnTimePerformance(pa.DataFrameModel):
    """On-time performance, one row per carrier and month.

    A flight is on time when it arrives less than 15 minutes late, as the US Department of Transportation counts. Key: carrier, month.
    """

    carrier: str
    carrier_name: str
    month: int = pa.Field(ge=1, le=12)
    flights: int = pa.Field(ge=1, description="Scheduled departures")
    cancelled: int = pa.Field(ge=0)
    arrived: int = pa.Field(ge=0, description="Flights with a known arrival delay")
    on_time: int = pa.Field(ge=0, description="Arrived less than 15 minutes late")
    on_time_pct: float = pa.Field(nullable=True, ge=0, le=100, description="Of those that arrived")
    mean_arr_delay_minutes: float = pa.Field(nullable=True)

    class Config:
        metadata = {"primary_key": ["carrier", "month"]}

    @pa.dataframe_check(description="on_time <= arrived <= flights - cancelled")
    def counts_nest(cls, rows: DataFrame["OnTimePerformance"]) -> Series[bool]:
        return (rows["on_time"] <= rows["arrived"]) & (rows["arrived"] <= rows["flights"] - rows["cancelled"])


class DailyDepartures(pa.DataFrameModel):
    """Departures of a day, one row per day and airport. Key: flight_date, origin."""

    flight_date: pa.Date = pa.Field(description="Day of the scheduled departure in New York", metadata={"index": True})
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"])
    flights: int = pa.Field(ge=1, description="Scheduled departures")
    cancelled: int = pa.Field(ge=0)
    mean_dep_delay_minutes: float = pa.Field(nullable=True, description="Of the flights that departed")

    class Config:
        metadata = {"primary_key": ["flight_date", "origin"]}


class DelayByWeather(pa.DataFrameModel):
    """Departure delay against the weather in the hour of scheduled departure, one row per airport and condition.

    Key: origin, condition.
    """

    origin: str
    condition: str = pa.Field(isin=["clear", "rain or snow", "low visibility", "strong wind", "no observation"])
    flights: int = pa.Field(ge=1)
    cancelled_pct: float = pa.Field(ge=0, le=100)
    mean_dep_delay_minutes: float = pa.Field(nullable=True, description="Of the flights that departed")
    late_pct: float = pa.Field(nullable=True, ge=0, le=100, description="Departed 15 minutes late or more, of those that departed")

    class Config:
        metadata = {"primary_key": ["origin", "condition"]}


class FleetAge(pa.DataFrameModel):
    """Age of the aircraft that each carrier flew, one row per carrier.

    Key: carrier.
    """

    carrier: str
    carrier_name: str
    planes: int = pa.Field(ge=1, description="Distinct tail numbers flown")
    planes_known: int = pa.Field(ge=0, description="Of these, with a known year of manufacture")
    mean_age_years: float = pa.Field(nullable=True, ge=0, description="Years before 2013")
    oldest_year_built: pd.Int64Dtype = pa.Field(nullable=True)

    class Config:
        metadata = {"primary_key": ["carrier"]}
