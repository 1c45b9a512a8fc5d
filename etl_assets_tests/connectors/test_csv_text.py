"""CSV as text: every line of a file is in a row, is unreadable, or is blank, and never two of these."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_assets.connectors.csv_text import CsvBatch, CsvFormat, read_csv_text
from etl_assets.connectors.files import FilesResource
from etl_assets.errors import SourceFormatError
from etl_assets_tests.connectors.file_reading import accounted, positions_of, put, rows_of, unreadable_of

_BREAK = re.compile(r"\r\n|\r|\n")
FORMAT = CsvFormat()


@pytest.fixture
def files(tmp_path: Path) -> FilesResource:
    """Files below an empty folder."""
    return FilesResource(base_folder=str(tmp_path))


def parsed(text: str, format_: CsvFormat = FORMAT, rows: int | None = None) -> list[CsvBatch]:
    """The batches of a text."""
    return list(read_csv_text(io.StringIO(text, newline=""), format_, name="a.csv", rows=rows))


def whole(text: str, format_: CsvFormat = FORMAT) -> tuple[list[tuple[int, list[str]]], list[tuple[int, str, str]]]:
    """Line and fields of each row; line, text and rule of each unreadable line."""
    (batch,) = parsed(text, format_)
    return list(zip(batch.lines, batch.rows, strict=True)), [
        (int(row.position.removeprefix("a.csv line ")), row.raw, row.rule) for row in batch.unreadable
    ]


# -- what arrives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_line_ends_in_any_way(end: str) -> None:
    """Lines end with LF, CRLF or CR, and the last one need not."""
    assert whole(f"a,b{end}1,2{end}3,4") == ([(2, ["1", "2"]), (3, ["3", "4"])], [])


def test_line_ends_may_be_mixed() -> None:
    """One file may mix line ends, and lines count all the same."""
    assert whole("a,b\r1,2\r\n3,4\n\r\n5,6") == ([(2, ["1", "2"]), (3, ["3", "4"]), (5, ["5", "6"])], [])


@pytest.mark.parametrize("name", ["a.tsv", "a.TSV", "a.tab", "in/a.tsv", "a.tsv.gz"])
def test_a_tsv_file_is_parted_by_tabs(files: FilesResource, tmp_path: Path, name: str) -> None:
    """Files named .tsv or .tab, packed or not, are parted by tabs by default."""
    put(tmp_path, name, "a\tb\n1,5\t2\n")
    assert rows_of(files.read_csv(name)) == [["1,5", "2"]]


@pytest.mark.parametrize("name", ["a.csv", "my.tables/a.csv", "a.tsv.csv", "tab", "a.txt"])
def test_another_file_is_parted_by_commas(files: FilesResource, tmp_path: Path, name: str) -> None:
    """Only the end of the file's own name counts."""
    put(tmp_path, name, "a,b\n1\t5,2\n")
    assert rows_of(files.read_csv(name)) == [["1\t5", "2"]]


def test_each_file_of_a_glob_has_its_own_delimiter(files: FilesResource, tmp_path: Path) -> None:
    """A glob may name .csv and .tsv files."""
    put(tmp_path, "1.csv", "a,b\n1,2\n")
    put(tmp_path, "2.tsv", "a\tb\n3\t4\n")
    assert rows_of(files.read_csv("*")) == [["1", "2"], ["3", "4"]]


def test_a_declared_delimiter_holds_for_tsv_too(files: FilesResource, tmp_path: Path) -> None:
    """What is declared is not overruled by the name."""
    put(tmp_path, "a.tsv", "a;b\n1\t5;2\n")
    assert rows_of(files.read_csv("a.tsv", delimiter=";")) == [["1\t5", "2"]]


@pytest.mark.parametrize(
    ("text", "format_", "expected"),
    [
        ('a,b\n"x,y\n', CsvFormat(quote=None), [(2, ['"x', "y"])]),
        ('a,b\n5" disk,"\n', CsvFormat(quote=None), [(2, ['5" disk', '"'])]),
        ('a,b\n5" disk,y\n', CsvFormat(), [(2, ['5" disk', "y"])]),
        ("a,b\n'x,y',z\n", CsvFormat(quote="'"), [(2, ["x,y", "z"])]),
        ("a,b\n'it''s',z\n", CsvFormat(quote="'"), [(2, ["it's", "z"])]),
        ('a,b\n"x",y\n', CsvFormat(quote="'"), [(2, ['"x"', "y"])]),
        ('a|b\n"x|y"|z\n', CsvFormat(delimiter="|"), [(2, ["x|y", "z"])]),
        ("a b\n1 2\n", CsvFormat(delimiter=" "), [(2, ["1", "2"])]),
        ("a\u00a7b\n1\u00a72\n", CsvFormat(delimiter="\u00a7"), [(2, ["1", "2"])]),
        ("a\x01b\n1\x012\n", CsvFormat(delimiter="\x01"), [(2, ["1", "2"])]),
        ("a,b\n\\N,x\\\n", CsvFormat(), [(2, ["\\N", "x\\"])]),
        ('a,b\n"",""\n', CsvFormat(), [(2, ["", ""])]),
        ("a,b\n,\n", CsvFormat(), [(2, ["", ""])]),
    ],
    ids=[
        "no quotes", "a quote is a letter", "a quote inside a field", "another quote", "doubled", "the usual one is a letter", "pipe",
        "blank", "beyond ASCII", "control character", "no escapes", "empty in quotes", "empty",
    ],
)  # fmt: skip
def test_declared_formats(text: str, format_: CsvFormat, expected: list[tuple[int, list[str]]]) -> None:
    """Delimiter and quote are what is declared, and nothing else means anything."""
    assert whole(text, format_) == (expected, [])


def test_nothing_is_stripped() -> None:
    """Blanks around fields and names belong to them."""
    (batch,) = parsed("a , b\n 1 ,\t2\n")
    assert (batch.header, batch.rows) == (("a ", " b"), [[" 1 ", "\t2"]])


def test_a_header_may_span_lines() -> None:
    """A quoted name may hold line breaks; positions count them."""
    (batch,) = parsed('"a\nx",b\n1,2\n')
    assert (batch.header, batch.lines) == (("a\nx", "b"), [3])


def test_files_with_columns_in_another_order_are_one_table(files: FilesResource, tmp_path: Path) -> None:
    """Columns go by name, in the order of the first file."""
    put(tmp_path, "1.csv", "a,b\n1,2\n")
    put(tmp_path, "2.csv", "b,a\n4,3\n")
    assert rows_of(files.read_csv("*.csv")) == [["1", "2"], ["3", "4"]]


def test_files_of_other_columns_are_refused(files: FilesResource, tmp_path: Path) -> None:
    """A file with other columns is an error that names both files and the difference."""
    put(tmp_path, "1.csv", "a,b\n1,2\n")
    put(tmp_path, "2.csv", "a,c\n3,4\n")
    with pytest.raises(SourceFormatError, match=r"2.csv: its columns differ from those of 1.csv: missing \['b'\], extra \['c'\]"):
        files.read_csv("*.csv")


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "unreadable"),
    [
        ("x", [(3, "x", "fields")]),
        ("x,y,z", [(3, "x,y,z", "fields")]),
        ("x,y,", [(3, "x,y,", "fields")]),
        (" ", [(3, " ", "fields")]),
        ('"x"y,z', [(3, '"x"y,z', "quotes")]),
        ('x,"y" ', [(3, 'x,"y" ', "quotes")]),
        ("x,\0", [(3, "x,\0", "nul_byte")]),
        ('"x\ny\nz"', [(3, '"x', "fields"), (4, "y", "fields"), (5, 'z"', "fields")]),
        ('"x\r\ny"w,z', [(3, '"x', "quotes"), (4, 'y"w,z', "quotes")]),
        ('x,"y\0\nz"', [(3, 'x,"y\0', "nul_byte"), (4, 'z"', "nul_byte")]),
    ],
    ids=[
        "one field", "a field too many", "delimiter at the end", "a blank", "text after a quote", "blank after a quote", "NUL",
        "one field of three lines", "text after a quote two lines down", "NUL in two lines",
    ],
)  # fmt: skip
def test_a_broken_record_leaves_its_neighbours(broken: str, unreadable: list[tuple[int, str, str]]) -> None:
    """Each line of a broken record is kept once with its number and text; the rows before and after it are read."""
    after = 3 + len(unreadable)
    assert whole(f"a,b\n1,2\n{broken}\n3,4\n") == ([(2, ["1", "2"]), (after, ["3", "4"])], unreadable)


def test_a_quote_that_is_never_closed_counts_for_what_it_swallowed() -> None:
    """Every line from the open quote to the end is kept; the rows before it are read."""
    unreadable = [(3, 'x,"y', "quotes"), (4, "3,4", "quotes"), (5, "", "quotes"), (6, "5,6", "quotes")]
    assert whole('a,b\n1,2\nx,"y\n3,4\n\n5,6\n') == ([(2, ["1", "2"])], unreadable)


def test_a_quote_closed_by_a_later_one_counts_up_to_there() -> None:
    """A stray quote that meets another one takes the lines between them, and the reading goes on after."""
    text = 'a,b\n1,2\nx,"y\n3,4\n"z",5\n6,7\n'
    assert whole(text) == ([(2, ["1", "2"]), (6, ["6", "7"])], [(3, 'x,"y', "quotes"), (4, "3,4", "quotes"), (5, '"z",5', "quotes")])


def test_one_field_too_many_on_every_row_shifts_nothing() -> None:
    """No field of a row with more fields than the header lands under a name; pandas would make the first one the index."""
    assert whole("a,b\n1,2,3\n4,5,6\n") == ([], [(2, "1,2,3", "fields"), (3, "4,5,6", "fields")])


def test_one_field_too_few_is_not_padded() -> None:
    """No field is made up where a row ends early."""
    assert whole("a,b,c\n1,2\n") == ([], [(2, "1,2", "fields")])


def test_unreadable_lines_reach_the_account(files: FilesResource, tmp_path: Path) -> None:
    """They are handed over with file and line, and count as read."""
    put(tmp_path, "in/a.csv", "a,b\n1,2\n3\n")
    frame, account = accounted(lambda: files.read_csv("in/a.csv"))
    assert (rows_of(frame), unreadable_of(account), account.rows_read) == ([["1", "2"]], [("in/a.csv line 3", "3", "fields")], 2)


def test_a_file_of_unreadable_lines_keeps_its_columns(files: FilesResource, tmp_path: Path) -> None:
    """Without a readable row the frame is empty and has the columns."""
    put(tmp_path, "a.csv", "a,b\n1\n")
    frame, _ = accounted(lambda: files.read_csv("a.csv"))
    assert (len(frame), list(frame.columns)) == (0, ["a", "b", "source_position"])


# -- properties --------------------------------------------------------------------------------------------------------

# Few letters, so that quotes, delimiters and line ends meet often.
_anything = st.text(st.sampled_from('ab,"\n\r\0 \u2028')) | st.text(max_size=30)


@settings(max_examples=400, deadline=None)
@given(text=_anything, names=st.sampled_from(["a", "a,b", "a,b,c"]), end=st.sampled_from(["\n", "\r\n", "\r"]))
@example(text='1,2\n"x\n3,4\n', names="a,b", end="\n")
@example(text='"x"y\n1,2\n', names="a,b", end="\r")
@example(text="\n\n", names="a", end="\n")
def test_each_line_is_a_row_unreadable_or_blank(text: str, names: str, end: str) -> None:
    """Of any text, each line is part of exactly one row, or unreadable with its very text, or blank; with one column none is blank."""
    document = f"{names}{end}{text}"
    lines = [_BREAK.sub("", line) for line in io.StringIO(document, newline="")]
    rows, unreadable = whole(document)
    seen = [1]
    for line, fields in rows:
        seen += range(line, line + 1 + sum(len(_BREAK.findall(field)) for field in fields))
    for line, raw, _ in unreadable:
        assert raw == lines[line - 1]
        seen.append(line)
    blank = [number for number, line in enumerate(lines, start=1) if number not in seen and line == "" and names != "a"]
    assert sorted(seen + blank) == list(range(1, len(lines) + 1))


@settings(max_examples=200, deadline=None)
@given(text=_anything, size=st.integers(1, 5))
def test_batches_are_the_whole(text: str, size: int) -> None:
    """Batches of any size hold the rows, the lines and the unreadable lines of the whole, in their order, and no more than asked for."""
    document = f"a,b\n{text}"
    (one,) = parsed(document)
    batches = parsed(document, rows=size)
    together = tuple([item for batch in batches for item in getattr(batch, part)] for part in ("rows", "lines", "unreadable"))
    assert together == (one.rows, one.lines, one.unreadable)
    assert max(len(batch.rows) for batch in batches) <= size


_cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.text(st.sampled_from('a,"\n\r; '))


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(_cell, min_size=width, max_size=width), max_size=6))
    return [f"c{number}" for number in range(width)], rows


@settings(max_examples=300, deadline=None)
@given(
    table=_tables(),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quote=st.sampled_from(['"', "'"]),
    written=st.sampled_from([(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r"), (csv.QUOTE_MINIMAL, "\r\n")]),
)
def test_what_the_standard_library_writes_is_read_back(
    table: tuple[list[str], list[list[str]]], delimiter: str, quote: str, written: tuple[Any, str]
) -> None:
    """Any table that the csv module writes is read cell by cell, each row at the line where it starts."""
    header, rows = table
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quotechar=quote, quoting=written[0], lineterminator=written[1])
    starts = []
    for row in [header, *rows]:
        starts.append(len(list(io.StringIO(buffer.getvalue(), newline=""))) + 1)
        writer.writerow(row)
    read, unreadable = whole(buffer.getvalue(), CsvFormat(delimiter=delimiter, quote=quote))
    assert (read, unreadable) == (list(zip(starts[1:], rows, strict=True)), [])


@settings(max_examples=60, deadline=None)
@given(table=_tables(), size=st.integers(1, 4))
def test_frames_hold_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[list[str], list[list[str]]], size: int
) -> None:
    """A file of any table gives its cells as they are, whole and in batches."""
    header, rows = table
    folder = tmp_path_factory.getbasetemp() / "frames"
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([header, *rows])
    put(folder, "a.csv", buffer.getvalue())
    files = FilesResource(base_folder=str(folder))
    batches = list(files.read_csv_batches("a.csv", null_markers=(), rows=size))
    assert rows_of(files.read_csv("a.csv", null_markers=())) == rows
    assert [row for batch in batches for row in rows_of(batch)] == rows


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ragged(files: FilesResource, tmp_path: Path) -> Callable[..., Any]:
    """Reads two files of rows, blank lines, quoted line breaks and unreadable lines."""
    put(tmp_path, "1.csv", 'a,b\n1,2\n3\n"x\ny",4\n\n5,6\n7,8,9\n10,11\n')
    put(tmp_path, "2.csv", "b,a\n12,13\n14\n")
    return lambda read, **options: getattr(files, read)("*.csv", **options)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 1000])
def test_batches_of_files_are_the_whole(ragged: Callable[..., Any], rows: int) -> None:
    """Batches of any size give the rows and positions of a whole read, and account for the same."""
    frame, expected = accounted(lambda: ragged("read_csv"))
    frames: list[Any] = []
    _, account = accounted(lambda: frames.extend(ragged("read_csv_batches", rows=rows)))
    assert [row for batch in frames for row in rows_of(batch)] == rows_of(frame)
    assert [place for batch in frames for place in positions_of(batch)] == positions_of(frame)
    assert (account.unreadable, account.reads) == (expected.unreadable, expected.reads)


def test_a_batch_has_the_columns_even_without_rows(files: FilesResource, tmp_path: Path) -> None:
    """A file of a header gives one batch, empty, with its columns."""
    put(tmp_path, "a.csv", "a,b\n")
    (batch,) = files.read_csv_batches("a.csv")
    assert list(batch.columns) == ["a", "b", "source_position"]
