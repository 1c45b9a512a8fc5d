"""A text file as UTF-8, in blocks for readers that look at many records together, or line by line for those that go one by one.

Not here: encodings (`encoding.py`), what the text holds (`csv_blocks.py`, `json_blocks.py`).
"""

import codecs
from collections import deque
from collections.abc import Callable, Iterator
from io import StringIO, TextIOWrapper
from typing import Any

BLOCK_BYTES = 4 * 2**20
BLOCKS_AHEAD = 3
_FEW_BYTES = 64 * 1024


class TextBlocks:
    """A text file as UTF-8, in blocks or line by line.

    Attributes:
        pending: What was read and not taken.
        position: Bytes taken so far.
        is_last: Whether the file ends with what is pending.
    """

    def __init__(self, text: TextIOWrapper, size: int, *, whole: int | None = None) -> None:
        self._whole = whole
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


__all__ = ["BLOCKS_AHEAD", "BLOCK_BYTES", "TextBlocks"]
