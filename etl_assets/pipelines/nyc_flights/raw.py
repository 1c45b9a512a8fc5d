"""The five sources, as delivered.

Not here: any correction (`clean.py`).
"""

from pandera.typing import DataFrame

from etl_assets.assets import etl_asset
from etl_assets.connectors.excel import ExcelResource, Layout
from etl_assets.connectors.files import FilesResource
from etl_assets.connectors.paging import NextUrl
from etl_assets.connectors.rest import Endpoint, RestResource
from etl_assets.connectors.sql import SqlResource
from etl_assets.pipelines.nyc_flights.contracts import RawAirlines, RawAirports, RawFlights, RawPlanes, RawWeather


@etl_asset(schema="raw", kinds={"sql"})
def flights(operations: SqlResource) -> DataFrame[RawFlights]:
    """Scheduled departures, from the operations database."""
    return operations.read_table("flights")


@etl_asset(schema="raw", kinds={"api"})
def planes(planes_api: RestResource) -> DataFrame[RawPlanes]:
    """Aircraft, from the registry's REST API, page by page."""
    return planes_api.read(
        Endpoint(
            "planes.json",
            parameters={"_shape": "objects", "_size": 500},
            records="rows",
            pages=NextUrl(path="next_url"),
            total="filtered_table_rows_count",
        )
    )


@etl_asset(schema="raw", kinds={"csv"})
def weather(files: FilesResource) -> DataFrame[RawWeather]:
    """Hourly weather, from a CSV file."""
    return files.read_csv("weather.csv")


@etl_asset(schema="raw", kinds={"json"})
def airports(files: FilesResource) -> DataFrame[RawAirports]:
    """Airports, from a JSON file."""
    return files.read_json("airports.json")


@etl_asset(schema="raw", kinds={"excel"})
def airlines(workbooks: ExcelResource) -> DataFrame[RawAirlines]:
    """Carriers, from a workbook with a title, a header of two rows and a totals footer."""
    return workbooks.read("airlines.xlsx", sheet="Carriers", layout=Layout(header_rows=(3, 4), footer_starts_with="Total"))
