"""CSV as text, record by record: every record has a position, and one that cannot be read is kept as it stands.

A record with another number of fields than the header, a stray quote, a quote that is never closed, a NUL byte: its lines are handed
over as unreadable, each with its number and its text, and the reading goes on after them. Nothing shifts, nothing is padded.

Not here: files (`storage.py`), encodings (`encoding.py`), types (contracts do that).
"""

import csv
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import pandas as pd

from etl_assets.accounting import SOURCE_POSITION, UnreadableRow
from etl_assets.connectors.records import refuse_reserved
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets.frames import TEXT

_TABS = re.compile(r"\.(tsv|tab)(\.(gz|bz2|xz|zst|zip))?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    """How fields are written.

    Attributes:
        delimiter: One character between fields.
        quote: One character around fields that hold delimiters, line breaks or quotes, which are doubled then; None when a quote is a
            character like others.
        null_markers: Exact field texts that mean NULL.
    """

    delimiter: str = ","
    quote: str | None = '"'
    null_markers: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0' or self.delimiter == self.quote:
            raise ConfigurationError("delimiter", f"{self.delimiter!r} cannot part fields.", "give one character, such as ',' or ';'.")
        if self.quote is not None and (len(self.quote) != 1 or self.quote in "\r\n\0"):
            raise ConfigurationError("quote", f"{self.quote!r} cannot quote fields.", "give one character, or None.")

    def reader(self, lines: Iterable[str]) -> Any:
        """The standard library's reader for this format."""
        quoting: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if self.quote is None else {"quotechar": self.quote}
        return csv.reader(lines, delimiter=self.delimiter, strict=True, **quoting)


@dataclass(frozen=True, kw_only=True)
class CsvBatch:
    """Some consecutive records.

    Attributes:
        header: Column names.
        rows: Fields of each readable record.
        lines: Number of the line where each starts, counted from 1.
        unreadable: What could not be read among them, line by line.
        count: How many records there were, those that could not be read included.
        taken: How many lines of the file they take.
    """

    header: tuple[str, ...]
    rows: list[list[str]] = field(repr=False)
    lines: list[int] = field(repr=False)
    unreadable: list[UnreadableRow] = field(repr=False)
    count: int
    taken: int

    def frame(self, format_: CsvFormat, name: str) -> pd.DataFrame:
        """The readable records as text, with `source_position`."""
        nulls = set(format_.null_markers)
        by_column: Any = zip(*self.rows, strict=True) if self.rows else [()] * len(self.header)
        columns: dict[str, Any] = {
            column: pd.array([None if cell in nulls else cell for cell in cells], dtype=TEXT)
            for column, cells in zip(self.header, by_column, strict=True)
        }
        columns[SOURCE_POSITION] = pd.array([f"{name} line {line}" for line in self.lines], dtype=TEXT)
        return pd.DataFrame(columns, index=pd.RangeIndex(len(self.rows)))


def default_delimiter(name: str) -> Literal[",", "\t"]:
    """What parts the fields of a file where nobody says it: a tab in files named .tsv or .tab, packed or not, else a comma."""
    return "\t" if _TABS.search(name) else ","


class _Lines:
    """Lines that remember which of them the current record was made of."""

    def __init__(self, lines: Iterable[str], number: int = 0) -> None:
        self._lines = iter(lines)
        self.number = number
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.taken.append(line)
        return line

    def start_record(self) -> int:
        """Forget the lines of the record before; the number of the next line."""
        self.taken.clear()
        return self.number + 1


def read_csv_text(lines: Iterable[str], format_: CsvFormat, *, name: str, rows: int | None = None) -> Iterator[CsvBatch]:
    """Records in batches of at most `rows`, all in one where it is None; at least one batch.

    Args:
        lines: With their line ends, as a text file opened with newline="" gives them.
        format_: How fields are written.
        name: Of the source, for positions and errors.
        rows: Records of a batch, unreadable ones included.

    Raises:
        SourceFormatError: No header, or an empty, repeated or reserved name in it.
    """
    records = CsvRecords(lines, format_, name=name)
    while True:
        batch = records.take(rows)
        yield batch
        if rows is None or batch.count < rows:
            return


class CsvRecords:
    """Records one by one.

    Attributes:
        header: Column names.
        number: Lines that the header takes.

    Args:
        lines: The first lines, with their line ends; only the header's are taken.
        format_: How fields are written.
        name: Of the source, for positions and errors.

    Raises:
        SourceFormatError: No header, or an empty, repeated or reserved name in it.
    """

    def __init__(self, lines: Iterable[str], format_: CsvFormat, *, name: str) -> None:
        csv.field_size_limit(sys.maxsize)  # for the process; caps on bytes stand where files are opened
        self._format, self._name = format_, name
        self._source = _Lines(lines)
        reader = format_.reader(self._source)
        self.header = _header(reader, name)
        self.number = self._source.number
        self._records = _records(reader, self._source, len(self.header), name)

    def take(self, rows: int | None) -> CsvBatch:
        """The next records, at most `rows`; those that cannot be read count too."""
        return self._batch(itertools.islice(self._records, rows), self._source)

    def read(self, lines: Iterable[str], before: int, is_enough: Callable[[], bool]) -> CsvBatch:
        """The records of other lines.

        Args:
            lines: They start with a record.
            before: Lines before these.
            is_enough: Asked before each record.
        """
        source = _Lines(lines, before)
        records = _records(self._format.reader(source), source, len(self.header), self._name)

        def until() -> Iterator[_Record]:
            while not is_enough() and (record := next(records, None)) is not None:
                yield record

        return self._batch(until(), source)

    def _batch(self, records: Iterable["_Record"], source: _Lines) -> CsvBatch:
        before = source.number
        rows: list[list[str]] = []
        lines: list[int] = []
        unreadable: list[UnreadableRow] = []
        count = 0
        for line, row, broken in records:
            count += 1
            if row is None:
                unreadable.extend(broken)
            else:
                rows.append(row)
                lines.append(line)
        return CsvBatch(header=self.header, rows=rows, lines=lines, unreadable=unreadable, count=count, taken=source.number - before)


def _header(reader: Any, name: str) -> tuple[str, ...]:
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise SourceFormatError(name, f"line 1, the header, is not valid CSV ({error}).", "check its quotes and the delimiter.") from error
    if not header:
        raise SourceFormatError(name, "the file has no header line.", "deliver it with the names of its columns.")
    refuse_reserved(header, name)
    if not all(column.strip() for column in header):
        raise SourceFormatError(name, f"the header {header} has a column without a name.", "have every column named at the source.")
    if any("\0" in column for column in header):
        raise SourceFormatError(name, "line 1 holds a NUL byte.", "declare its encoding (UTF-16?), or have it delivered again.")
    repeated = sorted({column for column in header if header.count(column) > 1})
    if repeated:
        raise SourceFormatError(name, f"the header repeats {repeated}.", "have the columns named apart at the source.")
    return tuple(header)


_Record: TypeAlias = tuple[int, list[str] | None, list[UnreadableRow]]


def _records(reader: Any, source: _Lines, width: int, name: str) -> Iterator[_Record]:
    """First line of each record, its fields, or what is unreadable instead."""
    nothing: list[UnreadableRow] = []
    while True:
        line = source.start_record()
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield line, None, _unreadable(source, line, name, "quotes", f"not valid CSV ({error})")
            continue
        if row is None:
            return
        if not row:
            # A blank line is a record where there is one column, and nothing where there are several.
            if width == 1:
                yield line, [""], nothing
            continue
        if len(row) != width:
            yield line, None, _unreadable(source, line, name, "fields", f"{len(row)} fields, the header has {width}")
        elif any("\0" in text for text in source.taken):
            yield line, None, _unreadable(source, line, name, "nul_byte", "holds a NUL byte")
        else:
            yield line, row, nothing


def _unreadable(source: _Lines, first: int, name: str, rule: str, says: str) -> list[UnreadableRow]:
    """One row per line, so that a quote that swallowed half the file counts for what it swallowed."""
    return [
        UnreadableRow(position=f"{name} line {number}", raw=text.rstrip("\r\n"), rule=rule, says=says)
        for number, text in enumerate(source.taken, start=first)
    ]


def one_header(headers: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Refuse files whose columns differ.

    Raises:
        SourceFormatError: The message names the first file that differs, and how.
    """
    first_name, first = headers[0]
    for name, header in headers[1:]:
        if set(header) != set(first):
            missing, extra = sorted(set(first) - set(header)), sorted(set(header) - set(first))
            raise SourceFormatError(
                name, f"its columns differ from those of {first_name}: missing {missing}, extra {extra}.", "read such files apart."
            )


__all__ = ["CsvBatch", "CsvFormat", "CsvRecords", "default_delimiter", "one_header", "read_csv_text"]
