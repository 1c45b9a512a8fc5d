"""JSON lines that are a table: their objects have the same keys in the same order, and so the values are cut out of the text as they stand.

A colon with a quote before it ends a key, and what is between it and the next key is a value. All of a key are found together, compared
with the text that must be before them, and with what JSON allows; only text with escapes is parsed. Keys that are written otherwise are
not seen, and so stand in what should be a value, where they are no JSON. Whatever else there is, even in one line, is left to others.

Not here: lines with other keys, nested values or mistakes (`json_blocks.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from etl_assets.connectors.blocks import is_utf8, pieces
from etl_assets.frames import in_one

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_SPACE, _QUOTE, _COLON, _BACKSLASH, _N = b' ":\\n'
_NULL = b"null"
_UNQUOTED = r"^(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|)$"
_TEXT = pa.large_string()


def table_of(data: bytearray, starts: Places, ends: Places) -> pa.Table | None:
    """The values of JSON lines as text, a column per key; None where they are no table, or anything in them is not as JSON has it.

    Args:
        data: Text with lines.
        starts: Where each object starts, at least one; there is an opening brace.
        ends: Where each ends, after a closing brace; between them are line breaks only.
    """
    keys = _Keys.of(data[starts[0] : ends[0]])
    if keys is None:
        return None
    colons = _colons(np.frombuffer(data, dtype=np.uint8))
    if len(colons) != len(starts) * len(keys.names) or not is_utf8(data):
        return None
    values = np.ascontiguousarray(colons.reshape(len(starts), -1).T)
    values += 1 + keys.gap
    if (values[0] - len(keys.written[0]) != starts).any():
        return None
    cut = _Cut.of(data, len(starts))
    columns = {}
    for place, name in enumerate(keys.names):
        is_last = place + 1 == len(keys.names)
        after = ends - 1 if is_last else values[place + 1] - len(keys.written[place + 1])
        column = cut.column(keys.written[place], values[place], after)
        if column is None:
            return None
        columns[name] = column
    if not _are_unquoted([column.text for column in columns.values() if not column.is_quoted]):
        return None
    decoded = _decoded({name: column.text for name, column in columns.items() if column.has_escapes})
    return None if decoded is None else pa.table({name: column.filled(decoded.get(name)) for name, column in columns.items()})


@dataclass(frozen=True, kw_only=True)
class _Keys:
    """The keys of an object.

    Attributes:
        names: Their text.
        written: Each with what is before it, a comma (and a space where there is one behind the first key) or a brace, and what is between
            it and its value, a colon and that space.
        gap: How many spaces that is.
    """

    names: list[str]
    written: list[bytes]
    gap: int

    @staticmethod
    def of(line: bytearray) -> "_Keys | None":
        """Those of one line; None where it is no JSON, or an object without keys or with one twice."""
        try:
            pairs = json.loads(line, object_pairs_hook=list)
            quoted = [json.dumps(name, ensure_ascii=False).encode() for name, _ in pairs]
        except (ValueError, RecursionError):  # half a pair of surrogates is a key, but no text
            return None
        names = [name for name, _ in pairs]
        if not names or len(set(names)) < len(names):
            return None
        space = b" " if line.startswith(b"{" + quoted[0] + b": ") else b""
        written = [(b"," + space if place else b"{") + name + b":" + space for place, name in enumerate(quoted)]
        return _Keys(names=names, written=written, gap=len(space))


def _colons(raw: Bytes) -> Places:
    """Those that end a key, or what looks like one; not those of keys that end with a backslash, or have a space behind them."""
    found = [np.zeros(0, dtype=np.int64)]
    for start, piece in pieces(raw[2:]):
        last, second_last = (raw[start + shift : start + shift + len(piece)] for shift in (1, 0))
        # Most quotes with a backslash before them stand inside of text.
        ends_key = piece == _COLON
        ends_key &= last == _QUOTE
        ends_key &= second_last != _BACKSLASH
        found.append(np.flatnonzero(ends_key) + (start + 2))
    return np.concatenate(found)


@dataclass(frozen=True, kw_only=True)
class _Column:
    """The values of a key.

    Attributes:
        text: Without quotes; empty for null.
        valid: Which are not null, as Arrow has it; None where none is.
        is_quoted: They stand in quotes.
        has_escapes: They are to be parsed still.
    """

    text: pa.Array = field(repr=False)
    valid: pa.Buffer | None = field(repr=False)
    is_quoted: bool
    has_escapes: bool

    def filled(self, decoded: pa.Array | None) -> pa.Array:
        """The values, of which these are what the text means if it has escapes, with nulls."""
        text = self.text if decoded is None else decoded
        _, offsets, data = text.buffers()
        return pa.LargeStringArray.from_buffers(len(text), offsets, data, self.valid)


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """Takes pieces out of a text.

    Attributes:
        data: The text.
        edges: Where each piece begins and ends, which is written here before they are taken.
        numbers: Those of the pieces; between two is the rest of a line.
    """

    data: bytearray = field(repr=False)
    edges: Places = field(repr=False)
    numbers: pa.Array = field(repr=False)

    @staticmethod
    def of(data: bytearray, rows: int) -> "_Cut":
        """For so many pieces at a time."""
        return _Cut(data=data, edges=np.empty(2 * rows, dtype=np.int64), numbers=pa.array(np.arange(0, 2 * rows, 2)))

    def column(self, written: bytes, begins: Places, ends: Places) -> _Column | None:
        """The values between these places; None where another text is before one, or some are text and others not, or not JSON's."""
        if (begins >= ends).any() or not self._are_before(written, begins):
            return None
        raw = np.frombuffer(self.data, dtype=np.uint8)
        first = raw[begins]
        is_text, is_null = first == _QUOTE, first == _N
        texts, nulls = np.count_nonzero(is_text), np.count_nonzero(is_null)
        valid = None
        if nulls:
            if not self._are_null(begins[is_null], ends[is_null]):
                return None
            ends = ends - len(_NULL) * is_null
            valid = pa.py_buffer(np.packbits(~is_null, bitorder="little"))
        if not texts:
            return _Column(text=self._taken(begins, ends), valid=valid, is_quoted=False, has_escapes=False)
        begins, ends = begins + is_text, ends - is_text
        if texts + nulls < len(begins) or (begins > ends).any() or ((raw[ends] != _QUOTE) & is_text).any():
            return None
        text = self._taken(begins, ends)
        taken = np.frombuffer(text.buffers()[2] or b"", dtype=np.uint8)
        # A quote that no backslash is before ends a text early; behind one that has escapes nothing else can be JSON then.
        bare = taken[1:] == _QUOTE
        bare &= taken[:-1] != _BACKSLASH
        if bare.any() or (taken < _SPACE).any():
            return None
        has_escapes = bool((taken == _BACKSLASH).any())
        return _Column(text=text, valid=valid, is_quoted=True, has_escapes=has_escapes)

    def _are_before(self, written: bytes, places: Places) -> bool:
        """Whether this text is before each of the places, which are far enough from the start for it."""
        size = len(written)
        parts = np.ndarray((len(self.data) - size + 1,), dtype=f"S{size}", buffer=self.data, strides=(1,))
        return parts[places - size].tobytes() == written * len(places)

    def _are_null(self, begins: Places, ends: Places) -> bool:
        return bool((ends - begins == len(_NULL)).all()) and self._are_before(_NULL, ends)

    def _taken(self, begins: Places, ends: Places) -> pa.Array:
        self.edges[0::2] = begins
        self.edges[1::2] = ends
        parts = pa.LargeStringArray.from_buffers(len(self.edges) - 1, pa.py_buffer(self.edges), pa.py_buffer(self.data))
        return parts.take(self.numbers)


def _are_unquoted(texts: list[pa.Array]) -> bool:
    """Whether all are numbers, true, false, or nothing."""
    # Together, for each call takes the interpreter's lock again. Digits alone are a number, but for a zero before others.
    text = pa.chunked_array(texts, _TEXT)
    sure = pc.and_(pc.ascii_is_decimal(text), pc.invert(pc.starts_with(text, "0")))
    unsure = text.filter(pc.invert(sure))
    return not len(unsure) or bool(pc.all(pc.match_substring_regex(unsure, _UNQUOTED)).as_py())


def _decoded(texts: Mapping[str, pa.Array]) -> dict[str, pa.Array] | None:
    """What texts with escapes mean; None where one is no JSON."""
    if not texts:
        return {}
    parts = []
    for number, text in enumerate(texts.values()):
        parts += [_scalar(f'{"," if number else "{"}"{number}":"'), text, _scalar('"')]
    lines = pc.binary_join_element_wise(*parts, _scalar("}\n"), _scalar(""))
    names = [str(number) for number in range(len(texts))]
    read = read_json(lines.buffers()[2], dict.fromkeys(names, _TEXT))
    # A text that ends early, and goes on as another key, is no text either.
    if read is None or read.column_names != names or len(read) != len(lines):
        return None
    return dict(zip(texts, map(in_one, read.columns), strict=True))


def read_json(data: bytearray | pa.Buffer, types: Mapping[str, pa.DataType]) -> pa.Table | None:
    """JSON lines as Arrow reads them all together, with these types for these keys; None where it refuses."""
    try:
        return pyarrow.json.read_json(
            pa.BufferReader(data),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            pyarrow.json.ParseOptions(explicit_schema=pa.schema(list(types.items()))),
        )
    except pa.ArrowInvalid:
        return None


def _scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, _TEXT)


__all__ = ["read_json", "table_of"]
