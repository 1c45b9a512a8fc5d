"""Which cells of a workbook are read: sheets, ranges, header rows, footers; and which are not taken for something else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import openpyxl.chart
import pytest

from etl_assets.accounting import Read
from etl_assets.connectors.excel import ExcelResource, Layout
from etl_assets.errors import ConfigurationError, SourceFormatError, SourceNotFoundError
from etl_assets_tests.connectors.file_reading import accounted, positions_of, rows_of, unreadable_of
from etl_assets_tests.connectors.workbooks import edit, text_cell, write_workbook, write_xml

HEAD = f'<row r="1">{text_cell("A1", "a")}{text_cell("B1", "b")}</row>'


@pytest.fixture
def excel(tmp_path: Path) -> ExcelResource:
    """Workbooks below an empty folder."""
    return ExcelResource(base_folder=str(tmp_path))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    """Write a.xlsx, one list of rows per sheet."""
    return lambda change=None, **sheets: write_workbook(tmp_path / "a.xlsx", sheets, change)


# -- sheets ------------------------------------------------------------------------------------------------------------


def hide(state: str, *names: str) -> Callable[[Any], None]:
    """Hide sheets of a workbook."""

    def change(workbook: Any) -> None:
        for name in names:
            workbook[name].sheet_state = state

    return change


def test_all_sheets_that_are_not_hidden_are_read(excel: ExcelResource, write: Callable[..., None]) -> None:
    """Without a name every visible sheet is read, in the order of the workbook, positions tell which."""
    write(hide("hidden", "B"), A=[["a"], ["1"]], B=[["a"], ["2"]], C=[["a"], ["3"]])
    assert positions_of(excel.read("a.xlsx")) == ["a.xlsx A row 2", "a.xlsx C row 2"]


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_a_hidden_sheet_must_be_asked_for(excel: ExcelResource, write: Callable[..., None], state: str) -> None:
    """A hidden sheet is read by its name only together with hidden=True, however well it is hidden."""
    write(hide(state, "B"), A=[["a"], ["1"]], B=[["a"], ["2"]])
    with pytest.raises(ConfigurationError, match="the sheet 'B' is hidden. Next: say hidden=True if it is meant"):
        excel.read("a.xlsx", sheet="B")
    assert rows_of(excel.read("a.xlsx", sheet="B", hidden=True)) == [["2"]]


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_hidden_sheets_come_with_the_others_when_asked_for(excel: ExcelResource, write: Callable[..., None], state: str) -> None:
    """All sheets, hidden ones included."""
    write(hide(state, "B"), A=[["a"], ["1"]], B=[["a"], ["2"]])
    assert rows_of(excel.read("a.xlsx", hidden=True)) == [["1"], ["2"]]


def test_a_workbook_of_hidden_sheets_is_refused(excel: ExcelResource, write: Callable[..., None], tmp_path: Path) -> None:
    """Where no sheet is visible the message lists those that are hidden."""
    write(None, A=[["a"], ["1"]])
    edit(tmp_path / "a.xlsx", lambda xml: xml.replace('state="visible"', 'state="hidden"'), "xl/workbook.xml")
    with pytest.raises(SourceNotFoundError, match=r"no sheet is visible; hidden: \['A'\]"):
        excel.read("a.xlsx")


def test_several_sheets_are_one_table(excel: ExcelResource, write: Callable[..., None]) -> None:
    """Named sheets come in the order of their names given, columns by name, each with a read of its own."""
    write(None, A=[["a", "b"], ["1", "2"]], B=[["b", "a"], ["4", "3"]], C=[["a", "b"], ["5", "6"]])
    frame, account = accounted(lambda: excel.read("a.xlsx", sheet=["C", "B"]))
    assert (rows_of(frame), [read.source.rpartition(" ")[2] for read in account.reads]) == ([["5", "6"], ["3", "4"]], ["C", "B"])


def test_sheets_of_other_columns_are_refused(excel: ExcelResource, write: Callable[..., None]) -> None:
    """The message names the sheet and both sets of columns."""
    write(None, A=[["a"], ["1"]], B=[["b"], ["2"]])
    with pytest.raises(SourceFormatError, match=r"a.xlsx sheet B: its columns \['b'\] are not those of the first sheet, \['a'\]"):
        excel.read("a.xlsx")


@pytest.mark.parametrize("sheet", [[], ["A", "A"]], ids=["none", "twice"])
def test_sheets_are_named_once(excel: ExcelResource, write: Callable[..., None], sheet: list[str]) -> None:
    """No sheet, and a sheet twice, is a mistake: rows would be missing, or come twice."""
    write(None, A=[["a"], ["1"]])
    with pytest.raises(ConfigurationError, match="name each sheet once, or None for all"):
        excel.read("a.xlsx", sheet=sheet)


@pytest.mark.parametrize("name", ["a b", "ä", "A&B", "<x>", 'q"q', "it's", "日本", "Sheet 1", " x "])
def test_any_name_of_a_sheet_is_found(excel: ExcelResource, tmp_path: Path, name: str) -> None:
    """Names with blanks, letters and marks of any kind lead to the sheet, and to its formulas."""
    write_workbook(tmp_path / "a.xlsx", {"other": [["a"], ["1"]], name: [["a"], ["=1+1"]]})
    _, account = accounted(lambda: excel.read("a.xlsx", sheet=name))
    assert unreadable_of(account) == [(f"a.xlsx {name} row 2", "[null]", "uncalculated_formula")]


def test_a_chart_sheet_is_left_out(excel: ExcelResource, write: Callable[..., None]) -> None:
    """A sheet that is a chart is none of all sheets."""
    write(_add_chart, A=[["a"], [1]])
    assert rows_of(excel.read("a.xlsx")) == [["1"]]


def test_a_chart_sheet_cannot_be_read(excel: ExcelResource, write: Callable[..., None]) -> None:
    """Asked for by name it is an error that says what it is."""
    write(_add_chart, A=[["a"], [1]])
    with pytest.raises(ConfigurationError, match="the sheet 'Chart' holds no cells, but a chart"):
        excel.read("a.xlsx", sheet="Chart")


def _add_chart(workbook: Any) -> None:
    chart = openpyxl.chart.BarChart()
    chart.add_data(openpyxl.chart.Reference(workbook["A"], min_col=1, min_row=2, max_row=2))
    workbook.create_chartsheet("Chart").add_chart(chart)


def test_workbooks_of_a_glob_are_one_table(excel: ExcelResource, tmp_path: Path) -> None:
    """A glob names several workbooks, read in the order of their names."""
    for name in ("b", "a"):
        write_workbook(tmp_path / f"{name}.xlsx", {"S": [["a"], [name]]})
    assert positions_of(excel.read("*.xlsx")) == ["a.xlsx S row 2", "b.xlsx S row 2"]


def test_hidden_rows_and_columns_are_read(excel: ExcelResource, write: Callable[..., None]) -> None:
    """Hidden rows and columns are part of the sheet: only sheets are left out."""

    def conceal(workbook: Any) -> None:
        workbook["A"].row_dimensions[2].hidden = True
        workbook["A"].column_dimensions["B"].hidden = True

    write(conceal, A=[["a", "b"], ["1", "2"], ["3", "4"]])
    assert rows_of(excel.read("a.xlsx")) == [["1", "2"], ["3", "4"]]


# -- ranges ------------------------------------------------------------------------------------------------------------

GRID = [
    ["note", None, None, None, None],
    [None, "title", None, None, "x"],
    ["n1", "a", "b", None, "c"],
    ["n2", "1", "2", None, "3"],
    [None, "4", None, "stray", "5"],
    ["n3", None, None, None, None],
    [None, "Total", "6", None, None],
    [None, "7", "8", None, "9"],
]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("B3:C200", [["1", "2"], ["4", None], ["Total", "6"], ["7", "8"]]),
        ("B3:C", [["1", "2"], ["4", None], ["Total", "6"], ["7", "8"]]),
        ("B3:C5", [["1", "2"], ["4", None]]),
        ("B3:C3", []),
        ("$B$3:$C$5", [["1", "2"], ["4", None]]),
        ("b3:c5", [["1", "2"], ["4", None]]),
        ("B3:B5", [["1"], ["4"]]),
        ("E3:XFD5", [["3"], ["5"]]),
        ("B1:C4", [["1", "2"]]),
    ],
)
def test_a_range_says_which_cells_count(excel: ExcelResource, write: Callable[..., None], cells: str, expected: list[Any]) -> None:
    """Cells left and right of a range, above and below it are nothing, and rows empty inside it are none."""
    write(None, A=GRID)
    assert rows_of(excel.read("a.xlsx", layout=Layout(header_rows=(3,), cells=cells))) == expected


def test_positions_are_those_of_the_sheet(excel: ExcelResource, write: Callable[..., None]) -> None:
    """A range moves no row number."""
    write(None, A=GRID)
    assert positions_of(excel.read("a.xlsx", layout=Layout(header_rows=(3,), cells="B3:C5"))) == ["a.xlsx A row 4", "a.xlsx A row 5"]


def test_a_footer_may_lie_inside_a_range(excel: ExcelResource, write: Callable[..., None]) -> None:
    """The first filled cell of the range decides, not the one of the sheet."""
    write(None, A=[*GRID[:6], ["note", "Total", "6"], ["x", "7", "8"]])
    layout = Layout(header_rows=(3,), cells="B3:C", footer_starts_with="Total")
    frame, account = accounted(lambda: excel.read("a.xlsx", layout=layout))
    assert (rows_of(frame), account.rows_read, account.rows_dropped) == ([["1", "2"], ["4", None]], 4, 2)


def test_a_footer_outside_a_range_is_no_footer(excel: ExcelResource, write: Callable[..., None]) -> None:
    """A text left of the range starts no footer; that none comes is an error."""
    write(None, A=[["x", "a"], [None, "1"], ["Total", "2"]])
    with pytest.raises(SourceFormatError, match="no row starts with 'Total'; the last one starts with '2'"):
        excel.read("a.xlsx", layout=Layout(cells="B1:B", footer_starts_with="Total"))


@pytest.mark.parametrize("cells", ["", "B3", "B:C", "3:5", "B3-C5", "B3:C5:D6", "A1:", "R1C1:R2C2", "ABCD1:ABCE2", "Sheet!A1:B2"])
def test_what_is_no_range_is_an_error_of_configuration(excel: ExcelResource, write: Callable[..., None], cells: str) -> None:
    """The message shows how a range is written."""
    write(None, A=GRID)
    with pytest.raises(ConfigurationError, match="is no range of cells. Next: write it like B3:F200, or B3:F down to the end"):
        excel.read("a.xlsx", layout=Layout(header_rows=(3,), cells=cells))


@pytest.mark.parametrize("cells", ["C3:B5", "B5:C3", "Z3:AA5"])
def test_a_range_without_cells_is_an_error_of_configuration(excel: ExcelResource, write: Callable[..., None], cells: str) -> None:
    """A range turned round, or beside the sheet, holds nothing."""
    write(None, A=GRID)
    with pytest.raises(ConfigurationError, match="holds no cells of a sheet of 8 rows and 5 columns"):
        excel.read("a.xlsx", layout=Layout(header_rows=(3,), cells=cells))


def test_a_header_outside_the_range_is_refused(excel: ExcelResource, write: Callable[..., None]) -> None:
    """Header rows lie in the range."""
    write(None, A=GRID)
    with pytest.raises(SourceFormatError, match=r"header_rows \(3,\) lie outside rows 4 to 5"):
        excel.read("a.xlsx", layout=Layout(header_rows=(3,), cells="B4:C5"))


def test_a_value_between_the_named_columns_and_the_end_of_the_range_is_refused(excel: ExcelResource, write: Callable[..., None]) -> None:
    """A value in the range that no column is named for is not dropped."""
    write(None, A=[["a", "b", None], ["1", "2", "3"]])
    with pytest.raises(SourceFormatError, match=r"row 2 has a value beyond the named columns \['a', 'b'\]"):
        excel.read("a.xlsx", layout=Layout(cells="A1:C"))


# -- header rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "merged", "layout", "expected"),
    [
        (
            [["2026", None, None, None, "x"], ["Q1", None, "Q2", None, None], ["in", "out", "in", "out", None]],
            ["A1:D1", "A2:B2", "C2:D2", "E1:E3"],
            Layout(header_rows=(1, 2, 3)),
            ["2026 Q1 in", "2026 Q1 out", "2026 Q2 in", "2026 Q2 out", "x"],
        ),
        (
            [["n", "G", None], [None, "a", "b"]],
            ["A1:A2", "B1:C1"],
            Layout(header_rows=(1, 2), cells="B1:C"),
            ["G a", "G b"],
        ),
        (
            [["G", None, None], [None, "a", "b"]],
            ["A1:C1"],
            Layout(header_rows=(1, 2), cells="B1:C"),
            ["G a", "G b"],
        ),
        ([["a", "b"], ["x", "y"]], ["A1:B1"], Layout(header_rows=(2,)), ["x", "y"]),
        ([["T", None], ["a", "b"]], ["A1:B2"], Layout(header_rows=(2, 1)), None),
        ([["a", "a"], ["x", "y"]], [], Layout(header_rows=(1, 2)), ["a x", "a y"]),
        ([["a", "b"], ["a", "c"]], [], Layout(header_rows=(1, 2)), ["a", "b c"]),
        ([["T", None], [None, None], ["a", "b"]], ["A1:B2"], Layout(header_rows=(2, 3), cells="A1:B"), ["a", "b"]),
    ],
    ids=[
        "three rows", "inside a range", "merged from outside the range", "one row below a merged one", "a block", "not merged",
        "the same twice", "merged from a row above",
    ],
)  # fmt: skip
def test_merged_header_rows_name_the_columns(
    excel: ExcelResource, write: Callable[..., None], rows: list[Any], merged: list[str], layout: Layout, expected: list[str] | None
) -> None:
    """A merged cell counts for every column that it covers, wherever it starts, and once going down."""

    def merge(workbook: Any) -> None:
        for cells in merged:
            workbook["A"].merge_cells(cells)

    write(merge, A=[*rows, ["1"] * 5 if len(rows) == 3 else ["1"] * len(rows[0])])
    if expected is None:
        with pytest.raises(SourceFormatError, match="some empty or repeated"):
            excel.read("a.xlsx", layout=layout)
    else:
        assert list(excel.read("a.xlsx", layout=layout).columns)[:-1] == expected


@pytest.mark.parametrize("given", [1, "1", None])
def test_header_rows_are_several(given: Any) -> None:
    """One number in place of a tuple is refused where the layout is written."""
    with pytest.raises(ConfigurationError, match="Layout: header_rows are numbers of rows"):
        Layout(header_rows=given)


# -- formulas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    ['<c r="B2"><f>1+1</f></c>', '<c r="B2"><f>1+1</f><v/></c>', '<c r="B2"><f>1+1</f><v></v></c>', '<c r="B2" t="str"><f>"x"</f></c>',
     '<c r="B2"><f t="shared" si="0"/></c>', '<c r="B2"><f t="array" ref="B2:B3">A2:A3</f></c>', '<c t="n" s="0" r="B2"><f>1+1</f></c>',
     "<c r='B2'><f>1+1</f></c>", '<c r="B2"><f ca="1">NOW()</f></c>'],
    ids=["no value", "empty value", "empty value in two tags", "no text", "shared", "array", "attributes turned round", "single quotes",
         "volatile"],
)  # fmt: skip
def test_a_formula_that_was_never_calculated_makes_its_row_unreadable(excel: ExcelResource, tmp_path: Path, cell: str) -> None:
    """It has no value that could be taken for NULL: the row goes to the account with its cells, the others are read."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>1</v></c>{cell}</row><row r="3"><c r="A3"><v>2</v></c></row>')
    frame, account = accounted(lambda: excel.read("a.xlsx"))
    assert (rows_of(frame), unreadable_of(account)) == ([["2", None]], [("a.xlsx Data row 2", '["1", null]', "uncalculated_formula")])


def test_what_openpyxl_writes_was_never_calculated(excel: ExcelResource, write: Callable[..., None]) -> None:
    """A program that writes formulas without calculating them is found out; the message names every such cell."""
    write(None, A=[["a", "b", "c"], ["=1", "x", "=A2"], ["y", None, None]])
    frame, account = accounted(lambda: excel.read("a.xlsx"))
    assert ([row.says for row in account.unreadable], rows_of(frame)) == (
        ["a formula that was never calculated in A2, C2"],
        [["y", None, None]],
    )


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('<c r="B2"><f>1+1</f><v>2</v></c>', "2"),
        ('<c r="B2"><f>1-1</f><v>0</v></c>', "0"),
        ('<c r="B2" t="str"><f>"x"</f><v>x</v></c>', "x"),
        ('<c r="B2" t="str"><f>""</f><v></v></c>', None),
        ('<c r="B2" t="str"><f>""</f><v/></c>', None),
        ('<c r="B2" t="b"><f>TRUE</f><v>1</v></c>', "true"),
        ('<c r="B2" t="e"><f>1/0</f><v>#DIV/0!</v></c>', "#DIV/0!"),
        ('<c r="B2"><f t="shared" ref="B2:B3" si="0">A2</f><v>1</v></c>', "1"),
        ('<c r="B2"><f t="shared" si="0"/><v>7</v></c>', "7"),
        ('<c r="B2" t="inlineStr"><f>"x"</f><is><t>x</t></is></c>', "x"),
    ],
    ids=["number", "zero", "text", "empty text", "empty text in one tag", "boolean", "error", "shared, first", "shared, next", "inline"],
)
def test_a_calculated_formula_is_its_value(excel: ExcelResource, tmp_path: Path, cell: str, expected: str | None) -> None:
    """The value that was saved is read, and an empty text, which many a formula gives, is no missing value."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>1</v></c>{cell}</row>')
    frame, account = accounted(lambda: excel.read("a.xlsx"))
    assert (rows_of(frame), account.unreadable) == ([["1", expected]], [])


def test_a_row_of_formulas_alone_is_a_row(excel: ExcelResource, tmp_path: Path) -> None:
    """A row that looks empty for want of values is not left out, below the last value of the sheet neither."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>1</v></c></row><row r="5"><c r="A5"><f>1+1</f></c></row>')
    _, account = accounted(lambda: excel.read("a.xlsx"))
    assert (unreadable_of(account), account.rows_read) == ([("a.xlsx Data row 5", "[null, null]", "uncalculated_formula")], 2)


@pytest.mark.parametrize(
    ("rows", "layout"),
    [
        ('<row r="2"><c r="A2"><v>1</v></c><c r="D2"><f>1+1</f></c></row>', Layout(cells="A1:B")),
        (f'<row r="2"><c r="A2"><v>1</v></c></row><row r="3">{text_cell("A3", "Total")}<c r="B3"><f>SUM(A2)</f></c></row>',
         Layout(footer_starts_with="Total")),
    ],
    ids=["right of the range", "in the footer"],
)  # fmt: skip
def test_a_formula_that_does_not_count_is_nothing(excel: ExcelResource, tmp_path: Path, rows: str, layout: Layout) -> None:
    """Outside the range and in the footer a formula may be without a value."""
    write_xml(tmp_path / "a.xlsx", HEAD + rows)
    frame, account = accounted(lambda: excel.read("a.xlsx", layout=layout))
    assert (rows_of(frame), account.unreadable) == ([["1", None]], [])


def test_a_formula_beyond_the_named_columns_is_refused(excel: ExcelResource, tmp_path: Path) -> None:
    """As a value there would be; its row is no row of NULLs."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>1</v></c></row><row r="3"><c r="D3"><f>1+1</f></c></row>')
    with pytest.raises(SourceFormatError, match="row 3 has a value beyond the named columns"):
        accounted(lambda: excel.read("a.xlsx"))


def test_many_formulas_take_no_time(excel: ExcelResource, tmp_path: Path) -> None:
    """Thousands of rows with formulas are told apart in one go, not each by a look at all others."""
    rows = "".join(f'<row r="{n}"><c r="A{n}"><v>{n}</v></c><c r="B{n}"><f>A{n}</f></c></row>' for n in range(2, 20_002))
    write_xml(tmp_path / "a.xlsx", HEAD + rows)
    _, account = accounted(lambda: excel.read("a.xlsx"))
    assert len(account.unreadable) == 20_000


# -- what a file need not say -------------------------------------------------------------------------------------------

ROWS = '<row><c t="inlineStr"><is><t>a</t></is></c><c t="inlineStr"><is><t>b</t></is></c></row>'


def test_cells_may_leave_out_where_they_are(excel: ExcelResource, tmp_path: Path) -> None:
    """Rows and cells without references follow each other; errors and formulas in them are found as well."""
    rows = '<row><c><v>1</v></c><c t="e"><v>#N/A</v></c></row><row><c><v>2</v></c><c><f>1+1</f></c></row>'
    write_xml(tmp_path / "a.xlsx", ROWS + rows)
    frame, account = accounted(lambda: excel.read("a.xlsx"))
    assert (rows_of(frame), [row[0] for row in unreadable_of(account)]) == ([["1", "#N/A"]], ["a.xlsx Data row 3"])


def test_elements_may_have_a_prefix(excel: ExcelResource, tmp_path: Path) -> None:
    """A writer that puts a prefix before each element is read as any other."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2" t="e"><v>#N/A</v></c><c r="B2"><f>1+1</f><v>2</v></c></row>')

    def prefixed(xml: str) -> str:
        named = xml.replace("</", "\1").replace("<", "<x:").replace("\1", "</x:").replace("<x:?xml", "<?xml")
        return named.replace("xmlns=", "xmlns:x=")

    edit(tmp_path / "a.xlsx", prefixed)
    assert rows_of(excel.read("a.xlsx")) == [["#N/A", "2"]]


def test_a_strict_workbook_is_read(excel: ExcelResource, tmp_path: Path) -> None:
    """The strict form of the format, with other namespaces, has its errors too."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2" t="e"><v>#N/A</v></c></row>')

    def strict(xml: str) -> str:
        named = xml.replace("schemas.openxmlformats.org/spreadsheetml/2006", "purl.oclc.org/ooxml/spreadsheetml")
        return named.replace("schemas.openxmlformats.org/officeDocument/2006", "purl.oclc.org/ooxml/officeDocument")

    for part in ("xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/_rels/workbook.xml.rels"):
        edit(tmp_path / "a.xlsx", strict, part)
    assert rows_of(excel.read("a.xlsx")) == [["#N/A", None]]


def test_the_declared_size_of_a_sheet_means_nothing(excel: ExcelResource, tmp_path: Path) -> None:
    """Cells outside the dimension that a sheet declares are read."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>1</v></c><c r="B2"><v>2</v></c></row>')
    edit(tmp_path / "a.xlsx", lambda xml: xml.replace('ref="A1"', 'ref="A1:A1"'))
    assert rows_of(excel.read("a.xlsx")) == [["1", "2"]]


def test_rows_are_read_in_their_order(excel: ExcelResource, tmp_path: Path) -> None:
    """Rows go by their number, however they are written down."""
    write_xml(tmp_path / "a.xlsx", f'<row r="3"><c r="A3"><v>3</v></c></row>{HEAD}<row r="2"><c r="A2"><v>2</v></c></row>')
    assert rows_of(excel.read("a.xlsx", layout=Layout(cells="A1:B"))) == [["2", None], ["3", None]]


def test_reads_are_reported_by_sheet(excel: ExcelResource, write: Callable[..., None], tmp_path: Path) -> None:
    """Unreadable rows count as read."""
    write(None, A=[["a"], ["1"], ["=1"]], B=[["a"]])
    _, account = accounted(lambda: excel.read("a.xlsx"))
    where = tmp_path / "a.xlsx"
    assert account.reads == [Read(source=f"{where} sheet A", rows=2), Read(source=f"{where} sheet B", rows=0)]
