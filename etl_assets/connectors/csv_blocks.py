"""CSV as text, block by block: blocks that are written as RFC 4180 says go through Arrow, the others record by record, with one result.

A quote tells where records end only in a file without stray ones, so each block is looked at first: every quote must stand at a border
of a field or double another. Where one does not, or a line ends in CR alone, or there is a NUL, the block ends before it, and what follows
is read record by record (`csv_text.py`), which says what is wrong with which line; so are records with other fields than the header.

Not here: files (`storage.py`), encodings (`encoding.py`), types (contracts do that).
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO, TextIOWrapper

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from etl_assets.accounting import SOURCE_POSITION, UnreadableRow
from etl_assets.connectors.blocks import BLOCK_BYTES, TextBlocks, TextPart, and_reused, positions, read_parts
from etl_assets.connectors.csv_text import CsvBatch, CsvFormat, CsvRecords
from etl_assets.frames import numbered

_NEWLINE, _RETURN = ord("\n"), ord("\r")
_AROUND = 16 * 1024  # bytes after something out of order that are read record by record
_FEW = 0.1


def read_csv_blocks(
    text: TextIOWrapper, format_: CsvFormat, *, name: str, rows: int | None, block: int = BLOCK_BYTES, size: int | None = None
) -> Iterator[TextPart]:
    """The records of a file, at most `rows` readable ones at a time, all together where it is None; at least one part.

    Args:
        text: A text file opened with newline="", at its start.
        format_: How fields are written.
        name: Of the source, for positions and errors.
        rows: Records of a part.
        block: Bytes that are looked at together.
        size: Bytes of the file, for its progress; None when unknown.

    Raises:
        SourceFormatError: No header, or an empty, repeated or reserved name in it.
        UnicodeDecodeError: A byte is not of the file's encoding.
    """
    blocks = TextBlocks(text, block, whole=size)
    records = CsvRecords(blocks.lines(), format_, name=name)
    blocks.give_back()
    tasks = _tasks(blocks, records, format_, name)
    return read_parts(tasks, blocks, name=name, rows=rows, nothing=_table_of(_no_records(records.header), format_, name))


def _tasks(blocks: TextBlocks, records: CsvRecords, format_: CsvFormat, name: str) -> Iterator[Callable[[], TextPart]]:
    number = records.number
    around = _AROUND
    while blocks.fill():
        block = _Block.of(blocks.pending, format_, number, len(records.header), is_last=blocks.is_last)
        if block is not None and block.lines:
            if block.size >= around:
                around = _AROUND
            blocks.drop(block.size)
            number += block.lines
            yield and_reused(functools.partial(block.part, records, format_, name), block.data, blocks)
        elif block is None and blocks.may_grow and _is_open(blocks.pending, format_):
            blocks.grow()  # a record longer than a block, perhaps
        else:
            part, lines = _one_by_one(blocks, records, number, format_, name, around)
            # Where there is more out of order, looking for it each time would take longer than it spares.
            around *= 2
            number += lines
            yield functools.partial(lambda made: made, part)


def _one_by_one(blocks: TextBlocks, records: CsvRecords, number: int, format_: CsvFormat, name: str, around: int) -> tuple[TextPart, int]:
    """The records that start in so many of the pending bytes, and how many lines they take."""
    end = blocks.position + min(len(blocks.pending), around)
    batch = records.read(blocks.lines(), number, lambda: blocks.position >= end)
    blocks.give_back()
    return TextPart(table=_table_of(batch, format_, name), unreadable=batch.unreadable), batch.taken


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Whole records whose quotes are in order.

    Attributes:
        data: Their bytes and perhaps more; the last line has its end.
        length: How many of them are these records.
        size: How many of those the file has.
        lines: Lines of the file that they take.
        first_lines: Number of the line in which each record starts; blank lines are none where there are several columns.
        starts: Where each of them starts.
        ends: Where the newline behind each of them is.
        before: Lines before these.
    """

    data: bytearray = field(repr=False)
    length: int
    size: int
    lines: int
    first_lines: npt.NDArray[np.int64] = field(repr=False)
    starts: npt.NDArray[np.int64] = field(repr=False)
    ends: npt.NDArray[np.int64] = field(repr=False)
    before: int

    @staticmethod
    def of(pending: bytearray, format_: CsvFormat, before: int, width: int, *, is_last: bool) -> "_Block | None":
        """The records that end in what is pending and before whatever is out of order there, perhaps none; None where no end is found."""
        data = pending + b"\n" if is_last and not pending.endswith(b"\n") else pending
        parting, quote = _as_byte(format_.delimiter), None if format_.quote is None else _as_byte(format_.quote)
        if parting is None or (format_.quote is not None and quote is None):
            return None
        raw = np.frombuffer(data, dtype=np.uint8)
        ordered = _ordered(data, raw, is_last=is_last)
        newlines = positions(raw[:ordered], _NEWLINE)
        places = np.arange(len(newlines))
        if quote is not None:
            quotes = positions(raw[:ordered], quote)
            ordered = min(ordered, _well_placed(raw, quotes, quote, parting))
            places = places[(np.searchsorted(quotes, newlines) % 2 == 0) & (newlines < ordered)]
        if not len(places) and ordered == len(data):
            return None
        ends = newlines[places]
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends + 1])[:-1]
        first_lines = np.concatenate([np.zeros(1, dtype=np.int64), places + 1])[:-1] + before + 1
        if width > 1:
            present = ~((ends == starts) | ((ends == starts + 1) & (raw[starts] == _RETURN)))
            starts, ends, first_lines = starts[present], ends[present], first_lines[present]
        length = int(newlines[places[-1]]) + 1 if len(places) else 0
        return _Block(
            data=data,
            length=length,
            size=min(length, len(pending)),
            lines=int(places[-1]) + 1 if len(places) else 0,
            first_lines=first_lines,
            starts=starts,
            ends=ends,
            before=before,
        )

    def part(self, records: CsvRecords, format_: CsvFormat, name: str) -> TextPart:
        """The records by Arrow, those without all the fields of the header one by one, or all where they are many."""
        table, others = _parsed(pa.py_buffer(self.data).slice(0, self.length), format_, records.header, len(self.starts))
        if table is not None and table.num_rows + len(others) == len(self.starts):
            unreadable = self._unreadable(records, others)
            if unreadable is not None:
                return TextPart(
                    table=table.append_column(SOURCE_POSITION, numbered(f"{name} line ", np.delete(self.first_lines, others))),
                    unreadable=unreadable,
                )
        text = self.data[: self.size].decode()  # without a line end that the file does not have
        batch = records.read(StringIO(text, newline=""), self.before, lambda: False)
        return TextPart(table=_table_of(batch, format_, name), unreadable=batch.unreadable)

    def _unreadable(self, records: CsvRecords, others: list[int]) -> list[UnreadableRow] | None:
        """What is wrong with these records; None where one can be read after all."""
        unreadable: list[UnreadableRow] = []
        for place in others:
            text = self.data[self.starts[place] : self.ends[place] + 1].decode()
            batch = records.read(StringIO(text, newline=""), int(self.first_lines[place]) - 1, lambda: False)
            if batch.count != 1 or batch.rows:
                return None
            unreadable += batch.unreadable
        return unreadable


def _ordered(data: bytearray, raw: npt.NDArray[np.uint8], *, is_last: bool) -> int:
    """How many bytes there are before the first NUL or return without a newline."""
    end = data.find(b"\0")
    end = len(data) if end < 0 else end
    if b"\r" not in data or data.count(b"\r") == data.count(b"\r\n") + (not is_last and data.endswith(b"\r")):
        return end
    returns = positions(raw, _RETURN)
    alone = returns[returns + 1 < len(data)]
    alone = alone[raw[alone + 1] != _NEWLINE]
    return min(end, int(alone[0])) if len(alone) else end


def _well_placed(raw: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64], quote: int, parting: int) -> int:
    """How many bytes there are before a quote that neither opens a field, nor closes it, nor doubles another."""
    opening = quotes[0::2]
    closing = quotes[1::2]
    closing = closing[closing + 1 < len(raw)]
    before, after = raw[opening - 1], raw[closing + 1]
    misplaced = ~((before == parting) | (before == _NEWLINE) | (before == quote) | (opening == 0))
    misplaced[: len(closing)] |= ~((after == parting) | (after == _NEWLINE) | (after == quote) | (after == _RETURN))
    first = np.flatnonzero(misplaced)
    return int(opening[first[0]]) if len(first) else len(raw)


def _is_open(pending: bytearray, format_: CsvFormat) -> bool:
    """Whether a block may end inside a quoted field."""
    return format_.quote is not None and pending.count(format_.quote.encode()) % 2 == 1


def _parsed(data: pa.Buffer, format_: CsvFormat, header: tuple[str, ...], records: int) -> tuple[pa.Table | None, list[int]]:
    """The fields of so many records as Arrow reads them, and which have other fields than the header; no table where those are many."""
    others: list[int] = []

    def put_aside(row: pyarrow.csv.InvalidRow) -> str:
        if row.number is None or len(others) >= records * _FEW:
            return "error"
        others.append(row.number - 1)
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(column_names=header, use_threads=False),
            pyarrow.csv.ParseOptions(
                delimiter=format_.delimiter, quote_char=format_.quote or False, newlines_in_values=format_.quote is not None,
                ignore_empty_lines=len(header) > 1, invalid_row_handler=put_aside,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.large_string()), null_values=list(format_.null_markers), strings_can_be_null=True,
            ),
        )  # fmt: skip
    except pa.ArrowInvalid:
        return None, others
    return table, others


def _table_of(batch: CsvBatch, format_: CsvFormat, name: str) -> pa.Table:
    nulls = set(format_.null_markers)
    columns = zip(*batch.rows, strict=True) if batch.rows else [()] * len(batch.header)
    arrays = [pa.array([None if cell in nulls else cell for cell in cells], pa.large_string()) for cells in columns]
    places = pa.array([f"{name} line {line}" for line in batch.lines], pa.large_string())
    return pa.table([*arrays, places], names=[*batch.header, SOURCE_POSITION])


def _no_records(header: tuple[str, ...]) -> CsvBatch:
    return CsvBatch(header=header, rows=[], lines=[], unreadable=[], count=0, taken=0)


def _as_byte(character: str) -> int | None:
    return ord(character) if character.isascii() else None


__all__ = ["read_csv_blocks"]
