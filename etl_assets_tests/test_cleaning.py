"""Cleaning steps: what each does to a frame, that it leaves its input alone, and what it reports."""

import datetime
import logging
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from etl_assets.accounting import Account, Change, StepReport, open_account, record_read, record_step
from etl_assets.cleaning import (
    Step,
    apply,
    clean,
    deduplicate,
    derive,
    drop_rows,
    map_values,
    null_markers,
    parse_dates,
    rename,
    select,
    trim,
)
from etl_assets.errors import CleaningError, ContractDefinitionError

FIRST_OF_MAY = datetime.date(2013, 5, 1)
Cells = dict[str, list[Any]]


def frame_of(cells: Cells) -> pd.DataFrame:
    """A frame under labels that repeat and do not start at zero, as they are after rows were dropped."""
    frame = pd.DataFrame(cells)
    return frame.set_axis([5, *range(5, 4 + len(frame))][: len(frame)])


def cells_of(frame: pd.DataFrame) -> Cells:
    """The cells of each column, None for every kind of NULL."""
    return {str(name): [None if missing else cell for cell, missing in zip(frame[name], frame[name].isna(), strict=True)] for name in frame}


def labels(frame: pd.DataFrame) -> "pd.Series[Any]":
    """One text per row, from two columns."""
    return frame["a"] + "-" + frame["b"]


def upper(frame: pd.DataFrame) -> pd.DataFrame:
    """A new frame with a column in capitals."""
    return frame.assign(a=frame["a"].str.upper())


# Step, cells before, cells after, cells changed.
KEEPING: list[tuple[Step, Cells, Cells, int]] = [
    (rename({"a": "x"}), {"a": ["1"], "b": ["2"]}, {"x": ["1"], "b": ["2"]}, 0),
    (rename({}), {"a": ["1"]}, {"a": ["1"]}, 0),
    # both columns hold other values afterwards: 2 x 1 cells
    (rename({"a": "b", "b": "a"}), {"a": ["1"], "b": ["2"]}, {"b": ["1"], "a": ["2"]}, 2),
    (select("b", "a"), {"a": ["1"], "b": ["2"], "c": ["3"]}, {"b": ["2"], "a": ["1"]}, 0),
    (select("a"), {"source_position": ["line 2"], "a": ["1"]}, {"a": ["1"], "source_position": ["line 2"]}, 0),
    (select("source_position", "a"), {"a": ["1"], "source_position": ["line 2"]}, {"source_position": ["line 2"], "a": ["1"]}, 0),
    (null_markers("NA"), {"a": ["NA", "x", None], "b": ["1", "NA", "na"]}, {"a": [None, "x", None], "b": ["1", None, "na"]}, 2),
    (null_markers("NA", "", "-"), {"a": ["NA", "", "-", " -"]}, {"a": [None, None, None, " -"]}, 3),
    (null_markers("NA", columns=["a"]), {"a": ["NA"], "b": ["NA"]}, {"a": [None], "b": ["NA"]}, 1),
    (null_markers("NA"), {"a": [1, 2], "b": ["NA", "x"]}, {"a": [1, 2], "b": [None, "x"]}, 1),
    (null_markers(columns=["a"]), {"a": ["NA"]}, {"a": ["NA"]}, 0),
    (trim("a"), {"a": [" x", "x ", "\tx y\n", "x"], "b": [" x"] * 4}, {"a": ["x", "x", "x y", "x"], "b": [" x"] * 4}, 3),
    (trim("a", "b"), {"a": ["", "  ", None], "b": [" b", None, "b"]}, {"a": [None, None, None], "b": ["b", None, "b"]}, 3),
    (map_values("a", {"x": "X", "X": "y"}), {"a": ["x", "X", "z", None]}, {"a": ["X", "y", "z", None]}, 2),
    (map_values("a", {}), {"a": ["x", None]}, {"a": ["x", None]}, 0),
    # text becomes dates in a column of objects, where each value counts: 2 of 3 cells
    (parse_dates("a", "%m/%d/%Y"), {"a": ["05/01/2013", None, "5/1/13"]}, {"a": [FIRST_OF_MAY, None, "5/1/13"]}, 2),
    (parse_dates("a", "%d %B %Y"), {"a": ["1 May 2013", "31 June 2013"]}, {"a": [FIRST_OF_MAY, "31 June 2013"]}, 2),
    (parse_dates("a", "%m/%d/%y"), {"a": ["05/01/13"]}, {"a": [FIRST_OF_MAY]}, 1),
    (parse_dates("a", "%Y-%m-%d"), {"a": [FIRST_OF_MAY, "2013-05-01", 7]}, {"a": [FIRST_OF_MAY, FIRST_OF_MAY, 7]}, 1),
    (parse_dates("a", "%Y-%m-%d"), {"a": [None, None]}, {"a": [None, None]}, 0),
    (derive("c", labels), {"a": ["1", "2"], "b": ["x", None]}, {"a": ["1", "2"], "b": ["x", None], "c": ["1-x", None]}, 1),
    (derive("a", labels), {"a": ["1", "2"], "b": ["x", "y"]}, {"a": ["1-x", "2-y"], "b": ["x", "y"]}, 2),
    (derive("c", lambda frame: 7), {"a": ["1", "2"]}, {"a": ["1", "2"], "c": [7, 7]}, 2),
    (derive("c", lambda frame: np.arange(len(frame)) + 7), {"a": ["1", "2"]}, {"a": ["1", "2"], "c": [7, 8]}, 2),
    (apply(upper), {"a": ["x", "Y", None]}, {"a": ["X", "Y", None]}, 1),
    (apply(lambda frame: frame), {"a": ["x"]}, {"a": ["x"]}, 0),
]
# Step, cells before, cells after.
DROPPING: list[tuple[Step, Cells, Cells]] = [
    (drop_rows("cancelled", lambda rows: rows["a"] == "x"), {"a": ["x", "y", "x"]}, {"a": ["y"]}),
    (drop_rows("none", lambda rows: rows["a"] == "z"), {"a": ["x", "y"]}, {"a": ["x", "y"]}),
    (drop_rows("all", lambda rows: rows["a"].notna()), {"a": ["x", "y"]}, {"a": []}),
    # whether NULL is above 1 is unknown, so the row stays
    (drop_rows("above 1", lambda rows: rows["a"].astype("Int64") > 1), {"a": [1, None, 2]}, {"a": [1, None]}),
    (deduplicate(key=["k"], order_by=["n"]), {"k": ["a", "b", "a"], "n": [2, 1, 1]}, {"k": ["a", "b"], "n": [2, 1]}),
    (deduplicate(key=["k"], order_by=["n"], keep="first"), {"k": ["a", "b", "a"], "n": [2, 1, 1]}, {"k": ["b", "a"], "n": [1, 1]}),
    # equal in the declared order: the order of the rows decides
    (deduplicate(key=["k"], order_by=["n"]), {"k": ["a", "a"], "n": [1, 1], "v": ["x", "y"]}, {"k": ["a"], "n": [1], "v": ["y"]}),
    (deduplicate(key=["k"], order_by=["n", "v"]), {"k": ["a", "a"], "n": [1, 1], "v": ["y", "x"]}, {"k": ["a"], "n": [1], "v": ["y"]}),
    (
        deduplicate(key=["k", "l"], order_by=["n"]),
        {"k": ["a", "a", "a"], "l": ["x", "y", "x"], "n": [1, 2, 3]},
        {"k": ["a", "a"], "l": ["y", "x"], "n": [2, 3]},
    ),
    (deduplicate(key=["k"], order_by=["n"]), {"k": [None, None, "a", "a"], "n": [1, 2, 3, 4]}, {"k": [None, None, "a"], "n": [1, 2, 4]}),
    (
        deduplicate(key=["k", "l"], order_by=["n"]),
        {"k": ["a", "a"], "l": [None, None], "n": [1, 2]},
        {"k": ["a", "a"], "l": [None, None], "n": [1, 2]},
    ),
]
EVERY_STEP = [(step, before) for step, before, _, _ in KEEPING] + [(step, before) for step, before, _ in DROPPING]


def report_of(step: Step, frame: pd.DataFrame) -> StepReport:
    """What a step reported about one frame."""
    with open_account() as account:
        step(frame)
    assert len(account.steps) == 1
    return account.steps[0]


# -- what steps do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "before", "after"), [(step, before, after) for step, before, after, _ in KEEPING] + DROPPING)
def test_step_does_what_it_says(step: Step, before: Cells, after: Cells) -> None:
    """A step gives the columns and cells that its case declares, in their order."""
    assert list(cells_of(step(frame_of(before))).items()) == list(after.items())


@pytest.mark.parametrize(("step", "before"), EVERY_STEP)
def test_step_leaves_its_input(step: Step, before: Cells) -> None:
    """A step does not change the frame it was given."""
    given = frame_of(before)
    step(given)
    pd.testing.assert_frame_equal(given, frame_of(before))


@pytest.mark.parametrize(("step", "before"), EVERY_STEP)
def test_step_takes_a_frame_without_rows(step: Step, before: Cells) -> None:
    """A step gives a frame without rows for a frame without rows."""
    assert len(step(frame_of(before).iloc[:0])) == 0


@pytest.mark.parametrize(("step", "before"), [(step, before) for step, before, _, _ in KEEPING])
def test_exact_repeats_are_kept(step: Step, before: Cells) -> None:
    """Rows that repeat exactly are kept by every step that was not asked to drop any."""
    twice = pd.concat([frame_of(before), frame_of(before)])
    assert len(step(twice)) == len(twice)


def test_dropped_rows_leave_the_labels() -> None:
    """Rows that stay keep their index labels."""
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=[7, 8, 9])
    assert drop_rows("of two", lambda rows: rows["a"] == 2)(frame).index.tolist() == [7, 9]


def test_trim_keeps_what_is_no_text() -> None:
    """Values that are no text, such as dates parsed before, are kept by trim."""
    frame = pd.DataFrame({"a": pd.Series([" x ", 7, FIRST_OF_MAY, None], dtype=object)})
    assert cells_of(trim("a")(frame)) == {"a": ["x", 7, FIRST_OF_MAY, None]}


def test_clean_runs_steps_in_order() -> None:
    """Each step of `clean` sees the result of the one before."""
    assert cells_of(clean(frame_of({"a": [" NA "]}), [trim("a"), null_markers("NA"), rename({"a": "b"})])) == {"b": [None]}


def test_clean_without_steps() -> None:
    """Without steps the frame comes back as it was."""
    assert cells_of(clean(frame_of({"a": ["x"]}), [])) == {"a": ["x"]}


def test_steps_work_with_pipe() -> None:
    """A step is a function that pandas can pipe a frame through."""
    assert cells_of(frame_of({"a": ["NA"]}).pipe(null_markers("NA"))) == {"a": [None]}


@pytest.mark.parametrize(
    "function",
    [lambda frame: frame.reset_index(drop=True), lambda frame: frame.sort_values("a"), lambda frame: frame.set_index(pd.Index(["p", "q"]))],
    ids=["numbered anew", "sorted", "labelled"],
)
def test_apply_may_change_labels(function: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """A function of your own may number, label or sort the rows anew."""
    assert sorted(apply(function, named="mine")(pd.DataFrame({"a": ["y", "x"]}, index=[7, 9]))["a"]) == ["x", "y"]


def test_apply_of_a_function_that_changes_its_argument() -> None:
    """A function of your own that assigns into its argument does not change the frame given to the step."""

    def careless(frame: pd.DataFrame) -> pd.DataFrame:
        frame["a"] = "changed"
        return frame

    given = frame_of({"a": ["x"]})
    apply(careless)(given)
    assert cells_of(given) == {"a": ["x"]}


# -- what steps report ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "before", "changed"), [(step, before, changed) for step, before, _, changed in KEEPING])
def test_step_counts_changed_cells(step: Step, before: Cells, changed: int) -> None:
    """A step reports in how many cells a value differs afterwards."""
    assert report_of(step, frame_of(before)).cells_changed == changed


@pytest.mark.parametrize(
    ("step", "before", "rows_out"),
    [(step, before, len(next(iter(before.values())))) for step, before, _, _ in KEEPING]
    + [(step, before, len(next(iter(after.values())))) for step, before, after in DROPPING],
)
def test_step_counts_rows(step: Step, before: Cells, rows_out: int) -> None:
    """A step reports the rows it was given and the rows it returned."""
    report = report_of(step, frame_of(before))
    assert (report.rows_in, report.rows_out) == (len(next(iter(before.values()))), rows_out)


@pytest.mark.parametrize(
    ("step", "named"),
    [
        (rename({"a": "x"}), "rename a -> x"),
        (select("a", "b"), "select a, b"),
        (null_markers("NA", "-"), "null markers NA, -"),
        (trim("a", "b"), "trim a, b"),
        (map_values("a", {}), "map values of a"),
        (parse_dates("a", "%m/%d/%Y"), "parse dates of a as %m/%d/%Y"),
        (derive("c", labels), "derive c by labels"),
        (derive("c", lambda frame: 1, named="one"), "derive c by one"),
        (apply(upper), "upper"),
        (apply(lambda frame: frame, named="nothing"), "nothing"),
        (drop_rows("cancelled", lambda rows: rows["a"] == "x"), "drop rows: cancelled"),
        (deduplicate(key=["a"], order_by=["b"], keep="first"), "deduplicate on a, keep the first by b"),
    ],
)
def test_step_is_named(step: Step, named: str) -> None:
    """The report names the step and what it worked on."""
    assert report_of(step, frame_of({"a": ["x"], "b": ["y"]})).step == named


def test_samples_of_changes() -> None:
    """The report shows column, value before and value after of a changed cell."""
    report = report_of(map_values("a", {"x": "X"}), frame_of({"a": ["z", "x"]}))
    assert report.samples == (Change(column="a", before="x", after="X"),)


def test_samples_are_few() -> None:
    """Of many changed cells five are shown."""
    assert len(report_of(null_markers("NA"), frame_of({"a": ["NA"] * 5, "b": ["NA"] * 5})).samples) == 5


def test_seconds_are_reported() -> None:
    """The report says how long the step took."""
    assert report_of(trim("a"), frame_of({"a": ["x"]})).seconds > 0


@pytest.mark.parametrize(("step", "before", "after"), DROPPING)
def test_dropped_rows_are_accounted_for(step: Step, before: Cells, after: Cells) -> None:
    """Rows that a step drops by its rule are counted as dropped in the account."""
    with open_account() as account:
        step(frame_of(before))
    assert account.rows_dropped == len(next(iter(before.values()))) - len(next(iter(after.values())))


def test_account_sums_over_steps() -> None:
    """The account adds up what several steps dropped."""
    with open_account() as account:
        clean(
            frame_of({"a": ["1", "1", "2", "3"]}),
            [deduplicate(key=["a"], order_by=["a"]), drop_rows("three", lambda rows: rows["a"] == "3")],
        )
    assert account.rows_dropped == 2


def test_account_sums_over_reads() -> None:
    """The account adds up the rows that connectors read."""
    with open_account() as account:
        record_read("a.csv", 3)
        record_read("b.csv", 4)
    assert account.rows_read == 7


def test_reports_without_an_account_go_nowhere() -> None:
    """After an account is closed, nothing is added to it."""
    with open_account() as account:
        pass
    record_step(StepReport(step="late", rows_in=1, rows_out=0, cells_changed=0, seconds=0.0))
    assert account == Account()


def test_inner_account_has_its_own_steps() -> None:
    """An account opened inside another takes the reports made inside it."""
    with open_account() as outer, open_account():
        trim("a")(frame_of({"a": ["x"]}))
    assert outer.steps == []


def test_failed_step_is_not_reported() -> None:
    """A step that fails reports nothing."""
    with open_account() as account, pytest.raises(CleaningError):
        trim("b")(frame_of({"a": ["x"]}))
    assert account.steps == []


def test_step_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A step writes a log line with its name and counts."""
    with caplog.at_level(logging.INFO, logger="etl_assets.cleaning"):
        null_markers("NA")(frame_of({"a": ["NA", "x"]}))
    assert "null markers NA: 2 -> 2 rows, 1 cells changed" in caplog.text


# -- what steps refuse ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "lacking"),
    [
        (rename({"z": "x"}), "z"),
        (select("a", "z"), "z"),
        (null_markers("NA", columns=["z"]), "z"),
        (trim("z"), "z"),
        (map_values("z", {}), "z"),
        (parse_dates("z", "%Y-%m-%d"), "z"),
        (deduplicate(key=["z"], order_by=["a"]), "z"),
        (deduplicate(key=["a"], order_by=["z"]), "z"),
        (derive("c", lambda frame: frame["z"]), "z"),
        (drop_rows("z", lambda frame: frame["z"] == 1), "z"),
    ],
)
def test_missing_column_is_named(step: Step, lacking: str) -> None:
    """A step whose column is missing ends in an error that names step and column."""
    with pytest.raises(CleaningError, match=rf"step {step.name}: .*'{lacking}'"):
        step(frame_of({"a": ["x"]}))


@pytest.mark.parametrize(
    "step",
    [
        apply(lambda frame: frame.iloc[1:], named="rows vanish"),
        apply(lambda frame: frame.drop_duplicates(), named="repeats vanish"),
        apply(lambda frame: pd.concat([frame, frame]), named="rows appear"),
        apply(lambda frame: frame["a"], named="no frame"),  # type: ignore[arg-type, return-value]
        apply(lambda frame: None, named="nothing"),  # type: ignore[arg-type, return-value]
        apply(lambda frame: 1 / 0, named="division"),  # type: ignore[arg-type, return-value]
        derive("c", lambda frame: [1, 2, 3, 4], named="too many"),
        trim("n"),
        drop_rows("too few answers", lambda frame: frame["a"].iloc[:1] == "x"),
        Step(name="rows appear where they may vanish", function=lambda frame: pd.concat([frame, frame]), drops_rows=True),
    ],
    ids=lambda step: step.name,
)
def test_impossible_step_is_named(step: Step) -> None:
    """A step that raises, returns something else or loses rows it may not lose ends in an error that names it."""
    with pytest.raises(CleaningError, match=f"step {step.name}: "):
        step(pd.DataFrame({"a": ["x", "x"], "n": [1, 1]}))


def test_cause_is_kept() -> None:
    """The error of a step carries what its function raised."""
    with pytest.raises(CleaningError) as raised:
        apply(lambda frame: 1 / 0, named="division")(frame_of({"a": ["x"]}))  # type: ignore[arg-type, return-value]
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_repeated_columns_end_in_a_cleaning_error() -> None:
    """A step over a frame in which two columns have one name ends in an error that names the step."""
    with pytest.raises(CleaningError, match="step nothing"):
        apply(lambda frame: frame, named="nothing")(pd.DataFrame([["1", "2"]], columns=["a", "a"]))


@pytest.mark.parametrize("format", ["%Y-%m", "%d.%m.", "%Y %d", "2013-05-01", ""])
def test_incomplete_date_format_is_refused(format: str) -> None:
    """A format without year, month or day is refused when the step is declared."""
    with pytest.raises(ContractDefinitionError, match="lacks year, month or day"):
        parse_dates("a", format)


def test_deduplicate_needs_an_order() -> None:
    """Without an order there is no first or last row to keep, so the declaration is refused."""
    with pytest.raises(TypeError, match="order_by"):
        deduplicate(key=["a"])  # type: ignore[call-arg]


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("unknown", [None, "31.02.2026"])
def test_row_without_an_order_loses(keep: Literal["first", "last"], unknown: str | None) -> None:
    """A row whose order is NULL, or did not convert, never wins over one whose order is known."""
    frame = pd.DataFrame({"id": [1, 1, 1], "on": pd.Series([unknown, datetime.date(2026, 1, 1), unknown], dtype=object)})
    assert deduplicate(key=["id"], order_by=["on"], keep=keep)(frame)["on"].tolist() == [datetime.date(2026, 1, 1)]


@pytest.mark.parametrize(("key", "order_by"), [([], ["a"]), (["a"], [])])
def test_deduplicate_needs_key_and_order(key: list[str], order_by: list[str]) -> None:
    """De-duplication without a key or an order is refused at definition."""
    with pytest.raises(ContractDefinitionError, match="both need columns"):
        deduplicate(key=key, order_by=order_by)


def test_derived_values_keep_their_rows() -> None:
    """A Series with other labels than the rows is refused, because pandas would move values to other rows."""
    frame = pd.DataFrame({"a": ["x", "y"]}, index=[1, 2])
    with pytest.raises(CleaningError, match="other index labels"):
        derive("b", lambda rows: rows["a"].reset_index(drop=True), named="shifted")(frame)
