"""Which records of an API are new: the parameter that asks for them, and the highest value among those that came. Pure.

Not here: asking for them (`rest_reading.py`), keeping the watermark (`loading/ledger.py`), rows of a table (`incremental.py`).
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from etl_assets.connectors.records import select
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets.watermarks import Value

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ALLOWED = {"kind": ("time", "number", "text"), "nulls": ("fail", "skip")}


@dataclass(frozen=True, kw_only=True)
class IncrementalParameter:
    """Only records from the watermark of the last committed load on, as far as the API can select them.

    Most APIs send records that equal the parameter again, so merge them by key.

    Attributes:
        parameter: Query parameter that carries the lower bound, such as "updated_since".
        field: JMESPath, in a record, of the value that grows, such as "updated_at".
        kind: What the value is: "time" (ISO 8601), "number" or "text". The parameter is sent as the API wrote it.
        start: Lower bound before the first load; None leaves the parameter out.
        lag: Ask again for this much below the watermark: a timedelta for times, a number for numbers. None for nothing.
        nulls: Records without the value: "fail", or "skip" them when the watermark is found; they are read in any case.
        name: Tells this watermark from others of the asset for the same path, such as those for other parameters; None for the field.
    """

    parameter: str
    field: str
    kind: Literal["time", "number", "text"] = "time"
    start: str | int | None = None
    lag: datetime.timedelta | int | None = None
    nulls: Literal["fail", "skip"] = "fail"
    name: str | None = None

    def __post_init__(self) -> None:
        where = f"IncrementalParameter({self.parameter!r})"
        for setting, allowed in _ALLOWED.items():
            if getattr(self, setting) not in allowed:
                raise ConfigurationError(where, f"{setting} is one of {allowed}; given: {getattr(self, setting)!r}.", "correct it.")
        lag: Any = self.lag
        if lag is not None and not lag >= type(lag)():
            raise ConfigurationError(where, f"a lag is at least 0; given: {lag!r}.", "correct it.")

    def watermark(self, path: str) -> str:
        """Name of the watermark of a path."""
        return f"{path} by {self.name or self.field}"

    def bound(self, committed: Value | None, where: str) -> Mapping[str, str | int]:
        """The parameter that carries the lower bound; nothing where there is none.

        Raises:
            ConfigurationError: The lag is of another kind than the watermark.
            SourceFormatError: The watermark is of another kind than it is said to be.
        """
        if committed is None:
            return {} if self.start is None else {self.parameter: self.start}
        text = str(committed)
        if self.lag is None:
            return {self.parameter: text}
        try:
            return {self.parameter: _as_written(_comparable(text, self.kind, where) - self.lag, text)}
        except TypeError as error:
            raise ConfigurationError(
                where, f"a lag of {self.lag!r} cannot be taken off {text!r}.", "give a timedelta for times, a number for numbers."
            ) from error
        except OverflowError:
            return {}


class Highest:
    """The highest value among the records that were looked at, and the committed one.

    Args:
        incremental: What is looked for.
        committed: The watermark of the last committed load.
        where: Its name.
    """

    def __init__(self, incremental: IncrementalParameter, committed: Value | None, where: str) -> None:
        self._incremental = incremental
        self._where = where
        self._found = None if committed is None else (_comparable(str(committed), incremental.kind, where), str(committed))

    @property
    def text(self) -> str | None:
        """The value as the API wrote it; None before the first one."""
        return None if self._found is None else self._found[1]

    def look_at(self, records: Sequence[Mapping[str, Any]], positions: Sequence[str]) -> None:
        """Take the records into account.

        Raises:
            SourceFormatError: A record has no value, one of another kind, or one that has no order with the others.
        """
        incremental = self._incremental
        for record, place in zip(records, positions, strict=True):
            value = select(record, incremental.field)
            if value is None:
                if incremental.nulls == "fail":
                    raise SourceFormatError(
                        place, f"the record has no {incremental.field!r}, so no watermark reaches it.",
                        'correct the field of the incremental, or say nulls="skip".',
                    )  # fmt: skip
                continue
            if isinstance(value, bool | Mapping | list):
                raise SourceFormatError(
                    place, f"{incremental.field!r} leads to {str(value)[:80]!r}, which has no order.",
                    "correct the field of the incremental.",
                )  # fmt: skip
            found = _comparable(str(value), incremental.kind, place)
            try:
                if self._found is None or found > self._found[0]:
                    self._found = (found, str(value))
            except TypeError as error:
                raise SourceFormatError(
                    place, f"{str(value)!r} cannot be compared with {self._found[1] if self._found else None!r}: one has a time zone.",
                    "report it to the owner of the API.",
                ) from error  # fmt: skip


def _comparable(text: str, kind: str, where: str) -> Any:
    try:
        if kind == "time":
            return datetime.datetime.fromisoformat(text)
        if kind == "number":
            number = Decimal(text)
            if not number.is_finite():
                raise ValueError(text)
            return number
    except (ValueError, InvalidOperation) as error:
        raise SourceFormatError(
            where, f"{text!r} is no {'time in ISO 8601' if kind == 'time' else 'number'}.", "correct the kind of the incremental."
        ) from error
    return text


def _as_written(value: Any, text: str) -> str:
    """A lowered watermark in the style of the one that the API wrote."""
    if not isinstance(value, datetime.datetime):
        return format(value, "f")
    if _DATE.fullmatch(text):
        return value.date().isoformat()
    written = value.isoformat(sep=" " if " " in text else "T")
    return f"{written.removesuffix('+00:00')}Z" if text.endswith("Z") else written


__all__ = ["Highest", "IncrementalParameter"]
