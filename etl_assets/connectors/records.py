"""JSON to a frame of text: numbers keep the digits they were written with, nested values stay JSON.

The name of the position column is reserved in every source of text, so it is refused here for all of them. Not here: where the
JSON comes from.
"""

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

import jmespath
import jmespath.exceptions
import pandas as pd

from etl_assets.accounting import SOURCE_POSITION, UnreadableRow
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets.frames import TEXT


class _Number(str):
    """A JSON number as it was written; beside a number it counts as one, so that a JMESPath filter finds it."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self._compared(operator.eq, other)

    def __ne__(self, other: object) -> bool:
        return not self._compared(operator.eq, other)

    def __lt__(self, other: Any) -> bool:
        return self._compared(operator.lt, other)

    def __le__(self, other: Any) -> bool:
        return self._compared(operator.le, other)

    def __gt__(self, other: Any) -> bool:
        return self._compared(operator.gt, other)

    def __ge__(self, other: Any) -> bool:
        return self._compared(operator.ge, other)

    def _compared(self, compare: Callable[[Any, Any], bool], other: Any) -> bool:
        if isinstance(other, bool) or not isinstance(other, _Number | int | float):
            return compare(str(self), other)
        one, two = Decimal(self), Decimal(str(other))
        return compare(one, two) if not (one.is_nan() or two.is_nan()) else False


class _RepeatedKeysError(Exception):
    """An object has a key twice."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeysError(sorted({key for key in keys if keys.count(key) > 1}))
    return found


_WORDS = {True: "true", False: "false", None: "null"}
_DECODER = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_without_repetition)


def parse_json(text: str | bytes, *, where: str) -> Any:
    """Parse JSON, keeping each number as its own text.

    Raises:
        SourceFormatError: It is no JSON, nested too deeply, or an object repeats a key; the message says where it breaks.
    """

    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode(json.detect_encoding(text), "surrogatepass"))
    except _RepeatedKeysError as error:
        raise SourceFormatError(where, f"an object repeats the keys {error.keys}.", "have the values named apart at the source.") from None
    except RecursionError as error:
        raise SourceFormatError(where, "a value is nested too deeply.", "have it delivered flatter.") from error
    except ValueError as error:
        start = text[:60].decode("utf-8", "replace") if isinstance(text, bytes) else text[:60]
        raise SourceFormatError(where, f"this is no JSON ({error}); it starts with {start!r}.", "check the source or the path.") from error


def select(document: Any, path: str) -> Any:
    """What a JMESPath expression finds in a document; None when it finds nothing.

    Raises:
        ConfigurationError: The expression cannot be read.
    """
    try:
        return jmespath.search(path, document)
    except (jmespath.exceptions.JMESPathError, TypeError, ArithmeticError) as error:  # such as a text compared with a number
        said = str(error).splitlines()[0]
        raise ConfigurationError(
            f"path {path!r}", f"this is no JMESPath expression ({said}).", 'correct it; odd names are quoted: "next-url".'
        ) from error


def select_records(document: Any, path: str | None, *, where: str) -> list[Mapping[str, Any]]:
    """The list of objects in a document: the document itself, or what the JMESPath expression `path` finds.

    Raises:
        SourceFormatError: There is no list of objects there.
        ConfigurationError: The expression cannot be read.
    """
    found = document if path is None else select(document, path)
    if path is not None and found is None:
        present = sorted(document) if isinstance(document, Mapping) else f"a {_kind(document)}"
        raise SourceFormatError(where, f"there is nothing at {path!r}; present: {present}.", "name where the records are.")
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        kind = "a list whose items are not all objects" if isinstance(found, list) else f"a {_kind(found)}"
        raise SourceFormatError(where, f"a list of objects is needed, found {kind}.", "name where the records are.")
    return found


def _kind(value: Any) -> str:
    return "number" if isinstance(value, _Number) else type(value).__name__


@dataclass(frozen=True, kw_only=True)
class JsonLines:
    """What some JSON lines hold.

    Attributes:
        records: The objects.
        rows: Their cells as text.
        numbers: Number of the line of each.
        unreadable: The lines that hold no object.
    """

    records: list[Mapping[str, Any]] = field(repr=False)
    rows: list[Mapping[str, str | None]] = field(repr=False)
    numbers: list[int] = field(repr=False)
    unreadable: list[UnreadableRow] = field(repr=False)

    def frame(self, name: str) -> pd.DataFrame:
        """The objects as `frame_of_text` has them."""
        return _frame(self.rows, [f"{name} line {number}" for number in self.numbers])


def parse_json_lines(lines: Iterable[tuple[int, str]], *, where: str, separator: str | None = None) -> JsonLines:
    """Parse JSON lines; blank ones are nothing.

    Args:
        lines: Number and text of each line.
        where: Name of the source, for positions.
        separator: Flatten each object with it; None leaves them as they are.
    """
    found = JsonLines(records=[], rows=[], numbers=[], unreadable=[])
    for number, line in lines:
        if not line.strip(" \t\r\n"):
            continue
        place = f"{where} line {number}"
        try:
            record = parse_json(line, where=place)
            if not isinstance(record, dict):
                raise SourceFormatError(place, f"this is a {_kind(record)}, not an object.", "")
            if separator is not None:
                record = flatten(record, separator, where=place)
            row = _row(record, place)
        except SourceFormatError as error:
            raw = line.rstrip("\r\n")
            found.unreadable.append(UnreadableRow(position=place, raw=raw, rule="json", says=error.cause.rstrip(".")))
            continue
        found.records.append(record)
        found.rows.append(row)
        found.numbers.append(number)
    return found


def flattened(records: Sequence[Mapping[str, Any]], separator: str | None, positions: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Each record as `flatten` has it; the records themselves where there is no separator. Errors name the position."""
    if separator is None:
        return records
    return [flatten(record, separator, where=place) for record, place in zip(records, positions, strict=True)]


def flatten(record: Mapping[str, Any], separator: str, *, where: str) -> dict[str, Any]:
    """The record with nested objects as columns of their own, named by their path; lists and empty objects stay values.

    Raises:
        SourceFormatError: Two paths give the same name, or a value is nested too deeply.
    """
    flat: dict[str, Any] = {}

    def add(prefix: str, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            name = prefix + key
            if isinstance(value, dict) and value:
                add(name + separator, value)
            elif name in flat:
                raise SourceFormatError(
                    where, f"two nested values are both named {name!r}.", "choose another separator, or do not flatten."
                )
            else:
                flat[name] = value

    try:
        add("", record)
    except RecursionError as error:
        raise SourceFormatError(where, "a value is nested too deeply.", "have it delivered flatter.") from error
    return flat


def frame_of_text(records: Sequence[Mapping[str, Any]], positions: Iterable[str]) -> pd.DataFrame:
    """One row per record, one text column per key in order of first appearance, and `source_position`.

    A key that a record lacks and a JSON null are both NULL.

    Raises:
        SourceFormatError: A record has a key `source_position`, a text that is no Unicode, or a value nested too deeply.
    """
    places = list(positions)
    return _frame([_row(record, place) for record, place in zip(records, places, strict=True)], places)


def _frame(rows: Sequence[Mapping[str, str | None]], places: Sequence[str]) -> pd.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns: dict[str, Any] = {name: pd.array([row.get(name) for row in rows], dtype=TEXT) for name in names}
    columns[SOURCE_POSITION] = pd.array(places, dtype=TEXT)
    return pd.DataFrame(columns)


def concatenated(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Frames with `source_position` one below the other, that column the last; at least one frame."""
    read = list(frames)
    if len(read) == 1:
        return read[0]
    whole = pd.concat(read, ignore_index=True)
    names = [name for name in whole.columns if name != SOURCE_POSITION]
    return whole[[*names, SOURCE_POSITION]]


def refuse_reserved(names: Iterable[str], where: str) -> None:
    """Refuse a source that brings a column named like the position column, which would overwrite it.

    Raises:
        SourceFormatError: One of the names is `source_position`.
    """
    if SOURCE_POSITION in names:
        raise SourceFormatError(
            where, f"the source has a column {SOURCE_POSITION!r}, a name that is reserved.", "have it renamed at the source."
        )


def _row(record: Mapping[str, Any], place: str) -> dict[str, str | None]:
    refuse_reserved(record, place)
    try:
        row = {name: _cell(value) for name, value in record.items()}
        "".join([*row, *filter(None, row.values())]).encode()
    except UnicodeEncodeError as error:
        raise SourceFormatError(place, f"a text is no Unicode ({error.reason}).", "have it delivered again.") from error
    except RecursionError as error:
        raise SourceFormatError(place, "a value is nested too deeply.", "have it delivered flatter.") from error
    return row


def _cell(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    return str(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is _Number:
        return str(value)
    if kind is list:
        return "[" + ", ".join([_json(item) for item in value]) + "]"
    if kind is dict:
        return "{" + ", ".join([f"{encode_basestring(name)}: {_json(item)}" for name, item in value.items()]) + "}"
    return _WORDS[value] if kind is bool or value is None else json.dumps(value, ensure_ascii=False)


__all__ = [
    "JsonLines", "concatenated", "flattened", "frame_of_text", "parse_json", "parse_json_lines", "refuse_reserved", "select",
    "select_records",
]  # fmt: skip
