"""Values in the text form that PostgreSQL's input functions read, checked: what PostgreSQL would round or cut is refused.

Used where a type has no binary form here, and for the elements of arrays. Not here: the binary form (`copy.py`), arrays themselves
(`postgres/arrays.py`).
"""

import datetime
import decimal
import functools
import json
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from etl_assets.loading.exact import refuse_inexact
from etl_assets.postgres.types import arrow_type

Write = Callable[[Any], str]
_NUMERIC = re.compile(r"numeric(?:\((\d+),(-?\d+)\))?")
_FRACTION = re.compile(r"(time|timestamp)\((\d)\) (with|without) time zone")
_LENGTH = re.compile(r"(?:character varying|character|bpchar)\((\d+)\)")
# Wide enough that no digit is lost.
_DIGITS = decimal.Context(prec=2_000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


@functools.cache
def text_writer(type_name: str) -> Write:
    """The function that writes values of a type.

    Args:
        type_name: As `format_type` prints it.

    Returns:
        A function that raises TypeError or ValueError, or one of Arrow's errors, for a value that would be changed.
    """
    if (numeric := _NUMERIC.fullmatch(type_name)) is not None:
        return functools.partial(_number, scale=int(numeric[2]) if numeric[2] is not None else None)
    if (fraction := _FRACTION.fullmatch(type_name)) is not None:
        return functools.partial(_moment, kind=fraction[1], digits=int(fraction[2]), has_zone=fraction[3] == "with")
    if (length := _LENGTH.fullmatch(type_name)) is not None:
        return functools.partial(_short, most=int(length[1]))
    known: dict[str, Write] = {
        "bytea": _bytes,
        "uuid": _uuid,
        "interval": _interval,
        "json": as_json,
        "jsonb": as_json,
        "boolean": _boolean,
    }
    if type_name in known:
        return known[type_name]
    type_ = arrow_type(type_name)
    return _plain if type_ is None else functools.partial(_checked, type_=type_)


def _number(value: Any, *, scale: int | None) -> str:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | Decimal | np.integer | np.floating):
        raise TypeError("it is no number")
    number = value if isinstance(value, Decimal) else Decimal(repr(float(value)) if isinstance(value, float | np.floating) else int(value))
    if scale is not None and number.is_finite() and number:
        exponent = _DIGITS.normalize(number).as_tuple().exponent
        if isinstance(exponent, int) and exponent < -scale:
            raise ValueError("its digits would be lost")
    return str(number)


def _moment(value: Any, *, kind: str, digits: int, has_zone: bool) -> str:
    wanted = datetime.datetime if kind == "timestamp" else datetime.time
    if not isinstance(value, wanted):
        raise TypeError(f"it is no {'date and time' if kind == 'timestamp' else 'time of day'}")
    if (value.tzinfo is not None) != has_zone:
        raise ValueError("it has a zone" if value.tzinfo is not None else "it has no zone")
    if getattr(value, "nanosecond", 0) or value.microsecond % 10 ** (6 - digits):
        raise ValueError(f"it has more than {digits} digits of a second")
    return str(value)


def _short(value: Any, *, most: int) -> str:
    if not isinstance(value, str):
        raise TypeError("only text is stored as text")
    refuse_long(value, most)
    return value


def refuse_long(value: str, most: int) -> None:
    """Refuse a text that PostgreSQL would cut: it drops spaces at the end without a word."""
    if len(value) > most:
        raise ValueError(f"it is too long: {len(value)} characters, the column takes {most}")


def longest(type_name: str) -> int | None:
    """How many characters a text type takes; None for no limit."""
    length = _LENGTH.fullmatch(type_name)
    return int(length[1]) if length is not None else None


def _bytes(value: Any) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("only bytes are stored as bytes")
    return f"\\x{bytes(value).hex()}"


def _uuid(value: Any) -> str:
    return str(uuid.UUID(str(value)))


def _interval(value: Any) -> str:
    # Months and days have no length, so an interval is read as text and goes back as text.
    if isinstance(value, str):
        return value
    if isinstance(value, np.timedelta64):
        value = pd.Timedelta(value)
    if not isinstance(value, datetime.timedelta):
        raise TypeError("it is no length of time")
    if getattr(value, "nanoseconds", 0):
        raise ValueError("it has nanoseconds")
    return f"{value // datetime.timedelta(microseconds=1)} microseconds"


def _boolean(value: Any) -> str:
    if not isinstance(value, bool | np.bool_):
        raise TypeError("it is no boolean")
    return "true" if value else "false"


def _checked(value: Any, *, type_: pa.DataType) -> str:
    refuse_inexact(value, type_)
    if pa.types.is_integer(type_):
        return str(int(value))
    if pa.types.is_date(type_):
        return str(value.date() if isinstance(value, datetime.datetime) else value)
    return repr(float(value)) if pa.types.is_floating(type_) else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, list | dict | set | tuple | bytes | bytearray):
        raise TypeError(f"a {type(value).__name__} has no text form")
    return str(value)


def as_json(value: Any) -> str:
    """JSON text as it is; anything else serialised."""
    if isinstance(value, str):
        json.loads(value)
        return value
    return json.dumps(value, ensure_ascii=False, default=_json_default, allow_nan=False)


def _json_default(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, Decimal | uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


__all__ = ["as_json", "longest", "refuse_long", "text_writer"]
