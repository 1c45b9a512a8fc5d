"""CSV as text, block by block: blocks that are written as RFC 4180 says go through Arrow, the others record by record, with one result.

A quote tells where records end only in a file without stray ones, so each block is looked at first: every quote must stand at a border
of a field or double another. Where one does not, or a record has other fields than the header, or a line ends in CR alone, the records
of that block are read one by one (`csv_text.py`), which says what is wrong with which line.

Not here: files (`storage.py`), encodings (`encoding.py`), types (contracts do that).
"""

import codecs
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import StringIO, TextIOWrapper
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from etl_assets.accounting import SOURCE_POSITION, UnreadableRow
from etl_assets.connectors.csv_text import CsvBatch, CsvFormat, CsvRecords
from etl_assets.frames import arrow_to_frame

_BLOCK = 4 * 2**20
_NEWLINE, _RETURN = ord("\n"), ord("\r")


@dataclass(frozen=True, kw_only=True)
class CsvPart:
    """Some consecutive records of a file.

    Attributes:
        header: Column names.
        table: The readable ones, all columns text, with `source_position`.
        unreadable: What could not be read among them.
    """

    header: tuple[str, ...]
    table: pa.Table = field(repr=False)
    unreadable: list[UnreadableRow] = field(default_factory=list, repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """The readable records."""
        return arrow_to_frame(self.table)


def read_csv_blocks(text: TextIOWrapper, format_: CsvFormat, *, name: str, rows: int | None, block: int = _BLOCK) -> Iterator[CsvPart]:
    """The records of a file, at most `rows` readable ones at a time, all together where it is None; at least one part.

    Args:
        text: A text file opened with newline="", at its start.
        format_: How fields are written.
        name: Of the source, for positions and errors.
        rows: Records of a part.
        block: Bytes that are looked at together.

    Raises:
        SourceFormatError: No header, or an empty, repeated or reserved name in it.
        UnicodeDecodeError: A byte is not of the file's encoding.
    """
    blocks = _Blocks(text, block)
    records = CsvRecords(blocks.lines(), format_, name=name)
    header = records.header
    nothing = _table_of(_no_records(header), format_, name)
    held: list[pa.Table] = [nothing]
    count, is_empty = 0, True
    unreadable: list[UnreadableRow] = []
    for part in _parts(blocks, records, format_, name):
        held.append(part.table)
        count += part.table.num_rows
        unreadable += part.unreadable
        while rows is not None and count >= rows:
            table = pa.concat_tables(held)
            yield CsvPart(header=header, table=table.slice(0, rows), unreadable=unreadable)
            held, count, unreadable, is_empty = [table.slice(rows)], count - rows, [], False
    if count or unreadable or is_empty:
        yield CsvPart(header=header, table=pa.concat_tables(held), unreadable=unreadable)


def _parts(blocks: "_Blocks", records: CsvRecords, format_: CsvFormat, name: str) -> Iterator[CsvPart]:
    number = records.number
    begun: Future[CsvPart] | None = None
    # One block is parsed while the next one is read and looked at.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="csv") as thread:
        while blocks.fill():
            block = _Block.of(blocks.pending, format_, len(records.header), number, is_last=blocks.is_last)
            if block is None and blocks.may_grow and _is_open(blocks.pending, format_):
                blocks.grow()  # a record longer than a block, perhaps
                continue
            if begun is not None:
                yield begun.result()
                begun = None
            if block is not None:
                blocks.drop(block.size)
                number += block.lines
                begun = thread.submit(block.part, records, format_, name)
                continue
            end = blocks.position + len(blocks.pending)
            batch = records.read(blocks.lines(), number, lambda: blocks.position >= end)  # noqa: B023 - called at once
            blocks.give_back()
            number += batch.taken
            yield CsvPart(header=records.header, table=_table_of(batch, format_, name), unreadable=batch.unreadable)
        if begun is not None:
            yield begun.result()


class _Blocks:
    """A text file as UTF-8, in blocks or line by line.

    Attributes:
        pending: What was read and not taken.
        position: Bytes taken so far.
        is_last: Whether the file ends with what is pending.
    """

    def __init__(self, text: TextIOWrapper, size: int) -> None:
        self._read = self._reader(text)
        self._size = self._most = size
        self._split: deque[str] = deque()
        self.pending = b""
        self.position = 0
        self.is_last = False

    @staticmethod
    def _reader(text: TextIOWrapper) -> Callable[[int], bytes]:
        if codecs.lookup(text.encoding).name not in ("utf-8", "utf-8-sig"):
            return lambda size: text.read(size).encode()
        file: Any = text.buffer
        if codecs.lookup(text.encoding).name == "utf-8-sig" and file.peek(3)[:3] == codecs.BOM_UTF8:
            file.read(3)
        return lambda size: bytes(file.read(size))

    @property
    def may_grow(self) -> bool:
        """Whether there is more, and a longer block has not been tried."""
        return not self.is_last and self._most == self._size

    def grow(self) -> None:
        """Read another block to the pending one."""
        self._most *= 2

    def fill(self) -> bool:
        """Read until a block is pending; whether anything is."""
        while len(self.pending) < self._most and not self.is_last:
            more = self._read(self._size)
            self.is_last = not more
            self.pending += more
        return bool(self.pending)

    def drop(self, size: int) -> None:
        """Take so many bytes."""
        self.pending = self.pending[size:]
        self.position += size
        self._most = self._size

    def lines(self) -> Iterator[str]:
        """Lines with their ends, however they end, taken one by one."""
        while True:
            while self._split:
                line = self._split.popleft()
                self.position += len(line.encode())
                yield line
            size = self._line()
            if not size:
                return
            text = self.pending[:size].decode()
            self._split.extend(StringIO(text, newline="") if "\r" in text else (text,))
            self.pending = self.pending[size:]

    def _line(self) -> int:
        """Length of what is pending up to the end of a line."""
        while True:
            newline = self.pending.find(b"\n")
            if newline >= 0:
                return newline + 1
            returned = self.pending.rfind(b"\r", 0, -1)  # the last one may be followed by a newline
            if returned >= 0:
                return returned + 1
            more = b"" if self.is_last else self._read(self._size)
            if not more:
                self.is_last = True
                return len(self.pending)
            self.pending += more

    def give_back(self) -> None:
        """Put lines that were parted and not taken back to what is pending."""
        self.pending = "".join(self._split).encode() + self.pending
        self._split.clear()
        self._most = self._size


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Whole records whose quotes are in order.

    Attributes:
        data: Their bytes; the last line has its end.
        size: How many of them the file has.
        lines: Lines of the file that they take.
        first_lines: Number of the line in which each record starts.
        before: Lines before these.
    """

    data: pa.Buffer = field(repr=False)
    size: int
    lines: int
    first_lines: npt.NDArray[np.int64] = field(repr=False)
    before: int

    @staticmethod
    def of(pending: bytes, format_: CsvFormat, width: int, before: int, *, is_last: bool) -> "_Block | None":
        """The records that end in what is pending; None where they have to be read one by one."""
        data = pending + b"\n" if is_last and not pending.endswith(b"\n") else pending
        parting, quote = _as_byte(format_.delimiter), None if format_.quote is None else _as_byte(format_.quote)
        if parting is None or (format_.quote is not None and quote is None) or b"\0" in data:
            return None
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n") + (not is_last and data.endswith(b"\r")):
            return None
        raw = np.frombuffer(data, dtype=np.uint8)
        newlines = np.flatnonzero(raw == _NEWLINE)
        places = np.arange(len(newlines))
        if quote is not None:
            quotes = np.flatnonzero(raw == quote)
            places = places[np.searchsorted(quotes, newlines) % 2 == 0]
            if not len(places) or (is_last and len(quotes) % 2):
                return None
            quotes = quotes[: np.searchsorted(quotes, newlines[places[-1]])]
            if not _are_well_placed(raw, quotes, quote, parting):
                return None
        if not len(places):
            return None
        ends = newlines[places]
        starts = np.concatenate([[0], ends[:-1] + 1])
        first_lines = np.concatenate([[0], places[:-1] + 1]) + before + 1
        if width > 1:
            first_lines = first_lines[~((ends == starts) | ((ends == starts + 1) & (raw[starts] == _RETURN)))]
        size = int(ends[-1]) + 1
        return _Block(
            data=pa.py_buffer(data).slice(0, size),
            size=min(size, len(pending)),
            lines=int(places[-1]) + 1,
            first_lines=first_lines,
            before=before,
        )

    def part(self, records: CsvRecords, format_: CsvFormat, name: str) -> CsvPart:
        """The records by Arrow, or one by one where they have not all the fields of the header."""
        table = _parsed(self.data, format_, records.header)
        if table is None or table.num_rows != len(self.first_lines):
            batch = records.read(StringIO(self.data.to_pybytes().decode(), newline=""), self.before, lambda: False)
            return CsvPart(header=records.header, table=_table_of(batch, format_, name), unreadable=batch.unreadable)
        return CsvPart(header=records.header, table=table.append_column(SOURCE_POSITION, _positions(self.first_lines, f"{name} line ")))


def _are_well_placed(raw: npt.NDArray[np.uint8], quotes: npt.NDArray[np.intp], quote: int, parting: int) -> bool:
    """Whether each quote opens a field, closes it, or doubles another."""
    opening, closing = quotes[0::2], quotes[1::2]
    before, after = raw[opening - 1], raw[closing + 1]
    opens = (before == parting) | (before == _NEWLINE) | (before == quote) | (opening == 0)
    closes = (after == parting) | (after == _NEWLINE) | (after == quote) | (after == _RETURN)
    return bool(opens.all() and closes.all())


def _is_open(pending: bytes, format_: CsvFormat) -> bool:
    """Whether a block may end inside a quoted field."""
    return format_.quote is not None and pending.count(format_.quote.encode()) % 2 == 1


def _parsed(data: pa.Buffer, format_: CsvFormat, header: tuple[str, ...]) -> pa.Table | None:
    """The fields as Arrow reads them; None where a record has other fields than the header."""
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(column_names=header),
            pyarrow.csv.ParseOptions(
                delimiter=format_.delimiter, quote_char=format_.quote or False, newlines_in_values=format_.quote is not None,
                ignore_empty_lines=len(header) > 1,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.large_string()), null_values=list(format_.null_markers), strings_can_be_null=True,
            ),
        )  # fmt: skip
    except pa.ArrowInvalid:
        return None


def _positions(lines: "npt.NDArray[np.int64]", place: str) -> pa.Array:
    numbers = pa.array(lines).cast(pa.string())
    return pc.binary_join_element_wise(pa.scalar(place), numbers, pa.scalar("")).cast(pa.large_string())


def _table_of(batch: CsvBatch, format_: CsvFormat, name: str) -> pa.Table:
    nulls = set(format_.null_markers)
    columns = zip(*batch.rows, strict=True) if batch.rows else [()] * len(batch.header)
    arrays = [pa.array([None if cell in nulls else cell for cell in cells], pa.large_string()) for cells in columns]
    positions = pa.array([f"{name} line {line}" for line in batch.lines], pa.large_string())
    return pa.table([*arrays, positions], names=[*batch.header, SOURCE_POSITION])


def _no_records(header: tuple[str, ...]) -> CsvBatch:
    return CsvBatch(header=header, rows=[], lines=[], unreadable=[], count=0, taken=0)


def _as_byte(character: str) -> int | None:
    return ord(character) if character.isascii() else None


__all__ = ["CsvPart", "read_csv_blocks"]
