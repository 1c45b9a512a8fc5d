"""A look at a file: what it proposes reads the file."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from etl_assets.accounting import open_account
from etl_assets.connectors.excel import ExcelResource, Layout
from etl_assets.connectors.files import FilesResource
from etl_assets.connectors.preview import Preview, as_text, preview
from etl_assets.errors import ConfigurationError, SourceFormatError, SourceNotFoundError
from etl_assets.pipelines.nyc_flights.sources.workbook import write_workbook


def carry_out(found: Preview, folder: Path) -> pd.DataFrame:
    """Run the proposed call."""
    names = {"files": FilesResource(base_folder=str(folder)), "workbooks": ExcelResource(base_folder=str(folder)), "Layout": Layout}
    frame: pd.DataFrame = eval(found.call, names)
    return frame


@pytest.mark.parametrize(
    ("name", "content", "facts", "call"),
    [
        ("a.csv", b"id,name\n1,x\n2,y\n", {"encoding": "utf-8", "delimiter": "','"}, 'files.read_csv("a.csv")'),
        ("a.csv", b"id;amount\n1;1,5\n2;2,5\n", {"delimiter": "';'"}, 'files.read_csv("a.csv", delimiter=";")'),
        ("a.tsv", b"id\tname\n1\tx\n2\ty\n", {"delimiter": "'\\t'"}, 'files.read_csv("a.tsv")'),
        ("a.txt", b"id\tname\r\n1\tx\r\n2\ty\r\n", {"line ends": "CRLF"}, 'files.read_csv("a.txt", delimiter="\\t")'),
        ("a.csv", "id,name\n1,é\n".encode("utf-16"), {"encoding": "utf-16 (byte order mark)"}, 'files.read_csv("a.csv")'),
        ("a.csv", "id,name\n1,é\n".encode("cp1252"), {"encoding": "cp1252 (a guess)"}, 'files.read_csv("a.csv", encoding="cp1252")'),
        ("a.csv.gz", gzip.compress(b"id,name\n1,x\n2,y\n", mtime=0), {"delimiter": "','"}, 'files.read_csv("a.csv.gz")'),
        ("a.csv", b"id,name\n1,x\n2,y,z\n3,w\n", {"unreadable": "a.csv line 3: 3 fields, the header has 2"}, 'files.read_csv("a.csv")'),
        ("a.jsonl", b'{"id": 1}\n{"id": 2}\n', {"encoding": "utf-8"}, 'files.read_json_lines("a.jsonl")'),
        (
            "a.json",
            b'{"n": 1, "data": {"rows": [{"id": 1}]}}',
            {"list of objects": "data.rows: 1"},
            'files.read_json("a.json", records="data.rows")',
        ),
        ("a.json", b'[{"id": 1}]', {"list of objects": "the document: 1"}, 'files.read_json("a.json")'),
    ],
)
def test_text(tmp_path: Path, name: str, content: bytes, facts: dict[str, str], call: str) -> None:
    """What a file of text seems to be is told, and the proposed call reads it."""
    (tmp_path / name).write_bytes(content)
    (found,) = preview(tmp_path / name)
    assert (found.call, {**dict(found.facts), **facts}) == (call, dict(found.facts))
    with open_account():
        assert len(carry_out(found, tmp_path)) >= 1


def book(path: Path, rows: Sequence[Sequence[Any]], merged: Sequence[str] = (), *, hidden: bool = False) -> Path:
    """A workbook with one sheet `Data`, and a visible one beside it when that is hidden."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.title = "Data"
    for row in rows:
        sheet.append(list(row))
    for cells in merged:
        sheet.merge_cells(cells)
    if hidden:
        workbook.create_sheet("Other").append(["x"])
        sheet.sheet_state = "hidden"
    workbook.save(path)
    return path


@pytest.mark.parametrize(
    ("rows", "merged", "call"),
    [
        ([["a", "b"], [1, 2], [3, 4]], [], 'workbooks.read("a.xlsx", sheet="Data")'),
        ([["Report"], [], ["a", "b"], [1, 2], [3, 4]], [], 'workbooks.read("a.xlsx", sheet="Data", layout=Layout(header_rows=(3,)))'),
        (
            [["Shop", None, "Sold"], ["Id", "Name", "Pieces"], [1, "x", 2], [2, "y", 3]], ["A1:B1"],
            'workbooks.read("a.xlsx", sheet="Data", layout=Layout(header_rows=(1, 2)))',
        ),
        (
            [["a", "b"], ["x", 2], ["y", 4], ["z", 1], ["Total", 7], ["a note"]], [],
            'workbooks.read("a.xlsx", sheet="Data", layout=Layout(footer_starts_with="Total"))',
        ),
    ],
    ids=["plain", "title", "merged", "footer"],
)  # fmt: skip
def test_sheets(tmp_path: Path, rows: list[list[Any]], merged: list[str], call: str) -> None:
    """Header rows and footer of a sheet are found, and the proposed call reads it."""
    (found,) = preview(book(tmp_path / "a.xlsx", rows, merged))
    assert found.call == call
    assert len(carry_out(found, tmp_path)) >= 2


def test_the_workbook_of_the_example(tmp_path: Path) -> None:
    """The example's workbook is read as its asset reads it."""
    write_workbook(tmp_path / "airlines.xlsx")
    (found,) = preview(tmp_path / "airlines.xlsx")
    assert list(carry_out(found, tmp_path).columns) == [
        "Carrier Code",
        "Carrier Name",
        "First flight",
        "Flights in 2013",
        "source_position",
    ]


def test_a_hidden_sheet_is_told(tmp_path: Path) -> None:
    """A hidden sheet is shown as one, and its call says so."""
    found = preview(book(tmp_path / "a.xlsx", [["a", "b"], [1, 2]], hidden=True))
    assert [dict(one.facts).get("hidden") for one in found] == ["yes", None]
    assert found[0].call.endswith("hidden=True)")


def test_a_formula_without_a_value_is_told(tmp_path: Path) -> None:
    """Cells whose formula nothing has calculated are counted: reading them refuses their rows."""
    (found,) = preview(book(tmp_path / "a.xlsx", [["a", "b"], [1, "=A2*2"], [2, "=A3*2"]]))
    assert dict(found.facts)["formulas without a value"] == "2"


def test_a_sheet_too_vast_is_told(tmp_path: Path) -> None:
    """A stray cell in the last corner, which would fill the memory, is told with its place; the other sheets are shown."""
    workbook = openpyxl.Workbook()
    assert workbook.active is not None
    workbook.active.cell(row=1_048_576, column=16_384, value="x")
    workbook.create_sheet("Data").append(["a", "b"])
    workbook.save(tmp_path / "a.xlsx")
    vast, data = preview(tmp_path / "a.xlsx")
    assert "span 1048576 rows and 16384 columns" in dict(vast.facts)["unreadable"]
    assert "unreadable" not in dict(data.facts)


def test_text_for_a_terminal(tmp_path: Path) -> None:
    """The text names the file, the facts, the rows and the call."""
    (tmp_path / "a.csv").write_text("id,name\n1,x\n")
    text = as_text(*preview(tmp_path / "a.csv"))
    assert [line.strip() for line in text.splitlines()][1:] == [
        "encoding: utf-8", "delimiter: ','", "quote: '\"'", "line ends: LF", "id  name", "1   x", 'read it so: files.read_csv("a.csv")',
    ]  # fmt: skip


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    """A missing file, a broken workbook and broken JSON are errors of ours; Parquet needs no look."""
    (tmp_path / "a.xlsx").write_bytes(b"no workbook")
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.parquet").write_bytes(b"")
    for name, kind in {
        "b.csv": SourceNotFoundError,
        "a.xlsx": SourceFormatError,
        "a.json": SourceFormatError,
        "a.parquet": ConfigurationError,
    }.items():
        with pytest.raises(kind):
            preview(tmp_path / name)


def test_a_long_file_is_looked_at_from_its_start(tmp_path: Path) -> None:
    """A quoted field that the sample cuts in two is not called unreadable."""
    rows = "".join(f'{number},"a\n{json.dumps("b")[1:-1]}"\n' for number in range(5000))
    (tmp_path / "a.csv").write_text(f"id,name\n{rows}")
    (found,) = preview(tmp_path / "a.csv")
    assert (found.rows[0], "unreadable" in dict(found.facts)) == (("0", "a\nb"), False)
