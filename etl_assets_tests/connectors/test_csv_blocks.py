"""CSV by blocks: whatever a file holds, and wherever a block ends in it, the rows are those of the reader that goes record by record."""

import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_assets.connectors import blocks, csv_blocks
from etl_assets.connectors.blocks import TextPart
from etl_assets.connectors.csv_blocks import read_csv_blocks
from etl_assets.connectors.csv_text import CsvFormat, read_csv_text
from etl_assets.connectors.files import FilesResource
from etl_assets.errors import SourceFormatError

_PIECES = ['"', '""', ",", "\n", "\r\n", "\r", "a", "é", "🚀", "NULL", " ", "\0", '"a,b"', '"x\ny"', '"p""q"', ",1\n", '"",""\n']
TEXTS = st.lists(st.sampled_from(_PIECES), max_size=24).map("".join)


def parts_of(
    content: str, *, format_: CsvFormat, block: int, rows: int = 50_000, encoding: str = "utf-8", around: int | None = None
) -> list[TextPart]:
    """What the blocks of a file hold.

    With a number of bytes so many are read record by record at first, and any number of records may have other fields than the header.
    """
    text = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content.encode(encoding))), encoding=encoding, newline="")  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        if around is not None:
            patch.setattr(csv_blocks, "_AROUND", around)
            patch.setattr(csv_blocks, "_FEW", 1.0)
        return list(read_csv_blocks(text, format_, name="a.csv", rows=rows, block=block))


def told(parts: list[TextPart]) -> tuple[list[dict[str, str | None]], list[tuple[str, str, str, str]]]:
    """Rows and unreadable lines of all parts."""
    rows = pa.concat_tables([part.table for part in parts]).to_pylist()
    return rows, [(row.position, row.raw, row.rule, row.says) for part in parts for row in part.unreadable]


def one_by_one(content: str, format_: CsvFormat) -> tuple[list[dict[str, str | None]], list[tuple[str, str, str, str]]]:
    """The same by the reader that goes record by record."""
    (batch,) = read_csv_text(io.StringIO(content, newline=""), format_, name="a.csv")
    rows = [
        {name: None if cell in format_.null_markers else cell for name, cell in zip(batch.header, row, strict=True)}
        | {"source_position": f"a.csv line {line}"}
        for row, line in zip(batch.rows, batch.lines, strict=True)
    ]
    return rows, [(row.position, row.raw, row.rule, row.says) for row in batch.unreadable]


@given(
    TEXTS, st.sampled_from(["h", "h,i", '"h\n1",i', "h,i,j"]), st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 40), st.sampled_from(['"', "'", None]),
    st.sampled_from([("",), ("", "NULL"), ("a",)]), st.integers(1, 5), st.sampled_from([None, 1, 8]),
)  # fmt: skip
@example('x\n"', "h,i", "\n", 3, '"', ("",), 2, None)
@example('1,2\r\n3,"4\r\n5"\r\n', "h,i", "\n", 4, '"', ("",), 2, None)
@example("1,2\r", "h,i", "\n", 4, '"', ("",), 2, None)
@example('1,"2\n\n\n', "h,i", "\n", 2, '"', ("",), 2, None)
@example('1,2\n\n3\n4,5,6\n7,8\n9,a"b\n1,"c\nd"\n', "h,i", "\n", 40, '"', ("",), 5, 1)
@example('1,2\n3,"4"x\n5,6\n7,\0\n8,"9\n', "h,i", "\r\n", 40, '"', ("",), 5, 1)
@example("1\n\n2,3\n\n4\n", "h", "\n", 40, '"', ("",), 5, 1)
@example("1,2\n3\r4,5\r\n6,7\n", "h,i", "\n", 40, '"', ("",), 5, 1)
@settings(max_examples=1000, deadline=None)
def test_blocks_give_what_records_give(
    body: str, header: str, end: str, block: int, quote: str | None, null_markers: tuple[str, ...], rows: int, around: int | None
) -> None:
    """Rows, positions, NULLs and unreadable lines are the same, for any text and any length of a block."""
    format_ = CsvFormat(quote=quote, null_markers=null_markers)
    content = f"{header}{end}{body}"
    try:
        expected = one_by_one(content, format_)
    except SourceFormatError as refused:
        with pytest.raises(SourceFormatError, match=re.escape(str(refused))):
            parts_of(content, format_=format_, block=block, around=around)
        return
    found = parts_of(content, format_=format_, block=block, rows=rows, around=around)
    assert told(found) == expected
    assert all(part.table.num_rows <= rows for part in found)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_an_encoding_is_the_same_by_blocks(encoding: str) -> None:
    """Files of another encoding, and those with a mark, are read by blocks too."""
    content = 'a,b\nné,"1\n2"\n' * 20
    format_ = CsvFormat()
    expected = one_by_one(content, format_)
    assert told(parts_of(content, format_=format_, block=16, encoding=encoding)) == expected


@pytest.fixture
def read_alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each call of the reader took that goes record by record."""
    read = csv_blocks.CsvRecords.read
    counts: list[int] = []

    def counted(self: csv_blocks.CsvRecords, *arguments: Any) -> Any:
        batch = read(self, *arguments)
        counts.append(batch.count)
        return batch

    monkeypatch.setattr(csv_blocks.CsvRecords, "read", counted)
    return counts


def test_a_clean_file_is_not_read_record_by_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quoted line breaks, doubled quotes, blank lines and CRLF are no reason for the slow way."""

    def refuse(*_: object) -> None:
        raise AssertionError("read one by one")

    monkeypatch.setattr(csv_blocks.CsvRecords, "read", refuse)
    content = 'a,b\r\n1,"x\r\ny"\r\n\r\n2,"say ""no"""\r\n3,\r\n'
    (part,) = parts_of(content, format_=CsvFormat(), block=1000)
    assert part.table.to_pydict() == {
        "a": ["1", "2", "3"], "b": ["x\r\ny", 'say "no"', None], "source_position": ["a.csv line 2", "a.csv line 5", "a.csv line 6"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "most"),
    [
        ("1,2,3", 0), ("1", 0), ('"1\n2"', 0), ('1,"2"3', 1), ('1,"2', 1), ('"1,2', 1), ("1,2\0", 1), ("1\r2,3", 1),
        ('1,2"', 1), ("\n\n1,2,3", 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [1, 20])
def test_records_near_a_bad_one_stay_fast(bad: str, most: int, count: int, read_alone: list[int]) -> None:
    """Of records with other fields than the header only they are read one by one, of what else is out of order those near them."""
    lines = [f'{number},"text {number}"' for number in range(100_000)]
    for number in range(count):
        lines.insert(3_000 + 4_001 * number, bad)
    content = "\n".join(["a,b", *lines, ""])
    expected = one_by_one(content, CsvFormat())
    assert told(parts_of(content, format_=CsvFormat(), block=2**22)) == expected
    near = csv_blocks._AROUND / 12
    assert sum(read_alone) <= count * (3 + most * 2 * near)


def test_a_stray_quote_is_no_long_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block grows for a record that does not end in it, not for quotes that are out of order."""

    def refuse(_: object) -> None:
        raise AssertionError("grew")

    monkeypatch.setattr(blocks.TextBlocks, "grow", refuse)
    content = "a,b\n" + "1,2\n" * 500 + '3,4"5\n' + "7,8\n" * 500
    rows, unreadable = told(parts_of(content, format_=CsvFormat(), block=200, around=1))
    assert (len(rows), len(unreadable)) == (1001, 0)


def test_after_a_bad_record_blocks_go_on(read_alone: list[int]) -> None:
    """One bad record costs its block, not the rest of the file."""
    content = "a,b\n" + "1,2\n" * 500 + '3,"4"5\n6\n' + "7,8\n" * 500
    rows, unreadable = told(parts_of(content, format_=CsvFormat(), block=200))
    assert (len(rows), len(unreadable)) == (1000, 2)
    assert len(read_alone) <= 2


def test_a_byte_of_another_encoding_is_an_error(tmp_path: Path) -> None:
    """It is found wherever it stands, and said as ever."""
    (tmp_path / "a.csv").write_bytes(b"a,b\n" + b"1,2\n" * 1000 + b"caf\xe9,2\n" + b"1,2\n" * 1000)
    with pytest.raises(SourceFormatError, match="not utf-8 \\(byte 0xe9"):
        FilesResource(base_folder=str(tmp_path)).read_csv("a.csv")
