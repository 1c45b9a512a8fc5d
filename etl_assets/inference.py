"""A first contract from data, for a person to review: types, NULLs, small sets of values, a key. What the sample happens to reach, such
as its smallest and largest value, becomes no rule.

Not here: reading the data (`cli.py` calls a connector), what a contract means (`contracts.py`).
"""

import json
import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from etl_assets import conversion
from etl_assets.accounting import SOURCE_POSITION
from etl_assets.loading.table import ColumnSpec, TableSpec

MOST_CATEGORIES = 12
_ROWS_PER_CATEGORY = 20
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]+")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
# Annotation with and without NULL, by PostgreSQL type; integers and booleans need another one for NULL.
_OF_POSTGRES = {
    "bigint": "int",
    "integer": "int",
    "smallint": "int",
    "double precision": "float",
    "real": "float",
    "boolean": "bool",
    "date": "pa.Date",
    "timestamp with time zone": 'Annotated[pd.DatetimeTZDtype, "us", "UTC"]',
    "timestamp without time zone": "pa.DateTime",
    "text": "str",
}
_NULLABLE = {"int": "pd.Int64Dtype", "bool": "pd.BooleanDtype"}


@dataclass(frozen=True, kw_only=True)
class InferredColumn:
    """What a column seems to be.

    Attributes:
        name: Its name.
        annotation: Python of its type, such as "pd.Int64Dtype".
        nullable: Whether NULL was found.
        values: All its values, where they are few; empty for none.
        unique: Whether its values were all different.
        postgres_type: PostgreSQL type to name, where the annotation does not say it; None where it does.
    """

    name: str
    annotation: str
    nullable: bool
    values: tuple[str, ...] = ()
    unique: bool = False
    postgres_type: str | None = None


def infer(frame: pd.DataFrame) -> list[InferredColumn]:
    """What the columns of a frame seem to be; `source_position` is left out."""
    return [_column(str(name), frame[name]) for name in frame.columns if name != SOURCE_POSITION]


def of_table(spec: TableSpec) -> list[InferredColumn]:
    """The columns of a table as its database declares them."""
    return [_declared(column, spec.primary_key) for column in spec.columns]


def _declared(column: ColumnSpec, key: tuple[str, ...]) -> InferredColumn:
    numeric = _NUMERIC.fullmatch(column.type)
    annotation = f"Annotated[pa.Decimal, {numeric[1]}, {numeric[2]}, None]" if numeric else _OF_POSTGRES.get(column.type, "object")
    nullable = column.nullable and column.name not in key
    return InferredColumn(
        name=column.name,
        annotation=_NULLABLE.get(annotation, annotation) if nullable else annotation,
        nullable=nullable,
        unique=key == (column.name,),
        postgres_type=column.type if annotation == "object" else None,
    )


def _column(name: str, values: "pd.Series[Any]") -> InferredColumn:
    present = values.dropna()
    nullable = len(present) < len(values) or not len(values)
    annotation = _annotation(present)
    distinct = present.unique()
    few = annotation == "str" and 0 < len(distinct) <= MOST_CATEGORIES and len(present) >= _ROWS_PER_CATEGORY * len(distinct)
    return InferredColumn(
        name=name,
        annotation=_NULLABLE.get(annotation, annotation) if nullable else annotation,
        nullable=nullable,
        values=tuple(sorted(map(str, distinct))) if few else (),
        unique=len(present) > 1 and not nullable and len(distinct) == len(present),
        postgres_type="jsonb" if annotation == "object" else None,
    )


def _annotation(present: "pd.Series[Any]") -> str:
    if not len(present):
        return "str"
    texts = [str(value) for value in present if isinstance(value, str)]
    if any(map(_LEADING_ZERO.fullmatch, texts)):
        return "str"  # a code: 00501 is not 501
    decimal = _decimal(present)
    candidates: list[tuple[str, conversion.Target]] = [("bool", conversion.boolean()), ("int", conversion.integer())]
    candidates += [decimal] if decimal is not None else []
    candidates += [
        ("float", conversion.floating()),
        ("pa.Date", conversion.date()),
        ('Annotated[pd.DatetimeTZDtype, "us", "UTC"]', conversion.timestamp(pd.DatetimeTZDtype("us", "UTC"))),
        ("pa.DateTime", conversion.timestamp(pd.api.types.pandas_dtype("datetime64[us]"))),
        ("str", conversion.text()),
    ]
    for annotation, target in candidates:
        if not conversion.convert(present, target).failed.any():
            return annotation
    return "object"


def _decimal(present: "pd.Series[Any]") -> tuple[str, conversion.Target] | None:
    """A decimal, where every cell is text with the same number of decimals, as money is written, with room for larger ones; or whole."""
    parts = [re.fullmatch(r"[+-]?([0-9]+)\.([0-9]+)", value) if isinstance(value, str) else None for value in present]
    if all(isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,38}", value) for value in present):
        # More than 64 bits, or an integer would have been found; a float would round them.
        return "Annotated[pa.Decimal, 38, 0, None]", conversion.exact_decimal(38, 0)
    scales = {len(part[2]) if part else None for part in parts}
    if len(scales) != 1 or None in scales:
        return None
    (scale,) = (scale for scale in scales if scale is not None)
    whole = max(len(part[1]) for part in parts if part)
    precision = max(12, whole + 3) + scale
    if precision > 38:
        return None
    return f"Annotated[pa.Decimal, {precision}, {scale}, None]", conversion.exact_decimal(precision, scale)


def write_contract(columns: Sequence[InferredColumn], *, name: str, source: str, rows: int | None, key: Sequence[str] = ()) -> str:
    """Python of a contract, with a comment at what a person has to look at.

    Args:
        columns: What was inferred.
        name: Of the class.
        source: Where the data came from, for the docstring.
        rows: Rows looked at; None where the database declared the columns.
        key: The primary key; empty to propose the first unique column.
    """
    proposed = tuple(key) or next(((column.name,) for column in columns if column.unique), ())
    looked = "as its database declares them" if rows is None else f"from {rows} rows"
    lines = [_field(column) for column in columns]
    body = [
        f"class {name}(pa.DataFrameModel):",
        f'    """TODO: what one row is, and where it comes from. Inferred {looked} of {source}; review every line."""',
        "",
        *lines,
    ]
    if proposed:
        told = "# TODO: is it the key, or only unique so far?"
        body += ["", "    class Config:", f'        metadata = {{"primary_key": {_quoted(proposed)}}}  {told}']
    used = "\n".join(lines)
    imports = ["from typing import Annotated", ""] if "Annotated" in used else []
    imports += ["import pandas as pd"] if "pd." in used else []
    return "\n".join([*imports, "import pandera.pandas as pa", "", "", *body, ""])


def _field(column: InferredColumn) -> str:
    options = []
    attribute = column.name
    if not column.name.isidentifier() or keyword.iskeyword(column.name) or column.name.startswith("_"):
        attribute = re.sub(r"\W+", "_", column.name).strip("_") or "column"
        attribute = f"column_{attribute}" if attribute[0].isdigit() or keyword.iskeyword(attribute) else attribute
        options.append(f"alias={_text(column.name)}")
    if column.nullable:
        options.append("nullable=True")
    metadata = {}
    if column.values:
        options.append(f"isin={_quoted(column.values)}")
        metadata["severity"] = "warn"
    if column.postgres_type is not None:
        metadata["postgres_type"] = column.postgres_type
    if metadata:
        options.append("metadata={" + ", ".join(f"{_text(key)}: {_text(value)}" for key, value in metadata.items()) + "}")
    field = f" = pa.Field({', '.join(options)})" if options else ""
    seen = "  # TODO: all values seen; others only warn" if column.values else ""
    return f"    {attribute}: {column.annotation}{field}{seen}"


def _text(value: str) -> str:
    """The value as Python text in double quotes."""
    return json.dumps(value, ensure_ascii=not value.isprintable())


def _quoted(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


__all__ = ["InferredColumn", "infer", "of_table", "write_contract"]
