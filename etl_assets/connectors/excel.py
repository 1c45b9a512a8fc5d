"""Sheets of Excel workbooks, read as text by declared rules: which sheets, which cells, which header rows, where the footer starts.

calamine reads values, merged ranges and hidden sheets of .xlsx, .xls, .xlsb and .ods. Not here: what it gets wrong in .xlsx
(`sheet_xml.py`), conversion to types (contracts do that).
"""

import contextlib
import datetime
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import dagster as dg
import pandas as pd
import python_calamine
from pydantic import Field

from etl_assets.accounting import SOURCE_POSITION, StepReport, UnreadableRow, record_read, record_step, record_unreadable, record_watermark
from etl_assets.connectors.files import HASH, Only, files_to_read
from etl_assets.connectors.records import concatenated, frame_of_text, refuse_reserved
from etl_assets.connectors.sheet_xml import column_letters, column_number, corrections, refuse_vast, sheet_xml, with_ods_blanks
from etl_assets.connectors.storage import Storage, StoredFile
from etl_assets.connectors.unpacking import refuse_zip_bomb
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError
from etl_assets.frames import TEXT
from etl_assets.retry_settings import FILE_RETRY, Retry
from etl_assets.secrets import SECRET

_OLE = bytes.fromhex("D0CF11E0A1B11AE1")
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_CELLS = re.compile(r"([A-Z]{1,3})([0-9]{1,7})(?::([A-Z]{1,3})([0-9]{1,7})?)?")


@dataclass(frozen=True)
class Layout:
    """Where the rows of a sheet are.

    Attributes:
        header_rows: Rows that name the columns, counted from 1 in the sheet; several rows are joined by a blank, a merged cell counts
            for every column it covers. Rows above are ignored, data starts below the last one.
        footer_starts_with: The first row whose first filled cell starts with this text, and all rows below it, are dropped and reported
            as step "footer".
        cells: The part of the sheet to look at, such as "B3:F200", or "B3:F" down to its end; None for all of it.
    """

    _: KW_ONLY
    header_rows: tuple[int, ...] = (1,)
    footer_starts_with: str | None = None
    cells: str | None = None

    def __post_init__(self) -> None:
        given: Any = self.header_rows
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ConfigurationError("Layout", f"header_rows are numbers of rows; given: {given!r}.", f"write ({given!r},).")


_WHOLE_SHEET = Layout()


class ExcelResource(dg.ConfigurableResource["ExcelResource"]):
    """Workbooks below one folder."""

    base_folder: str = Field(
        description="Folder that all paths are relative to; no path may lead out of it. Or an fsspec URL, such as s3://bucket/folder."
    )
    storage_options: dict[str, str] = Field(
        default={}, repr=False, description="What fsspec needs to open the URL, such as key and secret.", json_schema_extra=SECRET
    )
    file_bytes: int = Field(default=512 * 2**20, description="Largest workbook, packed and unpacked.")
    retry: Retry = Field(default=FILE_RETRY, description="How a file of a remote store is tried again.")

    def read(
        self,
        path: str,
        *,
        sheet: str | Sequence[str] | None = None,
        layout: Layout = _WHOLE_SHEET,
        hidden: bool = False,
        only: Only = "all",
    ) -> pd.DataFrame:
        """The data rows of one or more sheets as text.

        Args:
            path: Workbook below `base_folder`, or a glob such as "reports/*.xlsx".
            sheet: Name of the sheet, or of several with the same columns; None for all sheets that are not hidden.
            layout: Where the rows are.
            hidden: Hidden sheets may be read too; a named one must then be asked for by this as well.
            only: "all" workbooks, "new" or "new_or_changed" ones; see `FilesResource.read_csv`.

        Returns:
            One row per data row, empty rows left out: whole numbers without decimals ("16"), dates as ISO 8601 whichever the year the
            workbook counts from, durations as "26:30:00" (in .ods "PT26H30M00S"), booleans as "true" and "false", errors as they are
            stored ("#DIV/0!"; in .xls, .xlsb and .ods they cannot be told from empty cells), empty cells as NULL; and
            `source_position` ("airlines.xlsx Carriers row 5"). A row with a formula that was never calculated, which only .xlsx tells,
            goes to the quarantine.

        Raises:
            SourceNotFoundError: No such file or sheet; the message lists the sheets.
            SourceFormatError: No workbook, one with a password, missing, repeated or reserved column names, sheets of different columns,
                or a cell outside the named columns.
            ConfigurationError: The sheet is hidden, or the layout cannot be read.
        """
        storage = Storage(self.base_folder, options=self.storage_options, most_bytes=self.file_bytes, policy=self.retry.policy())
        frames: list[pd.DataFrame] = []
        for file, opened, digest in files_to_read(storage, path, only):
            refuse_zip_bomb(opened, self.file_bytes, file.where)
            content = with_ods_blanks(opened.read())
            for name in _sheets(content, file, sheet, hidden):
                frames.append(_read_sheet(sheet_content(content, file, name, self.file_bytes), file, name, layout))
                if set(frames[-1].columns) != set(frames[0].columns):
                    raise SourceFormatError(
                        f"{file.where} sheet {name}",
                        f"its columns {list(frames[-1].columns[:-1])} are not those of the first sheet, {list(frames[0].columns[:-1])}.",
                        "name the sheets that belong together.",
                    )
            if digest is not None:
                record_watermark(f"{HASH}{digest}", file.name)
        return concatenated(frames or [frame_of_text([], [])])


@dataclass(frozen=True, kw_only=True)
class SheetContent:
    """One sheet.

    Attributes:
        rows: Its rows from row 1 on, all of one length, each cell as text or None.
        merged: Its merged ranges: first row, first column, last row, last column, counted from 0.
        uncalculated: Cells with a formula without a value: row and column, counted from 1.
    """

    rows: list[list[str | None]]
    merged: list[tuple[int, int, int, int]]
    uncalculated: set[tuple[int, int]]


def open_workbook(content: bytes, where: str) -> Any:
    """The workbook of calamine.

    Raises:
        SourceFormatError: It cannot be read, or is protected by a password.
    """
    if content.startswith(_OLE) and _ENCRYPTED in content:  # calamine calls it a format that it does not know
        raise SourceFormatError(where, "the workbook is protected by a password.", "deliver it without.")
    with _reading(where, "this is no readable workbook"):
        return python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))


@contextlib.contextmanager
def _reading(where: str, broken: str) -> Iterator[None]:
    """calamine's errors as ours; it raises several kinds for broken files, and panics at some, which is no Exception."""
    try:
        yield
    except python_calamine.PasswordError as error:
        raise SourceFormatError(where, "the workbook is protected by a password.", "deliver it without.") from error
    except BaseException as error:
        if isinstance(error, EtlError) or not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise SourceFormatError(where, f"{broken} ({error}).", "save it as .xlsx and deliver it again.") from error


def _sheets(content: bytes, file: StoredFile, wanted: str | Sequence[str] | None, hidden: bool) -> list[str]:
    """Names of the sheets to read."""
    with open_workbook(content, file.where) as workbook:
        kinds = {sheet.name: sheet.visible == python_calamine.SheetVisibleEnum.Visible for sheet in workbook.sheets_metadata}
        worksheets = {sheet.name for sheet in workbook.sheets_metadata if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet}
    if wanted is None:
        chosen = [name for name, visible in kinds.items() if name in worksheets and (visible or hidden)]
        if not chosen:
            raise SourceNotFoundError(file.where, f"no sheet is visible; hidden: {list(kinds)}.", "say hidden=True to read those.")
        return chosen
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(file.where, f"the sheets {names} are none, or some twice.", "name each sheet once, or None for all.")
    missing = [name for name in names if name not in kinds]
    if missing:
        raise SourceNotFoundError(
            file.where, f"there is no sheet {missing[0]!r}; present: {list(kinds)}.", "correct the name of the sheet."
        )
    charts = [name for name in names if name not in worksheets]
    if charts:
        raise ConfigurationError(file.where, f"the sheet {charts[0]!r} holds no cells, but a chart or macros.", "name a worksheet.")
    concealed = [name for name in names if not kinds[name]]
    if concealed and not hidden:
        raise ConfigurationError(file.where, f"the sheet {concealed[0]!r} is hidden.", "say hidden=True if it is meant.")
    return names


def sheet_content(content: bytes, file: StoredFile, sheet: str, most_bytes: int) -> SheetContent:
    """What a sheet holds.

    Args:
        content: The workbook, with `with_ods_blanks` where it may be an .ods.
        most_bytes: Of memory that its cells may take.

    Raises:
        SourceFormatError: The sheet cannot be read, or takes more memory.
    """
    where = f"{file.where} sheet {sheet}"
    xml = sheet_xml(content, sheet, where)
    if xml is not None:
        refuse_vast(xml, most_bytes, where)
    with open_workbook(content, file.where) as workbook, _reading(where, "it cannot be read"):
        found = workbook.get_sheet_by_name(sheet)
        values = found.to_python(skip_empty_area=False)
        merged = [(*start, *end) for start, end in found.merged_cell_ranges or []]
    rows = [[_text_of(value) for value in row] for row in values]
    times = {
        (number, place)
        for number, row in enumerate(values, start=1)
        for place, value in enumerate(row, start=1)
        if type(value) is datetime.time
    }
    texts, uncalculated = corrections(xml, times, where) if xml is not None else ({}, set())
    _widen(rows, [*texts, *uncalculated])
    for (row, column), text in texts.items():
        rows[row - 1][column - 1] = text
    return SheetContent(rows=rows, merged=merged, uncalculated=uncalculated)


def _widen(rows: list[list[str | None]], places: Sequence[tuple[int, int]]) -> None:
    """calamine ends a sheet at its last value, which a cell without one may lie beyond."""
    width = max([len(rows[0]) if rows else 0, *(column for _, column in places)])
    height = max([len(rows), *(row for row, _ in places)])
    rows.extend([] for _ in range(height - len(rows)))
    for cells in rows:
        cells.extend([None] * (width - len(cells)))


# -- one sheet ----------------------------------------------------------------------------------------------------------


def _read_sheet(content: SheetContent, file: StoredFile, sheet: str, layout: Layout) -> pd.DataFrame:
    where = f"{file.where} sheet {sheet}"
    top, left, bottom, right = _area(layout.cells, content, where)
    names = _header(content, layout.header_rows, (top, left, bottom, right), where)
    first = max(layout.header_rows) + 1
    empty_but_suspect = {row for row, column in content.uncalculated if left <= column <= right}
    rows = {
        number: cells
        for number, cells in ((number, content.rows[number - 1][left - 1 : right]) for number in range(first, bottom + 1))
        if any(cell is not None for cell in cells) or number in empty_but_suspect
    }
    footer = _footer(rows, layout.footer_starts_with)
    if layout.footer_starts_with is not None and footer is None and rows:
        last = next((cell for cell in rows[max(rows)] if cell is not None), None)
        raise SourceFormatError(
            where,
            f"no row starts with {layout.footer_starts_with!r}; the last one starts with {last!r}.",
            "correct footer_starts_with, or leave it out.",
        )
    data = {number: cells for number, cells in rows.items() if footer is None or number < footer}
    beyond = {row for row, column in content.uncalculated if left + len(names) <= column <= right}
    for number, cells in data.items():
        if number in beyond or any(cell is not None for cell in cells[len(names) :]):
            raise SourceFormatError(
                where, f"row {number} has a value beyond the named columns {names}.", "correct header_rows, or say which cells count."
            )
    broken = _uncalculated_rows(data, content, left, len(names), f"{file.name} {sheet}")
    record_unreadable([row for _, row in broken])
    for number, _ in broken:
        del data[number]
    record_read(where, len(rows))
    if footer is not None:
        record_step(
            StepReport(
                step=f"footer from {layout.footer_starts_with!r}",
                rows_in=len(rows),
                rows_out=len(data) + len(broken),
                cells_changed=0,
                seconds=0.0,
            )
        )
    columns: dict[str, Any] = {name: pd.array([cells[place] for cells in data.values()], dtype=TEXT) for place, name in enumerate(names)}
    columns[SOURCE_POSITION] = pd.array([f"{file.name} {sheet} row {number}" for number in data], dtype=TEXT)
    return pd.DataFrame(columns, index=pd.RangeIndex(len(data)))


def _uncalculated_rows(
    data: Mapping[int, Sequence[str | None]], content: SheetContent, left: int, width: int, name: str
) -> list[tuple[int, UnreadableRow]]:
    """Rows with a formula without a value, by number."""
    found = []
    columns: dict[int, list[int]] = {}
    for row, column in sorted(content.uncalculated):
        if left <= column < left + width:
            columns.setdefault(row, []).append(column)
    for number, cells in data.items():
        places = columns.get(number)
        if places:
            says = f"a formula that was never calculated in {', '.join(f'{column_letters(column)}{number}' for column in places)}"
            raw = json.dumps(list(cells), ensure_ascii=False)
            found.append((number, UnreadableRow(position=f"{name} row {number}", raw=raw, rule="uncalculated_formula", says=says)))
    return found


def _area(cells: str | None, content: SheetContent, where: str) -> tuple[int, int, int, int]:
    """First row and column, last row and column of the part to look at, counted from 1."""
    height, width = len(content.rows), len(content.rows[0]) if content.rows else 0
    if cells is None:
        return 1, 1, height, width
    found = _CELLS.fullmatch(cells.upper().replace("$", ""))
    if found is None or found[3] is None:
        raise ConfigurationError(where, f"{cells!r} is no range of cells.", "write it like B3:F200, or B3:F down to the end.")
    left, top, right = column_number(found[1]), int(found[2]), column_number(found[3])
    bottom = int(found[4]) if found[4] else height
    if left > right or top > max(bottom, 1) or left > width:
        raise ConfigurationError(where, f"{cells!r} holds no cells of a sheet of {height} rows and {width} columns.", "correct the range.")
    return top, left, min(bottom, height), min(right, width)


def _header(content: SheetContent, header_rows: Sequence[int], area: tuple[int, int, int, int], where: str) -> list[str]:
    top, left, bottom, right = area
    if not header_rows or min(header_rows) < top or max(header_rows) > bottom:
        among = f"its {bottom} rows" if top == 1 else f"rows {top} to {bottom}"
        raise SourceFormatError(where, f"header_rows {tuple(header_rows)} lie outside {among}.", "correct header_rows.")
    header = {row - 1: list(content.rows[row - 1]) for row in header_rows}
    for first, from_, last, to in content.merged if len(header) > 1 else []:
        value = header[first][from_] if first in header else None
        for row in header.keys() & range(first, last + 1):
            covered = slice(from_, min(to + 1, len(header[row])))  # a range may reach beyond the last filled column
            header[row][covered] = [value] * (covered.stop - from_)
    names = []
    for cells in zip(*(row[left - 1 : right] for row in header.values()), strict=True):
        # A cell merged downwards names its column once, not once per header row.
        parts = dict.fromkeys(cell for cell in cells if cell is not None)
        names.append(" ".join(" ".join(part.split()) for part in parts))
    while names and not names[-1]:
        names.pop()
    if not names or "" in names or len(set(names)) < len(names):
        raise SourceFormatError(
            where, f"the header rows {tuple(header_rows)} give the column names {names}, some empty or repeated.", "correct header_rows."
        )
    refuse_reserved(names, where)
    return names


def _footer(rows: Mapping[int, Sequence[str | None]], starts_with: str | None) -> int | None:
    """Number of the row where the footer starts; None without one."""
    if starts_with is None:
        return None
    return next((number for number, cells in rows.items() if (next(filter(None, cells), None) or "").startswith(starts_with)), None)


def _text_of(value: Any) -> str | None:
    """A cell as text; None for an empty one."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:  # beyond, its last digits are made up
        return str(int(value))
    if isinstance(value, datetime.timedelta):
        return _duration(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _duration(value: datetime.timedelta) -> str:
    """Hours, minutes and seconds, as [h]:mm:ss shows them."""
    micros = round(abs(value) / datetime.timedelta(microseconds=1))
    seconds, rest = divmod(micros, 10**6)
    sign: Literal["-", ""] = "-" if value < datetime.timedelta(0) else ""
    fraction = f".{rest:06}".rstrip("0") if rest else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"


__all__ = ["ExcelResource", "Layout", "SheetContent", "open_workbook", "sheet_content"]
