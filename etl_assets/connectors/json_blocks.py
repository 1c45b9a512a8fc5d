"""JSON lines as text, block by block: values are cut out of blocks that are a table, other flat objects go through Arrow, and the rest
line by line, with one result.

Arrow reads numbers by value, and what is wanted is how they are written: 1.50 is not 1.5, and a version 1.10 is not 1.1. So the lines of
a block are searched for numbers that a value does not write again (a zero at the end of a fraction, an exponent, more than 15
digits, -0), and in those lines the numbers are taken from the text itself.

Not here: tables (`json_table.py`), line by line (`records.py`), files (`storage.py`), encodings (`encoding.py`).
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import StringIO, TextIOWrapper

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.accounting import SOURCE_POSITION
from etl_assets.connectors.blocks import BLOCK_BYTES, TextBlocks, TextPart, and_reused, is_utf8, pieces, positions, read_parts, together
from etl_assets.connectors.json_table import read_json, table_of
from etl_assets.connectors.records import parse_json_lines
from etl_assets.frames import in_one, numbered

_NEWLINE, _RETURN, _OPEN, _CLOSE, _OPEN_LIST = b"\n\r{}["
_FIRST_BYTES = 64 * 1024
_TRUST = 3
_PIECE_BYTES = 128 * 1024
_FEW = 0.1
_DEEP = 100  # Arrow's time grows with the square of the depth, and 20,000 end the process
_NUMBER = r"-?[0-9][0-9.eE+-]*"
_EXPONENT = r":\s*-?[0-9.]+[eE]"
_MINUS_ZERO = r":\s*-0\s*[,}]"
_SURE_DIGITS = 15  # of a float: with so many, or fewer, there is one way to write it shortly
_PLAIN = 1e-5, 1e9  # floats of these sizes have no exponent in their shortest text


def read_json_blocks(
    text: TextIOWrapper, *, name: str, rows: int | None, flatten: str | None = None, block: int = BLOCK_BYTES, size: int | None = None
) -> Iterator[TextPart]:
    """The objects of a file with one JSON object per line, at most `rows` at a time, all together where it is None.

    Args:
        text: A text file opened with newline="", at its start.
        name: Of the source, for positions and errors.
        rows: Objects of a part; a part has the keys of its own objects, and may have those of objects near them.
        flatten: Nested objects become columns named by their path, joined by this text; None keeps them as JSON.
        block: Bytes that are looked at together.
        size: Bytes of the file, for its progress; None when unknown.

    Raises:
        UnicodeDecodeError: A byte is not of the file's encoding.
    """
    # A short block first: the types that it shows spare long ones a second reading.
    blocks = TextBlocks(text, block, whole=size, first=_FIRST_BYTES)
    return read_parts(_tasks(blocks, name, flatten), blocks, name=name, rows=rows)


class _Known:
    """What blocks have shown; those in other threads may add to it at once, and types that are forgotten are learnt again.

    Attributes:
        is_nested: Objects hold others, or lists, which have to stay as they are written.
        trust: Blocks are looked at as tables until it is 0.
    """

    def __init__(self) -> None:
        self.is_nested = False
        self.trust = _TRUST
        self._types: Mapping[str, tuple[int, pa.DataType]] = {}

    def types(self, before: int) -> dict[str, pa.DataType]:
        """Arrow types by key, as blocks before a line have shown: of later ones the columns would have another order."""
        return {name: type_ for name, (number, type_) in self._types.items() if number < before}

    def add(self, before: int, schema: pa.Schema) -> None:
        """Remember what a block after so many lines was read as."""
        known = dict(self._types)
        for name, type_ in zip(schema.names, schema.types, strict=True):
            if not pa.types.is_null(type_):
                number, _ = known.get(name, (before, None))
                known[name] = (min(number, before), pa.large_string() if _is_text(type_) else type_)
        self._types = known


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_timestamp(type_))


def _tasks(blocks: TextBlocks, name: str, flatten: str | None) -> Iterator[Callable[[], TextPart]]:
    number = 0
    known = _Known()
    while blocks.fill():
        end = blocks.pending.rfind(b"\n") + 1
        if not end and not blocks.is_last:
            blocks.grow()
            continue
        block = _Block.of(blocks.take(len(blocks.pending) if blocks.is_last else end), number)
        number += block.lines
        yield and_reused(functools.partial(block.part, name, flatten, known), block.data, blocks)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Whole lines.

    Attributes:
        data: Their bytes.
        before: Lines before these.
        lines: How many they are.
        starts: Where each line starts that is not blank; empty where lines end in CR alone or are no objects on the face of it.
        ends: Where each of them ends, its line break left out.
        numbers: Its number.
    """

    data: bytearray = field(repr=False)
    before: int
    lines: int
    starts: npt.NDArray[np.int64] = field(repr=False)
    ends: npt.NDArray[np.int64] = field(repr=False)
    numbers: npt.NDArray[np.int64] = field(repr=False)

    @staticmethod
    def of(data: bytearray, before: int) -> "_Block":
        """A block after so many lines."""
        nothing = np.zeros(0, dtype=np.int64)
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            return _Block(data=data, before=before, lines=sum(1 for _ in _lines(data)), starts=nothing, ends=nothing, numbers=nothing)
        starts, ends = _edges(data)
        present = ends > starts
        numbers = np.flatnonzero(present) + before + 1
        are_objects = _are_objects(data, starts, ends).all()
        return _Block(
            data=data, before=before, lines=len(starts), starts=starts[present] if are_objects else nothing, ends=ends[present],
            numbers=numbers,
        )  # fmt: skip

    def part(self, name: str, flatten: str | None, known: _Known) -> TextPart:
        """The objects as a whole, or piece by piece, or line by line."""
        whole = self._as_a_whole(name, flatten, known)
        if whole is not None:
            return whole
        # A few lines are in the way, perhaps, and the others are fine; where piece after piece is not, no more are looked at.
        found, trust = [], _TRUST if len(self.data) > _PIECE_BYTES else 0
        for piece in self._pieces():
            part = piece._as_a_whole(name, flatten, known) if trust else None
            trust = max(trust - 1, 0) if part is None else _TRUST
            found.append(part or piece._line_by_line(name, flatten))
        return TextPart(table=together([part.table for part in found]), unreadable=[row for part in found for row in part.unreadable])

    def _as_a_whole(self, name: str, flatten: str | None, known: _Known) -> TextPart | None:
        """The objects as a table; None where lines hold other things than flat objects that agree in kind."""
        if known.is_nested:
            return None
        if not len(self.starts):
            return self._without_others(name, flatten, known)
        table = self._table(known)
        return None if table is None else TextPart(table=table.append_column(SOURCE_POSITION, numbered(f"{name} line ", self.numbers)))

    def _without_others(self, name: str, flatten: str | None, known: _Known) -> TextPart | None:
        """The same, the lines left out that are no objects on the face of it, such as one that was cut off, where they are few."""
        starts, ends = _edges(self.data)
        others = np.flatnonzero(~_are_objects(self.data, starts, ends))
        if len(starts) != self.lines or not 0 < len(others) <= len(starts) * _FEW:
            return None
        breaks = [*starts[1:], len(self.data)]
        found = parse_json_lines(
            ((self.before + int(line) + 1, self.data[starts[line] : breaks[line]].decode()) for line in others),
            where=name,
            separator=flatten,
        )
        kept = zip([0, *ends[others]], [*starts[others], len(self.data)], strict=True)
        rest = _Block.of(bytearray().join(self.data[start:end] for start, end in kept), self.before)
        part = rest._as_a_whole(name, flatten, known) if not found.records else None
        return None if part is None else replace(part, unreadable=found.unreadable)

    def _pieces(self) -> Iterator["_Block"]:
        """The lines in shorter blocks."""
        start, before = 0, self.before
        while start < len(self.data):
            end = self.data.find(b"\n", start + _PIECE_BYTES) + 1 or len(self.data)
            piece = _Block.of(self.data[start:end], before)
            start, before = end, before + piece.lines
            yield piece

    def _line_by_line(self, name: str, flatten: str | None) -> TextPart:
        found = parse_json_lines(enumerate(_lines(self.data), start=self.before + 1), where=name, separator=flatten)
        frame = found.frame(name)
        columns = [pa.array(frame[column], pa.large_string(), from_pandas=True) for column in frame]
        return TextPart(table=pa.table(columns, names=list(frame.columns)), unreadable=found.unreadable)

    def _table(self, known: _Known) -> pa.Table | None:
        """One text column per key; None where the lines hold other things than flat objects that agree in kind."""
        table = table_of(self.data, self.starts, self.ends) if known.trust else None
        # One block with a mistake, or a few, are no reason to look at none any more.
        known.trust = max(known.trust - 1, 0) if table is None else _TRUST
        if table is None:
            return self._parsed(known)
        return None if SOURCE_POSITION in table.column_names else table

    def _is_deep(self) -> bool:
        """Whether a line may be nested so deeply that Arrow takes long for it, or breaks down."""
        raw = np.frombuffer(self.data, dtype=np.uint8)
        opening = np.concatenate([positions(raw, _OPEN), positions(raw, _OPEN_LIST)])
        if len(opening) < len(self.starts) + _DEEP:
            return False
        return bool(np.bincount(np.searchsorted(self.starts, opening, side="right")).max() > _DEEP)

    def _parsed(self, known: _Known) -> pa.Table | None:
        """The same by Arrow."""
        if self._is_deep():
            return None
        told = known.types(self.before)
        read = read_json(self.data, told)
        if read is None:
            # A number is none of the kind that it was before, perhaps.
            told = {name: type_ for name, type_ in told.items() if pa.types.is_large_string(type_)}
            read = read_json(self.data, told)
        if read is None:
            return None
        times = [name for name in read.column_names if pa.types.is_timestamp(read.schema.field(name).type)]
        if times:
            told = {**told, **dict.fromkeys(times, pa.large_string())}
            again = read_json(self.data, told)
            read = None if again is None else again.select(read.column_names)
        if read is None or len(read) != len(self.starts) or SOURCE_POSITION in read.column_names:
            return None
        known.is_nested = any(pa.types.is_nested(type_) for type_ in read.schema.types)
        if known.is_nested:
            return None
        known.add(self.before, read.schema)
        # Arrow gives columns that it was told of, even where no object has the key.
        empty = [name for name in told if read[name].null_count == len(read)]
        brought = read.drop_columns([name for name in empty if _quoted(name).encode() not in self.data])
        return self._as_written(brought) if brought.num_columns else None

    def _as_written(self, read: pa.Table) -> pa.Table | None:
        """The columns as text; None where a number is not found in the text."""
        if not is_utf8(self.data):
            return None  # which reading line by line says
        edges = pa.py_buffer(np.append(self.starts, len(self.data)))
        lines = pa.LargeStringArray.from_buffers(len(self.starts), edges, pa.py_buffer(self.data))
        columns = [in_one(column) for column in read.columns]
        floats = [values for values in columns if pa.types.is_floating(values.type)]
        if not all(map(_is_finite, floats)):
            return None
        unsure = _written_otherwise(lines, floats, may_have_exponents=_may_have_exponents(self.data)) if floats else None
        texts = []
        for name, values in zip(read.column_names, columns, strict=True):
            text = _plain(values)
            if pa.types.is_floating(values.type):
                text = _numbers_as_written(name, values, text, lines, pc.or_(unsure, pc.invert(_is_plain(values))))
            elif pa.types.is_integer(values.type) and _has_minus_zeros(values, lines):
                text = _numbers_as_written(name, values, text, lines, pc.equal(values, 0))
            if text is None:
                return None
            texts.append(text)
        return pa.table(texts, names=read.column_names)


def _edges(data: bytearray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each line starts, and where it ends, its line break left out."""
    raw = np.frombuffer(data, dtype=np.uint8)
    ends = positions(raw, _NEWLINE)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    return starts, ends - ((ends > starts) & (raw[ends - 1] == _RETURN))


def _are_objects(data: bytearray, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each line is one on the face of it, or blank."""
    raw = np.frombuffer(data, dtype=np.uint8)
    first, last = raw[starts], raw[ends - 1]
    are_objects: npt.NDArray[np.bool_] = (starts == ends) | ((first == _OPEN) & (last == _CLOSE))
    return are_objects


def _is_finite(values: pa.Array) -> bool:
    return values.null_count == len(values) or bool(pc.all(pc.is_finite(values)).as_py())


def _plain(values: pa.Array) -> pa.Array:
    """Values as text, numbers as the shortest that reads the same."""
    if pa.types.is_boolean(values.type):
        return pc.if_else(values, pa.scalar("true", pa.large_string()), pa.scalar("false", pa.large_string()))
    return pc.cast(values, pa.large_string())


def _is_plain(values: pa.Array) -> pa.Array:
    """Which floats are of a size whose shortest text has no exponent."""
    least, most = _PLAIN
    sizes = pc.abs(values)
    return pc.or_(pc.and_(pc.greater_equal(sizes, least), pc.less(sizes, most)), pc.equal(sizes, 0.0))


def _may_have_exponents(data: bytearray) -> bool:
    """Whether there is a digit before an E, in a number or in text."""
    for start in (0, 1):
        pairs = np.frombuffer(data, dtype="<u2", offset=start, count=(len(data) - start) // 2)
        for _, some in pieces(pairs):
            # Digits are 0x30 to 0x39, and an e is an E with one bit more.
            if ((some & 0xDFF0) == (ord("E") << 8 | 0x30)).any():
                return True
    return False


def _written_otherwise(lines: pa.Array, floats: list[pa.Array], *, may_have_exponents: bool) -> pa.Array:
    """The lines in which a float of plain size may be written in another way than the shortest; in text there may be such, too."""
    # A pattern that begins with one character is searched for fast, and so the digits before the point are told by the sizes.
    most = max(pc.max(pc.abs(values)).as_py() or 0.0 for values in floats)
    digits = _SURE_DIGITS + 1 - len(str(int(min(most, _PLAIN[1]))))
    unsure = pc.match_substring_regex(lines, rf"\.[0-9]*(?:0|[0-9]{{{digits}}})\s*[,}}]")
    return pc.or_(unsure, pc.match_substring_regex(lines, _EXPONENT)) if may_have_exponents else unsure


def _has_minus_zeros(values: pa.Array, lines: pa.Array) -> bool:
    """Whether an integer may be written as -0; every other one has one way to be written."""
    zeros = pc.equal(values, 0)
    return bool(pc.any(zeros).as_py() and pc.any(pc.match_substring_regex(lines.filter(zeros), _MINUS_ZERO)).as_py())


def _numbers_as_written(name: str, values: pa.Array, text: pa.Array, lines: pa.Array, unsure: pa.Array) -> pa.Array | None:
    """The text of numbers, of unsure ones (null where the number is) as the line has it; None where it is not found there."""
    mask = pc.fill_null(unsure, False)
    if not pc.any(mask).as_py():
        return text
    # A quote inside of text has a backslash before it, so that this finds a key and nothing else.
    pattern = rf"(?:^|[^\\]){re.escape(_quoted(name))}\s*:\s*(?P<number>{_NUMBER})\s*[,}}]"
    found = pc.struct_field(pc.extract_regex(lines.filter(mask), pattern), "number")
    if found.null_count:
        return None
    found = found.cast(pa.large_string())
    if found.equals(text.filter(mask)):
        return text
    try:
        if not pc.all(pc.equal(pc.cast(found, pa.float64()), pc.cast(values.filter(mask), pa.float64()))).as_py():
            return None
    except pa.ArrowInvalid:
        return None
    return pc.replace_with_mask(text, mask, found)


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _lines(data: bytearray) -> StringIO:
    return StringIO(data.decode(), newline="")


__all__ = ["read_json_blocks"]
