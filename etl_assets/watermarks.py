"""Watermarks: how far a source has been read, kept in `etl.watermarks` and committed with the rows.

A watermark is named after what was read ("orders by updated_at", "planes.json of N10156", "sha256:..." of a file), its value is the
highest one loaded. Connectors ask for the committed one and report the one they reached, through the account of the asset.

Belongs here: the value, and its text form. Not here: which rows lie above it (`connectors/incremental.py`), its table (`loading/`).
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum

from etl_assets.errors import SourceFormatError

Value = int | float | Decimal | str | datetime.date | datetime.datetime


class Unknown(Enum):
    """There is no telling which value it was."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """How far one source has been read.

    Attributes:
        source: What was read; one asset keeps one watermark per source.
        value: The highest value loaded.
        started_from: The committed value that the read started above, None for none; UNKNOWN where nobody knows.
    """

    source: str
    value: Value
    started_from: Value | Unknown | None = UNKNOWN


# The order matters: a datetime is a date too, and a bool would be an int.
_READERS: dict[str, Callable[[str], Value]] = {
    "timestamp": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "integer": int,
    "decimal": Decimal,
    "float": float,
    "text": str,
}
_KINDS: tuple[tuple[type, str], ...] = (
    (datetime.datetime, "timestamp"), (datetime.date, "date"), (int, "integer"), (Decimal, "decimal"), (float, "float"), (str, "text"),
)  # fmt: skip


def to_text(watermark: Watermark) -> tuple[str, str]:
    """Kind and text of the value, which `from_text` reads back to an equal value.

    Raises:
        SourceFormatError: The value is of a kind that has no order or no exact text, such as bytes.
    """
    value = watermark.value
    for type_, kind in _KINDS:
        if isinstance(value, type_) and _is_exact(value):
            if isinstance(value, datetime.date):
                return kind, value.isoformat()
            return kind, float.__repr__(value) if isinstance(value, float) else str(value)
    raise SourceFormatError(
        watermark.source,
        f"{str(value)[:80]!r} ({type(value).__name__}) cannot be a watermark; allowed: {', '.join(_READERS)}.",
        "choose another column, or cast it in a query.",
    )


def _is_exact(value: Value) -> bool:
    """Whether the value has an order, and its text every digit: a boolean and NaN have none, nanoseconds would be cut."""
    if isinstance(value, bool) or (isinstance(value, Decimal) and value.is_nan()):
        return False
    return value == value and not getattr(value, "nanosecond", 0)


def from_text(source: str, kind: str, text: str) -> Watermark:
    """The watermark whose text form this is.

    Raises:
        SourceFormatError: Unknown kind, or a text of another form: the row was changed by hand.
    """
    try:
        return Watermark(source=source, value=_READERS[kind](text))
    except (KeyError, ValueError, InvalidOperation) as error:
        raise SourceFormatError(
            source, f"its watermark in etl.watermarks cannot be read (kind {kind!r}, value {text!r}).", "correct that row, or delete it."
        ) from error


__all__ = ["UNKNOWN", "Unknown", "Value", "Watermark", "from_text", "to_text"]
