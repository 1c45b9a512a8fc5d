"""A Dagster project of $BENCHMARK_ASSETS assets in layers and twenty groups that do nothing, for the benchmarks of the bridge.

Not here: the measurements (`bridge.py`).
"""

import os

import dagster as dg

COUNT = int(os.environ.get("BENCHMARK_ASSETS", "60"))
# Four layers of up to 50; a large project has more layers, not wider ones.
LAYERS = max(4, COUNT // 50)


def layer_of(number: int) -> int:
    """In which layer an asset stands."""
    return number * LAYERS // COUNT


def upstream_of(number: int) -> list[str]:
    """Names of the two assets that an asset waits for; the first layer waits for none."""
    width = COUNT // LAYERS
    if layer_of(number) == 0:
        return []
    first = number - width
    return sorted({f"asset_{first:04}", f"asset_{max(0, first - 1):04}"})


def make(number: int) -> dg.AssetsDefinition:
    """One asset."""

    @dg.asset(
        name=f"asset_{number:04}", deps=upstream_of(number), group_name=f"group_{number % 20:02}", owners=["team:data"],
    )  # fmt: skip
    def nothing() -> None:
        return None

    return nothing


assets = [make(number) for number in range(COUNT)]
defs = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("all_assets", selection="*")])
