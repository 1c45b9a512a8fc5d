"""The asset of `pipeline.py`, as a user writes it."""

import dagster as dg
import pandera.pandas as pa
from pandera.typing import DataFrame

from benchmarks.contracts import Orders
from etl_assets.assets import etl_asset
from etl_assets.cleaning import change_case, clean, deduplicate, drop_missing, fill_missing, trim
from etl_assets.connectors.files import FilesResource


class Cleaned(Orders):
    """Order lines, one row per id; the discount is there."""

    discount: float = pa.Field(in_range={"min_value": 0, "max_value": 1})


class File(dg.Config):
    """Which file is read."""

    file: str


STEPS = [
    deduplicate(key=["id"], order_by=["source_position"], keep="last"),
    drop_missing("price"),
    trim("code"),
    change_case("code", to="upper"),
    fill_missing({"discount": "0"}),
]


@etl_asset(schema="clean")
def cleaned(config: File, files: FilesResource) -> DataFrame[Cleaned]:
    """Order lines, cleaned."""
    return clean(files.read_csv(config.file), STEPS)
