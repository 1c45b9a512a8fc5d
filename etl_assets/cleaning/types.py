"""Text in a declared notation to numbers, dates, times, booleans.

A cell that is not written so keeps its text as `Unconverted`: no contract takes it, even where plain rules would.

Not here: plain text to types, which contracts do by themselves (`conversion.py`).
"""

import datetime
import re
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pandas as pd

from etl_assets import conversion
from etl_assets.cleaning.step import Step, each
from etl_assets.conversion import Unconverted
from etl_assets.errors import ContractDefinitionError
from etl_assets.notations import NumberNotation

_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")
_SIMPLE: dict[str, Callable[[], conversion.Target]] = {
    "integer": conversion.integer,
    "float": conversion.floating,
    "boolean": conversion.boolean,
    "date": conversion.date,
    "text": conversion.text,
    "timestamp": lambda: conversion.timestamp(pd.api.types.pandas_dtype("datetime64[us]")),
    "timestamptz": lambda: conversion.timestamp(pd.DatetimeTZDtype("us", "UTC")),
}


def parse_numbers(*columns: str, notation: NumberNotation) -> Step:
    """Numbers written as people write them, such as "1.234,50 €" or "(1,234.50)", as plain text, digit for digit.

    The contract converts the text to its type. Text in another notation stays and fails the contract, even "1.5" where the decimal mark
    is a comma. Values that are numbers already stay.
    """
    parse = notation.parser()

    def plain(value: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, Unconverted):
            return value
        parsed = parse(value)
        return Unconverted(value) if parsed is None else parsed

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        changed: dict[str, Any] = {}
        for name in columns:
            values = frame[name]
            known = {value: plain(value) for value in values.dropna().unique()}
            if not any(isinstance(value, Unconverted) for value in known.values()) and isinstance(values.dtype, pd.StringDtype):
                changed[name] = values.map(known).astype(values.dtype)
            else:
                changed[name] = each(values, known)
        return frame.assign(**changed)

    return Step(name=f"parse numbers of {', '.join(columns)}", function=run, columns=columns, notes=_refused(columns))


def parse_dates(column: str, format: str) -> Step:
    """Dates written in one format, such as "%m/%d/%Y", as dates; other text stays and fails the contract, an ISO date too.

    Raises:
        ContractDefinitionError: The format does not name year, month and day.
    """
    _require_parts(f"parse_dates({column!r})", format, (("%Y", "%y"), ("%m", "%b", "%B"), ("%d",)), "year, month or day", "all three")

    def parse(text: str) -> Any:
        return datetime.datetime.strptime(text, format).date()

    return _parsing(f"parse dates of {column} as {format}", column, parse)


def parse_times(column: str, format: str, *, zone: str | None, ambiguous: Literal["refuse", "first", "second"] = "refuse") -> Step:
    """Dates with time written in one format; with a zone as instants in UTC, else as local times.

    Args:
        column: The column.
        format: As `datetime.strptime` has it, such as "%d.%m.%Y %H:%M"; with %z the text brings its own offset.
        zone: Zone of the times written, such as "Europe/Berlin"; None where they have none, or their own offset.
        ambiguous: The hour that a clock change repeats: "refuse" its times, or take the "first" or the "second". Times that the change
            leaves out are refused in any case.

    Raises:
        ContractDefinitionError: The format does not name a day and an hour, or the zone is unknown.
    """
    where = f"parse_times({column!r})"
    _require_parts(where, format, (("%Y", "%y"), ("%m", "%b", "%B"), ("%d",), ("%H", "%I")), "year, month, day or hour", "all four")
    try:
        there = None if zone is None else zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ContractDefinitionError(where, f"the zone {zone!r} is unknown.", "name one such as Europe/Berlin.") from error
    if there is not None and "%z" in format:
        raise ContractDefinitionError(where, "the text brings its own offset and a zone is named too.", "leave one of them out.")

    def parse(text: str) -> Any:
        moment = datetime.datetime.strptime(text, format)
        return _in_utc(moment, there, ambiguous)

    return _parsing(f"parse times of {column} as {format}{f' in {zone}' if zone else ''}", column, parse)


def _in_utc(moment: datetime.datetime, zone: zoneinfo.ZoneInfo | None, ambiguous: str) -> datetime.datetime:
    if zone is None:
        return moment if moment.tzinfo is None else moment.astimezone(datetime.UTC)
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    instant = (second if ambiguous == "second" else first).astimezone(datetime.UTC)
    if first.utcoffset() != second.utcoffset():
        if first.astimezone(datetime.UTC).astimezone(zone).replace(tzinfo=None) != moment:
            raise ValueError("the clock change leaves this time out")
        if ambiguous == "refuse":
            raise ValueError("the clock change repeats this time")
    return instant


def parse_booleans(*columns: str, true: Sequence[str], false: Sequence[str]) -> Step:
    """Declared texts, such as "Y" and "N", as true and false; case matters.

    Raises:
        ContractDefinitionError: A text stands for both.
    """
    if set(true) & set(false):
        raise ContractDefinitionError("parse_booleans", f"{sorted(set(true) & set(false))} stand for both.", "correct them.")
    known = {**dict.fromkeys(true, True), **dict.fromkeys(false, False)}

    def parse(text: str) -> Any:
        if text not in known:
            raise ValueError("neither true nor false")
        return known[text]

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: _parsed(frame[name], parse) for name in columns})

    return Step(name=f"parse booleans of {', '.join(columns)}", function=run, columns=columns, notes=_refused(columns))


def as_type(*columns: str, type: str) -> Step:
    """Plain text as values of a type, by the rules of contracts, for steps that count with them.

    Args:
        columns: The columns.
        type: "integer", "float", "decimal(10,2)", "boolean", "date", "timestamp", "timestamptz" or "text".

    Raises:
        ContractDefinitionError: The type is unknown.
    """
    target = _target(type)

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        changed: dict[str, Any] = {}
        for name in columns:
            done = conversion.convert(frame[name], target)
            if not done.failed.any():
                changed[name] = done.values.set_axis(frame.index)
                continue
            cells = [
                (Unconverted(old) if isinstance(old, str) else old) if failed else new
                for old, new, failed in zip(frame[name].array, done.values.array, done.failed, strict=True)
            ]
            kept = pd.Series(cells, index=frame.index, dtype=object)
            changed[name] = kept.where(frame[name].notna(), None)
        return frame.assign(**changed)

    return Step(name=f"{', '.join(columns)} as {type}", function=run, columns=columns, notes=_refused(columns))


def _target(type_: str) -> conversion.Target:
    found = _DECIMAL.fullmatch(type_)
    if found:
        return conversion.exact_decimal(int(found[1]), int(found[2]))
    if type_ not in _SIMPLE:
        raise ContractDefinitionError("as_type", f"the type {type_!r} is unknown; known: {[*_SIMPLE, 'decimal(10,2)']}.", "correct it.")
    return _SIMPLE[type_]()


def _require_parts(where: str, format: str, parts: Sequence[Sequence[str]], lacks: str, give: str) -> None:
    if not all(any(part in format for part in alternatives) for alternatives in parts):
        raise ContractDefinitionError(where, f"{format!r} lacks {lacks}.", f"give {give}.")


def _parsing(name: str, column: str, parse: Callable[[str], Any]) -> Step:
    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{column: _parsed(frame[column], parse)})

    return Step(name=name, function=run, columns=(column,), notes=_refused((column,)))


def _parsed(values: "pd.Series[Any]", parse: Callable[[str], Any]) -> "pd.Series[Any]":
    def converted(value: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, Unconverted):
            return value
        try:
            return parse(value)
        except (ValueError, OverflowError):
            return Unconverted(value)

    return each(values, {value: converted(value) for value in values.dropna().unique()})


def _refused(columns: Sequence[str]) -> Callable[[pd.DataFrame, pd.DataFrame], str]:
    """How many cells kept their text because they are not written as declared."""

    def notes(before: pd.DataFrame, after: pd.DataFrame) -> str:
        counts = {name: sum(isinstance(value, Unconverted) for value in after[name]) for name in columns if after[name].dtype == object}
        return ", ".join(f"{count} of {name} kept their text" for name, count in counts.items() if count)

    return notes


__all__ = ["as_type", "parse_booleans", "parse_dates", "parse_numbers", "parse_times"]
