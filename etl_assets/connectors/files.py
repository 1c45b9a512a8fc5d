"""CSV, TSV, JSON and JSON lines read as text, Parquet with its types; one file, a glob, local or remote, packed or not.

Nothing is guessed, so `NA`, `00501` and 9007199254740993 arrive as they were written. Rows that cannot be read go to the quarantine
with their line and text. `only="new"` leaves out files whose content was loaded before: their hashes are watermarks of the asset.

Not here: where files lie (`storage.py`), Excel (`excel.py`), conversion to types (contracts do that).
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Literal

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from pydantic import Field

from etl_assets.accounting import SOURCE_POSITION, UnreadableRow, committed_watermarks, record_read, record_unreadable, record_watermark
from etl_assets.connectors.csv_blocks import read_csv_blocks
from etl_assets.connectors.csv_text import CsvFormat, default_delimiter, one_header
from etl_assets.connectors.encoding import open_text
from etl_assets.connectors.json_blocks import read_json_blocks
from etl_assets.connectors.records import (
    concatenated,
    flattened,
    frame_of_text,
    parse_json,
    refuse_reserved,
    select_records,
)
from etl_assets.connectors.storage import Storage, StoredFile, digest_of
from etl_assets.connectors.unpacking import plain_size
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets.frames import TEXT, arrow_to_frame, in_tables
from etl_assets.retry_settings import FILE_RETRY, Retry
from etl_assets.secrets import SECRET

logger = logging.getLogger(__name__)

Only = Literal["all", "new", "new_or_changed"]
HASH = "sha256 "
_ROWS = 50_000  # text is made into columns so many rows at a time, which takes less memory than all at once


class FilesResource(dg.ConfigurableResource["FilesResource"]):
    """CSV, JSON and Parquet files below one folder."""

    base_folder: str = Field(
        description="Folder that all paths are relative to; no path may lead out of it. Or an fsspec URL, such as s3://bucket/folder."
    )
    storage_options: dict[str, str] = Field(
        default={}, repr=False, description="What fsspec needs to open the URL, such as key and secret.", json_schema_extra=SECRET
    )
    file_bytes: int = Field(default=16 * 2**30, description="Largest file, packed and unpacked.")
    retry: Retry = Field(default=FILE_RETRY, description="How a file of a remote store is tried again.")

    def read_csv(
        self,
        path: str,
        *,
        delimiter: str | None = None,
        quote: str | None = '"',
        encoding: str | None = None,
        null_markers: Sequence[str] = ("",),
        only: Only = "all",
    ) -> pd.DataFrame:
        """All rows of a CSV file, or of all files that a glob names, as text.

        Args:
            path: File below `base_folder`, or a glob such as "orders/*.csv"; each with a header line, all with the same columns.
            delimiter: One character between fields; None for a tab in files named .tsv or .tab, packed or not, else a comma.
            quote: Character around fields; None when quotes are characters like others.
            encoding: Strict; None for what the byte order mark says, else UTF-8; "guess" to guess, which is said in the log.
            null_markers: Exact field texts that mean NULL.
            only: "all" files; "new" ones, whose content no load of this asset brought, an error for a file that has changed since; or
                "new_or_changed".

        Returns:
            One row per record: the columns of the header as text, and `source_position` ("weather.csv line 17"). A blank line is
            a record where there is one column, and nothing where there are several. Records with another number of fields, broken
            quotes or a NUL byte go to the quarantine, line by line.

        Raises:
            ConfigurationError: The delimiter is not one character, the encoding is unknown, the path leads out of the folder.
            SourceNotFoundError: No such file, or it cannot be read.
            SourceUnavailableError: The store does not answer.
            SourceFormatError: Wrong encoding, no header, an empty, repeated or reserved name, files of different columns; and outside
                an asset, a record that cannot be read.
        """
        return concatenated(self._csv(path, delimiter, quote, encoding, null_markers, only, None))

    def read_csv_batches(
        self,
        path: str,
        *,
        delimiter: str | None = None,
        quote: str | None = '"',
        encoding: str | None = None,
        null_markers: Sequence[str] = ("",),
        only: Only = "all",
        rows: int = _ROWS,
    ) -> Iterator[pd.DataFrame]:
        """The rows that `read_csv` returns, in frames of at most `rows`; memory does not grow with the files."""
        _refuse_no_rows(rows)
        return self._csv(path, delimiter, quote, encoding, null_markers, only, rows)

    def read_json(
        self,
        path: str,
        *,
        records: str | None = None,
        encoding: str | None = None,
        flatten: str | None = None,
        only: Only = "all",
    ) -> pd.DataFrame:
        """All objects of a JSON file, or of all files that a glob names, as text.

        Args:
            path: As in `read_csv`; each file an array of objects, or an object that holds one.
            records: JMESPath of the array, such as `data.rows`; None when the document is the array.
            encoding: As in `read_csv`.
            flatten: Nested objects become columns named by their path, joined by this text; None keeps them as JSON.
            only: As in `read_csv`.

        Returns:
            One row per object: one text column per key, numbers with the digits they were written with, nested values as JSON;
            and `source_position` ("airports.json record 3", counted from 1).

        Raises:
            SourceFormatError: It is no JSON, or there is no array of objects; and what `read_csv` raises.
        """

        def read(file: StoredFile, opened: BinaryIO) -> Iterator[tuple[pd.DataFrame, list[UnreadableRow], str]]:
            with open_text(opened, encoding, where=file.where) as (text, known):
                found = select_records(parse_json(text.read(), where=file.where), records, where=file.where)
            positions = [f"{file.name} record {number}" for number in range(1, len(found) + 1)]
            yield frame_of_text(flattened(found, flatten, positions), positions), [], known

        return concatenated(self._each(path, only, read))

    def read_json_lines(self, path: str, *, encoding: str | None = None, flatten: str | None = None, only: Only = "all") -> pd.DataFrame:
        """All objects of a file with one JSON object per line, or of all files that a glob names, as text.

        Blank lines are nothing; a line that is no object goes to the quarantine. Positions are "events.jsonl line 17". Otherwise as
        `read_json`.
        """
        return concatenated(self._json_lines(path, encoding, flatten, only, None))

    def read_json_lines_batches(
        self, path: str, *, encoding: str | None = None, flatten: str | None = None, only: Only = "all", rows: int = _ROWS
    ) -> Iterator[pd.DataFrame]:
        """What `read_json_lines` returns, in frames of at most `rows`; a frame has the keys of its rows, and may have those near them."""
        _refuse_no_rows(rows)
        return self._json_lines(path, encoding, flatten, only, rows)

    def read_parquet(self, path: str, *, columns: Sequence[str] | None = None, only: Only = "all") -> pd.DataFrame:
        """All rows of a Parquet file, or of all files that a glob names, with the types of the file.

        Args:
            path: As in `read_csv`.
            columns: Names of the columns to read; None for all.
            only: As in `read_csv`.

        Returns:
            Integers beside NULLs as Int64, decimals as Decimal, categories as their values, lists and structs as JSON text; and
            `source_position` ("trips.parquet row 17", counted from 1).

        Raises:
            SourceFormatError: It is no Parquet file, a column is missing; and what `read_csv` raises.
        """
        return concatenated(self._parquet(path, columns, only, None))

    def read_parquet_batches(
        self, path: str, *, columns: Sequence[str] | None = None, only: Only = "all", rows: int = _ROWS
    ) -> Iterator[pd.DataFrame]:
        """The rows that `read_parquet` returns, in frames of at most `rows`."""
        _refuse_no_rows(rows)
        return self._parquet(path, columns, only, rows)

    # -- formats ----------------------------------------------------------------------------------------------------

    def _csv(
        self,
        path: str,
        delimiter: str | None,
        quote: str | None,
        encoding: str | None,
        null_markers: Sequence[str],
        only: Only,
        rows: int | None,
    ) -> Iterator[pd.DataFrame]:
        headers: list[tuple[str, tuple[str, ...]]] = []
        _refuse_text("null_markers", null_markers)
        formats = {
            default: CsvFormat(delimiter=default if delimiter is None else delimiter, quote=quote, null_markers=tuple(null_markers))
            for default in (",", "\t")
        }

        def read(file: StoredFile, opened: BinaryIO) -> Iterator[tuple[pd.DataFrame, list[UnreadableRow], str]]:
            format_ = formats[default_delimiter(file.name)]
            with open_text(opened, encoding, where=file.where) as (text, known):
                for part in read_csv_blocks(text, format_, name=file.name, rows=rows, size=plain_size(opened)):
                    if not headers or headers[-1][0] != file.name:
                        headers.append((file.name, part.names))
                        one_header([headers[0], headers[-1]])
                    notes = f"{known}, delimiter {format_.delimiter!r}, quote {format_.quote!r}"
                    yield part.frame[[*headers[0][1], SOURCE_POSITION]], part.unreadable, notes

        return self._each(path, only, read)

    def _json_lines(self, path: str, encoding: str | None, flatten: str | None, only: Only, rows: int | None) -> Iterator[pd.DataFrame]:
        def read(file: StoredFile, opened: BinaryIO) -> Iterator[tuple[pd.DataFrame, list[UnreadableRow], str]]:
            with open_text(opened, encoding, where=file.where) as (text, known):
                for part in read_json_blocks(text, name=file.name, rows=rows, flatten=flatten, size=plain_size(opened)):
                    yield part.frame, part.unreadable, known

        return self._each(path, only, read)

    def _parquet(self, path: str, columns: Sequence[str] | None, only: Only, rows: int | None) -> Iterator[pd.DataFrame]:
        _refuse_text("columns", columns)
        known: dict[str, tuple[str, pa.DataType]] = {}

        def read(file: StoredFile, opened: BinaryIO) -> Iterator[tuple[pd.DataFrame, list[UnreadableRow], str]]:
            try:
                # Buffered beforehand, the whole file, or a whole row group, would lie in memory.
                parquet = pyarrow.parquet.ParquetFile(opened, pre_buffer=False, buffer_size=2**20)
                present = parquet.schema_arrow
                names = _names(present, columns, file.where)
                _one_schema(known, file.name, [present.field(name) for name in names])
                names = list(known)
                batches = parquet.iter_batches(batch_size=min(rows or 65_536, 65_536), columns=names)
                if rows is not None and parquet.metadata.num_rows:
                    tables = in_tables(batches, rows)
                else:
                    tables = iter([pa.Table.from_batches(batches, pa.schema([present.field(name) for name in names]))])
                start = 1
                for table in tables:
                    frame = arrow_to_frame(table)
                    frame[SOURCE_POSITION] = pd.array(
                        [f"{file.name} row {number}" for number in range(start, start + len(frame))], dtype=TEXT
                    )
                    start += len(frame)
                    yield frame, [], f"{parquet.metadata.num_rows} rows in {parquet.metadata.num_row_groups} row groups"
            except (pa.ArrowException, OSError, UnicodeError) as error:
                said = next(iter(str(error).splitlines()), type(error).__name__)
                raise SourceFormatError(file.where, f"this is no readable Parquet file ({said}).", "have it delivered again.") from error

        return self._each(path, only, read, packed=True)

    def _each(
        self,
        path: str,
        only: Only,
        read: Callable[[StoredFile, BinaryIO], Iterator[tuple[pd.DataFrame, list[UnreadableRow], str]]],
        *,
        packed: bool = False,
    ) -> Iterator[pd.DataFrame]:
        """The frames of each file that is to be read, and what the account needs to know of it; at least one frame."""
        storage = Storage(self.base_folder, options=self.storage_options, most_bytes=self.file_bytes, policy=self.retry.policy())
        none = True
        for file, stored, digest in files_to_read(storage, path, only):
            count = 0
            notes = ""
            with contextlib.nullcontext(stored) if packed else storage.unpack(stored, file) as opened:
                for frame, broken, found_out in read(file, opened):
                    if "(a guess)" in found_out and not notes:
                        logger.warning("%s: the encoding is %s", file.where, found_out.partition(",")[0])
                    notes = found_out
                    record_unreadable(broken)
                    count += len(frame) + len(broken)
                    none = False
                    yield frame
            record_read(file.where, count, notes=notes)
            if digest is not None:
                record_watermark(f"{HASH}{digest}", file.name)
        if none:
            yield frame_of_text([], [])


def files_to_read(storage: Storage, path: str, only: Only) -> Iterator[tuple[StoredFile, BinaryIO, str | None]]:
    """The files that a path names and that are to be read, each open at its start, and with its hash where hashes count.

    Raises:
        SourceFormatError: A file that was loaded has changed, and `only` is "new".
    """
    if only == "all":
        for file in storage.find(path):
            with storage.open(file) as opened:
                yield file, opened, None
        return
    loaded = {source.removeprefix(HASH): str(name) for source, name in committed_watermarks().items() if source.startswith(HASH)}
    seen: set[str] = set()
    for file in storage.find(path, may_be_none=True):
        # Hashed and read while it is open, so that a file that is replaced meanwhile cannot be loaded under the other one's hash.
        with storage.open(file) as opened:
            digest = digest_of(opened, file.where)
            if digest in loaded or digest in seen:
                logger.info("%s: left out, its content was loaded as %s", file.where, loaded.get(digest, "another file of this read"))
                continue
            if only == "new" and file.name in loaded.values():
                raise SourceFormatError(
                    file.where, "the file has changed since it was loaded.",
                    'deliver changes under a new name, or say only="new_or_changed" and merge the rows by their key.',
                )  # fmt: skip
            seen.add(digest)
            yield file, opened, digest


def _refuse_text(option: str, given: Sequence[str] | None) -> None:
    """A text is a sequence of its letters."""
    if isinstance(given, str):
        raise ConfigurationError(option, f"{given!r} is one text, not several.", f"write [{given!r}].")


def _refuse_no_rows(rows: int) -> None:
    if rows < 1:
        raise ConfigurationError("rows", f"a batch has at least 1 row; given: {rows!r}.", "correct it.")


def _names(present: pa.Schema, columns: Sequence[str] | None, where: str) -> list[str]:
    """The columns to read."""
    names = list(columns) if columns is not None else list(present.names)
    missing = [name for name in names if name not in present.names]
    if missing:
        raise SourceFormatError(where, f"it has no columns {missing}; present: {present.names}.", "correct `columns`.")
    repeated = sorted({name for name in names if names.count(name) > 1 or present.names.count(name) > 1})
    if repeated:
        raise SourceFormatError(where, f"the columns {repeated} are named more than once.", "name each column once.")
    refuse_reserved(names, where)
    return names


def _one_schema(known: dict[str, tuple[str, pa.DataType]], name: str, fields: Sequence[pa.Field]) -> None:
    """Refuse a file whose columns differ from the known ones, or whose types do so that one column could not hold both exactly.

    Args:
        known: File and type of each column of the files before; this file is added.
        name: Of the file.
        fields: Its columns.

    Raises:
        SourceFormatError: The message names the other file, and how they differ.
    """
    if known:
        one_header([(next(iter(known.values()))[0], tuple(known)), (name, tuple(field.name for field in fields))])
    for field in fields:
        other, type_ = known.setdefault(field.name, (name, field.type))
        if pa.types.is_null(type_):
            known[field.name] = (name, field.type)
        elif not pa.types.is_null(field.type) and _kind(field.type) != _kind(type_):
            raise SourceFormatError(
                name, f"its column {field.name!r} is {field.type}, that of {other} is {type_}.", "read such files apart."
            )


def _kind(type_: pa.DataType) -> str:
    """Types of one kind become one column of pandas exactly."""
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    if pa.types.is_integer(type_) and type_ != pa.uint64():
        return "integer"
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "float" if pa.types.is_floating(type_) else "decimal"
    return str(type_)


__all__ = ["HASH", "FilesResource", "Only", "files_to_read"]
