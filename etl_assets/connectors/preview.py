"""A look at a file before it is read: what it seems to be, its first rows, and the call that reads it so.

Everything here is a proposal for a person to check; no read uses it. Not here: reading (`files.py`, `excel.py`).
"""

import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clevercsv
import pandas as pd
import python_calamine

from etl_assets.accounting import open_account
from etl_assets.connectors.csv_text import CsvFormat, default_delimiter, read_csv_text
from etl_assets.connectors.encoding import GUESS, open_text
from etl_assets.connectors.excel import ExcelResource, Layout, open_workbook, sheet_content
from etl_assets.connectors.files import FilesResource
from etl_assets.connectors.records import parse_json
from etl_assets.connectors.sheet_xml import with_ods_blanks
from etl_assets.connectors.storage import Storage, StoredFile
from etl_assets.connectors.unpacking import refuse_zip_bomb
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError
from etl_assets.retry import NO_RETRY

ROWS = 5
_SAMPLE_LINES = 200
_SAMPLE_CHARACTERS = 64 * 1024
_MOST_BYTES = 2 * 2**30
_LOOK_AT_ROWS = 30
_EXCEL = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a file, or one sheet of it, seems to be.

    Attributes:
        title: What was looked at.
        facts: What was found out, as name and value.
        header: Column names.
        rows: The first rows, as text.
        call: Python that reads it so.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    call: str


def preview(path: Path) -> list[Preview]:
    """Look at a file; a workbook gives a preview per sheet.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceFormatError: It is neither text nor a workbook.
    """
    storage = Storage(str(path.parent), options={}, most_bytes=_MOST_BYTES, policy=NO_RETRY)
    (file,) = storage.find(path.name)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _EXCEL:
        with storage.open(file) as opened:
            refuse_zip_bomb(opened, _MOST_BYTES, file.where)
            content = with_ods_blanks(opened.read())
        return _preview_workbook(content, file)
    if ".parquet" in suffixes:
        raise ConfigurationError(file.where, "a Parquet file tells its columns and types itself.", "read it with read_parquet.")
    if ".jsonl" in suffixes or ".ndjson" in suffixes:
        return [_preview_lines(storage, file)]
    if ".json" in suffixes:
        return [_preview_json(storage, file)]
    return [_preview_csv(storage, file)]


# -- text ---------------------------------------------------------------------------------------------------------------


def _sample(storage: Storage, file: StoredFile) -> tuple[list[str], str, str | None]:
    """The first lines, how their encoding is known, and the encoding to declare, None where none needs to be."""

    def lines(encoding: str | None) -> tuple[list[str], str]:
        with storage.unpacked(file) as opened, open_text(opened, encoding, where=file.where) as (text, known):
            taken: list[str] = []
            size = 0
            for line in itertools.islice(text, _SAMPLE_LINES):
                taken.append(line)
                size += len(line)
                if size > _SAMPLE_CHARACTERS:
                    break
            return taken, known

    try:
        taken, known = lines(None)
    except SourceFormatError:
        taken, known = lines(GUESS)
        return taken, known, known.partition(" ")[0]
    return taken, known, None


def _preview_csv(storage: Storage, file: StoredFile) -> Preview:
    lines, known, encoding = _sample(storage, file)
    delimiter, quote = _sniff("".join(lines))
    format_ = CsvFormat(delimiter=delimiter, quote=quote)
    facts = [("encoding", known), ("delimiter", repr(delimiter)), ("quote", repr(quote)), ("line ends", _line_ends(lines))]
    try:
        (batch,) = read_csv_text(lines, format_, name=file.name)
        header, rows = batch.header, batch.rows
        # The sample may end inside a quoted field.
        broken = [row for row in batch.unreadable if len(lines) < _SAMPLE_LINES or not row.position.endswith(f" {len(lines)}")]
        facts += [("unreadable", f"{row.position}: {row.says}") for row in broken[:ROWS]]
    except SourceFormatError as error:
        header, rows = (), []
        facts.append(("header", error.cause))
    options = [f'delimiter="{_escaped(delimiter)}"'] if delimiter != default_delimiter(file.name) else []
    options += [f'quote="{quote}"' if quote is not None else "quote=None"] if quote not in ('"', None) else []
    options += [f'encoding="{encoding}"'] if encoding is not None else []
    call = f"files.read_csv({', '.join([json.dumps(file.name), *options])})"
    return Preview(title=file.where, facts=tuple(facts), header=tuple(header), rows=tuple(map(tuple, rows[:ROWS])), call=call)


def _sniff(text: str) -> tuple[str, str | None]:
    try:
        dialect = clevercsv.Sniffer().sniff(text)
    except clevercsv.Error:
        dialect = None
    delimiter = (dialect.delimiter if dialect is not None else "") or ","
    quote = (dialect.quotechar if dialect is not None else "") or '"'
    return delimiter, quote


def _escaped(delimiter: str) -> str:
    return delimiter.encode("unicode_escape").decode()


def _line_ends(lines: Sequence[str]) -> str:
    ends = {"\r\n": "CRLF", "\n": "LF", "\r": "CR"}
    found = {next((name for end, name in ends.items() if line.endswith(end)), None) for line in lines}
    return " and ".join(sorted(filter(None, found))) or "none"


def _preview_lines(storage: Storage, file: StoredFile) -> Preview:
    lines, known, encoding = _sample(storage, file)
    objects = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                objects.append(parse_json(line, where=f"{file.name} line {number}"))
            except SourceFormatError as error:
                objects.append({"unreadable": error.cause})
    options = [f'encoding="{encoding}"'] if encoding is not None else []
    return _of_objects(file, objects, [("encoding", known)], f"files.read_json_lines({', '.join([json.dumps(file.name), *options])})")


def _preview_json(storage: Storage, file: StoredFile) -> Preview:
    with storage.unpacked(file) as opened, open_text(opened, None, where=file.where) as (text, known):
        document = parse_json(text.read(), where=file.where)
    found = _lists(document, "")
    facts = [("encoding", known), *(("list of objects", f"{path or 'the document'}: {len(items)}") for path, items in found)]
    path, items = max(found, key=lambda one: len(one[1])) if found else ("", [])
    options = f", records={json.dumps(path)}" if path else ""
    return _of_objects(file, items, facts, f"files.read_json({json.dumps(file.name)}{options})")


def _lists(document: Any, path: str) -> list[tuple[str, list[Any]]]:
    if isinstance(document, list):
        return [(path, document)] if document and all(isinstance(item, dict) for item in document) else []
    if not isinstance(document, dict):
        return []
    return [found for name, value in document.items() for found in _lists(value, f"{path}.{name}" if path else str(name))]


def _of_objects(file: StoredFile, items: list[Any], facts: list[tuple[str, str]], call: str) -> Preview:
    shown = [item if isinstance(item, dict) else {"value": item} for item in items[:ROWS]]
    header = tuple(dict.fromkeys(name for item in shown for name in item))
    rows = tuple(tuple("" if item.get(name) is None else str(item[name]) for name in header) for item in shown)
    return Preview(title=file.where, facts=tuple(facts), header=header, rows=rows, call=call)


# -- workbooks ----------------------------------------------------------------------------------------------------------


def _preview_workbook(content: bytes, file: StoredFile) -> list[Preview]:
    with open_workbook(content, file.where) as workbook:
        sheets = list(workbook.sheets_metadata)
    return [_preview_sheet(content, sheet, file) for sheet in sheets]


def _preview_sheet(content: bytes, sheet: Any, file: StoredFile) -> Preview:
    title = f"{file.where} sheet {sheet.name}"
    visible = sheet.visible == python_calamine.SheetVisibleEnum.Visible
    facts = [] if visible else [("hidden", "yes")]
    if sheet.typ != python_calamine.SheetTypeEnum.WorkSheet:
        return Preview(title=title, facts=(*facts, ("kind", "no worksheet")), header=(), rows=(), call="")
    try:
        found = sheet_content(content, file, sheet.name, _MOST_BYTES)
    except EtlError as error:
        return Preview(title=title, facts=(*facts, ("unreadable", str(error))), header=(), rows=(), call="")
    rows, merged = found.rows, found.merged
    header_rows = _header_rows(rows, merged)
    footer = _footer(rows, header_rows)
    facts += [("rows", str(len(rows))), ("header rows", ", ".join(map(str, header_rows)) or "none found")]
    facts += [("footer", f"row {footer[0]}: {footer[1]!r}")] if footer is not None else []
    facts += [("formulas without a value", str(len(found.uncalculated)))] if found.uncalculated else []
    layout = [f"header_rows={header_rows!r}"] if header_rows != (1,) else []
    layout += [f"footer_starts_with={json.dumps(footer[1], ensure_ascii=False)}"] if footer is not None else []
    options = [json.dumps(file.name, ensure_ascii=False), f"sheet={json.dumps(sheet.name, ensure_ascii=False)}"]
    options += [f"layout=Layout({', '.join(layout)})"] if layout else []
    options += [] if visible else ["hidden=True"]
    below = [row for row in rows[max(header_rows) :] if any(row)] if header_rows else []
    header = tuple(cell or "" for cell in rows[max(header_rows) - 1]) if header_rows else ()
    return Preview(
        title=title,
        facts=tuple(facts),
        header=header,
        rows=tuple(tuple(cell or "" for cell in row) for row in below[:ROWS]),
        call=f"workbooks.read({', '.join(options)})",
    )


def _header_rows(rows: Sequence[Sequence[str | None]], merged: Sequence[tuple[int, int, int, int]]) -> tuple[int, ...]:
    """The first row that fills as many columns as the rows below it do, and the row above it where merged cells reach over columns."""
    width = max((sum(cell is not None for cell in row) for row in rows[:_LOOK_AT_ROWS]), default=0)
    for number, row in enumerate(rows[:_LOOK_AT_ROWS], start=1):
        covered = {
            column
            for top, left, bottom, right in merged
            if top <= number - 1 <= bottom
            for column in range(left, right + 1)
            if top < number
        }
        filled = {place for place, cell in enumerate(row) if cell is not None} | covered
        if width and len(filled) >= width:
            spread = any(top == number - 2 and right > left for top, left, _, right in merged)
            down = any(top <= number - 2 < bottom for top, _, bottom, _ in merged)
            spread_here = any(top == number - 1 and right > left for top, left, _, right in merged)
            if spread_here and number < len(rows):
                return (number, number + 1)
            return (number - 1, number) if spread or down else (number,)
    return ()


def _footer(rows: Sequence[Sequence[str | None]], header_rows: tuple[int, ...]) -> tuple[int, str] | None:
    """The first of the last rows that fill fewer columns than the rows above them do."""
    if not header_rows:
        return None
    data = [(number, row) for number, row in enumerate(rows, start=1) if number > max(header_rows) and any(row)]
    if len(data) < 3:
        return None
    usual = sum(cell is not None for cell in data[0][1])
    found = None
    for number, row in reversed(data):
        if sum(cell is not None for cell in row) * 2 > usual and row[0] is not None and not _sums_up(row[0]):
            break
        found = (number, next(cell for cell in row if cell is not None))
    return found if found is not None and found[0] > data[0][0] else None


def _sums_up(text: str) -> bool:
    return text.strip().lower().startswith(("total", "sum", "summe", "gesamt", "subtotal", "grand total"))


def read_as_proposed(path: Path, sheet: str | None = None) -> pd.DataFrame:
    """The rows of a file, read as its preview proposes.

    Args:
        path: A CSV, JSON, Excel or Parquet file.
        sheet: Of a workbook; None for its first visible one.

    Raises:
        EtlError: As `preview`; or the file has no such sheet, or none with a header.
    """
    files = FilesResource(base_folder=str(path.parent))
    if path.suffix.lower() == ".parquet":
        return files.read_parquet(path.name)
    found = preview(path)
    if sheet is not None:
        found = [one for one in found if one.title.endswith(f" sheet {sheet}")]
    found = [one for one in found if one.header and (sheet is not None or ("hidden", "yes") not in one.facts)]
    if not found:
        raise SourceFormatError(str(path), "it holds no rows under a header that could be found.", "see `etl-assets preview`.")
    # The call was written above, of literals only; unreadable rows are left out of what is inferred.
    names = {"files": files, "workbooks": ExcelResource(base_folder=str(path.parent)), "Layout": Layout}
    with open_account():
        frame: pd.DataFrame = eval(found[0].call, {"__builtins__": {}}, names)  # noqa: S307
    return frame


def as_text(found: Preview) -> str:
    """A preview for a terminal."""
    out = io.StringIO()
    out.write(f"{found.title}\n")
    for name, value in found.facts:
        out.write(f"  {name}: {value}\n")
    table = [found.header, *found.rows] if found.header else []
    if table:
        widths = [min(30, max(len(row[place]) for row in table if place < len(row))) for place in range(len(found.header))]
        for row in table:
            cells = (cell.replace("\n", "\\n")[:width].ljust(width) for cell, width in zip(row, widths, strict=False))
            out.write(f"    {'  '.join(cells).rstrip()}\n")
    if found.call:
        out.write(f"  read it so: {found.call}\n")
    return out.getvalue()


__all__ = ["Preview", "as_text", "preview", "read_as_proposed"]
