"""Numbers as people write them, to plain text."""

import pandas as pd
import pytest

from etl_assets.cleaning import parse_dates, parse_numbers
from etl_assets.conversion import Unconverted, convert, exact_decimal, floating, integer, text
from etl_assets.errors import ContractDefinitionError
from etl_assets.frames import TEXT
from etl_assets.notations import NumberNotation

GERMAN = NumberNotation(decimal=",", thousands=".", currency=("€", "EUR"), negative=("5-",))
ACCOUNTING = NumberNotation(thousands=",", negative=("(5)",), currency=("$",))
PERCENT = NumberNotation(percent=True)
FRENCH = NumberNotation(decimal=",", thousands=" ")


@pytest.mark.parametrize(
    ("notation", "written", "plain"),
    [
        (GERMAN, "1.234.567,80", "1234567.80"),
        (GERMAN, "1234567,80", "1234567.80"),
        (GERMAN, ",5", "0.5"),
        (GERMAN, "12", "12"),
        (GERMAN, "1.234,50 €", "1234.50"),
        (GERMAN, "EUR -5", "-5"),
        (GERMAN, "1.234,50-", "-1234.50"),
        (GERMAN, "1.5", None),  # a group has three digits, and the decimal mark is a comma
        (GERMAN, "12.34.567", None),
        (GERMAN, "1234.567", None),
        (GERMAN, "1,5,5", None),
        (GERMAN, "1.234,", None),
        (GERMAN, "", None),
        (GERMAN, "€", None),
        (GERMAN, "--5", None),
        (GERMAN, "5 USD", None),
        (ACCOUNTING, "(1,234.50)", "-1234.50"),
        (ACCOUNTING, "($1,234.50)", "-1234.50"),
        (ACCOUNTING, "$(12)", "-12"),
        (ACCOUNTING, "-1,234", "-1234"),
        (ACCOUNTING, "(5", None),
        (ACCOUNTING, "(-5)", None),
        (ACCOUNTING, "-(5)", None),
        (ACCOUNTING, "12-", None),
        (PERCENT, "12.5%", "0.125"),
        (PERCENT, "12.5 %", "0.125"),
        (PERCENT, "-100%", "-1.00"),
        (PERCENT, "0.0001", "0.000001"),
        (FRENCH, "1 234,5", "1234.5"),
        (FRENCH, "1\u202f234,5", "1234.5"),
        (FRENCH, "1\u00a0234\u00a0567", "1234567"),
        (NumberNotation(), "\u22125", "-5"),
        (NumberNotation(), "00501", "00501"),
        (NumberNotation(), "9007199254740993.1", "9007199254740993.1"),
        (NumberNotation(), "1e5", None),
        (NumberNotation(), "\u0665", None),  # digits of another script
    ],
)
def test_notation(notation: NumberNotation, written: str, plain: str | None) -> None:
    """A number becomes plain text digit for digit; what is no number of the notation becomes nothing."""
    assert notation.parser()(written) == plain


def test_text_in_another_notation_stays_and_no_type_takes_it() -> None:
    """What the notation refuses keeps its text and converts to no type, even where plain rules would take it."""
    frame = pd.DataFrame({"x": pd.array(["1,5", "1.5", None, "n/a"], dtype=TEXT)})
    done = parse_numbers("x", notation=GERMAN)(frame)["x"]
    assert done.tolist()[:2] == ["1.5", "1.5"]
    assert [type(value) is Unconverted for value in done] == [False, True, False, True]
    for target in (exact_decimal(4, 2), floating(), integer(), text()):
        assert convert(done, target).failed.tolist()[1:] == [True, False, True]


def test_a_clean_column_stays_text() -> None:
    """Where every cell is a number the column keeps its fast text dtype."""
    frame = pd.DataFrame({"x": pd.array(["1,5", None], dtype=TEXT)})
    assert parse_numbers("x", notation=GERMAN)(frame)["x"].dtype == TEXT


def test_numbers_stay_as_they_are() -> None:
    """Values that are numbers already are left alone."""
    frame = pd.DataFrame({"x": pd.Series([1, "2,5"], dtype=object)})
    assert parse_numbers("x", notation=GERMAN)(frame)["x"].tolist() == [1, "2.5"]


def test_a_date_in_another_format_fails_even_in_iso() -> None:
    """A column of declared dates takes no date written otherwise."""
    frame = pd.DataFrame({"x": pd.array(["01/02/2026", "2026-01-02"], dtype=TEXT)})
    assert [type(value).__name__ for value in parse_dates("x", "%m/%d/%Y")(frame)["x"]] == ["date", "Unconverted"]


@pytest.mark.parametrize("options", [{"decimal": ",", "thousands": ","}, {"decimal": "5"}, {"thousands": ""}, {"negative": ("5",)}])
def test_a_notation_that_contradicts_itself_is_refused(options: dict[str, object]) -> None:
    """Marks must be two different characters, and negatives of a known form."""
    with pytest.raises(ContractDefinitionError):
        NumberNotation(**options)  # type: ignore[arg-type]
