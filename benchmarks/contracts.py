"""A contract of 16 typed columns and nine checks: our check and split against pandera's own validation, and its share of a load."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pa

from benchmarks import load
from benchmarks.harness import Body, Method, take_turns
from benchmarks.place import Place
from benchmarks.report import Row

ROWS = 300_000


class Copied(pa.DataFrameModel):
    """Order lines as another database has them: types, and neither rules nor key, which psql does not keep either."""

    id: int
    customer_id: pa.Int32
    quantity: pa.Int16
    voucher: pd.Int64Dtype = pa.Field(nullable=True)
    price: float
    discount: float = pa.Field(nullable=True)
    amount: Annotated[pa.Decimal, 12, 2, None] = pa.Field(nullable=True)
    is_paid: pd.BooleanDtype = pa.Field(nullable=True)
    is_gift: bool
    created_at: Annotated[pd.DatetimeTZDtype, "us", "UTC"]
    updated_at: pa.DateTime = pa.Field(nullable=True)
    ship_date: pa.Date
    code: str
    status: str = pa.Field(nullable=True)
    comment: str
    payload: str = pa.Field(nullable=True, metadata={"postgres_type": "jsonb"})


class Orders(Copied):
    """Order lines with rules and a key."""

    id: int = pa.Field(ge=0)
    customer_id: pa.Int32 = pa.Field(in_range={"min_value": 0, "max_value": 150_000})
    quantity: pa.Int16 = pa.Field(in_range={"min_value": 1, "max_value": 50})
    price: float = pa.Field(ge=0)
    discount: float = pa.Field(in_range={"min_value": 0, "max_value": 1}, nullable=True)
    code: str = pa.Field(str_matches=r"^P\d{6}$")
    status: str = pa.Field(isin=["", "OPEN", "SHIPPED", "RETURNED", "NULL"], nullable=True)
    comment: str = pa.Field(str_length={"min_value": 1, "max_value": 400})

    class Config:
        """The key of the table."""

        metadata = {"primary_key": ["id"]}


def _pandera(place: Place) -> Body:
    frame = load.frame_of(place, "orders")
    schema = Orders.to_schema()
    schema.validate(frame.head(64), lazy=True)
    return lambda: len(schema.validate(frame, lazy=True))


def _split(place: Place) -> Body:
    from etl_assets.contracts import Contract

    frame = load.frame_of(place, "orders")
    contract = Contract.of(Orders)
    contract.split(frame.head(64), where="benchmark")
    return lambda: len(contract.split(frame, where="benchmark").valid)


METHODS: dict[str, Method] = {"check and split": _split, "pandera": _pandera, "load": load.METHODS["orders ours"]}


def measured(place: Place, rounds: int) -> list[Row]:
    """The rows of the report."""
    load.prepare(place)
    found = take_turns("contracts", list(METHODS), place, rounds=rounds)
    contract, loading = found["check and split"].seconds, found["load"].seconds
    time_of_pandera = {"pandera": found["pandera"].seconds}
    return [
        Row("check and split 300,000 x 16 by a contract", contract, time_of_pandera, "s", 1.1, 1.05),
        Row("the contract's share of a load", contract / (contract + loading), {}, "of the time", 0.25, 0.15),
    ]
