"""Files that were hard to read for somebody, from the tests of other projects: each arrives exactly, or each of its lines is accounted for.

`packages.sh` installs them. Not here: files that tests write themselves (`connectors/`).
"""

import datetime
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from etl_assets.connectors.excel import ExcelResource, Layout
from etl_assets.connectors.files import FilesResource
from etl_assets.connectors.sheet_xml import column_letters
from etl_assets.errors import EtlError, SourceFormatError
from etl_assets_tests.acceptance.servers import FILES, NPM
from etl_assets_tests.connectors.file_reading import accounted, rows_of, unreadable_of

SPECTRUM = NPM / "csv-spectrum"
CSVKIT = FILES / "csvkit" / "examples"
JSON_SUITE = FILES / "pyjson5" / "third-party" / "JSONTestSuite" / "test_parsing"
XLS, XLSX = FILES / "pyexcel-xls" / "tests" / "fixtures", FILES / "pyexcel-xlsx" / "tests" / "fixtures"
ODS = FILES / "pyexcel-ods" / "tests" / "fixtures"


def below(folder: Path, *patterns: str) -> list[Any]:
    """The files of a folder, named for what they are in test ids; one that fails where there are none."""
    found = sorted(path for pattern in patterns for path in folder.rglob(pattern))
    return [pytest.param(path, id=str(path.relative_to(folder))) for path in found] or [pytest.param(folder / "missing", id="missing")]


def refusal(read: Callable[[], Any]) -> str:
    """What a read is refused with; "" where it is not. Errors that are not ours are raised."""
    try:
        read()
    except EtlError as error:
        return str(error)
    return ""


def test_the_files_are_there() -> None:
    """As many as were there when these tests were written."""
    counts = {
        "csv": len(list(FILES.rglob("*.csv"))),
        "JSON": len(list(JSON_SUITE.glob("*.json"))),
        "workbooks": len([path for path in FILES.rglob("*") if path.suffix in (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")]),
        "csv-spectrum": len(list((SPECTRUM / "csvs").iterdir())),
    }
    assert counts == {"csv": 87, "JSON": 318, "workbooks": 106, "csv-spectrum": 12}


# -- CSV ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", below(SPECTRUM / "csvs", "*.csv"))
def test_csv_spectrum(path: Path) -> None:
    """Each file of csv-spectrum gives the objects that the suite expects."""
    expected = json.loads((SPECTRUM / "json" / f"{path.stem}.json").read_text())
    if path.stem == "location_coordinates":  # the suite expects one object, with another number than the file has
        expected = [{**expected, "Contact Phone Number": "2095257564"}]
    frame = FilesResource(base_folder=str(path.parent)).read_csv(path.name, null_markers=())
    assert [dict(zip(frame.columns[:-1], row, strict=True)) for row in rows_of(frame)] == expected


# Files that are read with what they need declared.
DECLARED = {"test_latin1.csv": {"encoding": "latin-1"}}
# Files without a header that names columns.
NO_HEADER = {
    "bad_skip_lines.csv", "empty.csv", "sheetsxlsx_converted.csv", "test_empty_columns.csv", "test_skip_lines.csv", "empty_row.csv",
    "escape.csv", "float.csv", "input-weird.csv", "namespace.csv", "no_cell_ids.csv", "twolettercolumns.csv",
}  # fmt: skip


@pytest.mark.parametrize("path", below(FILES, "*.csv"))
def test_each_line_of_a_csv_file_is_accounted_for(path: Path) -> None:
    """Each line is part of exactly one row, unreadable with its very text, or blank; or the file has no header and says so."""
    files = FilesResource(base_folder=str(path.parent))
    if path.name in NO_HEADER:
        with pytest.raises(SourceFormatError, match="no header line|a column without a name"):
            files.read_csv(path.name)
        return
    declared = DECLARED.get(path.name, {})
    frame, account = accounted(lambda: files.read_csv(path.name, null_markers=(), **declared))
    encoding = declared.get("encoding") or account.reads[0].notes.partition(",")[0].partition(" ")[0].replace("utf-8", "utf-8-sig")
    lines = [line.rstrip("\r\n") for line in io.StringIO(path.read_bytes().decode(encoding), newline="")]
    seen = list(range(1, 1 + sum(_lines(column) for column in frame.columns[:-1]) + 1))
    for cells, place in zip(rows_of(frame), frame["source_position"], strict=True):
        start = int(place.rpartition(" ")[2])
        seen += range(start, start + 1 + sum(map(_lines, cells)))
    for place, raw, _ in unreadable_of(account):
        number = int(place.rpartition(" ")[2])
        assert raw == lines[number - 1]
        seen.append(number)
    blank = [number for number, line in enumerate(lines, start=1) if not line and number not in seen]
    assert sorted(seen + blank) == list(range(1, len(lines) + 1))


def _lines(text: str | None) -> int:
    return len(re.findall(r"\r\n|\r|\n", text or ""))


@pytest.mark.parametrize(
    ("name", "unreadable"),
    [
        ("bad.csv", [(2, '1,27,,"I\'m too long!"', "fields"), (3, ',"I\'m too short!"', "fields")]),
        ("null_byte.csv", [(2, "\0,2,3", "nul_byte")]),
    ],
)
def test_csvkit_files_with_broken_lines(name: str, unreadable: list[tuple[int, str, str]]) -> None:
    """The broken lines of csvkit's bad files are told one by one."""
    _, account = accounted(lambda: FilesResource(base_folder=str(CSVKIT)).read_csv(name))
    assert [(int(place.rpartition(" ")[2]), raw, rule) for place, raw, rule in unreadable_of(account)] == unreadable


@pytest.mark.parametrize(
    ("name", "header", "last"),
    [
        ("test_utf16_big.csv", ["a", "b", "c"], "\u02a4"),
        ("test_utf16_little.csv", ["a", "b", "c"], "\u02a4"),
        ("test_utf8.csv", ["foo", "bar", "baz"], "\u02a4"),
        ("test_utf8_bom.csv", ["foo", "bar", "baz"], "\u02a4"),
        ("test_latin1.csv", ["a", "b", "c"], "\xa9"),
    ],
)
def test_csvkit_files_in_several_encodings(name: str, header: list[str], last: str) -> None:
    """A table in five encodings has the same cells, and no mark in its first name."""
    frame = FilesResource(base_folder=str(CSVKIT)).read_csv(name, **DECLARED.get(name, {}))
    assert (list(frame.columns[:-1]), rows_of(frame)) == (header, [["1", "2", "3"], ["4", "5", last]])


# -- JSON --------------------------------------------------------------------------------------------------------------

# Python, and so many a program, writes these; their text arrives as it is.
ACCEPTED = {"n_number_NaN.json", "n_number_infinity.json", "n_number_minus_infinity.json"}
# One of the two values would vanish.
REFUSED = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}
NO_JSON = "this is no JSON|the file is not utf-8"
TOO_DEEP = {"n_structure_100000_opening_arrays.json", "n_structure_open_array_object.json"}


@pytest.mark.parametrize("path", below(JSON_SUITE, "n_*.json"))
def test_what_is_no_json_is_refused(path: Path) -> None:
    """Documents of JSONTestSuite that must be refused are."""
    said = "a list of objects is needed" if path.name in ACCEPTED else "nested too deeply" if path.name in TOO_DEEP else NO_JSON
    with pytest.raises(SourceFormatError, match=said):
        FilesResource(base_folder=str(path.parent)).read_json(path.name)


@pytest.mark.parametrize("path", below(JSON_SUITE, "y_*.json"))
def test_what_is_json_is_read(path: Path) -> None:
    """Documents that must be accepted are, but for keys given twice; those that are no lists of objects are refused as such."""
    said = refusal(lambda: FilesResource(base_folder=str(path.parent)).read_json(path.name))
    assert re.search("repeats the keys" if path.name in REFUSED else "^$|a list of objects is needed", said)


@pytest.mark.parametrize("path", below(JSON_SUITE, "i_*.json"))
def test_what_may_be_json_is_an_error_of_ours_at_most(path: Path) -> None:
    """Documents that may be accepted or not raise nothing else."""
    said = refusal(lambda: FilesResource(base_folder=str(path.parent)).read_json(path.name))
    assert re.search(f"^$|{NO_JSON}|a list of objects is needed|a text is no Unicode", said)


@pytest.mark.parametrize("path", below(JSON_SUITE, "y_number*.json", "i_number*.json"))
def test_numbers_keep_their_letters(path: Path, tmp_path: Path) -> None:
    """Each number of the suite, in a record, arrives as it is written."""
    written = path.read_text().strip().removeprefix("[").removesuffix("]").strip()
    (tmp_path / "a.json").write_text(f'[{{"n": {written}}}]')
    assert rows_of(FilesResource(base_folder=str(tmp_path)).read_json("a.json")) == [[written]]


@pytest.mark.parametrize("path", below(JSON_SUITE, "*.json"))
def test_each_document_as_json_lines_is_accounted_for(path: Path) -> None:
    """Of any document each line is a record, unreadable or blank; or the file is no UTF-8."""
    files = FilesResource(base_folder=str(path.parent))
    if refusal(lambda: files.read_json_lines(path.name, encoding="utf-8")).startswith(f"{path}: the file is not utf-8"):
        return
    frame, account = accounted(lambda: files.read_json_lines(path.name))
    lines = list(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
    blank = sum(not line.strip(" \t\r\n") for line in lines)
    assert len(frame) + len(account.unreadable) + blank == len(lines)


# -- workbooks, cell by cell beside openpyxl ---------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    """openpyxl's value as text."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time(0):
        return value.date().isoformat()
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _header(rows: list[list[str | None]]) -> tuple[int, int, int] | None:
    """The first row that starts with different names, its first and its last column; None where there is none."""
    for number, row in enumerate(rows[:15], start=1):
        first = next((place for place, cell in enumerate(row) if cell is not None), None)
        if first is None:
            continue
        names = [" ".join(cell.split()) for cell in _while_filled(row[first:])]
        if len(set(names)) == len(names) and "" not in names:
            return number, first + 1, first + len(names)
    return None


def _while_filled(cells: list[str | None]) -> Iterator[str]:
    for cell in cells:
        if cell is None:
            return
        yield cell


# openpyxl cannot open these; in the last one it leaves characters escaped that XML cannot hold.
NOT_FOR_OPENPYXL = {
    "apachepoi_49609.xlsx", "covid_19-iss.xlsx", "err_cell_empty.xlsx", "formatted_inline_string.xlsx", "issue150.xlsx",
    "self_evaluation_report_2014-05-19.xlsx", "reveng1.xlsx",
}  # fmt: skip


@pytest.mark.parametrize("path", [one for one in below(FILES, "*.xlsx", "*.xlsm") if one.values[0].name not in NOT_FOR_OPENPYXL])
@pytest.mark.filterwarnings("ignore")
def test_a_workbook_is_what_openpyxl_reads(path: Path) -> None:
    """Every cell below a header is the one that openpyxl reads; rows are missing only for formulas that have no value."""
    workbook = openpyxl.load_workbook(path, data_only=True)
    formulas = openpyxl.load_workbook(path)
    for sheet in workbook.worksheets:
        written = formulas[sheet.title]
        rows = [[_text(value) for value in row] for row in sheet.iter_rows(min_row=1, min_col=1, values_only=True)]
        header = _header(rows)
        if header is None:
            continue
        number, left, right = header
        layout = Layout(header_rows=(number,), cells=f"{column_letters(left)}1:{column_letters(right)}")
        frame, account = accounted(
            lambda title=sheet.title, layout=layout: ExcelResource(base_folder=str(path.parent)).read(
                path.name, sheet=title, layout=layout, hidden=True
            )
        )
        uncalculated = {int(place.rpartition(" ")[2]) for place, _, _ in unreadable_of(account)}
        expected = {
            place: row[left - 1 : right] for place, row in enumerate(rows, start=1) if place > number and any(row[left - 1 : right])
        }
        for place in uncalculated:
            assert any(cell.data_type == "f" for cell in written[place])
            expected.pop(place, None)
        found = {int(place.rpartition(" ")[2]): cells for cells, place in zip(rows_of(frame), frame["source_position"], strict=True)}
        assert found == expected


@pytest.mark.parametrize("name", sorted(NOT_FOR_OPENPYXL))
def test_a_workbook_that_openpyxl_cannot_open(name: str) -> None:
    """Its sheets are read, or refused with a reason."""
    (path,) = FILES.rglob(name)
    said = refusal(lambda: accounted(lambda: ExcelResource(base_folder=str(path.parent)).read(name)))
    assert re.search("^$|some empty or repeated|beyond the named columns|are not those of the first sheet|lie outside its", said)


def test_characters_that_xml_cannot_hold() -> None:
    """A sheet of each control character beside its number arrives as it was made."""
    excel = ExcelResource(base_folder=str(FILES / "xlrd" / "tests"))
    frame = excel.read("reveng1.xlsx", sheet="ControlChars", layout=Layout(cells="A1:B"))
    assert rows_of(frame) == [[str(number), chr(number)] for number in range(2, 33)]


@pytest.mark.parametrize("path", below(FILES, "*.xls", "*.xlsb", "*.ods", "*.xlsx", "*.xlsm"))
def test_a_workbook_is_read_or_refused_with_a_reason(path: Path) -> None:
    """Whatever it is, its rows are accounted for, or nothing but an error of ours comes of it."""

    def read() -> None:
        frame, account = accounted(lambda: ExcelResource(base_folder=str(path.parent)).read(path.name, hidden=True))
        assert len(frame) + len(account.unreadable) == account.rows_read

    assert re.search("^$| Next: .", refusal(read))


# -- workbooks in several formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "sheet", "layout"),
    [
        ("agate-excel/examples/test.xls", "agate-excel/examples/test.xlsx", "test.csv", Layout()),
        ("agate-excel/examples/test_sheets.xls", "agate-excel/examples/test_sheets.xlsx", "data", Layout()),
        ("agate-excel/examples/test_skip_lines.xls", "agate-excel/examples/test_skip_lines.xlsx", "test.csv", Layout(header_rows=(4,))),
        ("agate-excel/examples/test_ambiguous_date.xls", "agate-excel/examples/test_ambiguous_date.xlsx", "Sheet1", Layout()),
        ("agate-excel/examples/test_numeric_column_name.xls", "agate-excel/examples/test_numeric_column_name.xlsx", "Sheet1", Layout()),
        ("csvkit/examples/dummy.xls", "csvkit/examples/dummy.xlsx", "Sheet1", Layout()),
        ("csvkit/examples/sheets.xls", "csvkit/examples/sheets.xlsx", "data", Layout(cells="A1:H")),
        ("csvkit/examples/sheets.xls", "csvkit/examples/sheets.xlsx", "ʤ", Layout()),
        ("pyexcel-xls/tests/fixtures/date_field.xls", "pyexcel-xlsx/tests/fixtures/date_field.xlsx", "Sheet1", Layout()),
        ("pyexcel-xls/tests/fixtures/date_field.xls", "pyexcel-xlsbr/tests/fixtures/date_field.xlsb", "Sheet1", Layout()),
        (
            "pyexcel-xls/tests/fixtures/complex-merged-cells-sheet.xls",
            "pyexcel-xlsx/tests/fixtures/complex-merged-cells-sheet.xlsx",
            "Sheet1",
            Layout(header_rows=(1, 2), cells="A1:B"),
        ),
    ],
)
def test_a_workbook_is_the_same_in_each_format(one: str, other: str, sheet: str, layout: Layout) -> None:
    """One table saved as .xls, .xlsx or .xlsb is one table."""

    def read(name: str) -> pd.DataFrame | str:
        path = FILES / name
        try:
            return ExcelResource(base_folder=str(path.parent)).read(path.name, sheet=sheet, layout=layout).drop(columns="source_position")
        except SourceFormatError as error:
            return error.cause

    found, expected = read(one), read(other)
    if isinstance(expected, str):
        assert found == expected
    else:
        pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("path", [XLS / "hidden_sheets.xls", XLSX / "hidden_sheets.xlsx"], ids=[".xls", ".xlsx"])
def test_hidden_sheets_of_either_format_are_left_out(path: Path) -> None:
    """A sheet that somebody hid in Excel is none of all sheets."""
    _, account = accounted(lambda: ExcelResource(base_folder=str(path.parent)).read(path.name))
    assert [read.source.rpartition(" ")[2] for read in account.reads] == ["shown"]


@pytest.mark.parametrize("path", [XLS / "merged-cell-sheet.xls", XLSX / "merged-cell-sheet.xlsx"], ids=[".xls", ".xlsx"])
def test_merged_headers_of_either_format_name_their_columns(path: Path) -> None:
    """Ranges that somebody merged in Excel count for all their columns: B4:C4 names two."""
    frame = ExcelResource(base_folder=str(path.parent)).read(path.name, sheet="Sheet1", layout=Layout(header_rows=(1, 4)))
    assert list(frame.columns[:-1]) == ["1 10", "2 11", "3 11"]


# -- OpenDocument, beside what its XML says ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sheet", "header", "expected"),
    [
        ("file_with_an_empty_sheet.ods", "Sheet1", ["1", "2", "3"], [["4", "5", "6"]]),
        ("file_with_an_empty_sheet.ods", "Sheet3", ["7", "8", "9"], [["10", "11", "12"]]),
        ("multilineods.ods", "Sheet1", ["1 2 3 4"], [["Line 1\n\nLine 2"]]),
        ("pyexcel_81_ods_19.ods", "product.template", ["id", "name"], [["PRODUCT_ID", "PRODUCT NAME  PMP"]]),
        ("white_space.ods", "Sheet1", ["paragraph with tab( ), space, new line"], []),
        ("comment-in-cell.ods", "Sheet1", ["test"], []),
        ("12_day_as_time.ods", "Sheet1", ["PT288H00M00S"], []),
        (
            "ods_formats.ods",
            "Sheet1",
            ["Date", "Time", "Boolean", "Float", "Currency", "Percentage", "Int", "Scientific", "Fractions", "Text"],
            [
                ["2014-11-11", "11:12:12", "true", "11.11", "1", "2", "3", "100000", "1.25", "abc"],
                ["2001-01-01", "00:00:12", "false", None, "-10000", None, None, None, None, None],
                [None, "0", None, None, None, None, None, None, None, None],
                [None, "PT27H17M54S", None, None, None, None, "11", None, None, None],
                [None, "Other", None, None, None, None, None, None, None, None],
            ],
        ),
    ],
)
def test_opendocument(name: str, sheet: str, header: list[str], expected: list[list[str | None]]) -> None:
    """Spreadsheets of OpenDocument give the values and texts that are in their XML."""
    frame = ExcelResource(base_folder=str(ODS)).read(name, sheet=sheet)
    assert (list(frame.columns[:-1]), rows_of(frame)) == (header, expected)
