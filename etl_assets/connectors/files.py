"""CSV and JSON files, read as text: nothing is guessed, so `NA`, `00501` and 9007199254740993 arrive as they were written.

Not here: Excel (`excel.py`), conversion to types (contracts do that).
"""

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pandas as pd
from pydantic import Field

from etl_assets.accounting import SOURCE_POSITION, record_read
from etl_assets.connectors.records import frame_of_text, parse_json, refuse_reserved, select_records
from etl_assets.errors import ConfigurationError, SourceFormatError, SourceNotFoundError
from etl_assets.frames import TEXT


def resolve_inside(base_folder: str, path: str) -> Path:
    """The file that `path` names inside `base_folder`.

    Raises:
        ConfigurationError: The path leads out of the folder, by `..`, a link or an absolute name.
        SourceNotFoundError: There is no such file, and the message lists the folder; or the system refuses to follow the path.
    """
    try:
        base = Path(base_folder).resolve()
        file = (base / path).resolve()
        if not file.is_relative_to(base):
            raise ConfigurationError(path, f"the path leads out of the folder {base}.", "name a file inside it, or set another folder.")
        if not file.is_file():
            present = sorted(item.name for item in file.parent.iterdir())[:10] if file.parent.is_dir() else "the folder is missing too"
            raise SourceNotFoundError(str(file), f"there is no such file; present: {present}.", "correct the path, or deliver the file.")
    except (OSError, RuntimeError, ValueError) as error:  # forbidden or too long, a circle of links, NUL
        reason = getattr(error, "strerror", None) or error
        raise SourceNotFoundError(
            f"{base_folder}/{path}", f"the path cannot be followed ({reason}).", "correct the path, or give this user access to its folder."
        ) from error
    return file


def read_bytes(file: Path) -> bytes:
    """The content of a file.

    Raises:
        SourceNotFoundError: It cannot be read, for want of permission or by a fault of the disk.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise SourceNotFoundError(
            str(file), f"the file cannot be read ({error.strerror or error}).", "give this user read permission, or deliver it again."
        ) from error


class FilesResource(dg.ConfigurableResource["FilesResource"]):
    """CSV and JSON files below one folder."""

    base_folder: str = Field(description="Folder that all paths are relative to; no path may lead out of it.")

    def read_csv(
        self, path: str, *, delimiter: str = ",", encoding: str = "utf-8-sig", null_markers: Sequence[str] = ("",)
    ) -> pd.DataFrame:
        """All rows of a CSV file as text.

        Args:
            path: File below `base_folder`, with a header line.
            delimiter: One character between fields.
            encoding: Strict; the default accepts UTF-8 with and without byte order mark.
            null_markers: Exact field texts that mean NULL.

        Returns:
            One row per record: the columns of the header as text, and `source_position` ("weather.csv line 17"). A blank line is
            a record where there is one column, and nothing where there are several.

        Raises:
            ConfigurationError: The delimiter is not one character, or is a quote or a line break.
            SourceNotFoundError: No such file, or it cannot be read.
            SourceFormatError: Wrong encoding, no header, an empty, repeated or reserved name, or a record with another number of
                fields.
        """
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise ConfigurationError("delimiter", f"{delimiter!r} cannot part fields.", "give one character, such as ',' or ';'.")
        file = resolve_inside(self.base_folder, path)
        try:
            text = read_bytes(file).decode(encoding)
        except (UnicodeDecodeError, LookupError) as error:
            raise SourceFormatError(str(file), f"the file is not {encoding} ({error}).", "declare its encoding, such as cp1252.") from error
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise SourceFormatError(
                str(file), f"line {line} holds a NUL byte.", "declare its encoding (UTF-16?), or have it delivered again."
            )
        header, rows, lines = self._parse_csv(file, text, delimiter)
        nulls = set(null_markers)
        columns = {
            name: pd.array([None if row[number] in nulls else row[number] for row in rows], dtype=TEXT)
            for number, name in enumerate(header)
        }
        columns[SOURCE_POSITION] = pd.array([f"{file.name} line {line}" for line in lines], dtype=TEXT)
        record_read(str(file), len(rows))
        return pd.DataFrame(columns)

    @staticmethod
    def _parse_csv(file: Path, text: str, delimiter: str) -> tuple[list[str], list[list[str]], list[int]]:
        csv.field_size_limit(sys.maxsize)  # for the process; the text is in memory already, so the limit protects nothing
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows: list[list[str]] = []
        lines: list[int] = []
        line = 1
        try:
            header = next(reader, None)
            if not header:
                raise SourceFormatError(str(file), "the file has no header line.", "deliver it with the names of its columns.")
            _refuse_names(header, str(file))
            line = reader.line_num + 1
            for row in reader:
                if row or len(header) == 1:
                    rows.append(row or [""])
                    lines.append(line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise SourceFormatError(str(file), f"line {line} is not valid CSV ({error}).", "check quotes and delimiter there.") from error
        for row, number in zip(rows, lines, strict=True):
            if len(row) != len(header):
                raise SourceFormatError(
                    str(file),
                    f"line {number} has {len(row)} fields, the header has {len(header)}: {delimiter.join(row)[:120]!r}.",
                    "check delimiter and quotes of that line.",
                )
        return header, rows, lines

    def read_json(self, path: str, *, records: str | None = None, encoding: str = "utf-8-sig") -> pd.DataFrame:
        """All objects of a JSON file as text.

        Args:
            path: File below `base_folder`: an array of objects, or an object that holds one.
            records: JMESPath of the array, such as `data.rows`; None when the document is the array.
            encoding: Strict.

        Returns:
            One row per object: one text column per key, numbers with the digits they were written with, nested values as JSON;
            and `source_position` ("airports.json record 3", counted from 1).

        Raises:
            SourceNotFoundError: No such file, or it cannot be read.
            SourceFormatError: It is no JSON, or there is no array of objects.
        """
        file = resolve_inside(self.base_folder, path)
        try:
            text = read_bytes(file).decode(encoding)
        except (UnicodeDecodeError, LookupError) as error:
            raise SourceFormatError(str(file), f"the file is not {encoding} ({error}).", "declare its encoding.") from error
        found = select_records(parse_json(text, where=str(file)), records, where=str(file))
        record_read(str(file), len(found))
        return frame_of_text(found, (f"{file.name} record {number}" for number in range(1, len(found) + 1)))


def _refuse_names(header: Sequence[str], where: str) -> None:
    refuse_reserved(header, where)
    if not all(name.strip() for name in header):
        raise SourceFormatError(where, f"the header {list(header)} has a column without a name.", "have every column named at the source.")
    repeated = sorted({name for name in header if list(header).count(name) > 1})
    if repeated:
        raise SourceFormatError(where, f"the header repeats {repeated}.", "have the columns named apart at the source.")


__all__ = ["FilesResource"]
