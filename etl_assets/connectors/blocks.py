"""A text file as UTF-8, in blocks for readers that look at many records together, or line by line for those that go one by one; and the
parts that come of it.

Not here: encodings (`encoding.py`), what the text holds (`csv_blocks.py`, `json_blocks.py`).
"""

import codecs
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import StringIO, TextIOWrapper
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from etl_assets.accounting import SOURCE_POSITION, UnreadableRow
from etl_assets.frames import arrow_to_frame
from etl_assets.progress import watched
from etl_assets.threads import TOGETHER, ahead, results

BLOCK_BYTES = 4 * 2**20
_LEAST_BYTES = 512 * 1024  # for fewer a thread costs more than it saves
_BLOCKS_AHEAD = 3
_FEW_BYTES = 64 * 1024
_PIECE = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """Some consecutive records of a file.

    Attributes:
        table: The readable ones, all columns text, the last one `source_position`.
        unreadable: What could not be read among them.
    """

    table: pa.Table = field(repr=False)
    unreadable: list[UnreadableRow] = field(default_factory=list, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns without the position."""
        return tuple(self.table.column_names[:-1])

    @property
    def frame(self) -> pd.DataFrame:
        """The readable records."""
        return arrow_to_frame(self.table)


class TextBlocks:
    """A text file as UTF-8, in blocks or line by line.

    Attributes:
        pending: What was read and not taken.
        position: Bytes taken so far.
        is_last: Whether the file ends with what is pending.
    """

    def __init__(self, text: TextIOWrapper, size: int, *, whole: int | None = None, first: int | None = None) -> None:
        """Blocks of about `size` bytes, the first one of `first`, of a file of `whole` bytes where that is known."""
        self._whole = whole
        self._read_into = self._reader(text)
        self._size = size if whole is None else _evenly(size, whole)
        self._most = min(first or self._size, self._size)
        self._split: deque[str] = deque()
        self._spare: list[bytearray] = []
        self.pending = bytearray()
        self.position = 0
        self.is_last = False

    @staticmethod
    def _reader(text: TextIOWrapper) -> Callable[[memoryview], int]:
        """Reads some bytes of UTF-8 into memory and says how many; 0 at the end."""
        if codecs.lookup(text.encoding).name not in ("utf-8", "utf-8-sig"):
            return _Encoded(text).read_into
        file: Any = text.buffer
        if codecs.lookup(text.encoding).name == "utf-8-sig" and file.peek(3)[:3] == codecs.BOM_UTF8:
            file.read(3)
        return lambda memory: int(file.readinto(memory))

    def share(self) -> float | None:
        """How much of the file has been taken; None when its size is unknown."""
        return self.position / self._whole if self._whole else None

    @property
    def may_grow(self) -> bool:
        """Whether there is more, and a longer block has not been tried."""
        return not self.is_last and self._most == self._size

    def grow(self) -> None:
        """Read another block to the pending one."""
        self._most *= 2

    def fill(self) -> bool:
        """Read until a block is pending; whether anything is."""
        if len(self.pending) < self._most and not self.is_last:
            self._add(self._most - len(self.pending), is_filled=True)
        return bool(self.pending)

    def _add(self, size: int, *, is_filled: bool) -> None:
        """Read so many bytes, or just some, in memory of their own: what is pending may still be looked at."""
        # One copy for each block: appending to bytes and slicing them are three, each in pages that the system makes anew.
        kept = len(self.pending)
        memory = self._memory(kept + size)
        memory[:kept] = self.pending
        with memoryview(memory) as view:
            while kept < len(memory) and not self.is_last:
                more = self._read_into(view[kept:])
                kept += more
                self.is_last = not more
                if not is_filled:
                    break
        del memory[kept:]
        self.pending = memory

    def _memory(self, size: int) -> bytearray:
        """So many bytes with anything in them."""
        memory = self._spare.pop() if self._spare else bytearray()
        if len(memory) < size // 2:
            return bytearray(size)
        del memory[size:]
        memory.extend(bytes(size - len(memory)))
        return memory

    def reuse(self, block: bytearray) -> None:
        """Read into the memory of a block again, unless somebody looks at it still; called from any thread."""
        with contextlib.suppress(BufferError):
            block.append(0)  # which Python refuses then
            self._spare.append(block)

    def take(self, size: int) -> bytearray:
        """Take so many bytes that nobody looks at."""
        taken = self.pending
        self.drop(size)
        del taken[size:]
        return taken

    def drop(self, size: int) -> None:
        """Leave so many bytes to whoever looks at them."""
        self.pending = self.pending[size:]
        self.position += size
        self._most = self._size

    def lines(self) -> Iterator[str]:
        """Lines with their ends, however they end, taken one by one; `give_back` what was not taken before blocks go on."""
        while True:
            while self._split:
                line = self._split.popleft()
                self.position += len(line.encode())
                yield line
            size = self._some_lines()
            if not size:
                return
            self._split.extend(StringIO(self.pending[:size].decode(), newline=""))
            self.pending = self.pending[size:]

    def _some_lines(self) -> int:
        """Length of some lines that are pending, at least one; 0 at the end."""
        while True:
            # A return at the very end may be followed by a newline.
            end = max(self.pending.rfind(b"\n", 0, _FEW_BYTES), self.pending.rfind(b"\r", 0, min(_FEW_BYTES, len(self.pending) - 1)))
            if end < 0:
                end = self.pending.find(b"\n")
            if end >= 0:
                return end + 1 + (self.pending[end : end + 2] == b"\r\n")
            if not self.is_last:
                self._add(self._size, is_filled=False)
            if self.is_last:
                return len(self.pending)

    def give_back(self) -> None:
        """Put lines that were parted and not taken back to what is pending."""
        self.pending = bytearray("".join(self._split).encode()) + self.pending
        self._split.clear()
        self._most = self._size


def _evenly(size: int, whole: int) -> int:
    """Bytes of a block, about so many, so that each thread has as many blocks."""
    pairs = -(-whole // (TOGETHER * size)) or 1
    share = whole // (TOGETHER * pairs)
    # A little more, for the lines that end in the next block, lest one line is left at the end.
    return max(share + share // 1000 + 1, min(size, _LEAST_BYTES))


class _Encoded:
    """Text of another encoding as bytes of UTF-8."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._text = text
        self._left = b""

    def read_into(self, memory: memoryview) -> int:
        """As a binary file has it."""
        if not self._left:
            self._left = self._text.read(len(memory)).encode()
        size = min(len(memory), len(self._left))
        memory[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def pieces(values: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Where each piece of the bytes of a block starts, and the piece: so short that what is made of it needs few new pages."""
    for start in range(0, len(values), _PIECE):
        yield start, values[start : start + _PIECE]


def positions(block: npt.NDArray[np.uint8], byte: int) -> npt.NDArray[np.int64]:
    """Where a byte stands in a block."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *(np.flatnonzero(piece == byte) + start for start, piece in pieces(block))])


def is_utf8(block: bytearray) -> bool:
    """Whether all its bytes are."""
    try:
        pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(block)])), pa.py_buffer(block)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def and_reused(part: Callable[[], TextPart], block: bytearray, blocks: TextBlocks) -> Callable[[], TextPart]:
    """Makes the part, after which the memory of its block is read into again."""

    def task() -> TextPart:
        try:
            return part()
        finally:
            blocks.reuse(block)

    return task


def read_parts(
    tasks: Iterable[Callable[[], TextPart]], blocks: TextBlocks, *, name: str, rows: int | None, nothing: pa.Table | None = None
) -> Iterator[TextPart]:
    """What tasks make of the blocks of a file, at most `rows` readable records at a time, all together where it is None.

    Args:
        tasks: Each makes one part of one block; they are worked on in threads.
        blocks: Tell how far the file is read.
        name: Of the source.
        rows: Records of a part.
        nothing: A table without rows that begins the first part, which is then there for an empty file too.
    """
    held = [] if nothing is None else [nothing]
    count, is_owed = 0, nothing is not None
    unreadable: list[UnreadableRow] = []
    parts = results(tasks)
    if rows is not None:
        parts = ahead(parts, _BLOCKS_AHEAD)  # while whoever asked works on a frame
    for part in watched(parts, f"reading {name}", lambda part: part.table.num_rows, blocks.share):
        held.append(part.table)
        count += part.table.num_rows
        unreadable += part.unreadable
        while rows is not None and count >= rows:
            table = together(held)
            yield TextPart(table=table.slice(0, rows), unreadable=unreadable)
            held, count, unreadable, is_owed = [table.slice(rows)], count - rows, [], False
    if count or unreadable or is_owed:
        yield TextPart(table=together(held), unreadable=unreadable)


def together(tables: list[pa.Table]) -> pa.Table:
    """The rows of all, with the columns of all in order of first appearance, the position last."""
    whole = pa.concat_tables(tables, promote_options="default")
    return whole.select([*(name for name in whole.column_names if name != SOURCE_POSITION), SOURCE_POSITION])


__all__ = ["BLOCK_BYTES", "TextBlocks", "TextPart", "and_reused", "is_utf8", "pieces", "positions", "read_parts", "together"]
