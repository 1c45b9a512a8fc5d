"""What the cells of a workbook become, and files that are no workbooks, or no harmless ones."""

import datetime
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900

from etl_assets.connectors.excel import ExcelResource, Layout
from etl_assets.errors import EtlError, SourceFormatError
from etl_assets_tests.connectors.file_reading import accounted, put, rows_of
from etl_assets_tests.connectors.workbooks import edit, encrypted_workbook, text_cell, write_ods, write_workbook, write_xml

HEAD = f'<row r="1">{text_cell("A1", "a")}{text_cell("B1", "b")}</row>'
Cell = Callable[[str], str | None]


@pytest.fixture
def excel(tmp_path: Path) -> ExcelResource:
    """Workbooks below an empty folder."""
    return ExcelResource(base_folder=str(tmp_path))


@pytest.fixture
def cell(excel: ExcelResource, tmp_path: Path) -> Cell:
    """The text that a `<c>` element at B2 becomes."""

    def read(xml: str) -> str | None:
        write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>1</v></c>{xml}</row>')
        return rows_of(excel.read("a.xlsx"))[0][1]

    return read


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("16", "16"),
        ("16.0", "16"),
        ("-0", "0"),
        ("0.1", "0.1"),
        ("1.5000000000000002", "1.5000000000000002"),
        ("999999999999999", "999999999999999"),
        ("9007199254740992", "9007199254740992"),
        ("9007199254740993", "9007199254740993"),
        ("-9007199254740993", "-9007199254740993"),
        ("12345678901234567890", "12345678901234567890"),
        ("1" * 40, "1" * 40),
        ("1E+25", "1e+25"),
        ("1.2345678901234567E+19", "1.2345678901234567e+19"),
        ("1E-7", "1e-07"),
        ("1.7976931348623157E+308", "1.7976931348623157e+308"),
    ],
)
def test_a_number_keeps_its_digits(cell: Cell, stored: str, expected: str) -> None:
    """Integers that a program wrote with more digits than Excel keeps have all of them; none are made up for what is no integer text."""
    assert cell(f'<c r="B2"><v>{stored}</v></c>') == expected


@settings(max_examples=100, deadline=None)
@given(number=st.integers(-(10**30), 10**30))
def test_any_integer_is_exact(tmp_path_factory: pytest.TempPathFactory, number: int) -> None:
    """An integer of any size that stands in the file arrives."""
    folder = tmp_path_factory.getbasetemp()
    write_xml(folder / "integers.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>{number}</v></c></row>')
    assert rows_of(ExcelResource(base_folder=str(folder)).read("integers.xlsx")) == [[str(number), None]]


@settings(max_examples=100, deadline=None)
@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_is_exact(tmp_path_factory: pytest.TempPathFactory, number: float) -> None:
    """The text of a number is read back to the same number."""
    folder = tmp_path_factory.getbasetemp()
    write_xml(folder / "floats.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>{number!r}</v></c></row>')
    assert float(rows_of(ExcelResource(base_folder=str(folder)).read("floats.xlsx"))[0][0] or "nan") == number


@pytest.mark.parametrize(
    "number_format", ["0.00%", "#,##0.00 €", "[Red]0", '"Date: "0', "0.0E+0", "@", "General", "# ?/?", '0 "d"', "[>5]0;0"]
)
def test_a_number_format_is_no_date(excel: ExcelResource, tmp_path: Path, number_format: str) -> None:
    """However a number is shown, it is the number."""

    def show(workbook: Any) -> None:
        workbook["S"]["A2"].number_format = number_format

    write_workbook(tmp_path / "a.xlsx", {"S": [["a"], [0.25]]}, show)
    assert rows_of(excel.read("a.xlsx")) == [["0.25"]]


# -- dates -------------------------------------------------------------------------------------------------------------

SERIALS = [
    0, 0.25, 0.5, 0.999988425925926, 1, 1.5, 2, 58, 59, 59.5, 60, 61, 61.75, 366, 1461, 25569, 40000, 40000.123456, 41305.17020833333,
    43831, 45000.999988425926, 73050, 2958465,
]  # fmt: skip
FORMATS = [
    "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "d/m/yy h:mm", "hh:mm", "mm:ss.0", "[$-407]d. mmmm yyyy", "mmm-yy", "h:mm AM/PM", "yyyy\\-mm",
]  # fmt: skip


def _iso(value: Any) -> str:
    """openpyxl's value of a date cell as text, a date without a time where it is midnight, as calamine has it."""
    if isinstance(value, datetime.datetime) and value.time() == datetime.time(0):
        value = value.date()
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


@pytest.mark.parametrize("epoch", [CALENDAR_WINDOWS_1900, CALENDAR_MAC_1904], ids=["from 1900", "from 1904"])
def test_dates_are_those_that_openpyxl_reads(excel: ExcelResource, tmp_path: Path, epoch: datetime.datetime) -> None:
    """Every serial in every format of a date is the ISO text of what openpyxl reads, below day 60 and from either year too."""
    serials = [serial for serial in SERIALS if epoch == CALENDAR_WINDOWS_1900 or serial <= 2958465 - 1462]

    def show(workbook: Any) -> None:
        workbook.epoch = epoch
        for row in workbook["S"].iter_rows(min_row=2):
            for place, one in enumerate(row):
                one.number_format = FORMATS[place]

    write_workbook(tmp_path / "a.xlsx", {"S": [FORMATS, *([serial] * len(FORMATS) for serial in serials)]}, show)
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx")["S"]
    expected = [[_iso(value) for value in row] for row in sheet.iter_rows(min_row=2, values_only=True)]
    assert rows_of(excel.read("a.xlsx")) == expected


@pytest.mark.parametrize(
    ("serial", "expected"),
    [
        (0, "00:00:00"),
        (0.5, "12:00:00"),
        (1, "24:00:00"),
        (1.1041666666666667, "26:30:00"),
        (100.25, "2406:00:00"),
        (0.000011574074074074073, "00:00:01"),
        (-1.5, "-36:00:00"),
    ],
)
@pytest.mark.parametrize("epoch", [CALENDAR_WINDOWS_1900, CALENDAR_MAC_1904], ids=["from 1900", "from 1904"])
def test_a_duration_counts_hours(excel: ExcelResource, tmp_path: Path, serial: float, expected: str, epoch: datetime.datetime) -> None:
    """A cell formatted as [h]:mm:ss has as many hours as it has, whichever the year dates count from."""

    def show(workbook: Any) -> None:
        workbook.epoch = epoch
        workbook["S"]["A2"].number_format = "[h]:mm:ss"

    write_workbook(tmp_path / "a.xlsx", {"S": [["a"], [serial]]}, show)
    assert rows_of(excel.read("a.xlsx")) == [[expected]]


@pytest.mark.parametrize("serial", [-1, -0.25, -40000.25])
@pytest.mark.parametrize("number_format", ["yyyy-mm-dd", "hh:mm"])
def test_a_negative_number_is_no_date(excel: ExcelResource, tmp_path: Path, serial: float, number_format: str) -> None:
    """It stays the number, and does not become a time of day; a time of day beside it does."""

    def show(workbook: Any) -> None:
        for place in ("A2", "B2"):
            workbook["S"][place].number_format = number_format

    write_workbook(tmp_path / "a.xlsx", {"S": [["a", "b", "c"], [serial, 0.25, serial]]}, show)
    assert rows_of(excel.read("a.xlsx")) == [[str(serial), "06:00:00", str(serial)]]


def test_a_day_beyond_the_calendar_stays_a_number(cell: Cell, excel: ExcelResource, tmp_path: Path) -> None:
    """A serial after 9999-12-31 is no date."""

    def show(workbook: Any) -> None:
        workbook["S"]["A2"].number_format = "yyyy-mm-dd"

    write_workbook(tmp_path / "a.xlsx", {"S": [["a"], [2958466]]}, show)
    assert rows_of(excel.read("a.xlsx")) == [["2958466"]]


@pytest.mark.parametrize("text", ["2013-01-31", "31.01.2013", "1/2/2013", "2013-01-31T04:05:06", "Jan 13", "40000"])
def test_a_date_that_is_text_stays_text(cell: Cell, text: str) -> None:
    """Nothing is guessed from what a text looks like."""
    assert cell(text_cell("B2", text)) == text


@pytest.mark.parametrize("stored", ["2020-01-02", "2020-01-02T03:04:05", "2020-01-02T03:04:05Z"])
def test_a_date_stored_as_iso_text_stays_it(cell: Cell, stored: str) -> None:
    """The strict form of the format may store dates as text."""
    assert cell(f'<c r="B2" t="d"><v>{stored}</v></c>') == stored


# -- text, booleans, errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ('<c r="B2" t="inlineStr"><is><t xml:space="preserve"> x </t></is></c>', " x "),
        ('<c r="B2" t="inlineStr"><is><r><t>a</t></r><r><rPr><b/></rPr><t>b</t></r></is></c>', "ab"),
        ('<c r="B2" t="inlineStr"><is><t>課</t><rPh sb="0" eb="1"><t>カ</t></rPh></is></c>', "課"),
        ('<c r="B2" t="inlineStr"><is><t>a_x000D_b</t></is></c>', "a\rb"),
        ('<c r="B2" t="inlineStr"><is><t>&lt;a&amp;b&gt;&#10;c</t></is></c>', "<a&b>\nc"),
        ('<c r="B2" t="str"><v>x</v></c>', "x"),
        ('<c r="B2" t="b"><v>1</v></c>', "true"),
        ('<c r="B2" t="b"><v>0</v></c>', "false"),
        ('<c r="B2" t="e"><v>#N/A</v></c>', "#N/A"),
        ('<c r="B2" s="0"/>', None),
        ('<c r="B2"></c>', None),
        ('<c r="B2" t="inlineStr"><is><t></t></is></c>', None),
        ('<c r="B2" t="inlineStr"><is><t>00501</t></is></c>', "00501"),
        ('<c r="B2" t="inlineStr"><is><t>#DIV/0!</t></is></c>', "#DIV/0!"),
    ],
    ids=[
        "blanks", "rich text", "reading aid", "carriage return", "entities", "formula text", "true", "false", "error", "format only",
        "nothing", "empty text", "zeros", "text like an error",
    ],
)  # fmt: skip
def test_a_cell_becomes_text(cell: Cell, xml: str, expected: str | None) -> None:
    """Texts are what a reader sees, booleans words, errors as they are stored."""
    assert cell(xml) == expected


# -- what else a workbook holds ----------------------------------------------------------------------------------------


def add(path: Path, **parts: bytes) -> None:
    """Put more files into a workbook."""
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "/"), content)


def test_macros_are_left_alone(excel: ExcelResource, tmp_path: Path) -> None:
    """Code in a workbook is neither run nor read."""
    write_workbook(tmp_path / "a.xlsm", {"S": [["a"], ["1"]]})
    add(tmp_path / "a.xlsm", **{"xl__vbaProject.bin": b"\xd0\xcf\x11\xe0garbage"})
    assert rows_of(excel.read("a.xlsm")) == [["1"]]


def test_links_to_other_workbooks_are_not_followed(excel: ExcelResource, tmp_path: Path) -> None:
    """A formula that refers to another file is the value that was saved."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><f>[1]S!A1</f><v>5</v></c></row>')
    target = '<Relationship Id="r1" Type="externalLinkPath" Target="https://203.0.113.1/x.xlsx" TargetMode="External"/>'
    add(
        tmp_path / "a.xlsx",
        xl__externalLinks__externalLink1=b"<externalLink/>",
        **{"xl/externalLinks/_rels/externalLink1.xml.rels": f"<Relationships>{target}</Relationships>".encode()},
    )
    assert rows_of(excel.read("a.xlsx")) == [["5", None]]


@pytest.mark.parametrize(
    "entity",
    ['<!DOCTYPE w [<!ENTITY x "boom">]>', '<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/hostname">]>'],
    ids=["internal", "of a file"],
)
def test_entities_are_not_resolved(excel: ExcelResource, tmp_path: Path, entity: str) -> None:
    """A sheet that declares entities is refused, or read without them."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><f>1</f><v>1</v></c>{text_cell("B2", "&x;")}</row>')
    edit(tmp_path / "a.xlsx", lambda xml: xml.replace("<worksheet", f"{entity}<worksheet", 1))
    with pytest.raises(SourceFormatError):
        accounted(lambda: excel.read("a.xlsx"))


# -- no workbooks, and bombs -------------------------------------------------------------------------------------------


def _workbook() -> bytes:
    buffer = io.BytesIO()
    workbook = openpyxl.Workbook()
    workbook.active.append(["a"])
    workbook.active.append(["x" * 1000])
    workbook.save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (encrypted_workbook(), "the workbook is protected by a password. Next: deliver it without"),
        (encrypted_workbook()[:8] + bytes(2000), "this is no readable workbook"),
        (b"<html><table><tr><td>1</td></tr></table></html>", "this is no readable workbook"),
        (b"PK\x05\x06" + bytes(18), "this is no readable workbook"),
        (_workbook()[:-100], "."),
        (_workbook()[:300], "."),
    ],
    ids=["password", "broken compound file", "HTML", "empty archive", "end missing", "start only"],
)
def test_what_is_no_workbook_is_refused(excel: ExcelResource, tmp_path: Path, content: bytes, said: str) -> None:
    """Protected, cut and other files are format errors."""
    put(tmp_path, "a.xlsx", content)
    with pytest.raises(SourceFormatError, match=said):
        excel.read("a.xlsx")


def test_a_damaged_workbook_is_refused_or_read(excel: ExcelResource, tmp_path: Path) -> None:
    """Whichever byte of a workbook is damaged, its rows are the same or it is an error of ours: nothing else is raised."""
    whole = _workbook()
    for place in range(0, len(whole), 23):
        put(tmp_path, "a.xlsx", whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert rows_of(excel.read("a.xlsx")) == [["x" * 1000]]
        except EtlError:
            continue


def test_sheets_of_another_workbook_are_not_mixed_in(excel: ExcelResource, tmp_path: Path) -> None:
    """A sheet whose XML is missing is an error, not an empty sheet."""
    write_workbook(tmp_path / "a.xlsx", {"S": [["a"], ["1"]]})
    edit(tmp_path / "a.xlsx", lambda xml: xml.replace("worksheets/sheet1.xml", "worksheets/sheet9.xml"), "xl/_rels/workbook.xml.rels")
    with pytest.raises(SourceFormatError):
        excel.read("a.xlsx")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([("xl/media/a.bin", bytes(80 * 2**20))], r"it unpacks to 8\d+ bytes in \d+ entries"),
        ([(f"xl/media/{number}", b"") for number in range(10_001)], r"in 10\d+ entries"),
    ],
    ids=["packed too well", "too many entries"],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_bomb_is_refused_before_it_is_unpacked(excel: ExcelResource, tmp_path: Path, parts: list[tuple[str, bytes]], said: str) -> None:
    """The directory of the archive tells."""
    write_workbook(tmp_path / "a.xlsx", {"S": [["a"], ["1"]]})
    with zipfile.ZipFile(tmp_path / "a.xlsx", "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    with pytest.raises(SourceFormatError, match=said):
        excel.read("a.xlsx")


def test_a_workbook_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    """The cap counts unpacked bytes."""
    write_workbook(tmp_path / "a.xlsx", {"S": [["a"], ["x" * 30_000]]})
    with pytest.raises(SourceFormatError, match="it unpacks to .* Next: raise file_bytes if that is right"):
        ExcelResource(base_folder=str(tmp_path), file_bytes=30_000).read("a.xlsx")


def test_an_archive_that_lies_about_sizes_is_refused(excel: ExcelResource, tmp_path: Path) -> None:
    """A sheet that unpacks to more than its directory says is not unpacked further."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2">{text_cell("A2", "x" * 5_000_000)}</row>')
    archive = bytearray((tmp_path / "a.xlsx").read_bytes())
    for mark, at, name_at in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        place = archive.find(mark)
        while place >= 0:
            if archive[place + name_at :].startswith(b"xl/worksheets/sheet1.xml"):
                archive[place + at : place + at + 4] = struct.pack("<I", 5000)
            place = archive.find(mark, place + 1)
    put(tmp_path, "a.xlsx", bytes(archive))
    with pytest.raises(SourceFormatError):
        excel.read("a.xlsx")


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        '<row r="2"><c r="XFD2"><v>1</v></c></row><row r="1048576"><c r="A1048576"><v>1</v></c></row>',
        "<row r='1048576'><c s='0' r='XFD1048576'><v>1</v></c></row>",
        '<row r="1048576">' + "<c/>" * 16383 + "<c><v>1</v></c></row>",
        "<row/>" * 1_000_000 + '<row><c r="XFD1000002"><v>1</v></c></row>',
    ],
    ids=["one far cell", "far right and far down", "written otherwise", "counted cells", "counted rows"],
)
def test_cells_far_apart_are_refused(excel: ExcelResource, tmp_path: Path, rows: str) -> None:
    """A few bytes that span billions of cells would end the process: the message tells how far they reach."""
    write_xml(tmp_path / "a.xlsx", HEAD + rows)
    with pytest.raises(SourceFormatError, match=r"its cells span 10\d+ rows and 163\d\d columns. Next: remove cells far outside the table"):
        excel.read("a.xlsx")


def test_a_stray_cell_far_down_is_read(excel: ExcelResource, tmp_path: Path) -> None:
    """A value far down in a narrow sheet is one row more."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="100000"><c r="A100000"><v>1</v></c></row>')
    assert len(excel.read("a.xlsx")) == 1


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="1048576" ht="13"/>',
        '<row r="1048576"><c r="XFD1048576" s="0"/></row>',
        '<row r="2"><c s="0" r="XFD2"/></row><row r="1048576"/>',
    ],
    ids=["a row", "a cell", "a cell and a row"],
)
def test_formats_far_apart_are_nothing(excel: ExcelResource, tmp_path: Path, rows: str) -> None:
    """Heights and formats that a program writes up to the last row and column hold no values: they span nothing."""
    write_xml(tmp_path / "a.xlsx", f'{HEAD}<row r="2"><c r="A2"><v>1</v></c></row>{rows}')
    assert rows_of(excel.read("a.xlsx")) == [["1", None]]


# -- OpenDocument ------------------------------------------------------------------------------------------------------


def _ods_row(*cells: str) -> str:
    return f"<table:table-row>{''.join(cells)}</table:table-row>"


def _ods_text(text: str) -> str:
    return f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('office:value-type="float" office:value="16"', "16"),
        ('office:value-type="float" office:value="1.5"', "1.5"),
        ('office:value-type="percentage" office:value="0.25"', "0.25"),
        ('office:value-type="currency" office:currency="EUR" office:value="1.5"', "1.5"),
        ('office:value-type="boolean" office:boolean-value="true"', "true"),
        ('office:value-type="date" office:date-value="2020-01-02"', "2020-01-02"),
        ('office:value-type="date" office:date-value="2020-01-02T03:04:05"', "2020-01-02T03:04:05"),
        ('office:value-type="time" office:time-value="PT26H30M00S"', "PT26H30M00S"),
    ],
)
def test_values_of_ods(excel: ExcelResource, tmp_path: Path, value: str, expected: str) -> None:
    """The value that is stored counts, not the text that is shown."""
    shown = f"<table:table-cell {value}><text:p>shown</text:p></table:table-cell>"
    write_ods(tmp_path / "a.ods", f'<table:table table:name="S">{_ods_row(_ods_text("a"))}{_ods_row(shown)}</table:table>')
    assert rows_of(excel.read("a.ods")) == [[expected]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<text:tab/>b", "a\tb"),
        ("a<text:line-break/>b", "a\nb"),
        ('a<text:s text:c="3"/>b', "a   b"),
        ("a</text:p><text:p>b", "a\nb"),
        ("a&amp;b &lt;text:tab/&gt;", "a&b <text:tab/>"),
    ],
    ids=["tab", "line break", "blanks", "paragraphs", "entities"],
)
def test_blanks_of_ods_are_kept(excel: ExcelResource, tmp_path: Path, text: str, expected: str) -> None:
    """Blanks that OpenDocument writes as elements are characters of the text."""
    write_ods(tmp_path / "a.ods", f'<table:table table:name="S">{_ods_row(_ods_text("a"))}{_ods_row(_ods_text(text))}</table:table>')
    assert rows_of(excel.read("a.ods")) == [[expected]]


def test_repeated_cells_and_rows_of_ods_are_as_many(excel: ExcelResource, tmp_path: Path) -> None:
    """What is stored once and repeated comes as often as it is repeated, empty rows included in positions."""
    empty = '<table:table-row table:number-rows-repeated="3"><table:table-cell table:number-columns-repeated="1000"/></table:table-row>'
    twice = _ods_row(_ods_text("x").replace(" office", ' table:number-columns-repeated="2" office')).replace(
        "table-row>", 'table-row table:number-rows-repeated="2">', 1
    )
    write_ods(tmp_path / "a.ods", f'<table:table table:name="S">{_ods_row(_ods_text("a"), _ods_text("b"))}{empty}{twice}</table:table>')
    frame = excel.read("a.ods")
    assert (rows_of(frame), frame["source_position"].tolist()) == ([["x", "x"]] * 2, ["a.ods S row 5", "a.ods S row 6"])


def test_an_ods_of_endless_rows_is_refused_or_bounded(excel: ExcelResource, tmp_path: Path) -> None:
    """A few bytes that repeat a row billions of times in all columns are no workbook."""
    many = _ods_row(_ods_text("x").replace(" office", ' table:number-columns-repeated="16384" office')).replace(
        "table-row>", 'table-row table:number-rows-repeated="4000000000">', 1
    )
    write_ods(tmp_path / "a.ods", f'<table:table table:name="S">{_ods_row(_ods_text("a"))}{many}</table:table>')
    with pytest.raises(SourceFormatError):
        excel.read("a.ods", layout=Layout())
