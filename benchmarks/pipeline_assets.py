"""The asset of `pipeline.py`, as a user writes it."""

from typing import Annotated

import dagster as dg
import pandas as pd
import pandera.pandas as pa
from pandera.typing import DataFrame

from etl_assets.assets import etl_asset
from etl_assets.cleaning import change_case, clean, deduplicate, drop_missing, fill_missing, trim
from etl_assets.connectors.files import FilesResource


class Cleaned(pa.DataFrameModel):
    """Order lines, one row per id."""

    id: int = pa.Field(ge=0)
    customer_id: pa.Int32 = pa.Field(in_range={"min_value": 0, "max_value": 150_000})
    quantity: pa.Int16 = pa.Field(in_range={"min_value": 1, "max_value": 50})
    voucher: pd.Int64Dtype = pa.Field(nullable=True)
    price: float = pa.Field(ge=0)
    discount: float = pa.Field(in_range={"min_value": 0, "max_value": 1})
    amount: Annotated[pa.Decimal, 12, 2, None] = pa.Field(nullable=True)
    is_paid: pd.BooleanDtype = pa.Field(nullable=True)
    is_gift: bool
    created_at: Annotated[pd.DatetimeTZDtype, "us", "UTC"]
    updated_at: pa.DateTime = pa.Field(nullable=True)
    ship_date: pa.Date
    code: str = pa.Field(str_matches=r"^P\d{6}$")
    status: str = pa.Field(isin=["", "OPEN", "SHIPPED", "RETURNED", "NULL"], nullable=True)
    comment: str = pa.Field(str_length={"min_value": 1, "max_value": 400})
    payload: str = pa.Field(nullable=True, metadata={"postgres_type": "jsonb"})

    class Config:
        """The key of the table."""

        metadata = {"primary_key": ["id"]}


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
