"""Excel workbooks, written by openpyxl."""

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from etl_assets.accounting import SOURCE_POSITION, Read, open_account
from etl_assets.connectors.excel import ExcelResource, Layout
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError

Write = Callable[..., ExcelResource]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a.xlsx with the sheet Data: rows from A1 on, None for an empty cell, and merged ranges."""

    def write_workbook(*rows: Sequence[Any], merged: Sequence[str] = (), name: str = "a.xlsx") -> ExcelResource:
        workbook = openpyxl.Workbook()
        sheet = workbook.active
        assert sheet is not None
        sheet.title = "Data"
        for number, row in enumerate(rows, start=1):
            for place, value in enumerate(row, start=1):
                if value is not None:
                    sheet.cell(number, place, value)
        for cells in merged:
            sheet.merge_cells(cells)
        with (tmp_path / name).open("wb") as file:
            workbook.save(file)
        return ExcelResource(base_folder=str(tmp_path))

    return write_workbook


def rows_of(frame: pd.DataFrame) -> list[list[str | None]]:
    """The data cells, with None for NULL."""
    data = frame.drop(columns=SOURCE_POSITION)
    return [[None if pd.isna(value) else value for value in row] for row in data.itertuples(index=False)]


def names_of(frame: pd.DataFrame) -> list[str]:
    """The names of the data columns."""
    return [name for name in frame.columns if name != SOURCE_POSITION]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (16, "16"),
        (16.0, "16"),
        (-3, "-3"),
        (0, "0"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (999999999999999, "999999999999999"),
        (2**53, "9007199254740992"),
        (True, "true"),
        (False, "false"),
        (datetime.date(2013, 1, 31), "2013-01-31"),
        (datetime.datetime(2013, 1, 31, 4, 5, 6), "2013-01-31T04:05:06"),
        (datetime.time(4, 5, 6), "04:05:06"),
        ("00501", "00501"),
        ("NA", "NA"),
        ("None", "None"),
        (" 007 ", " 007 "),
        ("1.50", "1.50"),
        ("a\nb", "a\nb"),
        ("9007199254740993", "9007199254740993"),
        (None, None),
    ],
    ids=repr,
)
def test_a_value_becomes_text(write: Write, value: object, expected: str | None) -> None:
    """Whole numbers lose their decimals, dates become ISO 8601, booleans words, text stays, empty cells are NULL."""
    excel = write(["a", "b"], ["x", value])
    assert rows_of(excel.read("a.xlsx", sheet="Data")) == [["x", expected]]


@pytest.mark.parametrize("error", ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"])
def test_an_error_keeps_its_text(write: Write, error: str) -> None:
    """A cell that holds an error is not taken for an empty one, wherever it stands."""
    excel = write(["a", "b"], ["x", error], [], [None, error])
    assert rows_of(excel.read("a.xlsx", sheet="Data")) == [["x", error], [None, error]]


def test_an_error_on_another_sheet_changes_nothing(write: Write, tmp_path: Path) -> None:
    """Only the errors of the sheet that is read count."""
    excel = write(["a"], ["x"])
    workbook = openpyxl.load_workbook(tmp_path / "a.xlsx")
    workbook.create_sheet("Other")["A2"] = "#DIV/0!"
    workbook.save(tmp_path / "a.xlsx")
    assert rows_of(excel.read("a.xlsx", sheet="Data")) == [["x"]]


def test_a_merged_header_may_reach_beyond_the_data(write: Write) -> None:
    """A merged title wider than the filled columns names the columns there are."""
    excel = write(["Carrier", None], ["Code", "Name"], ["x", "y"], merged=["A1:D1"])
    assert names_of(excel.read("a.xlsx", sheet="Data", layout=Layout(header_rows=(1, 2)))) == ["Carrier Code", "Carrier Name"]


@pytest.mark.parametrize(
    ("rows", "merged", "header_rows", "expected"),
    [
        ([["Code", "Name"]], [], (1,), ["Code", "Name"]),
        ([["Title"], [], ["Code", "Name"]], [], (3,), ["Code", "Name"]),
        ([["Title"], ["Code", "Name"]], ["A1:B1"], (2,), ["Code", "Name"]),
        ([["Carrier", None], ["Code", "Name"]], ["A1:B1"], (1, 2), ["Carrier Code", "Carrier Name"]),
        ([["Carrier", None, "First"], ["Code", "Name"]], ["A1:B1", "C1:C2"], (1, 2), ["Carrier Code", "Carrier Name", "First"]),
        ([["A", None], ["B", None], ["C", "D"]], ["A1:B1", "A2:B2"], (1, 2, 3), ["A B C", "A B D"]),
        ([["A", "B"], [], ["C", "D"]], [], (1, 3), ["A C", "B D"]),
        ([["A", None, "B"], [None, None, "C"]], ["A1:B2"], (1, 2), None),
        ([[" Flights \n in  2013 ", "n"]], [], (1,), ["Flights in 2013", "n"]),
        ([[2013, 2014]], [], (1,), ["2013", "2014"]),
    ],
    ids=[
        "one row", "below a title", "below a merged title", "merged right", "merged right and down", "three rows", "rows apart",
        "block names two columns alike", "blanks", "numbers",
    ],
)  # fmt: skip
def test_header_rows_name_the_columns(
    write: Write, rows: list[list[Any]], merged: list[str], header_rows: tuple[int, ...], expected: list[str] | None
) -> None:
    """Header rows are joined by a blank, a merged cell counts for every column it covers and once going down."""
    excel = write(*rows, ["x"] * 2, merged=merged)
    if expected is None:
        with pytest.raises(SourceFormatError, match="some empty or repeated"):
            excel.read("a.xlsx", sheet="Data", layout=Layout(header_rows=header_rows))
    else:
        assert names_of(excel.read("a.xlsx", sheet="Data", layout=Layout(header_rows=header_rows))) == expected


def test_hidden_title_rows_count(write: Write, tmp_path: Path) -> None:
    """A hidden row keeps its number, as Excel shows it."""
    excel = write(["Title"], ["a"], ["x"])
    workbook = openpyxl.load_workbook(tmp_path / "a.xlsx")
    workbook["Data"].row_dimensions[1].hidden = True
    workbook.save(tmp_path / "a.xlsx")
    assert excel.read("a.xlsx", sheet="Data", layout=Layout(header_rows=(2,))).to_dict("list") == {
        "a": ["x"],
        SOURCE_POSITION: ["a.xlsx Data row 3"],
    }


def test_empty_rows_are_left_out(write: Write) -> None:
    """Rows without a value are no rows, and positions count them all the same."""
    excel = write(["a", "b"], ["x"], [], ["", None], [None, "y"])
    positions = excel.read("a.xlsx", sheet="Data")[SOURCE_POSITION].tolist()
    assert positions == ["a.xlsx Data row 2", "a.xlsx Data row 5"]


def test_the_footer_is_dropped(write: Write) -> None:
    """The first row that starts with the footer's text, and everything below it, are no data."""
    excel = write(["a", "b"], ["x", 1], ["Total", 1], [], ["y", 2])
    assert rows_of(excel.read("a.xlsx", sheet="Data", layout=Layout(footer_starts_with="Total"))) == [["x", "1"]]


def test_the_footer_is_found_by_its_first_filled_cell(write: Write) -> None:
    """A footer may start further right."""
    excel = write(["a", "b"], ["x", 1], [None, "Total: 1"])
    assert rows_of(excel.read("a.xlsx", sheet="Data", layout=Layout(footer_starts_with="Total"))) == [["x", "1"]]


def test_the_footer_is_reported_as_a_step(write: Write) -> None:
    """The step says how many rows the footer took, and the read counts them too."""
    excel = write(["a", "b"], ["x", 1], ["Total", 1], [], ["note"])
    with open_account() as account:
        excel.read("a.xlsx", sheet="Data", layout=Layout(footer_starts_with="Total"))
    assert (account.rows_read, account.rows_dropped, [(step.rows_in, step.rows_out) for step in account.steps]) == (3, 2, [(3, 1)])


def test_a_footer_that_does_not_come_is_refused(write: Write) -> None:
    """A declared footer that no row starts is an error: a misspelt one would load the totals as data."""
    excel = write(["a"], ["Sum"])
    with pytest.raises(SourceFormatError, match="no row starts with 'Total'; the last one starts with 'Sum'"):
        excel.read("a.xlsx", sheet="Data", layout=Layout(footer_starts_with="Total"))


def test_rows_are_reported(write: Write, tmp_path: Path) -> None:
    """One read of the sheet with its number of rows reaches the account."""
    excel = write(["a"], ["x"], [], ["y"])
    with open_account() as account:
        excel.read("a.xlsx", sheet="Data")
    assert account.reads == [Read(source=f"{tmp_path / 'a.xlsx'} sheet Data", rows=2)]


def test_a_header_without_rows_is_an_empty_frame(write: Write) -> None:
    """A sheet of headers gives its columns as text and no row."""
    frame = write(["a", "b"]).read("a.xlsx", sheet="Data")
    assert (len(frame), {str(dtype) for dtype in frame.dtypes}, names_of(frame)) == (0, {"str"}, ["a", "b"])


@pytest.mark.parametrize(
    ("rows", "header_rows", "said"),
    [
        ([["a"], ["x"]], (3,), r"header_rows \(3,\) lie outside its 2 rows"),
        ([["a"], ["x"]], (0,), r"header_rows \(0,\) lie outside"),
        ([["a"], ["x"]], (), r"header_rows \(\) lie outside"),
        ([], (1,), r"lie outside its 0 rows"),
        ([["a", "a"], ["x", "y"]], (1,), r"column names \['a', 'a'\], some empty or repeated"),
        ([["a", None, "b"], ["x", "y", "z"]], (1,), r"column names \['a', '', 'b'\], some empty or repeated"),
        ([["a"], ["x"], ["y", "z"]], (1,), "row 3 has a value beyond the named columns"),
        ([["source_position", "a"], ["mine", "x"]], (1,), "source_position"),
    ],
    ids=["header below", "row 0", "no header row", "empty sheet", "repeated", "unnamed between", "beyond the columns", "reserved name"],
)
def test_a_sheet_of_another_layout_is_refused(write: Write, rows: list[list[str]], header_rows: tuple[int, ...], said: str) -> None:
    """A sheet that does not have the declared layout is a format error."""
    with pytest.raises(SourceFormatError, match=said):
        write(*rows).read("a.xlsx", sheet="Data", layout=Layout(header_rows=header_rows))


def test_a_missing_sheet_lists_the_sheets(write: Write) -> None:
    """The message lists the sheets there are."""
    with pytest.raises(SourceNotFoundError, match=r"no sheet 'data'; present: \['Data'\]"):
        write(["a"]).read("a.xlsx", sheet="data")


def test_a_missing_file_lists_its_folder(write: Write) -> None:
    """The message lists what is there instead."""
    with pytest.raises(SourceNotFoundError, match=r"no such file; present: \['a.xlsx'\]"):
        write(["a"]).read("b.xlsx", sheet="Data")


def test_a_path_out_of_the_folder_is_refused(write: Write) -> None:
    """Workbooks come from below the base folder only."""
    with pytest.raises(ConfigurationError, match="leads out of the folder"):
        write(["a"]).read("../a.xlsx", sheet="Data")


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"", b"PK\x03\x04garbage"], ids=["text", "empty", "broken zip"])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that only is named like a workbook is a format error."""
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(SourceFormatError, match="this is no readable workbook"):
        ExcelResource(base_folder=str(tmp_path)).read("a.xlsx", sheet="Data")


def test_a_merged_header_is_read_whatever_the_name_of_the_file(write: Write) -> None:
    """A workbook whose name does not end in .xlsx has merged headers too."""
    excel = write(["Carrier", None], ["Code", "Name"], ["x", "y"], merged=["A1:B1"], name="delivery.dat")
    assert names_of(excel.read("delivery.dat", sheet="Data", layout=Layout(header_rows=(1, 2)))) == ["Carrier Code", "Carrier Name"]


@pytest.mark.parametrize(("path", "sheet"), [("nope.xlsx", "Data"), ("a.xlsx", "Nope"), ("text.xlsx", "Data"), ("a.xlsx", "Data")])
def test_a_message_holds_place_cause_and_next_step(write: Write, tmp_path: Path, path: str, sheet: str) -> None:
    """Every message names the file, says what happened and what to do."""
    excel = write(["a"], ["x", "beyond"])
    (tmp_path / "text.xlsx").write_text("no workbook")
    with pytest.raises(EtlError) as caught:
        excel.read(path, sheet=sheet)
    error = caught.value
    assert (path in error.where, str(error)) == (True, f"{error.where}: {error.cause} Next: {error.next_step}")
