"""Cleaning steps on names, text, types, missing values and outliers: what they do, and what they never do."""

import datetime
from decimal import Decimal
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest

from etl_assets.accounting import StepReport, open_account
from etl_assets.cleaning import (
    Step,
    apply_to,
    as_type,
    change_case,
    clean,
    derive,
    derive_by_row,
    drop_missing,
    drop_rows,
    fill_by_group,
    fill_forward,
    fill_missing,
    map_values,
    mask,
    normalise_text,
    outliers,
    parse_booleans,
    parse_dates,
    parse_times,
    pseudonymise,
    snake_case_names,
    trim,
)
from etl_assets.cleaning.columns import snake_cased
from etl_assets.conversion import Unconverted, convert, integer
from etl_assets.errors import CleaningError, ContractDefinitionError
from etl_assets.frames import TEXT

KEY = "a key of enough characters"


def text(*cells: str | None) -> "pd.Series[Any]":
    """A column of text under labels that do not start at zero."""
    return pd.Series(pd.array(list(cells), dtype=TEXT), index=range(7, 7 + len(cells)))


def column(step: Step, values: "pd.Series[Any]", **others: "pd.Series[Any]") -> list[Any]:
    """Column x after a step, None for NULL."""
    done = step(pd.DataFrame({"x": values, **others}))["x"]
    return [None if gone else value for value, gone in zip(done, done.isna(), strict=True)]


def report(step: Step, frame: pd.DataFrame) -> StepReport:
    """What a step reports."""
    with open_account() as account:
        step(frame)
    return account.steps[0]


# -- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["First Name", "lastName", "HTTPStatus", "a-b", " x ", "x1Y2"], ["first_name", "last_name", "http_status", "a_b", "x", "x1_y2"]),
        (["2013", "%", "", "Größe (cm)"], ["_2013", "column_bbf3f11c", "column_e3b0c442", "größe_cm"]),
        (["already_fine", "source_position"], ["already_fine", "source_position"]),
        (["a b", "a_b"], ["a_b_c8687a08", "a_b"]),
    ],
)  # fmt: skip
def test_names_in_snake_case(given: list[str], named: list[str]) -> None:
    """Names become snake_case; of names that clash one that was so already stays, the others end with a hash of their own."""
    assert snake_cased(given) == named


@hypothesis.given(st.lists(st.text(max_size=120), max_size=12, unique=True))
def test_names_are_distinct_short_and_stable(names: list[str]) -> None:
    """Whatever the names, they stay distinct, fit into 63 bytes, and a second run changes nothing."""
    once = snake_cased(names)
    assert len(set(once)) == len(names)
    assert all(0 < len(name.encode()) <= 63 for name in once)
    assert snake_cased(once) == once


def test_long_names_are_cut_at_a_character() -> None:
    """A name of 63 characters but more bytes is cut where a character ends."""
    (name,) = snake_cased(["ä" * 60])
    assert (len(name.encode()) <= 63, name[:3]) == (True, "äää")


def test_changed_names_are_reported() -> None:
    """The report tells which name became which."""
    assert report(snake_case_names(), pd.DataFrame({"A b": ["1"], "c": ["2"]})).notes == "A b -> a_b"


# -- text ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        (change_case("x", to="lower"), ["ÄB", None], ["äb", None]),
        (change_case("x", to="upper"), ["äb", None], ["ÄB", None]),
        (change_case("x", to="title"), ["new york", None], ["New York", None]),
        (normalise_text("x"), ["e\u0301", "a\x00b\x07", "a\tb\r\n", None], ["é", "ab", "a\tb\r\n", None]),
        (normalise_text("x", form="NFKC"), ["ﬁ\u00a0x"], ["fi x"]),
        (normalise_text("x", remove_control=False), ["a\x00b"], ["a\x00b"]),
        (map_values("x", {"a": "A"}, unmapped="null"), ["a", "A", "b", None], ["A", "A", None, None]),
        (mask("x", keep_last=4), ["4111111111111111", "123", "", None], ["*" * 12 + "1111", "***", "", None]),
        (mask("x"), ["abc"], ["***"]),
    ],
)
def test_text_steps(step: Step, before: list[str | None], after: list[str | None]) -> None:
    """A step on text changes text, and NULL stays NULL."""
    assert column(step, text(*before)) == after


def test_pseudonyms() -> None:
    """Equal texts have equal pseudonyms under one key, and others under another."""
    first, again, other = column(pseudonymise("x", key=KEY), text("ann", "ann", "bob"))
    (elsewhere,) = column(pseudonymise("x", key=KEY + "!"), text("ann"))
    assert (first == again, first == other, first == elsewhere, len(first)) == (True, False, False, 32)


@pytest.mark.parametrize("step", [mask("x"), pseudonymise("x", key=KEY)], ids=["mask", "pseudonymise"])
def test_what_is_hidden_stands_in_no_report(step: Step) -> None:
    """The report of a step that hides values shows neither the values nor the key, but how many were hidden."""
    found = report(step, pd.DataFrame({"x": ["secret value"]}))
    shown = repr(found)
    assert "secret value" not in shown
    assert KEY not in shown
    assert found.cells_changed == 1


def test_unmapped_values_are_reported() -> None:
    """The report counts the values that the map does not name, the most frequent first."""
    frame = pd.DataFrame({"x": ["a", "b", "c", "c", None, "A"]})
    assert report(map_values("x", {"a": "A"}), frame).notes == "2 values not in the map: 'c' 2 times, 'b' 1 times"


def test_unmapped_values_are_refused() -> None:
    """Where other values are refused they keep their text, and no type takes them."""
    done = map_values("x", {"1": "2"}, unmapped="refuse")(pd.DataFrame({"x": text("1", "3", None)}))["x"]
    assert convert(done, integer()).failed.tolist() == [False, True, False]


def test_text_that_a_notation_refused_stays_refused() -> None:
    """A later step on text does not make refused text acceptable again."""
    steps = [parse_dates("x", "%m/%d/%Y"), trim("x"), change_case("x", to="upper"), normalise_text("x")]
    done = clean(pd.DataFrame({"x": text("2026-01-02")}), steps)["x"]
    assert isinstance(done.iloc[0], Unconverted)


# -- types --------------------------------------------------------------------------------------------------------------

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("written", "zone", "ambiguous", "instant"),
    [
        ("01.07.2026 12:00", "Europe/Berlin", "refuse", datetime.datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("25.10.2026 02:30", "Europe/Berlin", "refuse", None),  # clocks go back from 3 to 2
        ("25.10.2026 02:30", "Europe/Berlin", "first", datetime.datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("25.10.2026 02:30", "Europe/Berlin", "second", datetime.datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        ("29.03.2026 02:30", "Europe/Berlin", "first", None),  # clocks go forward from 2 to 3
        ("31.12.9999 23:59", None, "refuse", datetime.datetime(9999, 12, 31, 23, 59)),
        ("31.12.9999 23:59", "America/New_York", "refuse", None),  # year 10000 in UTC
        ("2026-07-01 12:00", "Europe/Berlin", "refuse", None),
    ],
)
def test_times(written: str, zone: str | None, ambiguous: Any, instant: datetime.datetime | None) -> None:
    """A local time becomes its instant; the repeated hour as declared, the hour left out never."""
    (done,) = column(parse_times("x", "%d.%m.%Y %H:%M", zone=zone, ambiguous=ambiguous), text(written))
    assert (done if instant is not None else type(done)) == (instant if instant is not None else Unconverted)


def test_times_with_their_own_offset() -> None:
    """A text with an offset is an instant without a declared zone."""
    assert column(parse_times("x", "%Y-%m-%d %H:%M %z", zone=None), text("2026-01-01 12:00 +0200")) == [
        datetime.datetime(2026, 1, 1, 10, tzinfo=UTC)
    ]


def test_booleans() -> None:
    """Declared texts are true and false, others keep their text."""
    done = column(parse_booleans("x", true=["Y", "1"], false=["N"]), text("Y", "1", "N", "y", None))
    assert (done, type(done[3])) == ([True, True, False, "y", None], Unconverted)


@pytest.mark.parametrize(
    ("type_", "cells", "values"),
    [
        ("integer", ["1", None], [1, None]),
        ("decimal(6,2)", ["1.5", None], [Decimal("1.50"), None]),
        ("float", ["1.5"], [1.5]),
        ("date", ["9999-12-31"], [datetime.date(9999, 12, 31)]),
        ("boolean", ["true"], [True]),
        ("integer", ["12345678901234567890"], ["12345678901234567890"]),  # more than 64 bits keeps its text
        ("integer", ["1", "x"], [1, "x"]),
    ],
)
def test_as_type(type_: str, cells: list[str | None], values: list[Any]) -> None:
    """Plain text becomes values of the type; what does not fit keeps its text."""
    assert column(as_type("x", type=type_), text(*cells)) == values


def test_refused_cells_are_counted() -> None:
    """The report says how many cells are not written as declared."""
    assert report(parse_dates("x", "%d.%m.%Y"), pd.DataFrame({"x": text("1.1.2026", "x", "y", None)})).notes == "2 of x kept their text"


# -- missing values -----------------------------------------------------------------------------------------------------


def test_fill_missing() -> None:
    """NULL becomes the constant, in text as text."""
    done = fill_missing({"x": "0", "y": "?"})(pd.DataFrame({"x": text("1", None), "y": text(None, "b")}))
    assert done.to_numpy().tolist() == [["1", "?"], ["0", "b"]]


def test_drop_missing_is_accounted_for() -> None:
    """Rows without a value are dropped, by name and number."""
    found = report(drop_missing("x", "y"), pd.DataFrame({"x": text("1", None, "3"), "y": text("a", "b", None)}))
    assert (found.step, found.rows_in - found.rows_out) == ("drop rows without x or y", 2)


def test_fill_forward_keeps_to_its_order_and_its_group() -> None:
    """A gap takes the value before it in the declared order, never one of another group; rows keep their places."""
    frame = pd.DataFrame(
        {"x": text(None, "b", None, "d", None), "day": text("2", "1", "1", "3", "2"), "shop": text("A", "A", "B", "B", None)}
    )
    assert fill_forward("x", order_by=["day"], within=["shop"])(frame)["x"].fillna("-").tolist() == ["b", "b", "-", "d", "-"]
    assert fill_forward("x", order_by=["day"])(frame)["x"].fillna("-").tolist() == ["b", "b", "b", "d", "b"]


@pytest.mark.parametrize(
    ("statistic", "values", "filled"),
    [
        ("mean", [1.0, None, 4.0], 2.5),
        ("median", [1.0, None, 4.0, 10.0], 4.0),
        ("min", [1.0, None, 4.0], 1.0),
        ("max", [1.0, None, 4.0], 4.0),
        ("mode", [4.0, None, 4.0, 1.0], 4.0),
        ("mean", [1, None, 2], 1.5),
        ("mode", ["b", None, "b", "a"], "b"),
        ("mode", ["b", None, "a"], "a"),  # as frequent: the first in order
    ],
)
def test_fill_by_group(statistic: Any, values: list[Any], filled: Any) -> None:
    """A gap takes the statistic of its own group; other groups do not count."""
    kinds: dict[type, Any] = {float: "float64", int: "Int64", str: TEXT}
    dtype = kinds[type(values[0])]
    frame = pd.DataFrame({"x": pd.Series([*values, values[0], None], dtype=dtype), "g": ["a"] * len(values) + ["b", None]})
    done = fill_by_group("x", by=["g"], statistic=statistic)(frame)["x"]
    assert (done.iloc[1], done.isna().tolist()[-1]) == (filled, True)


def test_a_group_without_values_stays_null() -> None:
    """Nothing is made up for a group that has no value."""
    frame = pd.DataFrame({"x": pd.Series([None, 1.0]), "g": ["a", "b"]})
    assert fill_by_group("x", by=["g"], statistic="mean")(frame)["x"].isna().tolist() == [True, False]


def test_a_statistic_of_text_says_what_to_do() -> None:
    """A mean of text is an error that names the step before."""
    with pytest.raises(CleaningError, match=r"as_type\('x', type='float'\)"):
        fill_by_group("x", by=["g"], statistic="mean")(pd.DataFrame({"x": text("1", None), "g": text("a", "a")}))


# -- outliers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "cells", "values"),
    [
        (outliers("x", low=0, high=100, action="null"), text("1", "-1", "101", None, "n"), ["1", None, None, None, "n"]),
        (outliers("x", high=100, action="clip"), text("1", "101.5"), ["1", "100"]),
        (outliers("x", low=0), text("1", "-1"), ["1", "-1"]),
        (outliers("x", low=Decimal("0.5"), action="clip"), pd.Series([Decimal("0.1"), None], dtype=object), [Decimal("0.5"), None]),
        (outliers("x", spread=1.5, action="null"), pd.Series([1.0, 2.0, 3.0, 4.0, 100.0]), [1.0, 2.0, 3.0, 4.0, None]),
        (outliers("x", spread=1.5), pd.Series([], dtype="float64"), []),
        (outliers("x", high=5, action="clip"), pd.Series([1, 9], dtype="Int64"), [1, 5]),
    ],
)
def test_outliers(step: Step, cells: "pd.Series[Any]", values: list[Any]) -> None:
    """Numbers too far out are treated as declared; NULL and what is no number are left alone."""
    assert column(step, cells) == values


def test_a_refused_outlier_goes_to_the_quarantine() -> None:
    """A refused number keeps its value as text, and no type takes it."""
    done = outliers("x", high=100)(pd.DataFrame({"x": text("1", "101")}))["x"]
    assert convert(done, integer()).failed.tolist() == [False, True]


def test_the_bounds_are_reported() -> None:
    """The report tells the bounds, which may depend on the rows."""
    assert report(outliers("x", spread=1.5), pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})).notes == "allowed: -0.5 to 5.5"


# -- functions of your own ----------------------------------------------------------------------------------------------


def scaled(values: "pd.Series[float]", factor: float) -> "pd.Series[float]":
    """A function with a parameter."""
    return values * factor


def test_a_function_on_a_column() -> None:
    """A function gets the column and its parameters, which the name of the step shows."""
    step = apply_to("x", function=scaled, factor=2)
    assert (step.name, column(step, pd.Series([1.0, 2.0]))) == ("scaled(factor=2) on x", [2.0, 4.0])


def test_a_function_by_row() -> None:
    """A function gets each row, NULL as None, and returns a value."""
    step = derive_by_row("x", lambda row: None if row["a"] is None else row["a"] + row["b"], named="sum")
    assert column(step, pd.Series([0, 0]), a=pd.Series([1, None], dtype="Int64"), b=pd.Series([2, 3])) == [3, None]


FAILING: list[Step] = [
    derive("y", lambda frame: frame["x"].map(int), named="whole"),
    apply_to("x", function=lambda values: values.map(int), named="whole"),
    derive_by_row("y", lambda row: int(row["x"]), named="whole"),
    drop_rows("too small", lambda frame: frame["x"].map(int) < 0),
]


@pytest.mark.parametrize("step", FAILING, ids=lambda step: step.name)
def test_the_first_failing_row_is_named(step: Step) -> None:
    """An error in a user's function names the step, the error and the first row it fails for."""
    frame = pd.DataFrame(
        {"x": text("1", "2", "three", "4", "five"), "source_position": [f"a.csv line {n}" for n in range(2, 7)]}, index=range(7, 12)
    )
    with pytest.raises(CleaningError, match=r"invalid literal.*'three'.*at a\.csv line 4") as caught:
        step(frame)
    assert step.name in str(caught.value)


def test_without_a_position_the_number_of_the_row_is_named() -> None:
    """A frame without positions has numbers, counted from 1."""
    with pytest.raises(CleaningError, match="at row 2"):
        derive("y", lambda frame: frame["x"].map(int))(pd.DataFrame({"x": ["1", "x"]}))


def test_a_failure_of_no_single_row_names_none() -> None:
    """What fails for all rows together and for none alone is said without a row."""

    def refuse(frame: pd.DataFrame) -> Any:
        if len(frame) > 1:
            raise ValueError("too many")
        return frame["x"]

    with pytest.raises(CleaningError, match=r"\(too many\)\."):
        derive("y", refuse)(pd.DataFrame({"x": ["1", "2"]}))


# -- what holds for every step ------------------------------------------------------------------------------------------

STEPS: list[Step] = [
    trim("x"), change_case("x", to="upper"), normalise_text("x"), map_values("x", {"1": "one"}),
    map_values("x", {"1": "2"}, unmapped="refuse"),
    map_values("x", {"1": "2"}, unmapped="null"), mask("x", keep_last=2), pseudonymise("x", key=KEY), as_type("x", type="integer"),
    as_type("x", type="date"), parse_dates("x", "%d.%m.%Y"), parse_booleans("x", true=["1"], false=["0"]), fill_missing({"x": "9"}),
    fill_forward("x", order_by=["g"]), fill_by_group("x", by=["g"], statistic="mode"), outliers("x", low=0, high=5),
    outliers("x", low=0, high=5, action="null"), outliers("x", spread=1.5, action="clip"), drop_missing("x"), snake_case_names(),
    derive("y", lambda frame: frame["x"]), derive_by_row("y", lambda row: row["x"]),
]  # fmt: skip
CELLS = st.one_of(
    st.none(), st.sampled_from(["1", "-7", "12.5", "1e400", "31.12.2026", " a ", "", "NaN", "x" * 70, "\x00"]), st.text(max_size=5)
)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    cells=st.lists(st.tuples(CELLS, st.sampled_from(["a", "b", None])), max_size=12),
    steps=st.lists(st.sampled_from(STEPS), max_size=5),
    seed=st.integers(0, 5),
)
def test_rows_are_accounted_for(cells: list[tuple[str | None, str | None]], steps: list[Step], seed: int) -> None:
    """Whatever the frame and the steps: rows in = rows out + rows dropped by name, labels and positions stay together, the input stays."""
    frame = pd.DataFrame(
        {
            "x": pd.array([cell for cell, _ in cells], dtype=TEXT),
            "g": pd.array([group for _, group in cells], dtype=TEXT),
            "source_position": pd.array([f"line {place}" for place in range(len(cells))], dtype=TEXT),
        },
        index=np.random.default_rng(seed).integers(0, 3, len(cells)),
    )
    before = frame.copy(deep=True)
    with open_account() as account:
        try:
            done = clean(frame, steps)
        except CleaningError:
            hypothesis.reject()
    assert len(done) == len(frame) - account.rows_dropped
    pd.testing.assert_frame_equal(frame, before)
    places = [int(position.removeprefix("line ")) for position in done["source_position"]]
    assert places == sorted(set(places))
    assert done.index.tolist() == frame.index[places].tolist()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_frame_without_rows(step: Step) -> None:
    """Every step takes a frame without rows."""
    assert len(step(pd.DataFrame({"x": text(), "g": text()}))) == 0


@pytest.mark.parametrize(
    "define",
    [
        lambda: change_case("x", to="snake"),  # type: ignore[arg-type]
        lambda: map_values("x", {}, unmapped="drop"),  # type: ignore[arg-type]
        lambda: mask("x", keep_last=-1),
        lambda: pseudonymise("x", key="short"),
        lambda: as_type("x", type="number"),
        lambda: parse_times("x", "%d.%m.%Y", zone=None),
        lambda: parse_times("x", "%d.%m.%Y %H", zone="Europe/Bärlin"),
        lambda: parse_times("x", "%d.%m.%Y %H %z", zone="Europe/Berlin"),
        lambda: parse_booleans("x", true=["1"], false=["1"]),
        lambda: drop_missing(),
        lambda: fill_forward("x", order_by=[]),
        lambda: fill_by_group("x", by=[], statistic="mean"),
        lambda: fill_by_group("x", by=["g"], statistic="sum"),  # type: ignore[arg-type]
        lambda: outliers("x"),
        lambda: outliers("x", low=1, spread=1.5),
        lambda: outliers("x", low=1, action="drop"),  # type: ignore[arg-type]
        lambda: apply_to(function=scaled),
    ],
)
def test_a_step_that_cannot_work_fails_where_it_is_defined(define: Any) -> None:
    """What is declared in a way that cannot work is refused before any row."""
    with pytest.raises(ContractDefinitionError):
        define()
