"""Which Arrow and pandas type carries a PostgreSQL type exactly.

PostgreSQL types are named as `format_type` prints them: "bigint", "numeric(12,2)", "timestamp with time zone". A type without an
exact Arrow counterpart travels as text, which PostgreSQL reads and writes exactly too.
"""

import re
from typing import Any

import pandas as pd
import pyarrow as pa

_ARROW: dict[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "text": pa.large_string(),
    "json": pa.large_string(),
    "jsonb": pa.large_string(),
    "bytea": pa.large_binary(),
    "uuid": pa.large_binary(),
    "date": pa.date32(),
    "time without time zone": pa.time64("us"),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "interval": pa.duration("us"),
}
_ALIASES = {
    "int2": "smallint", "int4": "integer", "int": "integer", "int8": "bigint", "float4": "real", "float8": "double precision",
    "float": "double precision", "bool": "boolean", "varchar": "character varying", "char": "character", "decimal": "numeric",
    "timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone", "time": "time without time zone",
    "timetz": "time with time zone",
}  # fmt: skip
_TEXT = re.compile(r'(character varying|character|bpchar|"char"|name|citext)(\(\d+\))?')
_BITS_OF_REAL = {f"({bits})" for bits in range(1, 25)}
_WRITTEN = re.compile(r"(?P<first>[^(\[]*)(?P<modifier>\([^)]*\))?(?P<rest>[^\[]*)(?P<array>\[.*)?")
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_READ_AS_TEXT = {"uuid", "bytea", "interval", "json", "jsonb"}


def canonical_name(type_name: str) -> str:
    """The name `format_type` prints for a type a person wrote, such as "bigint" for "int8"; unknown names stay, in lower case."""
    written = _WRITTEN.fullmatch(type_name.lower())
    if written is None:
        return type_name.strip().lower()
    name = " ".join(f"{written['first']} {written['rest']}".split())
    modifier = re.sub(r"\s", "", written["modifier"] or "")
    return _with_modifier(_ALIASES.get(name, name), modifier) + ("[]" if written["array"] else "")


def _with_modifier(name: str, modifier: str) -> str:
    if name == "numeric" and modifier and "," not in modifier:
        modifier = f"{modifier[:-1]},0)"
    if name in {"character", "bit"} and not modifier:
        modifier = "(1)"
    if name == "bpchar" and modifier:
        name = "character"
    if name == "double precision" and modifier:  # float(24) counts bits
        return "real" if modifier in _BITS_OF_REAL else name
    first, *zone = name.split(" ", 1)
    # PostgreSQL prints the digits of a time before its zone: "timestamp(3) with time zone".
    return " ".join([first + modifier, *zone]) if first in {"time", "timestamp"} else name + modifier


def arrow_type(type_name: str) -> pa.DataType | None:
    """The Arrow type whose binary form PostgreSQL accepts for this type; None when it must travel as text."""
    known = _ARROW.get(type_name)
    if known is not None:
        return known
    if _TEXT.fullmatch(type_name):
        return pa.large_string()
    numeric = _NUMERIC.fullmatch(type_name)
    if numeric and 0 <= int(numeric[2]) <= int(numeric[1]) <= 38:
        return pa.decimal128(int(numeric[1]), int(numeric[2]))
    return None


def arrow_type_for_reading(type_name: str) -> pa.DataType:
    """The Arrow type that the text form of this type is parsed into; text where Arrow's parser is not exact."""
    if type_name in _READ_AS_TEXT:
        return pa.large_string()
    return arrow_type(type_name) or pa.large_string()


def from_pandas_dtype(dtype: Any) -> str | None:
    """The PostgreSQL type that stores this pandas dtype exactly; None when the dtype alone does not say.

    Object columns say nothing: their contract names the type.
    """
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "timestamp with time zone"
    if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype):
        return "text"
    if isinstance(dtype, pd.ArrowDtype):
        return _from_arrow(dtype.pyarrow_dtype)
    kind, size = getattr(dtype, "kind", "O"), getattr(dtype, "itemsize", 8)
    if kind == "i":
        return {1: "smallint", 2: "smallint", 4: "integer"}.get(size, "bigint")
    if kind == "u":
        return {1: "smallint", 2: "integer", 4: "bigint"}.get(size, "numeric(20,0)")
    if kind == "f":
        return "real" if size <= 4 else "double precision"
    return {"b": "boolean", "M": "timestamp without time zone", "m": "interval"}.get(kind)


def _from_arrow(type_: pa.DataType) -> str | None:
    if pa.types.is_decimal(type_):
        return f"numeric({type_.precision},{type_.scale})"
    if pa.types.is_string(type_):
        return "text"
    if pa.types.is_timestamp(type_):
        return "timestamp with time zone" if type_.tz else "timestamp without time zone"
    for name, known in _ARROW.items():
        if type_ == known:
            return name
    return None


__all__ = ["arrow_type", "arrow_type_for_reading", "canonical_name", "from_pandas_dtype"]
