"""How people write numbers: decimal and thousands marks, accounting negatives, percent, currency; to plain text, exactly.

Not here: plain text to types (`conversion.py`), columns and frames (`cleaning.py`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from etl_assets.errors import ContractDefinitionError

_SPACES = " \u00a0\u202f\u2009"


@dataclass(frozen=True, kw_only=True)
class NumberNotation:
    """How the numbers of a column are written.

    Attributes:
        decimal: Mark before the decimals.
        thousands: Mark between groups of three digits; None for none. " " stands for any kind of space.
        negative: How a negative number may be written: "-5" always, and "(5)" or "5-" where named here.
        percent: The column holds percents: 12.5 and 12.5% both become 0.125.
        currency: Symbols that may stand before or after, such as ("EUR", "€"); they are taken off.
    """

    decimal: str = "."
    thousands: str | None = None
    negative: tuple[str, ...] = ()
    percent: bool = False
    currency: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        marks = [self.decimal] + ([] if self.thousands is None else [self.thousands])
        if any(len(mark) != 1 or mark.isdigit() or mark in "+-()%" for mark in marks) or len(set(marks)) < len(marks):
            raise ContractDefinitionError(
                "parse_numbers",
                f"decimal {self.decimal!r} and thousands {self.thousands!r} are not two marks.",
                'give them as in (",", ".").',
            )
        unknown = sorted(set(self.negative) - {"(5)", "5-"})
        if unknown:
            raise ContractDefinitionError("parse_numbers", f"negative {unknown} is unknown; known: '(5)', '5-'.", "correct it.")

    def parser(self) -> Callable[[str], str | None]:
        """A function from a number in this notation to plain text such as "-1234.50"; None for what is none."""
        thousands = None if self.thousands is None else (f"[{_SPACES}]" if self.thousands == " " else re.escape(self.thousands))
        whole = r"[0-9]+" if thousands is None else rf"[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+|[0-9]+"
        number = re.compile(rf"({whole})?(?:{re.escape(self.decimal)}([0-9]+))?")
        symbols = sorted(self.currency, key=len, reverse=True)

        def parse(text: str) -> str | None:
            rest, negative = self._sign(text.strip(_SPACES))
            for symbol in symbols:
                if rest.startswith(symbol) or rest.endswith(symbol):
                    rest = (rest[len(symbol) :] if rest.startswith(symbol) else rest[: -len(symbol)]).strip(_SPACES)
                    break
            if self.percent and rest.endswith("%"):
                rest = rest[:-1].rstrip(_SPACES)
            if not negative:  # the sign may stand behind the symbol: "€ -5"
                rest, negative = self._sign(rest)
            found = number.fullmatch(rest)
            if found is None or (found[1] is None and found[2] is None):
                return None
            digits = re.sub(r"[^0-9]", "", found[1] or "0")
            plain = f"{'-' if negative else ''}{digits}" + (f".{found[2]}" if found[2] is not None else "")
            return format(Decimal(plain).scaleb(-2), "f") if self.percent else plain

        return parse

    def _sign(self, text: str) -> tuple[str, bool]:
        """The text without its sign, and whether that was a minus."""
        if "(5)" in self.negative and text.startswith("(") and text.endswith(")"):
            return text[1:-1].strip(_SPACES), True
        if "5-" in self.negative and text.endswith("-"):
            return text[:-1].rstrip(_SPACES), True
        if text.startswith(("-", "\u2212")):
            return text[1:].lstrip(_SPACES), True
        return (text[1:].lstrip(_SPACES), False) if text.startswith("+") else (text, False)


__all__ = ["NumberNotation"]
