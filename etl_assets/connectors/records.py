"""JSON to a frame of text: numbers keep the digits they were written with, nested values stay JSON.

Not here: where the JSON comes from.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from etl_assets.accounting import SOURCE_POSITION
from etl_assets.errors import SourceFormatError
from etl_assets.frames import TEXT


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def parse_json(text: str | bytes, *, where: str) -> Any:
    """Parse JSON, keeping each number as its own text.

    Raises:
        SourceFormatError: It is no JSON; the message says where it breaks.
    """
    try:
        return json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except ValueError as error:
        start = text[:60].decode("utf-8", "replace") if isinstance(text, bytes) else text[:60]
        raise SourceFormatError(where, f"this is no JSON ({error}); it starts with {start!r}.", "check the source or the path.") from error


def select_records(document: Any, key: str | None, *, where: str) -> list[Mapping[str, Any]]:
    """The list of objects in a document: the document itself, or the value of `key`.

    Raises:
        SourceFormatError: There is no list of objects there.
    """
    found = document
    if key is not None:
        if not isinstance(document, Mapping) or key not in document:
            present = sorted(document) if isinstance(document, Mapping) else f"a {type(document).__name__}"
            raise SourceFormatError(where, f"there is no key {key!r}; present: {present}.", "name the key that holds the records.")
        found = document[key]
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        kind = "a list whose items are not all objects" if isinstance(found, list) else f"a {type(found).__name__}"
        raise SourceFormatError(where, f"a list of objects is needed, found {kind}.", "name the key that holds the records.")
    return found


def frame_of_text(records: Sequence[Mapping[str, Any]], positions: Iterable[str]) -> pd.DataFrame:
    """One row per record, one text column per key in order of first appearance, and `source_position`.

    A key that a record lacks and a JSON null are both NULL.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    columns: dict[str, Any] = {name: pd.array([_cell(record.get(name)) for record in records], dtype=TEXT) for name in names}
    columns[SOURCE_POSITION] = pd.array(list(positions), dtype=TEXT)
    return pd.DataFrame(columns)


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    return str(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {_json(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


__all__ = ["frame_of_text", "parse_json", "select_records"]
