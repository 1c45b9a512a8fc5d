"""How a contract is declared in pandera's terms: which type a dtype converts to, and what stands in `metadata`.

Not here: what a contract means (`contracts.py`).
"""

import datetime
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.engines import pandas_engine
from pyarrow import types as pa_types

from etl_assets import conversion
from etl_assets.conversion import Target
from etl_assets.errors import ContractDefinitionError
from etl_assets.postgres.types import from_pandas_dtype
from etl_assets.rules import Severity


def can_hold(dtype: Any, values: "pd.Series[Any]") -> bool:
    """Whether converted values take the declared dtype: a plain integer or boolean has no NULL, so the nullable form stays."""
    return values.dtype != dtype and not (getattr(dtype, "kind", "O") in "iub" and values.hasnans)


def refuse_misspelt(metadata: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Other keys are the user's own; one that nearly is ours would be ignored without a word."""
    for key in metadata:
        close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.75)
        if key not in known and close:
            raise ContractDefinitionError(where, f"metadata has the key {key!r}, close to {close[0]!r}.", "correct or rename it.")


def refuse_unknown(metadata: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse keys of a mapping that is all ours."""
    unknown = sorted(set(metadata) - set(known))
    if unknown:
        raise ContractDefinitionError(where, f"it names {unknown}; known: {list(known)}.", "correct it.")


def limit(metadata: Mapping[str, Any], where: str) -> float | None:
    """How many rows may break a rule: a share below 1, a number, or None for no limit."""
    most = metadata.get("most_failed")
    if most is None:
        return None
    if isinstance(most, bool) or not isinstance(most, int | float) or most < 0 or (most > 1 and most != int(most)):
        raise ContractDefinitionError(
            where, f"most_failed is a share below 1 or a number of rows; given: {most!r}.", "write 0.01 for 1 %, or 10 for ten rows."
        )
    return most


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A key of another asset's table.

    Attributes:
        asset: Asset key, such as "clean/airports".
        column: Its key column.
    """

    asset: str
    column: str

    @property
    def table(self) -> str:
        """Last part of the asset key."""
        return self.asset.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return f"{self.column} of {self.asset}"

    @staticmethod
    def of(metadata: Mapping[str, Any], where: str) -> "Reference | None":
        """What `references` says, such as "clean/airports.airport"; None where it is not there."""
        given = metadata.get("references")
        if given is None:
            return None
        asset, dot, column = str(given).rpartition(".")
        if not dot or not asset.strip("/") or not column:
            raise ContractDefinitionError(where, f"references {given!r} names no column of an asset.", "write clean/airports.airport.")
        return Reference(asset=asset, column=column)


def severity_of(metadata: Mapping[str, Any], where: str) -> Severity:
    """What breaking a rule does."""
    given = metadata.get("severity", Severity.QUARANTINE)
    try:
        return Severity(given)
    except ValueError:
        raise ContractDefinitionError(
            where, f"severity {given!r} is unknown; known: {[s.value for s in Severity]}.", "correct it."
        ) from None


def freshness(metadata: Mapping[str, Any], converts_to: Target, where: str) -> datetime.timedelta | None:
    """How old the newest value of a column may be; None for no limit."""
    given = metadata.get("fresh_within")
    if given is None:
        return None
    if not isinstance(given, datetime.timedelta) or given <= datetime.timedelta(0):
        raise ContractDefinitionError(where, f"fresh_within is a timedelta above zero; given: {given!r}.", "write timedelta(days=1).")
    if converts_to.name not in ("date", "date and time with zone"):
        raise ContractDefinitionError(
            where, f"a column of {converts_to.name} has no age.", "use a date, or a time with zone: a local time says no instant."
        )
    return given


def fresh_name(column: str) -> str:
    """Name of the check on the age of a column."""
    return f"{column}_fresh"


def declared_metadata(model: type[pa.DataFrameModel]) -> dict[str, Any]:
    """What `class Config: metadata = ...` of a model says."""
    metadata = getattr(model.__config__, "metadata", None)
    return dict(metadata or {})


def target(dtype: Any, where: str) -> tuple[Target, str | None]:
    """What a pandera dtype converts to, and the PostgreSQL type it names."""
    if dtype is None:
        return conversion.anything(np.dtype(object)), None
    if isinstance(dtype, pandas_engine.Date):
        return conversion.date(), "date"
    if isinstance(dtype, pandas_engine.Decimal):
        if (dtype.precision, dtype.scale) == (28, 0):  # what pandera takes when nothing is said
            raise ContractDefinitionError(where, "a decimal needs digits and decimals.", "write Annotated[pandera.Decimal, 10, 2, None].")
        return conversion.exact_decimal(dtype.precision, dtype.scale), f"numeric({dtype.precision},{dtype.scale})"
    kind = getattr(dtype, "type", None)
    name = from_pandas_dtype(kind)
    if isinstance(kind, pd.CategoricalDtype):
        return conversion.category(kind), name
    if isinstance(kind, pd.StringDtype):
        return conversion.text(kind), name
    if isinstance(kind, pd.ArrowDtype) and kind.kind in "Mm":
        raise ContractDefinitionError(where, f"the dtype {dtype} is not supported.", "use pandas' own datetime64 or pandera's Date.")
    if isinstance(kind, pd.ArrowDtype) and pa_types.is_decimal(kind.pyarrow_dtype):
        return conversion.exact_decimal(kind.pyarrow_dtype.precision, kind.pyarrow_dtype.scale), name
    if isinstance(kind, pd.DatetimeTZDtype) or getattr(kind, "kind", "") == "M":
        return conversion.timestamp(kind), name
    letter = getattr(kind, "kind", "O")
    if letter in "iu":
        return conversion.integer(int(getattr(kind, "itemsize", 8)) * 8, signed=letter == "i"), name
    if letter == "f":
        return conversion.floating(kind), name
    if letter == "b":
        return conversion.boolean(), name
    if letter == "U":
        return conversion.text(), "text"
    if letter == "O" or isinstance(kind, pd.ArrowDtype):
        return conversion.anything(kind), name
    raise ContractDefinitionError(where, f"the dtype {dtype} is not supported.", "use a numeric, text, boolean, date or decimal type.")


__all__ = [
    "Reference", "can_hold", "declared_metadata", "fresh_name", "freshness", "limit", "refuse_misspelt", "refuse_unknown", "severity_of",
    "target",
]  # fmt: skip
