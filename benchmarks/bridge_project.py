"""A Dagster project of $BENCHMARK_ASSETS assets in layers and twenty groups that do nothing, for the benchmarks of the bridge.

It imports $BENCHMARK_IMPORTS as well, where it stands for a project that does something.

Not here: the measurements (`bridge.py`).
"""

import importlib
import os

import dagster as dg

COUNT = int(os.environ.get("BENCHMARK_ASSETS", "60"))
for name in filter(None, os.environ.get("BENCHMARK_IMPORTS", "").split(",")):
    importlib.import_module(name)


def width_of(count: int) -> int:
    """Assets of a layer: four layers of up to 50; a large project has more layers, not wider ones."""
    return count // max(4, count // 50)


def upstream_of(number: int, count: int) -> list[str]:
    """Names of the two assets that an asset of so many waits for; the first layer waits for none."""
    width = width_of(count)
    if number < width:
        return []
    first = number - width
    return sorted({f"asset_{first:04}", f"asset_{max(0, first - 1):04}"})


def make(number: int) -> dg.AssetsDefinition:
    """One asset."""

    @dg.asset(
        name=f"asset_{number:04}", deps=upstream_of(number, COUNT), group_name=f"group_{number % 20:02}", owners=["team:data"],
    )  # fmt: skip
    def nothing() -> None:
        return None

    return nothing


assets = [make(number) for number in range(COUNT)]
defs = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("all_assets", selection="*")])
