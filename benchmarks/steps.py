"""What stands around the work: a Dagster step with a trivial asset in it, and the start of the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Body, Method, take_turns
from benchmarks.place import Place
from benchmarks.report import Row

ASSETS = 20


def _run(make: Callable[[int], Any]) -> Body:
    """A run of so many assets whose rows go nowhere, in one process; one has gone before."""
    import dagster as dg

    instance = dg.DagsterInstance.ephemeral()
    assets = [make(number) for number in range(ASSETS)]

    def body() -> int:
        dg.materialize(assets, resources={"io_manager": dg.mem_io_manager}, instance=instance)
        return ASSETS

    body()
    return body


def _ours(place: Place) -> Body:
    import pandas as pd
    import pandera.pandas as pa
    from pandera.typing import DataFrame

    from etl_assets.assets import etl_asset

    class Things(pa.DataFrameModel):
        id: int

    def make(number: int) -> Any:
        @etl_asset(schema="clean", name=f"things_{number}")
        def things() -> DataFrame[Things]:
            return pd.DataFrame({"id": [1]})

        return things

    return _run(make)


def _plain(place: Place) -> Body:
    import dagster as dg

    def make(number: int) -> Any:
        @dg.asset(name=f"things_{number}")
        def things() -> int:
            return 1

        return things

    return _run(make)


def _help(place: Place) -> Body:
    command = [str(Path(sys.executable).with_name("etl-assets")), "--help"]
    return lambda: subprocess.run(command, check=True, capture_output=True).returncode


METHODS: dict[str, Method] = {"etl_asset": _ours, "dagster.asset": _plain, "etl-assets --help": _help}


def measured(place: Place, rounds: int) -> list[Row]:
    """The rows of the report."""
    found = take_turns("steps", list(METHODS), place, rounds=rounds, brief=["etl_asset", "dagster.asset"])
    plain = {"plain Dagster": found["dagster.asset"].client_cpu / ASSETS * 1000}
    ours = found["etl_asset"].client_cpu / ASSETS * 1000
    return [
        Row("a step with a trivial asset, its contract and five checks", ours, {}, "ms CPU", 60, None),
        Row("the same, against an asset of plain Dagster without checks", ours, plain, "ms CPU", None, None),
        Row("the command line for --help", found["etl-assets --help"].seconds, {}, "s", 0.3, None),
    ]
