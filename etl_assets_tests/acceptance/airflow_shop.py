"""A Dagster project of a shop as some people write it: graph assets of ops, multi-assets, an IO manager of their own, checks as functions.

It knows neither etl_assets nor the bridge. Tables go to the PostgreSQL database in $TRIAL_TABLES.

Not here: a project in another style (`airflow_station.py`).
"""

from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa


class TableIOManager(dg.ConfigurableIOManager):
    """Keeps each asset as a table, one schema per key prefix; a partition replaces its own rows."""

    url: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if obj is None:
            return
        schema, name = context.asset_key.path[-2], context.asset_key.path[-1]
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
            if context.has_asset_partitions:
                frame = obj.assign(partition=context.partition_key)
                if sa.inspect(connection).has_table(name, schema=schema):
                    connection.execute(sa.text(f"DELETE FROM {schema}.{name} WHERE partition = :key"), {"key": context.partition_key})
                frame.to_sql(name, connection, schema=schema, if_exists="append", index=False)
            else:
                obj.to_sql(name, connection, schema=schema, if_exists="replace", index=False)
        engine.dispose()
        context.add_output_metadata({"dagster/row_count": len(obj), "columns": list(obj.columns)})

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        schema, name = context.asset_key.path[-2], context.asset_key.path[-1]
        engine = sa.create_engine(self.url)
        query = f"SELECT * FROM {schema}.{name}"
        try:
            if context.has_asset_partitions:
                return pd.read_sql(sa.text(f"{query} WHERE partition = :key"), engine, params={"key": context.partition_key})
            return pd.read_sql(query, engine)
        finally:
            engine.dispose()


class Sales(dg.Config):
    """What the op of the graph asset takes."""

    orders: int = 40


@dg.multi_asset(
    outs={
        "customers": dg.AssetOut(key=["shop", "customers"], kinds={"table"}, owners=["team:shop"], io_manager_key="tables"),
        "products": dg.AssetOut(key=["shop", "products"], io_manager_key="tables"),
        "gone": dg.AssetOut(key=["shop", "gone"], is_required=False, io_manager_key="tables"),
    },
    deps=[dg.AssetKey(["erp", "catalogue"])],
    group_name="masters",
)
def masters() -> Any:
    """Two tables from one function, and one that is never made."""
    yield dg.Output(pd.DataFrame({"customer": range(5), "country": ["es", "es", "fr", "de", "de"]}), "customers")
    yield dg.Output(pd.DataFrame({"product": range(4), "price": [1.5, 2.0, 10.0, 0.25]}), "products")


@dg.op
def draw_orders(config: Sales, customers: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    numbers = pd.Series(range(config.orders))
    frame = pd.DataFrame({"number": numbers, "customer": numbers % len(customers), "product": (numbers * 7) % len(products)})
    return frame.merge(products, on="product")


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1, delay=0.1))
def add_totals(context: dg.OpExecutionContext, orders: pd.DataFrame) -> pd.DataFrame:
    if context.retry_number == 0:
        raise RuntimeError("the first attempt always fails")
    return orders.assign(total=orders["price"] * (1 + orders["number"] % 3)).sort_values("number")


@dg.op(out={"orders": dg.Out(io_manager_key="tables"), "report": dg.Out(io_manager_key="tables")})
def split(orders: pd.DataFrame) -> Any:
    yield dg.Output(orders, "orders")
    yield dg.Output(orders.groupby("customer", as_index=False)["total"].sum(), "report")


@dg.graph_multi_asset(
    ins={
        "customers": dg.AssetIn(["shop", "customers"]),
        "products": dg.AssetIn(["shop", "products"]),
    },
    outs={"orders": dg.AssetOut(key=["shop", "orders"]), "report": dg.AssetOut(key=["shop", "report"])},
    group_name="orders",
)
def selling(customers: pd.DataFrame, products: pd.DataFrame) -> Any:
    """Three ops, two tables."""
    orders, report = split(add_totals(draw_orders(customers, products)))
    return {"orders": orders, "report": report}


@dg.asset(
    key=["shop", "by_country"],
    ins={"report": dg.AssetIn(["shop", "report"]), "customers": dg.AssetIn(["shop", "customers"])},
    io_manager_key="tables",
)
def by_country(report: pd.DataFrame, customers: pd.DataFrame) -> pd.DataFrame:
    return report.merge(customers, on="customer").groupby("country", as_index=False)["total"].sum()


@dg.asset_check(asset=["shop", "orders"], blocking=True)
def numbers_are_unique(orders: pd.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=orders["number"].is_unique, metadata={"rows": len(orders)})


@dg.asset_check(asset=["shop", "by_country"])
def has_italy(by_country: pd.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=bool((by_country["country"] == "it").any()), severity=dg.AssetCheckSeverity.WARN)


@dg.op(out=dg.DynamicOut())
def shelves() -> Any:
    for shelf in ("a", "b", "c"):
        yield dg.DynamicOutput(shelf, mapping_key=shelf)


@dg.op
def count_shelf(shelf: str) -> int:
    return ord(shelf)


@dg.op(out=dg.Out(io_manager_key="tables"))
def collect(counts: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"counted": sorted(counts)})


@dg.graph_asset(key=["shop", "stock"])
def stock() -> Any:
    """An op per shelf, and nobody knows how many before it runs."""
    return collect(shelves().map(count_shelf).collect())


defs = dg.Definitions(
    assets=[masters, selling, by_country, stock, dg.AssetSpec(["erp", "catalogue"])],
    asset_checks=[numbers_are_unique, has_italy],
    jobs=[
        dg.define_asset_job(
            "sell", selection=dg.AssetSelection.groups("masters", "orders") | dg.AssetSelection.assets(["shop", "by_country"])
        ),
        dg.define_asset_job("count_stock", selection="shop/stock"),
    ],
    resources={
        "tables": TableIOManager(url=dg.EnvVar("TRIAL_TABLES")),
        "io_manager": dg.FilesystemIOManager(base_dir=dg.EnvVar("TRIAL_VALUES")),
    },
)
