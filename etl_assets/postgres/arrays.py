"""PostgreSQL's arrays: their text form, written from lists and read into lists.

Not here: when a column is one (`types.py`), single values.
"""

import datetime
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from psycopg2 import extensions

_NEEDS_QUOTES = set('{}," \\\t\n\r\v\f')


def to_text(value: Any, element: str, write: Callable[[Any], str]) -> str:
    """The text form of a list, nested ones included; None among the elements is NULL.

    Args:
        value: A list, tuple or array of numpy; a text is taken for the text form already.
        element: PostgreSQL type of the elements.
        write: The text of one element that is neither None nor a list.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple | np.ndarray):
        raise TypeError("an array is written from a list, or as PostgreSQL's own text, such as {1,2}")
    return "{" + ",".join(_element(one, element, write) for one in value) + "}"


def _element(value: Any, element: str, write: Callable[[Any], str]) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return "NULL"
    if isinstance(value, float | np.floating) and value != value and element not in ("real", "double precision"):
        return "NULL"
    if element.startswith("json") and isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    elif isinstance(value, list | tuple | np.ndarray):
        return to_text(value, element, write)
    else:
        text = write(_of_python(value))
    if text and text.upper() != "NULL" and not _NEEDS_QUOTES & set(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _of_python(value: Any) -> Any:
    if isinstance(value, np.datetime64 | np.timedelta64):
        return pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value)
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.float64) else value


def reader(array_type: str) -> Callable[[str], Any]:
    """A function that reads the text form of an array into a list; elements of other types than these stay texts.

    Whole numbers become int, numeric Decimal, floating point float, boolean bool, dates and times those of datetime. An array that does not
    begin at 1 stays a text: a list could not tell where it begins.
    """
    read = _reader(array_type.removesuffix("[]"))
    return lambda text: text if text.startswith("[") else read(text)


def _reader(element: str) -> Callable[[str], Any]:
    if element in ("smallint", "integer", "bigint"):
        return lambda text: extensions.INTEGERARRAY(text, None)
    if element in ("real", "double precision"):
        return lambda text: extensions.FLOATARRAY(text, None)
    if element.startswith("numeric"):
        return lambda text: extensions.DECIMALARRAY(text, None)
    if element == "boolean":
        return lambda text: extensions.BOOLEANARRAY(text, None)
    convert: Callable[[str], Any] = {
        "bytea": lambda text: bytes.fromhex(text[2:]),
        "date": datetime.date.fromisoformat,
        "timestamp without time zone": datetime.datetime.fromisoformat,
        "timestamp with time zone": datetime.datetime.fromisoformat,
        "time without time zone": datetime.time.fromisoformat,
    }.get(element, str)
    return lambda text: _each(extensions.UNICODEARRAY(text, None), convert)


def _each(values: Sequence[Any], convert: Callable[[str], Any]) -> list[Any]:
    return [None if one is None else _each(one, convert) if isinstance(one, list) else convert(one) for one in values]


__all__ = ["reader", "to_text"]
