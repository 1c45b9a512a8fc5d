"""A Dagster project of a weather station as others write it: partitions of three kinds, a resource that writes, a factory of assets,
definitions from a function.

It knows neither etl_assets nor the bridge. Tables go to the PostgreSQL database in $TRIAL_TABLES.

Not here: a project in another style (`airflow_shop.py`).
"""

import dagster as dg
import pandas as pd
import sqlalchemy as sa

DAYS = dg.DailyPartitionsDefinition("2026-03-28", end_date="2026-04-02", timezone="Europe/Madrid")
STATIONS = dg.StaticPartitionsDefinition(["north", "south"])
BOTH = dg.MultiPartitionsDefinition({"day": DAYS, "station": STATIONS})


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Writes tables and answers queries."""

    url: str

    def write(self, table: str, frame: pd.DataFrame, part: str | None = None) -> int:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS station"))
            if part is None:
                frame.to_sql(table, connection, schema="station", if_exists="replace", index=False)
            else:
                frame = frame.assign(part=part)
                if sa.inspect(connection).has_table(table, schema="station"):
                    connection.execute(sa.text(f"DELETE FROM station.{table} WHERE part = :part"), {"part": part})
                frame.to_sql(table, connection, schema="station", if_exists="append", index=False)
        engine.dispose()
        return len(frame)

    def read(self, query: str) -> pd.DataFrame:
        engine = sa.create_engine(self.url)
        try:
            return pd.read_sql(sa.text(query), engine)
        finally:
            engine.dispose()


@dg.asset(partitions_def=BOTH, group_name="measured", code_version="3", tags={"domain": "weather"})
def readings(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What one station measured on one day: an hour is missing when the clock changes."""
    keys = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    day = pd.Timestamp(keys["day"], tz="Europe/Madrid")
    hours = pd.date_range(day, day + pd.DateOffset(days=1), freq="h", inclusive="left")
    warm = {"north": 8.0, "south": 15.0}[keys["station"]]
    frame = pd.DataFrame({"at": hours.tz_convert("UTC").strftime("%Y-%m-%dT%H:%MZ"), "degrees": warm + hours.hour.to_numpy() / 10})
    rows = warehouse.write("readings", frame.assign(station=keys["station"], day=keys["day"]), str(context.partition_key))
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": rows}, data_version=dg.DataVersion(f"v{rows}"))


@dg.asset(partitions_def=DAYS, group_name="daily", retry_policy=dg.RetryPolicy(max_retries=1))
def weather(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:  # type: ignore[type-arg]
    rows = warehouse.write("weather", pd.DataFrame({"day": context.partition_keys, "sunny": [True] * len(context.partition_keys)}),
                           ",".join(context.partition_keys))  # fmt: skip
    return dg.MaterializeResult(metadata={"rows": rows})


@dg.asset(partitions_def=DAYS, deps=[weather], group_name="daily", check_specs=[dg.AssetCheckSpec("is_short", asset="diary")])
def diary(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Reads what another asset wrote, without a value between the two."""
    found = warehouse.read(f"SELECT day, sunny FROM station.weather WHERE part = '{','.join(context.partition_keys)}'")
    text = found.assign(entry=["a sunny day" if sunny else "rain" for sunny in found["sunny"]])
    warehouse.write("diary", text, ",".join(context.partition_keys))
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="is_short", passed=len(text) < 2)])


def monthly(name: str, aggregate: str) -> dg.AssetsDefinition:
    """An asset per aggregate."""

    @dg.asset(name=name, key_prefix="report", deps=[readings], group_name="reports", description=f"The {aggregate} of each station.")
    def report(warehouse: Warehouse) -> dg.MaterializeResult:  # type: ignore[type-arg]
        found = warehouse.read(f"SELECT station, {aggregate}(degrees) AS degrees FROM station.readings GROUP BY 1 ORDER BY 1")
        return dg.MaterializeResult(metadata={"dagster/row_count": warehouse.write(name, found)})

    return report


def definitions() -> dg.Definitions:
    """All of it."""
    reports = [monthly("warmest", "max"), monthly("coldest", "min")]
    return dg.Definitions(
        assets=[readings, weather, diary, *reports],
        jobs=[
            dg.define_asset_job("measure", selection=[readings]),
            dg.define_asset_job("write_diary", selection=dg.AssetSelection.groups("daily")),
            dg.define_asset_job("report", selection=dg.AssetSelection.groups("reports")),
        ],
        resources={"warehouse": Warehouse(url=dg.EnvVar("TRIAL_TABLES"))},
    )
